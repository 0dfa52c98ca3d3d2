"""Lets go of results during a run, for ``flow.run(keep_results=...)``.

A result may go once all runs that take it have ended for good. Prefect runs the whole
flow once more after a task that is to be retried, or paused; runs that have not ended
for good by then take their inputs again.

The decisions fall on the client; :func:`_let_go` and :func:`_has_ended` run where the
executor runs them, on a worker of a Dask cluster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from prefect.core import Edge, Flow, Task
from prefect.engine.state import State
from prefect.tasks.core.resource_manager import (
    ResourceCleanupTask,
    ResourceSetupTask,
)
from prefect.tasks.secrets import SecretBase

from prefect_ds.checkpoints.lazy_result import HANDED_ON, raw_value, with_result
from prefect_ds.checkpoints.reference import CheckpointReference
from prefect_ds.engine.submission import BY_EDGE, Submitted, map_submitted
from prefect_ds.result import PurgedResult


def purged(state: State) -> State:
    """Return the state of a success without its value.

    References stay, as they hold no data, and so do the values of tasks with
    ``cache_for``: Prefect gives them to later runs.
    """
    if not state.is_successful() or state.is_cached():
        return state
    if isinstance(raw_value(state), CheckpointReference):
        return state
    return with_result(state, PurgedResult(), **{HANDED_ON: None})


@dataclass(frozen=True, slots=True)
class TaskRun:
    """One call of Prefect's ``run_task``, as it is submitted."""

    task: Task
    is_parent: bool
    """It only prepares the runs of mapped children."""
    is_child: bool
    state: State | None
    """The state from an earlier round; a finished one is handed on as it is."""
    takes: tuple[tuple[Edge, tuple[Submitted, ...]], ...]
    """By edge: what was submitted before. Empty where states come resolved."""

    @classmethod
    def of(cls, call: dict[str, Any]) -> TaskRun:
        """Return the run that a call with these arguments makes."""
        is_parent = bool(call.get("is_mapped_parent"))
        is_child = not is_parent and call["context"].get("map_index") is not None
        takes = tuple(_takes(call))
        return cls(call["task"], is_parent, is_child, call["state"], takes)

    @property
    def is_counted(self) -> bool:
        """Whether it counts as a run of the task."""
        is_over = self.state is not None and self.state.is_finished()
        return not self.is_parent and not is_over


def _takes(call: dict[str, Any]) -> Iterator[tuple[Edge, tuple[Submitted, ...]]]:
    for name in BY_EDGE:
        for edge, states in (call.get(name) or {}).items():
            submitted: list[Submitted] = []
            map_submitted(states, submitted.append)
            yield edge, tuple(submitted)


class Release:
    """Lets go of nothing: the default of a run."""

    def before(self, task: Task | None) -> None:
        """Let go of results whose last use comes before ``task``; ``None``: of all."""

    def submitted(self, run: TaskRun, submitted: Submitted) -> None:
        """Note a run that was submitted."""

    def ended(self, run: TaskRun, submitted: Submitted) -> None:
        """Note a run that ended here, or waits, so that it was not submitted."""

    def computed(self, key: str, state: State) -> State:
        """Return the state of a run that has ended, for the executor to remember."""
        return state


class _LastUses:
    """The order in which results of a flow's tasks may go.

    Parameters
    ----------
    flow
        The flow.
    keep
        Tasks whose results stay.
    """

    def __init__(self, flow: Flow, keep: set[Task]) -> None:
        order = flow.sorted_tasks()
        self._order = {task: number for number, task in enumerate(order)}
        self._last_use: dict[Task, int] = {}
        for task in flow.tasks - keep:
            uses = flow.downstream_tasks(task)
            # Prefect runs resources and secrets again in every round, also those that
            # have ended.
            if any(isinstance(use, _RUN_EACH_ROUND) for use in uses):
                continue
            if uses and not _is_counted_each_round(flow, task):
                self._last_use[task] = max(self._order[use] for use in uses)

    def __contains__(self, task: Task) -> bool:
        return task in self._last_use

    def are_before(self, held: Task, task: Task | None) -> bool:
        """Return whether all that take the result of ``held`` come before ``task``."""
        return task is None or self._last_use[held] < self._order[task]


