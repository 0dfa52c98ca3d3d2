"""Task runs that end on the client, so that they need not be submitted.

Runs on the client. A hit takes a tenth of a millisecond, its submission to a cluster
five. So where all inputs of a task are known, the client looks for its checkpoint
before it submits the task, through the same steps as a worker, up to the point where
the task's code would run. Prefect's own tasks between those of the user, and the
parents of mapped children, end here as well.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import prefect
from prefect import triggers
from prefect.core import Parameter
from prefect.engine.flow_runner import run_task
from prefect.engine.result import Result
from prefect.engine.state import State
from prefect.tasks.control_flow.conditional import CompareValue, Merge
from prefect.tasks.core.collections import Dict, List, Tuple
from prefect.tasks.core.constants import Constant
from prefect.tasks.core.operators import GetItem

from prefect_ds.engine.planned_values import PLAIN
from prefect_ds.engine.release import TaskRun
from prefect_ds.engine.submission import BY_EDGE, Submitted, map_submitted
from prefect_ds.engine.task_checkpoint import Hit, TemplateNames, raw_input
from prefect_ds.storage.local_files import LocalFiles
from prefect_ds.task_runner import DSTaskRunner

_TRIGGERS = {
    triggers.all_finished,
    triggers.all_successful,
    triggers.all_failed,
    triggers.any_successful,
    triggers.any_failed,
    triggers.not_all_skipped,
}
"""Prefect's own triggers. One of the user's is called on a worker, and only once."""


def ended_here(run: TaskRun, call: Mapping[str, Any]) -> State | None:
    """Return the final state of a task run that needs no worker; ``None`` for others.

    Parameters
    ----------
    run
        The task run.
    call
        The arguments of ``run_task``, with what was submitted before.
    """
    if not _may_end_here(run, call):
        return None
    states = {name: map_submitted(call[name], _state_of) for name in BY_EDGE}
    if not _all_known(states):
        return None
    here = {**call, **states, "task_runner_cls": _ClientTaskRunner}
    try:
        ended: State = run_task(**here)
    except _NeedsAWorker:
        return None
    return ended


def _may_end_here(run: TaskRun, call: Mapping[str, Any]) -> bool:
    task = run.task
    if call["task_runner_cls"] is not DSTaskRunner or call["state"] is not None:
        return False
    # Functions of the user's are called where the task runs.
    if callable(task.task_run_name) or callable(task.target):
        return False
    return task.trigger in _TRIGGERS


def _state_of(submitted: Submitted) -> Any:
    return submitted.future


def _all_known(value: Any) -> bool:
    if type(value) is dict:
        return all(map(_all_known, value.values()))
    if type(value) is list:
        return all(map(_all_known, value))
    return isinstance(value, State) and value.is_finished()


_logger = logging.getLogger("prefect.prefect_ds.engine.client_hits")


class _NeedsAWorker(BaseException):
    """The task's code has to run. Prefect's steps let a BaseException pass."""


class _ClientTaskRunner(DSTaskRunner):
    """Takes Prefect's steps with a task up to the point where its code would run."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held_log = _HeldLog(prefect.utilities.logging.get_logger("DSTaskRunner"))
        self.logger = self._held_log  # type: ignore[assignment]
        self._hit: Hit | None = None

    def run(self, *args: Any, **kwargs: Any) -> State:
        """Return the final state, unless the task's code has to run."""
        final: State = super().run(*args, **kwargs)
        self._held_log.release()
        return final

    def set_task_to_running(self, state: State, inputs: dict[str, Result]) -> State:
        """Prefect's change from Pending to Running, for what can end here."""
        if self.handler is None:
            if not _is_prefects_own(self, inputs):
                raise _NeedsAWorker
        else:
            self._hit = self._found(inputs)
        self._held_log.release()
        return super().set_task_to_running(state, inputs=inputs)

    def _found(self, inputs: dict[str, Result]) -> Hit:
        handler = self.handler
        assert handler is not None
        # A request to an object store takes longer than a submission, and workers make
        # them side by side.
        files = handler.store.files
        if not isinstance(files, LocalFiles):
            raise _NeedsAWorker
        try:
            # Nothing there: no input has to be digested here and on the worker again.
            path = handler.render(TemplateNames(inputs, self.task))
            if files.status(path, handler.kind) is None:
                raise _NeedsAWorker
            checkpoint = self._taken_checkpoint(inputs)
            assert checkpoint is not None
            hit = checkpoint.find()
        except Exception as error:
            # The worker meets it again, and says so.
            _logger.debug("%r is looked up by a worker: %r", self.task.name, error)
            raise _NeedsAWorker from error
        if not isinstance(hit, Hit):
            raise _NeedsAWorker
        return hit

    def find_checkpoint(self) -> State | None:
        """Return a Success with the checkpoint."""
        if self._hit is None or self._checkpoint is None:
            return None
        return self._checkpoint.loaded(self._hit)


def _is_prefects_own(runner: DSTaskRunner, inputs: Mapping[str, Result]) -> bool:
    """Return whether the task's code is Prefect's and needs no data."""
    task = runner.task
    if isinstance(task, Parameter | Constant):
        return True
    if task.result is not None:
        return False
    if isinstance(task, List | Tuple | Dict | Merge):
        return True
    raw = {name: raw_input(result) for name, result in inputs.items()}
    if isinstance(task, GetItem):
        return type(raw["task_result"]) in PLAIN
    if isinstance(task, CompareValue):
        return type(raw["value"]) in _COMPARABLE and type(task.value) in _COMPARABLE
    return False


_COMPARABLE = {str, int, float, bool, type(None)}


class _HeldLog(logging.LoggerAdapter):  # type: ignore[type-arg]
    """Holds log lines back until it is known that no worker writes them again."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger)
        self._held: list[tuple[int, Any, tuple[Any, ...], Any]] | None = []

    def log(self, level: int, msg: Any, *args: Any, **kwargs: Any) -> None:
        """Hold a line, or write it if all others were written."""
        if self._held is None:
            self.logger.log(level, msg, *args, **kwargs)
        else:
            self._held.append((level, msg, args, kwargs))

    def release(self) -> None:
        """Write the lines that were held, and from now on every line at once."""
        held = self._held or []
        self._held = None
        for level, msg, args, kwargs in held:
            self.logger.log(level, msg, *args, **kwargs)
