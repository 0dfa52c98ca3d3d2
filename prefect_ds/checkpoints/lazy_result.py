"""Results in a state that are references to checkpoints, loaded on access.

Importing this module changes one thing in Prefect: states are pickled and copied
without loading the references in them, see :func:`_reduce_ex`.

Runs on the client and on the workers; nothing here runs on the scheduler.
"""

from __future__ import annotations

import copy
import copyreg
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, overload

from dask.base import normalize_token
from prefect.engine.result import Result
from prefect.engine.serializers import PickleSerializer
from prefect.engine.state import Mapped, State
from prefect.utilities.logging import get_logger

from prefect_ds.checkpoints.loader import Loader
from prefect_ds.checkpoints.reference import CheckpointReference, has_references

Load: TypeAlias = Callable[[Any], Any]
"""Returns a value with the references in it loaded."""


HANDED_ON = "_prefect_ds_handed_on"
"""An attribute of a state: what of its value its task has loaded."""


class _LeanResult(Result):
    """A result whose constant attributes are on the class.

    Prefect's own constructor looks a logger up for a result, which takes longer than
    some tasks do.
    """

    serializer = PickleSerializer()
    logger = get_logger("Result")
    _formatter = None


class PlainResult(_LeanResult):
    """A result that holds a value as it is, also where it is a reference."""

    taken_from: LazyResult | None = None
    """The result that the value is an item of, where it is one that was loaded."""

    def __init__(self, value: Any, location: str | None = None) -> None:
        self.value = value
        self.location = location


class LazyResult(_LeanResult):
    """A result whose ``value`` loads the references in it.

    Prefect 1.x looks at ``value`` wherever it needs the data, so reading waits until
    then.

    Parameters
    ----------
    raw
        The value with its references.
    location
        Path of the checkpoint, if the value is a single one.
    keep
        Whether to hold the loaded value. A task may look twice; a caller may walk over
        more results than fit in memory.
    load
        Loads the references. ``None``: a new :class:`Loader` for every load.
    """

    def __init__(
        self,
        raw: Any,
        location: str | None = None,
        *,
        keep: bool = True,
        load: Load | None = None,
    ) -> None:
        self.raw = raw
        self.location = location
        self.keep = keep
        self._load = load
        self._loaded: tuple[Any, ...] = ()
        self._outputs: Any = None

    @property
    def value(self) -> Any:
        """The value, with every reference loaded."""
        if self._loaded:
            return self._loaded[0]
        load = self._load or Loader()
        value = load(self.raw)
        if self.keep:
            self.loaded(value)
        return value

    @value.setter
    def value(self, raw: Any) -> None:
        self.raw = raw
        self._loaded = ()
        self._outputs = None

    def from_value(self, value: Any) -> PlainResult:
        """Return the result of an item, which Prefect makes for a mapped child."""
        item = PlainResult(value)
        item.taken_from = self
        return item

    def loaded(self, value: Any) -> LazyResult:
        """Return this result, with its value given.

        A task that has just written a checkpoint has no need to read it.
        """
        self._loaded = (value,)
        if isinstance(self.raw, CheckpointReference) and self.raw.members is not None:
            # As they are now: a task may put something else into the collection.
            self._outputs = copy.copy(value)
        return self

    def __getstate__(self) -> dict[str, Any]:
        # The file carries the data, not the pickle.
        return {**self.__dict__, "_loaded": (), "_load": None, "_outputs": None}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.raw!r}>"


class LazySequence(Sequence[Any]):
    """The results of a mapped task, loaded on access and not held.

    Parameters
    ----------
    raws
        The results with their references.
    load
        As for :class:`LazyResult`.
    """

    def __init__(self, raws: Sequence[Any], load: Load | None = None) -> None:
        self.raws = raws
        self._load = load

    def __reduce__(self) -> tuple[type, tuple[Sequence[Any]]]:
        return type(self), (self.raws,)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> LazySequence: ...
    def __getitem__(self, index: int | slice) -> Any:
        """Return one loaded result, or a part of the sequence."""
        if isinstance(index, slice):
            return LazySequence(self.raws[index], self._load)
        load = self._load or Loader()
        return load(self.raws[index])

    def __len__(self) -> int:
        return len(self.raws)

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LazySequence):
            return NotImplemented
        return self.raws == other.raws

    __hash__ = None  # type: ignore[assignment] # as of a list

    def __dask_tokenize__(self) -> Any:
        # As a parameter of another flow, its checkpoints count by their content.
        return normalize_token(list(self.raws))

    def __repr__(self) -> str:
        return repr(list(self.raws))


