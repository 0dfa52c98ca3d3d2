"""The table of a run: for every task its results, and the seconds they cost and saved.

Made on the client from the tasks' final states.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import shorten

import pandas as pd
from prefect.core import Flow, Parameter, Task
from prefect.engine.state import State, TriggerFailed
from tabulate import tabulate

from prefect_ds.checkpoints.lazy_result import raw_value
from prefect_ds.checkpoints.reference import CheckpointReference, count, size
from prefect_ds.engine.maybe_loaded import maybe_loaded
from prefect_ds.engine.outcomes import (
    COMPUTE_S,
    Outcome,
    TaskRun,
    outcome_of,
    runs_of,
    states_of,
)
from prefect_ds.engine.step_edges import step_edges
from prefect_ds.pages.graph import to_dot, to_mermaid
from prefect_ds.pages.page import Page, Row, Step, in_words
from prefect_ds.pages.rendering import render_fragment, render_page
from prefect_ds.pages.writing import write_page

__all__ = ["COMPUTE_S", "Outcome", "RunReport", "TaskReport", "TaskRun", "outcome_of"]


@dataclass(frozen=True, slots=True)
class TaskReport:
    """One task of a run; a mapped task with all its children."""

    task: str
    n_loaded: int
    """Results that were there already."""
    n_ran: int
    """Runs of the task's code that succeeded."""
    n_failed: int
    n_not_needed: int
    """Skipped, or freed data that nothing needed."""
    n_other: int
    """Not finished."""
    size_bytes: int
    """Of the checkpoints, loaded or written."""
    compute_s: float
    """Seconds of running the task's code in this run, the computing of Dask frames in
    them."""
    write_s: float
    """Seconds of writing the checkpoints of this run."""
    saved_s: float
    """Seconds that the loaded results took, when they were computed and written."""
    error: str
    """The message of the first run that failed itself, not only its upstream."""
    kept_compute_s: float = 0.0
    """Seconds that computing the checkpoints took, in this run or an earlier one."""
    kept_write_s: float = 0.0
    """Seconds that writing them took."""
    n_maybe: int = 0
    """Of those that were loaded: a task that they depend on ran, with the same outcome
    as before. 0 where the report does not know the flow."""
    remarks: tuple[str, ...] = ()
    """What was not compared, or has changed without counting; the most common first."""
    slug: str = ""
    """Of the task in its flow: unique, where a name is not. Empty where the report does
    not know the flow."""
    runs: tuple[TaskRun, ...] = field(default=(), repr=False)
    """The task's run, or those of its children."""

    @classmethod
    def of(
        cls, task: Task, state: State, maybe: Collection[int] = (), slug: str = ""
    ) -> TaskReport:
        """Return the report of one task from its final state.

        Parameters
        ----------
        task, state
            The task and its final state.
        maybe
            Positions of the runs that were loaded after a task that they depend on ran.
        slug
            Of the task in its flow.
        """
        states = states_of(state)
        references = [
            raw
            for raw in map(raw_value, states)
            if isinstance(raw, CheckpointReference) and not raw.is_freed
        ]
        errors = [str(state.message) for state in states if _has_failed_itself(state)]
        return cls.of_runs(
            task.name,
            runs_of(state, maybe),
            error=errors[0] if errors else "",
            remarks=_remarks(references),
            slug=slug,
        )

    @classmethod
    def of_runs(
        cls,
        task: str,
        runs: Sequence[TaskRun],
        *,
        error: str = "",
        remarks: tuple[str, ...] = (),
        slug: str = "",
    ) -> TaskReport:
        """Return the report of one task from its runs."""
        outcomes = Counter(run.outcome for run in runs)
        return cls(
            task=task,
            n_loaded=outcomes["loaded"],
            n_ran=outcomes["ran"],
            n_failed=outcomes["failed"],
            n_not_needed=outcomes["not needed"],
            n_other=outcomes["other"],
            size_bytes=sum(run.size_bytes or 0 for run in runs),
            compute_s=sum(run.compute_s for run in runs),
            write_s=sum(run.write_s for run in runs),
            saved_s=sum(run.saved_s for run in runs),
            error=error,
            kept_compute_s=sum(run.kept_compute_s for run in runs),
            kept_write_s=sum(run.kept_write_s for run in runs),
            n_maybe=sum(run.is_maybe for run in runs),
            remarks=remarks,
            slug=slug,
            runs=tuple(runs),
        )

    @property
    def loss(self) -> str:
        """In words that the checkpoints do not pay; empty where they may."""
        # Small losses are noise, and a file may be wanted for itself.
        if self.kept_write_s - self.kept_compute_s < _LEAST_LOSS_S:
            return ""
        return (
            f"its checkpoints do not pay: computing them took "
            f"{self.kept_compute_s:.2f} s, writing them {self.kept_write_s:.2f} s, and "
            "reading them comes on top; drop the handler, or choose a faster file type"
        )


