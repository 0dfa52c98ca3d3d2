"""A task's result as a Dask frame, and a frame over files as the task's result.

A Series is written as a frame of one column. Its schema is ``{"series": ..., "frame":
...}``: a reader that knows no series finds no schema of a frame in it, and never takes
a series for a frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, cast

import dask.dataframe as dd
import pandas as pd

from prefect_ds.errors import ResultTypeError, RoundTripError
from prefect_ds.frames.base import UnkeepableError
from prefect_ds.frames.series import label_of, name_from_note, note_of
from prefect_ds.storage.manifest import JSONObject

_PANDAS_PARTITION_BYTES: Final = 128 * 2**20
"""The size that Dask's documentation advises for partitions, about 100 MB."""

_ADVICE: Final = {
    "Index": "return its .to_frame()",
    "Scalar": "return its .compute()",
    "Bag": "return its .to_dataframe()",
    "Array": "return dask.dataframe.from_dask_array(it, columns=[...])",
    "Delayed": "return dask.dataframe.from_delayed([...])",
    "DelayedLeaf": "return dask.dataframe.from_delayed([...])",
}
"""Name of a class to the way to a frame."""

_OTHER_ADVICE: Final = "return one, or give the task another handler"

# Keys of the schema of a series.
_SERIES: Final = "series"
_FRAME: Final = "frame"

KEPT_CLASSES: Final = (dd.DataFrame, dd.Series, pd.DataFrame, pd.Series)


def is_kept(value: Any) -> bool:
    """Return whether a value is a frame or a series; an Index of Dask's is neither."""
    return isinstance(value, KEPT_CLASSES) and not isinstance(value, dd.Index)


@dataclass(frozen=True, slots=True)
class Given:
    """What a task returned."""

    frame: dd.DataFrame
    """Of one column, where the task returned a series."""
    note: JSONObject | None
    """Makes it a series again; ``None``: it was a frame."""
    is_here: bool
    """Whether it is in the memory of this process already."""

    def schema(self, of_frame: JSONObject) -> JSONObject:
        """Return the schema of the result, with that of the frame."""
        if self.note is None:
            return of_frame
        return {_SERIES: self.note, _FRAME: of_frame}


def as_frame(value: Any, partition_size: int | None, handler: str) -> Given:
    """Return a task's result as a Dask frame.

    Parameters
    ----------
    value
        What the task returned.
    partition_size
        Bytes of a partition of a pandas frame; ``None``: 128 MiB.
    handler
        The name of the handler's class, for the error.

    Raises
    ------
    ResultTypeError
        It is no frame and no series of Dask's or pandas.
    RoundTripError
        It is a series whose name cannot be kept.
    """
    if not is_kept(value):
        kind = type(value).__name__
        library = type(value).__module__.partition(".")[0]
        raise ResultTypeError(
            f"the task returned a {library} {kind}, and {handler} keeps Dask "
            f"DataFrames: {_ADVICE.get(kind, _OTHER_ADVICE)}"
        )
    if isinstance(value, dd.Series | pd.Series):
        # Its name is in the meta: nothing is computed.
        meta: Any = value
        if isinstance(value, dd.Series):
            meta = value._meta
        try:
            note = note_of(meta)
        except UnkeepableError as error:
            raise RoundTripError(
                f"the name of the Series cannot be kept ({error}): rename it, or "
                "return its .to_frame()"
            ) from error
        frame = value.to_frame(label_of(meta))
        given = as_frame(frame, partition_size, handler)
        return Given(given.frame, note, given.is_here)
    if isinstance(value, pd.DataFrame):
        return Given(_in_partitions(value, partition_size), None, True)
    return Given(value, None, False)


def _in_partitions(frame: pd.DataFrame, partition_size: int | None) -> dd.DataFrame:
    size = partition_size or _PANDAS_PARTITION_BYTES
    if isinstance(frame.index, pd.MultiIndex):
        raise ResultTypeError(
            "Dask has no frames with a MultiIndex: return the frame's .reset_index()"
        )
    # Not deep: a look at every text would cost more than the estimate is worth.
    n_bytes = int(frame.memory_usage(index=True).sum())
    n_partitions = max(1, math.ceil(n_bytes / size))
    # Not sorted: the rows come back in the order in which the task gave them.
    return cast(
        dd.DataFrame, dd.from_pandas(frame, npartitions=n_partitions, sort=False)
    )


def schema_of_frame(schema: JSONObject) -> JSONObject:
    """Return the schema of the frame in the files of a result."""
    if _SERIES in schema:
        return cast(JSONObject, schema[_FRAME])
    return schema


def as_result(frame: dd.DataFrame, schema: JSONObject) -> dd.DataFrame | dd.Series:
    """Return a frame over the files of a result as the task gave it."""
    if _SERIES not in schema:
        return frame
    # By position: a frame that a person put there has labels of its own.
    series = frame[frame.columns[0]]
    name = name_from_note(schema[_SERIES])
    # The index stays as it is: otherwise a tuple as the name loses the divisions.
    return cast(dd.Series, series.rename(name, sorted_index=True))
