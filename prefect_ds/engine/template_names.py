"""The names that a task's path template may have, and the values that fill them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prefect.core import Edge, Task
from prefect.engine.result import Result

from prefect_ds.engine import context
from prefect_ds.engine.task_identity import defaults_of
from prefect_ds.errors import TemplateError
from prefect_ds.path_template import PathTemplate
from prefect_ds.result_handler import ResultHandler


class TemplateNames(Mapping[str, Any]):
    """The names of a template: the values that fill its fields.

    Defaults of the task's arguments, flow parameters, Prefect's context, the task's
    inputs: later ones win. Nothing is read before it is asked for: an input may be a
    frame in a file.
    """

    def __init__(self, inputs: Mapping[str, Result], task: Task) -> None:
        self._inputs = inputs
        self._task = task
        self._context = context.current()
        self._parameters = self._context.get("parameters", {})

    def __getitem__(self, name: str) -> Any:
        # From the last that wins to the first, and the defaults only if asked for: they
        # take a look at the signature.
        if name in self._inputs:
            return self._inputs[name].value
        if name in self._context:
            return self._context[name]
        if name in self._parameters:
            return self._parameters[name]
        return defaults_of(self._task)[name]

    def __iter__(self) -> Iterator[str]:
        defaults = defaults_of(self._task)
        return iter({**defaults, **self._parameters, **self._context, **self._inputs})

    def __len__(self) -> int:
        return len(list(iter(self)))


def check_template(task: Task, edges: Iterable[Edge]) -> None:
    """Refuse a mapped task whose path template could never tell its children apart.

    Parameters
    ----------
    task
        Any task; one that is not mapped, or has no handler of ours, passes.
    edges
        The edges to it.

    Raises
    ------
    TemplateError
        No field of the template differs between children.
    """
    handler = task.result
    mapped = [edge.key for edge in edges if edge.mapped and edge.key]
    if not mapped or not isinstance(handler, ResultHandler) or task.checkpoint is False:
        return
    locations = [task.target or writer.location for writer in handler.all_handlers()]
    for location in locations:
        # A function makes the path; whether children meet shows when they write.
        if isinstance(location, str):
            _check_location(task, location, mapped)


def _check_location(task: Task, location: str, mapped: Sequence[str]) -> None:
    if PathTemplate(location).names & {*mapped, *_NAMES_OF_A_CHILD}:
        return
    wanted = "} or {".join(mapped)
    raise TemplateError(
        f"task {task.name!r} is mapped over {', '.join(map(repr, mapped))}, but its "
        f"template {location!r} gives every child the same path: put "
        f"{{{wanted}}} or {{map_index}} into it"
    )


_NAMES_OF_A_CHILD = {"map_index", "task_full_name", "task_run_name"}
