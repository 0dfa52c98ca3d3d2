"""The comparison of two values type for type, with the place where they differ."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from prefect_ds.frames import compare
from prefect_ds.objects.base import key_step, name_of, shortened

Difference: TypeAlias = tuple[str, str]
"""The way from a value to the place, such as ``["by"][3]``, and words."""


def difference(left: Any, right: Any) -> Difference | None:
    """Return where two values first differ, and how; ``None``: they are the same.

    Types count at every place: 1, 1.0 and True are three values, and so are a list and
    a tuple. NaN is the same as NaN, 0.0 is not -0.0, and a dict has an order. Of
    objects of classes that are not known here, only the class is compared.

    Examples
    --------
    >>> difference({"by": [1, 2.0]}, {"by": [1, 2]})
    ('["by"][1]', 'a float comes back as an int')
    """
    return _Comparison().compare(left, right)


class _Comparison:
    def __init__(self) -> None:
        self.under_way: set[tuple[int, int]] = set()
        """Pairs of collections: a value may hold itself."""

    def compare(self, left: Any, right: Any) -> Difference | None:
        if type(left) is not type(right):
            ours, theirs = _a(type(left)), _a(type(right))
            return "", f"{ours} comes back as {theirs}"
        if isinstance(left, np.ndarray):
            return self._arrays(left, right)
        if isinstance(left, pd.DataFrame | pd.Series):
            words = compare.difference(left, right)
            if words is None:
                return None
            return "", words
        if not isinstance(left, dict | list | tuple | set | frozenset):
            if _is_same(left, right):
                return None
            return "", _other(left, right)
        pair = (id(left), id(right))
        # A value that holds itself comes by here again.
        if left is right or pair in self.under_way:
            return None
        self.under_way.add(pair)
        if len(left) != len(right):
            return "", f"{len(left)} items come back as {len(right)}"
        if isinstance(left, dict):
            return self._dicts(left, right)
        if isinstance(left, list | tuple):
            return self._items(left, right)
        return self._items(_in_order(left), _in_order(right))

    def _items(self, left: Any, right: Any) -> Difference | None:
        for i, (ours, theirs) in enumerate(zip(left, right, strict=True)):
            change = self.compare(ours, theirs)
            if change is not None:
                return f"[{i}]{change[0]}", change[1]
        return None

    def _dicts(self, left: Any, right: Any) -> Difference | None:
        for (key, ours), (other, theirs) in zip(
            left.items(), right.items(), strict=True
        ):
            change = self.compare(key, other)
            if change is not None:
                return "", f"its key {shortened(key)} comes back as {shortened(other)}"
            change = self.compare(ours, theirs)
            if change is not None:
                return f"{key_step(key)}{change[0]}", change[1]
        return None

    def _arrays(self, left: Any, right: Any) -> Difference | None:
        if left.dtype != right.dtype or left.shape != right.shape:
            ours, theirs = (
                f"{values.dtype} of shape {values.shape}" for values in (left, right)
            )
            return "", f"an array of {ours} comes back as one of {theirs}"
        if getattr(left, "hardmask", None) != getattr(right, "hardmask", None):
            return "", "an array with a hard mask comes back without it"
        if left.dtype.hasobject:
            return self._items(left.ravel().tolist(), right.ravel().tolist())
        # Bytes, for the sign of zero and for what a mask hides.
        if left.tobytes() == right.tobytes() or _equal_cells(left, right):
            return None
        return "", "other values come back"


def _equal_cells(left: Any, right: Any) -> bool:
    """Return whether cells are equal: padding, and the bits of a NaN, do not count."""
    if left.dtype.names is not None:
        return all(_equal_cells(left[name], right[name]) for name in left.dtype.names)
    if left.dtype.kind not in "fcMm":
        return bool((left == right).all())
    # NaT of times, NaN of numbers.
    is_missing = np.isnat if left.dtype.kind in "Mm" else np.isnan
    is_nan = is_missing(left)
    is_equal = (left == right) | (is_nan & (right != right))
    # -0.0 equals 0.0, and divides otherwise.
    if left.dtype.kind == "f":
        is_equal &= is_nan | (np.signbit(left) == np.signbit(right))
    return bool(is_equal.all())


def _in_order(items: Any) -> list[Any]:
    # Two equal sets may give their items in different orders.
    return sorted(items, key=lambda item: (name_of(type(item)), repr(item)))


def _is_same(left: Any, right: Any) -> bool:
    """Return whether two single values of one type are the same."""
    kind = type(left)
    # By repr: NaN equals nothing, and zeros have signs.
    if kind is float or kind is complex or isinstance(left, np.generic):
        return repr(left) == repr(right)
    if kind in (str, bytes, bytearray, int, bool):
        return bool(left == right)
    if kind.__module__ in ("datetime", "decimal", "pandas", "fractions", "uuid"):
        return repr(left) == repr(right)
    # A class of any kind: few say when two of their objects are equal.
    return True


def _a(cls: type) -> str:
    name = name_of(cls)
    article = "an" if name[0] in "aeiou" else "a"
    return f"{article} {name}"


def _other(left: Any, right: Any) -> str:
    return f"{shortened(left)} comes back as {shortened(right)}"
