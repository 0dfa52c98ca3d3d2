"""The file types, one line a type."""

import difflib
from collections.abc import Mapping
from typing import Final

from prefect_ds.errors import FileTypeError
from prefect_ds.file_types.arrow import FEATHER, ORC, PARQUET
from prefect_ds.file_types.base import (
    FileType,
    compression_ending_of,
    ending_of,
    require,
)
from prefect_ds.file_types.csv import CSV
from prefect_ds.file_types.excel import EXCEL
from prefect_ds.file_types.hdf import HDF
from prefect_ds.file_types.json import JSON
from prefect_ds.file_types.markup import HTML, XML
from prefect_ds.file_types.pickle import PICKLE
from prefect_ds.file_types.stata import STATA

__all__ = ["FILE_TYPES", "check_ending", "file_type_named", "file_type_of"]

FILE_TYPES: Final[Mapping[str, FileType]] = {
    file_type.name: file_type
    for file_type in (
        CSV,
        JSON,
        PARQUET,
        FEATHER,
        ORC,
        EXCEL,
        HDF,
        HTML,
        XML,
        STATA,
        PICKLE,
    )
}

_NO_PATH: Final = "it is no file at a path"
_READ_ONLY: Final = "pandas only reads it"
_WRITE_ONLY: Final = "pandas only writes it"
_NOT_BOTH: Final = "pandas does not both write it to a path and read it from one"

_REASONS: Final = {
    **dict.fromkeys(("clipboard", "iceberg"), _NO_PATH),
    **dict.fromkeys(("sql", "sql_query", "sql_table"), _NO_PATH),
    **dict.fromkeys(("dict", "numpy", "records", "xarray"), _NO_PATH),
    **dict.fromkeys(("fwf", "sas", "spss"), _READ_ONLY),
    **dict.fromkeys(("latex", "markdown", "string"), _WRITE_ONLY),
    "polars": "ObjectResultHandler(path, 'polars') keeps its frames",
    "geopandas": "ObjectResultHandler(path, 'geopandas') keeps its frames",
    "gbq": "pandas has no BigQuery functions since version 3",
}
"""Why names that pandas has are not in the table."""
for _file_type in FILE_TYPES.values():
    _REASONS.update(_file_type.other_names)


_BY_ENDING: Final = {
    ending: file_type.name
    for file_type in FILE_TYPES.values()
    for ending in file_type.endings
}


def file_type_of(path: str) -> str:
    """Return the file type that the ending of a path means; empty where it means none.

    Examples
    --------
    >>> file_type_of("data/x_{id}.parquet"), file_type_of("x.CSV.gz"), file_type_of("x")
    ('parquet', 'csv', '')
    """
    return _BY_ENDING.get(ending_of(path), "")


_NO_SLIPS: Final = {".dat", ".tab"}
"""Endings of other kinds of files, which are not misspelt ones such as ``.dta``."""


def similar_ending(path: str) -> str:
    """Return the ending that a misspelt one may mean, as a clause; empty for none.

    Examples
    --------
    >>> similar_ending("data/x_{id}.parqet"), similar_ending("data/x.txt")
    (", did you mean '.parquet'?", '')
    """
    ending = ending_of(path)
    if ending in _NO_SLIPS:
        return ""
    # Endings are short: with difflib's usual cutoff many would look alike.
    close = difflib.get_close_matches(ending, _BY_ENDING, n=1, cutoff=0.75)
    if not close:
        return ""
    return f", did you mean {close[0]!r}?"


def check_ending(file_type: str, path: str) -> None:
    """Raise `FileTypeError` where the ending of a path contradicts the file type."""
    meant = file_type_of(path)
    if meant not in ("", file_type):
        raise FileTypeError(
            f"the path {path!r} ends as a file of type {meant!r} does, "
            f"and the file type is {file_type!r}: leave the file type out, "
            "or give the path another ending"
        )
    compression = compression_ending_of(path)
    kind = FILE_TYPES.get(file_type)
    if compression and kind and not kind.is_compressible:
        raise FileTypeError(
            f"the path {path!r} ends in {compression!r}, and files of type "
            f"{file_type!r} are not compressed as a whole: leave the ending out"
        )


def file_type_named(name: str) -> FileType:
    """Return an entry of `FILE_TYPES` whose packages are installed.

    Raises
    ------
    FileTypeError
        There is none of this name, or a package is missing.
    """
    file_type = None
    # Users may give anything, such as a function of pandas.
    if isinstance(name, str):
        file_type = FILE_TYPES.get(name.lower())
    if file_type is None:
        raise FileTypeError(
            f"file type {name!r} cannot be used: {_reason(str(name).lower())} "
            f"Use one of: {', '.join(FILE_TYPES)}"
        )
    require(file_type.name, file_type.requires)
    return file_type


def _reason(name: str) -> str:
    """Return why there is no file type of this name, and which one may be meant."""
    if name in _REASONS:
        return f"{_REASONS[name]}."
    # An ending in place of a name: `.parquet`, `xlsx`.
    meant = _BY_ENDING.get(f".{name.removeprefix('.')}")
    if meant is not None:
        return f"the type is called {meant!r}."
    close = difflib.get_close_matches(name, FILE_TYPES, n=1)
    if close:
        return f"{_NOT_BOTH}; did you mean {close[0]!r}?"
    return f"{_NOT_BOTH}."
