"""A small cache of what this process just wrote or read, bounded in bytes: spares the next task the read.

What it hands out are deep copies, which cost a tenth of a read: copy-on-write guards a frame's columns, but ``.array``
still reaches the shared values below.
"""

from __future__ import annotations

import threading
from typing import Any

import pandas as pd
from zict import LRU

DEFAULT_BYTES = 128 * 2**20
"""Bound of a process that was given no other."""

_lock = threading.Lock()


def _weight(_key: str, kept: tuple[int, Any]) -> int:
    return kept[0]


_kept: LRU[str, tuple[int, Any]] = LRU(DEFAULT_BYTES, {}, weight=_weight)


def resize(limit_bytes: int) -> None:
    """Bound the cache of this process; 0 switches it off."""
    with _lock:
        if _kept.n != limit_bytes:
            _kept.n = limit_bytes
            _kept.evict_until_below_target()


def put(content: str, frame: pd.DataFrame) -> None:
    """Keep a frame under the digest of its content, if it fits and nobody could change it from outside."""
    arrays = [*(column.array for _, column in frame.items()), frame.index.array]
    size_bytes = sum(array.nbytes for array in arrays)
    # Cells of an object column (lists, dicts) are shared even between deep copies.
    if size_bytes <= _kept.n // 2 and not any(pd.api.types.is_object_dtype(array.dtype) for array in arrays):
        with _lock:
            _kept[content] = (size_bytes, frame.copy(deep=True))


def get(content: str) -> pd.DataFrame | None:
    """Return a copy of the frame with this content, ``None`` where it is not kept."""
    with _lock:
        found = _kept.get(content)
    return None if found is None else found[1].copy(deep=True)
