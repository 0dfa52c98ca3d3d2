"""Objects that a task has loaded and handed on, for the tasks that take them.

Without checkpoints, a result and what a later task has made of it are the same objects:
where ``f`` returns what it takes, ``g(x, f(x))`` takes one object. With a checkpoint
``g`` loads ``x``, so it has to learn what ``f`` has loaded for it. This rides on the
state of ``f``, within one process; in another process Prefect's own values are copies.

Runs where a task runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prefect.core import Edge
from prefect.engine.state import Mapped, State

from prefect_ds.checkpoints.digests.registry import digest_of_pickled
from prefect_ds.checkpoints.lazy_result import (
    HANDED_ON,
    PlainResult,
    held_values,
    lazy,
    raw_value,
    with_result,
)
from prefect_ds.checkpoints.loader import (
    UNCHANGING,
    Contents,
    Loader,
    TaskRun,
    has_loaded,
    loaded_in,
)
from prefect_ds.checkpoints.reference import CheckpointReference, Replaced, items_in

_PLAIN: Final = frozenset([list, tuple, dict, set])
"""Collections whose items come along with them."""


class HandedOn:
    """The loaded objects that the result of a task contains.

    Parameters
    ----------
    results
        The loaded results of task runs.
    collections
        By id: a collection with references, and the one that was loaded for it.
    replaced
        Those of the results that the task took: what they note counts here, too.
    """

    def __init__(
        self,
        results: Mapping[TaskRun, Any] | None = None,
        collections: Replaced | None = None,
        replaced: Iterable[Replaced] = (),
    ) -> None:
        self._results = results or {}
        self.collections = collections or {}
        self.replaced: list[Replaced] = [{}, *replaced]
        """Of these: what equal object took its place where a task took both."""

    @property
    def results(self) -> Mapping[TaskRun, Any]:
        """The loaded results of task runs."""
        return self._results

    @property
    def contents(self) -> Mapping[TaskRun, Contents]:
        """What is known of the objects inside of the results."""
        return {}

    def __reduce__(self) -> tuple[type[HandedOn], tuple[()]]:
        # In another process the value of the state is a copy.
        return HandedOn, ()


def with_handed_on(state: State, load: Loader) -> State:
    """Return a task's final state with the loaded objects that its value contains."""
    if not (load.results or load.collections):
        return state
    inside = _reachable(raw_value(state))
    if not inside:
        return state
    results = {
        task_run: loaded
        for task_run, loaded in load.results.items()
        if _is_shared(loaded, inside, load.contents.get(task_run))
    }
    collections = {
        key: (raw, loaded)
        for key, (raw, loaded) in load.collections.items()
        if id(loaded) in inside
    }
    if not (results or collections):
        return state
    handed_on = HandedOn(results, collections, load.replaced.values())
    return with_result(state, state._result, **{HANDED_ON: handed_on})


def _reachable(value: Any) -> dict[int, Any]:
    """Return by id what a task reaches by way of collections and dataclasses."""
    inside: dict[int, Any] = {}
    waiting = [value]
    while waiting:
        for item in items_in([waiting.pop()]):
            if type(item) in UNCHANGING or id(item) in inside:
                continue
            # Beside the id, so that no other object gets it.
            inside[id(item)] = item
            if type(item) not in _PLAIN:
                waiting += _parts(item)
    return inside


def _parts(item: Any) -> Iterator[Any]:
    """Yield the fields of a dataclass, or the items of a user's own collection."""
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        for field in dataclasses.fields(item):
            # It may be a property, which raises what it likes.
            with contextlib.suppress(Exception):
                yield getattr(item, field.name)
    elif isinstance(item, dict):
        yield from dict.values(item)
    elif isinstance(item, list):
        yield from list.__iter__(item)
    elif isinstance(item, tuple):
        yield from tuple.__iter__(item)


def _is_shared(
    loaded: Any, inside: dict[int, Any], contents: Contents | None = None
) -> bool:
    """Return whether a loaded result, or a part of it, is among some objects."""
    if contents is not None and contents.of is loaded:
        return not contents.ids.isdisjoint(inside)
    return any(id(item) in inside for item in items_in([loaded]))


def loaded_on_access(
    upstream_states: Mapping[Edge, State], load: Loader
) -> dict[Edge, State]:
    """Return the states that a task takes; references load when they are looked at.

    Objects are one where they are one without checkpoints.
    """
    # A state that comes along two edges stays one: both inputs are one object.
    by_id = {id(state): state for state in upstream_states.values()}
    states = by_id.values()
    # In a run that loads nothing there is nothing to look for.
    if has_loaded() or any(map(_may_have_loaded, _all(states))):
        ones = _Ones(load)
        for state in states:
            ones.add(state)
        ones.put_into_loaded()
        by_id = {key: ones.put_into(state) for key, state in by_id.items()}
    taken = {key: lazy(state, load=load) for key, state in by_id.items()}
    return {edge: taken[id(state)] for edge, state in upstream_states.items()}


def _may_have_loaded(state: State) -> bool:
    return HANDED_ON in vars(state) or any(held_values(state))


def _all(states: Iterable[State]) -> Iterator[State]:
    for state in states:
        yield state
        if isinstance(state, Mapped):
            yield from filter(None, state.map_states)


