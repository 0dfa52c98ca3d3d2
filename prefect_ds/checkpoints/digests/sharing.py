"""Digests of values in pickles, for which the bytes of a pickle say too much.

A pickle tells two equal texts from one that occurs twice, columns of a frame in one
block from those in two, and the order in which this process walks a set. A value that
was computed may differ in these from an equal one that was computed from what was read.
"""

from __future__ import annotations

import datetime
import enum
import types
from typing import Any, Final

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionDtype
from pandas.tseries.offsets import BaseOffset

from prefect_ds.checkpoints.digests.code import is_library
from prefect_ds.checkpoints.digests.walk import (
    Encoder,
    Lookup,
    UndigestibleError,
    Walk,
)

MOST_PARTS: Final = 20_000
"""A value of more parts has no such digest: it would take longer than the pickle."""
MOST_BYTES: Final = 2**20
"""Nor has a value with more bytes of arrays and text, where they are counted."""

_TEXT: Final = (str, bytes, bytearray)
_CONTAINERS: Final = (list, tuple, dict, set, frozenset)
_CHANGING_LEAVES: Final = (bytearray, np.void)
_UNCHANGING: Final = frozenset([tuple, frozenset])
"""Sharing of such an object counts only where a changing one is inside."""
_UNCHANGING_BASES: Final = (
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    enum.Enum,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    datetime.tzinfo,
    np.dtype,
    ExtensionDtype,
    BaseOffset,
    pd.Index,
)


class SharingWalk(Walk):
    """A walk in which sharing counts: ``[a, a]`` is not ``[a, copy(a)]``.

    A task that changes one of two lists may change the other. Objects that cannot
    change are left out, as no task sees whether two of them are one.

    Parameters
    ----------
    lookup
        Finds the encoder of a class.
    counts_bytes
        Whether a value with many bytes is refused.
    """

    is_strict = True

    def __init__(self, lookup: Lookup, *, counts_bytes: bool) -> None:
        super().__init__(lookup)
        self._counts_bytes = counts_bytes
        self._n_parts = 0
        self._n_bytes = 0
        self._n_changing = 0

    def encode(self, value: Any) -> bytes:
        """Return the encoding of a value inside the one that is walked."""
        if isinstance(value, _TEXT):
            self._count(value, 0, len(value))
        return super().encode(value)

    def encode_apart(self, value: Any) -> bytes:
        """Return the encoding of an element of a set, whose order says nothing."""
        before = self._n_changing
        encoding = self.encode(value)
        if self._n_changing != before:
            raise UndigestibleError(type(value).__name__, why="it can change in a set")
        return encoding

    def _encoder(self, kind: type) -> tuple[Encoder, bool]:
        encoder, is_leaf = super()._encoder(kind)
        return encoder, is_leaf and not issubclass(kind, _CHANGING_LEAVES)

    def _encode_node(self, value: Any, encoder: Encoder) -> bytes:
        if isinstance(value, types.FunctionType) and not is_library(value):
            # Its closure may have objects that the value has, too.
            raise UndigestibleError("function", why="its code is in the pickle")
        key = id(value)
        if key in self._known:
            encoding = self._known[key][1]
            # A mention of an object can change where the object can.
            self._n_changing += encoding.startswith(b"@")
            return encoding
        self._count(value, *_extent(value))
        before = self._n_changing
        encoding = super()._encode_node(value, encoder)
        if self._n_changing != before or _changes(type(value)):
            self._n_changing += 1
            self._known[key] = (value, b"@%d" % self._n_changing)
        return encoding

    def _count(self, value: Any, n_parts: int, n_bytes: int) -> None:
        self._n_parts += n_parts
        if self._counts_bytes:
            self._n_bytes += n_bytes
        if self._n_parts > MOST_PARTS or self._n_bytes > MOST_BYTES:
            raise UndigestibleError(type(value).__name__, why="it is in a large value")


def _changes(kind: type) -> bool:
    if kind in _UNCHANGING or issubclass(kind, _UNCHANGING_BASES):
        return False
    return kind.__module__.partition(".")[0] != "pyarrow"


def _extent(value: Any) -> tuple[int, int]:
    """Return the numbers of parts and bytes of a value, as far as they are known."""
    if isinstance(value, pd.DataFrame):
        return 1, int(value.memory_usage(index=False).sum())
    if type(value) not in _CONTAINERS:
        n_bytes = getattr(value, "nbytes", 0)
        # A class has the property itself.
        return 1, n_bytes if isinstance(n_bytes, int) else 0
    if len(value) > MOST_PARTS:
        return len(value), 0
    items = [*value, *value.values()] if type(value) is dict else value
    n_bytes = sum(len(item) for item in items if isinstance(item, _TEXT))
    return 1 + len(value), n_bytes
