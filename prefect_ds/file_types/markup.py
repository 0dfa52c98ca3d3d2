"""html and xml: tables as markup, in which all cells are text."""

import io
from typing import Any, BinaryIO, Final
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from prefect_ds.file_types.base import (
    FileType,
    Kwargs,
    any_pandas,
    arrays_of,
    complete_compression,
    decompressed,
    without,
)
from prefect_ds.frames.base import Array, CellRules, JSONObject
from prefect_ds.frames.table import column_specs
from prefect_ds.storage.checksum import Data


def _is_native(values: Array) -> bool:
    return False


# --- html -----------------------------------------------------------------------------


def _write_html(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    # pandas would cut text at the width of its display.
    with pd.option_context("display.max_colwidth", None):
        _write_html_plainly(table, file, {"index": False, **kwargs})


def _read_html(data: Data, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    as_text = dict.fromkeys(range(len(column_specs(schema))), str)
    # Cells as they are: pandas would make numbers of "007" and "1,000".
    (frame,) = any_pandas.read_html(
        io.BytesIO(data),
        header=0,
        converters=as_text,
        thousands=None,
        keep_default_na=False,
        na_values=[],
        **{"encoding": "utf-8", **kwargs},
    )
    return arrays_of(frame)


def _write_html_plainly(frame: pd.DataFrame, file: BinaryIO, kwargs: Kwargs) -> None:
    # `to_html` has an encoding for paths only.
    text = frame.to_html(**without(kwargs, "encoding"))
    file.write(text.encode(kwargs.get("encoding") or "utf-8"))


def _read_html_plainly(data: Data, kwargs: Kwargs) -> Any:
    tables = any_pandas.read_html(io.BytesIO(data), **kwargs)
    if len(tables) != 1:
        raise ValueError(
            f"the html file holds {len(tables)} tables; "
            "choose one by 'match' or 'attrs' in read_kwargs"
        )
    return tables[0]


HTML: Final = FileType(
    name="html",
    endings=(".html", ".htm"),
    rules=CellRules(_is_native, missing="NaN"),
    write=_write_html,
    read=_read_html,
    write_plainly=_write_html_plainly,
    read_plainly=_read_html_plainly,
    write_syntax=frozenset(
        {
            "col_space",
            "na_rep",
            "justify",
            "bold_rows",
            "classes",
            "notebook",
            "border",
            "table_id",
            "encoding",
        }
    ),
    read_syntax=frozenset({"flavor", "encoding"}),
    mirrored=frozenset({"encoding"}),
    requires={"lxml": "lxml"},
    index_kwarg="index",
)

# --- xml ------------------------------------------------------------------------------


def _write_xml(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    table.to_xml(file, index=False, **kwargs)


def _read_xml(data: Data, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    # pandas.read_xml strips blanks and takes "NA" for missing, and no option changes
    # that.
    root = ElementTree.fromstring(decompressed(data, kwargs))
    cells = np.fromiter((cell.text or "" for row in root for cell in row), dtype=object)
    return list(cells.reshape(-1, len(column_specs(schema))).T)


XML: Final = FileType(
    name="xml",
    endings=(".xml",),
    rules=CellRules(_is_native, missing="", identifiers=True),
    write=_write_xml,
    read=_read_xml,
    write_syntax=frozenset(
        {
            "root_name",
            "row_name",
            "na_rep",
            "encoding",
            "xml_declaration",
            "pretty_print",
            "parser",
            "compression",
        }
    ),
    read_syntax=frozenset({"encoding", "parser", "compression"}),
    mirrored=frozenset({"encoding", "parser"}),
    requires={"lxml": "lxml"},
    complete=complete_compression,
    is_compressible=True,
    index_kwarg="index",
)
