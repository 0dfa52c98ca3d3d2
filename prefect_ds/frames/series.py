"""A Series as a frame of one column, and the note that makes it a Series again.

The column's label is text, as every file type has it; the note has the real name.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from typing import Any, Final, cast

import pandas as pd

from prefect_ds.frames.base import JSONObject, UnkeepableError
from prefect_ds.frames.index import (
    index_from_json,
    index_to_json,
    name_from_json,
    name_to_json,
)

_LABEL: Final = "label"
"""Key of a name that is kept as a label of columns is."""

_NO_NAME: Final = "0"
"""The label of a series without a name, as pandas has it."""


def to_frame(series: pd.Series[Any]) -> tuple[pd.DataFrame, JSONObject]:
    """Return a frame with the values of a series as its only column, and the note.

    Raises
    ------
    UnkeepableError
        The name of the series has no JSON from which it could be restored.

    Examples
    --------
    >>> to_frame(pd.Series([0.5], name=7))
    (     7
    0  0.5, {'name': 7})
    """
    note = note_of(series)
    return series.to_frame(label_of(series)), note


def note_of(series: pd.Series[Any]) -> JSONObject:
    """Return the note that a frame needs to become a series again: its name.

    Raises
    ------
    UnkeepableError
        The name has no JSON from which it could be restored.
    """
    try:
        label_of(series).encode()
    except UnicodeEncodeError as error:
        raise UnkeepableError(
            f"{series.name!r} has half a character: {error}"
        ) from error
    return {"name": _name_to_json(series.name)}


def name_from_note(note: Mapping[str, Any]) -> Hashable:
    """Return the name of the series that a note is of."""
    return _name_from_json(note["name"])


def label_of(series: pd.Series[Any]) -> str:
    """Return the label of a series in a file.

    Examples
    --------
    >>> label_of(pd.Series([1], name=("rain", 2024))), label_of(pd.Series([1]))
    ('rain_2024', '0')
    """
    name = series.name
    if name is None:
        return _NO_NAME
    if isinstance(name, tuple):
        return "_".join(map(str, name)) or _NO_NAME
    return str(name) or _NO_NAME


def from_frame(frame: pd.DataFrame, note: Mapping[str, Any]) -> pd.Series[Any]:
    """Return the only column of a frame as the series that the note is of.

    Raises
    ------
    UnkeepableError
        The frame has another number of columns.
    """
    if frame.shape[1] != 1:
        raise UnkeepableError(
            f"the file gives {frame.shape[1]} columns, where a Series has one"
        )
    series = frame.iloc[:, 0]
    series.name = name_from_note(note)
    # `iloc` need not carry them over.
    series.attrs = frame.attrs
    allows_duplicates = frame.flags.allows_duplicate_labels
    cast(Any, series).flags.allows_duplicate_labels = allows_duplicates
    return series


def _name_to_json(name: Hashable) -> Any:
    """Return the name of a series as JSON: as that of an index, or as a label.

    ``frame.loc[day]`` is a series whose name is a ``Timestamp``.
    """
    reason = ""
    for encode in (name_to_json, _label_to_json):
        try:
            encoded = encode(name)
            back = _name_from_json(json.loads(json.dumps(encoded)))
        except (TypeError, ValueError) as error:
            reason = f"{name!r}: {error}"
            continue
        # Not `==`: 1, 1.0 and True are three names.
        if type(back) is type(name) and repr(back) == repr(name):
            return encoded
        reason = f"{name!r} comes back as {back!r}"
    raise UnkeepableError(reason)


def _label_to_json(name: Hashable) -> JSONObject:
    index: pd.Index[Any] = pd.Index([name], tupleize_cols=False)
    return {_LABEL: index_to_json(index)}


def _name_from_json(name: Any) -> Hashable:
    if isinstance(name, dict) and _LABEL in name:
        return cast(Hashable, index_from_json(name[_LABEL])[0])
    return name_from_json(name)
