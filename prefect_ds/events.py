"""Events that runs have written, as a sequence, a table or the report of a run."""

from __future__ import annotations

import dataclasses
import glob
import logging
import os
from collections.abc import Iterable, Sequence
from typing import overload

import pandas as pd

from prefect_ds.engine.outcomes import Outcome, TaskRun
from prefect_ds.event_log.event import Event
from prefect_ds.report import RunReport
from prefect_ds.task_report import TaskReport

__all__ = ["Event", "Events", "read_events"]

_logger = logging.getLogger("prefect.prefect_ds.events")


def read_events(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> Events:
    """Return the events in a file, in the order of their times.

    Parameters
    ----------
    path
        The file, a pattern such as ``"events-*.jsonl"``, or a list of them.

    Raises
    ------
    FileNotFoundError
        There is no such file.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "events.jsonl"
    >>> _ = file.write_text('{"version":1,"event":"ran","task":"load","seconds":2.5}')
    >>> read_events(file)[0].seconds
    2.5
    """
    if isinstance(path, str | os.PathLike):
        path = [path]
    # Every file is looked for first: a wrong name is an error before anything is read.
    files = [file for given in path for file in _files(os.fspath(given))]
    events: list[Event] = []
    n_broken = 0
    for file in files:
        with open(file, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    events.append(Event.from_line(line))
                except (ValueError, TypeError):
                    # An empty line has nothing of an event in it.
                    if line.strip():
                        n_broken += 1
    if n_broken:
        _logger.warning("%d lines are not whole events and were left out", n_broken)
    return Events(sorted(events, key=lambda event: event.time), n_broken)


def _files(path: str) -> list[str]:
    if os.path.exists(path):
        return [path]
    files = sorted(glob.glob(path))
    if not files:
        raise FileNotFoundError(f"no file of events: {path!r}")
    return files


class Events(Sequence[Event]):
    """Events in the order of their times.

    Parameters
    ----------
    events
        The events.
    n_broken
        How many lines were no whole events: a disk was full, or a machine lost power.
    """

    def __init__(self, events: Iterable[Event], n_broken: int = 0) -> None:
        self._events = tuple(events)
        self.n_broken = n_broken

    @overload
    def __getitem__(self, index: int) -> Event: ...

    @overload
    def __getitem__(self, index: slice) -> Events: ...

    def __getitem__(self, index: int | slice) -> Event | Events:
        """Return an event, or some of them."""
        if isinstance(index, slice):
            return Events(self._events[index], self.n_broken)
        return self._events[index]

    def __len__(self) -> int:
        return len(self._events)

    def __repr__(self) -> str:
        return f"<Events: {len(self):,} of {len(self.run_ids):,} runs>"

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs, in the order in which they began."""
        return tuple(dict.fromkeys(e.run_id for e in self._events if e.run_id))

    def of_run(self, run_id: str) -> Events:
        """Return the events of one run."""
        return Events(event for event in self._events if event.run_id == run_id)

    def to_frame(self) -> pd.DataFrame:
        """Return a row for every event, with its fields as columns."""
        names = [field.name for field in dataclasses.fields(Event)]
        rows = [[getattr(event, name) for name in names] for event in self._events]
        frame = pd.DataFrame(rows, columns=names)
        return frame.astype({"map_index": "Int64", "size_bytes": "Int64"})

    def report(self, run_id: str | None = None) -> RunReport:
        """Return the report of a run, also of one that was killed.

        It lacks what events do not have: the remarks on results, and which of the
        loaded results were maybe.

        Parameters
        ----------
        run_id
            The run; ``None``: the last one that began.

        Raises
        ------
        ValueError
            There are no events of such a run.
        """
        if run_id is None and self.run_ids:
            run_id = self.run_ids[-1]
        of_run = [event for event in self._events if event.run_id == run_id]
        if not run_id or not of_run:
            raise ValueError(f"no events of a run {run_id or ''}".rstrip())
        # The file in which the run began may not be among those that were read.
        started = [event for event in of_run if event.event == "run started"]
        more = started[0].more if started else {}
        names: dict[str, str] = dict(more.get("tasks", ()))
        # Every task of the flow, in its order, also those that no event names.
        by_task: dict[str, dict[int | None, Event]] = {slug: {} for slug in names}
        for event in of_run:
            if event.event in _OUTCOMES:
                names.setdefault(event.slug, event.task)
                # A task run that was retried counts by its last attempt.
                by_task.setdefault(event.slug, {})[event.map_index] = event
        tasks = [
            _task_report(names[slug], slug, runs) for slug, runs in by_task.items()
        ]
        edges = tuple((start, end) for start, end in more.get("edges", ()))
        report = RunReport(tuple(tasks), of_run[0].flow, edges)
        # Where a task failed, its own error says more than that of the run.
        if any(task.n_failed for task in tasks):
            return report
        errors = [event.reason for event in of_run if _is_failed_run(event)]
        return dataclasses.replace(report, error="".join(errors[-1:]))


_OUTCOMES: dict[str, Outcome] = {
    "loaded": "loaded",
    "ran": "ran",
    "not needed": "not needed",
    "failed": "failed",
    "refused": "failed",
    "waits": "other",
}


def _is_failed_run(event: Event) -> bool:
    return event.event == "run ended" and event.state == "Failed"


def _task_report(task: str, slug: str, runs: dict[int | None, Event]) -> TaskReport:
    in_order = [runs[index] for index in sorted(runs, key=_place)]
    # A task that did not run since another failed has no error of its own.
    errors = [
        event.reason
        for event in in_order
        if _OUTCOMES[event.event] == "failed" and event.state != "TriggerFailed"
    ]
    return TaskReport.of_runs(
        task,
        [_task_run(event) for event in in_order],
        error=next(iter(errors), ""),
        slug=slug,
    )


def _place(map_index: int | None) -> int:
    """Return where a run comes among those of its task: children by their index."""
    if map_index is None:
        return -1
    return map_index


def _task_run(event: Event) -> TaskRun:
    outcome = _OUTCOMES[event.event]
    was_there = outcome == "loaded"
    reason, compute_s = event.reason, event.seconds or 0.0
    if was_there:
        # The seconds of such an event are those that an earlier run had spent, and its
        # reason says only where the result was loaded from.
        reason, compute_s = "", 0.0
    path = event.path
    if event.size_bytes is None:
        # An event has the path of a checkpoint also where none was written.
        path = None
    return TaskRun(
        map_index=event.map_index,
        outcome=outcome,
        reason=reason,
        path=path,
        size_bytes=event.size_bytes,
        compute_s=compute_s,
        kept_compute_s=event.kept_compute_s or 0.0,
        kept_write_s=event.kept_write_s or 0.0,
        was_there=was_there,
    )
