"""What tasks hand on, as far as it is known before a run.

Used on the client, by the plan of a flow. Prefect's own tasks between those of the user
(collections, items, conditions, merges) are evaluated here on what is known; they run
no code of the user's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from prefect import triggers
from prefect.core import Edge, Flow, Parameter, Task
from prefect.core.parameter import DateTimeParameter
from prefect.tasks.control_flow.conditional import CompareValue, Merge
from prefect.tasks.core.collections import Set
from prefect.tasks.core.constants import Constant
from prefect.tasks.core.operators import GetItem

from prefect_ds.checkpoints.reference import CheckpointReference, has_references
from prefect_ds.engine.task_handler import COLLECTING, is_taken_item

BETWEEN = (Parameter, Constant, CompareValue, Merge, GetItem, *COLLECTING)
"""The kinds of tasks that Prefect puts between the user's."""
_PARAMETERS = (Parameter, DateTimeParameter)
"""A class of the user's own may run any code."""


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


def check_parameters(flow: Flow, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that a run of the flow would refuse.

    Raises
    ------
    TypeError
        They are no mapping.
    ValueError
        One is unknown, or one without a default is missing.
    """
    if not isinstance(parameters, Mapping):
        raise TypeError(
            f"parameters is {parameters!r}: give a dict of names and values"
        )
    known = {parameter.name: parameter for parameter in flow.parameters()}
    names = ", ".join(map(repr, sorted(known))) or "none"
    for name in parameters:
        if name not in known:
            raise ValueError(
                f"flow {flow.name!r} has no parameter {name!r}; it has {names}"
            )
    for name, parameter in known.items():
        if parameter.required and name not in parameters:
            raise ValueError(
                f"flow {flow.name!r} needs parameter {name!r}: give it in parameters="
            )


def holds_references(value: Any) -> bool:
    """Return whether a value's items can be taken without any data."""
    if isinstance(value, CheckpointReference):
        return value.members is not None
    return type(value) in (list, tuple, dict)


def evaluated(
    task: Task, inputs: Mapping[str, Planned], others: Iterable[Planned] = ()
) -> Planned | None:
    """Return what one of Prefect's own tasks hands on; ``None`` for all other tasks.

    Parameters
    ----------
    task
        Any task.
    inputs
        What it takes, by name.
    others
        What it only waits for.
    """
    if isinstance(task, Constant):
        return Known(task.value)
    if isinstance(task, Parameter) and type(task) not in _PARAMETERS:
        return Open((f"only the run has the parameter {task.name!r}",))
    is_between = isinstance(task, BETWEEN) and (
        task.result is None or is_taken_item(task)
    )
    if not is_between and not isinstance(task, Parameter):
        return None
    causes = causes_of(inputs.values())
    # What a condition comes to decides whether tasks are skipped, so it comes first.
    if isinstance(task, CompareValue):
        return _compared(task, inputs["value"], causes)
    conditions = [outcome for outcome in others if _may_be_skipped(outcome)]
    causes = causes or causes_of(conditions)
    if causes:
        return Open(causes, may_skip(task, [*inputs.values(), *conditions]))
    # Nothing is open by now. What was skipped is None to the task that takes it: a
    # merge takes one of several branches.
    values = {
        name: outcome.value if isinstance(outcome, Known) else None
        for name, outcome in inputs.items()
    }
    if isinstance(task, GetItem) and not holds_references(values["task_result"]):
        return Open((f"{task.name} takes a part of data",))
    # A set compares its elements, which are the data and not the references to them.
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


def may_skip(task: Task, upstream: Iterable[Planned]) -> bool:
    """Return whether a task may be skipped since tasks before it may be."""
    may_be = [_may_be_skipped(outcome) for outcome in upstream]
    if task.skip_on_upstream_skip:
        return any(may_be)
    # This trigger alone skips by itself, if everything before the task was skipped.
    return task.trigger is triggers.not_all_skipped and bool(may_be) and all(may_be)


_FIRE = {
    triggers.all_successful,
    triggers.any_successful,
    triggers.all_finished,
    triggers.not_all_skipped,
}
"""The triggers that let a task run where nothing before it fails."""


def conditions_of(task: Task, upstream: Iterable[Planned]) -> tuple[str, ...]:
    """Return what decides whether a task runs at all, and is not known before a run."""
    conditions: list[str] = []
    if task.skip_on_upstream_skip:
        may_be = [outcome for outcome in upstream if _may_be_skipped(outcome)]
        conditions += causes_of(may_be)
    if task.trigger not in _FIRE:
        # A trigger of the user's own is called in the run only.
        # Prefect's `some_successful(...)` makes one named "_some_successful"; an object
        # with `__call__` has no name.
        name = getattr(task.trigger, "__name__", "").strip("_")
        conditions.append(f"its trigger {name} decides".replace("  ", " "))
    return tuple(conditions)


def _may_be_skipped(outcome: Planned) -> bool:
    if isinstance(outcome, Open):
        return outcome.may_skip
    return isinstance(outcome, Skipped)


def skipped(task: Task, upstream: Collection[Planned]) -> Skipped | None:
    """Return why a task is skipped for sure; ``None`` if it may run."""
    skips = [outcome for outcome in upstream if isinstance(outcome, Skipped)]
    are_all = len(skips) == len(upstream) and task.trigger is triggers.not_all_skipped
    if skips and (task.skip_on_upstream_skip or are_all):
        return skips[0]
    return None


def reduced(outcome: Outcome, flattened: bool, passes_skips: bool = False) -> Planned:
    """Return what a task that is not mapped takes from an upstream task.

    ``passes_skips``: it runs although some of what it takes was skipped.
    """
    if isinstance(outcome, list):
        # Without `passes_skips` one skipped child skips the task.
        skips = [child for child in outcome if isinstance(child, Skipped)]
        if skips and (not passes_skips or len(skips) == len(outcome)):
            return skips[0]
        causes = causes_of(outcome)
        if causes:
            return Open(causes, any(map(_may_be_skipped, outcome)))
        outcome = Known(
            [child.value if isinstance(child, Known) else None for child in outcome]
        )
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
    # Anything else may run code of the user's, or can be read only once.
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


def divided(
    constants: Mapping[str, Planned], outcomes: Mapping[Edge, Planned]
) -> tuple[dict[str, Planned], list[Planned]]:
    """Return the inputs of a task run by name, and what it only waits for."""
    inputs = dict(constants)
    others = []
    for edge, outcome in outcomes.items():
        if edge.key:
            inputs[edge.key] = outcome
        else:
            others.append(outcome)
    return inputs, others
