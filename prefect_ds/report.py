"""The table of a run: for every task its results, and the seconds they cost and saved.

Made on the client from the tasks' final states.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from textwrap import shorten
from typing import Literal, TypeAlias

from prefect.core import Parameter, Task
from prefect.engine.state import Mapped, State, TriggerFailed
from tabulate import tabulate

from prefect_ds.checkpoints.lazy_result import raw_value
from prefect_ds.checkpoints.reference import CheckpointReference, size

COMPUTE_S = "prefect_ds_compute_s"
"""Key in a state's context: seconds that the task's code took in this run."""

Outcome: TypeAlias = Literal["loaded", "ran", "failed", "other"]
"""How a task ended.

Its result was there (a checkpoint, or Prefect's own ``target`` or ``cache_for``), its
code ran, it failed, or it was skipped or did not finish. A task that Dask ran again in
the same run, since it lost a worker, ran."""


def outcome_of(state: State) -> Outcome:
    """Return how the task of a final state ended."""
    if state.is_failed():
        return "failed"
    if state.is_skipped() or not state.is_successful():
        return "other"
    if COMPUTE_S in state.context:
        return "ran"
    raw = raw_value(state)
    if isinstance(raw, CheckpointReference):
        return "loaded" if raw.is_loaded else "ran"
    return "loaded" if state.is_cached() else "ran"


@dataclass(frozen=True, slots=True)
class TaskReport:
    """One task of a run; a mapped task with all its children."""

    task: str
    n_loaded: int
    """Results that were there already."""
    n_ran: int
    """Runs of the task's code that succeeded."""
    n_failed: int
    n_other: int
    """Skipped, or not finished."""
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
    remarks: tuple[str, ...] = ()
    """What was not compared, or has changed without counting; the most common first."""

    @classmethod
    def of(cls, task: Task, state: State) -> TaskReport:
        """Return the report of one task from its final state."""
        states = [state]
        if isinstance(state, Mapped):
            states = [child for child in state.map_states if child is not None]
        references = [
            raw
            for raw in map(raw_value, states)
            if isinstance(raw, CheckpointReference)
        ]
        loaded = [reference for reference in references if reference.is_loaded]
        written = [reference for reference in references if not reference.is_loaded]
        errors = [str(state.message) for state in states if _has_failed_itself(state)]
        outcomes = Counter(map(outcome_of, states))
        return cls(
            task=task.name,
            n_loaded=outcomes["loaded"],
            n_ran=outcomes["ran"],
            n_failed=outcomes["failed"],
            n_other=outcomes["other"],
            size_bytes=sum(reference.size_bytes for reference in references),
            compute_s=sum(state.context.get(COMPUTE_S, 0.0) for state in states),
            write_s=sum(reference.write_s or 0.0 for reference in written),
            saved_s=sum(
                (reference.compute_s or 0.0) + (reference.write_s or 0.0)
                for reference in loaded
            ),
            error=errors[0] if errors else "",
            remarks=_remarks(references),
        )


@dataclass(frozen=True, slots=True)
class RunReport:
    """The tasks of a run."""

    tasks: tuple[TaskReport, ...]

    @classmethod
    def of(
        cls, states: Mapping[Task, State], order: Iterable[Task] | None = None
    ) -> RunReport:
        """Return the report of a run.

        Parameters
        ----------
        states
            Each task's final state: ``flow.run(...).result``.
        order
            The tasks in the order wanted; ``None``: as ``states`` has them.
            ``flow.slugs`` has them as they were made.

        Raises
        ------
        TypeError
            The run ended before its tasks did: ``states`` is the error that ended it.
        """
        if not isinstance(states, Mapping):
            raise TypeError(f"the run has no states of tasks, it ended with {states!r}")
        tasks = [task for task in order or states if task in states]
        # The user knows no parameters, constants and lists as steps: Prefect puts them
        # between the tasks.
        steps = [
            task
            for task in tasks
            if not isinstance(task, Parameter) and not task.auto_generated
        ]
        return cls(tuple(TaskReport.of(task, states[task]) for task in steps))

    def __getitem__(self, task: str) -> TaskReport:
        """Return the report of the task with this name."""
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
            "failed",
            "other",
            "checkpoints",
            "compute s",
            "write s",
            "saved s",
        )
        table = tabulate(
            rows, headers, disable_numparse=True, colalign=("left", *["right"] * 8)
        )
        lines = [table]
        for report in self.tasks:
            if report.error:
                error = shorten(report.error, _WIDTH_OF_ERROR, placeholder=" ...")
                lines.append(f"{report.task} failed: {error}")
        for report in self.tasks:
            lines += [f"{report.task}: {remark}" for remark in report.remarks]
        return "\n".join(lines)


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
