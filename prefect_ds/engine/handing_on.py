"""Tasks that hand their inputs on: Prefect's lists, items and merges of results.

They need no data, so references go through them as they are. Used where the task runs.
"""

from __future__ import annotations

from collections.abc import Mapping

from prefect.core import Task
from prefect.engine.result import Result
from prefect.tasks.control_flow.conditional import Merge
from prefect.tasks.core.collections import Dict, Set
from prefect.tasks.core.operators import GetItem

from prefect_ds.checkpoints.lazy_result import LazyResult, PlainResult
from prefect_ds.checkpoints.reference import CheckpointReference, has_references
from prefect_ds.engine.task_checkpoint import raw_input
from prefect_ds.engine.task_handler import COLLECTING


def hands_on(task: Task, inputs: Mapping[str, Result]) -> bool:
    """Return whether a task without a handler only hands its inputs on.

    Parameters
    ----------
    task
        Any task that keeps no result with a handler of ours.
    inputs
        Its inputs, of which none is loaded.
    """
    if not any(isinstance(result, LazyResult) for result in inputs.values()):
        return False
    if isinstance(task, GetItem):
        return _is_taken_from_collection(inputs)
    # Whether the data can be in a set, or be keys, their own hash decides.
    if isinstance(task, Set):
        return False
    if isinstance(task, Dict) and has_references(raw_input(inputs["keys"])):
        return False
    return isinstance(task, (Merge, *COLLECTING)) and task.result is None


def _is_taken_from_collection(inputs: Mapping[str, Result]) -> bool:
    """Return whether an item is taken from a collection, and not from data."""
    taken_from = raw_input(inputs["task_result"])
    # The items of several outputs are references; those of a frame are data.
    if isinstance(taken_from, CheckpointReference) and taken_from.members is None:
        return False
    return not has_references(raw_input(inputs["key"]))


def task_arguments(inputs: dict[str, Result], are_handed_on: bool) -> dict[str, Result]:
    """Return the inputs as a task takes them: loaded, unless it hands them on."""
    if are_handed_on:
        return {name: PlainResult(raw_input(result)) for name, result in inputs.items()}
    for result in inputs.values():
        # Loads it here: the seconds of computing are to have no reading in them.
        _ = result.value
    return inputs
