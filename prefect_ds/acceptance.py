"""Checkpoints that count although the code of their task has changed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prefect import Flow
from prefect.core import Task

from prefect_ds.engine.chosen_tasks import chosen_tasks
from prefect_ds.engine.flow_plan import plan_flow
from prefect_ds.engine.task_checkpoint import TaskCheckpoint
from prefect_ds.engine.task_decision import TaskDecision
from prefect_ds.engine.task_handler import handler_of
from prefect_ds.storage.identity import Identity
from prefect_ds.storage.manifest import Manifest

logger = logging.getLogger("prefect.prefect_ds.acceptance")


@dataclass(frozen=True, slots=True)
class Accepted:
    """A checkpoint that was stale, and counts from now on."""

    task: str
    """The task's name, with the index of a mapped child."""
    path: str
    difference: str
    """What had changed, in words."""


def accept(
    flow: Flow,
    tasks: Iterable[Task | str],
    parameters: Mapping[str, Any] | None = None,
    *,
    inputs: bool = False,
) -> list[Accepted]:
    """Let the stale checkpoints of some tasks count, and return them.

    The user says that a change of the tasks' code or of the handlers' options does not
    matter. Every byte of a checkpoint is verified, its manifest gets the identity that
    the task has now, and the manifest's history says what was accepted. No code of
    yours runs.

    Parameters
    ----------
    flow
        The flow, with the code as it is now.
    tasks
        Tasks of the flow, or their names.
    parameters
        As for ``flow.run(parameters=...)``.
    inputs
        Accept also checkpoints that have another value of an input or a setting.
        Otherwise they stay stale, and a line in the log names them.

    Notes
    -----
    The log names every run of these tasks that has no checkpoint to accept, because it
    is gone, damaged or freed.

    Raises
    ------
    ValueError
        The flow has no such task, or the task has no handler; or a parameter is unknown
        or missing.
    DamagedCheckpointError
        The bytes of a checkpoint are not those that were written. The checkpoints
        before it have been accepted.

    Examples
    --------
    >>> import tempfile, pandas as pd
    >>> from prefect import Flow, task
    >>> from prefect_ds import PandasResultHandler, accept
    >>> kept = PandasResultHandler(f"{tempfile.mkdtemp()}/a.parquet")
    >>> with Flow("example") as flow:
    ...     table = task(lambda: pd.DataFrame(), name="table", result=kept)()
    >>> accept(flow, ["table"])
    []
    """
    chosen = chosen_tasks(flow, tasks, "tasks")
    for task in chosen:
        if handler_of(task, flow.result) is None:
            raise ValueError(
                f"task {task.name!r} has no handler that keeps its result: there is "
                "nothing to accept"
            )
    accepting = _Accepting(chosen, inputs)
    names = {task.name for task in chosen}
    # The plan asks `accepting` about every checkpoint that it meets, so a run that
    # is still to run has none to accept, or one that the log has named already.
    for run in plan_flow(flow, parameters or {}, accept=accepting):
        is_left = run.decision == "run" and run.path not in accepting.refused
        if run.task in names and is_left:
            logger.warning(
                "Task %r: no checkpoint was accepted, so it runs: %s",
                _run_name(run),
                run.reason,
            )
    return accepting.accepted


def _run_name(run: TaskDecision) -> str:
    """Return the name of a task's run, with the index of a mapped child."""
    if run.map_index is None:
        return run.task
    return f"{run.task}[{run.map_index}]"


class _Accepting:
    """Accepts the stale checkpoints of the chosen tasks, one by one in the plan."""

    def __init__(self, tasks: set[Task], inputs: bool) -> None:
        self._tasks = tasks
        self._inputs = inputs
        self.accepted: list[Accepted] = []
        self.refused: set[str] = set()
        """Paths that stay stale, for a reason that the log has given."""

    def __call__(
        self, task: Task, checkpoint: TaskCheckpoint, manifest: Manifest
    ) -> bool:
        """Return whether the checkpoint was accepted."""
        identity, earlier = checkpoint.origin.identity, manifest.identity
        if task not in self._tasks:
            return False
        # Without an identity it counts as it is: a person's file, for one.
        if identity is None or earlier is None:
            return False
        handler = checkpoint.handler
        difference = identity.difference(earlier, handler.match, handler.ignore)
        if not difference:
            # It counts. With match="inputs" its code may have changed all the same, and
            # every run would say so.
            return self._accept_code(checkpoint, manifest, identity, earlier)
        # What is left is a changed input or setting: the data of other inputs, which
        # the user may have overlooked.
        acceptable = identity.accepting(earlier, handler.ignore)
        refused = identity.difference(acceptable, handler.match, handler.ignore)
        if refused and not self._inputs:
            self.refused.add(checkpoint.path)
            logger.warning(
                "Task %r: the checkpoint at %s was not accepted: %s. "
                "accept(..., inputs=True) accepts it all the same",
                checkpoint.task,
                checkpoint.path,
                refused,
            )
            return False
        self._take(checkpoint, manifest, identity, difference)
        return True

    def _accept_code(
        self,
        checkpoint: TaskCheckpoint,
        manifest: Manifest,
        identity: Identity,
        earlier: Identity,
    ) -> bool:
        """Accept the code of a checkpoint that counts, though its code has changed."""
        # Bytecode of two versions of Python differs anyway: nothing shows a change.
        if not identity.code.compares_with(earlier.code):
            return False
        difference = identity.code.difference(earlier.code)
        if difference:
            # The inputs stay those that it was made with: only the code was accepted.
            with_code = earlier._replace(code=identity.code)
            self._take(checkpoint, manifest, with_code, difference)
        return bool(difference)

    def _take(
        self,
        checkpoint: TaskCheckpoint,
        manifest: Manifest,
        identity: Identity,
        difference: str,
    ) -> None:
        path = checkpoint.path
        checkpoint.handler.accept_as(path, manifest, identity, why=difference)
        self.accepted.append(Accepted(checkpoint.task, path, difference))
