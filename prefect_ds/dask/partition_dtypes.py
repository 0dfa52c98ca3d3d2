"""Partitions get the dtypes of their frame's meta, if no value changes by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.types import infer_dtype, union_categoricals

from prefect_ds.dask._internals import UNKNOWN_CATEGORIES
from prefect_ds.errors import RoundTripError
from prefect_ds.frames.base import is_object

_REMEDY = "cast it with astype, or say so with meta="
_INFERRED = {
    "string": "text",
    "boolean": "bool",
    "integer": "number",
    "floating": "number",
    "mixed-integer-float": "number",
    "datetime": "time",
    "datetime64": "time",
    "date": "date",
    "timedelta": "duration",
    "timedelta64": "duration",
    "time": "time of day",
    "decimal": "decimal",
    "bytes": "bytes",
    "complex": "complex",
    "period": "period",
    "interval": "interval",
    "empty": "any",
}
"""pandas' name for the values of a column of objects to their kind."""

_KINDS_OF_NUMPY = {
    "b": "bool",
    "i": "number",
    "u": "number",
    "f": "number",
    "c": "complex",
    "M": "time in zone None",
    "m": "duration",
    "U": "text",
    "S": "bytes",
}
"""numpy's letter for a dtype to the kind of its values.

pandas' own dtypes of numbers have the same letters.
"""


def conform(frame: pd.DataFrame, meta: pd.DataFrame, partition: int) -> pd.DataFrame:
    """Return a partition with the dtypes of the frame's meta.

    Values keep their kind: a number becomes a wider number, never text or a time.

    Raises
    ------
    RoundTripError
        It has other columns, values of another kind, or values that the dtypes do not
        hold.
    """
    problem = f"partition {partition} is not what the frame's meta says"
    if not _same_labels(frame.columns, meta.columns):
        raise RoundTripError(
            f"{problem}: it has the columns {list(frame.columns)}, not "
            f"{list(meta.columns)}"
        )
    if not _same_labels(frame.index.names, meta.index.names):
        raise RoundTripError(
            f"{problem}: its index is named {list(frame.index.names)}, not "
            f"{list(meta.index.names)}"
        )
    # The partition is Dask's, and may be an input of other tasks.
    frame = frame.copy(deep=False)
    for i, (dtype, wanted) in enumerate(zip(frame.dtypes, meta.dtypes, strict=True)):
        if not fits(dtype, wanted):
            what = f"{problem}: column {meta.columns[i]!r}"
            frame.isetitem(i, _cast(frame.iloc[:, i], wanted, what).array)
    if meta.index.nlevels == 1 and not fits(frame.index.dtype, meta.index.dtype):
        values = frame.index.to_series()
        cast = _cast(values, meta.index.dtype, f"{problem}: its index")
        frame.index = pd.Index(cast.array, dtype=cast.dtype, name=meta.index.name)
    return frame


def fits(dtype: Any, wanted: Any) -> bool:
    """Return whether values of a dtype need no cast to be of the meta's dtype."""
    # Where the meta knows no categories, every partition may have its own.
    is_open = isinstance(wanted, pd.CategoricalDtype) and not _known(wanted)
    if is_open and isinstance(dtype, pd.CategoricalDtype):
        return True
    return bool(dtype == wanted)


def joinable_runs(frames: Sequence[pd.DataFrame]) -> list[list[int]]:
    """Return the positions of frames that can be joined, neighbours in one list.

    Categories are joined as Dask joins them: unordered ones of one dtype. Others would
    become plain values, in another order or of another type.
    """
    runs: list[list[int]] = []
    common: list[Any] | None = None
    for i, frame in enumerate(frames):
        dtypes = [*frame.dtypes, frame.index.dtype]
        # The categories of a frame without rows have no say.
        is_empty = len(frame) == 0
        if is_empty:
            both = common
        elif common is None:
            both = dtypes
        else:
            both = _common_dtypes(common, dtypes)
        if runs and (is_empty or both is not None):
            runs[-1].append(i)
        else:
            runs.append([i])
            # A run that begins without rows takes the dtypes of the first with some.
            both = None if is_empty else dtypes
        common = both
    return runs


