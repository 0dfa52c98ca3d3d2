"""The values on a page about the tasks of a flow, and how they are grouped.

A report and an explanation both become a :class:`Page`; templates lay it out and decide
nothing.
"""

from __future__ import annotations

import html
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import NamedTuple

from prefect_ds.checkpoints.reference import size
from prefect_ds.pages.graph import Graph, Node
from prefect_ds.pages.layers import Edge
from prefect_ds.pages.tones import ORDER, tone_of


class Row(NamedTuple):
    """One run of a task, done or planned."""

    child: int | None
    """Index of a mapped child."""
    how: str
    """In the words of :data:`prefect_ds.pages.tones.ORDER`."""
    reason: str
    path: str | None
    size_bytes: int | None
    seconds: tuple[float | None, ...]
    """As many as the page has columns of seconds."""


@dataclass(frozen=True, slots=True)
class Step:
    """One task with its runs."""

    key: str
    name: str
    rows: Sequence[Row]
    notes: tuple[str, ...] = ()
    """Remarks on the task, such as that its checkpoints do not pay."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """The tasks of a flow, after a run or before one."""

    title: str
    kind: str
    """ "Run" or "Plan": the word before the title."""
    status: str
    """A few words on the end of the run, or on the plan."""
    tone: str
    """The color of the status."""
    seconds: tuple[str, ...]
    """The names of the columns of seconds."""
    steps: tuple[Step, ...]
    edges: tuple[Edge, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    """Pairs of a word and a number, for the top of the page."""
    lines: tuple[str, ...] = ()
    """Sentences below them."""
    error: str = ""
    """The message of the run, where it ended before its tasks did."""

    @property
    def graph(self) -> Graph:
        """The flow as nodes and edges."""
        nodes = tuple(_node(step) for step in self.steps)
        return Graph(nodes, self.edges)


def _node(step: Step) -> Node:
    counts = counts_of(step.rows)
    reasons = Counter((row.how, row.reason) for row in step.rows if row.reason)
    lines = [
        f"{number:,} {how}: {shorten(reason, 120, placeholder=' ...')}"
        for (how, reason), number in reasons.most_common(5)
    ]
    lines += [shorten(note, 120, placeholder=" ...") for note in step.notes]
    return Node(step.key, step.name, counts, tuple(lines))


def counts_of(rows: Sequence[Row]) -> tuple[tuple[str, int], ...]:
    """Return pairs of a kind of rows and their number, in the order of the tones."""
    counts = Counter(row.how for row in rows)
    return tuple((how, counts[how]) for how in ORDER if counts[how])


@dataclass(frozen=True, slots=True)
class Cells:
    """A row of a table as text."""

    child: str
    reason: str
    path: str
    size: str
    seconds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Runs of a task that ended alike."""

    how: str
    tone: str
    number: str
    reason: str
    """One for all of them, or empty: then every row has its own."""
    rows: tuple[Cells, ...]
    n_left_out: int
    """Rows for which there is no room on the page."""


@dataclass(frozen=True, slots=True)
class Share:
    """A stretch of a bar, and its words in the legend."""

    how: str
    tone: str
    number: int

    @property
    def words(self) -> str:
        """Such as "9,998 loaded"."""
        return f"{self.number:,} {self.how}"


@dataclass(frozen=True, slots=True)
class Section:
    """A task in the table of tasks."""

    key: str
    name: str
    shares: tuple[Share, ...]
    n_runs: int
    size: str
    seconds: tuple[str, ...]
    notes: tuple[str, ...]
    error: str
    folder: str
    """The folder that all paths begin with, or empty."""
    groups: tuple[Group, ...]
    is_mapped: bool
    has_paths: bool
    has_sizes: bool
    has_seconds: tuple[bool, ...]
    """Whether a column of seconds has any, for every column."""
    has_reasons: bool
    """Whether some rows have a reason of their own, or there is nothing else to say."""

    @property
    def n_columns(self) -> int:
        """How many columns the table of its runs has."""
        flags = (self.is_mapped, self.has_paths, self.has_sizes, self.has_reasons)
        return sum(flags) + sum(self.has_seconds)

    @property
    def failures(self) -> str:
        """In words how many runs failed."""
        n_failed = sum(share.number for share in self.shares if share.how == "failed")
        if self.n_runs == 1:
            return "failed"
        return f"failed in {n_failed:,} of {self.n_runs:,} runs; the first error:"


def shares_of(counts: Sequence[tuple[str, int]]) -> tuple[Share, ...]:
    """Return the stretches of a bar."""
    return tuple(Share(how, tone_of(how), number) for how, number in counts)


def sections_of(page: Page, most_bytes: int) -> list[Section]:
    """Return the tasks of a page, with as many rows as there is room for.

    Parameters
    ----------
    page
        The page.
    most_bytes
        Of all rows together, as HTML. Every task gets a fair part of it, and spends it
        on its failures first.
    """
    folders = [_folder(step.rows) for step in page.steps]
    costs = [
        sum(_cost(row, folder) for row in step.rows)
        for step, folder in zip(page.steps, folders, strict=True)
    ]
    rooms = fair(costs, most_bytes)
    return [
        _section(step, folder, len(page.seconds), room)
        for step, folder, room in zip(page.steps, folders, rooms, strict=True)
    ]


