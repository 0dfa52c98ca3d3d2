"""Checkpoints of which Prefect takes one item after another, loaded once for all.

It does so where a task maps over a result, or over what ``flatten`` makes of it: it
asks the state for every item by itself. All items of a run are of one object, as they
are without checkpoints.

Items are taken on the client for mapping, and wherever Prefect flattens a result.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from prefect.engine.state import State

from prefect_ds.checkpoints.handed_on import HandedOn
from prefect_ds.checkpoints.lazy_result import (
    HANDED_ON,
    PlainResult,
    raw_value,
    with_result,
)
from prefect_ds.checkpoints.loader import Contents, Loader, TaskRun
from prefect_ds.checkpoints.reference import (
    CheckpointReference,
    has_references,
    replace_references,
)


class _Whole:
    """The data of one checkpoint, loaded when an item is first taken."""

    def __init__(self, reference: CheckpointReference, load: Loader) -> None:
        self.task_run = load.task_run(reference)
        self._reference = reference
        self._load = load
        self._lock = threading.Lock()
        self.contents: Contents | None = None

    def data(self) -> Any:
        """Return the data."""
        with self._lock:
            if self.contents is None:
                self.contents = Contents.found_in(self._load(self._reference))
        return self.contents.of


_wholes: WeakValueDictionary[TaskRun, _Whole] = WeakValueDictionary()
"""Those of which an item is still in use."""


class _Items(CheckpointReference):
    """A reference whose items are taken from data that are loaded once."""

    __slots__ = ("whole",)

    whole: _Whole

    @property
    def _data(self) -> Any:
        return self.whole.data()

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return CheckpointReference, _fields(self)


def _fields(reference: CheckpointReference) -> tuple[Any, ...]:
    return tuple(getattr(reference, name) for name in CheckpointReference.__slots__)


class _TakenApart(HandedOn):
    """Data of which single items are in the hands of tasks."""

    def __init__(self, wholes: Iterable[_Whole]) -> None:
        super().__init__()
        self._wholes = tuple(wholes)

    @property
    def results(self) -> Mapping[TaskRun, Any]:
        """What is loaded by now."""
        return {task_run: known.of for task_run, known in self.contents.items()}

    @property
    def contents(self) -> Mapping[TaskRun, Contents]:
        """What is in the data that are loaded by now."""
        return {
            whole.task_run: whole.contents
            for whole in self._wholes
            if whole.contents is not None
        }


def _whole(reference: CheckpointReference, load: Loader) -> _Whole:
    made = _Whole(reference, load)
    return _wholes.setdefault(made.task_run, made)


def mapped_over(state: State, load: Loader) -> State:
    """Return the state of a task whose result is mapped over, with its data loaded.

    It travels as the reference that it is.

    Parameters
    ----------
    state
        The state.
    load
        Loads the data.
    """
    reference = raw_value(state)
    # The items of a collection are references, as those of several outputs, or the
    # user's own.
    is_one = isinstance(reference, CheckpointReference) and reference.members is None
    if not is_one:
        return state
    items = _Items(*_fields(reference))
    items.whole = _whole(reference, load)
    if not hasattr(items.whole.data(), "__getitem__"):
        # Prefect asks for no more than this, and fails the task.
        return with_result(state, PlainResult(None))
    result = PlainResult(items, state._result.location)
    return with_result(state, result, **{HANDED_ON: _TakenApart([items.whole])})


def flattened(
    flatten: Callable[..., Any], flow_run_id: str, state: State, *rest: Any
) -> Any:
    """Call one of Prefect's functions that flatten a result, or count its items.

    Parameters
    ----------
    flatten
        The function.
    flow_run_id
        Of the run.
    state, *rest
        Its arguments.
    """
    raw = raw_value(state)
    if not has_references(raw):
        return flatten(state, *rest)
    load = Loader(flow_run_id=flow_run_id)
    wholes: list[_Whole] = []

    def data(reference: CheckpointReference) -> Any:
        # Of several outputs the items are references.
        if reference.members is not None:
            return reference
        wholes.append(_whole(reference, load))
        return wholes[-1].data()

    value = replace_references(raw, data)
    result = PlainResult(value, state._result.location)
    loaded = with_result(state, result, **{HANDED_ON: _TakenApart(wholes)})
    outcome = flatten(loaded, *rest)
    if isinstance(outcome, State) and raw_value(outcome) is value:
        return state  # It cannot be flattened, and goes on as it is.
    return outcome