def concatenated(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of joinable frames as one, with joint categories."""
    frames = [frame for frame in frames if len(frame)] or list(frames[:1])
    common: list[Any] = [*frames[0].dtypes, frames[0].index.dtype]
    for frame in frames[1:]:
        both = _common_dtypes(common, [*frame.dtypes, frame.index.dtype])
        # `joinable_runs` has put only such frames together.
        assert both is not None
        common = both
    # Equal categories in all of them: otherwise pandas makes plain values of them.
    return pd.concat([_with_categories(frame, common) for frame in frames])


def _with_categories(frame: pd.DataFrame, dtypes: Sequence[Any]) -> pd.DataFrame:
    frame = frame.copy(deep=False)
    for i, dtype in enumerate(dtypes[:-1]):
        if isinstance(dtype, pd.CategoricalDtype):
            frame.isetitem(i, frame.iloc[:, i].astype(dtype).array)
    if isinstance(dtypes[-1], pd.CategoricalDtype):
        frame.index = frame.index.astype(dtypes[-1])
    return frame


def _common_dtypes(left: Sequence[Any], right: Sequence[Any]) -> list[Any] | None:
    """Return dtypes that hold the values of both sides; ``None``: there are none."""
    common = []
    for ours, theirs in zip(left, right, strict=True):
        if ours != theirs and isinstance(ours, pd.CategoricalDtype):
            try:
                # Without rows: only the categories are united, not yet the values.
                empty = [pd.Categorical([], dtype=dtype) for dtype in (ours, theirs)]
                common.append(union_categoricals(empty).dtype)
            except TypeError:
                return None
        else:
            # Equal, as `conform` gave all partitions the dtypes of the meta.
            common.append(ours)
    return common


def _cast(column: pd.Series[Any], dtype: Any, what: str) -> pd.Series[Any]:
    """Return a column in a dtype that holds its values, or raise an error."""
    is_unknown = isinstance(dtype, pd.CategoricalDtype) and not _known(dtype)
    # Dask's placeholder for unknown categories is no dtype to cast to.
    wanted: Any = "category" if is_unknown else dtype
    kind, wanted_kind = _kind_of(column), _kind(dtype)
    # pandas casts 2020 to a time and "1" to a number: another kind is a fault of the
    # task, and is refused.
    if wanted_kind != "any" and kind not in ("any", wanted_kind):
        raise RoundTripError(
            f"{what} holds values of kind {kind} ({column.dtype}), not {wanted_kind} "
            f"({dtype}): {_REMEDY}"
        )
    try:
        if column.isna().all():
            # What is missing is missing in every dtype; pandas has no cast for some.
            cast = pd.Series([None] * len(column), index=column.index, dtype=wanted)
        else:
            cast = column.astype(wanted)
        # A cast that pandas allows may still round, or wrap around.
        is_same = _is_same(column, cast)
    except (TypeError, ValueError, OverflowError, pa.ArrowException):
        is_same = False
    if not is_same:
        raise RoundTripError(f"{what} is of {column.dtype}, not {dtype}: {_REMEDY}")
    return cast


def _is_same(column: pd.Series[Any], cast: pd.Series[Any]) -> bool:
    """Return whether a cast kept all values, the sign of zero among them."""
    if not (cast.isna() == column.isna()).all():
        return False
    present, back = column[column.notna()], cast[column.notna()]
    if len(present) == 0:
        return True
    # Compared in the column's own dtype, in which nothing was lost yet.
    back = back.astype(column.dtype)
    if not bool((back == present).all()):
        return False
    if getattr(column.dtype, "kind", "") != "f":
        return True
    # -0.0 equals 0.0, and divides otherwise.
    signs = [np.signbit(side.to_numpy("float64")) for side in (present, back)]
    return bool((signs[0] == signs[1]).all())


def _kind_of(column: pd.Series[Any]) -> str:
    """Return what kind of values a column holds; "any" where all are missing."""
    if column.isna().all():
        return "any"
    if not is_object(column.dtype):
        return _kind(column.dtype)
    inferred = infer_dtype(column, skipna=True)
    kind = _INFERRED.get(inferred, inferred)
    if kind == "time":
        # One instant has another clock time in every zone.
        zones = {str(value.tzinfo) for value in column[column.notna()]}
        return " and ".join(sorted(f"time in zone {zone}" for zone in zones))
    return kind


def _kind(dtype: Any) -> str:
    """Return the kind of a dtype; values are cast within a kind only."""
    if is_object(dtype):
        return "any"
    if isinstance(dtype, pd.CategoricalDtype):
        return _kind(dtype.categories.dtype) if _known(dtype) else "any"
    if isinstance(dtype, pd.SparseDtype):
        return _kind(dtype.subtype)
    if isinstance(dtype, pd.ArrowDtype):
        return _kind_of_arrow(dtype.pyarrow_dtype)
    if isinstance(dtype, pd.StringDtype):
        return "text"
    if isinstance(dtype, pd.DatetimeTZDtype):
        return f"time in zone {dtype.tz}"
    if isinstance(dtype, pd.PeriodDtype | pd.IntervalDtype):
        return str(dtype)
    return _KINDS_OF_NUMPY.get(getattr(dtype, "kind", ""), str(dtype))


def _kind_of_arrow(dtype: pa.DataType) -> str:
    types = pa.types
    if types.is_boolean(dtype):
        return "bool"
    if types.is_integer(dtype) or types.is_floating(dtype):
        return "number"
    if types.is_string(dtype) or types.is_large_string(dtype):
        return "text"
    if types.is_binary(dtype) or types.is_large_binary(dtype):
        return "bytes"
    if types.is_date(dtype):
        return "date"
    if types.is_timestamp(dtype):
        return f"time in zone {dtype.tz}"
    if types.is_duration(dtype):
        return "duration"
    if types.is_time(dtype):
        return "time of day"
    if types.is_decimal(dtype):
        return "decimal"
    return str(dtype)


def _same_labels(ours: Iterable[Any], theirs: Iterable[Any]) -> bool:
    """Return whether labels are equal, where NaN is equal to itself."""
    ours, theirs = list(ours), list(theirs)
    if len(ours) != len(theirs):
        return False
    return all(map(_is_same_label, ours, theirs))


def _is_same_label(a: Any, b: Any) -> bool:
    # NA is the same object everywhere, and `NA == NA` is no boolean.
    if a is b:
        return True
    return bool(a == b or (a != a and b != b))


def _known(dtype: pd.CategoricalDtype) -> bool:
    # Dask marks the meta of unknown categories by one category of its own.
    return UNKNOWN_CATEGORIES not in dtype.categories
