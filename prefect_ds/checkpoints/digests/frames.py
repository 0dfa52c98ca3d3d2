"""Encodings of pandas objects: by content, dtypes, labels, names, attrs and flags."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray, ExtensionDtype
from pandas.tseries.offsets import BaseOffset

from prefect_ds.checkpoints.digests.arrays import (
    encode_cells,
    encode_columns,
    encode_dtype,
)
from prefect_ds.checkpoints.digests.arrow import encode_arrow, encode_text
from prefect_ds.checkpoints.digests.code import encode_class
from prefect_ds.checkpoints.digests.objects import encode_named
from prefect_ds.checkpoints.digests.plain import encode_items, encode_range, short
from prefect_ds.checkpoints.digests.walk import (
    Encoder,
    UndigestibleError,
    Walk,
    atom,
    pack,
    pack_all,
)


def _frame(frame: Any, walk: Walk) -> bytes:
    return pack(
        "frame",
        _of_class(frame, pd.DataFrame, walk),
        walk.encode_at(frame.columns, ".columns"),
        walk.encode_at(frame.index, ".index"),
        _columns(frame, walk),
        _extras(frame, walk),
    )


def _columns(frame: Any, walk: Walk) -> bytes:
    """Return the encoding of the columns' dtypes and cells.

    Numbers go into one hash for every dtype: a wide frame has thousands of columns.
    """
    columns: list[bytes] = []
    dtypes: dict[Any, bytes] = {}
    numbers: dict[Any, list[np.ndarray]] = {}
    for number in range(frame.shape[1]):
        # Not a series, which takes ten times as long and copies the attrs.
        values = frame._get_column_array(number)
        dtype = values.dtype
        if not isinstance(values, np.ndarray) or not _is_plain(dtype):
            columns.append(_column_at(frame, number, values, walk))
            continue
        if dtype not in dtypes:
            dtypes[dtype], numbers[dtype] = encode_dtype(dtype, walk), []
        columns.append(dtypes[dtype])
        numbers[dtype].append(values)
    cells = [encode_columns(group) for group in numbers.values()]
    return pack("columns", pack_all("list", columns), *cells)


def _is_plain(dtype: Any) -> bool:
    return dtype.kind in "biufc" and dtype.metadata is None


def _column_at(frame: Any, number: int, values: Any, walk: Walk) -> bytes:
    try:
        return _encode_array(values, walk)
    except UndigestibleError as error:
        step = f"[{short(frame.columns[number])}]"
        raise error.below(step) from error.__cause__


def _series(series: Any, walk: Walk) -> bytes:
    return pack(
        "series",
        _of_class(series, pd.Series, walk),
        walk.encode_at(series.name, ".name"),
        walk.encode_at(series.index, ".index"),
        _encode_series_cells(series, walk),
        _extras(series, walk),
    )


def _of_class(value: Any, base: type, walk: Walk) -> bytes:
    """Return the encoding of the class, and of what a subclass keeps of its own."""
    kind = type(value)
    if kind is base:
        return b""
    own = [name for name in kind._metadata if name not in base._metadata]  # type: ignore[attr-defined]
    parts = [walk.encode_at(getattr(value, name, None), f".{name}") for name in own]
    return pack("subclass", encode_class(kind, walk), encode_items(own, walk), *parts)


def _extras(value: Any, walk: Walk) -> bytes:
    attrs = walk.encode_at(value.attrs or None, ".attrs")
    return pack("extras", attrs, atom(value.flags.allows_duplicate_labels))


def _encode_series_cells(values: Any, walk: Walk) -> bytes:
    dtype = values.dtype
    if isinstance(dtype, np.dtype) and dtype.kind not in "mM":
        return _encode_array(values.to_numpy(), walk)
    return _encode_array(values.array, walk)


def _encode_array(values: Any, walk: Walk) -> bytes:
    """Return the encoding of a column: its dtype and its cells."""
    dtype = values.dtype
    if not isinstance(dtype, np.dtype):
        return pack("cells", _encode_dtype(dtype, walk), *_cells(values, walk))
    if not isinstance(values, np.ndarray):
        # pandas' own class around an array of numpy's, or of times.
        values = values.asi8 if dtype.kind in "mM" else values.to_numpy()
    return pack("cells", encode_dtype(dtype, walk), encode_cells(values, walk))


def _cells(values: Any, walk: Walk) -> list[bytes]:
    dtype = values.dtype
    if isinstance(dtype, pd.DatetimeTZDtype | pd.PeriodDtype):
        return [encode_cells(values.asi8, walk)]
    if isinstance(dtype, pd.CategoricalDtype):
        # Their type follows from the number of categories.
        return [encode_cells(values.codes, walk)]
    if isinstance(dtype, pd.IntervalDtype):
        return [
            _encode_series_cells(values.left, walk),
            _encode_series_cells(values.right, walk),
        ]
    if isinstance(dtype, pd.SparseDtype):
        return _sparse(values, walk)
    if isinstance(dtype, pd.ArrowDtype):
        return [encode_arrow(values.__arrow_array__(), walk)]
    if isinstance(dtype, pd.StringDtype):
        if dtype.storage == "pyarrow":
            return [encode_text(values.__arrow_array__())]
        return [encode_items(np.asarray(values, dtype=object), walk)]
    if isinstance(dtype, pd.core.dtypes.dtypes.BaseMaskedDtype):  # type: ignore[attr-defined]
        return _masked(values, walk)
    # Of another library: cell by cell.
    return [encode_items(list(values), walk)]


def _masked(values: Any, walk: Walk) -> list[bytes]:
    data, mask = values._data, values._mask
    if not mask.any():
        return [encode_cells(data, walk)]
    # What is below the mask was left there by chance.
    filled = np.where(mask, data.dtype.type(0), data)
    return [encode_cells(filled, walk), encode_cells(mask, walk)]


def _sparse(values: Any, walk: Walk) -> list[bytes]:
    # Stored cells that equal the fill value are as good as cells that are not stored.
    places = values.sp_index.indices
    stored, fill = values.sp_values, values.fill_value
    if stored.dtype.kind in "fc":
        filling = np.array([fill], dtype=stored.dtype)
        same = stored.view(np.uint8).reshape(len(stored), -1) == filling.view(np.uint8)
        is_filling = same.all(axis=1) | (np.isnan(stored) & np.isnan(filling))
    else:
        is_filling = stored == fill
    return [
        atom(len(values)),
        encode_cells(np.asarray(places[~is_filling], np.int64), walk),
        encode_cells(stored[~is_filling], walk),
    ]


def _encode_dtype(dtype: Any, walk: Walk) -> bytes:
    """Return the encoding of a dtype of pandas' or of another library's."""
    if isinstance(dtype, np.dtype):
        return encode_dtype(dtype, walk)
    name = type(dtype).__name__.encode()
    if isinstance(dtype, pd.CategoricalDtype):
        categories = walk.encode_at(dtype.categories, ".categories")
        return pack("category", name, categories, atom(dtype.ordered))
    if isinstance(dtype, pd.DatetimeTZDtype):
        zone = walk.encode_at(dtype.tz, ".tz")
        return pack("zoned", name, atom(dtype.unit), zone)
    if isinstance(dtype, pd.PeriodDtype):
        return pack("period", name, walk.encode_at(dtype.freq, ".freq"))
    if isinstance(dtype, pd.IntervalDtype):
        subtype = b"" if dtype.subtype is None else _encode_dtype(dtype.subtype, walk)
        return pack("interval", name, subtype, atom(dtype.closed))
    if isinstance(dtype, pd.SparseDtype):
        subtype = _encode_dtype(dtype.subtype, walk)
        return pack("sparse", name, subtype, walk.encode(dtype.fill_value))
    if isinstance(dtype, pd.ArrowDtype):
        return pack("arrow", name, walk.encode(dtype.pyarrow_dtype))
    if isinstance(dtype, pd.StringDtype):
        missing = b"NA" if dtype.na_value is pd.NA else b"nan"
        return pack("string", name, atom(dtype.storage), missing)
    if isinstance(dtype, pd.core.dtypes.dtypes.BaseMaskedDtype):  # type: ignore[attr-defined]
        return pack("masked", name)
    return pack("dtype", encode_class(type(dtype), walk), atom(str(dtype)))


def _dtype(dtype: Any, walk: Walk) -> bytes:
    return pack("pandas.dtype", _encode_dtype(dtype, walk))


def _extension_array(values: Any, walk: Walk) -> bytes:
    return pack("array", encode_class(type(values), walk), _encode_array(values, walk))


def _index(index: Any, walk: Walk) -> bytes:
    kind = encode_class(type(index), walk)
    names = pack_all("names", [walk.encode_at(name, ".names") for name in index.names])
    if isinstance(index, pd.MultiIndex):
        return pack("index", kind, names, *_levels(index, walk))
    if isinstance(index, pd.RangeIndex):
        span = range(index.start, index.stop, index.step)
        return pack("index", kind, names, encode_range(span), *_odd_span(span))
    has_freq = isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex)
    freq = walk.encode_at(index.freq if has_freq else None, ".freq")
    return pack("index", kind, names, _encode_series_cells(index, walk), freq)


def _odd_span(span: range) -> list[bytes]:
    """Return what tells a range of a row or none from the usual one, if it is odd.

    Of ``frame.iloc[::-2]`` the index has a step of -2, also where one row is left.
    """
    if len(span) > 1:
        return []
    first = span[0] if span else 0
    if (span.start, span.stop, span.step) == (first, first + len(span), 1):
        return []
    return [b"%d %d %d" % (span.start, span.stop, span.step)]


def _levels(index: pd.MultiIndex, walk: Walk) -> list[bytes]:
    # Levels count as they are, unused values and order too: `levels[0]` gives them.
    parts = []
    for number, (level, codes) in enumerate(
        zip(index.levels, index.codes, strict=True)
    ):
        parts.append(walk.encode_at(level, f".levels[{number}]"))
        parts.append(encode_cells(np.asarray(codes, np.int64), walk))
    return parts


def _timestamp(value: Any, walk: Walk) -> bytes:
    if value is pd.NaT:
        return b"NaT"
    kind = encode_class(type(value), walk)
    zone = walk.encode_at(value.tzinfo, ".tzinfo")
    moment = value._value if hasattr(value, "_value") else value.value
    return pack(
        "Timestamp", kind, atom(moment), atom(value.unit), zone, atom(value.fold)
    )


def _timedelta(value: Any, walk: Walk) -> bytes:
    kind = encode_class(type(value), walk)
    return pack("Timedelta", kind, atom(value._value), atom(value.unit))


def _period(value: Any, walk: Walk) -> bytes:
    return pack("Period", atom(value.ordinal), walk.encode_at(value.freq, ".freq"))


def _interval(value: Any, walk: Walk) -> bytes:
    sides = walk.encode_at(value.left, ".left"), walk.encode_at(value.right, ".right")
    return pack("Interval", *sides, atom(value.closed))


def _constant(value: Any, walk: Walk) -> bytes:
    return repr(value).encode()


def _offset(offset: Any, walk: Walk) -> bytes:
    _, args, *state = offset.__reduce_ex__(2)
    attributes = state[0] if state else None
    return pack(
        "offset",
        type(offset).__name__.encode(),
        # Before pandas 3.1 the class of some is among the arguments.
        walk.encode(tuple([arg for arg in args if arg is not type(offset)])),
        encode_named(attributes or {}, type(offset), walk),
    )


LEAVES: Final[dict[type, Encoder]] = {
    type(pd.NaT): _constant,
    type(pd.NA): _constant,
    pd.Timestamp: _timestamp,
    pd.Timedelta: _timedelta,
    pd.Period: _period,
    pd.Interval: _interval,
}
"""Encoders of single values of pandas'."""

NODES: Final[dict[type, Encoder]] = {pd.DataFrame: _frame, pd.Series: _series}
"""Encoders of frames and series."""

BASES: Final[tuple[tuple[type | tuple[type, ...], Encoder], ...]] = (
    (pd.DataFrame, _frame),
    (pd.Series, _series),
    (pd.Index, _index),
    (ExtensionArray, _extension_array),
    (ExtensionDtype, _dtype),
    (pd.Timestamp, _timestamp),
    (pd.Timedelta, _timedelta),
    (BaseOffset, _offset),
)
"""Encoders of families of classes."""
