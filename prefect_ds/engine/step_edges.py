"""The edges between the user's own tasks, across those that Prefect puts between."""

from __future__ import annotations

from collections.abc import Collection

from prefect.core import Edge, Flow, Task


def step_edges(flow: Flow, steps: Collection[Task]) -> tuple[tuple[str, str], ...]:
    """Return the edges between some tasks of a flow, by the slugs of both ends.

    A task that is no step, such as a parameter or a list of results, hands its own
    upstream tasks on: ``take([a, b])`` has the edges ``a -> take`` and ``b -> take``.

    Parameters
    ----------
    flow
        The flow.
    steps
        Those of its tasks that are to have edges.
    """
    chosen = set(steps)
    before: dict[Task, dict[Task, None]] = {}
    """By task: the steps that it follows. A dict keeps their order."""
    edges = []
    for task in flow.sorted_tasks():
        direct: dict[Task, None] = {}
        for edge in _in_order(flow, task):
            upstream = edge.upstream_task
            if upstream in chosen:
                direct[upstream] = None
            else:
                # Sorted tasks come after their upstream, whose own is known by now.
                direct |= before[upstream]
        before[task] = direct
        if task in chosen:
            slug = flow.slugs[task]
            edges += [(flow.slugs[upstream], slug) for upstream in direct]
    return tuple(edges)


def _in_order(flow: Flow, task: Task) -> list[Edge]:
    """Return the edges to a task in one order: the flow has them as a set."""
    edges = flow.edges_to(task)
    return sorted(edges, key=lambda edge: (edge.key or "", str(edge.upstream_task)))
