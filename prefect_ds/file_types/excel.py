"""excel: workbooks of Excel (.xlsx, .xlsm) and of LibreOffice (.ods)."""

import datetime
import importlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pandas as pd

from prefect_ds.errors import FileTypeError
from prefect_ds.file_types.base import (
    LARGEST_FLOAT,
    FileType,
    Kwargs,
    any_pandas,
    arrays_of,
    is_number_within,
    require,
    without,
)
from prefect_ds.frames.base import Array, CellRules, JSONObject
from prefect_ds.frames.cells import is_text
from prefect_ds.frames.table import column_specs
from prefect_ds.storage.checksum import Data

_EPOCH: Final = datetime.datetime(1980, 1, 1)
"""As the time of writing, so that equal frames give equal bytes."""

_ENGINES: Final = {".xlsx": "openpyxl", ".xlsm": "openpyxl", ".ods": "odf"}
"""Ending of a path to the package that pandas reads and writes it by."""


def _is_native(values: Array) -> bool:
    """Return whether an array holds numbers or times that Excel keeps.

    A number is a double there. Its calendar is right from March 1900 on, and pandas
    writes whole seconds.
    """
    if not (isinstance(values.dtype, np.dtype) and values.dtype.kind == "M"):
        return is_number_within(values, largest=2**53, finite_below=LARGEST_FLOAT)
    ticks = np.asarray(values)[~pd.isna(values)]
    return bool(
        (ticks.astype("M8[s]").astype(ticks.dtype) == ticks).all()
        and (ticks >= np.datetime64("1900-03-01")).all()
        and (ticks < np.datetime64("10000-01-01", "s")).all()
    )


def _write(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    table = _with_negative_zeros(table)
    _write_book(table, file, {"index": False, **kwargs}, _keep_cells_as_given)


def _write_book(
    frame: pd.DataFrame,
    file: BinaryIO,
    kwargs: Kwargs,
    change: Callable[[Any], None],
) -> None:
    """Write a frame as ``to_excel`` does; equal frames give equal bytes.

    Parameters
    ----------
    frame, file, kwargs
        As for the two ways of writing.
    change
        Called with the writer before it saves.
    """
    if kwargs["engine"] == "odf":
        _declare_all_namespaces()
    # To memory first: pandas closes the file that it writes to, and the caller still
    # needs that.
    memory = io.BytesIO()
    options = without(kwargs, "engine", "engine_kwargs")
    with pd.ExcelWriter(
        memory, engine=kwargs["engine"], engine_kwargs=kwargs.get("engine_kwargs")
    ) as writer:
        frame.to_excel(writer, **options)
        change(writer)
        if writer.engine == "openpyxl":
            writer.book.properties = _TimelessProperties(writer.book.properties)
        elif writer.engine == "xlsxwriter":
            writer.book.set_properties({"created": _EPOCH})
    file.write(memory.getbuffer())


class _TimelessProperties:
    """The properties of an openpyxl workbook, created and modified at one fixed time.

    openpyxl sets ``modified`` to the time of saving; here that has no effect.
    """

    modified: Any = None

    def __init__(self, properties: Any) -> None:
        properties.created = properties.modified = _EPOCH
        self._properties = properties

    def to_tree(self) -> Any:
        """Return the XML of the properties."""
        return self._properties.to_tree()


def _declare_all_namespaces() -> None:
    """Have odfpy declare all namespaces that it knows in every file.

    Else it declares those that the process has used so far, so that the bytes would
    depend on the files written and read before.
    """
    known = importlib.import_module("odf.namespaces").nsdict
    importlib.import_module("odf.element").Element.namespaces = dict(known)


def _with_negative_zeros(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the text "-0.0" for negative zeros.

    Excel has no negative zero, and takes this text for one.
    """
    table = table.copy(deep=False)
    for i, dtype in enumerate(table.dtypes):
        if dtype.kind != "f":
            continue
        column = table.iloc[:, i]
        is_negative_zero = (column == 0) & np.signbit(column)
        if is_negative_zero.any():
            cells = column.astype(object).mask(is_negative_zero, "-0.0")
            table.isetitem(i, cells.to_numpy())
    return table


def _keep_cells_as_given(writer: Any) -> None:
    """Undo the changes that openpyxl makes to cells.

    It keeps 16 digits of a float, and takes texts such as "=1+1" and "#N/A" for
    formulas and errors.
    """
    if writer.engine != "openpyxl":
        return
    for sheet in writer.book.worksheets:
        for row in sheet.iter_rows():
            for cell in row:
                if type(cell.value) is float:
                    # Its setter would make it a cell of text.
                    cell._value = repr(cell.value)
                elif cell.data_type in ("f", "e"):
                    cell.data_type = "s"


def _read(data: Data, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    frame = any_pandas.read_excel(
        io.BytesIO(data), dtype=object, na_filter=False, keep_default_na=False, **kwargs
    )
    # Excel knows no end of a table, so empty rows and columns at its ends are lost.
    specs = column_specs(schema)
    frame = frame.set_axis(range(frame.shape[1]), axis=1)
    frame = frame.reindex(
        index=range(schema["n_rows"]), columns=range(len(specs)), fill_value=""
    )
    for i, spec in enumerate(specs):
        # An empty cell is the text "": among numbers it is a missing one.
        if not is_text(spec):
            cells = frame.iloc[:, i]
            frame.isetitem(i, cells.where(cells != "", None).to_numpy())
    return arrays_of(frame)


def _write_plainly(frame: pd.DataFrame, file: BinaryIO, kwargs: Kwargs) -> None:
    _write_book(frame, file, kwargs, lambda writer: None)


def _complete(write: dict[str, Any], read: dict[str, Any], path: str) -> None:
    """Choose the engines by the ending of a path."""
    ending = Path(path).suffix.lower()
    # Without a path, the format serves to find the fault of a frame.
    if path and ending not in _ENGINES:
        raise FileTypeError(
            f"pandas cannot write an Excel file that ends in {ending!r}; "
            f"use one of: {', '.join(_ENGINES)}"
        )
    engine = _ENGINES.get(ending, "openpyxl")
    # The one package whose import name and pip name differ.
    pip_name = "odfpy" if engine == "odf" else engine
    require("excel", {engine: pip_name})
    # pandas would prefer xlsxwriter, which keeps 16 digits of a float.
    write.setdefault("engine", engine)
    read.setdefault("engine", engine)


EXCEL: Final = FileType(
    name="excel",
    endings=tuple(_ENGINES),
    rules=CellRules(_is_native, missing=""),
    write=_write,
    read=_read,
    write_plainly=_write_plainly,
    write_syntax=frozenset(
        {
            "sheet_name",
            "na_rep",
            "freeze_panes",
            "engine",
            "engine_kwargs",
            "merge_cells",
            "autofilter",
        }
    ),
    read_syntax=frozenset({"sheet_name", "engine", "engine_kwargs"}),
    mirrored=frozenset({"sheet_name"}),
    complete=_complete,
    index_kwarg="index",
    other_names={
        "xls": (
            "pandas cannot write it since version 2; "
            "use the type 'excel' with a path that ends in .xlsx"
        ),
    },
)