def maps_over_parts(edge: Edge) -> bool:
    """Return whether a task is mapped over what ``flatten`` takes apart."""
    return bool(edge.mapped and edge.flattened)


def _is_counted_each_round(flow: Flow, task: Task) -> bool:
    """Return whether Prefect looks at the result in every round, to count children.

    It does so where a task maps over what ``flatten`` makes of the result.
    """
    return any(map(maps_over_parts, flow.edges_from(task)))


_RUN_EACH_ROUND = (ResourceSetupTask, ResourceCleanupTask, SecretBase)


class ReleaseByCalls(Release):
    """Lets go by calls that the executor runs after the uses of a result.

    Parameters
    ----------
    flow
        The flow that is run.
    keep
        Tasks whose results stay to the end.
    submit
        Calls a function with the outcomes of futures, and returns a future.
    """

    def __init__(self, flow: Flow, keep: set[Task], submit: Callable[..., Any]) -> None:
        self._submit = submit
        self._last_uses = _LastUses(flow, keep)
        self._held: dict[Task, list[Submitted]] = {}
        self._uses_of_result: dict[Submitted, list[Submitted]] = {}
        self._uses_of_task: dict[Task, list[Submitted]] = {}
        self._parents: dict[Task, Submitted] = {}
        """Mapped parents whose children have not been submitted."""
        self._ended: dict[tuple[Submitted, ...], Any] = {}

    def before(self, task: Task | None) -> None:
        """Let go of results whose last use comes before ``task``; ``None``: of all."""
        over = [held for held in self._held if self._last_uses.are_before(held, task)]
        for held in over:
            for submitted in self._held.pop(held):
                uses = (
                    *self._uses_of_result.pop(submitted, ()),
                    *self._uses_of_task.get(held, ()),
                )
                self._release(submitted, self._all_ended(uses))

    def _release(self, submitted: Submitted, has_ended: Any) -> None:
        submitted.future = self._submit(_let_go, submitted.future, has_ended)

    def submitted(self, run: TaskRun, submitted: Submitted) -> None:
        """Note a run that was submitted, and the results that it takes."""
        for edge, results in run.takes:
            if edge.upstream_task not in self._last_uses:
                continue
            # Which of the children a run takes is not known here: it may be any.
            if not results or edge.flattened:
                uses = self._uses_of_task.setdefault(edge.upstream_task, [])
                uses.append(submitted)
            for result in results:
                self._uses_of_result.setdefault(result, []).append(submitted)
        if run.is_parent:
            self._parents[run.task] = submitted
            return
        # The first child takes over: from now on the children's own runs count.
        self._parents.pop(run.task, None)
        if run.task in self._last_uses:
            self._held.setdefault(run.task, []).append(submitted)

    def ended(self, run: TaskRun, submitted: Submitted) -> None:
        """Note a run that ended here, or waits, so that it was not submitted."""
        if run.is_parent:
            # Its children may come in a later round, and take results then.
            self.submitted(run, submitted)

    def _all_ended(self, runs: tuple[Submitted, ...]) -> Any:
        """Return a future that says whether all runs have ended for good."""
        # Several results may have the same uses: one call answers for all of them.
        if runs not in self._ended:
            if len(runs) == 1:
                (run,) = runs
                has_children = run not in self._parents.values()
                if isinstance(run.future, State):
                    ended: Any = _has_ended(run.future, has_children)
                else:
                    ended = self._submit(_has_ended, run.future, has_children)
            else:
                # Run by run, where that run was: only the boolean travels.
                ended = self._submit(all, [self._all_ended((run,)) for run in runs])
            self._ended[runs] = ended
        return self._ended[runs]


