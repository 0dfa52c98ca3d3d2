"""pickle: frames as they are, for Python only."""

import io
import pickle
from typing import Any, BinaryIO, Final

import pandas as pd

from prefect_ds.file_types._internals import get_handle
from prefect_ds.file_types.base import (
    FileType,
    Kwargs,
    any_pandas,
    complete_compression,
)
from prefect_ds.pickling import Pickler, load
from prefect_ds.storage.checksum import Data


def _write(frame: pd.DataFrame, file: BinaryIO, kwargs: Kwargs) -> None:
    """Write what ``to_pickle`` does, also where a script's classes have no name."""
    protocol = kwargs.get("protocol", pickle.HIGHEST_PROTOCOL)
    compression = kwargs.get("compression")
    with get_handle(file, "wb", compression=compression, is_text=False) as handles:
        Pickler(handles.handle, protocol, by_name=True).dump(frame)


def _read(data: Data, kwargs: Kwargs) -> Any:
    compression = kwargs.get("compression")
    try:
        with get_handle(
            io.BytesIO(data), "rb", compression=compression, is_text=False
        ) as handles:
            return load(handles.handle)
    except (AttributeError, ImportError, TypeError):
        # pandas knows what the pickles of its earlier versions name.
        return any_pandas.read_pickle(io.BytesIO(data), **kwargs)


PICKLE: Final = FileType(
    name="pickle",
    write_plainly=_write,
    read_plainly=_read,
    endings=(".pkl", ".pickle"),
    complete=complete_compression,
    is_compressible=True,
)
