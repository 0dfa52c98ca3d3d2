"""The types of a file that a person edited: those of the checkpoint that it was."""

from __future__ import annotations

from typing import Any

import pandas as pd

from prefect_ds.file_types.frame_format import FrameFormat
from prefect_ds.frames.base import JSONObject, UnkeepableError
from prefect_ds.frames.compare import difference
from prefect_ds.frames.index import index_from_json
from prefect_ds.frames.table import index_labels, n_index_columns, to_table
from prefect_ds.storage.checksum import Data


def schema_of_edited(
    form: FrameFormat, data: Data, plain: pd.DataFrame, earlier: JSONObject
) -> JSONObject | None:
    """Return the schema with which an edited file gives the types that it had.

    Columns that no longer fit theirs get the type that the file gives.

    Parameters
    ----------
    form
        The format of the file.
    data
        Its bytes.
    plain
        The frame that the file gives without a schema.
    earlier
        The schema of the checkpoint before the edit.

    Returns
    -------
    JSONObject or None
        ``None``: no column fits, or the edit changed more than cells, rows and columns.
    """
    whole = _with_rows(earlier, len(plain))
    has_same_columns = _table_names(earlier) == [str(label) for label in plain.columns]
    if has_same_columns and _decoded(form, data, whole) is not None:
        return whole
    return _column_by_column(form, data, plain, earlier)


def _with_rows(schema: JSONObject, n_rows: int) -> JSONObject:
    """Return a schema for another number of rows."""
    index = dict(schema["index"])
    if "range" in index:
        start, _, step = index["range"]
        index["range"] = [start, start + step * n_rows, step]
    return {**schema, "n_rows": n_rows, "index": index}


def _table_names(schema: JSONObject) -> list[str]:
    """Return the names of the columns in a file of this schema, the index's first."""
    names = [str(label) for label in index_labels(schema["index"]["names"])]
    labels = [str(label) for label in index_from_json(schema["labels"])]
    return names[: n_index_columns(schema)] + labels


def _column_by_column(
    form: FrameFormat, data: Data, plain: pd.DataFrame, earlier: JSONObject
) -> JSONObject | None:
    # By label, as the edit may have moved columns.
    if not plain.columns.is_unique:
        return None
    try:
        _, guessed = to_table(plain, form.rules())
    except UnkeepableError:
        return None
    labels = map(str, index_from_json(earlier["labels"]))
    specs = dict(zip(labels, earlier["columns"], strict=True))
    columns = list(guessed["columns"])
    fitting = []
    for position, label in enumerate(plain.columns):
        spec = specs.get(str(label))
        # A column that the edit added.
        if spec is None:
            continue
        tried = [*columns[:position], spec, *columns[position + 1 :]]
        if _decoded(form, data, {**guessed, "columns": tried}) is not None:
            columns = tried
            fitting.append(label)
    if not fitting:
        return None
    # All together once more: every column was tried with the types of those before it.
    schema = {**guessed, "columns": columns}
    frame = _decoded(form, data, schema)
    if frame is None:
        return None
    others = plain.columns.difference(fitting)
    # What counts as missing may differ between a file of ours and a person's.
    if difference(plain[others], frame[others]) is not None:
        return None
    return schema


def _decoded(form: FrameFormat, data: Data, schema: Any) -> pd.DataFrame | None:
    try:
        return form.decode(data, schema)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - the file does not fit, whatever a parser says
        return None
