"""How task runs ended, as small values without data, made from their final states.

Used on the client, for the report of a run, and on workers, for progress.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, NamedTuple, TypeAlias

from prefect.engine.state import Mapped, State

from prefect_ds.checkpoints.lazy_result import raw_value
from prefect_ds.checkpoints.reference import CheckpointReference
from prefect_ds.engine.messages import reason_in

COMPUTE_S = "prefect_ds_compute_s"
"""Key in a state's context: seconds that the task's code took in this run."""

Outcome: TypeAlias = Literal["loaded", "ran", "not needed", "failed", "other"]
"""How a task ended, in the words of :func:`prefect_ds.explain`.

Its result was there (a checkpoint, or Prefect's own ``target`` or ``cache_for``), its
code ran, it was skipped or its freed data were not needed, it failed, or it did not
finish. A task that Dask ran again in the same run, since it lost a worker, ran.
"""


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
    if isinstance(raw, CheckpointReference):
        if raw.is_freed:
            return "not needed"
        if raw.is_loaded:
            return "loaded"
        # This run wrote it.
        return "ran"
    # Prefect's own `target` and `cache_for` give a Cached state.
    if state.is_cached():
        return "loaded"
    return "ran"


class TaskRun(NamedTuple):
    """One run of a task: the task itself, or one child of a mapped task."""

    # A named tuple takes a tenth of the time of a frozen dataclass, and there may be
    # 10,000 of them. The texts are those of the state; nothing is copied.
    map_index: int | None
    outcome: Outcome
    reason: str = ""
    """Why it ran or failed, in words; empty for what was loaded."""
    path: str | None = None
    """The path of its checkpoint; ``None`` if it has none."""
    size_bytes: int | None = None
    compute_s: float = 0.0
    """Seconds of running the task's code in this run."""
    kept_compute_s: float = 0.0
    """Seconds that computing the checkpoint took, in this run or an earlier one."""
    kept_write_s: float = 0.0
    """Seconds that writing it took."""
    was_there: bool = False
    """Its checkpoint is older than this run."""
    is_maybe: bool = False
    """It was loaded, and a task that it depends on ran, with the same outcome."""

    @property
    def write_s(self) -> float:
        """Seconds of writing a checkpoint in this run."""
        if self.was_there:
            return 0.0
        return self.kept_write_s

    @property
    def saved_s(self) -> float:
        """Seconds that an earlier run had spent on what was loaded."""
        if not self.was_there:
            return 0.0
        return self.kept_compute_s + self.kept_write_s

    @property
    def seconds(self) -> tuple[float, float, float]:
        """Seconds of computing, of writing, and those saved."""
        return self.compute_s, self.write_s, self.saved_s


def states_of(state: State) -> list[State]:
    """Return the state of a task's run, or those of its mapped children."""
    # A child has no state where the run ended before its turn.
    if isinstance(state, Mapped):
        return [child for child in state.map_states if child is not None]
    return [state]


def runs_of(state: State, maybe: Collection[int] = ()) -> tuple[TaskRun, ...]:
    """Return the runs of a task from its final state.

    Parameters
    ----------
    state
        Final state of the task.
    maybe
        Positions of the runs that were loaded after a task that they depend on ran.
    """
    is_mapped = isinstance(state, Mapped)
    return tuple(
        _run_of(child, number if is_mapped else None, number in maybe)
        for number, child in enumerate(states_of(state))
    )


def _run_of(state: State, map_index: int | None, is_maybe: bool) -> TaskRun:
    outcome = outcome_of(state)
    reason = ""
    if outcome != "loaded":
        reason = reason_in(str(state.message or ""))
    compute_s = state.context.get(COMPUTE_S, 0.0)
    reference: Any = raw_value(state)
    # The report counts neither the size nor the seconds of data that were freed.
    if not isinstance(reference, CheckpointReference) or reference.is_freed:
        return TaskRun(map_index, outcome, reason, compute_s=compute_s)
    return TaskRun(
        map_index=map_index,
        outcome=outcome,
        reason=reason,
        path=reference.path,
        size_bytes=reference.size_bytes,
        compute_s=compute_s,
        kept_compute_s=reference.compute_s or 0.0,
        kept_write_s=reference.write_s or 0.0,
        was_there=reference.is_loaded,
        is_maybe=is_maybe,
    )
