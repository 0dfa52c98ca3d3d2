"""The file types: how a frame becomes the bytes of a plain file of some type, and how it comes back the same.

A frame is written in its table form (`prefect_ds.frame_schema`), which any tool reads, and read back by strict options and
a schema that is kept elsewhere. What comes back equals what was written, or the write fails with an error.
"""

import csv
import datetime
import difflib
import functools
import importlib
import importlib.util
import inspect
import io
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
from pandas.io.common import get_handle, infer_compression

from prefect_ds.errors import DamagedCheckpointError, FileTypeError, ResultTypeError, RoundTripError
from prefect_ds.frame_schema import (
    Array,
    CellRules,
    JSONObject,
    UnkeepableError,
    array_of,
    column_specs,
    difference,
    from_table,
    is_default_index,
    is_object,
    is_text,
    n_index_columns,
    native_dtype,
    number_texts,
    to_table,
)

__all__ = ["FILE_TYPES", "Encoded", "FileType", "FrameFormat", "frame_format"]

Kwargs: TypeAlias = Mapping[str, Any]

_pandas: Any = pd
"""For calls with ``**kwargs``, which no overload in pandas' stubs fits."""


@dataclass(frozen=True, slots=True)
class FileType:
    """A type of file that pandas both writes to and reads from a path."""

    name: str
    """As in ``DataFrame.to_<name>`` and ``pandas.read_<name>``."""
    rules: CellRules | None
    """What its cells hold; ``None`` where the file holds frames as they are."""
    write: Callable[[pd.DataFrame, JSONObject, BinaryIO, Kwargs], None]
    """Writes a table; gets the table, its schema, the file and the writer's keyword arguments."""
    read: Callable[[bytes, JSONObject, Kwargs], list[Array]]
    """Reads the columns of a table; gets the file's bytes, the schema and the reader's keyword arguments."""
    write_syntax: frozenset[str] = frozenset()
    """The writer's keyword arguments that change how a file is laid out, not what it says."""
    read_syntax: frozenset[str] = frozenset()
    """The reader's keyword arguments of that kind; any other means that the plain reader's answer is wanted."""
    mirrored: frozenset[str] = frozenset()
    """The writer's keyword arguments that the reader needs as well."""
    requires: Mapping[str, str] = field(default_factory=dict)
    """Import name to pip name of the packages it needs besides pandas and pyarrow."""
    more_write_kwargs: tuple[str, ...] = ()
    """``module:function`` that take the writer's ``**kwargs``."""
    more_read_kwargs: tuple[str, ...] = ()
    """``module:function`` that take the reader's ``**kwargs``."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """What `FrameFormat.encode` made of a frame."""

    schema: JSONObject | None
    """What `FrameFormat.decode` needs beside the bytes; ``None`` where the plain reader's answer is the result."""
    frame: pd.DataFrame
    """What decoding the file gives: the frame given, or what the user's own keyword arguments make of it."""
    note: str
    """Empty, or one clause that says how the two differ."""


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """How the frames of one handler become the bytes of a file and come back; made by `frame_format`.

    Two ways lead there. The *exact* way restores everything. Keyword arguments that choose or convert values take the
    *plain* way instead: pandas writes and reads as the user says, and what the file gives back is the result.
    """

    file_type: str
    """A key of `FILE_TYPES`."""
    write_kwargs: Kwargs
    """For the pandas writer, completed by what the path says."""
    read_kwargs: Kwargs
    """For the pandas reader, completed by what the path and the writer say."""
    is_plain: bool
    """Whether the keyword arguments take the plain way for every frame."""

    def encode(self, frame: pd.DataFrame, file: BinaryIO) -> Encoded:
        """Write a frame to a file and make sure that it comes back.

        Parameters
        ----------
        frame
            Of any dtypes, index and labels. Its ``attrs`` are kept, or refused where JSON does not hold them.
        file
            Empty, open for writing and reading in binary mode, seekable. It is left open.

        Returns
        -------
        Encoded
            The schema, and the frame that `decode` will give.

        Raises
        ------
        ResultTypeError
            `frame` is no ``pandas.DataFrame``.
        RoundTripError
            The frame would come back otherwise. Names the column, the file type, and file types that keep it.
        OSError
            The file cannot be written.
        """
        if not isinstance(frame, pd.DataFrame):
            raise ResultTypeError(_wrong_type(frame))
        if self.is_plain or (self.write_kwargs.get("index") is False and not is_default_index(frame.index)):
            return self._encode_plainly(frame, file)
        try:
            return Encoded(self._encode_exactly(frame, file), frame, "")
        except UnkeepableError as error:
            raise RoundTripError(self._explain(frame, str(error))) from error

    def decode(self, data: bytes, schema: JSONObject | None) -> pd.DataFrame:
        """Return the frame of a file's bytes.

        Parameters
        ----------
        data
            The whole file.
        schema
            As `encode` gave it. ``None``: pandas reads the file with the user's keyword arguments, as it reads one that a
            person put there.

        Raises
        ------
        DamagedCheckpointError
            The bytes are not a file that fits the schema.
        """
        if schema is None:
            return self._read_plainly(data)
        try:
            return self._read_exactly(data, schema)
        except MemoryError:
            raise
        except Exception as error:
            raise DamagedCheckpointError(
                f"the bytes are no {self.file_type} file that fits its schema: {error}"
            ) from error

    def _encode_exactly(self, frame: pd.DataFrame, file: BinaryIO) -> JSONObject:
        """Write the table form of a frame and return its schema; raise `UnkeepableError` unless it comes back."""
        file_type = FILE_TYPES[self.file_type]
        with _as_unkeepable("it cannot be written"):
            with_index = self.write_kwargs.get("index") is True
            table, schema = to_table(frame, self._rules(), with_default_index=with_index)
            file_type.write(table, schema, file, _without(self.write_kwargs, "index", "na_rep"))
        if self._is_certain(frame):
            return schema
        with _as_unkeepable("it cannot be read back"):
            back = self._read_exactly(_content(file), schema)
            change = difference(frame, back)
        if change is not None:
            raise UnkeepableError(change)
        return schema

    def _read_exactly(self, data: bytes, schema: JSONObject) -> pd.DataFrame:
        if schema["n_rows"] == 0:
            # Many a file type has no place for the columns of a table without rows.
            return from_table([np.array([], dtype=object) for _ in column_specs(schema)], schema)
        with _quiet():
            return from_table(FILE_TYPES[self.file_type].read(data, schema, self.read_kwargs), schema)

    def _encode_plainly(self, frame: pd.DataFrame, file: BinaryIO) -> Encoded:
        """Write a frame as pandas does with the user's keyword arguments; what the file gives back is the result."""
        kwargs = dict(self.write_kwargs)
        if (
            self.file_type in _INDEX_BY_DEFAULT
            and is_default_index(frame.index)
            and "index_col" not in self.read_kwargs
        ):
            kwargs.setdefault(_INDEX_BY_DEFAULT[self.file_type], False)
        try:
            _write_plainly(self.file_type, frame, file, kwargs)
            if self.file_type == "pickle" and not _has_objects(frame):
                return Encoded(None, frame, "")
            back = self._read_plainly(_content(file))
        except (OSError, MemoryError):
            raise
        except Exception as error:
            raise RoundTripError(
                f"pandas cannot write this frame to a file of type {self.file_type!r} and read it back with "
                f"write_kwargs={dict(self.write_kwargs)} and read_kwargs={dict(self.read_kwargs)}: {error!r}"
            ) from error
        change = difference(frame, back)
        if change is None:
            return Encoded(None, frame, "")
        return Encoded(None, back, change)

    def _read_plainly(self, data: bytes) -> pd.DataFrame:
        with _quiet():
            frame = _read_plain_file(self.file_type, data, self.read_kwargs)
        if not isinstance(frame, pd.DataFrame):
            raise ValueError(f"the {self.file_type} file gives a {type(frame).__name__}, where a DataFrame is needed")
        return frame

    def _rules(self) -> CellRules:
        rules = FILE_TYPES[self.file_type].rules
        assert rules is not None
        na_rep = self.write_kwargs.get("na_rep")
        if na_rep is None:
            return rules
        return CellRules(
            lambda values: rules.is_native(values) and not pd.isna(values).any(), na_rep, rules.identifiers
        )

    def _is_certain(self, frame: pd.DataFrame) -> bool:
        """Return whether a frame is sure to come back, so that the proof by reading may be left out."""
        return (
            self.file_type in ("parquet", "feather")
            and type(frame) is pd.DataFrame
            and not self.write_kwargs.keys() - {"compression", "index"}
            and all(map(_is_certain_dtype, frame.dtypes))
            and (is_default_index(frame.index) or _is_certain_dtype(frame.index.dtype))
            and getattr(frame.index, "freq", None) is None
            and frame.columns.dtype == "str"
            and not isinstance(frame.columns, pd.MultiIndex)
        )

    def _explain(self, frame: pd.DataFrame, reason: str) -> str:
        """Return the message that names the part of a frame at fault, and the file types that keep it."""
        parts = [
            ("the column labels", pd.DataFrame(columns=frame.columns, dtype="float64")),
            *((f"column {label!r} (dtype {dtype})", frame.iloc[:, [i]].reset_index(drop=True))
              for i, (label, dtype) in enumerate(frame.dtypes.items())),
            ("the index", frame.iloc[:, :0]),
        ]  # fmt: skip
        whole = ("the frame as a whole", frame)
        what, part = next(((what, part) for what, part in parts if not self._keeps(part)), whole)
        keepers = [name for name in _SUGGESTED if name != self.file_type and frame_format(name, "")._keeps(part)]
        return (
            f"a file of type {self.file_type!r} does not keep {what} ({reason}). "
            f"File types that keep it: {', '.join(keepers) or 'none'}"
        )

    def _keeps(self, frame: pd.DataFrame) -> bool:
        try:
            if self.is_plain:
                return self._encode_plainly(frame, io.BytesIO()).note == ""
            self._encode_exactly(frame, io.BytesIO())
        except (UnkeepableError, RoundTripError):
            return False
        return True


