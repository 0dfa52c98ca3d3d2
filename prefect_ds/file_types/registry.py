"""The file types: one line for each."""

from collections.abc import Mapping
from typing import Final

from prefect_ds.errors import FileTypeError
from prefect_ds.file_types.arrow import FEATHER, ORC, PARQUET
from prefect_ds.file_types.base import FileType, require
from prefect_ds.file_types.csv import CSV
from prefect_ds.file_types.excel import EXCEL
from prefect_ds.file_types.hdf import HDF
from prefect_ds.file_types.json import JSON
from prefect_ds.file_types.markup import HTML, XML
from prefect_ds.file_types.pickle import PICKLE
from prefect_ds.file_types.stata import STATA

__all__ = ["FILE_TYPES", "file_type_named"]

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
    "gbq": "pandas has no BigQuery functions since version 3",
}
"""Why names that pandas has are not in the table."""
for _file_type in FILE_TYPES.values():
    _REASONS.update(_file_type.other_names)


def file_type_named(name: str) -> FileType:
    """Return an entry of `FILE_TYPES` whose packages are installed.

    Raises
    ------
    FileTypeError
        There is none of this name, or a package is missing.
    """
    file_type = FILE_TYPES.get(name.lower()) if isinstance(name, str) else None
    if file_type is None:
        reason = _REASONS.get(str(name).lower(), _NOT_BOTH)
        raise FileTypeError(
            f"file type {name!r} cannot be used: {reason}. "
            f"Use one of: {', '.join(FILE_TYPES)}"
        )
    require(file_type.name, file_type.requires)
    return file_type
