"""Frames for tests: fifty named ones that have caused trouble somewhere, and a strategy for any others."""

import datetime
import decimal
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytz
from hypothesis import strategies as st


def _column(values: Any, dtype: Any = None) -> pd.DataFrame:
    return pd.DataFrame({"x": pd.Series(values, dtype=dtype)})


def _objects(*values: Any) -> pd.DataFrame:
    return _column(list(values), object)


def _indexed(index: pd.Index) -> pd.DataFrame:
    return pd.DataFrame({"x": np.arange(len(index))}, index=index)


def _levels(levels: Any, codes: Any) -> pd.MultiIndex:
    return pd.MultiIndex(levels=levels, codes=codes, names=["k", None])


def _labelled(columns: Any) -> pd.DataFrame:
    return pd.DataFrame([[1, 2.5], [3, 4.5]], columns=columns)


def _object_index(*names: Any) -> pd.DataFrame:
    return _indexed(pd.MultiIndex.from_arrays([[1, 1], ["a", "b"]], names=names))


DAYS = ["2024-02-29", "1999-12-31"]
INSTANTS = np.array(
    ["2024-02-29T12:34:56.123456789", "1969-12-31T23:59:59.999999999", "NaT"],
    dtype="M8[ns]",
)

NAMED_FRAMES: dict[str, Callable[[], pd.DataFrame]] = {
    # numbers
    "int64": lambda: _column([0, -1, 2**63 - 1, -(2**63)], "int64"),
    "int8": lambda: _column([0, -128, 127], "int8"),
    "uint64": lambda: _column([0, 2**64 - 1], "uint64"),
    "uint16": lambda: _column([0, 65535], "uint16"),
    "float64": lambda: _column([0.1 + 0.2, -0.0, 1e300, 5e-324, np.nan, 1.0], "float64"),
    "float64 inf": lambda: _column([np.inf, -np.inf, np.nan, 1.5], "float64"),
    "float32": lambda: _column([0.1, 16777216, 3.4e38, np.nan], "float32"),
    "float16": lambda: _column([0.1, 65504, np.nan], "float16"),
    "bool": lambda: _column([True, False], "bool"),
    "complex": lambda: _column([1 + 2j, -0.5j], "complex128"),
    "Int64": lambda: _column([1, None, 2**63 - 1], "Int64"),
    "UInt8": lambda: _column([1, None, 255], "UInt8"),
    "Float64": lambda: _column([0.1, None, 1e300], "Float64"),
    "boolean": lambda: _column([True, None, False], "boolean"),
    "sparse": lambda: _column(pd.arrays.SparseArray([0.0, 0.0, 1.5], fill_value=0.0)),
    # text
    "str": lambda: _column(["a", "é", "日本"]),
    "str with missing": lambda: _column(["a", None, "b"]),
    "str empty and missing": lambda: _column(["", None, "NaN", "<NA>"]),
    "str like NA": lambda: _column(["NA", "null", "None", "nan", "#N/A"]),
    "str like numbers": lambda: _column(["007", "1e5", "True", "1,000", "2020-01-01"]),
    "str quotes and commas": lambda: _column(['say "hi"', "a,b", "a;b", "it's", "\\", "<b>&amp;</b>"]),
    "str newlines and tabs": lambda: _column(["a\nb", "a\tb"]),
    "str carriage returns": lambda: _column(["a\rb", "a\r\nb"]),
    "str blanks": lambda: _column([" a", "a ", "a  b"]),
    "str control characters": lambda: _column(["a\x01b", "\x1a", "\x7f"]),
    "str nul": lambda: _column(["a\x00b", "b\x00"]),
    "str long": lambda: _column(["x" * 3_000, "y" * 100]),
    "str formulas": lambda: _column(["=1+1", "+1", "-1", "@x"]),
    "string[python]": lambda: _column(["a", None], pd.StringDtype("python")),
    "string[pyarrow]": lambda: _column(["a", None], pd.StringDtype("pyarrow")),
    # dates
    "datetime64[ns]": lambda: _column(INSTANTS),
    "datetime64[s]": lambda: _column(np.array([*DAYS, "NaT"], dtype="M8[s]")),
    "datetime64[ms] far": lambda: _column(np.array(["0001-01-01", "9999-12-31T23:59:59.999", "NaT"], dtype="M8[ms]")),
    "datetime64[us] year 20000": lambda: _column(np.array(["20000-01-01", "-0044-03-15"], dtype="M8[us]")),
    "datetime64[ns, zone]": lambda: _column(pd.DatetimeIndex(INSTANTS).tz_localize("UTC").tz_convert("Europe/Paris")),
    "datetime64[us, +01:00]": lambda: _column(pd.to_datetime(DAYS).as_unit("us").tz_localize("+01:00")),
    "timedelta64[ns]": lambda: _column(np.array([1, -90_000_000_000_000, "NaT"], dtype="m8[ns]")),
    "timedelta64[s]": lambda: _column(np.array([86_400, 10**12], dtype="m8[s]")),
    "period": lambda: _column(pd.PeriodIndex(["2024-01", "NaT"], freq="M")),
    "interval": lambda: _column(pd.arrays.IntervalArray.from_tuples([(0, 1), None, (2, 3)], closed="left")),
    "interval of dates": lambda: _column(pd.interval_range(pd.Timestamp(DAYS[1]), periods=2)),
    # categories
    "category": lambda: _column(pd.Categorical(["b", None, "a"], categories=["b", "unused", "a"], ordered=True)),
    "category of ints": lambda: _column(pd.Categorical([3, 1, None], categories=[3, 2, 1])),
    "category of ints, all there": lambda: _column(pd.Categorical([3, 1], categories=[3, 2, 1])),
    "category of bools": lambda: _column(pd.Categorical([True, False])),
    "category like numbers": lambda: _column(pd.Categorical(["07", "7", "1e2"])),
    "category of dates": lambda: _column(pd.Categorical(pd.to_datetime(DAYS))),
    "category like NA": lambda: _column(pd.Categorical(["", "NaN", None])),
    "category of empty text": lambda: _column(pd.Categorical(["", "a"])),
    # objects
    "bytes": lambda: _objects(b"\x00\xff", b"", None),
    "Decimal": lambda: _objects(decimal.Decimal("1.10"), decimal.Decimal("-2.5"), None),
    "date": lambda: _objects(datetime.date(2024, 2, 29), None),
    "time": lambda: _objects(datetime.time(1, 2, 3, 4), datetime.time(0)),
    "datetime objects": lambda: _objects(datetime.datetime(2024, 2, 29, 1), datetime.datetime(1, 1, 1)),
    "UUID": lambda: _objects(uuid.UUID(int=1), uuid.UUID(int=2)),
    "object of str": lambda: _objects("a", "", None),
    "object None and nan": lambda: _objects("a", None, np.nan),
    "object of bool": lambda: _objects(True, None, False),
    "object mixed": lambda: _objects(1, "1", 1.5, True, None, "None"),
    "object all None": lambda: _objects(None, None),
    "lists": lambda: _objects([1, 2], [], [3, None]),
    "dicts": lambda: _objects({"a": 1, "b": "x"}, {"b": "y"}),
    "tuples": lambda: _objects((1, 2), (3,)),
    "numpy arrays": lambda: _objects(np.array([1, 2]), np.array([3])),
    "own objects": lambda: _objects(object(), object()),
    "all NaN": lambda: _column([np.nan, np.nan]),
    "all missing str": lambda: _column([None, None], "str"),
    # Arrow
    "int64[pyarrow]": lambda: _column([1, None, 2**62], "int64[pyarrow]"),
    "timestamp[pyarrow]": lambda: _column(pd.to_datetime(DAYS), pd.ArrowDtype(pa.timestamp("us", "UTC"))),
    "decimal[pyarrow]": lambda: _column([decimal.Decimal("1.25"), None], pd.ArrowDtype(pa.decimal128(7, 2))),
    "list[pyarrow]": lambda: _column([[1, 2], None], pd.ArrowDtype(pa.list_(pa.int64()))),
    # shapes
    "0 rows": lambda: pd.DataFrame({"i": np.array([], "i4"), "s": pd.Series(dtype="str"), "d": np.array([], "M8[s]")}),
    "0 columns": lambda: pd.DataFrame(index=range(3)),
    "0 rows and columns": lambda: pd.DataFrame(),
    "index, 0 columns": lambda: pd.DataFrame(index=["a", "b"]),
    "one empty cell": lambda: _column([""]),
    "empty last rows": lambda: pd.DataFrame({"x": ["a", None, None], "y": [1.5, np.nan, np.nan]}),
    "300 columns": lambda: pd.DataFrame(np.arange(600).reshape(2, 300)).add_prefix("c"),
    "no duplicate labels allowed": lambda: pd.DataFrame({"x": [1]}).set_flags(allows_duplicate_labels=False),
    "zone of pytz": lambda: _column(pd.date_range("2024", periods=3, tz=pytz.timezone("Europe/Paris"))),
    "zone of pytz without a name": lambda: _column(pd.date_range("2024", periods=3, tz=pytz.FixedOffset(60))),
    # indexes
    "RangeIndex": lambda: _indexed(pd.RangeIndex(10, 0, -2, name="r")),
    "index of str": lambda: _indexed(pd.Index(["b", "a"], name="k")),
    "index unnamed": lambda: _indexed(pd.Index([5, 7])),
    "index duplicates": lambda: _indexed(pd.Index([1, 1, 2])),
    "index named as a column": lambda: _indexed(pd.Index([5, 7], name="x")),
    "index named by a tuple": lambda: _indexed(pd.Index([5, 7], name=("a", 1))),
    "index with missing": lambda: _indexed(pd.Index(["a", None])),
    "DatetimeIndex": lambda: _indexed(pd.date_range("2024-01-01", periods=3, freq="D", tz="Europe/Paris", name="t")),
    "DatetimeIndex business": lambda: _indexed(pd.date_range("2024-01-01", periods=3, freq="2BQE-FEB")),
    "DatetimeIndex, own freq": lambda: _indexed(
        pd.date_range("2024-01-01", periods=3, freq=pd.offsets.CustomBusinessDay(holidays=["2024-01-02"]))
    ),
    "TimedeltaIndex": lambda: _indexed(pd.timedelta_range("1h", periods=3, freq="30min")),
    "PeriodIndex": lambda: _indexed(pd.period_range("2024", periods=3, freq="Q")),
    "CategoricalIndex": lambda: _indexed(pd.CategoricalIndex(["b", "a"], categories=["b", "c", "a"])),
    "IntervalIndex": lambda: _indexed(pd.interval_range(0, 2)),
    "MultiIndex": lambda: _object_index("k", None),
    "MultiIndex with missing": lambda: _indexed(
        pd.MultiIndex.from_arrays([[1.5, np.nan], pd.to_datetime([None, DAYS[0]])])
    ),
    "MultiIndex in an order of its own": lambda: _indexed(_levels([["z", "a"], [1, 2]], [[0, 1, 1], [0, 0, 1]])),
    "MultiIndex with unused values": lambda: _indexed(_levels([["a", "b"], [1, 2, 3]], [[1, 1], [0, 2]])),
    "MultiIndex of a concatenation, filtered": lambda: (
        pd.concat([pd.DataFrame({"x": [1, 2, 3]})] * 2, keys=["a", "b"]).query("x < 3")
    ),
    "MultiIndex of sorted values": lambda: _indexed(_levels([["a", "b"], [1, 2]], [[1, 0], [1, 0]])),
    "MultiIndex of categories": lambda: _indexed(
        pd.MultiIndex.from_product([pd.Categorical(["b", "a"], categories=["c", "b", "a"]), [1, 2]])
    ),
    "MultiIndex of times": lambda: _indexed(pd.MultiIndex.from_product([pd.date_range("2024", periods=3), [1, 2]])),
    "MultiIndex with missing whole numbers": lambda: _indexed(_levels([[1, 2], ["a"]], [[0, -1, 1], [0, 0, 0]])),
    "MultiIndex of many": lambda: _indexed(
        pd.MultiIndex.from_product([pd.date_range("2024", periods=10_001, freq="h"), ["a"]])
    ),
    "MultiIndex of a few of many": lambda: _indexed(pd.MultiIndex.from_product([range(10_001), ["a", "b"]])[50:90]),
    # labels
    "labels of levels in an order of their own": lambda: _labelled(_levels([["z", "a"], [1]], [[0, 1], [0, 0]])),
    "labels of int": lambda: _labelled([2020, 2021]),
    "labels default": lambda: _labelled(None),
    "labels mixed": lambda: _labelled(["a", 1]),
    "labels duplicate": lambda: _labelled(["a", "a"]),
    "labels alike": lambda: _labelled([1, "1"]),
    "labels named": lambda: _labelled(pd.Index(["a", "b"], name="side")),
    "labels of dates": lambda: _labelled(pd.date_range("2024-01-01", periods=2, name="day")),
    "labels of levels": lambda: _labelled(pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["side", None])),
    "labels odd": lambda: _labelled(["", ' a,"b"\n<é> ']),
    "labels missing": lambda: _labelled([None, "a"]),
    "labels own objects": lambda: _labelled([object(), object()]),
}  # fmt: skip
"""What it shows to a frame that shows it; each frame is made anew."""

