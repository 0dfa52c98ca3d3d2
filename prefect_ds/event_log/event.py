"""One event, and the line of JSON that it is in a file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

EVENT_VERSION = 1
"""Of the lines. A later version may add fields and kinds of events."""

# Made once: `json.dumps` with options makes an encoder for every line.
_dumps = json.JSONEncoder(separators=(",", ":"), default=str).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a task run, a checkpoint or a run of a flow."""

    event: str
    """``run started``, ``run ended``, ``loaded``, ``ran``, ``written``, ``not needed``,
    ``failed``, ``refused``, ``set aside``, ``freed`` or ``waits``."""
    time: str = ""
    """ISO 8601 in UTC, with microseconds, by the clock of the machine it was on."""
    run_id: str = ""
    """Of the run of the flow, as manifests have it; empty for what was done by hand."""
    flow: str = ""
    task: str = ""
    slug: str = ""
    """Of the task in its flow: unique, where a name is not."""
    map_index: int | None = None
    """Of a mapped child."""
    reason: str = ""
    """In words: why it ran, was refused or failed."""
    path: str | None = None
    """Of the checkpoint."""
    size_bytes: int | None = None
    """Of the checkpoint."""
    seconds: float | None = None
    """Of computing for ``ran``, of writing for ``written``, saved for ``loaded``."""
    state: str = ""
    """Prefect's name of the state that the task run, or the run, ended with."""
    kept_compute_s: float | None = None
    """Seconds of computing that the checkpoint's manifest has."""
    kept_write_s: float | None = None
    """Seconds of writing that the checkpoint's manifest has."""
    host: str = ""
    pid: int = 0
    more: Mapping[str, Any] = field(default_factory=dict)
    """Of ``run started``: ``tasks``, pairs of slug and name, and ``edges``, pairs of
    slugs. Also the fields of a line that a later version wrote."""

    def to_line(self) -> str:
        """Return the event as a line, with its end."""
        values = {name: getattr(self, name) for name in _NAMES}
        # Without null: a line is as short as what is known.
        known = {name: value for name, value in values.items() if value is not None}
        return f"{_dumps({'version': EVENT_VERSION, **known, **self.more})}\n"

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Return the event in a line.

        Raises
        ------
        ValueError
            It is no whole line of events.
        """
        values = json.loads(line)
        # By type, as True is an int too.
        if not isinstance(values, dict) or type(values.pop("version", None)) is not int:
            raise ValueError(f"no event: {line[:80]!r}")
        if not isinstance(values.get("event"), str):
            raise ValueError(f"an event without its kind: {line[:80]!r}")
        # Fields of a later version stay in `more`, so that they are not lost.
        known = {name: values.pop(name) for name in _NAMES if name in values}
        return cls(**known, more=values)


_NAMES = tuple(
    field.name for field in dataclasses.fields(Event) if field.name != "more"
)
