"""Encodings of numpy arrays: by dtype, shape and cells, however these lie in memory."""

from __future__ import annotations

import array
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from prefect_ds.checkpoints.digests.code import encode_class
from prefect_ds.checkpoints.digests.objects import (
    encode_own_attributes,
)
from prefect_ds.checkpoints.digests.plain import encode_items
from prefect_ds.checkpoints.digests.walk import (
    Encoder,
    UndigestibleError,
    Walk,
    atom,
    pack,
    pack_all,
)

_CHUNK: Final = 2**14
"""Cells that are looked at together: they still are in the processor's cache."""
_LONG_DOUBLE_BYTES: Final = 10
"""Bytes of a long double of Intel's that hold its number; the rest is padding."""


def encode_dtype(dtype: np.dtype[Any], walk: Walk) -> bytes:
    """Return the encoding of a dtype; where fields lie in memory does not count."""
    metadata = walk.encode(dict(dtype.metadata) if dtype.metadata else None)
    if dtype.names is not None:
        fields = []
        for name in dtype.names:
            field, _, title = (*dtype.fields[name], None)[:3]  # type: ignore[index]
            fields += [atom(name), walk.encode(title), encode_dtype(field, walk)]
        return pack("fields", pack_all("list", fields), metadata)
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return pack("cells", encode_dtype(base, walk), encode_items(shape, walk))
    # numpy's text of variable length: its cells are pointers to text elsewhere.
    if dtype.kind == "T":
        missing = walk.encode(getattr(dtype, "na_object", "none"))
        return pack("StringDType", missing, atom(getattr(dtype, "coerce", True)))
    return pack("dtype", dtype.str.encode(), metadata)


def encode_cells(values: np.ndarray, walk: Walk) -> bytes:
    """Return the encoding of an array's cells, in C order."""
    dtype = values.dtype
    if dtype.names is not None:
        # One by one: between fields there may be bytes of no meaning.
        return pack_all("fields", [encode_cells(values[n], walk) for n in dtype.names])
    if dtype.hasobject or dtype.kind == "T":
        return encode_items(values.ravel(), walk)
    hasher = hashlib.sha256()
    if dtype.itemsize and values.size:
        for run in _runs(values):
            update(hasher, run)
    return hasher.digest()


def encode_columns(columns: Sequence[np.ndarray]) -> bytes:
    """Return the encoding of the cells of columns of one dtype and length."""
    hasher = hashlib.sha256()
    n_rows = len(columns[0])
    if n_rows >= _CHUNK:
        for column in columns:
            for run in _runs(column):
                update(hasher, run)
        return hasher.digest()
    # A wide frame has thousands of short columns: they are hashed together.
    n_together = _CHUNK // max(n_rows, 1)
    for start in range(0, len(columns), n_together):
        update(hasher, np.concatenate(columns[start : start + n_together]))
    return hasher.digest()


