"""A frame as a flat table for a plain file, and the schema that restores the frame.

The table has unique string labels and no index of its own: the levels of the index are
its first columns. A cell is either *native*, as the file type holds it, or readable
text: ISO dates, decimal numbers, JSON for nested objects. Frames are rebuilt by
position, so a file type is free to alter labels.

The work is done in `cells` (one column), `codecs` (values as text) and `index`.
Positions count in four ways there, and every way has one name:

row
    where a cell is in its column;
present
    where it is among the cells that are not missing;
distinct
    where its value is among the different values of the column, in the order in which
    they first occur;
listed
    where its value is in a list that the schema has: the categories of a column, or
    the values that a level of a MultiIndex knows.
"""

import json
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from prefect_ds.frames.base import (
    Array,
    CellRules,
    JSONObject,
    UnkeepableError,
    array_of,
    is_object,
)
from prefect_ds.frames.cells import decode_column, encode_column
from prefect_ds.frames.dtypes import dtype_to_json
from prefect_ds.frames.index import (
    decode_row_index,
    encode_row_index,
    index_from_json,
    index_to_json,
)


def to_table(
    frame: pd.DataFrame, rules: CellRules, *, with_default_index: bool = False
) -> tuple[pd.DataFrame, JSONObject]:
    """Return the table form of a frame and its schema.

    Parameters
    ----------
    frame
        Any frame; it is not changed.
    rules
        The rules for cells of the file type.
    with_default_index
        Whether a default ``RangeIndex`` becomes a column like any other index.

    Returns
    -------
    table : pandas.DataFrame
        Index levels, then columns; a default ``RangeIndex`` is left out unless asked
        for, or the table would be empty. Its columns have a native dtype or ``str``.
    schema : dict
        JSON-serialisable; `from_table` needs it.

    Raises
    ------
    UnkeepableError
        A value has no readable text from which it could be restored.

    Examples
    --------
    >>> rules = CellRules(is_native=lambda values: values.dtype == "int64", missing="")
    >>> days = pd.DatetimeIndex(["2024-01-01", "2024-01-02"], name="day")
    >>> table, schema = to_table(pd.DataFrame({"n": [1, 2]}, index=days), rules)
    >>> table
              day  n
    0  2024-01-01  1
    1  2024-01-02  2
    >>> schema["columns"], schema["index"]["levels"]
    ([{'dtype': 'int64'}], [{'dtype': 'datetime64[us]', 'text': 'datetime'}])
    """
    # Without attrs, which every step would copy.
    bare = pd.DataFrame(frame)
    # A table without any column has no rows in a file.
    with_default = with_default_index or bare.shape[1] == 0
    index_cells, index = encode_row_index(bare.index, rules, with_default)
    changed, specs = _encode_columns(bare, rules)
    # Columns first: where both have one name, the column keeps it.
    column_labels = _labels(bare.columns, rules, taken=())
    labels_of_index = _labels(
        index_labels(bare.index.names)[: len(index_cells)], rules, taken=column_labels
    )
    table = _table_of(bare, changed)
    table.columns = pd.Index(column_labels, dtype="str")
    for i, label in enumerate(labels_of_index):
        table.insert(i, label, _series(index_cells[i], table.index))
    schema = {
        "n_rows": len(frame),
        "index": index,
        "columns": specs,
        "labels": index_to_json(frame.columns),
    }
    # Left out where they are the default, so that equal frames have one schema as text.
    if not frame.flags.allows_duplicate_labels:
        schema["allows_duplicate_labels"] = False
    if frame.attrs:
        schema["attrs"] = _attrs_to_json(frame.attrs)
    return table, schema


def from_table(cells: Sequence[Array], schema: Mapping[str, Any]) -> pd.DataFrame:
    """Return the frame of a table and its schema.

    Parameters
    ----------
    cells
        The columns of the table as they were read; text columns as any array of
        strings, with a null where the rules had ``missing=None``.
    schema
        As `to_table` made it.

    Raises
    ------
    UnkeepableError
        The table does not fit the schema.
    """
    n_rows, specs = schema["n_rows"], column_specs(schema)
    # The file may be another than the schema was made for.
    if len(cells) != len(specs) or any(len(column) != n_rows for column in cells):
        lengths = sorted({len(column) for column in cells})
        raise UnkeepableError(
            f"the file holds {len(cells)} columns of {lengths} rows, "
            f"not the {len(specs)} columns of {n_rows} rows written"
        )
    arrays = [
        decode_column(column, spec) for column, spec in zip(cells, specs, strict=True)
    ]
    n_index = n_index_columns(schema)
    index = decode_row_index(arrays[:n_index], schema["index"], n_rows)
    frame = _frame_of(arrays[n_index:], index)
    # After the values: labels may be equal, and arrays are placed by position.
    frame.columns = index_from_json(schema["labels"])
    frame.attrs.update(schema.get("attrs", {}))
    allows_duplicates = schema.get("allows_duplicate_labels", True)
    cast(Any, frame).flags.allows_duplicate_labels = allows_duplicates
    return frame


