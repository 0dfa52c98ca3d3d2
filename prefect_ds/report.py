"""The table of a run: for every task its results, and the seconds they cost and saved.

Made on the client from the tasks' final states.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from textwrap import shorten

import pandas as pd
from prefect.core import Flow, Parameter, Task
from prefect.engine.state import State
from tabulate import tabulate

from prefect_ds.checkpoints.reference import count, size
from prefect_ds.engine.maybe_loaded import maybe_loaded
from prefect_ds.engine.outcomes import COMPUTE_S, Outcome, TaskRun, outcome_of
from prefect_ds.engine.step_edges import step_edges
from prefect_ds.pages.page import Page, in_words
from prefect_ds.pages.paged import Paged
from prefect_ds.task_report import TaskReport

__all__ = ["COMPUTE_S", "Outcome", "RunReport", "TaskReport", "TaskRun", "outcome_of"]


@dataclass(frozen=True, slots=True, repr=False)
class RunReport(Paged):
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
            raise TypeError(f"the run has no task states: it ended with {states!r}")
        if order is None:
            # A flow has its slugs in the order in which its tasks were made.
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
        # Without the flow nothing says which task depends on which.
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
        # Some may be missing, and then pandas would take them for floats.
        whole_numbers = {"map_index": "Int64", "size_bytes": "Int64"}
        return frame.astype(whole_numbers)

    def _page(self) -> Page:
        """Return the report as values for a page."""
        n_failed = sum(report.n_failed for report in self.tasks)
        n_runs = sum(len(report.runs) for report in self.tasks)
        # The worst that is true wins, so it comes last.
        status, tone = "Everything succeeded", "loaded"
        if not self.tasks:
            status, tone = "No task ran", "other"
        if n_failed:
            status = f"{n_failed:,} of {count(n_runs, 'task run')} failed"
            tone = "failed"
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
            steps=tuple(
                # Names need not be unique, and without the flow there are no slugs.
                report.step(report.slug or f"{report.task} {number}")
                for number, report in enumerate(self.tasks)
            ),
            edges=self.edges,
            facts=facts,
            lines=tuple(f"{line}." for line in self._sums()),
            error=self.error,
        )

    # A notebook keeps both forms of an output in its file: this one is short, too.
    __repr__ = __str__

    def _sums(self) -> Iterator[str]:
        """Yield a line on what was loaded, if anything was."""
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


_WIDTH_OF_ERROR = 400
"""Characters of an error below the table. The log and the state have all of it."""
