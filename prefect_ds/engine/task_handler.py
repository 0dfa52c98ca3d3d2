"""Which handler keeps the result of a task.

Used on the client and on workers, so that plans, checks and runs agree.
"""

from __future__ import annotations

from prefect.core import Flow, Task
from prefect.engine.result import Result
from prefect.tasks.control_flow.conditional import Merge
from prefect.tasks.core.collections import Dict, List, Set, Tuple
from prefect.tasks.core.operators import GetItem

from prefect_ds.result_handler import ResultHandler

COLLECTING = (List, Tuple, Set, Dict)
"""Prefect's tasks that put results together."""


def handler_of(task: Task, flow_result: Result | None) -> ResultHandler | None:
    """Return the handler that keeps a task's result; ``None`` if none of ours does.

    Parameters
    ----------
    task
        Any task of a flow.
    flow_result
        The flow's result, which is the default of its tasks.
    """
    result = task.result or flow_result
    if not isinstance(result, ResultHandler) or task.checkpoint is False:
        return None
    if _is_prefects(task):
        return None
    return result


def handlers_in(flow: Flow) -> list[ResultHandler]:
    """Return the handlers of a flow's tasks, with the paths that targets give them.

    Those whose path a function makes are left out: it is called when the task runs.
    """
    handlers = []
    for task in flow.tasks:
        handler = handler_of(task, flow.result)
        # Prefect puts a target in the place of the handler's own path.
        target = task.target
        if handler is None or callable(target or handler.location):
            continue
        if isinstance(target, str) and target:
            handler = handler.at(target)
        handlers += handler.all_handlers()
    return handlers


def _is_prefects(task: Task) -> bool:
    """Return whether Prefect put the task between the user's.

    Its result is the flow's, or that of its upstream.
    """
    is_merge = isinstance(task, Merge) and task.result is None
    is_between = is_merge or is_taken_item(task) or isinstance(task, COLLECTING)
    return task.auto_generated or is_between


def is_taken_item(task: Task) -> bool:
    """Return whether a task is ``other[key]``, and no ``GetItem`` of the user's own.

    Prefect gives it the result of the other task, and a name that ends in the key.
    """
    if not isinstance(task, GetItem):
        return False
    return task.result is None or task.name.endswith("]")