class _Ones:
    """The one object for each result that tasks before have loaded and handed on.

    Two tasks that take the same result load it twice. If both hand it on, a third has
    two equal objects for one; the first takes the place of the other.

    Parameters
    ----------
    load
        The task's own loader. It is given what was loaded.
    """

    def __init__(self, load: Loader) -> None:
        self._load = load
        self._handed_on: list[HandedOn] = []
        self._replaced: Replaced = {}
        self._done: dict[int, Any] = {}

    def add(self, state: State) -> None:
        """Record the loaded objects in a state that the task takes."""
        if isinstance(state, Mapped):
            for child in filter(None, state.map_states):
                self.add(child)
        handed_on = vars(state).get(HANDED_ON)
        if handed_on is not None:
            self._add_all(handed_on)
        raw = raw_value(state)
        for held, loaded in held_values(state):
            if isinstance(held, CheckpointReference):
                self._add_result(self._load.task_run(held), loaded)
        for item, task_run in loaded_in(raw):
            self._add_result(task_run, item)

    def _add_all(self, handed_on: HandedOn) -> None:
        self._handed_on.append(handed_on)
        # What a task before has replaced is out of use, and may be unequal by now.
        for replaced in handed_on.replaced:
            self._load.replaced[id(replaced)] = replaced
            for later, first in replaced.values():
                self._replace(self._first(later), self._first(first))
        self._load.contents.update(handed_on.contents)
        for task_run, loaded in handed_on.results.items():
            self._add_result(task_run, loaded)
        for key, (raw, loaded) in handed_on.collections.items():
            _, one = self._load.collections.setdefault(key, (raw, loaded))
            self._join(one, loaded)

    def _add_result(self, task_run: TaskRun, loaded: Any) -> None:
        self._join(self._load.results.setdefault(task_run, loaded), loaded)

    def _join(self, one: Any, other: Any) -> None:
        if self._first(one) is self._first(other):
            return
        # A task may have changed one of them after it was loaded.
        content = digest_of_pickled(one, counts_bytes=False)
        if content and content == digest_of_pickled(other, counts_bytes=False):
            for of_one, of_other in _pairs(one, other, set()):
                self._replace(self._first(of_other), self._first(of_one))

    def _replace(self, later: Any, first: Any) -> None:
        if later is not first:
            self._replaced[id(later)] = later, first

    def _first(self, item: Any) -> Any:
        """Return the object that takes the place of an item, or the item itself."""
        while id(item) in self._replaced:
            _, item = self._replaced[id(item)]
        return item

    def put_into_loaded(self) -> None:
        """Replace equal copies with the one object in all that was loaded."""
        if not self._replaced:
            return
        for handed_on in self._handed_on:
            loaded = [*handed_on.results.values()]
            loaded += [loaded for _, loaded in handed_on.collections.values()]
            for item in items_in(loaded):
                if id(item) in self._replaced:
                    for replaced in handed_on.replaced:
                        replaced[id(item)] = self._replaced[id(item)]
        for task_run, loaded in self._load.results.items():
            self._load.results[task_run] = self._with_ones(loaded)
        for key, (raw, loaded) in self._load.collections.items():
            self._load.collections[key] = raw, self._with_ones(loaded)

    def put_into(self, state: State) -> State:
        """Return the state with equal copies replaced by the one object."""
        if not self._replaced:
            return state
        if isinstance(state, Mapped) and state.map_states:
            return self._put_into_children(state)
        value = raw_value(state)
        new = self._with_ones(value)
        return state if new is value else with_result(state, PlainResult(new))

    def _with_ones(self, value: Any) -> Any:
        """Return the value with equal copies replaced by the one object.

        Lists and dicts are changed in place: they are those of other tasks, too, and
        of the flow's final state. They are equal before and after.
        """
        value = self._first(value)
        if not any(id(item) in self._replaced for item in items_in([value])):
            return value
        if type(value) is tuple:
            new = tuple([self._with_ones(item) for item in value])
            self._replaced[id(value)] = value, new
            return new
        # Once: a list may hold itself.
        if type(value) in (list, dict) and id(value) not in self._done:
            self._done[id(value)] = value
            keys = value if type(value) is dict else range(len(value))
            for key in [*keys]:
                value[key] = self._with_ones(value[key])
        return value

    def _put_into_children(self, state: Mapped) -> State:
        # A child has no state where the run ended before its turn.
        children = [child and self.put_into(child) for child in state.map_states]
        if all(map(operator.is_, children, state.map_states)):
            return state
        raws = [child and raw_value(child) for child in children]
        return with_result(state, PlainResult(raws), map_states=children)


def _pairs(one: Any, other: Any, seen: set[int]) -> Iterator[tuple[Any, Any]]:
    """Yield the parts of two equal values, pair by pair."""
    if type(one) in UNCHANGING or id(other) in seen:
        return
    seen.add(id(other))
    yield one, other
    if type(one) is dict:
        one, other = [*one.values()], [*other.values()]
    if type(one) in (list, tuple):
        for of_one, of_other in zip(one, other, strict=True):
            yield from _pairs(of_one, of_other, seen)
