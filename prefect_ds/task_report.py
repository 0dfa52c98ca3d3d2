"""One task of a run: its results, and the seconds they cost and saved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from prefect.core import Task
from prefect.engine.state import State, TriggerFailed

from prefect_ds.checkpoints.lazy_result import raw_value
from prefect_ds.checkpoints.reference import CheckpointReference
from prefect_ds.engine.outcomes import TaskRun, runs_of, states_of
from prefect_ds.pages.page import Row, Step

_LEAST_LOSS_S = 0.5
"""Seconds below which a loss is not worth a line."""


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
    """Bytes of the checkpoints, loaded or written."""
    compute_s: float
    """Seconds of running the task's code in this run, and of computing Dask frames."""
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
    """The task's name in its flow: unique, where ``task`` may not be. Empty where the
    report does not know the flow."""
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
            The task's unique name in its flow.
        """
        states = states_of(state)
        # The raw values: nothing is loaded for a report.
        references = [
            raw
            for raw in map(raw_value, states)
            if isinstance(raw, CheckpointReference) and not raw.is_freed
        ]
        # One is shown: children of a mapped task mostly fail in the same way.
        errors = [str(state.message) for state in states if _has_failed_itself(state)]
        return cls.of_runs(
            task.name,
            runs_of(state, maybe),
            error=next(iter(errors), ""),
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
        """A sentence if the checkpoints cost more than they can save; else empty."""
        # Small losses are noise, and a file may be wanted for itself.
        if self.kept_write_s - self.kept_compute_s < _LEAST_LOSS_S:
            return ""
        return (
            f"its checkpoints do not pay: computing them took "
            f"{self.kept_compute_s:.2f} s, writing them {self.kept_write_s:.2f} s, and "
            "reading them comes on top; drop the handler, or choose a faster file type"
        )

    def step(self, key: str) -> Step:
        """Return the task as values for a page; ``key`` names it there."""
        rows = [
            Row(
                child=run.map_index,
                how=f"{run.outcome} (maybe)" if run.is_maybe else run.outcome,
                reason=run.reason,
                path=run.path,
                size_bytes=run.size_bytes,
                # A column of zeros hides the numbers.
                seconds=(
                    run.compute_s or None,
                    run.write_s or None,
                    run.saved_s or None,
                ),
            )
            for run in self.runs
        ]
        notes = self.remarks
        if self.loss:
            notes += (self.loss,)
        return Step(key, self.task, rows, notes, self.error)


_MOST_REMARKS = 3


def _remarks(references: Iterable[CheckpointReference]) -> tuple[str, ...]:
    """Return the remarks on a task's results, one for all that have the same."""
    # Children have mostly the same remarks: said once, with their number.
    numbers = Counter(
        remark for reference in references for remark in reference.remarks
    )
    remarks = []
    for remark, number in numbers.most_common(_MOST_REMARKS):
        if number > 1:
            remark = f"{remark} ({number} results)"
        remarks.append(remark)
    if len(numbers) > _MOST_REMARKS:
        remarks.append(f"and {len(numbers) - _MOST_REMARKS} remarks more")
    return tuple(remarks)


def _has_failed_itself(state: State) -> bool:
    # Prefect fails a task with TriggerFailed where one before it failed.
    return state.is_failed() and not isinstance(state, TriggerFailed)
