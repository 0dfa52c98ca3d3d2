"""What a run did, per task: how many results were loaded, computed and failed, and what that cost and saved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from prefect.core import Parameter, Task
from prefect.engine.state import Mapped, State, TriggerFailed
from tabulate import tabulate

from prefect_ds.checkpoints.lazy_result import raw_value
from prefect_ds.checkpoints.reference import CheckpointReference, size

COMPUTE_S = "prefect_ds_compute_s"
"""Key in a state's context: seconds that the task's code took in this run."""

Outcome: TypeAlias = Literal["loaded", "ran", "failed", "other"]
"""How a task ended: its result was there (a checkpoint, or Prefect's own ``target`` or ``cache_for``), its code ran, it
failed, or it was skipped or did not finish."""


def outcome_of(state: State) -> Outcome:
    """Return how the task of a final state ended."""
    if state.is_failed():
        return "failed"
    if state.is_skipped() or not state.is_successful():
        return "other"
    raw = raw_value(state)
    is_loaded = (
        raw.is_loaded if isinstance(raw, CheckpointReference) else state.is_cached()
    )
    return "loaded" if is_loaded and COMPUTE_S not in state.context else "ran"


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
    """Seconds of running the task's code in this run, over all workers."""
    write_s: float
    """Seconds of writing the checkpoints of this run, over all workers."""
    saved_s: float
    """Seconds that computing and writing the loaded results took when they were computed."""
    error: str
    """What the first failed run of the task says, those that only failed since their upstream did left out."""

    remarks: tuple[str, ...] = ()
    """What was not compared, or has changed without counting; the most common first."""

    @classmethod
    def of(cls, task: Task, state: State) -> TaskReport:
        """Return the report of one task from its final state."""
        states = (
            [child for child in state.map_states if child is not None]
            if isinstance(state, Mapped)
            else [state]
        )
        references = [
            raw
            for raw in map(raw_value, states)
            if isinstance(raw, CheckpointReference)
        ]
        outcomes = Counter(map(outcome_of, states))
        return cls(
            task=task.name,
            n_loaded=outcomes["loaded"],
            n_ran=outcomes["ran"],
            n_failed=outcomes["failed"],
            n_other=outcomes["other"],
            size_bytes=sum(each.size_bytes for each in references),
            compute_s=sum(each.context.get(COMPUTE_S, 0.0) for each in states),
            write_s=sum(
                each.write_s or 0.0 for each in references if not each.is_loaded
            ),
            saved_s=sum(
                (each.compute_s or 0.0) + (each.write_s or 0.0)
                for each in references
                if each.is_loaded
            ),
            error=next(
                (str(each.message) for each in states if _has_failed_itself(each)), ""
            ),
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
        # Parameters, and the constants and lists that Prefect puts between tasks, are
        # none of the user's steps.
        steps = [
            task
            for task in tasks
            if not isinstance(task, Parameter) and not task.auto_generated
        ]
        return cls(tuple(TaskReport.of(task, states[task]) for task in steps))

    def __getitem__(self, task: str) -> TaskReport:
        """Return the report of the task with this name."""
        for each in self.tasks:
            if each.task == task:
                return each
        raise KeyError(task)

    def __str__(self) -> str:
        rows = [
            (
                each.task,
                each.n_loaded,
                each.n_ran,
                each.n_failed,
                each.n_other,
                size(each.size_bytes),
                f"{each.compute_s:.2f}",
                f"{each.write_s:.2f}",
                f"{each.saved_s:.2f}",
            )
            for each in self.tasks
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
        return "\n".join(
            [
                table,
                *(
                    f"{each.task} failed: {each.error}"
                    for each in self.tasks
                    if each.error
                ),
                *(
                    f"{each.task}: {remark}"
                    for each in self.tasks
                    for remark in each.remarks
                ),
            ]
        )


_MOST_REMARKS = 3


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
