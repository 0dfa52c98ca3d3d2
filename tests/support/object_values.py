"""Values that tasks return, by the type of file: those it keeps, those it refuses."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import fractions
import math
import pathlib
import threading
import zoneinfo
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import pandas as pd


@dataclasses.dataclass
class Point:
    """A class of a user's own."""

    x: int
    y: float = 0.5


class Colour(enum.IntEnum):
    """An enum whose members are integers as well."""

    RED = 1


class Pair(NamedTuple):
    """A tuple with a class of its own."""

    left: object
    right: object


class Named(str):
    """Text with a class of its own."""


class OwnArray(np.ndarray):
    """An array with a class of its own."""


def holding_itself() -> list:
    """A list that is its own item."""
    items: list = [1]
    items.append(items)
    return items


def nested(depth: int) -> list:
    """A list in a list in a list."""
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def _rome(*parts: int, fold: int = 0) -> datetime.datetime:
    zone = zoneinfo.ZoneInfo("Europe/Rome")
    return datetime.datetime(*parts, tzinfo=zone, fold=fold)


_shared = [1, 2]

JSON_KEPT = {
    "dict": {"rmse": 0.25, "n": 3, "name": "x", "ok": True, "none": None},
    "empty dict": {},
    "empty list": [],
    "empty tuple": (),
    "empty set": set(),
    "empty text": "",
    "text": 'zwölf "Dinge"\n\t\x00\u2028 \N{SLICE OF PIZZA}',
    "zero": 0,
    "false": False,
    "big integer": 10**400,
    "negative zero": [-0.0, 0.0],
    "small floats": [5e-324, 0.1, 1 / 3, 1.7976931348623157e308],
    "nan": math.nan,
    "many nan": [math.nan, 1.0, -math.inf, math.inf],
    "nan among others": [math.nan, "NaN", None, 1.0, 2],
    "tuple": (1, 2),
    "tuples": [(1, 2), (3, 4)],
    "tuples and lists": [(1, 2), [3, 4], (5,)],
    "nested tuples": ((1, (2, [3, ()])),),
    "integer keys": {1: "a", 2: "b", -3: "c"},
    "number keys": {1: "a", 2.5: "b", "x": "c", None: "d"},
    "boolean keys": {True: 1, False: 0},
    "none key": {None: 1},
    "nan key": {math.nan: 1, math.inf: 2},
    "date keys": {datetime.date(2024, 1, 31): 1, datetime.date(2024, 2, 29): 2},
    "numpy keys": {np.int64(3): 0.5, np.str_("x"): 1},
    "order of keys": {"z": 1, "a": 2, "m": {"y": 1, "b": 2}},
    "keys with dots": {"a.b": 1, "[0]": 2, "": 3, "é": 4},
    "numpy floats": [np.float64(0.1), np.float32(0.1), np.float16(0.1)],
    "numpy nan": {"a": np.float64("nan"), "b": np.float32("-inf")},
    "numpy integers": [np.int8(-1), np.uint64(2**64 - 1), np.int64(-(2**63))],
    "numpy booleans": {"a": np.True_, "b": np.False_},
    "numpy text": np.str_("x"),
    "numpy dates": [np.datetime64("2024-01-01"), np.datetime64("NaT", "ns")],
    "numpy durations": [np.timedelta64(3, "s"), np.timedelta64("NaT", "D")],
    "set": {3, 1, 2},
    "set of text": {"b", "a"},
    "set of nan": {math.nan, float("nan"), 1},
    "mixed set": {1, "1", 2.5, None, (1, 2), frozenset({3})},
    "date": datetime.date(2024, 2, 29),
    "time": datetime.time(12, 30, 0, 5),
    "datetime": datetime.datetime(2024, 1, 31, 12, 30, 0, 123456),
    "utc": datetime.datetime(2024, 1, 31, tzinfo=datetime.UTC),
    "offset": datetime.datetime(
        2024, 1, 31, tzinfo=datetime.timezone(datetime.timedelta(hours=5.5))
    ),
    "zone": _rome(2024, 7, 1, 12),
    "second hour of the change": _rome(2024, 10, 27, 2, 30, fold=1),
    "durations": [
        datetime.timedelta(days=-1, seconds=5),
        datetime.timedelta(days=400, microseconds=7),
        datetime.timedelta(),
    ],
    "decimals": [Decimal("1.50"), Decimal("NaN"), Decimal("1E+5"), Decimal("-0")],
    "timestamps": [
        pd.Timestamp("2024-01-31 12:00:00.123456789"),
        pd.Timestamp("2024-01-31", tz="Europe/Rome"),
        pd.Timestamp("2024-01-31", tz="UTC").as_unit("s"),
    ],
    "pandas missing": [pd.NaT, pd.NA, None, pd.Timedelta("1 day 2h")],
    "shared": [_shared, _shared],
    "deep": nested(149),
    "records": [{"a": i, "b": (i, str(i)), "c": float(i)} for i in range(50)],
    "long": [float(i) for i in range(60_000)],
}

