"""How the run of a task goes to a Dask cluster: what a task's runs have in common is pickled once, the rest is small.

Prefect submits each run with the task, its edges, the whole context and the states of
all that is not mapped over, and Dask's scheduler holds each submission, unpickled, for
as long as somebody wants its outcome.
"""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import cloudpickle
from prefect.engine.flow_runner import run_task
from prefect.engine.state import State

BY_EDGE = ("upstream_states", "upstream_mapped_states")
"""Arguments of ``run_task`` that hold what was submitted before."""


@dataclass(slots=True, eq=False)
class Submitted:
    """What the flow runner holds in place of what the user's executor gave it."""

    future: Any


def map_submitted(value: Any, by: Callable[[Submitted], Any]) -> Any:
    """Return nested dicts, lists and tuples with what was submitted replaced."""
    if isinstance(value, Submitted):
        return by(value)
    if type(value) is dict:
        return {key: map_submitted(each, by) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map_submitted(each, by) for each in value)
    return value


class Blob:
    """Bytes of which a process holds one copy, however often they come.

    Parameters
    ----------
    data
        The bytes.
    token
        Names them, in every process.
    """

    __slots__ = ("__weakref__", "data", "token")

    def __init__(self, data: bytes, token: str) -> None:
        self.data = data
        self.token = token

    def __reduce__(self) -> tuple[Any, ...]:
        return _blob, (self.data, self.token)


_blobs: WeakValueDictionary[str, Blob] = WeakValueDictionary()


def _blob(data: bytes, token: str) -> Blob:
    return _blobs.setdefault(token, Blob(data, token))


class Submissions:
    """Splits calls of Prefect's ``run_task`` into what the runs of a task share and what is one run's own."""

    def __init__(self) -> None:
        self._shared: dict[tuple[str, Any], Any] = {}
        self._blob = Blob(b"", "")

    def split(self, call: dict[str, Any]) -> tuple[Blob, bytes, list[Any]]:
        """Return the arguments of :func:`run_submitted` in place of those of ``run_task``.

        Parameters
        ----------
        call
            The arguments by name; a state that is not there yet is a
            :class:`Submitted`.
        """
        edges = dict(enumerate(call["upstream_states"]))
        by_edge = {
            name: {at: call[name][edges[at]] for at in edges if edges[at] in call[name]}
            for name in BY_EDGE
        }
        parts: dict[tuple[str, Any], Any] = {}
        for name, argument in {**call, **by_edge, "edges": edges}.items():
            parts |= (
                {(name, key): each for key, each in argument.items()}
                if type(argument) is dict
                else {(name, None): argument}
            )
        own = {
            part: each
            for part, each in parts.items()
            if part in _OWN or part[0] == "upstream_mapped_states"
        }
        for at, state in by_edge["upstream_states"].items():
            if edges[at].mapped or isinstance(state, Submitted):
                own["upstream_states", at] = state
        shared = {part: each for part, each in parts.items() if part not in own}
        if shared.keys() != self._shared.keys() or any(
            self._shared[part] is not shared[part] for part in shared
        ):
            self._shared, self._blob = (
                shared,
                Blob(cloudpickle.dumps(shared), uuid.uuid4().hex),
            )
        futures: list[Any] = []

        def placeholder(submitted: Submitted) -> Submitted:
            futures.append(submitted.future)
            return Submitted(len(futures) - 1)

        return self._blob, cloudpickle.dumps(map_submitted(own, placeholder)), futures


def run_submitted(shared: Blob, own: bytes, states: list[State]) -> State:
    """Call Prefect's ``run_task`` with what :meth:`Submissions.split` made of its arguments.

    Each run unpickles a copy of its own of what it shares: what it changes there
    changes no other.
    """
    parts = pickle.loads(shared.data) | map_submitted(
        pickle.loads(own), lambda submitted: states[submitted.future]
    )
    call: dict[str, Any] = {
        "context": {},
        "edges": {},
        **{name: {} for name in BY_EDGE},
    }
    for (name, key), value in parts.items():
        if key is None:
            call[name] = value
        else:
            call[name][key] = value
    edges = call.pop("edges")
    by_edge = {
        name: {edge: call[name][at] for at, edge in edges.items() if at in call[name]}
        for name in BY_EDGE
    }
    state: State = run_task(**{**call, **by_edge})
    return state


_OWN = {("state", None), ("context", "map_index")}
