"""The events of a run of a flow and of its tasks. Used on the client and on workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import prefect
from prefect.core import Flow, Parameter, Task
from prefect.engine.state import State

from prefect_ds.checkpoints.lazy_result import raw_value
from prefect_ds.engine import context as run_context
from prefect_ds.engine.outcomes import TaskRun, runs_of
from prefect_ds.engine.step_edges import step_edges
from prefect_ds.engine.task_checkpoint import Miss
from prefect_ds.errors import ResultTypeError, RoundTripError
from prefect_ds.event_log.event import Event
from prefect_ds.event_log.log import EventLog


@dataclass(frozen=True, slots=True)
class TaskEvents:
    """Writes the events of one run of a task."""

    log: EventLog | None
    origin: Event
    """What all of them have in common."""

    @classmethod
    def of(cls, task: Task, steps: Mapping[str, Any]) -> Self:
        """Return the events of a task's run.

        Parameters
        ----------
        task
            The task.
        steps
            Prefect's context of the run.
        """
        # Under Prefect's own flow runner nobody has put a log there.
        if run_context.EVENTS in steps:
            log = steps[run_context.EVENTS]
        else:
            log = EventLog.configured(prefect.context.config)
        if log is None or not _is_step(task):
            return cls(None, _NONE)
        origin = Event(
            event="",
            run_id=_run_id(steps),
            flow=steps.get("flow_name", ""),
            task=task.name,
            slug=steps.get("task_slug") or "",
            map_index=steps.get("map_index"),
        )
        return cls(log, origin)

    def ended(self, state: State, miss: Miss, path: str | None) -> None:
        """Write how the run ended, and what it wrote or set aside.

        Parameters
        ----------
        state
            The state in which it ended.
        miss
            Why it ran, if it did.
        path
            The path of its checkpoint.
        """
        # A mapped parent only prepares the runs of its children.
        if self.log is None or state.is_mapped():
            return
        [run] = runs_of(state)
        if miss.damaged is not None:
            self._write("set aside", reason=miss.damaged.reason, path=path)
        reason = run.reason
        if run.outcome == "loaded":
            # The message says where it was loaded from.
            reason = str(state.message)
        about = {
            "reason": reason,
            "path": run.path or path,
            "size_bytes": run.size_bytes,
            "seconds": _seconds(run),
            "state": type(state).__name__,
            "kept_compute_s": run.kept_compute_s,
            "kept_write_s": run.kept_write_s,
        }
        self._write(_kind(run, state), **about)
        # A retry may find the checkpoint of another run: then this one wrote nothing.
        if run.outcome == "ran" and run.path is not None and not run.was_there:
            self._write("written", **{**about, "seconds": run.write_s, "reason": ""})

    def _write(self, event: str, **about: Any) -> None:
        assert self.log is not None
        self.log.write(replace(self.origin, event=event, **about))


_NONE = Event(event="")


def _is_step(task: Task) -> bool:
    return not isinstance(task, Parameter) and not task.auto_generated


def _run_id(context: Mapping[str, Any]) -> str:
    return run_context.run_id(
        context.get("flow_run_id", ""), context.get("scheduled_start_time", "")
    )


def _kind(run: TaskRun, state: State) -> str:
    # The task did its work, and its handler does not keep the result.
    is_refused = isinstance(raw_value(state), ResultTypeError | RoundTripError)
    if run.outcome == "failed" and is_refused:
        return "refused"
    # It is to be retried, or was paused.
    if run.outcome == "other":
        return "waits"
    return run.outcome


def _seconds(run: TaskRun) -> float | None:
    # A result that was loaded has the seconds that an earlier run spent on it.
    if run.outcome == "loaded":
        return run.saved_s
    if run.outcome in ("ran", "failed"):
        return run.compute_s
    return None


def run_started(log: EventLog | None, flow: Flow, context: Mapping[str, Any]) -> None:
    """Write that a run of a flow begins, with its tasks and edges."""
    if log is None:
        return
    steps = [task for task in flow.slugs if _is_step(task)]
    tasks = [(flow.slugs[task], task.name) for task in steps]
    more = {"tasks": tasks, "edges": step_edges(flow, steps)}
    log.write(
        Event(event="run started", run_id=_run_id(context), flow=flow.name, more=more)
    )


def run_ended(flow: Flow, state: State, context: Mapping[str, Any]) -> None:
    """Write how a run of a flow ended."""
    log = EventLog.configured()
    # A run that waits for its retries has not ended yet.
    if log is None or not state.is_finished():
        return
    log.write(
        Event(
            event="run ended",
            run_id=_run_id(context),
            flow=flow.name,
            reason=str(state.message or ""),
            state=type(state).__name__,
        )
    )
