"""csv: text and numbers as a person would write them."""

import csv
import io
from typing import Any, BinaryIO, Final

import pandas as pd

from prefect_ds.file_types.base import (
    FileType,
    Kwargs,
    any_pandas,
    arrays_of,
    complete_compression,
    ending_of,
    is_decimal_number,
    without,
)
from prefect_ds.frames.base import NUMBER_DTYPES, Array, CellRules, JSONObject
from prefect_ds.frames.cells import is_text, native_dtype
from prefect_ds.frames.table import column_specs
from prefect_ds.storage.checksum import Data

# Arguments that choose how fast and how exactly pandas parses.
_ENGINE: Final = {
    "engine",
    "low_memory",
    "memory_map",
    "float_precision",
    "cache_dates",
}
# Arguments that change the look of a file, and not its values.
_SYNTAX: Final = {
    "sep",
    "encoding",
    "quotechar",
    "escapechar",
    "doublequote",
    "decimal",
    "compression",
    "quoting",
    "lineterminator",
}


def _write(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    options = dict(kwargs)
    # The csv module leaves a lone carriage return unquoted, and readers take it for the
    # end of a row.
    texts = (column for _, column in table.items() if column.dtype == "str")
    if any(column.str.contains("\r", regex=False).any() for column in texts):
        options.setdefault("quoting", csv.QUOTE_NONNUMERIC)
    table.to_csv(file, index=False, **options)


def _read(data: Data, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    specs = column_specs(schema)
    dtypes = {i: _dtype(spec) for i, spec in enumerate(specs)}
    frame = _parsed(data, specs, dtypes, kwargs)
    # The parser makes numbers of categories that all look like numbers: 7 of "07".
    not_text = {
        i: "str"
        for i, dtype in dtypes.items()
        if dtype == "category" and not _are_text(frame[i].cat.categories)
    }
    if not_text:
        frame = _parsed(data, specs, {**dtypes, **not_text}, kwargs)
    return arrays_of(frame)


def _are_text(categories: pd.Index) -> bool:
    return all(isinstance(category, str) for category in categories)


def _parsed(
    data: Data, specs: list[JSONObject], dtypes: dict[int, Any], kwargs: Kwargs
) -> pd.DataFrame:
    frame: pd.DataFrame = any_pandas.read_csv(
        io.BytesIO(data),
        # By position: labels in the file are text, and may have been changed.
        header=0,
        names=range(len(specs)),
        # A trailing separator must not make an index of the first column.
        index_col=False,
        dtype={i: dtype for i, dtype in dtypes.items() if dtype is not None},
        # Of text, the schema says which cells are missing.
        na_values={i: [""] for i, spec in enumerate(specs) if not is_text(spec)},
        keep_default_na=False,
        # The row of a single column whose cell is empty.
        skip_blank_lines=False,
        float_precision="round_trip",
        engine="c",
        **without(kwargs, *_ENGINE),
    )
    return frame


def _dtype(spec: JSONObject) -> Any:
    """Return the dtype in which the parser reads a column; ``None``: its own guess."""
    if not is_text(spec):
        return native_dtype(spec)
    if spec.get("text") == "datetime":
        # The parser always guesses that a date is text, and is faster without a dtype.
        return None
    # With listed categories, the parser makes few strings of many rows.
    if "cells" in spec.get("categories", ()):
        return "category"
    return "str"


def _complete(write: dict[str, Any], read: dict[str, Any], path: str) -> None:
    complete_compression(write, read, path)
    if ending_of(path) == ".tsv" and "sep" not in write:
        write["sep"] = "\t"
        read.setdefault("sep", "\t")
    # Two names of one argument, of which pandas takes one.
    if "delimiter" in read:
        read.pop("sep", None)
    if write.get("quoting") == csv.QUOTE_NONE:
        read.setdefault("quoting", csv.QUOTE_NONE)
    # pandas' reader recognises these by itself.
    if write.get("lineterminator") not in (None, "\n", "\r", "\r\n"):
        read.setdefault("lineterminator", write["lineterminator"])
    if "errors" in write:
        read.setdefault("encoding_errors", write["errors"])


_TABS: Final = "csv with write_kwargs={'sep': '\\t'} is the same"

CSV: Final = FileType(
    name="csv",
    endings=(".csv", ".tsv"),
    rules=CellRules(is_decimal_number, missing="", native_dtypes=NUMBER_DTYPES),
    write=_write,
    read=_read,
    write_syntax=frozenset({*_SYNTAX, "errors", "chunksize", "na_rep"}),
    read_syntax=frozenset({*_SYNTAX, *_ENGINE, "delimiter", "encoding_errors"}),
    mirrored=frozenset(
        {"sep", "encoding", "quotechar", "escapechar", "doublequote", "decimal"}
    ),
    complete=_complete,
    is_compressible=True,
    index_kwarg="index",
    other_names={
        "table": f"pandas only reads it; {_TABS}",
        "tsv": f"pandas has no such type; {_TABS}",
    },
)
