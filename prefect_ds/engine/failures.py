"""The state of a failed task, and its memory. Used where the task ran."""

from __future__ import annotations

import inspect
import logging
import traceback
from types import FrameType

import prefect
from prefect.core import Flow
from prefect.engine.state import Failed

from prefect_ds.errors import DamagedCheckpointError, PrefectDSError

_MAY_BE_SUSPENDED = (
    inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
    | inspect.CO_ITERABLE_COROUTINE
)


def failed(error: PrefectDSError, task: str) -> Failed:
    """Return the state of a task that fails with an error of ours.

    A user can mend these errors, and our traceback does not help with that: one line
    goes to the log. Prefect would call the error unexpected.

    Parameters
    ----------
    error
        It becomes the state's result.
    task
        The name of the task's run.
    """
    if prefect.context.get("raise_on_exception"):
        raise error
    message = f"{type(error).__name__}: {error}"
    # What was set aside was logged where that was done, with the way back.
    level = logging.ERROR
    if isinstance(error, DamagedCheckpointError):
        level = logging.DEBUG
    _logger.log(level, "Task %r: %s", task, message)
    return Failed(message=message, result=error)


_logger = prefect.utilities.logging.get_logger("DSTaskRunner")


def failed_flow(error: Exception, flow: Flow) -> Failed:
    """Return the state of a flow that a check ends before it runs; log it in one line.

    Parameters
    ----------
    error
        It becomes the state's result.
    flow
        The flow. Its ``run`` would log the error a second time, as an unexpected one.
    """
    _logger.error(str(error))
    flow.logger.addFilter(_SaidOnce(flow.logger, repr(error)))
    return Failed(message=str(error), result=error)


class _SaidOnce(logging.Filter):
    """Drops the next record that calls an error unexpected, then removes itself."""

    def __init__(self, logger: logging.Logger, error: str) -> None:
        super().__init__()
        self._logger = logger
        self._error = error

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if message.startswith("Unexpected error") and message.endswith(self._error):
            self._logger.removeFilter(self)
            return False
        return True


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
            # It still runs, and so does all that has called it.
            return
