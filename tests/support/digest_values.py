"""Classes and makers of values, of which the pairs of digest tests are made."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import io
import pathlib
import pickle
import tempfile
import typing
import warnings
import zoneinfo
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

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
