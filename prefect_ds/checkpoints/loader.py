"""Loads the checkpoints in the values that a task takes, each task run's once."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import prefect

from prefect_ds import pickling
from prefect_ds.checkpoints.reference import (
    CheckpointReference,
    Replaced,
    items_in,
    replace_references,
)

TaskRun: TypeAlias = tuple[str, str, str, str]
"""A task run and its checkpoint: run of the flow, owner, path and content."""

UNCHANGING: Final = frozenset([type(None), bool, int, float, complex, str, bytes])
"""Whether two of these are one object makes no difference to a task."""

_loaded: dict[int, tuple[weakref.ref[Any], TaskRun]] = {}
"""By id: what was loaded in this process and is still in use, and of which task run."""


def _remember(loaded: Any, task_run: TaskRun) -> None:
    # The entry goes with the object: its id may be given to another then.
    key = id(loaded)
    try:
        alive = weakref.ref(loaded, lambda _: _loaded.pop(key, None))
    except TypeError:
        return  # It cannot be followed.
    _loaded[key] = alive, task_run


def has_loaded() -> bool:
    """Return whether anything that was loaded in this process is still in use."""
    return bool(_loaded)


def loaded_in(value: Any) -> Iterator[tuple[Any, TaskRun]]:
    """Yield the results of task runs in a value, which some task has loaded here."""
    if not _loaded:
        return
    for item in items_in([value]):
        known = _loaded.get(id(item))
        if known is not None and known[0]() is item:
            yield item, known[1]


@dataclass(frozen=True, slots=True)
class Contents:
    """The objects in a loaded result, so that they are searched once for all items."""

    of: Any
    ids: frozenset[int]

    @classmethod
    def found_in(cls, loaded: Any) -> Contents:
        """Return the contents of a loaded result."""
        items = items_in([loaded])
        return cls(loaded, frozenset(id(x) for x in items if type(x) not in UNCHANGING))


class Loader:
    """Returns values with their references loaded, and remembers what it has loaded.

    Objects are shared as they are without checkpoints: the result of one task run is
    one object, however often it comes; the results of two task runs are two, also where
    they are equal and share a checkpoint. A task that changes an input then changes the
    same inputs as in a flow without checkpoints.

    Parameters
    ----------
    classes
        Returns the classes that the code names which takes the values. Values in
        pickles are of these, or of the script's.
    flow_run_id
        Of the run; ``None``: as Prefect's context says.
    """

    def __init__(
        self, classes: pickling.Classes = tuple, flow_run_id: str | None = None
    ) -> None:
        # A pickle may have several classes; the task's code is walked once for all.
        self._classes = functools.cache(classes)
        self._flow_run_id = flow_run_id
        self.results: dict[TaskRun, Any] = {}
        """What was loaded, or is known to be loaded."""
        self.contents: dict[TaskRun, Contents] = {}
        """What is in these, where it is known."""
        self.collections: Replaced = {}
        """Collections with references, and those that were loaded for them."""
        self.replaced: dict[int, Replaced] = {}
        """By id: what tasks before note of loaded objects that others took."""

    def __call__(self, value: Any) -> Any:
        """Return ``value`` with every reference in it loaded."""
        return replace_references(value, self._load, self.collections)

    def task_run(self, reference: CheckpointReference) -> TaskRun:
        """Return the task run that a reference is to the result of."""
        # What an earlier run has loaded is another object than this run's.
        run_id = self._flow_run_id
        if run_id is None:
            run_id = vars(prefect.context).get("flow_run_id", "")
        return (run_id, reference.owner, reference.path, reference.content)

    def _load(self, reference: CheckpointReference) -> Any:
        task_run = self.task_run(reference)
        if reference.members is not None:
            return self._assembled(reference, task_run)
        if task_run not in self.results:
            with pickling.naming(self._classes):
                loaded = reference.load()
            self.results[task_run] = loaded
            _remember(loaded, task_run)
        return self.results[task_run]

    def _assembled(self, reference: CheckpointReference, task_run: TaskRun) -> Any:
        """Load several checkpoints; one that is taken alone is the same object."""
        if task_run not in self.results:
            self.results[task_run] = reference.assembled(self._load)
        return self.results[task_run]

    def forget(self) -> None:
        """Let go of all that was loaded."""
        self.results = {}
        self.contents = {}
        self.collections = {}
        self.replaced = {}
