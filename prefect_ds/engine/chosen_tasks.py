"""The tasks of a flow that a user names in an option: ``refresh``, ``keep_results``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prefect.core import Flow, Task


def chosen_tasks(
    flow: Flow, tasks: Iterable[Task | str], option: str, *, by_name: bool = True
) -> set[Task]:
    """Return the tasks of a flow that an option names.

    Parameters
    ----------
    flow
        The flow.
    tasks
        Tasks of the flow, or names of tasks: a name means all tasks that have it.
    option
        The name of the option, for errors.
    by_name
        Whether the option takes names.

    Raises
    ------
    TypeError
        ``tasks`` is not a list of tasks.
    ValueError
        The flow has no such task.
    """
    kinds: tuple[type, ...] = (Task,)
    hint = ""
    if by_name:
        kinds = (Task, str)
        hint = " or their names"
    # Prefect passes the same argument again for every retry, and an iterator would be
    # empty by then.
    is_list = not isinstance(tasks, str | Iterator) and isinstance(tasks, Iterable)
    if not is_list or not all(isinstance(task, kinds) for task in tasks):
        raise TypeError(f"{option} is {tasks!r}: give a list of tasks{hint}")
    chosen: set[Task] = set()
    for task in tasks:
        chosen |= _tasks_of(flow, task, option)
    return chosen


def _tasks_of(flow: Flow, task: Task | str, option: str) -> set[Task]:
    if isinstance(task, str):
        named = {other for other in flow.tasks if other.name == task}
    else:
        named = {task} & flow.tasks
    if named:
        return named
    name = task if isinstance(task, str) else task.name
    hint = ""
    if any(other.name == name for other in flow.tasks):
        # `download.map(...)` puts a copy of `download` into the flow.
        hint = ": give what the call of the task returned in the flow"
    raise ValueError(
        f"{option} has task {name!r}, which is not in flow {flow.name!r}{hint}"
    )