_SOME_TEXT = [
    "",
    "NA",
    "nan",
    "<NA>",
    "007",
    "1.0",
    "a,b",
    'say "hi"',
    "é",
    "日本",
    "x\ny",
    " x ",
    "None",
    "=1",
    "2020-01-01",
]
_TEXT = st.sampled_from(_SOME_TEXT) | st.text(max_size=5)
_TICKS = st.integers(-(10**18), 10**18)
_DATES = st.dates(datetime.date(1, 1, 1))

_ELEMENTS: dict[str, st.SearchStrategy[Any]] = {
    **{f"int{bits}": st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    **{f"float{bits}": st.floats(width=bits) for bits in (16, 32, 64)},
    "bool": st.booleans(),
    "complex128": st.complex_numbers(),
    "Int64": st.none() | st.integers(-(2**63), 2**63 - 1),
    "UInt16": st.none() | st.integers(0, 2**16 - 1),
    "Float64": st.none() | st.floats(allow_nan=False),
    "boolean": st.none() | st.booleans(),
    "str": st.none() | _TEXT,
    "string[python]": st.none() | _TEXT,
    "string[pyarrow]": st.none() | _TEXT,
    "category": st.none() | _TEXT,
    "Sparse[int64]": st.sampled_from([0, 0, 0, 1, -7]),
    **{f"M8[{unit}]": st.none() | _TICKS for unit in ("ms", "us", "ns")},
    "M8[s]": st.none() | st.integers(-(10**11), 10**11),
    **{f"m8[{unit}]": st.none() | _TICKS for unit in ("s", "ms", "us", "ns")},
    "datetime64[ns, Europe/Paris]": st.none() | _TICKS,
    "datetime64[us, UTC]": st.none() | _TICKS,
    "period[D]": st.none() | st.integers(-(10**5), 10**5),
    "period[Q-DEC]": st.none() | st.integers(-(10**3), 10**3),
    "int64[pyarrow]": st.none() | st.integers(-(2**63), 2**63 - 1),
    "double[pyarrow]": st.none() | st.floats(allow_nan=False),
    "bool[pyarrow]": st.none() | st.booleans(),
}  # fmt: skip

_OBJECTS: list[st.SearchStrategy[Any]] = [
    st.none() | _TEXT,
    st.none() | st.booleans(),
    st.none() | st.binary(max_size=4),
    st.none() | _DATES,
    st.none() | st.times(),
    st.none() | st.uuids(),
    st.decimals(
        allow_nan=False, allow_infinity=False, places=2, min_value=-1000, max_value=1000
    ),
    st.lists(st.integers(-5, 5) | st.none(), max_size=3),
    st.tuples(st.integers(0, 3)),
    st.none() | st.just(float("nan")) | _TEXT,
    st.none() | st.integers() | st.floats() | _TEXT | st.booleans(),
]


def _build(dtype: str, values: list[Any]) -> pd.Series:
    if dtype.startswith(("M8", "m8")):
        return pd.Series(
            np.array(
                ["NaT" if value is None else value for value in values], dtype=dtype
            )
        )
    if dtype.startswith("datetime64"):
        unit, zone = dtype[11:13], dtype[15:-1]
        ticks = np.array(
            ["NaT" if value is None else value for value in values], dtype=f"M8[{unit}]"
        )
        return pd.Series(pd.DatetimeIndex(ticks).tz_localize("UTC").tz_convert(zone))
    if dtype.startswith("period"):
        ordinals = [
            pd.NaT if value is None else pd.Period(ordinal=value, freq=dtype[7:-1])
            for value in values
        ]
        return pd.Series(pd.PeriodIndex(ordinals, dtype=dtype))
    if dtype in ("float16", "float32"):
        return pd.Series(np.array(values, dtype=dtype))
    return pd.Series(values, dtype=dtype)


@st.composite
def columns(draw: st.DrawFn, n_rows: int) -> pd.Series:
    """Draw the values of one column or index level."""
    if draw(st.integers(0, 4)) == 0:
        values = draw(
            st.lists(draw(st.sampled_from(_OBJECTS)), min_size=n_rows, max_size=n_rows)
        )
        return pd.Series(np.fromiter(values, dtype=object, count=n_rows), dtype=object)
    dtype = draw(st.sampled_from(sorted(_ELEMENTS)))
    return _build(
        dtype, draw(st.lists(_ELEMENTS[dtype], min_size=n_rows, max_size=n_rows))
    )


@st.composite
def indexes(draw: st.DrawFn, n_rows: int) -> pd.Index:
    """Draw a row index."""
    kind = draw(
        st.sampled_from(["default", "default", "range", "values", "levels", "freq"])
    )
    name = draw(
        st.none() | _TEXT | st.integers(0, 9) | st.tuples(_TEXT, st.integers(0, 9))
    )
    if kind == "default":
        return pd.RangeIndex(n_rows)
    if kind == "range":
        start, step = draw(st.integers(-9, 9)), draw(st.sampled_from([-3, -1, 1, 2]))
        return pd.RangeIndex(start, start + n_rows * step, step, name=name)
    if kind == "freq":
        freq = draw(st.sampled_from(["D", "h", "MS", "B", "7min", "W-TUE"]))
        return pd.date_range("2024-01-01", periods=n_rows, freq=freq, name=name)
    if kind == "values":
        values = draw(columns(n_rows).filter(_may_be_an_index))
        return pd.Index(values, dtype=values.dtype, name=name)
    levels = [
        draw(columns(n_rows).filter(_may_be_an_index))
        for _ in range(draw(st.integers(2, 3)))
    ]
    return pd.MultiIndex.from_arrays(levels, names=[name, *[None] * (len(levels) - 1)])


def _may_be_an_index(column: pd.Series) -> bool:
    return column.dtype != "float16" and not any(
        isinstance(value, list) for value in column
    )


_LABELS = (
    _TEXT
    | st.integers(-3, 2030)
    | st.floats(allow_nan=False)
    | st.tuples(_TEXT, st.integers(0, 3))
    | _DATES
)


@st.composite
def frames(draw: st.DrawFn, max_rows: int = 5, max_columns: int = 4) -> pd.DataFrame:
    """Draw a frame of any dtypes, index and column labels."""
    n_rows, n_columns = (
        draw(st.integers(0, max_rows)),
        draw(st.integers(0, max_columns)),
    )
    arrays = [draw(columns(n_rows)) for _ in range(n_columns)]
    index = draw(indexes(n_rows))
    frame = pd.DataFrame(
        {i: column.set_axis(index) for i, column in enumerate(arrays)}, index=index
    )
    labels = draw(
        st.lists(
            draw(st.sampled_from([_TEXT, st.sampled_from("abc"), _LABELS])),
            min_size=n_columns,
            max_size=n_columns,
        )
    )
    frame.columns = pd.Index(
        np.fromiter(labels, dtype=object, count=n_columns),
        name=draw(st.none() | _TEXT),
        tupleize_cols=False,
    )
    return frame