def _runs(values: np.ndarray) -> Iterator[np.ndarray]:
    """Give the cells in C order as contiguous, one-dimensional arrays."""
    if values.flags.c_contiguous:
        yield values.reshape(-1)
    elif values.ndim == 1:
        for start in range(0, len(values), _CHUNK):
            yield np.ascontiguousarray(values[start : start + _CHUNK])
    else:
        # So many rows at a time as fill a chunk; a row that is longer is cut itself.
        n_rows = max(1, _CHUNK * len(values) // values.size)
        if n_rows == 1 and values[0].size > _CHUNK:
            for row in values:
                yield from _runs(row)
            return
        for start in range(0, len(values), n_rows):
            yield np.ascontiguousarray(values[start : start + n_rows]).reshape(-1)


def update(hasher: Any, run: np.ndarray) -> None:
    """Hash a contiguous, one-dimensional array."""
    # As pairs of floats, so that NaN is found in either of them.
    if run.dtype.kind == "c":
        run = run.view(run.real.dtype)
    if not _has_nan(run) and run.dtype.char != "g":
        hasher.update(run.view(np.uint8))
        return
    for start in range(0, len(run), _CHUNK):
        hasher.update(_number_bytes(run[start : start + _CHUNK]))


def _has_nan(run: np.ndarray) -> bool:
    if run.dtype.kind != "f" or not len(run):
        return False
    # The least of numbers is NaN if one of them is: a pass without a new array.
    with np.errstate(all="ignore"):
        return bool(np.isnan(np.minimum.reduce(run)))


def _number_bytes(numbers: np.ndarray) -> np.ndarray:
    """Return the bytes of floats; all NaN are one.

    The NaN of 0/0 has other bits than one that was read from a file.
    """
    if _has_nan(numbers):
        numbers = np.where(np.isnan(numbers), numbers.dtype.type(np.nan), numbers)
    cells = numbers.view(np.uint8)
    if numbers.dtype.char != "g" or np.finfo(np.longdouble).nmant != 63:
        return cells
    padded = cells.reshape(len(numbers), -1)
    return np.ascontiguousarray(padded[:, :_LONG_DOUBLE_BYTES]).reshape(-1)


def _array(values: Any, walk: Walk) -> bytes:
    return pack("ndarray", *_parts(values, walk))


def _parts(values: np.ndarray, walk: Walk) -> tuple[bytes, bytes, bytes]:
    shape = b"%r" % (values.shape,)
    return encode_dtype(values.dtype, walk), shape, encode_cells(values, walk)


def _masked(values: Any, walk: Walk) -> bytes:
    # What lies below the mask counts: `.data` gives it, and numpy keeps it for that.
    return pack(
        "masked",
        encode_class(type(values), walk),
        *_parts(np.ma.getdata(values, subok=False), walk),
        *_parts(np.ma.getmaskarray(values), walk),
        walk.encode_at(values.fill_value, ".fill_value"),
        # With a hard mask, assigning to a masked cell changes nothing.
        *([b"hard"] if values.hardmask else []),
    )


def _subclass(values: Any, walk: Walk) -> bytes:
    parts = _parts(values.view(np.ndarray), walk)
    own = encode_own_attributes(values, walk)
    return pack("array of a class", encode_class(type(values), walk), *parts, own)


def _scalar(value: Any, walk: Walk) -> bytes:
    cells = np.asarray(value)
    if type(value) is np.void and cells.dtype.names is None:
        return pack("scalar", encode_dtype(cells.dtype, walk), value.tobytes())
    dtype = encode_dtype(cells.dtype, walk)
    kind = encode_class(type(value), walk)
    return pack("scalar", kind, dtype, encode_cells(cells, walk))


def _dtype(dtype: Any, walk: Walk) -> bytes:
    return pack("numpy.dtype", encode_dtype(dtype, walk))


def _busdays(calendar: Any, walk: Walk) -> bytes:
    week, holidays = calendar.weekmask, calendar.holidays
    return pack("busdaycalendar", *_parts(week, walk), *_parts(holidays, walk))


def _ufunc(function: Any, walk: Walk) -> bytes:
    name = str(function.__name__)
    if getattr(np, name, None) is function:
        return pack("ufunc", b"numpy", atom(name))
    raise UndigestibleError("ufunc", why="it was made while the program ran")


def _array_array(values: Any, walk: Walk) -> bytes:
    cells, text = b"", ""
    # Arrays of characters have no dtype in numpy.
    if values.typecode in "uw":
        text = values.tounicode()
    else:
        cells = encode_cells(np.asarray(values), walk)
    return pack("array", atom(values.typecode), atom(len(values)), cells, atom(text))


def _flat_memory(value: Any, walk: Walk) -> bytes:
    shape = b"%r" % (value.shape,)
    return pack("memoryview", atom(value.format), shape, value.tobytes())


LEAVES: Final[dict[type, Encoder]] = {
    np.busdaycalendar: _busdays,
    np.ufunc: _ufunc,
    array.array: _array_array,
    memoryview: _flat_memory,
}
"""Encoders of what holds plain cells."""

NODES: Final[dict[type, Encoder]] = {np.ndarray: _array, np.memmap: _array}
"""Encoders of arrays, which may hold any objects."""

BASES: Final[tuple[tuple[type | tuple[type, ...], Encoder], ...]] = (
    (np.generic, _scalar),
    (np.ma.MaskedArray, _masked),
    (np.ndarray, _subclass),
    (np.dtype, _dtype),
)
"""Encoders of families of classes."""
