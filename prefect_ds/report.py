"""The table of a run: for every task its results, and the seconds they cost and saved.

Made on the client from the tasks' final states.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from textwrap import shorten
from typing import Literal, TypeAlias

from prefect.core import Edge, Flow, Parameter, Task
from prefect.engine.state import Mapped, State, TriggerFailed
from prefect.tasks.control_flow.conditional import CompareValue
from tabulate import tabulate

from prefect_ds.checkpoints.lazy_result import raw_value
from prefect_ds.checkpoints.reference import CheckpointReference, count, size
from prefect_ds.engine.planned_values import BETWEEN

COMPUTE_S = "prefect_ds_compute_s"
"""Key in a state's context: seconds that the task's code took in this run."""

Outcome: TypeAlias = Literal["loaded", "ran", "not needed", "failed", "other"]
"""How a task ended, in the words of :func:`prefect_ds.explain`.

Its result was there (a checkpoint, or Prefect's own ``target`` or ``cache_for``), its
code ran, it was skipped or its freed data were not needed, it failed, or it did not
finish. A task that Dask ran again in
the same run, since it lost a worker, ran."""


def outcome_of(state: State) -> Outcome:
    """Return how the task of a final state ended."""
    if state.is_failed():
        return "failed"
    if state.is_skipped():
        return "not needed"
    if not state.is_successful():
        return "other"
    if COMPUTE_S in state.context:
        return "ran"
    raw = raw_value(state)
    if isinstance(raw, CheckpointReference) and raw.is_freed:
        return "not needed"
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

    @classmethod
    def of(cls, task: Task, state: State, n_maybe: int = 0) -> TaskReport:
        """Return the report of one task from its final state."""
        states = _runs(state)
        references = [
            raw
            for raw in map(raw_value, states)
            if isinstance(raw, CheckpointReference) and not raw.is_freed
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
            n_not_needed=outcomes["not needed"],
            n_other=outcomes["other"],
            size_bytes=sum(reference.size_bytes for reference in references),
            compute_s=sum(state.context.get(COMPUTE_S, 0.0) for state in states),
            write_s=sum(reference.write_s or 0.0 for reference in written),
            saved_s=sum(
                (reference.compute_s or 0.0) + (reference.write_s or 0.0)
                for reference in loaded
            ),
            error=errors[0] if errors else "",
            kept_compute_s=sum(reference.compute_s or 0.0 for reference in references),
            kept_write_s=sum(reference.write_s or 0.0 for reference in references),
            n_maybe=n_maybe,
            remarks=_remarks(references),
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


@dataclass(frozen=True, slots=True)
class RunReport:
    """The tasks of a run."""

    tasks: tuple[TaskReport, ...]

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
            The tasks in the order wanted; ``None``: as ``states`` has them.
            ``flow.slugs`` has them as they were made.
        flow
            The flow; with it the report says what was loaded though a task that it
            depends on ran.

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
        n_maybe = Counter[Task]() if flow is None else _maybe_loaded(flow, states)
        reports = [TaskReport.of(task, states[task], n_maybe[task]) for task in steps]
        return cls(tuple(reports))

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


_LEAST_LOSS_S = 0.5
"""Seconds below which a loss is not worth a line."""


def _runs(state: State) -> list[State]:
    """Return the state of a task's run, or those of its mapped children."""
    if isinstance(state, Mapped):
        return [child for child in state.map_states if child is not None]
    return [state]


def _maybe_loaded(flow: Flow, states: Mapping[Task, State]) -> Counter[Task]:
    """Count for every task the results that were loaded after what they depend on ran.

    ``explain`` calls these tasks ``maybe``.
    """
    n_maybe = Counter[Task]()
    is_open: dict[Task, list[bool]] = {}
    """Whether a run was open before: its code ran, or may have run."""
    for task in flow.sorted_tasks():
        if task not in states:
            continue
        # Those that only set an order do not count.
        edges = [
            edge
            for edge in flow.edges_to(task)
            if edge.upstream_task in is_open
            and (edge.key or isinstance(edge.upstream_task, CompareValue))
        ]
        is_users = not (task.auto_generated or isinstance(task, BETWEEN))
        is_open[task] = []
        for index, state in enumerate(_runs(states[task])):
            after_open = any(
                _took_open(edge, index, is_open[edge.upstream_task]) for edge in edges
            )
            outcome = outcome_of(state)
            n_maybe[task] += outcome == "loaded" and after_open
            is_open[task].append(after_open or (is_users and outcome == "ran"))
    return n_maybe


def _took_open(edge: Edge, index: int, upstream: list[bool]) -> bool:
    """Return whether a run took an open result along an edge."""
    if edge.mapped and not edge.flattened and len(upstream) > 1:
        return index < len(upstream) and upstream[index]
    return any(upstream)


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
