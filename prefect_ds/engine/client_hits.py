"""Task runs that end on the client, so that they need not be submitted.

Runs on the client. A hit takes a tenth of a millisecond, its submission to a cluster
five. So where all inputs of a task are known, the client looks for its checkpoint
before it submits the task, through the same steps as a worker, up to the point where
the task's code would run. Prefect's own tasks between those of the user, and the
parents of mapped children, end here as well.

Where looks for mapped children go side by side, the steps of a child are taken, in
order, once the answers are there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Self

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

from prefect_ds.engine.client_looks import ClientLooks, FoundHit, Look
from prefect_ds.engine.plain_hits import is_plain, plain_hit
from prefect_ds.engine.planned_values import holds_references
from prefect_ds.engine.release import TaskRun
from prefect_ds.engine.submission import BY_EDGE, Submitted, map_submitted
from prefect_ds.engine.task_checkpoint import Hit, raw_input
from prefect_ds.engine.task_handler import is_taken_item
from prefect_ds.result_handler import ResultHandler
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


class ClientHits:
    """Ends task runs of one run of a flow on the client.

    Parameters
    ----------
    not_shared
        Folders in which only the workers look.
    """

    def __init__(self, not_shared: Iterable[str] = ()) -> None:
        self.looks = ClientLooks(not_shared)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.looks.close()

    def ended(
        self,
        run: TaskRun,
        call: Mapping[str, Any],
        look: Look | None = None,
    ) -> State | Look | None:
        """Return the final state of a task run that needs no worker.

        For a run whose checkpoint is being looked for, return the look, with which to
        ask again; for all others ``None``.

        Parameters
        ----------
        run
            The task run.
        call
            The arguments of ``run_task``, with what was submitted before.
        look
            The look that the first call returned.
        """
        if not _may_end_here(run, call):
            return None
        states = {name: map_submitted(call[name], _state_of) for name in BY_EDGE}
        if not _all_known(states):
            return None
        if is_plain(run, call, states):
            return plain_hit(run, call, states, self.looks, look)
        runner = partial(
            _ClientTaskRunner, looks=self.looks, look=look, waits=run.is_child
        )
        try:
            ended: State = run_task(**{**call, **states, "task_runner_cls": runner})
        except _NeedsAWorker:
            return None
        except _Looks as begun:
            return begun.look
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


_task_logger = prefect.utilities.logging.get_logger("DSTaskRunner")


class _NeedsAWorker(BaseException):
    """The task's code has to run. Prefect's steps let a BaseException pass."""


class _Looks(BaseException):
    """The checkpoint is being looked for, and the steps are taken once it is known."""

    def __init__(self, look: Look) -> None:
        super().__init__()
        self.look = look


class _ClientTaskRunner(DSTaskRunner):
    """Takes Prefect's steps with a task up to the point where its code would run.

    Parameters
    ----------
    *args, **kwargs
        As for :class:`DSTaskRunner`.
    looks
        The looks of this run of the flow.
    look
        The look for the checkpoint, if it was begun.
    waits
        Whether other children come, whose looks go side by side with this one.
    """

    def __init__(
        self,
        *args: Any,
        looks: ClientLooks,
        look: Look | None,
        waits: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._held_log = _HeldLog(_task_logger)
        self.logger = self._held_log  # type: ignore[assignment]
        self._looks = looks
        self._look = look
        self._waits = waits
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
            self._checkpoint, self._hit = self._found(self.handler, inputs)
        self._held_log.release()
        return super().set_task_to_running(state, inputs=inputs)

    def _found(self, handler: ResultHandler, inputs: dict[str, Result]) -> FoundHit:
        found = self._looks.find(
            self.task,
            handler,
            inputs,
            common=self._task_identity,
            refresh=self._refresh,
            is_needed=self._is_needed,
            look=self._look,
            waits=self._waits,
        )
        if found is None:
            raise _NeedsAWorker
        if isinstance(found, Future):
            raise _Looks(found)
        return found

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
    if task.result is not None and not is_taken_item(task):
        return False
    if isinstance(task, List | Tuple | Dict | Merge):
        return True
    raw = {name: raw_input(result) for name, result in inputs.items()}
    if isinstance(task, GetItem):
        return holds_references(raw["task_result"])
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