JSON_REFUSED = {
    "array": ({"by": [1, 2, np.zeros(3)]}, 'result["by"][2] (numpy.ndarray'),
    "frame": ({"x": pd.DataFrame({"a": [1]})}, 'result["x"] (pandas.DataFrame'),
    "series": ([pd.Series([1])], "result[0] (pandas.Series"),
    "dataclass": ({"p": [Point(1)]}, 'result["p"][0]'),
    "enum": ({1: Colour.RED}, "result[1]"),
    "named tuple": ([[Pair(1, 2)]], "result[0][0]"),
    "ordered dict": ({"d": collections.OrderedDict(a=1)}, 'result["d"]'),
    "counter": (collections.Counter("aab"), "result (collections.Counter)"),
    "default dict": (collections.defaultdict(list), "result (collections.default"),
    "text of a class": ([Named("x")], "result[0]"),
    "key of a class": ({Named("x"): 1}, "its key 'x'"),
    "enum key": ({Colour.RED: 1}, "its key"),
    "tuple key": ({"a": {(1, 2): 3}}, 'result["a"] (its key (1, 2)'),
    "colliding keys": ({1: "a", "1": "b"}, "its keys 1 and '1' are the same text"),
    "colliding none": ({"null": 1, None: 2}, "are the same text"),
    "holding itself": ({"a": holding_itself()}, 'result["a"][1] (it holds itself'),
    "too deep": (nested(160), "nested deeper than 150 levels"),
    "half a character": ({"a": ["x", "\ud800"]}, 'result["a"][1]'),
    "half a key": ({"a": {"\udc00": 1}}, 'result["a"] (its key'),
    "half a character of numpy": (
        [{"a": np.str_("\ud800")}],
        'result[0]["a"] (its text',
    ),
    "half a key of numpy": ([{np.str_("\ud800"): 1}], "result[0] (its key"),
    "bytes": ([b"x"], "result[0] (bytes"),
    "complex": ([1j], "result[0] (complex"),
    "numpy complex": ([np.complex128(1j)], "result[0] (numpy.complex128"),
    "range": ({"r": range(3)}, 'result["r"] (range'),
    "path": ([pathlib.Path("x")], "result[0]"),
    "fraction": ([fractions.Fraction(1, 3)], "result[0]"),
    "function": ({"f": print}, 'result["f"]'),
    "class": ({"c": int}, 'result["c"]'),
    "generator": ((i for i in ()), "result (generator"),
    "array in a set": ({"s": {(1, b"x")}}, 'result["s"], its item'),
    "integer without end": ({"n": 10**5000}, 'result["n"] (an integer of more digits'),
    "hour of no time": ([_rome(2024, 3, 31, 2, 30)], "result[0]"),
}

NPY_KEPT = {
    **{
        name: np.arange(6).reshape(2, 3).astype(name)
        for name in (
            *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"),
            *("uint64", "float16", "float32", "float64", "complex64", "complex128"),
            *("longdouble", "clongdouble", ">f8", ">i2", "<U3", ">U2", "S4"),
            *("M8[ns]", "M8[D]", "m8[s]", "M8[25s]", "V8"),
        )
    },
    "empty": np.array([]),
    "no rows": np.empty((0, 3)),
    "no cells": np.empty((2, 0, 3), "int8"),
    "no dimensions": np.array(3.5),
    "no dimensions, text": np.array("text"),
    "nan": np.array([np.nan, np.inf, -np.inf, -0.0]),
    "nat": np.array(["NaT", "2024-01-01"], "M8[s]"),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "strided": np.arange(100)[::7],
    "backwards": np.arange(10)[::-1],
    "transposed": np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
    "broadcast": np.broadcast_to(np.arange(3), (4, 3)),
    "read-only": np.frombuffer(b"12345678", "int64"),
    "fields": np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")]),
    "nested fields": np.zeros(2, [("a", [("x", "i1"), ("y", "f4", (2,))])]),
    "packed fields": np.zeros(2, {"names": ["a"], "formats": ["i4"], "itemsize": 16}),
    "unicode": np.array(["zwölf", "", "\N{SLICE OF PIZZA}"]),
    "empty text": np.array(["", ""]),
    "many dimensions": np.zeros((1,) * 30),
    "large": np.arange(300_000, dtype="float64"),
}