def frame_format(
    file_type: str, path: str, read_kwargs: Kwargs | None = None, write_kwargs: Kwargs | None = None
) -> FrameFormat:
    """Return how frames are kept in files of some type.

    Parameters
    ----------
    file_type
        A key of `FILE_TYPES`, in any case.
    path
        A path or the template of one; its ending gives the compression, and for Excel the kind of file.
    read_kwargs, write_kwargs
        For the pandas reader and writer. They win over what this module would choose.

    Raises
    ------
    FileTypeError
        The file type is not one of `FILE_TYPES`, or a package that it needs is missing.
    TypeError
        The reader or writer does not know a keyword argument, or it is one that is set here.
    ValueError
        Not even a frame of two cells can be written and read with these keyword arguments.

    Examples
    --------
    >>> frame_format("CSV", "sales.csv.gz").write_kwargs
    {'compression': {'method': 'gzip', 'mtime': 1}}
    """
    kind = _file_type(file_type)
    write, read = dict(write_kwargs or {}), dict(read_kwargs or {})
    _check_kwargs("write_kwargs", write, f"DataFrame.to_{kind.name}", kind.more_write_kwargs)
    _check_kwargs("read_kwargs", read, f"read_{kind.name}", kind.more_read_kwargs)
    exact_write = kind.write_syntax | ({"index"} if isinstance(write.get("index"), bool) else set())
    is_plain = kind.rules is None or not (write.keys() <= exact_write and read.keys() <= kind.read_syntax)
    if write.get("orient") == "table":  # pandas' own typed form of JSON, with its own idea of dtypes
        is_plain = True
    for name in kind.mirrored & write.keys():
        read.setdefault(name, write[name])
    complete = _COMPLETED_KWARGS.get(kind.name, _complete_nothing)
    complete(write, read, path)
    result = FrameFormat(kind.name, write, read, is_plain)
    if (write_kwargs or read_kwargs) and not is_plain:
        _try_out(result)
    return result


