"""Which results were loaded after a task that they depend on had run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from prefect.core import Edge, Flow, Task
from prefect.engine.state import State
from prefect.tasks.control_flow.conditional import CompareValue

from prefect_ds.engine.outcomes import outcome_of, states_of
from prefect_ds.engine.planned_values import BETWEEN


def maybe_loaded(
    flow: Flow, states: Mapping[Task, State]
) -> defaultdict[Task, set[int]]:
    """Return, by task, the results that were loaded although a task before them ran.

    ``explain`` calls these tasks ``maybe``. A result is named by its position among the
    task's runs.
    """
    maybe: defaultdict[Task, set[int]] = defaultdict(set)
    is_open: dict[Task, list[bool]] = {}
    """Whether a run was open before: its code ran, or may have run."""
    for task in flow.sorted_tasks():
        if task not in states:
            continue
        # Those that only set an order do not count.
        edges = [
            edge
            for edge in flow.edges_to(task)
            if edge.upstream_task in is_open
            and (edge.key or isinstance(edge.upstream_task, CompareValue))
        ]
        # Prefect's own tasks run in every run, and are as open as what they take.
        is_users = not (task.auto_generated or isinstance(task, BETWEEN))
        is_open[task] = []
        for index, state in enumerate(states_of(states[task])):
            after_open = any(
                _took_open(edge, index, is_open[edge.upstream_task]) for edge in edges
            )
            outcome = outcome_of(state)
            if outcome == "loaded" and after_open:
                maybe[task].add(index)
            is_open[task].append(after_open or (is_users and outcome == "ran"))
    return maybe


def _took_open(edge: Edge, index: int, upstream: list[bool]) -> bool:
    """Return whether a run took an open result along an edge."""
    # A child takes the run of its own index; what is flattened, and what is not mapped
    # over, comes from all runs.
    if edge.mapped and not edge.flattened and len(upstream) > 1:
        return index < len(upstream) and upstream[index]
    return any(upstream)
