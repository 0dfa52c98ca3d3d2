"""The listing of many checkpoints: filters, a DataFrame, a table for people."""

from __future__ import annotations

import datetime
import fnmatch
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import fields as attributes_of
from typing import Any

import pandas as pd
from tabulate import tabulate

from prefect_ds.checkpoints.age import as_duration, in_words
from prefect_ds.checkpoints.reference import count, size
from prefect_ds.listing.rows import STATES, ListedCheckpoint, State
from prefect_ds.pages.rendering import MOST_ROWS, render_table

_ROWS_OF_TEXT = 60
"""More checkpoints than these are left out of ``str()``."""

_COLUMNS = tuple(
    attribute.name
    for attribute in attributes_of(ListedCheckpoint)
    if attribute.name not in ("stamp", "is_proved")
)
"""Those of the frame; the others are for prune."""

_TEXTS = ("task", "path", "state", "reason", "flow", "file_type")
"""Columns of text. Where there are no rows, pandas cannot tell by itself."""

_HEADERS = (
    "task",
    "fields",
    "path",
    "rows",
    "size",
    "age",
    "seconds",
    "state",
    "reason",
)
_RIGHT = {"rows", "size", "age", "seconds"}
"""Columns that are aligned at the right."""


@dataclass(frozen=True, slots=True, repr=False)
class Checkpoints:
    """Checkpoints of a folder, of some paths, or of a flow; printed, it is a table.

    Parameters
    ----------
    where
        What was listed, in words.
    rows
        The checkpoints.
    """

    where: str
    rows: tuple[ListedCheckpoint, ...]

    def __iter__(self) -> Iterator[ListedCheckpoint]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> ListedCheckpoint:
        return self.rows[position]

    @property
    def counts(self) -> Counter[State]:
        """State to the number of checkpoints that have it."""
        return Counter(row.state for row in self.rows)

    @property
    def size_bytes(self) -> int:
        """Bytes of all data that are there."""
        # `None`: a row without data, such as a missing checkpoint.
        return sum(row.size_bytes or 0 for row in self.rows)

    @property
    def paths(self) -> list[str]:
        """The paths that are known."""
        return [row.path for row in self.rows if row.path]

    def filter(
        self,
        *states: State,
        task: str | None = None,
        flow: str | None = None,
        path: str | None = None,
        older_than: datetime.timedelta | str | None = None,
        fields: Mapping[str, Any] | None = None,
        where: Callable[[ListedCheckpoint], bool] | None = None,
    ) -> Checkpoints:
        """Return those that fit every condition.

        Parameters
        ----------
        states
            One of these states; none given: any.
        task, flow
            Their names.
        path
            A pattern with ``*`` and ``?`` for the path.
        older_than
            A ``timedelta``, or text such as ``"30d"``, ``"12h"``.
        fields
            Texts of fields of the template: ``{"day": "2024-05-01"}``.
        where
            A function of yours.

        Raises
        ------
        ValueError
            There is no such state.
        """
        for state in states:
            if state not in STATES:
                raise ValueError(
                    f"there is no state {state!r}; the states are {', '.join(STATES)}"
                )
        least_age = as_duration(older_than, "older_than")
        texts = {name: str(value) for name, value in (fields or {}).items()}

        def fits(row: ListedCheckpoint) -> bool:
            if states and row.state not in states:
                return False
            if task is not None and row.task != task:
                return False
            if flow is not None and row.flow != flow:
                return False
            if path is not None and not fnmatch.fnmatchcase(row.path, path):
                return False
            # A row without an age was not written yet: it is not older than anything.
            if least_age is not None and (row.age is None or row.age < least_age):
                return False
            # The row may have more fields than those that are asked for.
            if not texts.items() <= row.fields.items():
                return False
            # Last, as it is the user's: it is called for what fits all else.
            return where is None or where(row)

        return Checkpoints(self.where, tuple(row for row in self.rows if fits(row)))

    def to_frame(self) -> pd.DataFrame:
        """Return a row for every checkpoint.

        Returns
        -------
        pandas.DataFrame
            Columns ``task``, ``path``, ``state``, ``reason``, ``map_index``, ``flow``,
            ``fields`` (a dict), ``file_type``, ``n_rows``, ``size_bytes``, ``seconds``
            and ``written_at`` (in UTC).
        """
        columns = {name: [getattr(row, name) for row in self.rows] for name in _COLUMNS}
        frame = pd.DataFrame(columns, columns=list(_COLUMNS))
        # The dtypes are the same for any rows, also for none.
        for name in _TEXTS:
            frame[name] = frame[name].astype("str")
        for name in ("map_index", "n_rows", "size_bytes"):
            frame[name] = frame[name].astype("Int64")
        frame["fields"] = frame["fields"].astype("object")
        frame["seconds"] = frame["seconds"].astype("float64")
        written_at = pd.to_datetime(frame["written_at"], utc=True)
        frame["written_at"] = written_at.dt.as_unit("us")
        return frame

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return a dict for every checkpoint, of values that JSON has."""
        return [_as_dict(row) for row in self.rows]

    def __str__(self) -> str:
        return self.table(_ROWS_OF_TEXT)

    # As short as the text: a notebook stores it in its file, beside the HTML.
    __repr__ = __str__

    def _repr_html_(self) -> str:
        headers, cells = _cells_of_all(self.rows[:MOST_ROWS])
        return render_table(
            headers,
            cells,
            n_rows=len(self.rows),
            numbers=_RIGHT,
            how="state",
            lines=[self.sums()],
        )

    def table(self, most: int | None = None) -> str:
        """Return the table, with at most so many checkpoints, and a line of sums."""
        shown = self.rows[:most]
        lines = []
        if shown:
            lines.append(_table(shown))
        n_left = len(self.rows) - len(shown)
        if n_left:
            lines.append(f"... and {count(n_left, 'checkpoint')} more")
        lines.append(self.sums())
        return "\n".join(lines)

    def summary(self) -> str:
        """Return a table with one line for every task, and a line of sums."""
        of_all = self.counts
        # In the order of `STATES`, without columns that would be empty.
        states = [state for state in STATES if of_all[state]]
        tasks: dict[str, list[ListedCheckpoint]] = {}
        for row in self.rows:
            tasks.setdefault(row.task, []).append(row)
        if not tasks:
            return self.sums()
        lines = []
        for task, rows in tasks.items():
            counts = Counter(row.state for row in rows)
            numbers = [_unless_zero(counts[state]) for state in states]
            bytes_of_task = sum(row.size_bytes or 0 for row in rows)
            lines.append((task or "-", *numbers, size(bytes_of_task)))
        table = tabulate(
            lines,
            ("task", *states, "size"),
            disable_numparse=True,
            colalign=("left", *["right"] * (len(states) + 1)),
        )
        return f"{table}\n{self.sums()}"

    def sums(self) -> str:
        """Return in a line how many there are, in which states, and their bytes."""
        if not self.rows:
            return f"{self.where}: no checkpoints."
        counts = self.counts
        states = [f"{counts[state]:,} {state}" for state in STATES if counts[state]]
        return (
            f"{self.where}: {count(len(self.rows), 'checkpoint')} "
            f"({', '.join(states)}), {size(self.size_bytes)}."
        )


def shown_path(path: str) -> str:
    """Return a path for people: without the working directory, if it begins with it."""
    here = f"{os.getcwd().replace(os.sep, '/')}/"
    return path.removeprefix(here)


def _cells_of_all(
    rows: Iterable[ListedCheckpoint],
) -> tuple[list[str], list[list[str]]]:
    """Return the headers and the cells of a table, without columns that are empty."""
    lines = [dict(zip(_HEADERS, _cells(row), strict=True)) for row in rows]
    headers = [header for header in _HEADERS if any(line[header] for line in lines)]
    cells = [[line[header] for header in headers] for line in lines]
    return headers, cells


def _table(rows: Iterable[ListedCheckpoint]) -> str:
    headers, cells = _cells_of_all(rows)
    return tabulate(
        cells,
        headers,
        # A field with the text "007" is no number.
        disable_numparse=True,
        colalign=["right" if header in _RIGHT else "left" for header in headers],
    )


def _unless_zero(number: int) -> str:
    return f"{number:,}" if number else ""


def _cells(row: ListedCheckpoint) -> tuple[str, ...]:
    of_fields = ", ".join(f"{name}={text}" for name, text in row.fields.items())
    n_rows, size_in_words, seconds = "", "", ""
    if row.n_rows is not None:
        n_rows = f"{row.n_rows:,}"
    if row.size_bytes is not None:
        size_in_words = size(row.size_bytes)
    if row.seconds is not None:
        seconds = f"{row.seconds:.2f}"
    # In the order of `_HEADERS`.
    return (
        row.run,
        of_fields,
        shown_path(row.path),
        n_rows,
        size_in_words,
        _age(row),
        seconds,
        row.state,
        row.reason,
    )


def _age(row: ListedCheckpoint) -> str:
    """Return the age in its largest unit: "3 days" for "3 days 4 hours"."""
    if row.age is None:
        return ""
    return " ".join(in_words(row.age).split()[:2])


def _as_dict(row: ListedCheckpoint) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in _COLUMNS}
    # JSON has no times.
    if row.written_at is not None:
        values["written_at"] = row.written_at.isoformat()
    return values
