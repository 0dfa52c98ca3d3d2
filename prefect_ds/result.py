"""How a task's result stands in a state: by reference, loaded when somebody looks at it."""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, overload

from dask.base import normalize_token
from prefect.engine.result import Result
from prefect.engine.serializers import PickleSerializer
from prefect.engine.state import Mapped, State
from prefect.utilities.logging import get_logger

from prefect_ds.checkpoints.reference import (
    CheckpointReference,
    has_references,
    replace_references,
)

Load: TypeAlias = Callable[[CheckpointReference], Any]
"""Gives the data that a reference stands for."""


class _LeanResult(Result):
    """A result that has on its class what is the same for all of them: tasks make several, which adds up.

    Prefect's own constructor looks up a logger each time, and some tasks take less long
    than that.
    """

    serializer = PickleSerializer()
    logger = get_logger("Result")
    _formatter = None


class PlainResult(_LeanResult):
    """A result with a value as it is, a reference too."""

    def __init__(self, value: Any, location: str | None = None) -> None:
        self.value = value
        self.location = location


class LazyResult(_LeanResult):
    """A result that is, or has in it, references to checkpoints; ``value`` loads them.

    Prefect 1.x looks at ``value`` wherever it needs the data, so this is where reading
    waits until then.

    Parameters
    ----------
    raw
        The value with its references.
    location
        Path of the checkpoint, where the value is one.
    keep
        Whether to hold on to what was loaded: a task may look twice, a caller may walk
        over more than fits in memory.
    load
        How a reference is loaded.
    """

    def __init__(
        self,
        raw: Any,
        location: str | None = None,
        *,
        keep: bool = True,
        load: Load = CheckpointReference.load,
    ) -> None:
        self.raw = raw
        self.location = location
        self.keep = keep
        self._load = load
        self._loaded: tuple[Any, ...] = ()

    @property
    def value(self) -> Any:
        """The value, with each reference loaded."""
        if self._loaded:
            return self._loaded[0]
        value = replace_references(self.raw, self._load)
        if self.keep:
            self._loaded = (value,)
        return value

    @value.setter
    def value(self, raw: Any) -> None:
        self.raw = raw
        self._loaded = ()

    def loaded(self, value: Any) -> LazyResult:
        """Return this result with its value given: what was just written need not be read."""
        self._loaded = (value,)
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Data go by their file, not through a pickle.
        return {**self.__dict__, "_loaded": (), "_load": CheckpointReference.load}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.raw!r}>"


class LazySequence(Sequence[Any]):
    """The results of a mapped task: each is loaded when it is asked for, and not held."""

    def __init__(self, raws: Sequence[Any]) -> None:
        self.raws = raws

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> LazySequence: ...
    def __getitem__(self, index: int | slice) -> Any:
        """Return one loaded result, or a part of the sequence."""
        if isinstance(index, slice):
            return LazySequence(self.raws[index])
        return replace_references(self.raws[index], CheckpointReference.load)

    def __len__(self) -> int:
        return len(self.raws)

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return (
            self.raws == other.raws
            if isinstance(other, LazySequence)
            else NotImplemented
        )

    __hash__ = None  # type: ignore[assignment] # as of a list

    def __dask_tokenize__(self) -> Any:
        # Given to another flow as a parameter, its checkpoints count by their content.
        return normalize_token(list(self.raws))

    def __repr__(self) -> str:
        return repr(list(self.raws))


class LazySequenceResult(LazyResult):
    """The result of a mapped task for the caller of a flow: ``value`` is a :class:`LazySequence`."""

    @property
    def value(self) -> LazySequence:
        """The results of the children, each loaded on access."""
        return LazySequence(self.raw)

    @value.setter
    def value(self, raw: Any) -> None:
        self.raw = raw


class PurgedResult(Result):
    """Stands in a state for a result that was let go during the run: nothing downstream needed it any more."""

    def __init__(self) -> None:
        super().__init__(value=None)

    def __repr__(self) -> str:
        return "<PurgedResult>"


def purged(state: State) -> State:
    """Return the state of a success without its value; references stay, as they hold no data.

    What a task has ``cache_for`` stays too: Prefect gives it to later runs.
    """
    if (
        not state.is_successful()
        or state.is_cached()
        or isinstance(raw_value(state), CheckpointReference)
    ):
        return state
    return _with(state, PurgedResult())


def raw_value(state: State) -> Any:
    """Return a state's value with its references, as nothing was loaded; ``None`` where there is none."""
    result = state._result
    return (
        result.raw if isinstance(result, LazyResult) else getattr(result, "value", None)
    )


def lazy(
    state: State, *, keep: bool = True, load: Load = CheckpointReference.load
) -> State:
    """Return the state with its references loaded when they are looked at.

    The state itself stays as it is: Dask gives the same one to several tasks of a
    worker.
    """
    if isinstance(state, Mapped) and state.map_states:
        children = [
            child if child is None else lazy(child, keep=keep, load=load)
            for child in state.map_states
        ]
        raws = [None if child is None else raw_value(child) for child in children]
        if not any(
            child is not None and isinstance(child._result, LazyResult)
            for child in children
        ):
            return state
        result = LazyResult(raws, load=load) if keep else LazySequenceResult(raws)
        return _with(state, result, map_states=children)
    # What a user's task returned is not searched: it has no references, and may be
    # large.
    if not isinstance(state._result, _LeanResult) or not has_references(
        raw := raw_value(state)
    ):
        return state
    return _with(state, LazyResult(raw, state._result.location, keep=keep, load=load))


def by_reference(state: State) -> State:
    """Return the state with its checkpointed values as references, for its way to other tasks and to the client."""
    if isinstance(state, Mapped) and state.map_states:
        children = [
            child if child is None else by_reference(child)
            for child in state.map_states
        ]
        raws = [None if child is None else raw_value(child) for child in children]
        return _with(
            state,
            PlainResult(raws)
            if isinstance(state._result, LazyResult)
            else state._result,
            map_states=children,
        )
    if not isinstance(state._result, LazyResult):
        return state
    return _with(state, PlainResult(state._result.raw, state._result.location))


def _with(state: State, result: Result, **attributes: Any) -> State:
    new: State = object.__new__(type(state))
    new.__dict__.update(state.__dict__, _result=result, **attributes)
    return new


def _reduce(state: State) -> Any:
    """Return what pickles and copies a state: Prefect's own ``__getstate__`` looks at the value, and would load it."""
    if isinstance(state._result, LazyResult):
        return copyreg.__newobj__, (type(state),), state.__dict__  # type: ignore[attr-defined]
    return state.__reduce_ex__(4)


for _kind in State.children(include_self=True):
    copyreg.pickle(_kind, _reduce)
