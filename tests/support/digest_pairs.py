"""Pairs of values: those that look alike and differ, and those that are equal but were made differently.

Each value is a function, so that every process makes its own.
"""

from __future__ import annotations

import array
import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import io
import operator
import pathlib
import pickle
import re
import tempfile
import types
import typing
import uuid
import warnings
import zoneinfo
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytz

Pair = tuple[Callable[[], Any], Callable[[], Any]]

DAY = datetime.datetime(2024, 2, 29, 12, 30)
NAN = float("nan")
PARIS = zoneinfo.ZoneInfo("Europe/Paris")


# classes of the user's


class Plain:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class Other:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class Slotted:
    __slots__ = ("rate", "steps")

    def __init__(self, rate: float, steps: int) -> None:
        self.rate, self.steps = rate, steps


class SlottedBelow(Slotted):
    """Has slots and attributes."""


@dataclasses.dataclass
class Config:
    rate: float


@dataclasses.dataclass
class ConfigOfSteps:
    rate: float


class BiggerConfig(Config):
    def __init__(self, rate: float, steps: int) -> None:
        super().__init__(rate)
        self.steps = steps


@dataclasses.dataclass
class Scaled:
    rate: float
    scale: dataclasses.InitVar[int] = 1

    def __post_init__(self, scale: int) -> None:
        self.scaled = self.rate * scale


