"""The check of the keyword arguments that a user gives for pandas."""

import difflib
from typing import Final

from prefect_ds.file_types.base import FileType, Kwargs, parameters

_RESERVED: Final = frozenset(
    {
        "append",
        "buf",
        "dest",
        "df",
        "excel_writer",
        "filepath_or_buffer",
        "filesystem",
        "io",
        "iterator",
        "mode",
        "partition_cols",
        "path",
        "path_or_buf",
        "path_or_buffer",
        "self",
        "source",
        "storage_options",
        "table",
        "typ",
        "where",
    }
)
"""Arguments that are set here, or at odds with one frame in one file."""


_OTHER_NAMES: Final = {
    "column_names": ("header", "names"),
    "columns": ("usecols",),
    "compress": ("compression",),
    "date_columns": ("parse_dates",),
    "delim": ("sep",),
    "delimiter": ("sep",),
    "dtypes": ("dtype",),
    "escape_char": ("escapechar",),
    "field_separator": ("sep",),
    "index_column": ("index_col",),
    "line_ending": ("lineterminator",),
    "line_terminator": ("lineterminator",),
    "na": ("na_rep", "na_values"),
    "null_values": ("na_rep", "na_values"),
    "quote_char": ("quotechar",),
    "row_groups": ("row_group_size",),
    "separator": ("sep",),
    "sheet": ("sheet_name",),
    "types": ("dtype",),
}
"""Names that people, and other libraries, give an argument; the first that fits."""


def check_keywords(file_type: FileType, write: Kwargs, read: Kwargs) -> None:
    """Raise TypeError for an argument that pandas does not take from here."""
    writer, reader = f"DataFrame.to_{file_type.name}", f"read_{file_type.name}"
    _check("write_kwargs", write, writer, file_type.more_write_kwargs, _RESERVED)
    # A reader gives pieces then, a writer writes in pieces.
    reserved = _RESERVED | {"chunksize"}
    _check("read_kwargs", read, reader, file_type.more_read_kwargs, reserved)


def is_syntax_only(file_type: FileType, write: Kwargs, read: Kwargs) -> bool:
    """Return whether arguments change the layout of a file, not its values."""
    if write.get("orient") == "table":
        # pandas' own typed form of JSON, with its own idea of dtypes.
        return False
    syntax = file_type.write_syntax
    # A boolean only asks whether there is an index; parquet has further values.
    if isinstance(write.get("index"), bool):
        syntax = syntax | {"index"}
    return write.keys() <= syntax and read.keys() <= file_type.read_syntax


def _check(
    what: str,
    kwargs: Kwargs,
    function: str,
    more: tuple[str, ...],
    reserved: frozenset[str],
) -> None:
    known: set[str] = set()
    # pandas hands arguments that it does not know on to these functions.
    for target in (f"pandas:{function}", *more):
        known |= parameters(target)
    for name in kwargs:
        if name in reserved:
            raise TypeError(
                f"{what} may not have {name!r}: one frame goes to one file, "
                "at the path of the handler"
            )
        if name not in known:
            meant = _meant(name, known - reserved)
            hint = f"; did you mean {meant!r}?" if meant else ""
            raise TypeError(
                f"{what} has {name!r}, which pandas.{function} does not take{hint}"
            )


def _meant(name: str, known: set[str] | frozenset[str]) -> str:
    """Return the argument that a misspelt name may mean; empty where none is close.

    Examples
    --------
    >>> _meant("seperator", {"sep", "lineterminator"})
    'sep'
    """
    # Sorted, so that the same name is meant in every process.
    candidates = {argument: argument for argument in sorted(known)}
    for other_name, arguments in _OTHER_NAMES.items():
        fitting = [argument for argument in arguments if argument in known]
        if fitting:
            candidates.setdefault(other_name, fitting[0])
    close = difflib.get_close_matches(name.lower(), candidates, n=1)
    if not close:
        return ""
    return candidates[close[0]]
