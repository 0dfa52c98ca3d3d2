"""How the run of a task goes to a Dask cluster: small, and its common part once.

Prefect submits every run with the task, its edges, the whole context and the states of
all upstream tasks that are not mapped over. Dask's scheduler holds every submission as
long as its outcome is wanted, so mapped children would fill it with copies. Here their
common part is pickled once.

:class:`Submissions` works on the client, :func:`run_submitted` on a worker. The
scheduler holds the bytes, one copy of the common part, and unpickles no call.
"""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from prefect.core import Edge
from prefect.engine.flow_runner import run_task
from prefect.engine.state import State

from prefect_ds import pickling

BY_EDGE = ("upstream_states", "upstream_mapped_states")
"""Arguments of ``run_task`` that hold what was submitted before."""

_NOT_SHARED = {"state", "context", *BY_EDGE}


@dataclass(slots=True, eq=False)
class Submitted:
    """What the flow runner holds in place of what the user's executor gave it."""

    future: Any
    takes: tuple[Submitted, ...] = ()
    """The calls whose outcomes this one takes."""
    taken_keys: tuple[Any, ...] = ()
    """Dask's keys of these outcomes."""
    submit_again: Callable[[], Any] | None = None
    """Submits the call once more; ``None`` where it takes nothing."""
    before_release: Any = None
    """The future with the result, until the call that lets the result go has run."""


def map_submitted(value: Any, by: Callable[[Submitted], Any]) -> Any:
    """Return nested dicts, lists and tuples with what was submitted replaced."""
    if isinstance(value, Submitted):
        return by(value)
    if type(value) is dict:
        return {key: map_submitted(item, by) for key, item in value.items()}
    # Exactly these: a subclass may have a constructor of its own.
    if type(value) in (list, tuple):
        return type(value)(map_submitted(item, by) for item in value)
    return value


@dataclass(frozen=True, slots=True)
class SharedCall:
    """The part of a call of ``run_task`` that the mapped children of a task share."""

    arguments: Mapping[str, Any]
    """By name: the task, its runner and such."""
    context: Mapping[str, Any]
    """Prefect's context, without the index of the child."""
    edges: Mapping[int, Edge]
    """The edges to the task, in their order."""
    upstream_states: Mapping[int, State]
    """By number of the edge: states that all children take as they are."""

    def is_made_of(self, other: SharedCall) -> bool:
        """Return whether both hold the same objects, so that one pickle serves both."""
        return (
            _are_same(self.arguments, other.arguments)
            and _are_same(self.context, other.context)
            and _are_same(self.edges, other.edges)
            and _are_same(self.upstream_states, other.upstream_states)
        )


@dataclass(frozen=True, slots=True)
class OwnCall:
    """The part of a call of ``run_task`` that belongs to one run."""

    state: State | None
    context: Mapping[str, Any]
    """The index of a mapped child, for Prefect's context."""
    upstream_states: Mapping[int, Any]
    """By number of the edge: a state of this run alone, or a :class:`Submitted`."""
    upstream_mapped_states: Mapping[int, Any]
    """By number of the edge: the children of a mapped task, for one that takes all."""