# ---------------------------------------------------------------------------------------------------- keyword arguments

_RESERVED: Final = frozenset(
    {"self", "path_or_buf", "path", "path_or_buffer", "filepath_or_buffer", "excel_writer", "buf", "io", "storage_options",
     "filesystem", "partition_cols", "mode", "append", "iterator", "typ", "where", "dest", "df", "table", "source"}
)  # fmt: skip
"""Set here, or at odds with one frame in one file."""


def _file_type(name: str) -> FileType:
    """Return an entry of `FILE_TYPES` whose packages are installed."""
    kind = FILE_TYPES.get(name.lower()) if isinstance(name, str) else None
    if kind is None:
        why = _NO_FILE_TYPES.get(str(name).lower(), "pandas does not both write it to a path and read it from one")
        raise FileTypeError(f"file type {name!r} cannot be used: {why}. Use one of: {', '.join(FILE_TYPES)}")
    _require(kind.name, kind.requires)
    return kind


def _require(file_type: str, packages: Mapping[str, str]) -> None:
    missing = [pip_name for module, pip_name in packages.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise FileTypeError(f"file type {file_type!r} needs a missing package: pip install {' '.join(missing)}")


def _check_kwargs(what: str, kwargs: Kwargs, function: str, more: tuple[str, ...]) -> None:
    """Raise TypeError for a keyword argument that a pandas function does not take from here."""
    known = set().union(*map(_parameters, (f"pandas:{function}", *more)))
    for name in kwargs:
        if name in _RESERVED or (name == "chunksize" and what == "read_kwargs"):
            raise TypeError(f"{what} may not have {name!r}: one frame goes to one file, at the path of the handler")
        if name not in known:
            close = difflib.get_close_matches(name, known - _RESERVED, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"{what} has {name!r}, which pandas.{function} does not take{hint}")


@functools.cache
def _parameters(target: str) -> frozenset[str]:
    """Return the names of the parameters of ``module:function``."""
    module, _, name = target.partition(":")
    function: Any = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    parameters = inspect.signature(function).parameters.values()
    return frozenset(parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD)


def _try_out(frame_format: FrameFormat) -> None:
    """Raise where keyword arguments keep even the simplest frame from coming back."""
    try:
        frame_format._encode_exactly(pd.DataFrame({"a": ["x"], "b": [1.5]}), io.BytesIO())
    except UnkeepableError as error:
        raise ValueError(
            f"file type {frame_format.file_type!r} does not work with write_kwargs={dict(frame_format.write_kwargs)} and "
            f"read_kwargs={dict(frame_format.read_kwargs)}: {error}"
        ) from error


def _complete_compression(write: dict[str, Any], read: dict[str, Any], path: str) -> None:
    """Say what pandas infers from a path, which it cannot do for an open file."""
    given = write.get("compression", "infer")
    options = dict(given) if isinstance(given, Mapping) else {"method": given}
    options["method"] = infer_compression(path, options.get("method", "infer"))
    if options["method"] == "gzip":
        options.setdefault("mtime", 1)  # the time of writing would make the bytes of equal frames differ
    if options["method"] is None:
        write.pop("compression", None)
    else:
        write["compression"] = options
    if read.get("compression", "infer") == "infer":
        read["compression"] = options["method"]


def _complete_csv(write: dict[str, Any], read: dict[str, Any], path: str) -> None:
    _complete_compression(write, read, path)
    if "delimiter" in read:
        read.pop("sep", None)
    if write.get("quoting") == csv.QUOTE_NONE:
        read.setdefault("quoting", csv.QUOTE_NONE)
    if write.get("lineterminator") not in (None, "\n", "\r", "\r\n"):
        read.setdefault("lineterminator", write["lineterminator"])
    if "errors" in write:
        read.setdefault("encoding_errors", write["errors"])


def _complete_excel(write: dict[str, Any], read: dict[str, Any], path: str) -> None:
    """Choose the engines by the ending of a path."""
    ending = Path(path).suffix.lower()
    if path and ending not in _EXCEL_ENGINES:
        raise FileTypeError(
            f"pandas cannot write an Excel file that ends in {ending!r}; use one of: {', '.join(_EXCEL_ENGINES)}"
        )
    engine = _EXCEL_ENGINES.get(ending, "openpyxl")
    _require("excel", {"odf": "odfpy"} if engine == "odf" else {"openpyxl": "openpyxl"})
    # pandas would prefer xlsxwriter, which keeps 16 digits of a float.
    write.setdefault("engine", engine)
    read.setdefault("engine", engine)


def _complete_nothing(write: dict[str, Any], read: dict[str, Any], path: str) -> None:
    """Leave keyword arguments as they are."""


_EXCEL_ENGINES: Final = {".xlsx": "openpyxl", ".xlsm": "openpyxl", ".ods": "odf"}
_COMPLETED_KWARGS: Final = {
    "csv": _complete_csv,
    "excel": _complete_excel,
    **dict.fromkeys(("json", "xml", "stata", "pickle"), _complete_compression),
}


# ------------------------------------------------------------------------------------------------------------- plain way

_INDEX_BY_DEFAULT: Final = {"csv": "index", "excel": "index", "html": "index", "xml": "index", "stata": "write_index"}
"""The writers that add a column for even a default index, and what tells them not to."""


def _write_plainly(file_type: str, frame: pd.DataFrame, file: BinaryIO, kwargs: Kwargs) -> None:
    with _quiet():
        if file_type == "hdf":
            _write_hdf_file(frame, file, {"key": "data", **kwargs})
        elif file_type == "html":
            file.write(frame.to_html(**_without(kwargs, "encoding")).encode(kwargs.get("encoding") or "utf-8"))
        elif file_type in ("excel", "orc"):
            _write_through_memory(getattr(frame, f"to_{file_type}"), file, kwargs)
        else:
            getattr(frame, f"to_{file_type}")(file, **kwargs)


def _read_plain_file(file_type: str, data: bytes, kwargs: Kwargs) -> Any:
    if file_type == "hdf":
        return _read_hdf_file(data, kwargs)
    if file_type == "parquet":
        kwargs = {"page_checksum_verification": True, **kwargs}
    answer = getattr(_pandas, f"read_{file_type}")(io.BytesIO(data), **kwargs)
    if isinstance(answer, list):
        if len(answer) != 1:
            raise ValueError(
                f"the html file holds {len(answer)} tables; choose one by 'match' or 'attrs' in read_kwargs"
            )
        return answer[0]
    return answer


# ------------------------------------------------------------------------------------------------------------ file types


_LARGEST: Final = float(np.finfo("float64").max)


def _is_number(values: Array) -> bool:
    return isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf" and values.dtype.itemsize <= 8


def _is_number_in(values: Array, largest: int, finite_below: float) -> bool:
    """Return whether an array holds numbers of which a file type keeps each."""
    if not _is_number(values):
        return False
    numbers = np.asarray(values)
    if numbers.dtype.kind == "b" or len(numbers) == 0:
        return True
    if numbers.dtype.kind == "f":
        return not (np.abs(numbers) > finite_below).any()
    return bool(-largest <= int(numbers.min()) and int(numbers.max()) <= largest)


def _is_csv_native(values: Array) -> bool:
    return _is_number(values) and values.dtype.name != "float16"


def _is_json_native(values: Array) -> bool:
    if values.dtype.name == "float16" or not _is_number_in(values, largest=2**63 - 1, finite_below=_LARGEST):
        return False
    # pandas' parser calls numbers below the normal ones a range error.
    return values.dtype.kind != "f" or not ((values != 0) & (np.abs(values) < np.finfo("float64").tiny)).any()


def _is_excel_native(values: Array) -> bool:
    """Numbers that a double holds; datetimes in whole seconds from when Excel's calendar is right."""
    if isinstance(values.dtype, np.dtype) and values.dtype.kind == "M":
        ticks = np.asarray(values)[~pd.isna(values)]
        whole = (ticks.astype("M8[s]").astype(ticks.dtype) == ticks).all()
        return bool(
            whole and (ticks >= np.datetime64("1900-03-01")).all() and (ticks < np.datetime64("10000-01-01", "s")).all()
        )
    return _is_number_in(values, largest=2**53, finite_below=_LARGEST)


def _is_stata_native(values: Array) -> bool:
    # The largest numbers of each width stand for kinds of missing values.
    largest = 1.7e38 if values.dtype.name == "float32" else 8.9e307
    return values.dtype.name != "float16" and _is_number_in(values, largest=2**53, finite_below=largest)


def _is_arrow_native(values: Array) -> bool:
    dtype = values.dtype
    if is_object(dtype):
        return _is_arrow_object(values)
    if isinstance(dtype, pd.CategoricalDtype):
        return dtype.categories.dtype == "str"
    if isinstance(dtype, np.dtype):
        return dtype.kind in "biufMm" and dtype.isnative
    return hasattr(dtype, "__from_arrow__")


def _is_orc_native(values: Array) -> bool:
    dtype = values.dtype
    if is_object(dtype):
        return _is_arrow_object(values, _is_orc_type)
    if isinstance(dtype, np.dtype) and dtype.kind == "M":
        # Read back in nanoseconds, of which 64 bits hold 292 years to either side of 1970.
        days = values[~pd.isna(values)].astype("M8[s]")
        return bool(((days > pd.Timestamp.min.as_unit("s")) & (days < pd.Timestamp.max.as_unit("s"))).all())
    if isinstance(dtype, np.dtype):
        return dtype.kind in "bi" or dtype in ("float32", "float64")
    return isinstance(dtype, pd.StringDtype)


def _is_orc_type(arrow_type: pa.DataType) -> bool:
    is_instant = pa.types.is_temporal(arrow_type) and not pa.types.is_date32(arrow_type)
    return not is_instant and not pa.types.is_null(arrow_type) and not isinstance(arrow_type, pa.BaseExtensionType)


def _is_arrow_object(values: Array, has_type: Callable[[pa.DataType], bool] = lambda arrow_type: True) -> bool:
    """Return whether Arrow gives Python objects back as they are, but for one kind of missing value among them."""
    absent = pd.isna(values)
    if len({type(value) for value in values[absent]}) > 1:
        return False
    try:
        array = pa.array(values[~absent], from_pandas=True)
        back = array.to_pylist()
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return False
    if not has_type(array.type):
        return False
    return all(type(a) is type(b) and repr(a) == repr(b) for a, b in zip(values[~absent], back, strict=True))


def _is_certain_dtype(dtype: Any) -> bool:
    """Return whether Arrow's formats are known to keep every value of a dtype."""
    if isinstance(dtype, pd.CategoricalDtype):
        return bool(dtype.categories.dtype == "str")
    if isinstance(dtype, np.dtype):
        return dtype.isnative and (dtype.kind in "biu" or dtype.name in _CERTAIN_DTYPES)
    return bool(dtype == "str")


_CERTAIN_DTYPES: Final = frozenset({"float32", "float64", "datetime64[ms]", "datetime64[us]", "datetime64[ns]"})


def _write_csv(table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs) -> None:
    # The csv module leaves a lone carriage return unquoted, and readers take it for the end of a row.
    texts = (column for _, column in table.items() if column.dtype == "str")
    risky = any(column.str.contains("\r", regex=False).any() for column in texts)
    table.to_csv(file, index=False, **({"quoting": csv.QUOTE_NONNUMERIC} if risky else {}) | dict(kwargs))


def _read_csv(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    specs = column_specs(schema)
    frame = _pandas.read_csv(
        io.BytesIO(data),
        header=0,
        names=range(len(specs)),
        index_col=False,
        dtype={i: "str" if is_text(spec) else native_dtype(spec) for i, spec in enumerate(specs)},
        na_values={i: [""] for i, spec in enumerate(specs) if not is_text(spec)},
        keep_default_na=False,
        skip_blank_lines=False,
        float_precision="round_trip",
        engine="c",
        low_memory=False,
        **_without(kwargs, *_CSV_ENGINE),
    )
    return _arrays(frame)


_CSV_ENGINE: Final = ("engine", "low_memory", "memory_map", "float_precision", "cache_dates")
_CSV_SYNTAX: Final = (
    "sep",
    "encoding",
    "quotechar",
    "escapechar",
    "doublequote",
    "decimal",
    "compression",
    "quoting",
    "lineterminator",
)


def _write_json(table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs) -> None:
    # pandas writes 15 digits of a float. It gets them as text, between marks that take the quotes away again.
    exact = table.copy(deep=False)
    for i, dtype in enumerate(table.dtypes):
        if dtype.kind == "f":
            column = table.iloc[:, i]
            texts = pd.Series(_MARK + number_texts(array_of(column)) + _MARK, dtype=object)
            exact.isetitem(i, texts.where(column.notna(), None).to_numpy())
    text = exact.to_json(**{"orient": "records", "force_ascii": False, **_without(kwargs, "compression")})
    content = text.replace(f'"{_ESCAPED_MARK}', "").replace(f'{_ESCAPED_MARK}"', "").encode()
    with get_handle(file, "wb", compression=kwargs.get("compression"), is_text=False) as handles:
        handles.handle.write(content)


_MARK, _ESCAPED_MARK = "\x1a\x1b", "\\u001a\\u001b"


def _read_json(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    options = {"orient": "records", **kwargs, "precise_float": True}
    frame = _pandas.read_json(io.BytesIO(data), dtype=False, convert_dates=False, convert_axes=False, **options)
    return _arrays(frame)


def _write_parquet(table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs) -> None:
    # A dictionary of numbers costs more time than it saves space.
    repeating = [
        label for label, dtype in table.dtypes.items() if dtype == "str" or isinstance(dtype, pd.CategoricalDtype)
    ]
    dictionary = {} if "column_encoding" in kwargs else {"use_dictionary": repeating or False}
    options = {"engine": "pyarrow", "write_page_checksum": True, **dictionary, **kwargs}
    _with_index(table, schema).to_parquet(file, index=n_index_columns(schema) > 0 or None, **options)


def _with_index(table: pd.DataFrame, schema: JSONObject) -> pd.DataFrame:
    """Return a table with its index as an index, which Parquet marks as such for other readers."""
    if (n_index := n_index_columns(schema)) == 0:
        return table
    labels = list(table.columns[:n_index])
    names = [None if name is None else label for name, label in zip(schema["index"]["names"], labels, strict=True)]
    return table.set_index(labels).rename_axis(names)


def _read_parquet(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    options = {"page_checksum_verification": True, **_without(kwargs, "engine")}
    columns = pq.read_table(pa.BufferReader(data), **options).columns
    n_columns = len(columns) - n_index_columns(schema)
    return [*columns[n_columns:], *columns[:n_columns]]


def _write_feather(table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs) -> None:
    table.to_feather(file, **kwargs)


def _read_feather(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    return list(pyarrow.feather.read_table(pa.BufferReader(data), memory_map=False, **kwargs).columns)


def _write_orc(table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs) -> None:
    _write_through_memory(table.to_orc, file, kwargs)


def _read_orc(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    return list(pyarrow.orc.read_table(pa.BufferReader(data)).columns)


def _write_through_memory(write: Callable[..., Any], file: BinaryIO, kwargs: Kwargs) -> None:
    """Write to memory first: for writers that close their file, or end the process when its disk is full."""
    memory = io.BytesIO()
    write(memory, **kwargs)
    file.write(memory.getbuffer())


def _write_excel(table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs) -> None:
    table = table.copy(deep=False)
    for i, dtype in enumerate(table.dtypes):
        if dtype.kind == "f":
            # Excel has no negative zero, and takes the text for one.
            column = table.iloc[:, i]
            negative_zero = (column == 0) & np.signbit(column)
            if negative_zero.any():
                table.isetitem(i, column.astype(object).mask(negative_zero, "-0.0").to_numpy())
    memory = io.BytesIO()
    options = _without(kwargs, "engine", "engine_kwargs")
    with pd.ExcelWriter(memory, engine=kwargs["engine"], engine_kwargs=kwargs.get("engine_kwargs")) as writer:
        table.to_excel(writer, index=False, **options)
        if writer.engine == "openpyxl":
            _keep_cells_as_given(writer.book)
    file.write(memory.getbuffer())


def _keep_cells_as_given(book: Any) -> None:
    """Take back what openpyxl makes of cells: 16 digits of a float, formulas and errors of text that looks like them."""
    for sheet in book.worksheets:
        for row in sheet.iter_rows():
            for cell in row:
                if type(cell.value) is float:
                    cell._value = repr(cell.value)  # its setter would make it a cell of text
                elif cell.data_type in ("f", "e"):
                    cell.data_type = "s"


def _read_excel(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    frame = _pandas.read_excel(io.BytesIO(data), dtype=object, na_filter=False, keep_default_na=False, **kwargs)
    # Excel knows no end of a table, so empty rows and columns at its ends are lost.
    specs = column_specs(schema)
    frame = frame.set_axis(range(frame.shape[1]), axis=1)
    frame = frame.reindex(index=range(schema["n_rows"]), columns=range(len(specs)), fill_value="")
    for i, spec in enumerate(specs):
        if not is_text(spec):
            frame.isetitem(i, frame.iloc[:, i].where(lambda cells: cells != "", None).to_numpy())
    return _arrays(frame)


def _write_hdf(table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs) -> None:
    # The fixed layout would pickle text, the table layout drops a table without rows.
    layout = "table" if len(table) else "fixed"
    _write_hdf_file(table, file, {"key": "data", "format": layout, "index": False, **kwargs})


def _read_hdf(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    frame = _read_hdf_file(data, kwargs)
    # PyTables reads the text "nan" as missing; there are no missing cells in a table.
    specs = column_specs(schema)
    return [array.fillna("nan") if is_text(spec) else array for array, spec in zip(_arrays(frame), specs, strict=True)]


def _write_hdf_file(frame: pd.DataFrame, file: BinaryIO, kwargs: Kwargs) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "frame.h5")
        frame.to_hdf(path, **kwargs)
        with path.open("rb") as written:
            shutil.copyfileobj(written, file)


def _read_hdf_file(data: bytes, kwargs: Kwargs) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "frame.h5")
        path.write_bytes(data)
        return _pandas.read_hdf(path, **kwargs)


def _write_html(table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs) -> None:
    # pandas would cut text at the width of its display.
    with pd.option_context("display.max_colwidth", None):
        _write_plainly("html", table, file, {"index": False, **kwargs})


def _read_html(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    as_text = dict.fromkeys(range(len(column_specs(schema))), str)
    (frame,) = _pandas.read_html(
        io.BytesIO(data),
        header=0,
        converters=as_text,
        thousands=None,
        keep_default_na=False,
        na_values=[],
        **{"encoding": "utf-8", **kwargs},
    )
    return _arrays(frame)


def _write_xml(table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs) -> None:
    table.to_xml(file, index=False, **kwargs)


def _read_xml(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    # pandas.read_xml strips blanks and takes "NA" for missing, with no way to tell it not to.
    with get_handle(io.BytesIO(data), "rb", compression=kwargs.get("compression"), is_text=False) as handles:
        root = ElementTree.parse(handles.handle).getroot()
    n_columns = len(column_specs(schema))
    cells = np.fromiter((cell.text or "" for row in root for cell in row), dtype=object)
    return list(cells.reshape(-1, n_columns).T)


def _write_stata(table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs) -> None:
    long = [
        label
        for label, dtype in table.dtypes.items()
        if dtype == "str" and max(map(len, map(str.encode, table[label])), default=0) > 2045
    ]
    options = {"version": 118, "time_stamp": _EPOCH, "convert_strl": long, **kwargs}
    table.to_stata(file, write_index=False, **options)


_EPOCH: Final = datetime.datetime(1970, 1, 1)


def _read_stata(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    frame = _pandas.read_stata(io.BytesIO(data), convert_dates=False, convert_categoricals=False, **kwargs)
    return _arrays(frame)


def _unused(*arguments: Any) -> Any:
    raise NotImplementedError("a pickle holds frames, not tables")


def _arrays(frame: pd.DataFrame) -> list[Array]:
    return [array_of(frame.iloc[:, i]) for i in range(frame.shape[1])]


_PARQUET_WRITER: Final = ("pyarrow.parquet:write_table",)
_PARQUET_READER: Final = ("pyarrow.parquet:read_table",)
_PARQUET_CONTENT: Final = {
    "coerce_timestamps",
    "allow_truncated_timestamps",
    "flavor",
    "use_deprecated_int96_timestamps",
    "columns",
    "filters",
    "schema",
}

FILE_TYPES: Final[Mapping[str, FileType]] = {
    kind.name: kind
    for kind in (
        FileType(
            "csv",
            CellRules(_is_csv_native, missing=""),
            _write_csv,
            _read_csv,
            write_syntax=frozenset({*_CSV_SYNTAX, "errors", "chunksize", "na_rep"}),
            read_syntax=frozenset({*_CSV_SYNTAX, *_CSV_ENGINE, "delimiter", "encoding_errors"}),
            mirrored=frozenset({"sep", "encoding", "quotechar", "escapechar", "doublequote", "decimal"}),
        ),
        FileType(
            "json",
            CellRules(_is_json_native, missing=None),
            _write_json,
            _read_json,
            write_syntax=frozenset({"orient", "lines", "force_ascii", "indent", "compression"}),
            read_syntax=frozenset({"orient", "lines", "encoding", "encoding_errors", "compression", "precise_float"}),
            mirrored=frozenset({"orient", "lines"}),
        ),
        FileType(
            "parquet",
            CellRules(_is_arrow_native, missing=None),
            _write_parquet,
            _read_parquet,
            write_syntax=_parameters(*_PARQUET_WRITER) - _PARQUET_CONTENT | {"engine"},
            read_syntax=_parameters(*_PARQUET_READER) - _PARQUET_CONTENT | {"engine"},
            more_write_kwargs=_PARQUET_WRITER,
            more_read_kwargs=_PARQUET_READER,
        ),
        FileType(
            "feather",
            CellRules(_is_arrow_native, missing=None),
            _write_feather,
            _read_feather,
            write_syntax=frozenset({"compression", "compression_level", "chunksize", "version"}),
            read_syntax=frozenset({"use_threads"}),
            more_write_kwargs=("pyarrow.feather:write_feather",),
        ),
        FileType(
            "orc",
            CellRules(_is_orc_native, missing=None),
            _write_orc,
            _read_orc,
            write_syntax=frozenset({"engine", "engine_kwargs"}),
        ),
        FileType(
            "excel",
            CellRules(_is_excel_native, missing=""),
            _write_excel,
            _read_excel,
            write_syntax=frozenset(
                {"sheet_name", "na_rep", "freeze_panes", "engine", "engine_kwargs", "merge_cells", "autofilter"}
            ),
            read_syntax=frozenset({"sheet_name", "engine", "engine_kwargs"}),
            mirrored=frozenset({"sheet_name"}),
        ),
        FileType(
            "hdf",
            CellRules(_is_csv_native, missing=""),
            _write_hdf,
            _read_hdf,
            write_syntax=frozenset(
                {"key", "complevel", "complib", "encoding", "errors", "format", "min_itemsize", "data_columns"}
            ),
            read_syntax=frozenset({"key", "errors"}),
            mirrored=frozenset({"key"}),
            requires={"tables": "tables"},
            more_read_kwargs=("pandas:HDFStore",),
        ),
        FileType(
            "html",
            CellRules(lambda values: False, missing="NaN"),
            _write_html,
            _read_html,
            write_syntax=frozenset(
                {"col_space", "na_rep", "justify", "bold_rows", "classes", "notebook", "border", "table_id", "encoding"}
            ),
            read_syntax=frozenset({"flavor", "encoding"}),
            mirrored=frozenset({"encoding"}),
            requires={"lxml": "lxml"},
        ),
        FileType(
            "xml",
            CellRules(lambda values: False, missing="", identifiers=True),
            _write_xml,
            _read_xml,
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
        ),
        FileType(
            "stata",
            CellRules(_is_stata_native, missing="", identifiers=True),
            _write_stata,
            _read_stata,
            write_syntax=frozenset({"byteorder", "time_stamp", "data_label", "version", "convert_strl", "compression"}),
            read_syntax=frozenset({"compression"}),
        ),
        FileType("pickle", None, _unused, _unused),
    )
}

_SUGGESTED: Final = ("parquet", "feather", "json", "csv", "pickle")
"""The file types tried for an error message."""

_NO_PATH: Final = "it is no file at a path"
_READ_ONLY: Final = "pandas only reads it"
_WRITE_ONLY: Final = "pandas only writes it"
_NO_FILE_TYPES: Final = {
    **dict.fromkeys(("clipboard", "sql", "sql_query", "sql_table", "iceberg"), _NO_PATH),
    **dict.fromkeys(("fwf", "sas", "spss"), _READ_ONLY),
    "table": "pandas only reads it; csv with write_kwargs={'sep': '\\t'} is the same",
    "tsv": "pandas has no such type; csv with write_kwargs={'sep': '\\t'} is the same",
    "gbq": "pandas has no BigQuery functions since version 3",
    **dict.fromkeys(("latex", "markdown", "string"), _WRITE_ONLY),
    **dict.fromkeys(("dict", "numpy", "records", "xarray"), _NO_PATH),
    **dict.fromkeys(("xlsx", "xlsm", "ods"), "the type is called 'excel'"),
    "xls": "pandas cannot write it since version 2; use the type 'excel' with a path that ends in .xlsx",
}


# --------------------------------------------------------------------------------------------------------------- helpers


@contextmanager
def _as_unkeepable(what: str) -> Iterator[None]:
    """Turn the errors of pandas and its engines into `UnkeepableError`, but for those of the file itself."""
    try:
        with _quiet():
            yield
    except (UnkeepableError, OSError, MemoryError):
        raise
    except Exception as error:
        raise UnkeepableError(f"{what}: {error}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings about what the proof by reading settles, such as changed labels or lost precision."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _content(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _without(kwargs: Kwargs, *names: str) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name not in names}


def _has_objects(frame: pd.DataFrame) -> bool:
    """Return whether a frame holds objects that may not be what they were after unpickling."""
    levels = [labels.get_level_values(i) for labels in (frame.index, frame.columns) for i in range(labels.nlevels)]
    return any(map(is_object, [*frame.dtypes, *(level.dtype for level in levels)]))


def _wrong_type(value: object) -> str:
    """Return what to do about a result that is no frame."""
    if isinstance(value, pd.Series):
        hint = "return series.to_frame()"
    else:
        hint = "use Prefect's own LocalResult or PrefectResult for other objects"
    return (
        f"a pandas DataFrame is needed, the task returned {type(value).__module__}.{type(value).__qualname__}: {hint}"
    )
