"""The description of a file type, and helpers that several types share."""

import functools
import importlib
import importlib.util
import inspect
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np
import pandas as pd

from prefect_ds.errors import FileTypeError
from prefect_ds.file_types._internals import get_handle, infer_compression
from prefect_ds.frames.base import Array, CellRules, JSONObject, array_of
from prefect_ds.storage.checksum import Data

Kwargs: TypeAlias = Mapping[str, Any]

any_pandas: Any = pd
"""pandas without types, for calls with ``**kwargs``: its stubs have no overload."""

LARGEST_FLOAT: Final = float(np.finfo("float64").max)


def _complete_nothing(write: dict[str, Any], read: dict[str, Any], path: str) -> None:
    """Leave the keyword arguments as they are."""


def _never(dtype: Any) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class FileType:
    """A type of file that pandas both writes to a path and reads from one.

    Every type has a module of its own, and one line in `registry`.
    """

    name: str
    """As in ``DataFrame.to_<name>`` and ``pandas.read_<name>``."""
    rules: CellRules | None = None
    """The rules for its cells; ``None`` where the file holds frames as they are."""
    write: Callable[[pd.DataFrame, JSONObject, BinaryIO, Kwargs], None] | None = None
    """Writes a table: gets it, its schema, the file, the writer's arguments."""
    read: Callable[[Data, JSONObject, Kwargs], list[Array]] | None = None
    """Reads the columns of a table: gets bytes, schema, the reader's arguments."""
    write_plainly: Callable[[pd.DataFrame, BinaryIO, Kwargs], None] | None = None
    """Writes a frame as ``to_<name>`` does, where that takes no open file."""
    read_plainly: Callable[[Data, Kwargs], Any] | None = None
    """Reads a file as ``read_<name>`` does, where that needs help."""
    write_syntax: frozenset[str] = frozenset()
    """The writer's arguments that change the layout of a file, not its values."""
    read_syntax: frozenset[str] = frozenset()
    """The reader's arguments of that kind; others ask for the plain reader's answer."""
    mirrored: frozenset[str] = frozenset()
    """The writer's arguments that the reader needs as well."""
    requires: Mapping[str, str] = field(default_factory=dict)
    """Import name to pip name of the packages it needs besides pandas and pyarrow."""
    more_write_kwargs: tuple[str, ...] = ()
    """``module:function`` that take the writer's ``**kwargs``."""
    more_read_kwargs: tuple[str, ...] = ()
    """``module:function`` that take the reader's ``**kwargs``."""
    complete: Callable[[dict[str, Any], dict[str, Any], str], None] = _complete_nothing
    """Adds the arguments that follow from a path, such as the compression."""
    is_compressible: bool = False
    """Whether pandas compresses the whole file where the path ends in ``.gz``."""
    index_kwarg: str | None = None
    """The writer's argument that leaves the index out; ``None``: it has none."""
    is_certain: Callable[[Any], bool] = _never
    """Whether the type surely keeps all values of a dtype, so no read proves it."""
    endings: tuple[str, ...] = ()
    """Endings of paths that mean this type, before an ending of a compression."""
    other_names: Mapping[str, str] = field(default_factory=dict)
    """Names that people give it in error, and the advice then."""


def without(kwargs: Kwargs, *names: str) -> dict[str, Any]:
    """Return keyword arguments without those of some names."""
    return {name: value for name, value in kwargs.items() if name not in names}


@functools.cache
def parameters(target: str) -> frozenset[str]:
    """Return the names of the parameters of ``module:function``.

    Examples
    --------
    >>> "usecols" in parameters("pandas:read_csv")
    True
    """
    module_name, _, names = target.partition(":")
    function: Any = importlib.import_module(module_name)
    # A method such as `DataFrame.to_csv` has two names.
    for name in names.split("."):
        function = getattr(function, name)
    return frozenset(
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
    )


def require(file_type: str, packages: Mapping[str, str]) -> None:
    """Raise `FileTypeError` unless packages are installed.

    Parameters
    ----------
    file_type
        The name of the type that needs them.
    packages
        Import name to pip name.
    """
    # Searched for, not imported: an import takes time, and may not be needed.
    missing = [
        pip_name
        for module, pip_name in packages.items()
        if importlib.util.find_spec(module) is None
    ]
    if missing:
        raise FileTypeError(
            f"file type {file_type!r} needs a missing package: "
            f"pip install {' '.join(missing)}"
        )


def arrays_of(frame: pd.DataFrame) -> list[Array]:
    """Return the columns of a frame as arrays."""
    return [array_of(frame.iloc[:, i]) for i in range(frame.shape[1])]