NPY_REFUSED = {
    "objects": (np.array([1, "x", None], dtype=object), "holds Python objects"),
    "fields with objects": (np.zeros(1, [("a", "O")]), "holds Python objects"),
    "masked": (np.ma.masked_array([1, 2], [True, False]), ".data and .mask"),
    "records": (np.rec.array([(1,)], [("a", "i4")]), "numpy.asarray"),
    "own class": (np.zeros(2).view(OwnArray), "numpy.asarray"),
    "metadata": (np.zeros(1, np.dtype("i4", metadata={"a": 1})), "its dtype"),
    "aligned": (np.zeros(1, np.dtype([("a", "i1"), ("b", "f8")], align=True)), "dtype"),
    "overlapping fields": (
        np.zeros(1, {"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 0]}),
        "file type 'npy' cannot write it",
    ),
    "scalar": (np.float64(1), "numpy.asarray"),
    "list": ([1, 2], "Keep it with file type 'json'"),
    "frame": (pd.DataFrame({"a": [1]}), "PandasResultHandler"),
}
if hasattr(np.dtypes, "StringDType"):  # Since numpy 2.
    strings = np.array(["a"], np.dtypes.StringDType())
    NPY_REFUSED["strings"] = (strings, "astype(str)")

NPZ_KEPT = {
    **{name: {"x": values, "y": np.arange(2)} for name, values in NPY_KEPT.items()},
    "no arrays": {},
    "key called file": {"file": np.arange(3), "mode": np.arange(2)},
    "order": {"z": np.arange(1), "a": np.arange(2), "m": np.arange(3)},
    "key of the ending": {"a.npy": np.arange(1), "a": np.arange(2)},
    "empty key": {"": np.arange(1)},
    "key with a slash": {"a/b": np.arange(1), "../c": np.arange(1), "é": np.arange(1)},
}

NPZ_REFUSED = {
    "list": ({"a": np.arange(2), "b": [1]}, 'result["b"] (list'),
    "objects": ({"a": np.array([None])}, 'result["a"] (its dtype object'),
    "key": ({1: np.arange(2)}, "its key 1"),
    "half a key": ({"\ud800": np.arange(2)}, "its key"),
    "key with a null": ({"a\0b": np.arange(2)}, "its key"),
    "long key": ({"a" * 70_000: np.arange(2)}, "file type 'npz' cannot write it"),
    "array": (np.arange(2), "file type 'npy'"),
}

PICKLE_KEPT = {
    **JSON_KEPT,
    **{name: value for name, (value, _) in JSON_REFUSED.items()},
    **{f"npy {name}": values for name, values in NPY_KEPT.items()},
    "masked": np.ma.masked_array([1, 2], [True, False]),
    "objects": np.array([1, "x", None], dtype=object),
}
# What no pickle keeps, and a list that is compared by itself.
for _name in ("generator", "too deep"):
    del PICKLE_KEPT[_name]

PICKLE_REFUSED = {
    "lock": ({"a": [1, threading.Lock()]}, 'result["a"][1] (_thread.lock'),
    "generator": ((i for i in ()), "result (generator"),
    "turned and backwards": ({"a": np.arange(3, dtype=">f8")[::-1]}, "comes back as"),
    "set of generators": ([{"g": (i for i in ())}], 'result[0]["g"] (generator'),
    "generator in a dict": ({"a": (i for i in ())}, "object); return a list of its"),
}

TEXT_KEPT = {
    "empty": "",
    "lines": "a\r\nb\nc\rd",
    "null": "a\0b",
    "unicode": "zwölf \N{SLICE OF PIZZA} \u2028 \ufeff",
    "mark at the start": "\ufeffa",
    "long": "x" * 100_000,
}

TEXT_REFUSED = {
    "half a character": ("a\ud800", "its character 1"),
    "own class": (Named("x"), "return str(value)"),
    "bytes": (b"x", "Keep it with file type 'bin'"),
    "dict": ({"a": 1}, "file type 'json'"),
    "number": (1, "return str(value)"),
    "frames": (
        {"a": pd.DataFrame({"b": [1]})},
        "of 1). Keep it with file type 'pickle'",
    ),
    "arrays": ({"a": np.arange(2)}, "of 1). Keep it with file type 'npz', or keep"),
    "generator": (
        {"a": (i for i in ())},
        '. No file type keeps result["a"] (generator, which cannot be pickled: cannot '
        "pickle 'generator' object); return a list of its items",
    ),
}

BIN_KEPT = {
    "empty": b"",
    "all": bytes(range(256)),
    "long": b"\0" * 100_000,
    "line ends": b"\r\n\n\r\x1a",
}

BIN_REFUSED = {
    "array of bytes": (bytearray(b"x"), "return bytes(value)"),
    "view": (memoryview(b"x"), "return bytes(value)"),
    "text": ("x", "Keep it with file type 'json' or file type 'text'"),
}

# joblib turns the bytes of numbers round.
_TURNED = ("npy >f8", "npy >i2", "npy >U2")
JOBLIB_KEPT = {
    name: value for name, value in PICKLE_KEPT.items() if name not in _TURNED
}
JOBLIB_REFUSED = {
    **PICKLE_REFUSED,
    **{name: (PICKLE_KEPT[name], "comes back as") for name in _TURNED},
}

KEPT = {
    "json": JSON_KEPT,
    "npy": NPY_KEPT,
    "npz": NPZ_KEPT,
    "pickle": PICKLE_KEPT,
    "joblib": JOBLIB_KEPT,
    "text": TEXT_KEPT,
    "bin": BIN_KEPT,
}

REFUSED = {
    "json": JSON_REFUSED,
    "npy": NPY_REFUSED,
    "npz": NPZ_REFUSED,
    "pickle": PICKLE_REFUSED,
    "joblib": JOBLIB_REFUSED,
    "text": TEXT_REFUSED,
    "bin": BIN_REFUSED,
}
