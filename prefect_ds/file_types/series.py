"""Frames and series as the bytes of a plain file, and back.

A series is written as a frame of one column (`prefect_ds.frames.series`). Its schema is
``{"series": ..., "table": ...}``, without a table where the user's keyword arguments
take the plain way. A reader that knows no series finds no schema of a frame in it, and
never takes a series for a frame.
"""

from __future__ import annotations

from typing import Any, BinaryIO, Final, cast

import pandas as pd

from prefect_ds.errors import (
    ResultTypeError,
    RoundTripError,
    UndecodableCheckpointError,
)
from prefect_ds.file_types.edited import schema_of_edited
from prefect_ds.file_types.frame_format import Encoded, FrameFormat
from prefect_ds.file_types.refusals import uncopyable, wrong_type
from prefect_ds.frames.base import Framed, JSONObject, UnkeepableError
from prefect_ds.frames.series import from_frame, to_frame
from prefect_ds.storage.checksum import Data

# Keys of the schema of a series.
_SERIES: Final = "series"
_TABLE: Final = "table"


def encode(form: FrameFormat, value: Any, file: BinaryIO) -> Encoded:
    """Write a frame or a series to a file and make sure that it comes back.

    Parameters
    ----------
    form
        How the handler keeps frames.
    value
        What the task returned.
    file
        See :meth:`FrameFormat.encode`.

    Raises
    ------
    ResultTypeError
        `value` is neither a frame nor a series.
    RoundTripError
        It would come back otherwise.
    OSError
        The file cannot be written.
    """
    if isinstance(value, pd.DataFrame):
        return form.encode(value, file)
    if not isinstance(value, pd.Series):
        raise ResultTypeError(wrong_type(value))
    problem = uncopyable(value)
    if problem is not None:
        raise RoundTripError(problem)
    # A pickle also keeps the class of a subclass.
    if form.keeps_series:
        return form.encode_plainly(value, file)
    if type(value) is not pd.Series:
        raise RoundTripError(
            f"a file of type {form.file_type!r} does not keep the class "
            f"{type(value).__name__}; return pandas.Series(series) to do without its "
            "class. File types that keep it: pickle"
        )
    try:
        frame, note = to_frame(value)
    except UnkeepableError as error:
        raise RoundTripError(
            f"a file of type {form.file_type!r} does not keep the name of the Series "
            f"({error}). File types that keep it: pickle"
        ) from error
    encoded = form.encode(frame, file)
    written = cast(pd.DataFrame, encoded.frame)
    if encoded.schema is not None:
        return Encoded({_SERIES: note, _TABLE: encoded.schema}, value, "")
    # The plain way, which changed nothing.
    if written is frame:
        return Encoded({_SERIES: note}, value, "")
    # It changed values, or the index: the file's content is the result.
    try:
        series = from_frame(written, note)
    except UnkeepableError as error:
        raise RoundTripError(
            f"with write_kwargs={form.write_kwargs} and "
            f"read_kwargs={form.read_kwargs} no Series comes back: {error}. Leave the "
            "index out (index=False), read it as an index (index_col), or return "
            "series.to_frame()"
        ) from error
    return Encoded({_SERIES: note}, series, encoded.note)


def decode(form: FrameFormat, data: Data, schema: JSONObject | None) -> Framed:
    """Return the frame or the series of a file's bytes.

    Parameters
    ----------
    form
        How the handler keeps frames.
    data
        The whole file.
    schema
        As `encode` gave it; ``None``: a frame, as pandas reads the file.

    Raises
    ------
    UndecodableCheckpointError
        The bytes are not a file that fits the schema.
    """
    if schema is None or _SERIES not in schema:
        return form.decode(data, schema)
    frame = form.decode(data, schema.get(_TABLE))
    try:
        return from_frame(frame, schema[_SERIES])
    except UnkeepableError as error:
        raise UndecodableCheckpointError(
            f"the bytes are no {form.file_type} file of a Series: {error}"
        ) from error


def decode_edited(
    form: FrameFormat, data: Data, earlier: JSONObject
) -> tuple[Framed, JSONObject | None]:
    """Return what an edited file gives, with the types that it had, and its schema.

    Parameters
    ----------
    form
        How the handler keeps frames.
    data
        The bytes of the file.
    earlier
        The schema of the checkpoint before the edit.
    """
    plain = form.decode(data, None)
    if _SERIES not in earlier:
        schema = schema_of_edited(form, data, plain, earlier)
        if schema is None:
            return plain, None
        return form.decode(data, schema), schema
    note = {_SERIES: earlier[_SERIES]}
    table = None
    if _TABLE in earlier:
        table = schema_of_edited(form, data, plain, earlier[_TABLE])
    if table is not None:
        note[_TABLE] = table
    try:
        return decode(form, data, note), note
    except UndecodableCheckpointError:
        # The edit has added columns, so that the result is a frame now.
        if table is None:
            return plain, None
        return form.decode(data, table), table