@dataclass(frozen=True, slots=True, repr=False)
class RunReport:
    """The tasks of a run."""

    tasks: tuple[TaskReport, ...]
    flow: str = ""
    """The flow's name; empty where the report does not know the flow."""
    edges: tuple[tuple[str, str], ...] = ()
    """Pairs of slugs: which task takes the result of which, or waits for it."""
    error: str = ""
    """Why the run failed, where no task did."""

    @classmethod
    def of(
        cls,
        states: Mapping[Task, State],
        order: Iterable[Task] | None = None,
        flow: Flow | None = None,
    ) -> RunReport:
        """Return the report of a run.

        Parameters
        ----------
        states
            Each task's final state: ``flow.run(...).result``.
        order
            The tasks in the order wanted; ``None``: as they were made, if the flow is
            given, else as ``states`` has them.
        flow
            The flow; with it the report has the edges between the tasks, and says what
            was loaded though a task that it depends on ran.

        Raises
        ------
        TypeError
            The run ended before its tasks did: ``states`` is the error that ended it.
        """
        if not isinstance(states, Mapping):
            raise TypeError(f"the run has no states of tasks, it ended with {states!r}")
        if order is None:
            order = states if flow is None else flow.slugs
        # The user knows no parameters, constants and lists as steps: Prefect puts them
        # between the tasks.
        steps = [
            task
            for task in order
            if task in states
            and not isinstance(task, Parameter)
            and not task.auto_generated
        ]
        if flow is None:
            return cls(tuple(TaskReport.of(task, states[task]) for task in steps))
        maybe = maybe_loaded(flow, states)
        reports = [
            TaskReport.of(task, states[task], maybe[task], flow.slugs[task])
            for task in steps
        ]
        return cls(tuple(reports), flow.name, step_edges(flow, steps))

    def __getitem__(self, task: str) -> TaskReport:
        """Return the report of the task with this name."""
        # Names need not be unique; the first is the one that was made first.
        for report in self.tasks:
            if report.task == task:
                return report
        raise KeyError(task)

    def __str__(self) -> str:
        rows = [
            (
                report.task,
                report.n_loaded,
                report.n_ran,
                report.n_not_needed,
                report.n_failed,
                report.n_other,
                size(report.size_bytes),
                f"{report.compute_s:.2f}",
                f"{report.write_s:.2f}",
                f"{report.saved_s:.2f}",
            )
            for report in self.tasks
        ]
        headers = (
            "task",
            "loaded",
            "ran",
            "not needed",
            "failed",
            "other",
            "checkpoints",
            "compute s",
            "write s",
            "saved s",
        )
        table = tabulate(
            rows, headers, disable_numparse=True, colalign=("left", *["right"] * 9)
        )
        lines = [table, *self._sums()]
        for report in self.tasks:
            if report.error:
                error = shorten(report.error, _WIDTH_OF_ERROR, placeholder=" ...")
                lines.append(f"{report.task} failed: {error}")
        for report in self.tasks:
            lines += [f"{report.task}: {remark}" for remark in report.remarks]
            if report.loss:
                lines.append(f"{report.task}: {report.loss}")
        return "\n".join(lines)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write the report as a page: one file, which a browser opens anywhere.

        Parameters
        ----------
        path
            Of the file, or a URL that fsspec knows; a file that is there is replaced.
        """
        write_page(render_page(self._page()), path)

    def to_dot(self) -> str:
        """Return the flow with its counts in the language of Graphviz."""
        return to_dot(self._page().graph, self.flow)

    def to_mermaid(self) -> str:
        """Return the flow with its counts in the language of Mermaid."""
        return to_mermaid(self._page().graph)

    def to_frame(self) -> pd.DataFrame:
        """Return a row for every task and child.

        Returns
        -------
        pandas.DataFrame
            Columns ``task``, ``map_index``, ``outcome``, ``reason``, ``path``,
            ``size_bytes``, ``compute_s``, ``write_s``, ``saved_s`` and ``is_maybe``.
        """
        rows = [
            (
                report.task,
                run.map_index,
                run.outcome,
                run.reason,
                run.path,
                run.size_bytes,
                run.compute_s,
                run.write_s,
                run.saved_s,
                run.is_maybe,
            )
            for report in self.tasks
            for run in report.runs
        ]
        frame = pd.DataFrame(rows, columns=_COLUMNS)
        whole_numbers = {"map_index": "Int64", "size_bytes": "Int64"}
        return frame.astype(whole_numbers)

    def _repr_html_(self) -> str:
        return render_fragment(self._page())

    def _page(self) -> Page:
        """Return the report as values for a page."""
        n_failed = sum(report.n_failed for report in self.tasks)
        n_runs = sum(len(report.runs) for report in self.tasks)
        status, tone = "Everything succeeded", "loaded"
        if not self.tasks:
            status, tone = "No task ran", "other"
        if n_failed:
            status, tone = (
                f"{n_failed:,} of {count(n_runs, 'task run')} failed",
                "failed",
            )
        if self.error:
            status, tone = "The run failed", "failed"
        facts = (
            ("tasks", f"{len(self.tasks):,}"),
            ("task runs", f"{n_runs:,}"),
            ("checkpoints", size(sum(report.size_bytes for report in self.tasks))),
            ("computed", _seconds(report.compute_s for report in self.tasks)),
            ("written", _seconds(report.write_s for report in self.tasks)),
            ("saved", _seconds(report.saved_s for report in self.tasks)),
        )
        return Page(
            title=self.flow or "A flow",
            kind="Run report",
            status=status,
            tone=tone,
            seconds=("compute", "write", "saved"),
            steps=tuple(map(_step, self.tasks)),
            edges=self.edges,
            facts=facts,
            lines=tuple(f"{line}." for line in self._sums()),
            error=self.error,
        )

    # A notebook keeps both forms of an output in its file: this one is short, too.
    __repr__ = __str__

    def _sums(self) -> Iterator[str]:
        """Say in a line what was loaded, if anything was."""
        n_loaded = sum(report.n_loaded for report in self.tasks)
        if not n_loaded:
            return
        saved_s = sum(report.saved_s for report in self.tasks)
        line = f"Loaded {count(n_loaded, 'result')}, which saved {saved_s:.2f} s"
        n_maybe = sum(report.n_maybe for report in self.tasks)
        if n_maybe:
            line += (
                f"; {n_maybe:,} of them were maybe: what they depend on ran, with the "
                "same result as before"
            )
        yield line


_COLUMNS = (
    "task",
    "map_index",
    "outcome",
    "reason",
    "path",
    "size_bytes",
    "compute_s",
    "write_s",
    "saved_s",
    "is_maybe",
)


def _seconds(numbers: Iterable[float]) -> str:
    return in_words(sum(numbers))


def _step(report: TaskReport) -> Step:
    """Return a task as values for a page."""
    rows = [
        Row(
            child=run.map_index,
            how=f"{run.outcome} (maybe)" if run.is_maybe else run.outcome,
            reason=run.reason,
            path=run.path,
            size_bytes=run.size_bytes,
            # A column of zeros hides the numbers.
            seconds=(run.compute_s or None, run.write_s or None, run.saved_s or None),
        )
        for run in report.runs
    ]
    notes = report.remarks
    if report.loss:
        notes += (report.loss,)
    key = report.slug or report.task
    return Step(key, report.task, rows, notes, report.error)


_LEAST_LOSS_S = 0.5
"""Seconds below which a loss is not worth a line."""


_MOST_REMARKS = 3
_WIDTH_OF_ERROR = 400
"""Of an error below the table. The log has the whole of it, and so has the state."""


def _remarks(references: Iterable[CheckpointReference]) -> tuple[str, ...]:
    """Return the remarks on a task's results, one for all that have the same."""
    numbers = Counter(
        remark for reference in references for remark in reference.remarks
    )
    remarks = [
        remark if number == 1 else f"{remark} ({number} results)"
        for remark, number in numbers.most_common(_MOST_REMARKS)
    ]
    if len(numbers) > _MOST_REMARKS:
        remarks.append(f"and {len(numbers) - _MOST_REMARKS} remarks more")
    return tuple(remarks)


def _has_failed_itself(state: State) -> bool:
    return state.is_failed() and not isinstance(state, TriggerFailed)
