"""How far a write of many parts is: said where it is made, heard where it is shown.

A write on a worker is heard by the function that runs its task there, which hands it
on to the client.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple


class WriteStep(NamedTuple):
    """How far a write is."""

    task: str
    """The slug of the task."""
    path: str
    """The path of the checkpoint."""
    n_written: int
    """Partitions that this write has finished."""
    n_taken_over: int
    """Partitions that a stopped write had finished."""
    n_partitions: int
    is_over: bool = False


Listener = Callable[[WriteStep], None]

_listeners: dict[Listener, int | None] = {}


@contextlib.contextmanager
def listening(listener: Listener, thread: int | None = None) -> Iterator[None]:
    """Have a listener called for the steps of all writes in this process.

    Parameters
    ----------
    listener
        Called with every step, in any thread.
    thread
        The number of a thread; only tasks that it runs are heard.
    """
    _listeners[listener] = thread
    try:
        yield
    finally:
        _listeners.pop(listener, None)


def listeners() -> list[Listener]:
    """Return the listeners that are called during a write in this thread."""
    here = threading.get_ident()
    # Over a copy: a run in another thread may begin or end in the midst of it.
    return [
        listener for listener, thread in [*_listeners.items()] if thread in (None, here)
    ]