def _are_same(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    # By identity: comparing frames takes time, and arrays have no truth value.
    return one.keys() == other.keys() and all(one[key] is other[key] for key in one)


def divided(call: Mapping[str, Any]) -> tuple[SharedCall, OwnCall]:
    """Return the two parts of a call of ``run_task``.

    Parameters
    ----------
    call
        The arguments by name; a state that is not there yet is a :class:`Submitted`.
    """
    edges = dict(enumerate(call["upstream_states"]))
    shared_states = {}
    own_states = {}
    for number, edge in edges.items():
        state = call["upstream_states"][edge]
        # A state that is there already is the same for all children.
        if edge.mapped or isinstance(state, Submitted):
            own_states[number] = state
        else:
            shared_states[number] = state
    mapped_states = {
        number: call["upstream_mapped_states"][edge]
        for number, edge in edges.items()
        if edge in call["upstream_mapped_states"]
    }
    # The index is all that differs between the contexts of children.
    context = dict(call["context"])
    own_context = {}
    if "map_index" in context:
        own_context["map_index"] = context.pop("map_index")
    arguments = {name: call[name] for name in call if name not in _NOT_SHARED}
    return (
        SharedCall(arguments, context, edges, shared_states),
        OwnCall(call["state"], own_context, own_states, mapped_states),
    )


def joined(shared: SharedCall, own: OwnCall) -> dict[str, Any]:
    """Return the call of ``run_task`` that :func:`divided` divided."""
    states = {**shared.upstream_states, **own.upstream_states}
    mapped_states = own.upstream_mapped_states
    return {
        **shared.arguments,
        "state": own.state,
        "context": {**shared.context, **own.context},
        # In the order of the edges, in which a task gets its inputs.
        "upstream_states": {
            edge: states[number] for number, edge in shared.edges.items()
        },
        "upstream_mapped_states": {
            edge: mapped_states[number]
            for number, edge in shared.edges.items()
            if number in mapped_states
        },
    }


class Blob:
    """Bytes of which a process holds one copy, however often they arrive.

    Parameters
    ----------
    data
        The bytes.
    token
        Their name, the same in every process.
    """

    __slots__ = ("__weakref__", "data", "token")

    def __init__(self, data: bytes, token: str) -> None:
        self.data = data
        self.token = token

    def __reduce__(self) -> tuple[Any, ...]:
        return _blob, (self.data, self.token)


# Weak: the last call that holds the bytes frees them.
_blobs: WeakValueDictionary[str, Blob] = WeakValueDictionary()


def _blob(data: bytes, token: str) -> Blob:
    return _blobs.setdefault(token, Blob(data, token))


class Submissions:
    """Makes the arguments of :func:`run_submitted` from calls of ``run_task``."""

    def __init__(self) -> None:
        self._shared: SharedCall | None = None
        self._blob = Blob(b"", "")

    def common(self, shared: SharedCall) -> SharedCall:
        """Return the shared call of the last run if it is the same, else this one."""
        if self._shared is None or not shared.is_made_of(self._shared):
            self._shared = shared
            # Pickled once for all children: they come one after another.
            # With code: the flow's tasks may be defined in a script or a notebook.
            self._blob = Blob(pickling.dumps(shared), uuid.uuid4().hex)
        return self._shared

    def packed(self, shared: SharedCall, own: OwnCall) -> tuple[Blob, bytes, list[Any]]:
        """Return the arguments of :func:`run_submitted` for the two parts of a call."""
        self.common(shared)
        futures: list[Any] = []

        def placeholder(submitted: Submitted) -> Submitted:
            # Dask sees futures only as arguments of their own, not inside of bytes.
            futures.append(submitted.future)
            return Submitted(len(futures) - 1)

        own = OwnCall(
            own.state,
            own.context,
            map_submitted(own.upstream_states, placeholder),
            map_submitted(own.upstream_mapped_states, placeholder),
        )
        return self._blob, pickling.dumps(own), futures

    def split(self, call: Mapping[str, Any]) -> tuple[Blob, bytes, list[Any]]:
        """Return the arguments of :func:`run_submitted` in place of a call's own."""
        return self.packed(*divided(call))


def run_submitted(shared: Blob, own: bytes, states: list[State]) -> State:
    """Call Prefect's ``run_task``, on a worker.

    Each run unpickles a copy of the shared part: a run that changes it changes no
    other.
    """

    def state_of(submitted: Submitted) -> State:
        number: int = submitted.future
        return states[number]

    shared_call: SharedCall = pickle.loads(shared.data)
    own_call: OwnCall = pickle.loads(own)
    call = joined(shared_call, own_call)
    for name in BY_EDGE:
        call[name] = map_submitted(call[name], state_of)
    state: State = run_task(**call)
    return state
