"""Which of the checkpoints whose data were freed a run has to compute again.

Used on the client, before a run. Freed data are not needed if everything that takes
them loads. The plan of the run has to prove that; without a proof they are computed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TypeAlias

from prefect.core import Flow, Task
from prefect.tasks.core.constants import Constant

from prefect_ds.engine.planned_values import BETWEEN
from prefect_ds.engine.task_handler import handlers_in, is_taken_item

TaskRun: TypeAlias = tuple[Task, int | None]
"""A task, and the index of its child; ``None`` where it is not mapped."""

_ALL = -1
"""In place of an index: all children."""


def have_freed(flow: Flow) -> bool:
    """Return whether data of the flow's checkpoints may have been freed.

    One look for every folder of checkpoints.
    """
    # Handlers of one folder share its marker, and so one look.
    by_marker = {handler.freed_marker: handler for handler in handlers_in(flow)}
    try:
        return any(handler.may_have_freed() for handler in by_marker.values())
    except Exception:  # noqa: BLE001 - the run meets it again, and says so
        return False


def needed_runs(
    flow: Flow,
    runs: Mapping[Task, set[int | None]],
    freed: Mapping[Task, set[int | None]],
    mapped: set[Task],
    asked: TaskRun | None = None,
    *,
    are_gone: bool = True,
) -> set[TaskRun]:
    """Return the task runs whose freed data something needs.

    Parameters
    ----------
    flow
        The flow.
    runs
        The task runs that run, or may.
    freed
        The task runs whose data were freed.
    mapped
        The mapped tasks whose children are known.
    asked
        The task run whose result the user asks for; ``None``: all of the last tasks.
    are_gone
        Whether the freed data are gone, so that their task runs again and takes its own
        inputs. ``False`` asks which of them may be freed.
    """
    wanted: dict[Task, set[int | None]] = defaultdict(set)
    if asked is not None:
        wanted[asked[0]].add(asked[1])
    else:
        for task in flow.terminal_tasks():
            wanted[task].add(_ALL)
    needed: set[TaskRun] = set()
    # From the last tasks to the first: all that take a task's data have said so when it
    # is its turn.
    for task in reversed(flow.sorted_tasks()):
        of_task = {
            index
            for index in freed.get(task, set())
            if _ALL in wanted[task] or index in wanted[task]
        }
        needed |= {(task, index) for index in of_task}
        takes = runs.get(task, set())
        if are_gone:
            takes = takes | of_task
        # Prefect's own tasks hand on what they take, so they need what is wanted of
        # them.
        is_between = isinstance(task, (*BETWEEN, Constant))
        if is_between and (task.result is None or is_taken_item(task)):
            takes = takes | wanted[task]
        for edge in flow.edges_to(task):
            if edge.key is None:
                continue  # It only waits, and takes no data.
            # A child takes the result of the same index, where indices are known.
            of_children = edge.mapped and not edge.flattened
            if of_children and edge.upstream_task in mapped and None not in takes:
                wanted[edge.upstream_task] |= takes
            elif takes:
                wanted[edge.upstream_task].add(_ALL)
    return needed
