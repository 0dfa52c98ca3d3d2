"""Pairs of values that are equal and were made differently.

Each value is a function, so that every process makes its own.
"""

from __future__ import annotations

import collections
import copy
import decimal
import functools
import pathlib
import re
import types

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from tests.support.digest_values import (
    DAY,
    GRID,
    NAN,
    PARIS,
    TEXT,
    Color,
    Lazy,
    Mode,
    Pair,
    Plain,
    Point,
    SlotConfig,
    Slotted,
    Without,
    arrow_null,
    arrow_text_null,
    asked,
    cells,
    changed,
    fragmented,
    frame_of,
    holds_itself,
    inserted,
    lambda_of,
    levels,
    long_doubles,
    masked_with,
    measures,
    memmap,
    negative_nan,
    objects,
    of_attrs,
    of_flags,
    offset,
    padded,
    quantity,
    read,
    ring,
    sparse_stored,
    through_parquet,
    through_pickle,
)

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
