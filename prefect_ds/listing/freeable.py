"""Which checkpoints of a flow may be freed, since all tasks that take them load."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from prefect.core import Flow, Task

from prefect_ds.engine.flow_plan import walked
from prefect_ds.engine.freed import TaskRun, needed_runs
from prefect_ds.engine.planned_looks import Look
from prefect_ds.engine.task_decision import TaskDecision


def freeable(
    flow: Flow,
    parameters: Mapping[str, Any],
    context: Mapping[str, Any] | None = None,
) -> set[str]:
    """Return the paths of the checkpoints whose data nothing needs in the next run.

    The results of the flow's last tasks are always needed, and so are those that a
    function of the user's may look at.
    """
    loads: dict[TaskRun, str] = {}

    def watch(task: Task, decision: TaskDecision, look: Look) -> None:
        run = (task, decision.map_index)
        # The walk may come by again, and its last decision counts.
        loads.pop(run, None)
        manifest = look.manifest
        if decision.decision != "load" or manifest is None or look.path is None:
            return
        # Without an identity a manifest alone is no proof for the tasks that follow.
        is_proof = manifest.identity is not None and not manifest.adopted
        # A state handler of the user's gets the state, and may look at the result.
        if is_proof and not task.state_handlers:
            loads[run] = look.path

    walk = walked(flow, parameters, context=context, watch=watch)
    # As if all of them were freed: those that something still takes are needed.
    freed: dict[Task, set[int | None]] = defaultdict(set)
    for task, index in loads:
        freed[task].add(index)
    for task, indices in walk.freed.items():
        freed[task] |= indices
    needed = needed_runs(flow, walk.runs, freed, walk.mapped, are_gone=False)
    needed_paths = {path for run, path in loads.items() if run in needed}
    return set(loads.values()) - needed_paths
