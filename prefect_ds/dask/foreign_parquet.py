"""Parquet files that a person put there: their frame, and the rows of one file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from prefect_ds.dask._internals import (
    clear_known_categories,
    pyarrow_strings_enabled,
    to_pyarrow_string,
)
from prefect_ds.dask.partition_dtypes import fits
from prefect_ds.dask.read_plan import leaf_positions
from prefect_ds.errors import FileTypeError

MISSING_KEY = "__HIVE_DEFAULT_PARTITION__"
"""Stands for a missing value in the name of a hive-style folder."""
_NULL_DASK_INDEX = "__null_dask_index__"
"""Dask's name in a file for an index without a name."""

_NULLABLE = {
    np.dtype(name.lower()): pd.api.types.pandas_dtype(name)
    for name in (
        "Int8",
        "Int16",
        "Int32",
        "Int64",
        "UInt8",
        "UInt16",
        "UInt32",
        "UInt64",
    )
} | {np.dtype("bool"): pd.BooleanDtype()}
"""numpy's dtype, which has no missing value, to the one of pandas that has."""


def foreign_meta(footers: Mapping[str, pq.FileMetaData]) -> pd.DataFrame:
    """Return the meta of the frame that some files make together.

    Parameters
    ----------
    footers
        Name of a part to its footer, in the order of the partitions.
    """
    if not footers:
        raise FileTypeError("there is no parquet file in the folder")
    schemas = {
        name: footer.schema.to_arrow_schema() for name, footer in footers.items()
    }
    first = next(iter(schemas.values()))
    # Without metadata, as pandas' notes differ from file to file; those of the first
    # file count.
    schema = pa.unify_schemas(
        [file.remove_metadata() for file in schemas.values()],
        promote_options="permissive",
    )
    meta: pd.DataFrame = schema.with_metadata(first.metadata).empty_table().to_pandas()
    for label in meta.columns:
        # pandas makes floats of integers where one is missing, and only in those
        # partitions: a nullable dtype is the same in all.
        if meta[label].dtype in _NULLABLE and any(
            _may_miss(footer, label) for footer in footers.values()
        ):
            meta[label] = meta[label].astype(_NULLABLE[cast(Any, meta[label].dtype)])
    described = (first.pandas_metadata or {}).get("index_columns") or [None]
    if isinstance(described[0], dict):
        # A range is in the metadata alone, and an empty table has no use for it.
        meta.index.name = described[0]["name"]
    meta.index.names = [
        None if name == _NULL_DASK_INDEX else name for name in meta.index.names
    ]
    meta = clear_known_categories(meta)
    folders = [hive_keys(name) for name in schemas]
    for key in dict.fromkeys(key for folder in folders for key in folder):
        # A column of the files is better than the text in their folders' names.
        if key in meta.columns:
            continue
        texts = {folder.get(key) for folder in folders}
        categories: list[Any] = sorted(text for text in texts if text is not None)
        # As Dask reads them: "2024" is a number, "007" is text.
        if all(map(_is_number, categories)):
            categories = sorted(map(int, categories))
        meta[key] = pd.Categorical([], categories=categories)
    if pyarrow_strings_enabled():
        meta = to_pyarrow_string(meta)
    return meta


def _is_number(text: str) -> bool:
    """Return whether a text is what ``str`` gives for a whole number."""
    return text.isdecimal() and text == str(int(text))


def fit_foreign(
    frame: pd.DataFrame, meta: pd.DataFrame, keys: Mapping[str, str | None]
) -> pd.DataFrame:
    """Return a file's rows with the columns of all files and of the folders' names.

    Parameters
    ----------
    frame
        As pandas makes it of the file.
    meta
        Of the frame over the whole folder.
    keys
        What the file's folders say, see `hive_keys`.
    """
    columns = {}
    for label, dtype in meta.dtypes.items():
        if label in frame.columns:
            column = frame[label]
            if not fits(column.dtype, dtype):
                column = column.astype(dtype)
            columns[label] = column
        elif label in keys:
            codes = np.full(len(frame), _category(keys[str(label)], dtype))
            columns[label] = pd.Series(
                pd.Categorical.from_codes(codes, dtype=dtype), frame.index
            )
        else:
            columns[label] = pd.Series(np.nan, frame.index, dtype=object).astype(dtype)
    fitted = pd.DataFrame(columns, index=frame.index, columns=meta.columns)
    fitted.index.names = meta.index.names
    return fitted


def hive_keys(part_name: str) -> dict[str, str | None]:
    """Return the keys in ``year=2024/part.0.parquet``: name to text.

    ``None`` for a missing key.
    """
    pairs = (folder.partition("=") for folder in part_name.split("/")[:-1])
    return {
        unquote(key): None if text == MISSING_KEY else unquote(text)
        for key, equals, text in pairs
        if equals
    }


def _may_miss(footer: pq.FileMetaData, label: str) -> bool:
    """Return whether a column of integers may have missing values in a file."""
    schema = footer.schema.to_arrow_schema()
    leaves = leaf_positions(schema, footer.num_columns)
    leaf = leaves.get(schema.get_field_index(str(label)))
    # Not in this file, or without statistics: then some may be missing.
    if leaf is None:
        return True
    columns = (footer.row_group(i).column(leaf) for i in range(footer.num_row_groups))
    return any(
        column.statistics is None or column.statistics.null_count != 0
        for column in columns
    )


def _category(text: str | None, dtype: pd.CategoricalDtype) -> int:
    # pandas' code for a missing value.
    if text is None:
        return -1
    return [str(category) for category in dtype.categories].index(text)