def with_index(table: pd.DataFrame, schema: Mapping[str, Any]) -> pd.DataFrame:
    """Return a table whose leading columns are its index again.

    Parquet marks it as such for other readers.
    """
    n_index = n_index_columns(schema)
    if n_index == 0:
        return table
    labels = list(table.columns[:n_index])
    # A label such as "index" takes the place of a name that is missing.
    names = [
        None if name is None else label
        for name, label in zip(schema["index"]["names"], labels, strict=True)
    ]
    # pandas makes a MultiIndex of columns only.
    if n_index > 1:
        return table.set_index(labels).rename_axis(names)
    # Not by set_index, which looks at all values for a range.
    cells = table.iloc[:, 0].array
    index = pd.Index(cells, dtype=cells.dtype, name=names[0], copy=False)
    return table.iloc[:, 1:].set_axis(index)


def n_index_columns(schema: Mapping[str, Any]) -> int:
    """Return how many leading columns of the table hold the index."""
    return len(schema["index"]["levels"])


def column_specs(schema: Mapping[str, Any]) -> list[JSONObject]:
    """Return the specification of every column of the table, index levels first."""
    return [*schema["index"]["levels"], *schema["columns"]]


def _encode_columns(
    frame: pd.DataFrame, rules: CellRules
) -> tuple[dict[int, Array], list[JSONObject]]:
    """Return the cells that differ from a frame's own by column, and all specs."""
    changed: dict[int, Array] = {}
    specs: list[JSONObject] = []
    for i, dtype in enumerate(frame.dtypes):
        # To look at a column of 2,000 takes pandas as long as to write it.
        is_plain = isinstance(dtype, np.dtype | pd.StringDtype)
        if is_plain and dtype in rules.native_dtypes:
            specs.append({"dtype": dtype_to_json(dtype)})
            continue
        values = array_of(frame.iloc[:, i])
        cells, spec = encode_column(values, rules)
        specs.append(spec)
        if cells is not values:
            changed[i] = cells
    return changed, specs


def _table_of(frame: pd.DataFrame, changed: Mapping[int, Array]) -> pd.DataFrame:
    """Return a frame with the cells of some columns changed, and a default index."""
    index = pd.RangeIndex(len(frame))
    # In most file types most frames are native: no column is copied then.
    if not changed:
        return frame.set_axis(index)
    columns = {}
    for i in range(frame.shape[1]):
        values = changed[i] if i in changed else array_of(frame.iloc[:, i])
        columns[i] = _series(values, index)
    return pd.DataFrame(columns, index=index, copy=False)


def _series(values: Array, index: pd.Index) -> Any:
    """Return an array as a series; from an array, pandas would guess another dtype."""
    return pd.Series(values, index=index, dtype=values.dtype, copy=False)


def _frame_of(arrays: Sequence[Array], index: pd.Index) -> pd.DataFrame:
    """Return a frame of its own memory, so that a task can change it in place.

    The memory that pandas and pyarrow give is often read-only. Columns of one dtype
    lie together, as in every frame that pandas makes.
    """
    columns: dict[int, Any] = {}
    for i, values in enumerate(arrays):
        dtype = values.dtype
        if is_object(dtype):
            # pandas would guess that objects which are all text are of dtype `str`.
            columns[i] = _series(values, index)
        elif isinstance(dtype, np.dtype):
            # Plain arrays of one dtype become one block.
            columns[i] = np.asarray(values)
        else:
            columns[i] = values
    return pd.DataFrame(columns, index=index, copy=True)


def index_labels(names: Sequence[Hashable]) -> list[Hashable]:
    """Return a label for every level of an index, also for those without a name.

    Examples
    --------
    >>> index_labels([None]), index_labels(["day", None])
    (['index'], ['day', 'level_1'])
    """
    labels: list[Hashable] = []
    for i, name in enumerate(names):
        if name is not None:
            labels.append(name)
        elif len(names) == 1:
            labels.append("index")
        else:
            labels.append(f"level_{i}")
    return labels


def _labels(
    labels: Iterable[Hashable], rules: CellRules, taken: Iterable[str]
) -> list[str]:
    """Return unique strings for labels; those that are such already stay.

    Examples
    --------
    >>> _labels(["a", 1, "1"], CellRules(lambda values: False, ""), taken=["a"])
    ['a_1', '1', '1_1']
    """
    used = set(taken)
    result = []
    for label in labels:
        plain = str(label)
        if isinstance(label, tuple):
            plain = "_".join(map(str, label))
        stem = plain
        if rules.identifiers:
            # Stata and xml take 32 letters, digits and _, and no digit in front.
            plain = re.sub(r"\W|^(?=\d)|^$", "_", plain, flags=re.ASCII)[:32]
            # Room for a number behind it.
            stem = plain[:24]
        unique, n = plain, 1
        while unique in used:
            unique = f"{stem}_{n}"
            n += 1
        used.add(unique)
        result.append(unique)
    return result


def _attrs_to_json(attrs: Mapping[Any, Any]) -> JSONObject:
    """Return a copy of a frame's attrs, all of which JSON gives back as they are."""
    checked = {}
    for key, value in attrs.items():
        what = f"attrs[{key!r}]"
        try:
            copy = json.loads(json.dumps({key: value}, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise UnkeepableError(f"{what} cannot be kept as JSON: {error}") from error
        # Not `==`: a tuple comes back as a list, a key 1 as "1", and True equals 1.
        if repr(copy) != repr({key: value}):
            raise UnkeepableError(f"{what} would change in JSON")
        checked.update(copy)
    return checked
