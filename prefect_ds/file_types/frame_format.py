"""How the frames of a handler become the bytes of a plain file, and how they come back the same.

A frame is written in its table form (`prefect_ds.frames.table`), which any tool reads,
and read back by strict options and a schema that is kept elsewhere. What comes back
equals what was written, or the write fails with an error.
"""

import difflib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np
import pandas as pd

from prefect_ds.errors import (
    ResultTypeError,
    RoundTripError,
    UndecodableCheckpointError,
)
from prefect_ds.file_types.base import Kwargs, parameters, without
from prefect_ds.file_types.plain import read_plainly, write_plainly
from prefect_ds.file_types.registry import FILE_TYPES, file_type_named
from prefect_ds.frames.base import CellRules, JSONObject, UnkeepableError, is_object
from prefect_ds.frames.compare import difference
from prefect_ds.frames.index import is_default_index
from prefect_ds.frames.table import column_specs, from_table, to_table

__all__ = ["FILE_TYPES", "Encoded", "FrameFormat", "frame_format"]


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

    Two ways lead there. The *exact* way restores everything. Keyword arguments that
    choose or convert values take the *plain* way instead: pandas writes and reads as
    the user says, and what the file gives back is the result.
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
            Of any dtypes, index and labels. Its ``attrs`` are kept, or refused where
            JSON does not hold them.
        file
            Empty, open for writing and reading in binary mode, seekable. It is left
            open.

        Returns
        -------
        Encoded
            The schema, and the frame that `decode` will give.

        Raises
        ------
        ResultTypeError
            `frame` is no ``pandas.DataFrame``.
        RoundTripError
            The frame would come back otherwise. Names the column, the file type, and
            file types that keep it.
        OSError
            The file cannot be written.
        """
        if not isinstance(frame, pd.DataFrame):
            raise ResultTypeError(_wrong_type(frame))
        if self.is_plain or (
            self.write_kwargs.get("index") is False
            and not is_default_index(frame.index)
        ):
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
            As `encode` gave it. ``None``: pandas reads the file with the user's keyword
            arguments, as it reads one that a person put there.

        Raises
        ------
        UndecodableCheckpointError
            The bytes are not a file that fits the schema.
        """
        if schema is None:
            return self._read_plainly(data)
        try:
            return self._read_exactly(data, schema)
        except MemoryError:
            raise
        except Exception as error:
            raise UndecodableCheckpointError(
                f"the bytes are no {self.file_type} file that fits its schema: {error}"
            ) from error

    def _encode_exactly(self, frame: pd.DataFrame, file: BinaryIO) -> JSONObject:
        """Write the table form of a frame and return its schema; raise `UnkeepableError` unless it comes back."""
        file_type = FILE_TYPES[self.file_type]
        with _as_unkeepable("it cannot be written"):
            with_index = self.write_kwargs.get("index") is True
            table, schema = to_table(
                frame, self._rules(), with_default_index=with_index
            )
            assert file_type.write is not None
            file_type.write(
                table, schema, file, without(self.write_kwargs, "index", "na_rep")
            )
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
            return from_table(
                [np.array([], dtype=object) for _ in column_specs(schema)], schema
            )
        with _quiet():
            read = FILE_TYPES[self.file_type].read
            assert read is not None
            return from_table(read(data, schema, self.read_kwargs), schema)

    def _encode_plainly(self, frame: pd.DataFrame, file: BinaryIO) -> Encoded:
        """Write a frame as pandas does with the user's keyword arguments; what the file gives back is the result."""
        kwargs = dict(self.write_kwargs)
        index_kwarg = FILE_TYPES[self.file_type].index_kwarg
        if (
            index_kwarg
            and is_default_index(frame.index)
            and "index_col" not in self.read_kwargs
        ):
            kwargs.setdefault(index_kwarg, False)
        try:
            with _quiet():
                write_plainly(FILE_TYPES[self.file_type], frame, file, kwargs)
            if self.file_type == "pickle" and not _has_objects(frame):
                return Encoded(None, frame, "")
            back = self._read_plainly(_content(file))
        except (OSError, MemoryError):
            raise
        except Exception as error:
            raise RoundTripError(
                f"pandas cannot write this frame to a file of type {self.file_type!r} and read it back with "
                f"write_kwargs={self.write_kwargs} and read_kwargs={self.read_kwargs}: {error!r}"
            ) from error
        change = difference(frame, back)
        if change is None:
            return Encoded(None, frame, "")
        return Encoded(None, back, change)

    def _read_plainly(self, data: bytes) -> pd.DataFrame:
        with _quiet():
            frame = read_plainly(FILE_TYPES[self.file_type], data, self.read_kwargs)
        if not isinstance(frame, pd.DataFrame):
            raise ValueError(
                f"the {self.file_type} file gives a {type(frame).__name__}, where a DataFrame is needed"
            )
        return frame

    def _rules(self) -> CellRules:
        rules = FILE_TYPES[self.file_type].rules
        assert rules is not None
        na_rep = self.write_kwargs.get("na_rep")
        if na_rep is None:
            return rules
        return CellRules(
            lambda values: rules.is_native(values) and not pd.isna(values).any(),
            na_rep,
            rules.identifiers,
        )

    def _is_certain(self, frame: pd.DataFrame) -> bool:
        """Return whether a frame is sure to come back, so that the proof by reading may be left out."""
        is_certain = FILE_TYPES[self.file_type].is_certain
        return (
            type(frame) is pd.DataFrame
            and not self.write_kwargs.keys() - {"compression", "index"}
            and all(map(is_certain, frame.dtypes))
            and (is_default_index(frame.index) or is_certain(frame.index.dtype))
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
        what, part = next(
            ((what, part) for what, part in parts if not self._keeps(part)), whole
        )
        keepers = [
            name
            for name in _SUGGESTED
            if name != self.file_type and frame_format(name, "")._keeps(part)
        ]
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
    file_type: str,
    path: str,
    read_kwargs: Kwargs | None = None,
    write_kwargs: Kwargs | None = None,
) -> FrameFormat:
    """Return how frames are kept in files of some type.

    Parameters
    ----------
    file_type
        A key of `FILE_TYPES`, in any case.
    path
        A path or the template of one; its ending gives the compression, and for Excel
        the kind of file.
    read_kwargs, write_kwargs
        For the pandas reader and writer. They win over what this module would choose.

    Raises
    ------
    FileTypeError
        The file type is not one of `FILE_TYPES`, or a package that it needs is missing.
    TypeError
        The reader or writer does not know a keyword argument, or it is one that is set
        here.
    ValueError
        Not even a frame of two cells can be written and read with these keyword
        arguments.

    Examples
    --------
    >>> frame_format("CSV", "sales.csv.gz").write_kwargs
    {'compression': {'method': 'gzip', 'mtime': 1}}
    """
    kind = file_type_named(file_type)
    write, read = dict(write_kwargs or {}), dict(read_kwargs or {})
    _check_kwargs(
        "write_kwargs", write, f"DataFrame.to_{kind.name}", kind.more_write_kwargs
    )
    _check_kwargs("read_kwargs", read, f"read_{kind.name}", kind.more_read_kwargs)
    exact_write = kind.write_syntax | (
        {"index"} if isinstance(write.get("index"), bool) else set()
    )
    is_plain = kind.rules is None or not (
        write.keys() <= exact_write and read.keys() <= kind.read_syntax
    )
    if (
        write.get("orient") == "table"
    ):  # pandas' own typed form of JSON, with its own idea of dtypes
        is_plain = True
    for name in kind.mirrored & write.keys():
        read.setdefault(name, write[name])
    kind.complete(write, read, path)
    result = FrameFormat(kind.name, write, read, is_plain)
    if (write_kwargs or read_kwargs) and not is_plain:
        _try_out(result)
    return result


