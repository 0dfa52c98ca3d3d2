"""The user's executor during a run, with a class for every kind of executor.

It hands all calls on. On the way it keeps Prefect's config out of every submission,
reports progress, and lets go of results that no task needs any more.

Runs on the client; the functions that say so run on a worker.
"""

from __future__ import annotations

import contextlib
import functools
import pickle
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import prefect
from prefect.core import Edge, Flow, Task
from prefect.engine.flow_runner import run_task
from prefect.engine.state import Mapped, Pending, State
from prefect.executors import Executor
from prefect.executors.dask import PrefectCallback
from prefect.utilities import executors

from prefect_ds.checkpoints.loader import Loader
from prefect_ds.checkpoints.taken_apart import flattened, mapped_over
from prefect_ds.engine.client_hits import ClientHits
from prefect_ds.engine.context import CONFIG
from prefect_ds.engine.progress import NoProgress, Progress, ending
from prefect_ds.engine.release import (
    Release,
    ReleaseByCalls,
    ReleaseFromMemory,
    TaskRun,
    maps_over_parts,
)
from prefect_ds.engine.submission import BY_EDGE, Submitted, map_submitted
from prefect_ds.engine.task_identity import classes_named_by


@dataclass(slots=True)
class Undecided:
    """A task run that may not have to be submitted: its checkpoint is looked for."""

    run: TaskRun
    call: dict[str, Any]
    extra_context: Any
    submitted: Submitted
    """What the flow runner holds."""
    look: Future[Any] | None = None
    """Looks for its checkpoint."""