class LazySequenceResult(LazyResult):
    """The result of a mapped task in the states that ``flow.run`` returns.

    Its ``value`` is a :class:`LazySequence`.
    """

    @property
    def value(self) -> LazySequence:
        """The results of the children, loaded on access."""
        return LazySequence(self.raw, self._load)

    @value.setter
    def value(self, raw: Any) -> None:
        self.raw = raw


def raw_value(state: State) -> Any:
    """Return a state's value without loading a reference; ``None`` if it has none."""
    result = state._result
    if isinstance(result, LazyResult):
        return result.raw
    return getattr(result, "value", None)


def held_values(state: State) -> Iterator[tuple[Any, Any]]:
    """Yield the raw value that the result of a state holds loaded, and the loaded.

    Prefect's own flow runner hands results on in this form.
    """
    result = state._result
    source = result.taken_from if isinstance(result, PlainResult) else result
    if isinstance(source, LazyResult) and source._loaded:
        yield source.raw, source._loaded[0]
        # Of several outputs one may be taken alone.
        if isinstance(source._outputs, dict):
            for name, member in source.raw.members.items():
                yield member, source._outputs[name]
        elif source._outputs is not None:
            yield from zip(source.raw.members, source._outputs, strict=True)


def lazy(state: State, *, keep: bool = True, load: Load | None = None) -> State:
    """Return the state with its references loaded on access.

    The state itself is not changed: Dask gives the same state to several tasks of a
    worker.

    Parameters
    ----------
    state
        Any state; one without references comes back itself.
    keep, load
        As for :class:`LazyResult`.
    """
    if isinstance(state, Mapped) and state.map_states:
        return _lazy_mapped(state, keep, load)
    # Only results of ours are searched: a value that a user's task returned has no
    # references, and may be large.
    if not isinstance(state._result, _LeanResult):
        return state
    raw = raw_value(state)
    if not has_references(raw):
        return state
    result = LazyResult(raw, state._result.location, keep=keep, load=load)
    return with_result(state, result)


def _lazy_mapped(state: Mapped, keep: bool, load: Load | None) -> State:
    children: list[State | None] = []
    is_lazy = False
    for child in state.map_states:
        if child is not None:
            child = lazy(child, keep=keep, load=load)
            is_lazy = is_lazy or isinstance(child._result, LazyResult)
        children.append(child)
    if not is_lazy:
        return state
    raws = [None if child is None else raw_value(child) for child in children]
    if keep:
        return with_result(state, LazyResult(raws, load=load), map_states=children)
    return with_result(state, LazySequenceResult(raws, load=load), map_states=children)


def by_reference(state: State) -> State:
    """Return the state with references in place of the values that are checkpoints.

    In this form it travels to other tasks and to the client.
    """
    if isinstance(state, Mapped) and state.map_states:
        children = [
            None if child is None else by_reference(child) for child in state.map_states
        ]
        result = state._result
        if isinstance(result, LazyResult):
            raws = [None if child is None else raw_value(child) for child in children]
            result = PlainResult(raws)
        return with_result(state, result, map_states=children)
    if not isinstance(state._result, LazyResult):
        return state
    return with_result(state, PlainResult(state._result.raw, state._result.location))


def with_result(state: State, result: Result, **attributes: Any) -> State:
    """Return a copy of a state with another result; the value of neither is loaded."""
    # The constructor and `copy` both look at the value.
    new: State = object.__new__(type(state))
    new.__dict__.update(state.__dict__, _result=result, **attributes)
    return new


def _reduce_ex(state: State, protocol: int) -> Any:
    """Return the parts that pickle and copy a state; a reference in it is not loaded.

    Prefect's own ``State.__getstate__`` looks at the value, and would load it.
    """
    if isinstance(state._result, LazyResult):
        return copyreg.__newobj__, (type(state),), state.__dict__  # type: ignore[attr-defined]
    return object.__reduce_ex__(state, protocol)


# On the base class, so that states of a user's own are covered.
State.__reduce_ex__ = _reduce_ex  # type: ignore[method-assign,assignment]
