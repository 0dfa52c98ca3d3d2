"""What a failed task leaves in memory. Used where the task ran."""

from __future__ import annotations

import inspect
import traceback
from types import FrameType

_MAY_BE_SUSPENDED = (
    inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
    | inspect.CO_ITERABLE_COROUTINE
)


def free_locals(error: BaseException) -> None:
    """Free the local variables of a failed task; the traceback keeps its lines.

    A state keeps its error, and an error its frames: a task that failed in the middle
    of its work would hold all of its data until the run ends.
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        for frame, _ in traceback.walk_tb(cause.__traceback__):
            _clear(frame)
        cause = cause.__cause__ or cause.__context__


def _clear(frame: FrameType) -> None:
    """Clear a frame and its callers, up to the first that still runs."""
    for caller, _ in traceback.walk_stack(frame):
        # Unlike `traceback.clear_frames`: a generator or coroutine may have caught the
        # error and wait for something else on another thread. Clearing would end it.
        if caller.f_code.co_flags & _MAY_BE_SUSPENDED:
            continue
        try:
            caller.clear()
        except RuntimeError:
            return