class ReleaseOnCluster(ReleaseByCalls):
    """Lets go by calls on a Dask cluster, which may lose its workers."""

    def _release(self, submitted: Submitted, has_ended: Any) -> None:
        # A call fails with any run that it waits for. The result stays until the call
        # has run: it is needed if the call fails.
        submitted.before_release = submitted.future
        super()._release(submitted, has_ended)
        submitted.future.add_done_callback(
            lambda future: _forget_result(submitted, future)
        )


def _forget_result(submitted: Submitted, future: Any) -> None:
    if future.status == "finished":
        submitted.before_release = None


class ReleaseFromMemory(Release):
    """Lets go of results that a LocalDaskExecutor remembers until its end.

    Parameters
    ----------
    flow
        The flow that is run.
    keep
        Tasks whose results stay to the end.
    remembered
        The executor's memory: the states of all runs that have ended, by their keys.
    """

    def __init__(
        self, flow: Flow, keep: set[Task], remembered: dict[str, State]
    ) -> None:
        self._flow = flow
        self._remembered = remembered
        self._last_uses = _LastUses(flow, keep)
        self._runs: dict[str, TaskRun] = {}
        self._held: dict[Task, list[str]] = {}
        self._released: dict[Task, list[str]] = {}
        """Results that go as soon as their uses have ended."""
        self._let_go: set[str] = set()
        """Results that no run takes, and that may be computed all the same."""
        self._n_ahead: Counter[Task] = Counter()
        self._again: set[Task] = set()
        """Tasks with a run that a later round takes up again."""
        self._childless: set[Task] = set()

    def before(self, task: Task | None) -> None:
        """Let go of results whose last use comes before ``task``; ``None``: of all."""
        # Not let go here: those that take them may not have run yet.
        over = [held for held in self._held if self._last_uses.are_before(held, task)]
        for held in over:
            self._released[held] = self._held.pop(held)
            self._forget_if_over(held)

    def submitted(self, run: TaskRun, submitted: Submitted) -> None:
        """Note a run that was submitted."""
        key = submitted.future.key
        self._runs[key] = run
        self._n_ahead[run.task] += 1
        self._childless.discard(run.task)
        if run.task in self._last_uses and not run.is_parent:
            self._held.setdefault(run.task, []).append(key)

    def ended(self, run: TaskRun, submitted: Submitted) -> None:
        """Note a run that ended here, or waits, so that it was not submitted."""
        if run.is_parent and submitted.future.is_mapped():
            self._childless.add(run.task)
        else:
            self._childless.discard(run.task)
        if not _has_ended(submitted.future):
            self._again.add(run.task)

    def computed(self, key: str, state: State) -> State:
        """Return the state to remember, and let go of results that this run took."""
        run = self._runs.get(key)
        if run is None:
            return state
        self._n_ahead[run.task] -= 1
        if run.is_parent and state.is_mapped():
            self._childless.add(run.task)
        if not _has_ended(state):
            self._again.add(run.task)
        upstream_tasks: Iterable[Task] = self._flow.upstream_tasks(run.task)
        for upstream in upstream_tasks & self._released.keys():
            self._forget_if_over(upstream)
        return purged(state) if key in self._let_go else state

    def _forget_if_over(self, task: Task) -> None:
        uses = self._flow.downstream_tasks(task)
        # Each of these takes the result once more: a run to come, a run that a later
        # round takes up again, a parent whose children have not been submitted.
        if any(self._n_ahead[use] for use in uses):
            return
        if uses & self._again or uses & self._childless:
            return
        for key in self._released.pop(task):
            # Prefect maps over the shorter of two: the rest need not be computed yet.
            if key in self._remembered:
                self._remembered[key] = purged(self._remembered[key])
            else:
                self._let_go.add(key)


def _has_ended(state: State, has_children: bool = True) -> bool:
    """Return whether a run has ended for good: a later round hands its state on.

    Prefect checks a Cached state again in a new round and runs the task if it no longer
    holds. A Mapped parent gets its children in a later round if it has none.
    """
    if not state.is_finished() or state.is_cached():
        return False
    return has_children or not state.is_mapped()


def _let_go(state: State, has_ended: bool) -> State:
    return purged(state) if has_ended else state
