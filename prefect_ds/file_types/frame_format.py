"""The frames of a handler as the bytes of a plain file, and back.

A frame is written in its table form (`prefect_ds.frames.table`), which any tool reads,
and read back by strict options and a schema that is kept elsewhere. The frame that
comes back equals the one written, or the write fails with an error.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from prefect_ds.errors import (
    ResultTypeError,
    RoundTripError,
    UndecodableCheckpointError,
)
from prefect_ds.file_types.base import FileType, Kwargs, without
from prefect_ds.file_types.keywords import check_keywords, is_syntax_only
from prefect_ds.file_types.plain import (
    has_objects,
    quiet,
    read_plainly,
    unwritable_attr,
    write_plainly,
)
from prefect_ds.file_types.refusals import Fault, refusal, uncopyable, wrong_type
from prefect_ds.file_types.registry import FILE_TYPES, file_type_named
from prefect_ds.file_types.zip_times import clear_times
from prefect_ds.frames.base import (
    Array,
    CellRules,
    Framed,
    JSONObject,
    UnkeepableError,
)
from prefect_ds.frames.compare import difference
from prefect_ds.frames.index import is_default_index
from prefect_ds.frames.table import column_specs, from_table, to_table
from prefect_ds.storage.checksum import Data

__all__ = ["FILE_TYPES", "Encoded", "FrameFormat", "frame_format"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """The outcome of `FrameFormat.encode`."""

    schema: JSONObject | None
    """For `FrameFormat.decode`; ``None``: the plain reader's answer is the result."""
    frame: Framed
    """What the file gives: the frame given, unless keyword arguments change it."""
    note: str
    """Empty, or one clause that says how that frame differs from the one given."""


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """The way in which the frames of one handler become bytes and come back.

    Made by `frame_format`. There are two ways. The *exact* way restores everything.
    Keyword arguments that choose or convert values take the *plain* way instead: pandas
    writes and reads as the user says, and the file's content is the result.
    """

    file_type: str
    """A key of `FILE_TYPES`."""
    write_kwargs: Kwargs
    """For the writer, completed from the path."""
    read_kwargs: Kwargs
    """For the pandas reader, completed from the path and the writer's arguments."""
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
            raise ResultTypeError(wrong_type(frame))
        problem = uncopyable(frame)
        if problem is not None:
            raise RoundTripError(problem)
        # The user leaves an index out: the file's content is the result then.
        wants_no_index = self.write_kwargs.get("index") is False
        loses_index = wants_no_index and not is_default_index(frame.index)
        if self.is_plain or loses_index:
            return self.encode_plainly(frame, file)
        try:
            return Encoded(self._encode_exactly(frame, file), frame, "")
        except UnkeepableError as error:
            reason = str(error)
            message = refusal(frame, self.file_type, reason, self._fault_in)
            raise RoundTripError(message) from error

    def decode(self, data: Data, schema: JSONObject | None) -> pd.DataFrame:
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
            # It says nothing of the bytes.
            raise
        except Exception as error:
            # Parsers raise any kind of error for bytes that are not theirs.
            raise UndecodableCheckpointError(
                f"the bytes are no {self.file_type} file that fits its schema: {error}"
            ) from error

    @property
    def _type(self) -> FileType:
        return FILE_TYPES[self.file_type]

    @property
    def keeps_series(self) -> bool:
        """Whether a file holds a series as it is, not as a frame of one column."""
        return self.file_type == "pickle"

    # --- the exact way ---

    def _encode_exactly(self, frame: pd.DataFrame, file: BinaryIO) -> JSONObject:
        """Write the table form of a frame and return its schema.

        Raises `UnkeepableError` where the frame would not come back.
        """
        if type(frame) is not pd.DataFrame:
            raise UnkeepableError(f"a {type(frame).__name__} comes back as a DataFrame")
        write = self._type.write
        assert write is not None
        with_default_index = self.write_kwargs.get("index") is True
        with _as_unkeepable("it cannot be written"):
            table, schema = to_table(
                frame, self.rules(), with_default_index=with_default_index
            )
            # Both are done in the table form already.
            write(table, schema, file, without(self.write_kwargs, "index", "na_rep"))
            clear_times(file)
        # Reading back costs as much as the write, and is left out where it proves
        # nothing new.
        if self._is_certain(frame):
            return schema
        with _as_unkeepable("it cannot be read back"):
            back = self._read_exactly(_content(file), schema)
            change = difference(frame, back)
        if change is not None:
            raise UnkeepableError(change)
        return schema

    def _read_exactly(self, data: Data, schema: JSONObject) -> pd.DataFrame:
        if schema["n_rows"] == 0:
            # Some file types have no place for the columns of a table without rows.
            empty = [np.array([], dtype=object) for _ in column_specs(schema)]
            return from_table(empty, schema)
        read = self._type.read
        assert read is not None
        with quiet():
            return from_table(read(data, schema, self.read_kwargs), schema)

    def rules(self) -> CellRules:
        """Return the rules for cells, with the user's own text for missing ones."""
        rules = self._type.rules
        assert rules is not None
        na_rep = self.write_kwargs.get("na_rep")
        if na_rep is None:
            return rules

        def is_native(values: Array) -> bool:
            # A native column would have the missing cells of its type, not the user's.
            return rules.is_native(values) and not pd.isna(values).any()

        return CellRules(is_native, na_rep, rules.identifiers)

    def _is_certain(self, frame: pd.DataFrame) -> bool:
        """Return whether a frame is sure to come back, so that no read proves it."""
        index, labels = frame.index, frame.columns
        is_certain = self._type.is_certain
        # Other arguments of the writer may change any value.
        if self.write_kwargs.keys() - {"compression", "index"}:
            return False
        if labels.dtype != "str" or isinstance(labels, pd.MultiIndex):
            return False
        if not is_default_index(index) and not is_certain(index.dtype):
            return False
        if getattr(index, "freq", None) is not None:
            return False
        return all(map(is_certain, frame.dtypes))

    # --- the plain way ---

    def encode_plainly(self, frame: Framed, file: BinaryIO) -> Encoded:
        """Write a frame as pandas does with the user's keyword arguments.

        The content of the file is the result.
        """
        kwargs = self._plain_kwargs(frame)
        try:
            with quiet():
                write_plainly(self._type, frame, file, kwargs)
                clear_times(file)
            # A pickle of plain values is not read back: it gives what was pickled.
            if self.keeps_series and not has_objects(frame):
                return Encoded(None, frame, "")
            back: Any = self._read_plainly(_content(file))
            change = difference(frame, back)
        except (OSError, MemoryError):
            # Of the file or the machine, not of the frame.
            raise
        except Exception as error:
            problem = repr(error)
            culprit = unwritable_attr(self._type, frame, kwargs)
            if culprit is not None:
                problem = f"attrs[{culprit!r}] is at fault, {problem}"
            raise RoundTripError(
                f"pandas cannot write this {type(frame).__name__} to a file of type "
                f"{self.file_type!r} and read it back with write_kwargs="
                f"{self.write_kwargs} and read_kwargs={self.read_kwargs}: {problem}"
            ) from error
        if change is None:
            return Encoded(None, frame, "")
        return Encoded(None, back, change)

    def _plain_kwargs(self, frame: Framed) -> Kwargs:
        """Return the writer's arguments, which leave a default index out."""
        kwargs = dict(self.write_kwargs)
        index_kwarg = self._type.index_kwarg
        # The reader is to find an index there.
        is_wanted = "index_col" in self.read_kwargs
        if index_kwarg and is_default_index(frame.index) and not is_wanted:
            kwargs.setdefault(index_kwarg, False)
        return kwargs

    def _read_plainly(self, data: Data) -> pd.DataFrame:
        with quiet():
            frame = read_plainly(self._type, data, self.read_kwargs)
        kept: Any = pd.DataFrame
        # A pickle says by itself that it holds a series.
        if self.keeps_series:
            kept = (pd.DataFrame, pd.Series)
        if not isinstance(frame, kept):
            # `read_excel` with sheet_name=None gives a dict of frames, for one.
            raise ValueError(
                f"the {self.file_type} file gives a {type(frame).__name__}, "
                "where a DataFrame is needed"
            )
        return frame  # type: ignore[no-any-return]

    # --- faults ---

    def _fault_in(self, file_type: str) -> Fault:
        """Return the function that finds a fault of a frame in a file type."""
        # Only in its own type do the keyword arguments have a meaning.
        if file_type == self.file_type:
            return self._fault
        return frame_format(file_type, "")._fault

    def _fault(self, frame: pd.DataFrame) -> str | None:
        """Return why a frame does not come back; ``None``: it does."""
        try:
            if self.is_plain:
                return self.encode_plainly(frame, io.BytesIO()).note or None
            self._encode_exactly(frame, io.BytesIO())
        except (UnkeepableError, RoundTripError) as error:
            return str(error)
        return None


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
    {'compression': {'method': 'gzip', 'mtime': 1, 'filename': ''}}
    """
    kind = file_type_named(file_type)
    write, read = dict(write_kwargs or {}), dict(read_kwargs or {})
    check_keywords(kind, write, read)
    is_plain = kind.rules is None or not is_syntax_only(kind, write, read)
    for name in kind.mirrored & write.keys():
        read.setdefault(name, write[name])
    kind.complete(write, read, path)
    result = FrameFormat(kind.name, write, read, is_plain)
    # In the plain way there is no promise that arguments could break.
    if (write_kwargs or read_kwargs) and not is_plain:
        _try_out(result)
    return result


def _try_out(frame_format: FrameFormat) -> None:
    """Raise where keyword arguments keep even the simplest frame from coming back."""
    simplest = pd.DataFrame({"a": ["x"], "b": [1.5]})
    fault = frame_format._fault(simplest)
    if fault is not None:
        raise ValueError(
            f"file type {frame_format.file_type!r} does not work with "
            f"write_kwargs={frame_format.write_kwargs} "
            f"and read_kwargs={frame_format.read_kwargs}: {fault}"
        )


@contextmanager
def _as_unkeepable(what: str) -> Iterator[None]:
    """Turn the errors of pandas and its engines into `UnkeepableError`.

    Those of the file itself stay as they are.
    """
    try:
        with quiet():
            yield
    except (UnkeepableError, OSError, MemoryError):
        raise
    except Exception as error:
        raise UnkeepableError(f"{what}: {error}") from error


def _content(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()
