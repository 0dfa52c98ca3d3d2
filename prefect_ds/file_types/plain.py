"""The plain way: pandas writes and reads a file as the user's arguments say."""

import io
from typing import Any, BinaryIO

import pandas as pd

from prefect_ds.file_types.base import FileType, Kwargs, any_pandas


def write_plainly(
    file_type: FileType, frame: pd.DataFrame, file: BinaryIO, kwargs: Kwargs
) -> None:
    """Write a frame as its method ``to_<name>`` does."""
    if file_type.write_plainly is not None:
        file_type.write_plainly(frame, file, kwargs)
    else:
        getattr(frame, f"to_{file_type.name}")(file, **kwargs)


def read_plainly(file_type: FileType, data: bytes, kwargs: Kwargs) -> Any:
    """Return the result of ``pandas.read_<name>`` for a file's bytes."""
    if file_type.read_plainly is not None:
        return file_type.read_plainly(data, kwargs)
    return getattr(any_pandas, f"read_{file_type.name}")(io.BytesIO(data), **kwargs)
