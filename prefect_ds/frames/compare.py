"""The exact comparison of two frames, which proves that a file gives a frame back."""

import contextlib
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd

from prefect_ds.frames.base import Array, Framed, array_of, is_object
from prefect_ds.frames.index import known_levels
from prefect_ds.frames.zones import zone_library

_OTHER_VALUES = "other values come back"


def difference(left: Framed, right: Framed) -> str | None:
    """Return in a few words how two frames or series differ; ``None``: they do not.

    Stricter than `pandas.testing.assert_frame_equal`: exact floats, the sign of zero,
    attrs, and the types and reprs of objects count as well.

    Examples
    --------
    >>> difference(pd.DataFrame({"x": [0.0]}), pd.DataFrame({"x": [-0.0]}))
    "column 'x': a zero loses its sign"
    """
    if type(left) is not type(right):
        return f"a {type(left).__name__} comes back as a {type(right).__name__}"
    if isinstance(left, pd.Series) or isinstance(right, pd.Series):
        return _series_difference(left, right)
    if left.shape != right.shape:
        return (
            f"{left.shape[0]} rows and {left.shape[1]} columns come back as "
            f"{right.shape[0]} and {right.shape[1]}"
        )
    change = _notes_difference(left, right)
    if change is not None:
        return change
    change = _index_difference(left.columns, right.columns)
    if change is not None:
        return f"the column labels: {change}"
    change = _index_difference(left.index, right.index)
    if change is not None:
        return f"the index: {change}"
    for i, label in enumerate(left.columns):
        ours, theirs = array_of(left.iloc[:, i]), array_of(right.iloc[:, i])
        change = _array_difference(ours, theirs)
        if change is not None:
            return f"column {label!r}: {change}"
    return None


def _series_difference(left: Any, right: Any) -> str | None:
    if len(left) != len(right):
        return f"{len(left)} values come back as {len(right)}"
    change = _notes_difference(left, right)
    if change is not None:
        return change
    if type(left.name) is not type(right.name) or repr(left.name) != repr(right.name):
        return f"its name {left.name!r} comes back as {right.name!r}"
    change = _index_difference(left.index, right.index)
    if change is not None:
        return f"the index: {change}"
    return _array_difference(array_of(left), array_of(right))


def _notes_difference(left: Framed, right: Framed) -> str | None:
    """Compare what pandas keeps beside the data: attrs and flags."""
    change = _attrs_difference(left.attrs, right.attrs)
    if change is None and left.flags != right.flags:
        return "its flags change"
    return change


def _attrs_difference(left: dict[Any, Any], right: dict[Any, Any]) -> str | None:
    if list(left) != list(right):
        return "its attrs change"
    for key, value in left.items():
        if not _is_same(value, right[key]):
            return f"attrs[{key!r}] changes"
    return None


def _is_same(left: Any, right: Any) -> bool:
    """Return whether two values of attrs are the same, whatever they are."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        # In order, too: a later task may go by it.
        if list(left) != list(right):
            return False
        return all(_is_same(value, right[key]) for key, value in left.items())
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(_is_same, left, right))
    if isinstance(left, pd.DataFrame | pd.Series):
        return difference(left, right) is None
    # The `==` of an array is no boolean, and that of a user's class may do anything.
    with contextlib.suppress(Exception):
        if left == right:
            return True
    # An object without an `==` of its own equals only itself, whatever it holds.
    # By cloudpickle, as a class of the user's script may have no name here.
    return bool(cloudpickle.dumps(left) == cloudpickle.dumps(right))


def _index_difference(left: pd.Index, right: pd.Index) -> str | None:
    if list(map(repr, left.names)) != list(map(repr, right.names)):
        return f"the names {list(left.names)} come back as {list(right.names)}"
    if left.nlevels != right.nlevels:
        return f"{left.nlevels} levels come back as {right.nlevels}"
    if getattr(left, "freq", None) != getattr(right, "freq", None):
        return "the freq is lost"
    for level in range(left.nlevels):
        change = _array_difference(
            array_of(left.get_level_values(level)),
            array_of(right.get_level_values(level)),
        )
        if change is not None:
            return change
    if isinstance(left, pd.MultiIndex) and isinstance(right, pd.MultiIndex):
        # A level may hold values that no row has, and a groupby makes groups of them.
        for ours, theirs in zip(known_levels(left), known_levels(right), strict=True):
            if len(ours) != len(theirs) or _index_difference(ours, theirs) is not None:
                return "its levels change"
    # "equiv": a RangeIndex may come back as an Index of the same numbers.
    try:
        pd.testing.assert_index_equal(left, right, exact="equiv")
    except (AssertionError, ValueError, TypeError):
        return "its levels change"
    return None


def _array_difference(left: Array, right: Array) -> str | None:
    dtype = left.dtype
    if isinstance(dtype, pd.CategoricalDtype) and type(dtype) is type(right.dtype):
        # Not by dtype, which a message could only call `category` on both sides.
        return _categorical_difference(left, right)
    if dtype != right.dtype:
        return f"{dtype} comes back as {right.dtype}"
    has_zone = isinstance(dtype, pd.DatetimeTZDtype)
    if has_zone and zone_library(dtype) != zone_library(right.dtype):
        return "its time zone comes back as one of another library"
    if isinstance(dtype, np.dtype) and not is_object(dtype):
        return _number_difference(np.asarray(left), np.asarray(right))
    if isinstance(dtype, pd.StringDtype):
        if left.equals(right):
            return None
        return _OTHER_VALUES
    try:
        pd.testing.assert_series_equal(
            pd.Series(left, dtype=dtype, copy=False),
            pd.Series(right, dtype=dtype, copy=False),
            check_exact=True,
        )
    except (AssertionError, ValueError, TypeError):
        # The last two: cells without a plain ``==``.
        return _OTHER_VALUES
    # pandas finds the objects 1, 1.0 and True equal.
    if is_object(dtype):
        return _object_difference(left, right)
    return None


def _categorical_difference(left: Array, right: Array) -> str | None:
    change = _array_difference(array_of(left.categories), array_of(right.categories))
    if change is not None or left.dtype.ordered != right.dtype.ordered:
        return "other categories come back"
    if not np.array_equal(left.codes, right.codes):
        return _OTHER_VALUES
    return None


def _object_difference(left: Array, right: Array) -> str | None:
    # repr tells 1 from True, -0.0 from 0.0, a list from a tuple, at any depth.
    for ours, theirs in zip(left, right, strict=True):
        if type(ours) is not type(theirs) or repr(ours) != repr(theirs):
            return "other objects come back"
    return None


def _number_difference(left: np.ndarray, right: np.ndarray) -> str | None:
    """Compare two arrays of one dtype of numbers or times."""
    kind = left.dtype.kind
    if kind in "mM":
        # NaT equals nothing; its ticks equal themselves.
        left, right = left.view("i8"), right.view("i8")
    if kind not in "fc":
        if np.array_equal(left, right):
            return None
        return _OTHER_VALUES
    if kind == "c":
        # Both halves have a sign of zero, and may be NaN, by themselves.
        left = np.stack([left.real, left.imag])
        right = np.stack([right.real, right.imag])
    if not np.array_equal(left, right, equal_nan=True):
        return _OTHER_VALUES
    # The sign of NaN means nothing.
    is_number = ~np.isnan(left)
    if not np.array_equal(np.signbit(left) & is_number, np.signbit(right) & is_number):
        return "a zero loses its sign"
    return None
