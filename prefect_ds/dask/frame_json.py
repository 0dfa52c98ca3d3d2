"""The facts of a Dask frame as JSON: its meta, its divisions, the ends of its index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from prefect_ds.errors import RoundTripError
from prefect_ds.frames.base import CellRules, UnkeepableError, array_of
from prefect_ds.frames.compare import difference
from prefect_ds.frames.table import from_table, to_table
from prefect_ds.storage.manifest import JSONObject

TEXT_RULES = CellRules(lambda values: False, missing=None)
"""Rules of cells that are all text: JSON has null, so no text means missing."""


def frame_to_json(frame: pd.DataFrame) -> JSONObject:
    """Return a small frame, or an empty one that shows its dtypes, as JSON.

    Raises
    ------
    RoundTripError
        It has values, labels or dtypes that JSON cannot hold.
    """
    try:
        return _to_json(frame)
    except (UnkeepableError, NotImplementedError) as error:
        what = culprit(frame, _to_json)
        raise RoundTripError(
            f"the Dask frame cannot be kept: {what}: {error}"
        ) from error


def _to_json(frame: pd.DataFrame) -> JSONObject:
    cells, schema = to_table(frame, TEXT_RULES)
    document = {
        "schema": schema,
        "cells": [
            [None if pd.isna(cell) else cell for cell in cells[label]]
            for label in cells
        ],
    }
    # Verified now, as every later run trusts what is written here.
    change = difference(frame, frame_from_json(document))
    if change is not None:
        raise UnkeepableError(change)
    return document


def frame_from_json(document: JSONObject) -> pd.DataFrame:
    """Return the frame that `frame_to_json` made the JSON of."""
    return from_table(
        [np.array(cells, dtype=object) for cells in document["cells"]],
        document["schema"],
    )


def culprit(frame: pd.DataFrame, keep: Callable[[pd.DataFrame], object]) -> str:
    """Return which part of a frame cannot be kept, in words for an error.

    ``keep`` raises an error for what cannot.
    """
    parts = []
    for i, (label, dtype) in enumerate(zip(frame.columns, frame.dtypes, strict=True)):
        # Without its label and its index, which are tried by themselves below.
        column = pd.Series(array_of(frame.iloc[:, i]), dtype=dtype, name="x")
        parts.append((f"column {label!r} of {dtype}", column.to_frame()))
    labels = pd.DataFrame(columns=frame.columns, dtype="float64")
    parts.append((f"the column labels {list(frame.columns)}", labels))
    index = pd.DataFrame(index=frame.index)
    parts.append((f"the index of {frame.index.dtype}", index))
    # The first that fails by itself is the one to name.
    for what, part in parts:
        try:
            keep(part)
        except (UnkeepableError, NotImplementedError):
            return what
    return "the frame as a whole"


def divisions_to_json(divisions: Sequence[Any]) -> JSONObject | None:
    """Return known divisions as JSON, ``None`` for unknown ones."""
    if divisions[0] is None:
        return None
    values = list(map(_without_numpy, divisions))
    # pandas would make floats of the integers in 1 and 2.5.
    is_mixed = {type(value) for value in values} == {int, float}
    dtype = object if is_mixed else None
    index = pd.Index(values, dtype=dtype)
    return frame_to_json(pd.DataFrame({"divisions": index}))


def _without_numpy(value: Any) -> Any:
    """Return a number of numpy's as one of Python's, and any other value as it is."""
    if isinstance(value, np.number):
        return value.item()
    return value


def divisions_from_json(
    document: JSONObject | None, n_partitions: int
) -> tuple[Any, ...]:
    """Return the divisions that `divisions_to_json` made the JSON of."""
    if document is None:
        return (None,) * (n_partitions + 1)
    return tuple(frame_from_json(document)["divisions"])


def ends_to_json(index: pd.Index) -> JSONObject | None:
    """Return the first and the last value of a sorted index as JSON, with their type.

    ``None`` where they bound nothing, or where JSON does not hold them.
    """
    if not _is_sorted(index):
        return None
    try:
        return frame_to_json(pd.DataFrame({"ends": index[[0, -1]]}))
    except RoundTripError:
        # Without them the divisions are unknown, which is no error.
        return None


def ends_from_json(document: JSONObject) -> tuple[Any, Any]:
    """Return the two values that `ends_to_json` made the JSON of."""
    first, last = frame_from_json(document)["ends"]
    return first, last


def _is_sorted(index: pd.Index) -> bool:
    """Return whether the ends of an index bound all of its values."""
    if len(index) == 0 or index.nlevels > 1:
        return False
    # Categories are sorted by their place in the list of categories, not by value.
    if isinstance(index.dtype, pd.CategoricalDtype):
        return False
    return bool(index.is_monotonic_increasing)


def index_range(index: pd.Index) -> tuple[Any, Any]:
    """Return the smallest and the largest value of a sorted index for people to read.

    They are plain JSON, as the manifest has them; None and None for any other index.
    """
    if not _is_sorted(index):
        return None, None
    return _json_scalar(index[0]), _json_scalar(index[-1])


def _json_scalar(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str | int | float | bool):
        return value
    # Times and all else for which JSON has no type.
    return str(value)