def write_through_memory(
    write: Callable[..., Any], file: BinaryIO, kwargs: Kwargs
) -> None:
    """Write to memory, then to a file.

    For writers that close their file, or end the process when its disk is full.
    """
    memory = io.BytesIO()
    write(memory, **kwargs)
    file.write(memory.getbuffer())


# --- numbers --------------------------------------------------------------------------


def is_number(values: Array) -> bool:
    """Return whether an array holds plain numbers or booleans of at most 8 bytes."""
    dtype = values.dtype
    if not isinstance(dtype, np.dtype):
        return False
    # No file type keeps a long double, which has 16 bytes.
    return dtype.kind in "biuf" and dtype.itemsize <= 8


def is_decimal_number(values: Array) -> bool:
    """Return whether an array holds numbers that decimal digits give back.

    Arrow, which writes the digits, knows no half floats.
    """
    return is_number(values) and values.dtype.name != "float16"


def is_number_within(values: Array, *, largest: int, finite_below: float) -> bool:
    """Return whether an array holds numbers within the bounds of a file type.

    Parameters
    ----------
    values
        Any array.
    largest
        The largest integer of either sign that the file type keeps.
    finite_below
        The largest float of either sign that it keeps.
    """
    if not is_number(values):
        return False
    numbers = np.asarray(values)
    if numbers.dtype.kind == "b" or len(numbers) == 0:
        return True
    # NaN is not above any bound: its cell is a missing one.
    if numbers.dtype.kind == "f":
        return not (np.abs(numbers) > finite_below).any()
    # As Python's integers, which have any size.
    return bool(-largest <= int(numbers.min()) and int(numbers.max()) <= largest)


# --- compression ----------------------------------------------------------------------


_COMPRESSED: Final = re.compile(r"\.(gz|bz2|xz|zst|zip|tar)$", re.IGNORECASE)


def compression_ending_of(path: str) -> str:
    """Return the last ending of a path where it means a compression; empty else."""
    match = _COMPRESSED.search(path)
    if match is None:
        return ""
    return match[0]


def ending_of(path: str) -> str:
    """Return the ending of a file's name in lower case, without that of a compression.

    Examples
    --------
    >>> ending_of("data/x_{id}.CSV.gz")
    '.csv'
    """
    _, dot, ending = _uncompressed_name(path).rpartition(".")
    return f"{dot}{ending}".lower()


def _uncompressed_name(path: str) -> str:
    """Return the name of a file without its endings of compressions."""
    name = path.rpartition("/")[2]
    # There may be two, as in `.tar.gz`.
    while _COMPRESSED.search(name):
        name = _COMPRESSED.sub("", name)
    return name


def complete_compression(
    write: dict[str, Any], read: dict[str, Any], path: str
) -> None:
    """Add the compression that pandas would infer from a path.

    It infers none for an open file, which it gets here.
    """
    given = write.get("compression", "infer")
    # pandas takes a name, or a mapping with the name and options.
    options = {"method": given}
    if isinstance(given, Mapping):
        options = dict(given)
    options["method"] = infer_compression(path, options.get("method", "infer"))
    if options["method"] == "gzip":
        # The time of writing and the name of the staged file would make the bytes of
        # equal frames differ.
        options.setdefault("mtime", 1)
        options.setdefault("filename", "")
    if options["method"] in ("zip", "tar"):
        options.setdefault("archive_name", _name_in_archive(path))
    if options["method"] is None:
        write.pop("compression", None)
    else:
        write["compression"] = options
    if read.get("compression", "infer") == "infer":
        read["compression"] = options["method"]


def _name_in_archive(path: str) -> str:
    """Return the name of the file in an archive, the same for all files of a template.

    pandas would take the name of the staged file, which differs from write to write.

    Examples
    --------
    >>> _name_in_archive("data/sales.csv.zip"), _name_in_archive("data/{id}.csv.zip")
    ('sales.csv', 'data.csv')
    """
    name = _uncompressed_name(path)
    # A handler has the template, not the path of a run.
    if not name or "{" in name:
        return f"data{ending_of(path)}"
    return name


def decompressed(data: Data, kwargs: Kwargs) -> bytes:
    """Return the content of a file that may be compressed."""
    compression = kwargs.get("compression")
    with get_handle(
        io.BytesIO(data), "rb", compression=compression, is_text=False
    ) as handles:
        content: bytes = handles.handle.read()
        return content


def write_compressed(content: bytes, file: BinaryIO, kwargs: Kwargs) -> None:
    """Write the content of a file, compressed as the arguments say."""
    compression = kwargs.get("compression")
    with get_handle(file, "wb", compression=compression, is_text=False) as handles:
        handles.handle.write(content)
