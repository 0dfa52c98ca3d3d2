"""Results whose data were freed, computed again when a user looks at them.

Used on the client, by the states that a run returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prefect.core import Edge, Flow, Task
from prefect.engine.state import Mapped, State
from prefect.tasks.control_flow.conditional import CompareValue

from prefect_ds.checkpoints.lazy_result import raw_value
from prefect_ds.checkpoints.loader import Loader
from prefect_ds.checkpoints.reference import CheckpointReference
from prefect_ds.engine.freed import TaskRun
from prefect_ds.errors import CheckpointNotFoundError

Compute = Callable[[Task, int | None], State]
"""Runs the part of the flow that leads to a task run, and returns its state."""


class FreedResults:
    """Loads values, and first computes freed data that are not there.

    Parameters
    ----------
    states
        Every task's final state, with references.
    compute
        Computes the data of a task run.
    """

    def __init__(self, states: Mapping[Task, State], compute: Compute) -> None:
        self._compute = compute
        self._task_runs = _freed_by_path(states)
        self._computed: dict[str, CheckpointReference] = {}

    def __bool__(self) -> bool:
        """Whether data of a result were freed."""
        return bool(self._task_runs)

    def __call__(self, value: Any) -> Any:
        """Return a value with every reference in it loaded."""
        return _Loader(self)(value)

    def there(self, reference: CheckpointReference) -> CheckpointReference:
        """Return the reference to what was computed since, if anything was."""
        return self._computed.get(reference.path, reference)

    def computed(self, reference: CheckpointReference) -> CheckpointReference:
        """Compute freed data, and return the reference to them.

        Raises
        ------
        CheckpointNotFoundError
            They could not be computed.
        """
        state = self._compute(*self._task_runs[reference.path])
        raw = raw_value(state)
        # A failed run has its error in place of a reference.
        if not isinstance(raw, CheckpointReference):
            raise CheckpointNotFoundError(
                f"no checkpoint at {reference.path!r}: its data were freed, and "
                f"computing them again failed: {state.message}"
            )
        self._computed[reference.path] = raw
        return raw

    def is_freed(self, reference: CheckpointReference) -> bool:
        """Return whether the data of a reference were freed before the run."""
        return reference.is_freed and reference.path in self._task_runs


class _Loader(Loader):
    def __init__(self, results: FreedResults) -> None:
        super().__init__()
        self._of_freed = results

    def _load(self, reference: CheckpointReference) -> Any:
        # It may be there by now: another run, or an earlier look, has computed it.
        try:
            return super()._load(self._of_freed.there(reference))
        except CheckpointNotFoundError:
            if not self._of_freed.is_freed(reference):
                raise
        return super()._load(self._of_freed.computed(reference))


def _freed_by_path(states: Mapping[Task, State]) -> dict[str, TaskRun]:
    by_path: dict[str, TaskRun] = {}
    for task, state in states.items():
        # A child has no state where the run ended before its turn.
        runs: list[tuple[int | None, State | None]] = [(None, state)]
        if isinstance(state, Mapped):
            runs = [*enumerate(state.map_states)]
        for index, run in runs:
            raw = None if run is None else raw_value(run)
            if isinstance(raw, CheckpointReference) and raw.is_freed:
                by_path[raw.path] = (task, index)
    return by_path


def part_before(flow: Flow, task: Task) -> Flow:
    """Return the part of a flow that makes a task's result, with the task.

    What a task only waits for is left out; all parameters are there, as paths may
    name them.
    """
    part = {task}
    edges: set[Edge] = set()
    waiting = [task]
    while waiting:
        taken = set(filter(_decides, flow.edges_to(waiting.pop())))
        new = {edge.upstream_task for edge in taken} - part
        edges |= taken
        part |= new
        waiting += new
    before = Flow(
        flow.name, tasks=part | flow.parameters(), edges=edges, result=flow.result
    )
    # A constant argument of a task is no edge: Prefect keeps it beside the graph.
    for step in part:
        before.constants[step].update(flow.constants[step])
    # Paths and owners have the names that the tasks have in the whole flow.
    before.slugs = {step: flow.slugs[step] for step in before.tasks}
    return before


def _decides(edge: Edge) -> bool:
    """Return whether a task takes something along an edge, or a condition for it."""
    return bool(edge.key) or isinstance(edge.upstream_task, CompareValue)
