"""A small cache of what this process just wrote or read, bounded in bytes: spares the next task the read.

What it hands out are deep copies, which cost a tenth of a read: copy-on-write guards a
frame's columns, but ``.array`` still reaches the shared values below.
"""

from __future__ import annotations

import pickle
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
    # Cells of an object column (lists, dicts) are shared even between deep copies, as
    # are the levels of a MultiIndex.
    if not _kept.n or isinstance(frame.index, pd.MultiIndex):
        return
    arrays = [column.array for _, column in frame.items()]
    if not isinstance(frame.index, pd.RangeIndex):
        arrays.append(frame.index.array)
    if any(map(_has_objects, arrays)):
        return
    labels_bytes = frame.columns.memory_usage(deep=True) + len(
        pickle.dumps(frame.attrs)
    )
    size_bytes = int(labels_bytes) + sum(map(_held_bytes, arrays))
    if size_bytes <= _kept.n // 2:
        # Deep: what the task still holds must not change what is kept, nor a few rows
        # keep a big frame alive.
        copy = _copied(frame)
        with _lock:
            _kept[content] = (size_bytes, copy)


def _has_objects(array: Any) -> bool:
    return bool(
        pd.api.types.is_object_dtype(
            array.categories if isinstance(array, pd.Categorical) else array
        )
    )


def _held_bytes(array: Any) -> int:
    """Return the bytes that a copy of an array keeps alive: Arrow's share whole buffers with what they are cut from."""
    if isinstance(array, pd.Categorical):
        return int(array.codes.nbytes) + _held_bytes(array.categories.array)
    chunked = getattr(array, "_pa_array", None)
    return int(array.nbytes if chunked is None else chunked.get_total_buffer_size())


def _copied(frame: pd.DataFrame) -> pd.DataFrame:
    copy = frame.copy(deep=True)
    copy.index = frame.index.copy(
        deep=True
    )  # Which pandas shares between deep copies of a frame.
    return copy


def get(content: str) -> pd.DataFrame | None:
    """Return a copy of the frame with this content, ``None`` where it is not kept."""
    with _lock:
        found = _kept.get(content)
    return None if found is None else _copied(found[1])
