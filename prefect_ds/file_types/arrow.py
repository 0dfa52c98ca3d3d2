"""parquet, feather and orc: the formats that Arrow writes and reads."""

import datetime
import io
import zoneinfo
from collections.abc import Callable
from typing import Any, BinaryIO, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq

from prefect_ds.file_types.base import (
    FileType,
    Kwargs,
    any_pandas,
    parameters,
    without,
    write_through_memory,
)
from prefect_ds.frames.base import (
    NUMBER_DTYPES,
    Array,
    CellRules,
    JSONObject,
    is_object,
)
from prefect_ds.frames.table import n_index_columns, with_index
from prefect_ds.storage.checksum import Data

_CERTAIN_DTYPES: Final = frozenset(
    {
        "float32",
        "float64",
        "datetime64[ms]",
        "datetime64[us]",
        "datetime64[ns]",
        "str",
        "boolean",
    }
    | {f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
)
"""Names of dtypes of which Arrow's formats keep every value.

float16 is not among them, nor are times in seconds, which Parquet does not have.
"""


def _is_native(values: Array) -> bool:
    dtype = values.dtype
    if is_object(dtype):
        return _is_arrow_object(values)
    # Other categories come back with another dtype.
    if isinstance(dtype, pd.CategoricalDtype):
        return dtype.categories.dtype == "str"
    # Arrow takes no numbers in the other byte order.
    if isinstance(dtype, np.dtype):
        return dtype.kind in "biufMm" and dtype.isnative
    return hasattr(dtype, "__from_arrow__")


def _any_type(arrow_type: pa.DataType) -> bool:
    return True


def _is_arrow_object(
    values: Array, has_type: Callable[[pa.DataType], bool] = _any_type
) -> bool:
    """Return whether Arrow gives Python objects back as they are.

    There may be one kind of missing value among them.
    """
    absent = pd.isna(values)
    present = values[~absent]
    # Arrow has one null, which the spec gives one meaning.
    if len({type(value) for value in values[absent]}) > 1:
        return False
    try:
        array = pa.array(present, from_pandas=True)
        back = array.to_pylist()
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return False
    if not has_type(array.type):
        return False
    return all(
        type(ours) is type(theirs) and repr(ours) == repr(theirs)
        for ours, theirs in zip(present, back, strict=True)
    )


def _is_certain(dtype: Any) -> bool:
    """Return whether Arrow's formats are known to keep every value of a dtype."""
    if isinstance(dtype, pd.CategoricalDtype):
        return bool(dtype.categories.dtype == "str")
    if isinstance(dtype, np.dtype):
        return dtype.isnative and (dtype.kind in "biu" or dtype.name in _CERTAIN_DTYPES)
    if isinstance(dtype, pd.DatetimeTZDtype):
        is_known = type(dtype.tz) in (zoneinfo.ZoneInfo, datetime.timezone)
        return is_known and dtype.unit != "s"
    return str(dtype) in _CERTAIN_DTYPES


_STR: Final = pd.StringDtype("pyarrow", na_value=np.nan)

_RULES: Final = CellRules(
    _is_native, missing=None, native_dtypes=NUMBER_DTYPES | {_STR}
)

# --- parquet --------------------------------------------------------------------------


def _write_parquet(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    options: dict[str, Any] = {"engine": "pyarrow", "write_page_checksum": True}
    if "column_encoding" not in kwargs:
        # A dictionary of numbers costs more time than it saves space.
        repeating = [
            label
            for label, dtype in table.dtypes.items()
            if dtype == "str" or isinstance(dtype, pd.CategoricalDtype)
        ]
        options["use_dictionary"] = repeating or False
    options.update(kwargs)
    # `None` leaves a default index to the metadata.
    index = True if n_index_columns(schema) else None
    with_index(table, schema).to_parquet(file, index=index, **options)


def _read_parquet(data: Data, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    # The bytes have a checksum of their own, compared before: no need to compare those
    # of the pages.
    columns = pq.read_table(pa.BufferReader(data), **without(kwargs, "engine")).columns
    # In the file the index comes last, in the table form first.
    n_columns = len(columns) - n_index_columns(schema)
    return [*columns[n_columns:], *columns[:n_columns]]


def _read_parquet_plainly(data: Data, kwargs: Kwargs) -> Any:
    options = {"page_checksum_verification": True, **kwargs}
    return any_pandas.read_parquet(io.BytesIO(data), **options)


_WRITER: Final = ("pyarrow.parquet:write_table",)
_READER: Final = ("pyarrow.parquet:read_table",)
# Arguments that choose or convert values; all others change the layout of a file.
_CONTENT: Final = {
    "coerce_timestamps",
    "allow_truncated_timestamps",
    "flavor",
    "use_deprecated_int96_timestamps",
    "columns",
    "filters",
    "schema",
}

PARQUET: Final = FileType(
    name="parquet",
    endings=(".parquet", ".pq"),
    rules=_RULES,
    write=_write_parquet,
    read=_read_parquet,
    read_plainly=_read_parquet_plainly,
    write_syntax=(parameters(*_WRITER) - _CONTENT) | {"engine"},
    read_syntax=(parameters(*_READER) - _CONTENT) | {"engine"},
    more_write_kwargs=_WRITER,
    more_read_kwargs=_READER,
    is_certain=_is_certain,
)

# --- feather --------------------------------------------------------------------------


def _write_feather(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    arrow = pa.Table.from_pandas(table)
    for number, column in enumerate(arrow.columns):
        if column.null_count:
            field = arrow.schema.field(number)
            arrow = arrow.set_column(number, field, _plain_nulls(column))
    pyarrow.feather.write_feather(arrow, file, **kwargs)


def _plain_nulls(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column with nothing under its nulls.

    There may be anything, such as what a mask hides, and the file would have it: equal
    frames would have unequal files.
    """
    if pa.types.is_primitive(column.type):
        return pc.coalesce(column, pa.scalar(None, column.type))
    return column.take(pa.array(np.arange(len(column))))


def _read_feather(data: Data, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    source = pa.BufferReader(data)
    # There is no file to map: the bytes are in memory.
    return list(pyarrow.feather.read_table(source, memory_map=False, **kwargs).columns)


FEATHER: Final = FileType(
    name="feather",
    endings=(".feather",),
    rules=_RULES,
    write=_write_feather,
    read=_read_feather,
    write_syntax=frozenset(
        {"compression", "compression_level", "chunksize", "version"}
    ),
    read_syntax=frozenset({"use_threads"}),
    more_write_kwargs=("pyarrow.feather:write_feather",),
    is_certain=_is_certain,
)

# --- orc ------------------------------------------------------------------------------


def _is_orc_native(values: Array) -> bool:
    dtype = values.dtype
    if is_object(dtype):
        return _is_arrow_object(values, _is_orc_type)
    if isinstance(dtype, np.dtype) and dtype.kind == "M":
        # Read back in nanoseconds, of which 64 bits hold 292 years to either side of
        # 1970.
        times = values[~pd.isna(values)].astype("M8[s]")
        first, last = pd.Timestamp.min.as_unit("s"), pd.Timestamp.max.as_unit("s")
        return bool(((times > first) & (times < last)).all())
    if isinstance(dtype, np.dtype):
        return dtype.kind in "bi" or dtype in ("float32", "float64")
    return isinstance(dtype, pd.StringDtype)


def _is_orc_type(arrow_type: pa.DataType) -> bool:
    types = pa.types
    # Of times, only dates come back as they were.
    if types.is_temporal(arrow_type):
        return bool(types.is_date32(arrow_type))
    if types.is_null(arrow_type):
        return False
    return not isinstance(arrow_type, pa.BaseExtensionType)


def _write_orc(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    write_through_memory(table.to_orc, file, kwargs)


def _write_orc_plainly(frame: pd.DataFrame, file: BinaryIO, kwargs: Kwargs) -> None:
    write_through_memory(frame.to_orc, file, kwargs)


def _read_orc(data: Data, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    return list(pyarrow.orc.read_table(pa.BufferReader(data)).columns)


ORC: Final = FileType(
    name="orc",
    endings=(".orc",),
    rules=CellRules(_is_orc_native, missing=None),
    write=_write_orc,
    read=_read_orc,
    write_plainly=_write_orc_plainly,
    write_syntax=frozenset({"engine", "engine_kwargs"}),
)
