"""The plain way: pandas writes and reads a file as the user's arguments say."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import pandas as pd

from prefect_ds.file_types.base import FileType, Kwargs, any_pandas
from prefect_ds.frames.base import Framed, is_object
from prefect_ds.storage.checksum import Data


def write_plainly(
    file_type: FileType, frame: Framed, file: BinaryIO, kwargs: Kwargs
) -> None:
    """Write a frame as its method ``to_<name>`` does."""
    if file_type.write_plainly is not None:
        # A series comes here in a pickle only, which pandas writes to an open file.
        file_type.write_plainly(cast(pd.DataFrame, frame), file, kwargs)
    else:
        getattr(frame, f"to_{file_type.name}")(file, **kwargs)


def read_plainly(file_type: FileType, data: Data, kwargs: Kwargs) -> Any:
    """Return the result of ``pandas.read_<name>`` for a file's bytes."""
    if file_type.read_plainly is not None:
        return file_type.read_plainly(data, kwargs)
    return getattr(any_pandas, f"read_{file_type.name}")(io.BytesIO(data), **kwargs)


def has_objects(frame: Framed) -> bool:
    """Return whether unpickling may give other objects than a frame holds."""
    if isinstance(frame, pd.Series):
        frame = frame.to_frame()
    # Values of any class.
    if frame.attrs:
        return True
    levels = [
        labels.get_level_values(i)
        for labels in (frame.index, frame.columns)
        for i in range(labels.nlevels)
    ]
    dtypes = [*frame.dtypes, *(level.dtype for level in levels)]
    return any(map(is_object, dtypes))


def unwritable_attr(file_type: FileType, frame: Framed, kwargs: Kwargs) -> object:
    """Return the key of the attrs that pandas cannot write; ``None``: no such.

    The engines' errors do not name it.
    """
    bare = pd.DataFrame(frame)
    # Without attrs it fails too: they are not at fault.
    if not _is_writable(file_type, bare, kwargs):
        return None
    for key, value in frame.attrs.items():
        bare.attrs = {key: value}
        if not _is_writable(file_type, bare, kwargs):
            return key
    return None


def _is_writable(file_type: FileType, frame: pd.DataFrame, kwargs: Kwargs) -> bool:
    try:
        with quiet():
            write_plainly(file_type, frame, io.BytesIO(), kwargs)
    except Exception:  # noqa: BLE001 - whatever the engine of a type raises
        return False
    return True


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings, as of lost precision: the proof by reading settles them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