def fair(costs: Sequence[int], room: int) -> list[int]:
    """Return fair parts of the room: as much as is needed, or an equal share.

    >>> fair([10, 500, 900], 610)
    [10, 300, 300]
    """
    parts = [0] * len(costs)
    # The cheapest first: what it leaves of its share goes to the dearer ones.
    order = sorted(range(len(costs)), key=costs.__getitem__)
    for position, number in enumerate(order):
        parts[number] = min(costs[number], room // (len(costs) - position))
        room -= parts[number]
    return parts


_LONGEST_REASON = 300
"""Characters of a reason that a row shows."""

_BYTES_OF_TAGS = 60
"""Of the HTML around a row's text, about."""


def _cost(row: Row, folder: str) -> int:
    """Return how many bytes a row takes, with its tags."""
    path = (row.path or "").removeprefix(folder)
    text = html.escape(path + row.reason[:_LONGEST_REASON])
    return _BYTES_OF_TAGS + len(text.encode("utf-8", "replace"))


def _folder(rows: Sequence[Row]) -> str:
    """Return the folder that all paths begin with, as a path or a URL."""
    paths = [row.path for row in rows if row.path]
    if not paths:
        return ""
    # By letters: commonpath would make s3:/bucket of a URL.
    common = os.path.commonprefix(paths)  # noqa: RUF071
    return common[: common.rfind("/") + 1]


def _section(step: Step, folder: str, n_columns: int, room: int) -> Section:
    counts = counts_of(step.rows)
    groups = tuple(_groups(step.rows, folder, room))
    sizes = [row.size_bytes for row in step.rows if row.size_bytes is not None]
    sums = [_sum_in_words(step.rows, column) for column in range(n_columns)]
    has_reasons = any(cells.reason for group in groups for cells in group.rows)
    return Section(
        key=step.key,
        name=step.name,
        shares=shares_of(counts),
        n_runs=len(step.rows),
        size=size(sum(sizes)) if sizes else "",
        seconds=tuple(sums),
        notes=step.notes,
        error=step.error,
        folder=folder,
        groups=groups,
        is_mapped=any(row.child is not None for row in step.rows),
        has_paths=any(row.path for row in step.rows),
        has_sizes=bool(sizes),
        has_seconds=tuple(bool(words) for words in sums),
        # A table needs one column at least.
        has_reasons=has_reasons or not (sizes or any(sums)),
    )


def _sum_in_words(rows: Sequence[Row], column: int) -> str:
    """Return the sum of a column of seconds; empty where none of them is known."""
    seconds = [row.seconds[column] for row in rows]
    known = [number for number in seconds if number is not None]
    if not known:
        return ""
    return seconds_in_words(sum(known))


def _groups(rows: Sequence[Row], folder: str, room: int) -> Iterator[Group]:
    """Yield the rows that ended alike, those that share a reason together."""
    groups: dict[tuple[str, str], list[Row]] = {}
    numbers = Counter((row.how, row.reason) for row in rows)
    for row in rows:
        # Rows whose reason no other row has share one group, not one group a row.
        is_alone = numbers[row.how, row.reason] == 1
        shared = "" if is_alone else row.reason
        groups.setdefault((row.how, shared), []).append(row)
    # Failures come first in the order, so that room for them is left.
    for how in ORDER:
        for (own, reason), members in groups.items():
            if own != how:
                continue
            shown = []
            for row in members:
                room -= _cost(row, folder)
                if room < 0:
                    break
                # A shared reason is said once, above the rows.
                shown.append(_cells(row, folder, has_reason=not reason))
            yield Group(
                how=how,
                tone=tone_of(how),
                number=f"{len(members):,}",
                reason=shorten(reason, 2 * _LONGEST_REASON, placeholder=" ..."),
                rows=tuple(shown),
                n_left_out=len(members) - len(shown),
            )


def _cells(row: Row, folder: str, *, has_reason: bool) -> Cells:
    child, reason, size_in_words = "", "", ""
    # The first child is 0, and a size may be: only `None` is no value.
    if row.child is not None:
        child = str(row.child)
    if has_reason:
        reason = shorten(row.reason, _LONGEST_REASON, placeholder=" ...")
    if row.size_bytes is not None:
        size_in_words = size(row.size_bytes)
    return Cells(
        child=child,
        reason=reason,
        path=(row.path or "").removeprefix(folder),
        size=size_in_words,
        seconds=tuple(map(seconds_in_words, row.seconds)),
    )


def seconds_in_words(seconds: float | None) -> str:
    """Return seconds for a table: more digits where there are few seconds.

    >>> [seconds_in_words(s) for s in (None, 0, 0.001, 0.0123, 3.14159, 64, 4000)]
    ['', '0', '<0.01', '0.01', '3.1', '64', '1 h 7 min']
    """
    if seconds is None:
        return ""
    if seconds == 0:
        return "0"
    if seconds < 0.005:
        return "<0.01"
    if seconds < 1:
        return f"{seconds:.2f}"
    if seconds < 10:
        return f"{seconds:.1f}"
    if seconds < 600:
        return f"{seconds:.0f}"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def in_words(seconds: float) -> str:
    """Return seconds with their unit: ``0.52 s``, ``1 h 7 min``."""
    words = seconds_in_words(seconds)
    # Long times have their units already.
    if words.endswith("min"):
        return words
    return f"{words} s"


def totals(page: Page) -> tuple[tuple[str, int], ...]:
    """Return pairs of a kind of runs and their number in all tasks."""
    counts = Counter[str]()
    for step in page.steps:
        counts.update(dict(counts_of(step.rows)))
    return tuple((how, counts[how]) for how in ORDER if counts[how])
