"""What tasks hand on, as far as it is known before a run.

Used on the client, by the plan of a flow. Prefect's own tasks between those of the user
(collections, items, conditions, merges) are evaluated here on what is known; they run
no code of the user's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import prefect
from prefect.core import Parameter, Task
from prefect.tasks.control_flow.conditional import CompareValue, Merge
from prefect.tasks.core.collections import Set
from prefect.tasks.core.constants import Constant
from prefect.tasks.core.operators import GetItem

from prefect_ds.checkpoints.reference import has_references
from prefect_ds.engine.task_handler import COLLECTING

BETWEEN = (Parameter, Constant, CompareValue, Merge, GetItem, *COLLECTING)
"""The kinds of tasks that Prefect puts between the user's."""
PLAIN = (list, tuple, dict)


@dataclass(frozen=True, slots=True)
class Known:
    """The value that a task hands on, with references in place of data."""

    value: Any


@dataclass(frozen=True, slots=True)
class Open:
    """A value that only the run will tell."""

    causes: tuple[str, ...]
    """Why, from the root causes to the task."""
    may_skip: bool = False
    """The task may be skipped."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """The task will be skipped."""

    reason: str


Planned: TypeAlias = Known | Open | Skipped
Outcome: TypeAlias = Planned | list[Planned]
"""A list has the outcomes of the children of a mapped task."""


def evaluated(task: Task, inputs: Mapping[str, Planned]) -> Planned | None:
    """Return what one of Prefect's own tasks hands on; ``None`` for all other tasks."""
    if isinstance(task, Parameter):
        return Known(prefect.context.parameters.get(task.name))
    if isinstance(task, Constant):
        return Known(task.value)
    is_between = isinstance(task, BETWEEN) and task.result is None
    if not is_between:
        return None
    causes = causes_of(inputs.values())
    if isinstance(task, CompareValue):
        return _compared(task, inputs["value"], causes)
    if causes:
        return Open(causes)
    values = {
        name: outcome.value if isinstance(outcome, Known) else None
        for name, outcome in inputs.items()
    }
    if isinstance(task, GetItem) and type(values["task_result"]) not in PLAIN:
        return Open((f"{task.name} takes a part of data",))
    if isinstance(task, Set) and has_references(list(values.values())):
        return Open((f"{task.name} needs the data",))
    try:
        return Known(task.run(**values))  # type: ignore[func-returns-value]
    except Exception as error:  # noqa: BLE001 - the run will meet the same error
        return Open((f"{task.name} will fail: {error!r}",))


def _compared(task: CompareValue, outcome: Planned, causes: tuple[str, ...]) -> Planned:
    """Return the outcome of the condition of a ``case`` or ``switch``."""
    if not isinstance(outcome, Known):
        return Open(causes, may_skip=True)
    plain = {str, int, float, bool, type(None)}
    if not {type(outcome.value), type(task.value)} <= plain:
        # Only the run may call the user's own comparison.
        return Open((f"the condition {task.name} compares values",), may_skip=True)
    if outcome.value == task.value:
        return Known(None)
    return Skipped(f"its condition is {outcome.value!r}, not {task.value!r}")


def reduced(outcome: Outcome, flattened: bool) -> Planned:
    """Return what a task that is not mapped takes from an upstream task."""
    if isinstance(outcome, list):
        for child in outcome:
            if isinstance(child, Skipped):
                return child
        causes = causes_of(outcome)
        if causes:
            return Open(causes)
        known = [child.value for child in outcome if isinstance(child, Known)]
        outcome = Known(known)
    if not flattened or not isinstance(outcome, Known):
        return outcome
    flat = _flat(outcome.value)
    if flat is None:
        return Open(("flatten needs the data",))
    return Known(flat)


def elements(outcome: Outcome, flattened: bool) -> list[Planned] | Open | Skipped:
    """Return what every child of a mapped task takes from an upstream task."""
    if flattened:
        outcome = reduced(outcome, flattened)
    if isinstance(outcome, list):
        return outcome
    if not isinstance(outcome, Known):
        return outcome
    value = outcome.value
    if type(value) not in (list, tuple, range, str):
        return Open((f"only the run can iterate over a {type(value).__name__}",))
    return [Known(element) for element in value]


def _flat(value: Any) -> list[Any] | None:
    """Return a list of the elements of the elements; ``None`` if that needs data."""
    if type(value) not in (list, tuple):
        return None
    flat: list[Any] = []
    for element in value:
        if type(element) not in (list, tuple):
            return None
        flat.extend(element)
    return flat


def causes_of(outcomes: Iterable[Planned]) -> tuple[str, ...]:
    """Return the causes of all open outcomes, once, in order."""
    causes = [
        cause
        for outcome in outcomes
        if isinstance(outcome, Open)
        for cause in outcome.causes
    ]
    return tuple(dict.fromkeys(causes))


def through(causes: Iterable[str], task: Task) -> tuple[str, ...]:
    """Return the causes with the task as their next step."""
    return tuple(dict.fromkeys(f"{cause} => {task.name}" for cause in causes))


def chained(causes: Iterable[str], task: Task) -> str:
    """Return in words the causes with the task as their next step."""
    return words(through(causes, task))


_MOST_CAUSES = 3


def words(causes: Iterable[str]) -> str:
    """Return the causes in words, the first few of many."""
    distinct = list(dict.fromkeys(causes))
    words = "; ".join(distinct[:_MOST_CAUSES])
    if len(distinct) > _MOST_CAUSES:
        words += f"; and {len(distinct) - _MOST_CAUSES} more"
    return words
