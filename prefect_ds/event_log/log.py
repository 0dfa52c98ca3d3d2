"""The file that all processes append their events to, one line for one event.

``PREFECT__PREFECT_DS__EVENTS=events.jsonl``. Used on the client and on workers. A line
that cannot be written fails no run.
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
import os
import socket
from dataclasses import dataclass
from typing import Any, Self

import prefect

from prefect_ds.event_log.event import Event
from prefect_ds.path_template import PathTemplate

_logger = logging.getLogger("prefect.prefect_ds.event_log")

_warned: set[str] = set()
"""Files that could not be written: a process warns of them once."""


@dataclass(frozen=True, slots=True)
class EventLog:
    """A file of events. It travels to the workers with its path made absolute."""

    template: str
    """The path; it may have the fields ``{host}``, ``{pid}`` and ``{today}``."""

    @classmethod
    def configured(cls, config: Any = None) -> Self | None:
        """Return the log that Prefect's config names; ``None``: it names none."""
        if config is None:
            config = prefect.config
        given = (config.get("prefect_ds") or {}).get("events")
        if not given:
            return None
        # A URL is refused when the first event is written, with a warning.
        if "://" in str(given):
            return cls(str(given))
        # Absolute now, on the client: a worker may run in another folder.
        return cls(os.path.abspath(os.path.expanduser(str(given))))

    def write(self, event: Event) -> None:
        """Append an event; a process warns once if it cannot."""
        now = datetime.datetime.now(datetime.UTC)
        event = dataclasses.replace(
            event,
            time=now.isoformat(sep=" ", timespec="microseconds"),
            host=socket.gethostname(),
            pid=os.getpid(),
        )
        try:
            self._append(self._path(event), event.to_line().encode())
        except Exception as error:  # noqa: BLE001 - no run is worse for it
            if self.template not in _warned:
                _warned.add(self.template)
                _logger.warning(
                    "Events are not written to %s: %s; the run goes on without them",
                    self.template,
                    error,
                )

    def _path(self, event: Event) -> str:
        if "://" in self.template:
            raise ValueError("events need the path of a file, not a URL")
        if "{" not in self.template:
            return self.template
        names = {"host": event.host, "pid": event.pid, "today": event.time[:10]}
        return PathTemplate(self.template).render(names)

    def _append(self, path: str, line: bytes) -> None:
        """Write a line in one call: the system puts it behind all others."""
        try:
            handle = os.open(path, _APPEND, 0o666)
        except FileNotFoundError:
            # Made only now, as the folder is missing once at most.
            os.makedirs(os.path.dirname(path), exist_ok=True)
            handle = os.open(path, _APPEND, 0o666)
        try:
            if os.write(handle, line) < len(line):
                # Its rest would land in the middle of another line.
                os.write(handle, b"\n")
                raise OSError("a line was cut: the disk is full, perhaps")
        finally:
            os.close(handle)


# Without blocking: a pipe that nobody reads is an error, and does not stop the run.
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
