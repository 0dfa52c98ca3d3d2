"""The checkpoints that one was made from, and the deeds done with it since."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, get_args


class Upstream(NamedTuple):
    """A checkpoint that an input of a task is, or has in it."""

    content: str
    """Digest of the content that the task read."""
    path: str
    identity: str
    """Digest of its identity; empty: not known, as of a person's file."""


Deed: TypeAlias = Literal["accepted", "freed"]


class Event(NamedTuple):
    """One thing that was done with a checkpoint after it was written."""

    what: Deed
    at: str
    """ISO 8601 in UTC."""
    why: str = ""
    """In words: the difference that was accepted."""
    identity: str = ""
    """Digest of the identity that the checkpoint had before."""


def now() -> str:
    """Return the time as a manifest has it."""
    return datetime.datetime.now(datetime.UTC).isoformat(sep=" ", timespec="seconds")


def upstream_to_json(upstream: Mapping[str, tuple[Upstream, ...]]) -> dict[str, Any]:
    """Return the checkpoints among the inputs as the JSON of a manifest has them."""
    return {
        name: [checkpoint._asdict() for checkpoint in checkpoints]
        for name, checkpoints in upstream.items()
    }


def upstream_from_json(body: Any) -> dict[str, tuple[Upstream, ...]]:
    """Return the checkpoints among the inputs from the JSON of a manifest.

    Raises
    ------
    TypeError
        It does not have that form.
    """
    upstream = {}
    for name, checkpoints in _of_type(dict, body).items():
        upstream[name] = tuple(
            [Upstream(**item) for item in _of_type(list, checkpoints)]
        )
        _check_texts(*upstream[name])
    return upstream


def history_to_json(history: tuple[Event, ...]) -> list[dict[str, str]]:
    """Return a history as the JSON of a manifest has it."""
    return [event._asdict() for event in history]


def history_from_json(body: Any) -> tuple[Event, ...]:
    """Return the history in the JSON of a manifest.

    Raises
    ------
    TypeError, ValueError
        It does not have that form.
    """
    history = tuple([Event(**item) for item in _of_type(list, body)])
    _check_texts(*history)
    for event in history:
        # Cut in the message: a manifest may hold anything.
        if event.what not in get_args(Deed):
            raise ValueError(f"history has {event.what[:50]!r}")
    return history


def _of_type(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {type(value).__name__} for a {kind.__name__}")
    return value


def _check_texts(*values: tuple[Any, ...]) -> None:
    for value in values:
        for text in value:
            _of_type(str, text)
