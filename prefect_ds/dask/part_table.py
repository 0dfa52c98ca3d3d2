"""The Arrow table of a part: what its file holds of some rows of a frame."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from prefect_ds.dask.frame_json import TEXT_RULES, culprit
from prefect_ds.dask.layouts import Layout
from prefect_ds.file_types.frame_format import FILE_TYPES
from prefect_ds.frames.base import CellRules, UnkeepableError, array_of
from prefect_ds.frames.cells import is_text
from prefect_ds.frames.compare import difference
from prefect_ds.frames.index import index_to_json
from prefect_ds.frames.table import (
    column_specs,
    from_table,
    n_index_columns,
    to_table,
    with_index,
)
from prefect_ds.storage.manifest import JSONObject


class PartTable(NamedTuple):
    """What goes into the file of a part."""

    table: pa.Table
    """Columns, then the levels of the index where they are kept."""
    schema: JSONObject
    """What restores the values, see :func:`prefect_ds.frames.table.to_table`."""
    types: dict[int, pa.DataType]
    """File position to the type of the values, where the table has a wider one."""
    has_index: bool
    """Whether the table has the index."""


def part_table(frame: pd.DataFrame, layout: Layout | None) -> PartTable:
    """Return the table of some rows of a frame.

    Parameters
    ----------
    frame
        The rows, without the columns of ``partition_on``.
    layout
        What all parts agree on; ``None``: as the values ask.

    Raises
    ------
    UnkeepableError, RoundTripError
        A value would not come back; names the column.
    """
    # A range needs no column, unless other partitions have an index that does. Dask
    # cannot read a named one.
    is_range = isinstance(frame.index, pd.RangeIndex) and frame.index.name is None
    has_index = not is_range
    if layout is not None:
        has_index = layout.has_index
    flat, schema = _flat(frame)
    _prove(frame, flat, schema)
    table = _to_arrow(frame, flat, schema, has_index)
    if layout is None:
        return PartTable(table, schema, {}, has_index)
    # Arrow has no cast of all values to text and back, so these columns are written
    # as text from the start, as columns of mixed objects are.
    texts = layout.texts(table)
    if texts:
        flat, schema = _with_texts(frame, flat, schema, texts)
        _prove(frame, flat, schema)
        table = _to_arrow(frame, flat, schema, has_index)
    table, types = layout.apply(table)
    return PartTable(table, schema, types, has_index)


def _flat(frame: pd.DataFrame) -> tuple[pd.DataFrame, JSONObject]:
    """Return the table form of a frame and its schema; an error names the column."""
    try:
        flat, schema = to_table(frame, _rules(), with_default_index=True)
    except UnkeepableError as error:
        what = culprit(frame, lambda part: to_table(part, _rules()))
        raise UnkeepableError(f"{what}: {error}") from error
    freq = schema["index"].get("freq")
    if freq is not None:
        offset = pd.tseries.frequencies.to_offset(freq)
        # A name does not tell all of it: the holidays of a calendar, say.
        if offset != getattr(frame.index, "freq", None):
            del schema["index"]["freq"]
    return flat, schema


def _with_texts(
    frame: pd.DataFrame, flat: pd.DataFrame, schema: JSONObject, positions: list[int]
) -> tuple[pd.DataFrame, JSONObject]:
    """Return the table form of a frame with some file positions as text."""
    n_levels = n_index_columns(schema)
    columns, levels = list(schema["columns"]), list(schema["index"]["levels"])
    flat = flat.copy(deep=False)
    for position in positions:
        # In the file the index comes last, in the table form first.
        if position < len(columns):
            texts, spec = _as_text(frame.iloc[:, position])
            columns[position] = spec
            flat.isetitem(n_levels + position, texts)
        else:
            # A frame of Dask's has an index of one level.
            texts, spec = _as_text(frame.index.to_series())
            levels[0] = spec
            flat.isetitem(0, texts)
    index = {**schema["index"], "levels": levels}
    return flat, {**schema, "index": index, "columns": columns}


def _as_text(values: pd.Series[Any]) -> tuple[Any, JSONObject]:
    """Return the values of one column as text, and the spec that reads them back."""
    cells, schema = to_table(pd.DataFrame({"x": values.array}), TEXT_RULES)
    return cells.iloc[:, 0].array, schema["columns"][0]


def _to_arrow(
    frame: pd.DataFrame, flat: pd.DataFrame, schema: JSONObject, has_index: bool
) -> pa.Table:
    flat = with_index(flat, schema)
    if not has_index:
        flat = flat.set_axis(frame.index)
    # `None` leaves a range to the metadata, where other tools find it; `True` makes a
    # column of it.
    preserve_index = True if has_index else None
    # Dask has a thread for every core at work already: Arrow would start more for every
    # part.
    table = pa.Table.from_pandas(flat, preserve_index=preserve_index, nthreads=1)
    return _settled(_with_nan(table, flat))


def _prove(frame: pd.DataFrame, flat: pd.DataFrame, schema: JSONObject) -> None:
    """Make sure that the cells of a frame's table form give its values back.

    Arrow's own types do. Text may not: JSON has no tuples, for one.

    Raises
    ------
    UnkeepableError
        They do not; names the column.
    """
    n_levels, n_rows = n_index_columns(schema), len(frame)
    for position, spec in enumerate(column_specs(schema)):
        # In the table form the levels of the index come first.
        place = position - n_levels
        if place < 0:
            values: Any = frame.index
            what = "the index"
        else:
            values = frame.iloc[:, place]
            what = f"column {frame.columns[place]!r}"
        if not is_text(spec) and _is_kept_by_arrow(values.dtype):
            continue
        # A frame of this column alone, with a plain index, goes there and back.
        one = pd.Series(array_of(values), dtype=values.dtype, name="x").to_frame()
        alone = {
            "n_rows": n_rows,
            "index": {"names": [None], "levels": [], "range": [0, n_rows, 1]},
            "columns": [spec],
            "labels": index_to_json(one.columns),
        }
        back = from_table([array_of(flat.iloc[:, position])], alone)
        change = difference(one, back)
        if change is not None:
            change = change.removeprefix("column 'x': ")
            raise UnkeepableError(f"{what} of {values.dtype}: {change}")


def _is_kept_by_arrow(dtype: Any) -> bool:
    kept = (pd.StringDtype, pd.ArrowDtype, pd.DatetimeTZDtype, pd.CategoricalDtype)
    # Int64, boolean and their like have no common base class that is public.
    is_masked = hasattr(dtype, "numpy_dtype")
    return isinstance(dtype, (np.dtype, *kept)) or is_masked


def _rules() -> CellRules:
    rules = FILE_TYPES["parquet"].rules
    assert rules is not None
    return rules


def _with_nan(table: pa.Table, flat: pd.DataFrame) -> pa.Table:
    """Return the table with NaN beside NA in the columns of pandas' floats."""
    dtypes: list[Any] = list(flat.dtypes)
    for i, dtype in enumerate(dtypes):
        if not isinstance(dtype, pd.Float32Dtype | pd.Float64Dtype):
            continue
        values: Any = flat.iloc[:, i].array
        absent = values.isna()
        numbers = values.to_numpy(str(dtype).lower(), na_value=np.nan)
        # More NaN than NA: some values are NaN by themselves, as 0.0 / 0.0 is.
        if np.isnan(numbers).sum() > absent.sum():
            # `from_pandas=True` would make null of them.
            cells = pa.array(numbers, mask=absent, from_pandas=False)
            table = table.set_column(i, table.schema.field(i), cells)
    return table


def _settled(table: pa.Table) -> pa.Table:
    """Return a table in which no type depends on the number of categories.

    Arrow takes int8 for the codes of up to 128 categories, and int16 for more, so that
    two partitions of one frame could have different types.
    """
    schema = table.schema
    for i, column in enumerate(schema):
        kind = column.type
        if pa.types.is_dictionary(kind):
            kind = pa.dictionary(pa.int32(), kind.value_type, kind.ordered)
            schema = schema.set(i, column.with_type(kind))
    return table.cast(schema)