class RunExecutor(Executor):
    """An executor of a kind that we know nothing about: one of a user's own."""

    def __init__(
        self,
        executor: Any,
        flow: Flow,
        has_our_tasks: bool,
        keep: set[Task] | None,
        progress: Progress | NoProgress,
        hits: ClientHits | None = None,
    ) -> None:
        super().__init__()
        self.executor = executor
        self.flow = flow
        self.has_our_tasks = has_our_tasks
        self.progress = progress
        self.hits = hits
        self._undecided: list[Undecided] = []
        self._flattened: dict[Task, list[Submitted]] = {
            edge.upstream_task: [] for edge in flow.edges if maps_over_parts(edge)
        }
        """The mapped children whose results ``flatten`` takes apart, by their task."""
        self.release = Release() if keep is None else self._release(keep)

    def _release(self, keep: set[Task]) -> Release:
        return ReleaseByCalls(self.flow, keep, self.executor.submit)

    @contextlib.contextmanager
    def start(self) -> Iterator[None]:
        """Start the user's executor, and show the progress."""
        with self.executor.start(), self.progress.shown():
            yield

    def submit(
        self,
        fn: Callable[..., Any],
        *args: Any,
        extra_context: Any = None,
        **kwargs: Any,
    ) -> Submitted:
        """Hand a call on to the user's executor."""
        if fn is not run_task:
            # It may take what was submitted, so that must have a future.
            self._decide_all()
            if getattr(fn, "__module__", "") == executors.__name__:
                # It flattens a result, or counts its items.
                run_id = prefect.context.get("flow_run_id", "")
                fn = functools.partial(flattened, fn, run_id)
            return self._submit_function(fn, args, kwargs, extra_context)
        run = TaskRun.of(kwargs)
        # The children of a task are looked for together; the runs of another task may
        # take their results.
        self._decide_all(before=run.task)
        self.release.before(run.task)
        if run.is_parent and self.has_our_tasks and self._waits_for_retries(kwargs):
            waiting = Submitted(Pending("Waits for the retries of upstream tasks."))
            self.release.ended(run, waiting)
            return waiting
        if run.is_counted:
            self.progress.submitted(self.flow.slugs[run.task])
        decision = Undecided(run, kwargs, extra_context, Submitted(None))
        if run.is_child and run.task in self._flattened:
            self._flattened[run.task].append(decision.submitted)
        ended = self._ended_here(decision)
        if isinstance(ended, Future):
            decision.look = ended
            self._undecided.append(decision)
        else:
            self._decide(decision, ended)
        return decision.submitted

    def _waits_for_retries(self, call: Mapping[str, Any]) -> bool:
        """Return whether some upstream children of a flattened map are unfinished.

        Prefect counts a child that waits for its retry as one item. Once it has
        finished it may give more, which moves the items after it to other positions,
        while children that ran for the old positions are not run again.
        """
        if isinstance(call["state"], Mapped):
            return False
        children = [
            child
            for edge, state in call["upstream_states"].items()
            if maps_over_parts(edge) and state.is_mapped()
            for child in self._flattened[edge.upstream_task]
        ]
        if not children:
            return False
        self._decide_all()
        # Where the children are: their results do not come here for this.
        finished = [
            child.future.is_finished()
            if isinstance(child.future, State)
            else self.submit(State.is_finished, child)
            for child in children
        ]
        return not all(self.wait(finished))

    def _ended_here(self, undecided: Undecided) -> State | Future[Any] | None:
        """Return the final state of a run that ends here, or the look for it."""
        if self.hits is None:
            return None
        call = undecided.call
        here = {**call, "context": without_config(call["context"])}
        return self.hits.ended(undecided.run, here, undecided.look)

    def _decide(self, undecided: Undecided, ended: State | None) -> None:
        """Submit a run, unless it has ended."""
        run, submitted = undecided.run, undecided.submitted
        if ended is not None:
            submitted.future = ended
            if run.is_counted:
                self.progress.done(self.flow.slugs[run.task], ending(ended))
            self.release.ended(run, submitted)
            return
        call = undecided.call
        if self.has_our_tasks:
            call["context"] = self._lean(call["context"])
        self._submit_run(run, call, undecided.extra_context, submitted)
        self.release.submitted(run, submitted)

    def _decide_all(self, before: Task | None = None) -> None:
        """Decide, in order, the runs that wait for a look, unless more of them come.

        Parameters
        ----------
        before
            The task whose run comes next.
        """
        if self._undecided and self._undecided[0].run.task is before:
            return
        undecided, self._undecided = self._undecided, []
        for decision in undecided:
            ended = self._ended_here(decision)
            assert not isinstance(ended, Future)
            self._decide(decision, ended)

    def _submit_function(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        extra_context: Any,
    ) -> Submitted:
        args = map_submitted(args, future_of)
        future = self.executor.submit(fn, *args, extra_context=extra_context, **kwargs)
        return Submitted(future)

    def _submit_run(
        self,
        run: TaskRun,
        call: Mapping[str, Any],
        extra_context: Any,
        submitted: Submitted,
    ) -> None:
        # Not the context, which may hold large parameters.
        states = {
            name: map_submitted(call[name], future_of)
            for name in BY_EDGE
            if name in call
        }
        submitted.future = self.executor.submit(
            run_task, **{**call, **states}, extra_context=extra_context
        )

    def wait(self, futures: Any) -> Any:
        """Return the outcomes of what was submitted."""
        outcomes = self._wait(futures)
        if type(futures) is dict:
            for edge, state in outcomes.items():
                if isinstance(edge, Edge) and edge.mapped:
                    classes = functools.partial(classes_named_by, edge.downstream_task)
                    outcomes[edge] = mapped_over(state, Loader(classes))
        return outcomes

    def _wait(self, futures: Any) -> Any:
        self._decide_all()
        # No task comes after it, so nothing takes a result any more.
        if is_final(futures):
            self.release.before(None)
        return self.executor.wait(map_submitted(futures, future_of))

    def _lean(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Return a task's context without the config.

        Prefect merges it into the context of every task, which is most of what a small
        task costs. DSTaskRunner unpickles and merges it once a process.
        """
        lean = without_config(context)
        lean[CONFIG] = self._pickled_config
        return lean

    @functools.cached_property
    def _pickled_config(self) -> bytes:
        return pickle.dumps(prefect.context.config)


class InProcessExecutor(RunExecutor):
    """A LocalExecutor, which runs a task as it is submitted."""

    def _submit_run(
        self,
        run: TaskRun,
        call: Mapping[str, Any],
        extra_context: Any,
        submitted: Submitted,
    ) -> None:
        super()._submit_run(run, call, extra_context, submitted)
        if run.is_counted:
            self.progress.done(self.flow.slugs[run.task], ending(submitted.future))

    def _lean(self, context: Mapping[str, Any]) -> dict[str, Any]:
        # The tasks have the config of this process.
        return without_config(context)


class DelayedExecutor(RunExecutor):
    """A LocalDaskExecutor, which runs tasks when something waits for them.

    It remembers every result until it ends.
    """

    def __init__(self, *args: Any) -> None:
        # First: the release, which the constructor makes, lets go of what is in there.
        self._memory = _Memory(self._computed)
        super().__init__(*args)
        self._counted: dict[str, str] = {}
        """The slugs of the tasks whose runs count, by the keys of the runs."""
        self._ends: list[Submitted] = []

    def _release(self, keep: set[Task]) -> Release:
        return ReleaseFromMemory(self.flow, keep, self._memory.cache)

    @contextlib.contextmanager
    def start(self) -> Iterator[None]:
        """Start the user's executor, with a memory that lets go."""
        with super().start(), self.hits or contextlib.nullcontext():
            prefects = self.executor.callback
            self.executor.callback = self._memory
            try:
                yield
            finally:
                # The executor is the user's, who may run another flow with it.
                self.executor.callback = prefects
                self._memory.cache.clear()

    def _submit_run(
        self,
        run: TaskRun,
        call: Mapping[str, Any],
        extra_context: Any,
        submitted: Submitted,
    ) -> None:
        super()._submit_run(run, call, extra_context, submitted)
        if run.is_counted:
            self._counted[submitted.future.key] = self.flow.slugs[run.task]
        # Waited for first, see `wait`.
        if not self.flow.downstream_tasks(run.task):
            self._ends.append(submitted)

    def _wait(self, futures: Any) -> Any:
        self._decide_all()
        lets_go = isinstance(self.release, ReleaseFromMemory)
        if lets_go and is_final(futures):
            self.release.before(None)
            # The runs that nothing follows come first, so that Dask lets go of the
            # others on the way to them.
            self.executor.wait([submitted.future for submitted in self._ends])
        return super()._wait(futures)

    def _computed(self, key: str, state: State) -> State:
        if key in self._counted:
            self.progress.done(self._counted[key], ending(state))
        return self.release.computed(key, state)


class _Memory(PrefectCallback):
    """Prefect's memory of the outcomes in a LocalDaskExecutor.

    Parameters
    ----------
    computed
        Returns the outcome to remember, given a key and the outcome.
    """

    def __init__(self, computed: Callable[[str, State], State]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._computed = computed

    def _posttask(
        self, key: str, value: Any, dsk: Any, state: Any, worker_id: Any
    ) -> None:
        super()._posttask(key, value, dsk, state, worker_id)  # type: ignore[no-untyped-call]
        remembered = self._computed(key, value)
        if remembered is not value:
            # Dask returns it from the first, a later call finds it in the second.
            state["cache"][key] = self.cache[key] = remembered


def future_of(submitted: Submitted) -> Any:
    """Return what the user's executor gave for a call."""
    return submitted.future


def is_final(futures: Any) -> bool:
    """Return whether the flow runner waits for the tasks' final states.

    By then everything is submitted.
    """
    return type(futures) is dict and any(isinstance(key, Task) for key in futures)


def without_config(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return Prefect's context without its config."""
    return {key: value for key, value in context.items() if key != "config"}
