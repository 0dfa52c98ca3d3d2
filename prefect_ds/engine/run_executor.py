"""What stands between the flow runner and the user's executor for the length of a run.

It hands every call on, and on the way keeps Prefect's config out of what is submitted,
tells of progress, brings the logs of a remote cluster to the user, and lets go of
results that nobody needs any more.
"""

from __future__ import annotations

import contextlib
import functools
import pickle
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

import prefect
from distributed import get_worker
from prefect.core import Edge, Flow, Task
from prefect.engine.flow_runner import run_task
from prefect.engine.state import State
from prefect.executors import DaskExecutor, Executor, LocalDaskExecutor, LocalExecutor
from prefect.executors.dask import PrefectCallback

from prefect_ds.engine import cluster_check as preflight
from prefect_ds.engine import worker_logs as forwarding
from prefect_ds.engine.context import CONFIG
from prefect_ds.engine.progress import Progress, ending
from prefect_ds.engine.release import purged
from prefect_ds.engine.submission import (
    BY_EDGE,
    Submissions,
    Submitted,
    map_submitted,
    run_submitted,
)


class RunExecutor(Executor):
    """The user's executor, during one run of a flow under our runners.

    Parameters
    ----------
    executor
        The user's.
    flow
        The flow that is run.
    is_ours
        Whether :class:`prefect_ds.DSTaskRunner` runs the tasks.
    keep
        The tasks whose results stay to the end, where others are let go; ``None``: all
        stay.
    progress
        Told of what is submitted and done; ``None``: nobody is.
    """

    def __init__(
        self,
        executor: Executor,
        flow: Flow,
        *,
        is_ours: bool = True,
        keep: Iterable[Task] | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        self.executor = executor
        self.flow = flow
        self._is_ours = is_ours
        self._progress = progress
        self._topic = f"prefect_ds-{uuid.uuid4().hex}"
        self._submissions = Submissions()
        self._order = {
            task: position for position, task in enumerate(flow.sorted_tasks())
        }
        self._last_use = (
            {} if keep is None else _last_uses(flow, self._order, set(keep))
        )
        self._held: dict[Task, list[Submitted]] = {}
        self._uses = _Uses(self._apart)
        # What follows is for a LocalDaskExecutor, which remembers every result until it
        # ends.
        self._runs: dict[str, tuple[Task, bool]] = {}
        self._ahead: Counter[Task] = Counter()
        self._again: set[Task] = set()
        self._released: dict[Task, list[str]] = {}
        self._ends: list[Submitted] = []

    @functools.cached_property
    def _config(self) -> bytes:
        return pickle.dumps(prefect.context.config)

    @contextlib.contextmanager
    def start(self) -> Iterator[None]:
        """Start the user's executor, and listen to what it does."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.executor.start())
            if isinstance(self.executor, DaskExecutor):
                # Distributed remembers the last thousand batches that a client sent,
                # for its developers: with all that was submitted in them, ten thousand
                # small tasks are a hundred megabytes, held as long as the run.
                client: Any = self.executor.client
                client.scheduler_comm.recent_message_log = deque(maxlen=0)
                preflight.check(client, self.flow)
            if self._progress is not None:
                stack.enter_context(self._progress.shown())
            if isinstance(self.executor, DaskExecutor):
                stack.enter_context(self._listening(self.executor.client))
            if isinstance(self.executor, LocalDaskExecutor):
                self.executor.callback = _Callback(self._computed)
            yield

    def submit(
        self,
        fn: Callable[..., Any],
        *args: Any,
        extra_context: Any = None,
        **kwargs: Any,
    ) -> Submitted:
        """Hand a call on to the user's executor."""
        task: Task | None = kwargs["task"] if fn is run_task else None
        # The parent of mapped children is no task run of its own: it only counts them.
        is_parent = bool(kwargs.get("is_mapped_parent"))
        is_counted = False
        taken = []
        if task is not None:
            self._release_before(task)
            if self._last_use:
                taken = [
                    each
                    for each in _taken(kwargs)
                    if each[0].upstream_task in self._last_use
                ]
            # A child that finished in an earlier round is submitted with its state, and
            # only hands it on.
            if (
                self._progress is not None
                and not is_parent
                and not _is_over(kwargs["state"])
            ):
                self._progress.submitted(self.flow.slugs[task])
                is_counted = True
        if task is not None and self._is_ours:
            kwargs["context"] = self._lean(kwargs["context"])
            if isinstance(self.executor, DaskExecutor):
                fn, args, kwargs = run_submitted, self._submissions.split(kwargs), {}
                if is_counted:
                    fn, args = (
                        _run_and_tell,
                        (self._topic, self.flow.slugs[task], *args),
                    )
        args = map_submitted(args, _future)
        # Not the context, which may hold large parameters.
        kwargs |= {
            name: map_submitted(kwargs[name], _future)
            for name in BY_EDGE
            if name in kwargs
        }
        submitted = Submitted(
            self.executor.submit(fn, *args, extra_context=extra_context, **kwargs)
        )
        if task is not None:
            self._uses.add(submitted, taken)
            if task in self._last_use and not is_parent:
                self._held.setdefault(task, []).append(submitted)
            if isinstance(self.executor, LocalExecutor) and is_counted:
                self._done(task, submitted.future)
            elif isinstance(self.executor, LocalDaskExecutor):
                self._runs[submitted.future.key] = task, is_counted
                self._ahead[task] += 1
                if self._last_use and not self.flow.downstream_tasks(task):
                    self._ends.append(submitted)
        return submitted

    def wait(self, futures: Any) -> Any:
        """Have the user's executor resolve what it was given to submit."""
        if type(futures) is dict and any(isinstance(key, Task) for key in futures):
            # The flow runner collects the tasks' final states: all is submitted.
            self._release_before(None)
            if self._ends:
                # First what nothing follows, so that Dask lets go of the rest on the
                # way; then what is left of that.
                self.executor.wait([each.future for each in self._ends])
        return self.executor.wait(map_submitted(futures, _future))

    def _lean(self, context: dict[str, Any]) -> dict[str, Any]:
        """Return a task's context without the config, whose merging is most of what a small task costs."""
        lean = {key: value for key, value in context.items() if key != "config"}
        if not isinstance(self.executor, LocalExecutor):
            # The worker unpickles and merges it once, see DSTaskRunner.
            lean[CONFIG] = self._config
        return lean

    def _done(self, task: Task, state: State) -> None:
        if self._progress is not None:
            self._progress.done(self.flow.slugs[task], ending(state))

    def _computed(self, key: str, state: State) -> None:
        if key not in self._runs:
            return
        task, is_counted = self._runs[key]
        if is_counted:
            self._done(task, state)
        self._ahead[task] -= 1
        if not state.is_finished():
            self._again.add(task)
        for upstream in self.flow.upstream_tasks(task) & self._released.keys():
            uses = self.flow.downstream_tasks(upstream)
            if not uses & self._again and not any(self._ahead[use] for use in uses):
                remembered = cast(LocalDaskExecutor, self.executor).callback.cache
                remembered.update(
                    {
                        each: purged(remembered[each])
                        for each in self._released.pop(upstream)
                    }
                )

    @contextlib.contextmanager
    def _listening(self, client: Any) -> Iterator[None]:
        progress = self._progress
        if progress is not None:
            client.subscribe_topic(
                self._topic,
                lambda event: progress.done(event[1]["task"], event[1]["outcome"]),
            )
        try:
            with forwarding.forwarded(client):
                yield
        finally:
            if progress is not None:
                progress.settle()
                client.unsubscribe_topic(self._topic)
                forwarding.forget(client, self._topic)

    def _release_before(self, task: Task | None) -> None:
        """Let go of results whose every use is submitted before ``task`` is, as soon as these have ended."""
        position = len(self._order) if task is None else self._order[task]
        for held in [each for each in self._held if self._last_use[each] < position]:
            submitted = self._held.pop(held)
            if isinstance(self.executor, LocalDaskExecutor):
                self._released[held] = [each.future.key for each in submitted]
                continue
            for each in submitted:
                each.future = self._apart(
                    _let_go, each.future, self._uses.have_ended(held, each)
                )

    def _apart(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Hand a call of ours on to the user's executor, ahead of the tasks that wait: it frees memory."""
        soon: dict[str, Any] = (
            {"priority": 1} if isinstance(self.executor, DaskExecutor) else {}
        )
        return self.executor.submit(fn, *args, **soon)


class _Uses:
    """Which runs take which results: what a run takes that has not ended, it takes again in a later round.

    Prefect runs the whole flow once more after a task that is to be retried, or paused:
    a task behind it has waited.

    Parameters
    ----------
    submit
        Calls a function with what futures stand for, and returns a future.
    """

    def __init__(self, submit: Callable[..., Any]) -> None:
        self._submit = submit
        self._by_result: dict[Submitted, list[Submitted]] = {}
        self._by_task: dict[Task, list[Submitted]] = {}
        self._ended: dict[tuple[Submitted, ...], Any] = {}

    def add(
        self, run: Submitted, taken: Iterable[tuple[Edge, list[Submitted]]]
    ) -> None:
        """Note what a run takes: by edge, the results, or none where they come resolved or in pieces."""
        for edge, results in taken:
            if not results or edge.flattened:
                self._by_task.setdefault(edge.upstream_task, []).append(run)
            for each in results:
                self._by_result.setdefault(each, []).append(run)

    def have_ended(self, task: Task, result: Submitted) -> Any:
        """Return a future that tells whether all have ended that take this result of a task."""
        return self._all_ended(
            (*self._by_result.pop(result, ()), *self._by_task.get(task, ()))
        )

    def _all_ended(self, runs: tuple[Submitted, ...]) -> Any:
        if runs not in self._ended:
            if len(runs) == 1:
                ended = self._submit(_has_ended, runs[0].future)
            else:  # One by one, each where the run was: its outcome may be large, that it ended is not.
                ended = self._submit(all, [self._all_ended((run,)) for run in runs])
            self._ended[runs] = ended
        return self._ended[runs]


def _taken(call: dict[str, Any]) -> Iterator[tuple[Edge, list[Submitted]]]:
    """Yield for each edge to a run what was submitted and goes along it."""
    for name in BY_EDGE:
        for edge, states in (call.get(name) or {}).items():
            submitted: list[Submitted] = []
            map_submitted(states, submitted.append)
            yield edge, submitted


def _run_and_tell(topic: str, task: str, *submitted: Any) -> State:
    """Call, on a worker, :func:`run_submitted`, and tell the client how it ended."""
    state = run_submitted(*submitted)
    get_worker().log_event(topic, {"task": task, "outcome": ending(state)})
    return state


def _is_over(state: State | None) -> bool:
    return state is not None and state.is_finished()


def _has_ended(state: State) -> bool:
    return state.is_finished()


def _let_go(state: State, is_over: bool) -> State:
    return purged(state) if is_over else state


def _future(submitted: Submitted) -> Any:
    return submitted.future


class _Callback(PrefectCallback):
    """Prefect's memory of what a LocalDaskExecutor computed, which also tells of it."""

    def __init__(self, computed: Callable[[str, State], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._computed = computed

    def _posttask(
        self, key: str, value: Any, dsk: Any, state: Any, worker_id: Any
    ) -> None:
        super()._posttask(key, value, dsk, state, worker_id)  # type: ignore[no-untyped-call]
        self._computed(key, value)


def _last_uses(
    flow: Flow, order: Mapping[Task, int], keep: set[Task]
) -> dict[Task, int]:
    """Return for each task whose result may be let go the position of the last task that takes it."""
    uses = {task: flow.downstream_tasks(task) for task in flow.tasks - keep}
    return {
        task: max(order[use] for use in using) for task, using in uses.items() if using
    }
