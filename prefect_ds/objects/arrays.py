"""npy and npz: numpy arrays, and dicts of them, as ``numpy.load`` reads them."""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any, BinaryIO, Final, Literal

import numpy as np
from numpy.lib import format as npy

from prefect_ds.objects.base import (
    Marks,
    ObjectType,
    UnkeepableError,
    key_step,
    name_of,
    shortened,
)

_ENDING: Final = ".npy"

_LARGE: Final = 2**20
"""Bytes from which on an array is written at once."""

_MOST_HEADER_BYTES: Final = 2**32
"""More than any header has: so that numpy refuses none."""

_HEADER_BYTES: Final = 2**17
"""More than the header of a file of version 1 can have."""


def write_array(values: Any, file: BinaryIO) -> None:
    """Write an array as ``numpy.save`` does, without pickles.

    Raises
    ------
    UnkeepableError
        The file would give another array.
    """
    _check_array(values)
    cells = values
    # The cells in the order in which the file has them.
    if values.flags.f_contiguous and not values.flags.c_contiguous:
        cells = values.T
    if values.nbytes < _LARGE or not cells.flags.c_contiguous:
        npy.write_array(file, values, allow_pickle=False)
        return
    try:
        npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(values))
    except ValueError:
        # Only a later version of the format holds its dtype.
        npy.write_array(file, values, allow_pickle=False)
        return
    # At once: numpy copies it piece by piece.
    file.write(cells.reshape(-1).view(np.uint8).data)


def read_array(file: BinaryIO) -> np.ndarray:
    """Return the array of a file of ``numpy.save``; a pickle in it is not loaded."""
    # numpy reads no header of over 10,000 characters by itself: a dtype of many fields
    # has one.
    return npy.read_array(file, allow_pickle=False, max_header_size=_MOST_HEADER_BYTES)


def view_array(data: memoryview) -> np.ndarray:
    """Return the array of a file's bytes, as a view on them if they may be changed."""
    head = io.BytesIO(data[:_HEADER_BYTES])
    # Later versions are for dtypes whose description is long.
    if data.readonly or npy.read_magic(head) != (1, 0):
        return read_array(io.BytesIO(data))
    shape, is_fortran, dtype = npy.read_array_header_1_0(head, _HEADER_BYTES)
    n_cells = math.prod(shape)
    # numpy's own reader refuses objects in its words, and knows empty shapes.
    if dtype.hasobject or not n_cells:
        return read_array(io.BytesIO(data))
    cells = np.frombuffer(data, dtype, n_cells, head.tell())
    # Unaligned cells are slow, and some libraries refuse them.
    if not cells.flags.aligned:
        cells = cells.copy()
    order: Literal["C", "F"] = "F" if is_fortran else "C"
    return cells.reshape(shape, order=order)


def _check_array(values: Any) -> None:
    if type(values) is not np.ndarray:
        hint = ""
        if isinstance(values, np.ma.MaskedArray):
            hint = "return a dict of its .data and .mask in a file of type 'npz'"
        elif isinstance(values, np.ndarray | np.generic):
            hint = "return numpy.asarray(value)"
        raise UnkeepableError(f"{name_of(type(values))}", values, hint)
    dtype = values.dtype
    # numpy's text of any length, whose bytes are not in the array.
    if dtype.kind == "T":
        why = f"its dtype is {dtype}"
        raise UnkeepableError(why, values, "return values.astype(str)")
    if dtype.hasobject:
        why = f"its dtype {dtype} holds Python objects"
        raise UnkeepableError(why, values, "give it a dtype of numbers or of text")
    if not _is_kept(dtype):
        why = f"the header of the file does not give its dtype {dtype!r} back"
        raise UnkeepableError(why, values)


def _is_kept(dtype: np.dtype[Any]) -> bool:
    """Return whether the header of a file gives a dtype back, with all that it says."""
    if dtype.metadata:
        return False
    back = npy.descr_to_dtype(npy.dtype_to_descr(dtype))
    return back == dtype and repr(back) == repr(dtype)


def _array_classes() -> tuple[type, ...]:
    return (np.ndarray,)


def _write_npy(values: Any, file: BinaryIO) -> Marks | None:
    write_array(values, file)
    return None


def _view_npy(data: memoryview, marks: Marks | None) -> np.ndarray:
    return view_array(data)


def _read_npy(file: BinaryIO, marks: Marks | None) -> np.ndarray:
    return read_array(file)


NPY: Final = ObjectType(
    name="npy",
    keeps="numpy arrays",
    kept_classes=_array_classes,
    write=_write_npy,
    read=_read_npy,
    read_data=_view_npy,
    endings=(_ENDING,),
    other_names=("numpy", "array", "ndarray"),
)


def _dict_classes() -> tuple[type, ...]:
    return (dict,)


def _write_npz(arrays: Any, file: BinaryIO) -> Marks | None:
    if type(arrays) is not dict:
        raise UnkeepableError(name_of(type(arrays)), arrays)
    names = {key: _name(key, arrays) for key in arrays}
    # Not `numpy.savez`, which takes the keys as arguments: one of them is `file`.
    with zipfile.ZipFile(file, "w") as archive:
        for key, values in arrays.items():
            # With a fixed time: equal arrays give equal bytes.
            member = zipfile.ZipInfo(names[key])
            # Readable for its owner and others, once it is unpacked.
            member.external_attr = 0o644 << 16
            with archive.open(member, "w", force_zip64=True) as part:
                try:
                    write_array(values, part)  # type: ignore[arg-type]
                except UnkeepableError as error:
                    raise error.below(key_step(key)) from None
    return None


def _name(key: Any, arrays: dict[Any, Any]) -> str:
    """Return the name of a key's member in the archive."""
    is_text = type(key) is str
    # A zip file cuts names at a NUL, and changes separators.
    try:
        name = f"{key}{_ENDING}"
        if is_text and name.encode() and zipfile.ZipInfo(name).filename == name:
            return name
    except UnicodeEncodeError:
        pass
    why = f"its key {shortened(key)} cannot name an array in the file"
    raise UnkeepableError(why, arrays, "use text without special characters")


def _read_npz(file: BinaryIO, marks: Marks | None) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            key = member.filename.removesuffix(_ENDING)
            if key in arrays:
                raise ValueError(f"it has two arrays named {key!r}")
            try:
                with archive.open(member) as part:
                    arrays[key] = read_array(part)  # type: ignore[arg-type]
            except ValueError as error:
                raise ValueError(f"its member {member.filename!r}: {error}") from error
    return arrays


NPZ: Final = ObjectType(
    name="npz",
    keeps="dicts of text to numpy arrays",
    kept_classes=_dict_classes,
    write=_write_npz,
    read=_read_npz,
    endings=(".npz",),
    other_names=("savez",),
)
