"""hdf: HDF5 files, by PyTables."""

import importlib
import io
import pickle
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, Final

import pandas as pd

from prefect_ds.file_types.base import (
    FileType,
    Kwargs,
    any_pandas,
    arrays_of,
    is_decimal_number,
)
from prefect_ds.frames.base import NUMBER_DTYPES, Array, CellRules, JSONObject
from prefect_ds.frames.cells import is_text
from prefect_ds.frames.table import column_specs
from prefect_ds.storage.checksum import Data

_lock: Final = threading.RLock()
"""PyTables is not for several threads at once."""


def _write(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    # The fixed layout would pickle text, the table layout drops a table without rows.
    layout = "table" if len(table) else "fixed"
    _write_file(table, file, {"format": layout, "index": False, **kwargs})


def _read(data: Data, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    frame = _read_file(data, kwargs)
    # PyTables reads the text "nan" as missing; there are no missing cells in a table.
    # With the option future.infer_string off its text is a column of objects.
    for position, spec in enumerate(column_specs(schema)):
        if is_text(spec):
            frame.isetitem(position, frame.iloc[:, position].fillna("nan"))
    return arrays_of(frame)


def _write_file(frame: pd.DataFrame, file: BinaryIO, kwargs: Kwargs) -> None:
    # `to_hdf` takes a path only.
    with tempfile.TemporaryDirectory() as folder, _lock:
        path = Path(folder, "frame.h5")
        frame.to_hdf(path, **{"key": "data", **kwargs})
        with path.open("rb") as written:
            shutil.copyfileobj(written, file)


def _read_file(data: Data, kwargs: Kwargs) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "frame.h5")
        path.write_bytes(data)
        with _values_only():
            return any_pandas.read_hdf(path, **kwargs)


# --- pickles within a file ------------------------------------------------------------


class _RefusedError(pickle.UnpicklingError):
    """A pickle holds more than values."""


class _ValuesUnpickler(pickle.Unpickler):
    """Loads the values that pandas pickles into HDF5 files.

    They are text, numbers, dates and lists of them; nothing here runs code.
    """

    _modules: Final = frozenset(
        {
            "numpy",
            "numpy.core.multiarray",
            "numpy._core.multiarray",
            "datetime",
            "decimal",
        }
    )
    _names: Final = frozenset(
        {
            "ndarray",
            "dtype",
            "scalar",
            "_reconstruct",
            "date",
            "time",
            "datetime",
            "timedelta",
            "timezone",
            "Decimal",
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        # The freq of an index. Taken from the public module, so that nothing else of
        # this one can be named.
        if module == "pandas._libs.tslibs.offsets":
            offset = getattr(pd.tseries.offsets, name, None)
            if offset is not None:
                return offset
        if module in self._modules and name in self._names:
            return super().find_class(module, name)
        raise _RefusedError(
            f"it holds a pickled {module}.{name}, and only file type pickle loads such"
        )


@contextmanager
def _values_only() -> Iterator[None]:
    """Keep PyTables from running the code of a pickle while this thread reads a file.

    It unpickles attributes and arrays of objects as soon as it opens a file, with no
    way to tell it not to.
    """
    tables, here = importlib.import_module("tables"), threading.get_ident()
    refused: list[_RefusedError] = []

    def loads(data: bytes, **options: Any) -> Any:
        if threading.get_ident() != here:
            # The user's own file.
            return pickle.loads(data, **options)
        try:
            return _ValuesUnpickler(io.BytesIO(data), **options).load()
        except _RefusedError as error:
            # PyTables would catch it and go on with the bytes.
            refused.append(error)
            raise

    with _lock:
        # These two modules of PyTables call `pickle.loads`, and only this name is
        # replaced in them.
        guarded = SimpleNamespace(**{**vars(pickle), "loads": loads})
        try:
            tables.attributeset.pickle = tables.atom.pickle = guarded
            yield
        finally:
            tables.attributeset.pickle = tables.atom.pickle = pickle
            if refused:
                raise refused[0]


HDF: Final = FileType(
    name="hdf",
    endings=(".h5", ".hdf", ".hdf5"),
    rules=CellRules(is_decimal_number, missing="", native_dtypes=NUMBER_DTYPES),
    write=_write,
    read=_read,
    write_plainly=_write_file,
    read_plainly=_read_file,
    write_syntax=frozenset(
        {
            "key",
            "complevel",
            "complib",
            "encoding",
            "errors",
            "format",
            "min_itemsize",
            "data_columns",
        }
    ),
    read_syntax=frozenset({"key", "errors"}),
    mirrored=frozenset({"key"}),
    requires={"tables": "tables"},
    more_read_kwargs=("pandas:HDFStore",),
)