# ---------------------------------------------------------------------------------------------------
# keyword arguments

_RESERVED: Final = frozenset(
    {"self", "path_or_buf", "path", "path_or_buffer", "filepath_or_buffer", "excel_writer", "buf", "io", "dest",
     "mode", "storage_options", "filesystem", "partition_cols", "append", "iterator", "typ", "where", "df",
     "table", "source"}
)  # fmt: skip
"""Set here, or at odds with one frame in one file."""


def _check_kwargs(
    what: str, kwargs: Kwargs, function: str, more: tuple[str, ...]
) -> None:
    """Raise TypeError for a keyword argument that a pandas function does not take from here."""
    known = set().union(*map(parameters, (f"pandas:{function}", *more)))
    for name in kwargs:
        if name in _RESERVED or (name == "chunksize" and what == "read_kwargs"):
            raise TypeError(
                f"{what} may not have {name!r}: one frame goes to one file, at the path of the handler"
            )
        if name not in known:
            close = difflib.get_close_matches(name, known - _RESERVED, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise TypeError(
                f"{what} has {name!r}, which pandas.{function} does not take{hint}"
            )


def _try_out(frame_format: FrameFormat) -> None:
    """Raise where keyword arguments keep even the simplest frame from coming back."""
    try:
        frame_format._encode_exactly(
            pd.DataFrame({"a": ["x"], "b": [1.5]}), io.BytesIO()
        )
    except UnkeepableError as error:
        raise ValueError(
            f"file type {frame_format.file_type!r} does not work with "
            f"write_kwargs={frame_format.write_kwargs} and read_kwargs={frame_format.read_kwargs}: {error}"
        ) from error


_SUGGESTED: Final = ("parquet", "feather", "json", "csv", "pickle")
"""The file types tried for an error message."""

# -------------------------------------------------------------------------------------------------------------
# helpers


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


def _has_objects(frame: pd.DataFrame) -> bool:
    """Return whether a frame holds objects that may not be what they were after unpickling."""
    levels = [
        labels.get_level_values(i)
        for labels in (frame.index, frame.columns)
        for i in range(labels.nlevels)
    ]
    return any(map(is_object, [*frame.dtypes, *(level.dtype for level in levels)]))


def _wrong_type(value: object) -> str:
    """Return what to do about a result that is no frame."""
    if isinstance(value, pd.Series):
        hint = "return series.to_frame()"
    else:
        hint = "use Prefect's own LocalResult or PrefectResult for other objects"
    return f"a pandas DataFrame is needed, the task returned {type(value).__module__}.{type(value).__qualname__}: {hint}"
