"""stata: files of the statistics package Stata."""

import datetime
import io
from typing import BinaryIO, Final

import pandas as pd

from prefect_ds.file_types.base import (
    FileType,
    Kwargs,
    any_pandas,
    arrays_of,
    complete_compression,
    is_number_within,
)
from prefect_ds.frames.base import Array, CellRules, JSONObject
from prefect_ds.storage.checksum import Data

_EPOCH: Final = datetime.datetime(1970, 1, 1)
"""As the time of writing, so that equal frames give equal bytes."""

_LONGEST_TEXT: Final = 2045
"""Bytes of a cell; a longer text goes into a place of its own (strL)."""


def _is_native(values: Array) -> bool:
    # Stata has no half floats.
    if values.dtype.name == "float16":
        return False
    # Stata keeps the largest numbers of every width for kinds of missing values.
    largest = 8.9e307
    if values.dtype.name == "float32":
        largest = 1.7e38
    # pandas widens integers to doubles, which are exact up to 2**53.
    return is_number_within(values, largest=2**53, finite_below=largest)


def _write(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    long = []
    for label, dtype in table.dtypes.items():
        if dtype == "str":
            sizes = [len(text.encode()) for text in table[label]]
            if max(sizes, default=0) > _LONGEST_TEXT:
                long.append(label)
    # 118 is the first version with text in Unicode.
    options = {"version": 118, "time_stamp": _EPOCH, "convert_strl": long, **kwargs}
    table.to_stata(file, write_index=False, **options)


def _read(data: Data, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    frame = any_pandas.read_stata(
        io.BytesIO(data), convert_dates=False, convert_categoricals=False, **kwargs
    )
    return arrays_of(frame)


STATA: Final = FileType(
    name="stata",
    endings=(".dta",),
    rules=CellRules(_is_native, missing="", identifiers=True),
    write=_write,
    read=_read,
    write_syntax=frozenset(
        {
            "byteorder",
            "time_stamp",
            "data_label",
            "version",
            "convert_strl",
            "compression",
        }
    ),
    read_syntax=frozenset({"compression"}),
    complete=complete_compression,
    is_compressible=True,
    index_kwarg="write_index",
)
