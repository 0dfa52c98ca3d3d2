"""A small cache of frames that this process has just written or read.

It spares the next task the read, and is bounded in bytes. It hands out deep copies,
which cost a tenth of a read: copy-on-write guards the columns of a frame, but
``.array`` still reaches the shared values below.

Each process has its own: the workers and the client. The scheduler has none.
"""

from __future__ import annotations

import pickle
import threading
from typing import Any, TypeAlias

import pandas as pd
from zict import LRU

from prefect_ds.frames.base import Framed

DEFAULT_BYTES = 128 * 2**20
"""The bound if none is set."""

Key: TypeAlias = tuple[type, str]
"""The class of the handler that reads the data, and the digest of their content."""

_lock = threading.Lock()


def _weight(_key: Key, kept: tuple[int, Any]) -> int:
    return kept[0]


_kept: LRU[Key, tuple[int, Any]] = LRU(DEFAULT_BYTES, {}, weight=_weight)


def resize(limit_bytes: int) -> None:
    """Bound the cache of this process; 0 switches it off."""
    with _lock:
        if _kept.n != limit_bytes:
            _kept.n = limit_bytes
            _kept.evict_until_below_target()


def put(key: Key, frame: Framed) -> None:
    """Keep a copy of a frame or series, if it fits and no task can change the copy.

    Deep copies share the cells of object columns (lists, dicts) and the levels of a
    MultiIndex, so frames with these are not kept.
    """
    if not _kept.n or isinstance(frame.index, pd.MultiIndex):
        return
    if isinstance(frame, pd.DataFrame):
        labels: pd.Index[Any] = frame.columns
        arrays = [column.array for _, column in frame.items()]
    else:
        labels = pd.Index([frame.name], tupleize_cols=False)
        arrays = [frame.array]
    if not isinstance(frame.index, pd.RangeIndex):
        arrays.append(frame.index.array)
    if any(map(_has_objects, arrays)):
        return
    size_bytes = int(labels.memory_usage(deep=True)) + len(pickle.dumps(frame.attrs))
    size_bytes += sum(map(_held_bytes, arrays))
    # One frame must not drive all others out.
    if size_bytes <= _kept.n // 2:
        # A deep copy: the task may change its frame later, and a few rows must not keep
        # a big frame alive.
        copy = _copied(frame)
        with _lock:
            _kept[key] = (size_bytes, copy)


def _has_objects(array: Any) -> bool:
    if isinstance(array, pd.Categorical):
        array = array.categories
    return bool(pd.api.types.is_object_dtype(array))


def _held_bytes(array: Any) -> int:
    """Return the bytes that a copy of an array keeps alive.

    A slice of an Arrow array shares the whole buffers of the array.
    """
    if isinstance(array, pd.Categorical):
        return int(array.codes.nbytes) + _held_bytes(array.categories.array)
    chunked = getattr(array, "_pa_array", None)
    if chunked is None:
        return int(array.nbytes)
    return int(chunked.get_total_buffer_size())


def _copied(frame: Framed) -> Framed:
    copy = frame.copy(deep=True)
    # pandas shares the index between deep copies of a frame.
    copy.index = frame.index.copy(deep=True)
    return copy


def get(key: Key) -> Framed | None:
    """Return a copy of the frame, ``None`` if it is not in the cache."""
    with _lock:
        kept = _kept.get(key)
    if kept is None:
        return None
    _, frame = kept
    return _copied(frame)