@dataclasses.dataclass(slots=True)
class SlotConfig:
    rate: float
    names: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Nested:
    inner: Config
    more: tuple[Any, ...] = ()


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Paint(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Mode(enum.IntFlag):
    READ = 1
    WRITE = 2


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Text(str):
    pass


class Number(int):
    pass


class Real(float):
    pass


class Items(list):  # type: ignore[type-arg]
    pass


class Mapping(dict):  # type: ignore[type-arg]
    pass


class Names(set):  # type: ignore[type-arg]
    pass


class FrozenNames(frozenset):  # type: ignore[type-arg]
    pass


class Couple(tuple):  # type: ignore[type-arg]
    pass


class Point(typing.NamedTuple):
    x: Any
    y: Any


class Place(typing.NamedTuple):
    x: Any
    y: Any


class Moment(datetime.datetime):
    pass


class Quantity(np.ndarray):
    unit: str


class Measures(pd.DataFrame):
    _metadata = ["unit"]  # noqa: RUF012 - pandas asks for a list

    @property
    def _constructor(self) -> type[Measures]:
        return Measures


class Lazy:
    def __init__(self, rate: float) -> None:
        self.rate = rate

    @functools.cached_property
    def double(self) -> float:
        return 2 * self.rate


class Without:
    """Leaves a file at home when it travels."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.log = io.StringIO()

    def __getstate__(self) -> dict[str, Any]:
        return {"rate": self.rate}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class Node:
    def __init__(self, name: str) -> None:
        self.name = name
        self.edges: list[Node] = []


def ring(*names: str) -> Node:
    """Return nodes of which each knows its two neighbours."""
    nodes = [Node(name) for name in names]
    for i, node in enumerate(nodes):
        node.edges = [nodes[i - 1], nodes[(i + 1) % len(nodes)]]
    return nodes[0]


def holds_itself(*values: Any) -> list[Any]:
    made: list[Any] = list(values)
    made.append(made)
    return made


def with_attributes(value: Any, **attributes: Any) -> Any:
    for name, item in attributes.items():
        setattr(value, name, item)
    return value


def read(value: Lazy) -> Lazy:
    assert value.double
    return value


def lambda_of(bound: Any) -> Callable[[Any], Any]:
    return lambda x: x < bound


def add_one(x: int) -> int:
    return x + 1


def add_two(x: int) -> int:
    return x + 2


# how values are made


def frame_of(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns)


def objects(*values: Any) -> pd.Series[Any]:
    return pd.Series(list(values), dtype=object)


def cells(*values: Any) -> np.ndarray:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


def quantity(unit: str) -> Quantity:
    made = np.arange(2).view(Quantity)
    made.unit = unit
    return made


def measures(unit: str) -> Measures:
    made = Measures({"x": [1]})
    made.unit = unit
    return made


def memmap(values: np.ndarray) -> np.ndarray:
    path = pathlib.Path(tempfile.mkdtemp()) / "values"
    values.tofile(path)
    return np.memmap(path, dtype=values.dtype, mode="r", shape=values.shape)


def through_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def through_parquet(frame: pd.DataFrame) -> pd.DataFrame:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    buffer.seek(0)
    return pd.read_parquet(buffer)


def of_flags(value: Any) -> Any:
    return value.set_flags(allows_duplicate_labels=False)


def of_attrs(value: Any, **attrs: Any) -> Any:
    value = value.copy()
    value.attrs.update(attrs)
    return value


def inserted() -> pd.DataFrame:
    frame = pd.DataFrame({"buy": [1, 2]})
    frame.insert(0, "sell", [3, 4])
    return frame


def appended() -> pd.DataFrame:
    frame = pd.DataFrame({"sell": [1, 2]})
    frame["buy"] = [3, 4]
    return frame


def fragmented(n: int) -> pd.DataFrame:
    frame = pd.DataFrame({"x0": np.arange(3.0)})
    for i in range(1, n):
        frame[f"x{i}"] = np.arange(3.0) * i
    return frame


def offset(**kwargs: Any) -> Any:
    return pd.offsets.CustomBusinessDay(**kwargs)


def masked_with(below: int) -> Any:
    made = pd.array([1, below, 3], dtype="Int64")
    made[1] = pd.NA
    return made


def negative_nan() -> np.ndarray:
    return np.array([0x7FF8000000000000, 0xFFF8000000000001], "u8").view("f8")


def levels(*values: Any, codes: Any = (0, 1)) -> pd.MultiIndex:
    return pd.MultiIndex([list(values), [1, 2]], [list(codes), [0, 1]])


def arrow_null(below: int) -> pa.Array:
    buffers = [
        pa.py_buffer(bytes([0b101])),
        pa.py_buffer(np.array([1, below, 3], "i8").tobytes()),
    ]
    return pa.Array.from_buffers(pa.int64(), 3, buffers)


def arrow_text_null(below: str) -> pa.Array:
    n = len(below)
    buffers = [
        pa.py_buffer(bytes([0b101])),
        pa.py_buffer(np.array([0, 1, 1 + n, 2 + n], "i4").tobytes()),
        pa.py_buffer(f"a{below}c".encode()),
    ]
    return pa.Array.from_buffers(pa.string(), 3, buffers)


def padded(junk: int) -> np.ndarray:
    kind = np.dtype({"names": ["a", "b"], "formats": ["i1", "i8"]}, align=True)
    made = np.zeros(2, kind)
    made.view("u1")[1::16] = junk
    made["a"], made["b"] = [1, 2], [3, 4]
    return made


def long_doubles(junk: int) -> np.ndarray:
    made = np.array([1, 2.5], "longdouble")
    if np.finfo("longdouble").nmant == 63:
        made.view("u1").reshape(2, -1)[:, 10:] = junk
    return made


TEXT = ["ann", "bob", "cy", "dee", "eve", "fay"]
MANY = [f"name {i}" for i in range(500)]
GRID = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]])


UNEQUAL: dict[str, Pair] = {
    # plain values
    "1 and True": (lambda: 1, lambda: True),
    "1 and 1.0": (lambda: 1, lambda: 1.0),
    "1 and '1'": (lambda: 1, lambda: "1"),
    "0 and -0.0": (lambda: 0.0, lambda: -0.0),
    "None and 'None'": (lambda: None, lambda: "None"),
    "None and nan": (lambda: None, lambda: NAN),
    "False and None": (lambda: False, lambda: None),
    "'' and b''": (lambda: "", lambda: b""),
    "bytes and bytearray": (lambda: b"a", lambda: bytearray(b"a")),
    "huge ints": (lambda: 10**5000, lambda: 10**5000 + 1),
    "huge int and its text": (lambda: 10**5000, lambda: hex(10**5000)),
    "1 and 1+0j": (lambda: 1.0, lambda: 1 + 0j),
    "-0j": (lambda: complex(0.0, 0.0), lambda: complex(0.0, -0.0)),
    "surrogates": (lambda: "\ud800", lambda: "\\ud800"),
    "composed letters": (lambda: "\u00e9", lambda: "e\u0301"),
    "nul at the end": (lambda: "a", lambda: "a\0"),
    "[] and ()": (list, lambda: ()),
    "[] and {}": (list, dict),
    "[] and None": (list, lambda: None),
    "nested otherwise": (lambda: [[1], 2], lambda: [1, [2]]),
    "brackets in text": (lambda: ["a', 'b"], lambda: ["a", "b"]),
    "comma in text": (lambda: ["a, b"], lambda: ["a", "b"]),
    "nul joins text": (lambda: ["a\0b"] * 200, lambda: ["a", "b"] * 200),
    "moved nul": (lambda: [*MANY, "a\0b", "c"], lambda: [*MANY, "a", "b\0c"]),
    "list of the list": (lambda: [1, 2], lambda: [[1, 2]]),
    "order of a list": (lambda: [1, 2], lambda: [2, 1]),
    "order of a dict": (lambda: {"a": 1, "b": 2}, lambda: {"b": 2, "a": 1}),
    "keys 1 and True": (lambda: {1: "a"}, lambda: {True: "a"}),
    "keys 1 and '1'": (lambda: {1: "a"}, lambda: {"1": "a"}),
    "swapped values": (lambda: {"a": [1], "b": [2]}, lambda: {"a": [2], "b": [1]}),
    "set and frozenset": (lambda: {1}, lambda: frozenset({1})),
    "set and list": (lambda: {1}, lambda: [1]),
    "set of 1 and True": (lambda: {1, 2}, lambda: {True, 2}),
    "sets in sets": (lambda: {frozenset("ab"), frozenset("c")}, lambda: {frozenset("a"), frozenset("bc")}),
    "dict and its pairs": (lambda: {"a": 1}, lambda: [("a", 1)]),
    "dict and OrderedDict": (lambda: {"a": 1}, lambda: collections.OrderedDict(a=1)),
    "order of an OrderedDict": (
        lambda: collections.OrderedDict(a=1, b=2),
        lambda: collections.OrderedDict(b=2, a=1),
    ),
    "order of a defaultdict": (
        lambda: collections.defaultdict(list, a=[1], b=[2]),
        lambda: collections.defaultdict(list, b=[2], a=[1]),
    ),
    "default_factory": (lambda: collections.defaultdict(list), lambda: collections.defaultdict(set)),
    "dict and defaultdict": (dict, lambda: collections.defaultdict(list)),
    "dict and Counter": (lambda: {"a": 1}, lambda: collections.Counter("a")),
    "list and deque": (lambda: [1], lambda: collections.deque([1])),
    "maxlen": (lambda: collections.deque([1], 2), lambda: collections.deque([1], 3)),
    "slice": (lambda: slice(1, 2), lambda: slice(1, 2, 1)),
    "slice and range": (lambda: slice(0, 2, 1), lambda: range(0, 2, 1)),
    "range and list": (lambda: range(2), lambda: [0, 1]),
    "ellipsis": (lambda: ..., lambda: "Ellipsis"),
    "Decimal 1.5 and 1.50": (lambda: decimal.Decimal("1.5"), lambda: decimal.Decimal("1.50")),
    "Decimal and float": (lambda: decimal.Decimal("1.5"), lambda: 1.5),
    "Decimal -0": (lambda: decimal.Decimal("0"), lambda: decimal.Decimal("-0")),
    "Fraction": (lambda: fractions.Fraction(1, 2), lambda: 0.5),
    "UUID and text": (lambda: uuid.UUID(int=1), lambda: str(uuid.UUID(int=1))),
    "path and text": (lambda: pathlib.Path("a"), lambda: "a"),
    "path and pure path": (lambda: pathlib.Path("a"), lambda: pathlib.PurePosixPath("a")),
    "Windows path": (lambda: pathlib.PurePosixPath("a"), lambda: pathlib.PureWindowsPath("a")),
    "case of a path": (lambda: pathlib.PureWindowsPath("A"), lambda: pathlib.PureWindowsPath("B")),
    "flags of a pattern": (lambda: re.compile("a"), lambda: re.compile("a", re.I)),
    "pattern of bytes": (lambda: re.compile("a"), lambda: re.compile(b"a")),
    "types": (lambda: int, lambda: float),
    "type and name": (lambda: int, lambda: "int"),
    "generic alias": (lambda: list[int], lambda: list[str]),
    "unions": (lambda: int | str, lambda: int | float),
    "functions": (lambda: add_one, lambda: add_two),
    "builtin functions": (lambda: min, lambda: max),
    "ufuncs": (lambda: np.add, lambda: np.subtract),
    "numpy functions": (lambda: np.sum, lambda: np.mean),
    "method of another object": (lambda: "a".join, lambda: "b".join),
    "methods": (lambda: Plain(a=1).__init__, lambda: Plain(a=2).__init__),
    "unbound methods": (lambda: str.upper, lambda: str.lower),
    "lambdas": (lambda: lambda x: x + 1, lambda: lambda x: x + 2),
    "closures": (lambda: lambda_of(1), lambda: lambda_of(2)),
    "partial": (lambda: functools.partial(max, 1), lambda: functools.partial(max, 2)),
    "partial keywords": (
        lambda: functools.partial(max, key=abs),
        lambda: functools.partial(max, key=len),
    ),
    "partial and its function": (lambda: functools.partial(add_one), lambda: add_one),
    "itemgetter": (lambda: operator.itemgetter(1), lambda: operator.itemgetter(2)),
    "array of another code": (lambda: array.array("i", [1]), lambda: array.array("l", [1])),
    "MappingProxyType": (lambda: types.MappingProxyType({"a": 1}), lambda: {"a": 1}),
    # dates
    "date and datetime": (lambda: datetime.date(2024, 1, 1), lambda: datetime.datetime(2024, 1, 1)),
    "datetime and Timestamp": (lambda: DAY, lambda: pd.Timestamp(DAY)),
    "fold": (lambda: DAY, lambda: DAY.replace(fold=1)),
    "fold with a zone": (
        lambda: datetime.datetime(2024, 10, 27, 2, 30, tzinfo=PARIS),
        lambda: datetime.datetime(2024, 10, 27, 2, 30, tzinfo=PARIS, fold=1),
    ),
    "zone and no zone": (lambda: DAY, lambda: DAY.replace(tzinfo=datetime.UTC)),
    "zones of one offset": (
        lambda: DAY.replace(tzinfo=PARIS),
        lambda: DAY.replace(tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    ),
    "zone and offset": (
        lambda: DAY.replace(tzinfo=PARIS),
        lambda: DAY.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
    ),
    "one moment in two zones": (
        lambda: DAY.replace(tzinfo=datetime.UTC),
        lambda: DAY.replace(tzinfo=datetime.UTC).astimezone(PARIS),
    ),
    "name of a zone": (
        lambda: datetime.timezone(datetime.timedelta(0)),
        lambda: datetime.timezone(datetime.timedelta(0), "x"),
    ),
    "pytz and zoneinfo": (lambda: pytz.timezone("Europe/Paris"), lambda: PARIS),
    "pytz zones": (lambda: pytz.timezone("Europe/Paris"), lambda: pytz.timezone("Europe/Berlin")),
    "time of a zone": (lambda: datetime.time(1), lambda: datetime.time(1, tzinfo=datetime.UTC)),
    "timedelta and seconds": (lambda: datetime.timedelta(seconds=1), lambda: 1),
    "timedelta and Timedelta": (lambda: datetime.timedelta(1), lambda: pd.Timedelta(days=1)),
    "microseconds": (lambda: DAY, lambda: DAY.replace(microsecond=1)),
    "unit of a Timestamp": (lambda: pd.Timestamp("2024").as_unit("s"), lambda: pd.Timestamp("2024").as_unit("ns")),
    "zone of a Timestamp": (lambda: pd.Timestamp("2024"), lambda: pd.Timestamp("2024", tz="UTC")),
    "nanoseconds": (lambda: pd.Timestamp(1), lambda: pd.Timestamp(2)),
    "unit of a Timedelta": (
        lambda: pd.Timedelta(days=1).as_unit("s"),
        lambda: pd.Timedelta(days=1).as_unit("ns"),
    ),
    "NaT and NA": (lambda: pd.NaT, lambda: pd.NA),
    "NaT and None": (lambda: pd.NaT, lambda: None),
    "Period": (lambda: pd.Period("2024-01", "M"), lambda: pd.Period("2024-01", "D")),
    "Interval": (lambda: pd.Interval(0, 1, "left"), lambda: pd.Interval(0, 1, "right")),
    "Interval of floats": (lambda: pd.Interval(0, 1), lambda: pd.Interval(0.0, 1.0)),
    # date offsets
    "offset n": (lambda: pd.offsets.Day(1), lambda: pd.offsets.Day(2)),
    "offset normalize": (
        lambda: pd.offsets.MonthEnd(1),
        lambda: pd.offsets.MonthEnd(1, normalize=True),
    ),
    "offset kind": (lambda: pd.offsets.MonthEnd(), lambda: pd.offsets.MonthBegin()),
    "holidays": (lambda: offset(holidays=["2024-01-02"]), lambda: offset(holidays=["2024-01-03"])),
    "weekmask": (lambda: offset(weekmask="Mon Tue"), lambda: offset(weekmask="Mon Wed")),
    "DateOffset": (lambda: pd.DateOffset(months=1), lambda: pd.DateOffset(days=31)),
    "week": (lambda: pd.offsets.Week(weekday=1), lambda: pd.offsets.Week(weekday=2)),
    "quarter": (
        lambda: pd.offsets.BQuarterEnd(startingMonth=1),
        lambda: pd.offsets.BQuarterEnd(startingMonth=2),
    ),
    "hours": (
        lambda: pd.offsets.BusinessHour(start="09:00"),
        lambda: pd.offsets.BusinessHour(start="10:00"),
    ),
    "busdaycalendar": (
        lambda: np.busdaycalendar(holidays=["2024-01-02"]),
        lambda: np.busdaycalendar(holidays=["2024-01-03"]),
    ),
    # subclasses of plain types
    "str subclass": (lambda: "a", lambda: Text("a")),
    "str subclass attribute": (
        lambda: with_attributes(Text("a"), unit="m"),
        lambda: with_attributes(Text("a"), unit="s"),
    ),
    "int subclass": (lambda: 1, lambda: Number(1)),
    "float subclass": (lambda: 1.0, lambda: Real(1)),
    "float subclass value": (lambda: Real(1), lambda: Real(2)),
    "float subclass and its zero": (lambda: Real(0.0), lambda: Real(-0.0)),
    "list subclass": (lambda: [1], lambda: Items([1])),
    "list subclass content": (lambda: Items([1]), lambda: Items([2])),
    "dict subclass": (lambda: {"a": 1}, lambda: Mapping(a=1)),
    "dict subclass order": (lambda: Mapping(a=1, b=2), lambda: Mapping(b=2, a=1)),
    "set subclass": (lambda: {1}, lambda: Names({1})),
    "set subclass attribute": (
        lambda: with_attributes(Names({1}), unit="m"),
        lambda: with_attributes(Names({1}), unit="s"),
    ),
    "frozenset subclass": (lambda: Names({1}), lambda: FrozenNames({1})),
    "tuple subclass": (lambda: (1, 2), lambda: Couple((1, 2))),
    "NamedTuple and tuple": (lambda: (1, 2), lambda: Point(1, 2)),
    "two NamedTuples": (lambda: Point(1, 2), lambda: Place(1, 2)),
    "dict in a NamedTuple": (lambda: Point({"a": 1, "b": 2}, 0), lambda: Point({"b": 2, "a": 1}, 0)),
    "datetime subclass": (lambda: Moment(2024, 1, 1), lambda: datetime.datetime(2024, 1, 1)),
    "datetime subclass fold": (lambda: Moment(2024, 1, 1), lambda: Moment(2024, 1, 1, fold=1)),
    # enums
    "members": (lambda: Color.RED, lambda: Color.BLUE),
    "member and value": (lambda: Color.RED, lambda: 1),
    "enums of one name": (lambda: Color.RED, lambda: Paint.RED),
    "IntEnum and int": (lambda: Level.LOW, lambda: 1),
    "edited value": (lambda: edited_enum(1), lambda: edited_enum(2)),
    "flags without a name": (lambda: Mode(4), lambda: Mode(8)),
    "no flag": (lambda: Mode(0), lambda: Mode(4)),
    "flags joined": (lambda: Mode.READ | Mode.WRITE, lambda: Mode.READ),
    "Flag and IntFlag": (lambda: Rights.READ, lambda: Mode.READ),
    # objects
    "attribute": (lambda: Plain(a=1), lambda: Plain(a=2)),
    "attribute type": (lambda: Plain(a=1), lambda: Plain(a=True)),
    "attribute name": (lambda: Plain(a=1), lambda: Plain(b=1)),
    "another attribute": (lambda: Plain(a=1), lambda: Plain(a=1, b=None)),
    "class": (lambda: Plain(a=1), lambda: Other(a=1)),
    "class as a value": (lambda: Plain, lambda: Other),
    "class and instance": (lambda: Plain, lambda: Plain()),
    "slots": (lambda: Slotted(0.1, 5), lambda: Slotted(0.1, 50)),
    "slots and attributes": (
        lambda: with_attributes(SlottedBelow(0.1, 5), more=1),
        lambda: with_attributes(SlottedBelow(0.1, 5), more=2),
    ),
    "dataclass field": (lambda: Config(0.1), lambda: Config(0.2)),
    "dataclass class": (lambda: Config(0.1), lambda: ConfigOfSteps(0.1)),
    "dataclass subclass": (lambda: BiggerConfig(0.1, 5), lambda: BiggerConfig(0.1, 50)),
    "dataclass and its subclass": (lambda: Config(0.1), lambda: BiggerConfig(0.1, 5)),
    "__post_init__": (lambda: Scaled(0.5, 2), lambda: Scaled(0.5, 20)),
    "dataclass attribute": (
        lambda: with_attributes(Config(0.1), more=1),
        lambda: with_attributes(Config(0.1), more=2),
    ),
    "dataclass slots": (lambda: SlotConfig(0.1), lambda: SlotConfig(0.2)),
    "dataclass in a dataclass": (lambda: Nested(Config(1)), lambda: Nested(Config(2))),
    "array in a dataclass": (lambda: Config(np.array([1, 2])), lambda: Config(np.array([1, 3]))),
    "frame in a dataclass": (lambda: Config(frame_of(x=[1])), lambda: Config(frame_of(x=[2]))),
    "SimpleNamespace": (lambda: types.SimpleNamespace(a=1), lambda: types.SimpleNamespace(a=2)),
    "SimpleNamespace and dict": (lambda: types.SimpleNamespace(a=1), lambda: {"a": 1}),
    "cached property": (lambda: Lazy(1.0), lambda: Lazy(2.0)),
    "own __getstate__": (lambda: Without(0.1), lambda: Without(0.2)),
    "rings": (lambda: ring("a", "b", "c"), lambda: ring("a", "c", "b")),
    "rings of other length": (lambda: ring("a", "a"), lambda: ring("a", "a", "a")),
    "list in itself": (lambda: holds_itself(1), lambda: holds_itself(2)),
    "exceptions": (lambda: ValueError("a"), lambda: ValueError("b")),
    "random generators": (lambda: np.random.default_rng(1), lambda: np.random.default_rng(2)),
    "state of a generator": (lambda: np.random.default_rng(1), lambda: drawn(np.random.default_rng(1))),
    "RandomState": (lambda: np.random.RandomState(1), lambda: np.random.RandomState(2)),
    # numpy
    "transposed": (lambda: GRID, lambda: GRID.T),
    "C and F content": (lambda: np.arange(4).reshape(2, 2), lambda: np.arange(4).reshape(2, 2, order="F")),
    "shape": (lambda: np.zeros((2, 3)), lambda: np.zeros((3, 2))),
    "flat and column": (lambda: np.zeros(2), lambda: np.zeros((2, 1))),
    "0-d and 1-d": (lambda: np.array(1), lambda: np.array([1])),
    "empty shapes": (lambda: np.zeros((0, 2)), lambda: np.zeros((0, 3))),
    "int32 and int64": (lambda: np.zeros(2, "i4"), lambda: np.zeros(2, "i8")),
    "int and uint": (lambda: np.zeros(2, "i8"), lambda: np.zeros(2, "u8")),
    "bool and uint8": (lambda: np.ones(2, bool), lambda: np.ones(2, "u1")),
    "byte order": (lambda: np.array([1], ">i4"), lambda: np.array([1], "<i4")),
    "bytes of another order": (lambda: np.array([1], ">i4"), lambda: np.array([2**24], "<i4")),
    "float and int bits": (lambda: np.zeros(2, "f8"), lambda: np.zeros(2, "i8")),
    "array and list": (lambda: np.array([1, 2]), lambda: [1, 2]),
    "array and scalar": (lambda: np.array(1.0), lambda: np.float64(1.0)),
    "np.float64 and float": (lambda: np.float64(1.0), lambda: 1.0),
    "np.int64 and np.int32": (lambda: np.int64(1), lambda: np.int32(1)),
    "np.bool and bool": (lambda: np.bool_(True), lambda: True),
    "np.str_ and str": (lambda: np.str_("a"), lambda: "a"),
    "-0.0 in an array": (lambda: np.array([0.0]), lambda: np.array([-0.0])),
    "nan and inf": (lambda: np.array([np.nan]), lambda: np.array([np.inf])),
    "last cell": (lambda: np.arange(70_000.0), lambda: with_cell(np.arange(70_000.0), -1, 0)),
    "datetime units": (lambda: np.array(["2024"], "M8[s]"), lambda: np.array(["2024"], "M8[ms]")),
    "datetime and timedelta": (lambda: np.array([1], "M8[s]"), lambda: np.array([1], "m8[s]")),
    "NaT": (lambda: np.array(["NaT"], "M8[s]"), lambda: np.array([0], "M8[s]")),
    "width of text": (lambda: np.array(["a"], "U1"), lambda: np.array(["a"], "U2")),
    "bytes and text": (lambda: np.array(["a"]), lambda: np.array([b"a"])),
    "StringDType": (lambda: np.array(["a"], np.dtypes.StringDType()), lambda: np.array(["a"])),
    "StringDType content": (
        lambda: np.array(["a"], np.dtypes.StringDType()),
        lambda: np.array(["b"], np.dtypes.StringDType()),
    ),
    "objects": (lambda: cells("a-b", "c"), lambda: cells("a", "b-c")),
    "object text and text": (lambda: cells("a"), lambda: np.array(["a"])),
    "None and nan in objects": (lambda: cells(None), lambda: cells(NAN)),
    "nan and NaT in objects": (lambda: cells(NAN), lambda: cells(pd.NaT)),
    "NA and NaT in objects": (lambda: cells(pd.NA), lambda: cells(pd.NaT)),
    "1 and True in objects": (lambda: cells(1), lambda: cells(True)),
    "list and tuple in objects": (lambda: cells([1], 0), lambda: cells((1,), 0)),
    "float and np.float64 in objects": (lambda: cells(1.0), lambda: cells(np.float64(1.0))),
    "field names": (lambda: np.zeros(1, [("a", "i4")]), lambda: np.zeros(1, [("b", "i4")])),
    "field values": (
        lambda: np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
        lambda: np.array([(1, 3.0)], [("a", "i4"), ("b", "f8")]),
    ),
    "recarray": (lambda: np.zeros(1, [("a", "i4")]), lambda: np.zeros(1, [("a", "i4")]).view(np.recarray)),
    "array subclass": (lambda: np.arange(2), lambda: np.arange(2).view(Quantity)),
    "masked and not": (lambda: np.array([1, 2]), lambda: np.ma.array([1, 2])),
    "masked value": (
        lambda: np.ma.array([1, 2], mask=[False, True]),
        lambda: np.ma.array([5, 2], mask=[False, True]),
    ),
    "mask": (lambda: np.ma.array([1, 2], mask=[0, 1]), lambda: np.ma.array([1, 2], mask=[1, 0])),
    "fill value": (lambda: np.ma.array([1], fill_value=0), lambda: np.ma.array([1], fill_value=1)),
    "complex cells": (lambda: np.array([1 + 2j]), lambda: np.array([2 + 1j])),
    "dtypes": (lambda: np.dtype("i4"), lambda: np.dtype("i8")),
    # indexes
    "RangeIndex and Index": (lambda: pd.RangeIndex(2), lambda: pd.Index([0, 1])),
    "RangeIndex step": (lambda: pd.RangeIndex(0, 4, 2), lambda: pd.RangeIndex(0, 2)),
    "index name": (lambda: pd.Index([1]), lambda: pd.Index([1], name="a")),
    "name 1 and '1'": (lambda: pd.Index([1], name=1), lambda: pd.Index([1], name="1")),
    "index dtype": (lambda: pd.Index([1], dtype="i8"), lambda: pd.Index([1], dtype="i4")),
    "index of objects": (lambda: pd.Index(["a"]), lambda: pd.Index(["a"], dtype=object)),
    "freq": (
        lambda: pd.DatetimeIndex(["2024-01-01", "2024-01-02"], freq="D"),
        lambda: pd.DatetimeIndex(["2024-01-01", "2024-01-02"]),
    ),
    "freq with holidays": (
        lambda: pd.date_range("2024-01-08", periods=2, freq=offset(holidays=["2024-01-01"])),
        lambda: pd.date_range("2024-01-08", periods=2, freq=offset(holidays=["2024-01-02"])),
    ),
    "zone of an index": (
        lambda: pd.DatetimeIndex(["2024"], tz="UTC"),
        lambda: pd.DatetimeIndex(["2024"], tz="Europe/London"),
    ),
    "unit of an index": (
        lambda: pd.DatetimeIndex(["2024"]).as_unit("s"),
        lambda: pd.DatetimeIndex(["2024"]).as_unit("ns"),
    ),
    "timedelta freq": (
        lambda: pd.timedelta_range("1h", periods=2, freq="1h"),
        lambda: pd.TimedeltaIndex(pd.timedelta_range("1h", periods=2, freq="1h"), freq=None),
    ),
    "period freq": (
        lambda: pd.PeriodIndex(["2024-01"], freq="M"),
        lambda: pd.PeriodIndex(["2024-01"], freq="D"),
    ),
    "categories of an index": (
        lambda: pd.CategoricalIndex(["a"], ["a", "b"]),
        lambda: pd.CategoricalIndex(["a"], ["a"]),
    ),
    "closed": (lambda: pd.interval_range(0, 2), lambda: pd.interval_range(0, 2, closed="left")),
    "MultiIndex and tuples": (
        lambda: pd.MultiIndex.from_tuples([("a", 1)]),
        lambda: pd.Index([("a", 1)], tupleize_cols=False),
    ),
    "MultiIndex names": (
        lambda: pd.MultiIndex.from_tuples([("a", 1)], names=["x", "y"]),
        lambda: pd.MultiIndex.from_tuples([("a", 1)], names=["y", "x"]),
    ),
    "order of levels": (lambda: levels("a", "b"), lambda: levels("b", "a", codes=(1, 0))),
    "unused level value": (lambda: levels("a", "b"), lambda: levels("a", "b", "c")),
    "labels": (lambda: levels("a", "b"), lambda: levels("a", "b", codes=(1, 0))),
    "missing label": (lambda: levels("a", "b"), lambda: levels("a", "b", codes=(0, -1))),
    # series and frames
    "series and frame": (lambda: pd.Series([1], name="a"), lambda: frame_of(a=[1])),
    "series and array": (lambda: pd.Series([1]), lambda: pd.array([1])),
    "series and index": (lambda: pd.Series([1]), lambda: pd.Index([1])),
    "series name": (lambda: pd.Series([1], name="a"), lambda: pd.Series([1], name="b")),
    "series name None": (lambda: pd.Series([1]), lambda: pd.Series([1], name="None")),
    "column order": (lambda: frame_of(a=[1], b=[2]), lambda: frame_of(b=[2], a=[1])),
    "column label": (lambda: frame_of(a=[1]), lambda: frame_of(b=[1])),
    "labels 0 and '0'": (lambda: pd.DataFrame({0: [1]}), lambda: pd.DataFrame({"0": [1]})),
    "column names": (lambda: frame_of(a=[1]), lambda: frame_of(a=[1]).rename_axis(columns="c")),
    "swapped content": (lambda: frame_of(a=[1], b=[2]), lambda: frame_of(a=[2], b=[1])),
    "inserted and appended": (appended, inserted),
    "moved between columns": (lambda: frame_of(a=[1, 2], b=[3, 4]), lambda: frame_of(a=[1, 3], b=[2, 4])),
    "row order": (lambda: frame_of(a=[1, 2]), lambda: frame_of(a=[1, 2]).iloc[::-1]),
    "reset rows": (lambda: frame_of(a=[1, 2]).iloc[1:], lambda: frame_of(a=[1, 2]).iloc[1:].reset_index(drop=True)),
    "row label": (lambda: frame_of(a=[1]), lambda: pd.DataFrame({"a": [1]}, index=[5])),
    "empty rows": (lambda: pd.DataFrame(index=range(2)), lambda: pd.DataFrame(index=range(3))),
    "empty columns": (lambda: pd.DataFrame({"a": []}), lambda: pd.DataFrame({"b": []})),
    "dtype of no rows": (
        lambda: pd.DataFrame({"a": np.array([], "i8")}),
        lambda: pd.DataFrame({"a": np.array([], "f8")}),
    ),
    "cell": (lambda: frame_of(a=[1.0, 2.0]), lambda: frame_of(a=[1.0, np.nextafter(2, 3)])),
    "column dtype": (lambda: frame_of(a=[1]), lambda: frame_of(a=[1.0])),
    "attrs": (lambda: of_attrs(frame_of(a=[1]), unit="m"), lambda: of_attrs(frame_of(a=[1]), unit="s")),
    "attrs of a series": (lambda: of_attrs(pd.Series([1]), unit="m"), lambda: pd.Series([1])),
    "flags": (lambda: of_flags(frame_of(a=[1])), lambda: frame_of(a=[1])),
    "frame subclass": (lambda: Measures({"x": [1]}), lambda: frame_of(x=[1])),
    "frame subclass metadata": (lambda: measures("m"), lambda: measures("s")),
    "object text": (lambda: objects("a-b", "c"), lambda: objects("a", "b-c")),
    "text moved over cells": (lambda: pd.Series(["ab", "c"]), lambda: pd.Series(["a", "bc"])),
    "slices of text": (
        lambda: pd.Series(TEXT).iloc[0:3].reset_index(drop=True),
        lambda: pd.Series(TEXT).iloc[3:6].reset_index(drop=True),
    ),
    "heads of text": (lambda: pd.Series(TEXT).head(2), lambda: pd.Series(TEXT).head(3)),
    "None and '' in text": (lambda: pd.Series(["a", None]), lambda: pd.Series(["a", ""])),
    "None and 'None' in text": (lambda: pd.Series(["a", None]), lambda: pd.Series(["a", "None"])),
    "place of a null": (lambda: pd.Series(["a", None, ""]), lambda: pd.Series(["a", "", None])),
    "long text": (lambda: pd.Series(["x" * 300, "y"]), lambda: pd.Series(["x" * 299, "xy"])),
    "long text moved": (
        lambda: pd.Series(["x" * 300, "x" * 400]),
        lambda: pd.Series(["x" * 400, "x" * 300]),
    ),
    "str and object": (lambda: pd.Series(["a"]), lambda: objects("a")),
    "str and string": (lambda: pd.Series(["a"]), lambda: pd.Series(["a"], dtype="string")),
    "string storages": (
        lambda: pd.Series(["a"], dtype="string[python]"),
        lambda: pd.Series(["a"], dtype="string[pyarrow]"),
    ),
    "string and Arrow string": (
        lambda: pd.Series(["a"], dtype="string"),
        lambda: pd.Series(["a"], dtype=pd.ArrowDtype(pa.string())),
    ),
    "python strings": (
        lambda: pd.Series(["a", None], dtype="string[python]"),
        lambda: pd.Series(["a", ""], dtype="string[python]"),
    ),
    "Int64 and int64": (lambda: pd.Series([1], dtype="Int64"), lambda: pd.Series([1])),
    "Int64 and Arrow": (lambda: pd.Series([1], dtype="Int64"), lambda: pd.Series([1], dtype="int64[pyarrow]")),
    "Int64 missing": (lambda: pd.array([1, None], dtype="Int64"), lambda: pd.array([1, 0], dtype="Int64")),
    "Int64 and Int32": (lambda: pd.array([1], dtype="Int64"), lambda: pd.array([1], dtype="Int32")),
    "boolean missing": (
        lambda: pd.array([True, None], dtype="boolean"),
        lambda: pd.array([None, True], dtype="boolean"),
    ),
    "Float64 and float64": (lambda: pd.Series([1.5], dtype="Float64"), lambda: pd.Series([1.5])),
    "categories": (lambda: pd.Categorical(["a"], ["a", "b"]), lambda: pd.Categorical(["a"], ["a"])),
    "order of categories": (
        lambda: pd.Categorical(["a"], ["a", "b"]),
        lambda: pd.Categorical(["a"], ["b", "a"]),
    ),
    "ordered": (lambda: pd.Categorical(["a"], ordered=True), lambda: pd.Categorical(["a"])),
    "categories of 1 and 1.0": (lambda: pd.Categorical([1]), lambda: pd.Categorical([1.0])),
    "missing category": (lambda: pd.Categorical(["a", None]), lambda: pd.Categorical([None, "a"])),
    "interval sides": (
        lambda: pd.arrays.IntervalArray.from_breaks([0, 1]),
        lambda: pd.arrays.IntervalArray.from_breaks([0, 1], closed="both"),
    ),
    "interval breaks": (
        lambda: pd.arrays.IntervalArray.from_breaks([0, 1, 3]),
        lambda: pd.arrays.IntervalArray.from_breaks([0, 2, 3]),
    ),
    "sparse fill": (
        lambda: pd.arrays.SparseArray([0.0, 1.0], fill_value=0.0),
        lambda: pd.arrays.SparseArray([0.0, 1.0], fill_value=np.nan),
    ),
    "sparse place": (lambda: pd.arrays.SparseArray([0, 1, 0]), lambda: pd.arrays.SparseArray([0, 0, 1])),
    "sparse length": (lambda: pd.arrays.SparseArray([0, 1]), lambda: pd.arrays.SparseArray([0, 1, 0])),
    "sparse -0.0": (
        lambda: sparse_stored([0.0, 1.0], [0, 1], 2),
        lambda: sparse_stored([-0.0, 1.0], [0, 1], 2),
    ),
    "sparse and dense": (lambda: pd.Series(pd.arrays.SparseArray([0, 1])), lambda: pd.Series([0, 1])),
    "times of zones": (
        lambda: pd.Series(pd.to_datetime(["2024"]).tz_localize("UTC")),
        lambda: pd.Series(pd.to_datetime(["2024"]).tz_localize("Europe/London")),
    ),
    "times of units": (
        lambda: pd.Series(pd.to_datetime(["2024"])).dt.as_unit("s"),
        lambda: pd.Series(pd.to_datetime(["2024"])).dt.as_unit("ns"),
    ),
    "times and durations": (
        lambda: pd.Series(np.array([1], "M8[ns]")),
        lambda: pd.Series(np.array([1], "m8[ns]")),
    ),
    "zones of pytz": (
        lambda: pd.Series(pd.DatetimeIndex(["2024"], tz=pytz.timezone("Europe/Paris"))),
        lambda: pd.Series(pd.DatetimeIndex(["2024"], tz=PARIS)),
    ),
    "periods": (
        lambda: pd.Series(pd.period_range("2024", periods=2, freq="M")),
        lambda: pd.Series(pd.period_range("2024", periods=2, freq="Q")),
    ),
    "missing objects": (lambda: objects("a", None), lambda: objects("a", NAN)),
    "dates and times": (
        lambda: objects(datetime.date(2024, 1, 1)),
        lambda: objects(datetime.datetime(2024, 1, 1)),
    ),
    "decimals": (lambda: objects(decimal.Decimal("1.0")), lambda: objects(decimal.Decimal("1.00"))),
    "lists of cells": (lambda: objects([1, 2], [3]), lambda: objects([1], [2, 3])),
    "sets of cells": (lambda: objects({"a", "b"}), lambda: objects({"a", "c"})),
    "arrays of cells": (lambda: objects(np.array([1, 2])), lambda: objects(np.array([1, 3]))),
    "frames of cells": (lambda: objects(frame_of(a=[1])), lambda: objects(frame_of(a=[2]))),
    "dtypes of pandas": (lambda: pd.CategoricalDtype(["a"]), lambda: pd.CategoricalDtype(["b"])),
    "Grouper": (lambda: pd.Grouper("a"), lambda: pd.Grouper("b")),
    # Arrow and polars
    "arrow type": (lambda: pa.array([1], pa.int32()), lambda: pa.array([1], pa.int64())),
    "arrow slices": (lambda: pa.array(TEXT)[0:3], lambda: pa.array(TEXT)[3:6]),
    "arrow lengths": (lambda: pa.array(TEXT)[0:2], lambda: pa.array(TEXT)[0:3]),
    "arrow bits": (lambda: pa.array([True, False] * 9)[0:5], lambda: pa.array([True, False] * 9)[1:6]),
    "arrow null": (lambda: pa.array([1, None]), lambda: pa.array([None, 1])),
    "arrow null and 0": (lambda: pa.array([0, None]), lambda: pa.array([None, 0])),
    "arrow nan and null": (lambda: pa.array([NAN]), lambda: pa.array([None], pa.float64())),
    "arrow length of nulls": (lambda: pa.nulls(1), lambda: pa.nulls(2)),
    "arrow lists": (lambda: pa.array([[1, 2], [3]]), lambda: pa.array([[1], [2, 3]])),
    "arrow empty and null list": (lambda: pa.array([[], None, [1]]), lambda: pa.array([None, [], [1]])),
    "arrow structs": (lambda: pa.array([{"a": 1, "b": 2}]), lambda: pa.array([{"a": 2, "b": 1}])),
    "arrow null struct": (lambda: pa.array([None, {"a": None}]), lambda: pa.array([{"a": None}, None])),
    "arrow fields": (lambda: pa.array([{"a": 1}]), lambda: pa.array([{"b": 1}])),
    "arrow maps": (lambda: arrow_map(("a", 1)), lambda: arrow_map(("a", 2))),
    "arrow fixed lists": (
        lambda: pa.array([[1, 2]], pa.list_(pa.int64(), 2)),
        lambda: pa.array([[2, 1]], pa.list_(pa.int64(), 2)),
    ),
    "arrow dictionary": (
        lambda: pa.DictionaryArray.from_arrays([0], ["a", "b"]),
        lambda: pa.DictionaryArray.from_arrays([0], ["a"]),
    ),
    "arrow dictionary value": (
        lambda: pa.array(["a", "b"]).dictionary_encode(),
        lambda: pa.array(["a", "b"]),
    ),
    "arrow decimals": (
        lambda: pa.array([decimal.Decimal("1.5")], pa.decimal128(5, 1)),
        lambda: pa.array([decimal.Decimal("1.5")], pa.decimal128(5, 2)),
    ),
    "arrow zones": (lambda: pa.array([0], pa.timestamp("s", "UTC")), lambda: pa.array([0], pa.timestamp("s"))),
    "arrow binary": (lambda: pa.array([b"a"]), lambda: pa.array(["a"])),
    "arrow large": (lambda: pa.array(["a"]), lambda: pa.array(["a"], pa.large_string())),
    "arrow array and chunks": (lambda: pa.array([1]), lambda: pa.chunked_array([[1]])),
    "arrow columns": (lambda: pa.table({"a": [1], "b": [2]}), lambda: pa.table({"b": [2], "a": [1]})),
    "arrow column names": (lambda: pa.table({"a": [1]}), lambda: pa.table({"b": [1]})),
    "arrow rows": (
        lambda: pa.table({"a": [1, 2]}).select([]),
        lambda: pa.table({"a": [1, 2, 3]}).select([]),
    ),
    "arrow metadata": (
        lambda: pa.table({"a": [1]}).replace_schema_metadata({"k": "1"}),
        lambda: pa.table({"a": [1]}).replace_schema_metadata({"k": "2"}),
    ),
    "arrow metadata keys": (
        lambda: pa.table({"a": [1]}).replace_schema_metadata({"k": "1v"}),
        lambda: pa.table({"a": [1]}).replace_schema_metadata({"k1": "v"}),
    ),
    "arrow batch and table": (lambda: pa.table({"a": [1]}), lambda: pa.record_batch({"a": [1]})),
    "arrow nullable": (
        lambda: pa.schema([pa.field("a", pa.int64())]),
        lambda: pa.schema([pa.field("a", pa.int64(), nullable=False)]),
    ),
    "arrow scalars": (lambda: pa.scalar(1), lambda: pa.scalar(1, pa.int32())),
    "arrow scalar null": (lambda: pa.scalar(None, pa.int64()), lambda: pa.scalar(0)),
    "arrow types": (lambda: pa.list_(pa.int64()), lambda: pa.list_(pa.int32())),
    "arrow column of pandas": (
        lambda: pd.Series([[1], [2, 3]], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
        lambda: pd.Series([[1, 2], [3]], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
    ),
    "polars and pandas": (lambda: pl.DataFrame({"a": [1]}), lambda: frame_of(a=[1])),
    "polars cells": (lambda: pl.DataFrame({"a": [1]}), lambda: pl.DataFrame({"a": [2]})),
    "polars names": (lambda: pl.DataFrame({"a": [1]}), lambda: pl.DataFrame({"b": [1]})),
    "polars types": (lambda: pl.Series("a", [1], pl.Int32), lambda: pl.Series("a", [1], pl.Int64)),
    "polars null": (lambda: pl.Series("a", ["x", None]), lambda: pl.Series("a", ["x", ""])),
    "polars height": (
        lambda: pl.DataFrame({"a": pl.Series([], dtype=pl.Int64)}),
        lambda: pl.DataFrame({"a": pl.Series([1], dtype=pl.Int64)}),
    ),
    "polars categories": (
        lambda: pl.Series(["a"], dtype=pl.Categorical),
        lambda: pl.Series(["b"], dtype=pl.Categorical),
    ),
}  # fmt: skip


EQUAL: dict[str, Pair] = {
    # plain values
    "nan and another nan": (lambda: NAN, lambda: -NAN),
    "interned text": (lambda: "a b", lambda: "".join(["a", " ", "b"])),
    "shared and copied lists": (lambda: [[1]] * 2, lambda: [[1], [1]]),
    "shared objects": (lambda: [Plain(a=1)] * 2, lambda: [Plain(a=1), Plain(a=1)]),
    "order of a set": (lambda: {"a", "b", "c"}, lambda: {"c", "b", "a"}),
    "order of a set of tuples": (lambda: {("a", 1), ("b", 2)}, lambda: {("b", 2), ("a", 1)}),
    "set after removals": (lambda: set("abc"), lambda: set("abcdefgh") - set("defgh")),
    "sets within": (
        lambda: {"k": [frozenset(["a", "b"]), {"c", "d"}]},
        lambda: {"k": [frozenset(["b", "a"]), {"d", "c"}]},
    ),
    "ranges": (lambda: range(0, 3, 2), lambda: range(0, 4, 2)),
    "no range": (lambda: range(0), lambda: range(5, 2)),
    "paths": (lambda: pathlib.Path("a/b"), lambda: pathlib.Path("a") / "b"),
    "patterns": (lambda: re.compile("a", re.I), lambda: re.compile("a", re.IGNORECASE)),
    "decimals": (lambda: decimal.Decimal("1.5"), lambda: decimal.Decimal(15) / 10),
    "copied dict": (lambda: {"a": [1]}, lambda: copy.deepcopy({"a": [1]})),
    "dict made by items": (lambda: {"a": 1, "b": 2}, lambda: dict(zip("ab", [1, 2], strict=True))),
    "huge int": (lambda: 10**5000, lambda: int("1" + "0" * 4299) * 10**701),
    "pickled tuple": (lambda: Point({"a": 1}, [2]), lambda: through_pickle(Point({"a": 1}, [2]))),
    "pickled deque": (lambda: collections.deque([1], 3), lambda: through_pickle(collections.deque([1], 3))),
    "moment": (lambda: DAY.replace(tzinfo=PARIS), lambda: through_pickle(DAY.replace(tzinfo=PARIS))),
    "lambda": (lambda: lambda_of(1), lambda: lambda_of(1)),
    "partial": (lambda: functools.partial(max, 1), lambda: functools.partial(max, 1)),
    # objects
    "order of attributes": (lambda: Plain(a=1, b=2), lambda: Plain(b=2, a=1)),
    "SimpleNamespace": (
        lambda: types.SimpleNamespace(a=1, b=2),
        lambda: types.SimpleNamespace(b=2, a=1),
    ),
    "property that was read": (lambda: Lazy(1.0), lambda: read(Lazy(1.0))),
    "what stays at home": (lambda: Without(0.1), lambda: through_pickle(Without(0.1))),
    "slots": (lambda: Slotted(0.1, 5), lambda: copy.copy(Slotted(0.1, 5))),
    "dataclass": (lambda: SlotConfig(0.1, frozenset("ab")), lambda: SlotConfig(0.1, frozenset("ba"))),
    "rings": (lambda: ring("a", "b", "c"), lambda: through_pickle(ring("a", "b", "c"))),
    "list in itself": (lambda: holds_itself(1), lambda: copy.deepcopy(holds_itself(1))),
    "flags joined": (lambda: Mode.READ | Mode.WRITE, lambda: Mode(3)),
    "pickled enum": (lambda: Color.RED, lambda: through_pickle(Color.RED)),
    "enum by value": (lambda: Color.RED, lambda: Color(1)),
    # numpy
    "C and F order": (lambda: GRID, lambda: np.asfortranarray(GRID)),
    "twice transposed": (lambda: GRID, lambda: GRID.T.copy().T),
    "strides": (lambda: np.arange(0, 10, 2), lambda: np.arange(10)[::2]),
    "negative strides": (lambda: np.array([2, 1, 0]), lambda: np.arange(3)[::-1]),
    "broadcast": (lambda: np.ones((2, 3)), lambda: np.broadcast_to(1.0, (2, 3))),
    "memmap": (lambda: np.arange(5.0), lambda: memmap(np.arange(5.0))),
    "read-only": (lambda: np.arange(3), lambda: np.frombuffer(np.arange(3).tobytes(), "i8")),
    "large strided": (lambda: np.arange(100_000.0), lambda: np.arange(200_000.0)[::2] / 2),
    "large transposed": (
        lambda: np.arange(120_000.0).reshape(300, 400),
        lambda: np.asfortranarray(np.arange(120_000.0).reshape(300, 400)),
    ),
    "nan of two kinds": (lambda: np.array([np.nan, np.nan]), negative_nan),
    "nan of two kinds, far": (
        lambda: np.append(np.zeros(40_000), [np.nan, np.nan]),
        lambda: np.append(np.zeros(40_000), negative_nan()),
    ),
    "native byte order": (lambda: np.array([1], "i4"), lambda: np.array([1], "=i4")),
    "padding": (lambda: padded(0), lambda: padded(7)),
    "fields of a wider array": (
        lambda: np.array([(1, 3.0)], [("a", "i8"), ("c", "f8")]),
        lambda: np.array([(1, 2, 3.0)], [("a", "i8"), ("b", "i8"), ("c", "f8")])[["a", "c"]],
    ),
    "padding of long doubles": (lambda: long_doubles(0), lambda: long_doubles(9)),
    "objects": (lambda: cells("a", None, [1]), lambda: through_pickle(cells("a", None, [1]))),
    "objects in F order": (
        lambda: np.array([["a", 1], [None, 2]], dtype=object),
        lambda: np.asfortranarray(np.array([["a", 1], [None, 2]], dtype=object)),
    ),
    "mask": (lambda: np.ma.array([1, 2]), lambda: np.ma.array([1, 2], mask=[False, False])),
    "masked": (
        lambda: np.ma.array([1, 2], mask=[0, 1]),
        lambda: through_pickle(np.ma.array([1, 2], mask=[0, 1])),
    ),
    "scalars": (lambda: np.float64(1.5), lambda: np.array([1.5])[0]),
    "subclass": (lambda: quantity("m"), lambda: quantity("m")),
    "generator": (lambda: np.random.default_rng(1), lambda: through_pickle(np.random.default_rng(1))),
    # pandas
    "blocks": (lambda: fragmented(5), lambda: fragmented(5).copy()),
    "consolidated": (
        lambda: frame_of(a=[1.0], b=[2], c=[3.0]),
        lambda: pd.concat([frame_of(a=[1.0]), frame_of(b=[2]), frame_of(c=[3.0])], axis=1),
    ),
    "rows of an array": (lambda: frame_of(a=[1.0, 3.0], b=[2.0, 4.0]), lambda: pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], columns=["a", "b"])),
    "wide": (
        lambda: pd.DataFrame(np.arange(600.0).reshape(3, 200)),
        lambda: pd.DataFrame({i: np.arange(3.0) * 200 + i for i in range(200)}, columns=pd.RangeIndex(200)),
    ),
    "inserted": (lambda: frame_of(sell=[3, 4], buy=[1, 2]), inserted),
    "sliced": (
        lambda: frame_of(a=["dee", "eve"], b=[3, 4]),
        lambda: frame_of(a=TEXT, b=range(6)).iloc[3:5].reset_index(drop=True),
    ),
    "sliced columns": (lambda: frame_of(a=[1.0], c=[3.0]), lambda: frame_of(a=[1.0], b=[2.0], c=[3.0])[["a", "c"]]),
    "every second row": (
        lambda: pd.DataFrame({"a": [0.0, 2.0]}, index=pd.RangeIndex(0, 4, 2)),
        lambda: pd.DataFrame({"a": np.arange(4.0)}).iloc[::2],
    ),
    "joined rows": (
        lambda: frame_of(a=TEXT, b=range(6)),
        lambda: pd.concat([frame_of(a=TEXT[:2], b=range(2)), frame_of(a=TEXT[2:], b=range(2, 6))], ignore_index=True),
    ),
    "joined and pickled": (
        lambda: pd.concat([frame_of(a=["x"]), frame_of(a=["y"])], ignore_index=True),
        lambda: through_pickle(pd.concat([frame_of(a=["x"]), frame_of(a=["y"])], ignore_index=True)),
    ),
    "through parquet": (
        lambda: frame_of(a=TEXT, b=np.arange(6.0), c=pd.Categorical(TEXT)),
        lambda: through_parquet(frame_of(a=TEXT, b=np.arange(6.0), c=pd.Categorical(TEXT))),
    ),
    "assigned": (lambda: frame_of(a=[1, 5]), lambda: changed(frame_of(a=[1, 2]))),
    "shallow copy": (lambda: frame_of(a=[1]), lambda: frame_of(a=[1]).copy(deep=False)),
    "below a missing number": (lambda: masked_with(2), lambda: masked_with(9)),
    "no missing number": (lambda: pd.array([1, 2], dtype="Int64"), lambda: pd.array([1, 2, None], dtype="Int64")[:2]),
    "Arrow text of two chunks": (
        lambda: pd.Series(["a", None, "b"]),
        lambda: pd.concat([pd.Series(["a"]), pd.Series([None, "b"], dtype="str")], ignore_index=True),
    ),
    "python strings": (
        lambda: pd.Series(["a", None], dtype="string[python]"),
        lambda: pd.Series(["x", "a", None], dtype="string[python]").iloc[1:].reset_index(drop=True),
    ),
    "categories": (
        lambda: pd.Categorical(["a", "b"], ["a", "b"]),
        lambda: pd.Categorical.from_codes([0, 1], ["a", "b"]),
    ),
    "sparse": (
        lambda: pd.arrays.SparseArray([0, 0, 1], kind="integer"),
        lambda: pd.arrays.SparseArray([0, 0, 1], kind="block"),
    ),
    "sparse with fills stored": (
        lambda: pd.arrays.SparseArray([0.0, 0.0, 1.0], fill_value=0.0),
        lambda: sparse_stored([0.0, 1.0], [1, 2], 3),
    ),
    "index name": (lambda: pd.Index([1], name="a"), lambda: pd.Index([1]).rename("a")),
    "index and slice": (lambda: pd.Index(["b", "c"]), lambda: pd.Index(["a", "b", "c"])[1:]),
    "date range": (
        lambda: pd.date_range("2024-01-01", periods=2, freq="D"),
        lambda: pd.DatetimeIndex(["2024-01-01", "2024-01-02"], freq="D").as_unit(pd.date_range("2024-01-01", periods=2, freq="D").unit),
    ),
    "RangeIndex": (lambda: pd.RangeIndex(0, 3, 2), lambda: pd.RangeIndex(0, 4, 2)),
    "MultiIndex": (lambda: levels("a", "b"), lambda: through_pickle(levels("a", "b"))),
    "MultiIndex that was asked": (lambda: levels("a", "b"), lambda: asked(levels("a", "b"))),
    "index that was asked": (lambda: pd.Index(["a", "b"]), lambda: asked(pd.Index(["a", "b"]))),
    "offset": (lambda: offset(holidays=["2024-01-02"]), lambda: through_pickle(offset(holidays=["2024-01-02"]))),
    "DateOffset": (lambda: pd.DateOffset(months=1, days=2), lambda: pd.DateOffset(days=2, months=1)),
    "Timestamp": (lambda: pd.Timestamp("2024", tz="UTC"), lambda: through_pickle(pd.Timestamp("2024", tz="UTC"))),
    "Period": (lambda: pd.Period("2024-01", "M"), lambda: pd.Period(year=2024, month=1, freq="M")),
    "attrs in another order": (
        lambda: of_attrs(frame_of(a=[1]), unit="m"),
        lambda: through_pickle(of_attrs(frame_of(a=[1]), unit="m")),
    ),
    "flags": (lambda: of_flags(frame_of(a=[1])), lambda: through_pickle(of_flags(frame_of(a=[1])))),
    "object cells": (
        lambda: objects({"b", "a"}, [1], Plain(a=1)),
        lambda: through_pickle(objects({"a", "b"}, [1], Plain(a=1))),
    ),
    "subclass of a frame": (lambda: measures("m"), lambda: through_pickle(measures("m"))),
    # Arrow and polars
    "arrow chunks": (lambda: pa.chunked_array([TEXT]), lambda: pa.chunked_array([TEXT[:1], TEXT[1:]])),
    "arrow empty chunk": (lambda: pa.chunked_array([[1]]), lambda: pa.chunked_array([[1], pa.array([], pa.int64())])),
    "arrow slice": (lambda: pa.array([3, None, 5]), lambda: pa.array([1, 2, 3, None, 5])[2:]),
    "arrow bits": (lambda: pa.array([True, None]), lambda: pa.array([False, True, None])[1:]),
    "arrow text slice": (lambda: pa.array(["b", None]), lambda: pa.array(["a", "b", None])[1:]),
    "below an arrow null": (lambda: arrow_null(2), lambda: arrow_null(9)),
    "below an arrow text null": (lambda: arrow_text_null(""), lambda: arrow_text_null("junk")),
    "arrow lists": (lambda: pa.array([[2], None]), lambda: pa.array([[1], [2], None])[1:]),
    "arrow structs": (
        lambda: pa.array([{"a": 2}, None]),
        lambda: pa.array([{"a": 1}, {"a": 2}, None])[1:],
    ),
    "arrow dictionary chunks": (
        lambda: pa.chunked_array([pa.array(["a", "b"]).dictionary_encode()]),
        lambda: pa.chunked_array([pa.array(["a"]).dictionary_encode(), pa.array(["b"]).dictionary_encode()]),
    ),
    "arrow nan": (lambda: pa.array(np.array([np.nan, np.nan])), lambda: pa.array(negative_nan())),
    "arrow table": (
        lambda: pa.table({"a": TEXT, "b": range(6)}),
        lambda: pa.concat_tables([pa.table({"a": TEXT[:2], "b": range(2)}), pa.table({"a": TEXT[2:], "b": range(2, 6)})]),
    ),
    "arrow table of pandas": (
        lambda: pa.Table.from_pandas(frame_of(a=TEXT)),
        lambda: through_pickle(pa.Table.from_pandas(frame_of(a=TEXT))),
    ),
    "arrow no rows": (lambda: pa.table({"a": pa.array([], pa.string())}), lambda: pa.table({"a": TEXT})[:0]),
    "arrow runs": (lambda: pa.array([1, 1, 2]), lambda: pa.array([0, 1, 1, 2])[1:]),
    "polars": (
        lambda: pl.DataFrame({"a": TEXT, "b": range(6)}),
        lambda: pl.concat([pl.DataFrame({"a": TEXT[:2], "b": range(2)}), pl.DataFrame({"a": TEXT[2:], "b": range(2, 6)})]),
    ),
    "polars slice": (lambda: pl.Series("a", ["b", None]), lambda: pl.Series("a", ["a", "b", None])[1:]),
    "polars categories": (
        lambda: pl.Series(["a", "b"], dtype=pl.Categorical),
        lambda: pl.Series(["b", "a"], dtype=pl.Categorical).reverse(),
    ),
}  # fmt: skip


def drawn(generator: np.random.Generator) -> np.random.Generator:
    generator.random()
    return generator


def edited_enum(value: int) -> enum.Enum:
    """Return a member as a module has it, and the same after an edit."""
    return enum.Enum("Edited", {"A": value}, module=__name__).A  # type: ignore[attr-defined]


def with_cell(values: np.ndarray, place: int, cell: Any) -> np.ndarray:
    values[place] = cell
    return values


def changed(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[1, "a"] = 5
    return frame


def arrow_map(*items: Any) -> pa.Array:
    return pa.array([[*items]], pa.map_(pa.string(), pa.int64()))


def sparse_stored(values: list[float], places: list[int], length: int) -> Any:
    from pandas._libs.sparse import IntIndex

    index = IntIndex(length, np.array(places, "i4"))
    with warnings.catch_warnings():
        # The way that all supported pandas have.
        warnings.simplefilter("ignore")
        return pd.arrays.SparseArray(
            np.array(values), sparse_index=index, fill_value=0.0
        )


def asked(index: pd.Index) -> pd.Index:
    """Return an index that has learnt how to look up its labels."""
    assert index.get_loc(index[1]) == 1
    assert index.is_unique
    return index


VALUES: dict[str, Callable[[], Any]] = {
    f"{kind}: {name} ({number})": make
    for kind, pairs in (("unequal", UNEQUAL), ("equal", EQUAL))
    for name, pair in pairs.items()
    for number, make in enumerate(pair)
}
"""All values, by the name of their pair and their number in it."""

CHANGED_BY_PICKLE = {
    "unequal: arrow rows",  # A table without columns loses its number of rows,
    "equal: subclass",  # an array of a class what was set on it.
    "unequal: edited value",  # Another process cannot import it,
    "unequal: busdaycalendar",  # nor is this one ever pickled.
}
"""Pairs that are other values after they were pickled, or cannot be."""


def is_sent(name: str) -> bool:
    """Return whether a value of `VALUES` comes out of a pickle as it was."""
    return name.rpartition(" (")[0] not in CHANGED_BY_PICKLE
