"""The names that a run puts into Prefect's context, as far as they are known before it.

Used on the client, by the plan of a flow, for path templates and names of task runs.
"""

from __future__ import annotations

import contextlib
import string
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import prefect
from prefect.core import Flow, Task
from prefect.engine.result import Result

from prefect_ds.engine.context import current
from prefect_ds.engine.template_names import TemplateNames

_OF_THE_RUN = frozenset({"flow_run_id", "flow_run_name", "task_run_id"})
"""Prefect makes them as a run begins."""

_RUN_NAME = "task_run_name"


def of_task(flow: Flow, task: Task) -> dict[str, Any]:
    """Return what a run adds to Prefect's context for a task."""
    return {
        "task_id": flow.slugs[task],
        "task_run_count": 1,
        "task_tags": task.tags,
        "map_index": None,
        "task_full_name": task.name,
    }


def of_child(task: Task, index: int) -> dict[str, Any]:
    """Return what a run has in its context for a mapped child."""
    return {"map_index": index, "task_full_name": f"{task.name}[{index}]"}


def takes_inputs(task: Task, names: Collection[str]) -> bool:
    """Return whether the name of a task's run is made of inputs with these names.

    A run makes it before it looks for the checkpoint, and reads the inputs for it.
    """
    run_name = task.task_run_name
    # A function gets all inputs.
    if callable(run_name):
        return bool(names)
    return not _fields(run_name).isdisjoint(names)


def not_known(
    task: Task, names: Collection[str], inputs: Collection[str], open_names: set[str]
) -> list[str]:
    """Return the names of a template that only the run can fill, in order.

    Parameters
    ----------
    task
        The task.
    names
        The names in the template.
    inputs
        The names of the task's inputs, which win over those in the context.
    open_names
        Those of the inputs that are not known yet.
    """
    # Those that the caller has put into the context are known.
    of_run = _OF_THE_RUN - current().keys()
    # The name of the task's run may itself be a name in the template.
    if callable(task.task_run_name) or _fields(task.task_run_name) & open_names:
        of_run = of_run | {_RUN_NAME}
    return sorted(open_names.union(of_run.difference(inputs)).intersection(names))


@contextlib.contextmanager
def run_named(
    task: Task, names: Collection[str], inputs: Mapping[str, Result]
) -> Iterator[None]:
    """Have the name of the task's run in the context, for a template that names it."""
    run_name = task.task_run_name
    if _RUN_NAME not in names or not isinstance(run_name, str):
        yield
        return
    named = run_name.format_map(TemplateNames(inputs, task))
    with prefect.context({_RUN_NAME: named}):
        yield


def _fields(run_name: Any) -> set[str]:
    """Return the names in the template of a run's name."""
    if not isinstance(run_name, str):
        return set()
    # `{frame.name}` and `{frame[0]}` take from the input `frame`.
    parsed = string.Formatter().parse(run_name)
    written = [field for _, field, _, _ in parsed if field]
    return {field.partition(".")[0].partition("[")[0] for field in written}
