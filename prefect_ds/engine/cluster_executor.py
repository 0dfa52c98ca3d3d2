"""A DaskExecutor during a run.

A task whose run Dask gives up fails alone, where stock Prefect fails the whole run:
the tasks behind it see a Failed state, and run or not as their triggers say.

Runs on the client, :func:`_run_and_tell` on a worker. The scheduler runs none of it.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from distributed import Future, LocalCluster, get_worker
from distributed.scheduler import KilledWorker
from prefect.engine.state import Failed, State
from prefect.executors import DaskExecutor

from prefect_ds.checkpoints.lazy_result import raw_value
from prefect_ds.checkpoints.write_steps import WriteStep, listening
from prefect_ds.engine import cluster_check, worker_logs
from prefect_ds.engine.lost_workers import LostWorkers, Run
from prefect_ds.engine.progress import ending
from prefect_ds.engine.release import Release, ReleaseOnCluster, TaskRun
from prefect_ds.engine.run_executor import (
    RunExecutor,
    future_of,
    is_final,
)
from prefect_ds.engine.submission import (
    BY_EDGE,
    OwnCall,
    SharedCall,
    Submissions,
    Submitted,
    divided,
    map_submitted,
    run_submitted,
)


class ClusterExecutor(RunExecutor):
    """A DaskExecutor, whose workers may be lost during the run."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._topic = f"prefect_ds-{uuid.uuid4().hex}"
        self._submissions = Submissions()
        self._lost = LostWorkers()
        self._given_up: set[Any] = set()
        """Keys of calls that Dask gave up, and that a state or a new call replaces."""
        self._running: list[Submitted] = []
        self._stack = contextlib.ExitStack()
        self._is_started = False

    def _release(self, keep: set[Any]) -> Release:
        return ReleaseOnCluster(self.flow, keep, self._submit_soon)

    def _submit_soon(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Submit a call that frees memory, ahead of the tasks that wait."""
        return self.executor.submit(fn, *args, priority=1)

    @contextlib.contextmanager
    def start(self) -> Iterator[None]:
        """Prepare the run; the user's executor is started by the first submission.

        A run in which everything is loaded needs no cluster.
        """
        with self.progress.shown(), contextlib.ExitStack() as stack:
            self._stack = stack
            if self.hits is not None:
                stack.enter_context(self.hits)
            # Only tasks of ours may end on the client, so that none may be submitted.
            if not self.has_our_tasks:
                self._start_cluster()
            yield

    def _start_cluster(self) -> None:
        """Start the user's executor, check the cluster, and listen to what it says."""
        if self._is_started:
            return
        self._is_started = True
        enter = self._stack.enter_context
        if self.has_our_tasks:
            enter(_without_first_warnings(self.executor))
        enter(self.executor.start())
        client: Any = self.executor.client
        # Distributed remembers the last thousand batches that a client sent, with all
        # that was submitted in them: a hundred megabytes for ten thousand small tasks,
        # held as long as the run.
        client.scheduler_comm.recent_message_log = deque(maxlen=0)
        known = frozenset() if self.hits is None else self.hits.looks.not_shared
        unseen = cluster_check.check(client, self.flow, known)
        if self.hits is not None:
            self.hits.looks.leave_to_workers(unseen)
        enter(self._progress_told(client))
        enter(worker_logs.forwarded(client))
        enter(self._lost.watched(client))

    @contextlib.contextmanager
    def _progress_told(self, client: Any) -> Iterator[None]:
        if not self.progress.is_shown:
            yield
            return

        def tell(event: tuple[float, dict[str, Any]]) -> None:
            _, said = event
            if "write" in said:
                self.progress.writing(WriteStep(**said["write"]))
            else:
                self.progress.done(said["task"], said["outcome"])

        client.subscribe_topic(self._topic, tell)
        try:
            yield
        finally:
            self.progress.settle()
            client.unsubscribe_topic(self._topic)
            worker_logs.forget(client, self._topic)

    def _submit_function(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        extra_context: Any,
    ) -> Submitted:
        self._start_cluster()
        takes: list[Submitted] = []
        map_submitted(args, takes.append)

        def submit() -> Any:
            futures = map_submitted(args, future_of)
            return self.executor.submit(
                fn, *futures, extra_context=extra_context, **kwargs
            )

        submitted = Submitted(None)
        self._run_by(submit, tuple(takes), submitted)
        return submitted

    def _submit_run(
        self,
        run: TaskRun,
        call: Mapping[str, Any],
        extra_context: Any,
        submitted: Submitted,
    ) -> None:
        self._start_cluster()
        takes = tuple(result for _, results in run.takes for result in results)
        # What ended on the client goes along as it is; mapped children share it.
        known = {name: map_submitted(call[name], _state_or_call) for name in BY_EDGE}
        # The first submission was prepared before there was a cluster.
        context = {**call["context"], **worker_logs.run_context()}
        shared, own = divided({**call, **known, "context": context})
        submit = functools.partial(
            self._submit_parts,
            run,
            self._submissions.common(shared),
            own,
            extra_context,
        )
        self._run_by(submit, takes, submitted)

    def _run_by(
        self,
        submit: Callable[[], Any],
        takes: tuple[Submitted, ...],
        submitted: Submitted,
    ) -> None:
        submitted.future = submit()
        # A call that takes nothing fails by itself alone: it is not submitted again.
        if takes:
            submitted.takes = takes
            submitted.taken_keys = _keys(takes)
            submitted.submit_again = submit
            self._running.append(submitted)

    def _submit_parts(
        self, run: TaskRun, shared: SharedCall, own: OwnCall, extra_context: Any
    ) -> Any:
        fn: Callable[..., State] = run_submitted
        args: tuple[Any, ...] = self._submissions.packed(shared, own)
        slug = self.flow.slugs[run.task]
        if run.is_counted and self.progress.is_shown:
            fn, args = _run_and_tell, (self._topic, slug, *args)
        future = self.executor.submit(fn, *args, extra_context=extra_context)
        index = own.context.get("map_index")
        name = run.task.name
        if index is not None:
            name = f"{name}[{index}]"
        self._lost.runs[future.key] = Run(name, slug, run.is_counted)
        return future

    def _wait(self, futures: Any) -> Any:
        self._decide_all()
        if is_final(futures):
            self.release.before(None)
        if not self._is_started:
            return map_submitted(futures, future_of)
        self._forget_finished()
        while True:
            try:
                outcomes = self.executor.wait(map_submitted(futures, future_of))
            except Exception:
                # Calls that were given up are replaced, and the new ones waited for:
                # they may fail in their turn. Any other error ends the run.
                submitted: list[Submitted] = []
                map_submitted(futures, submitted.append)
                if not self._mend_all(submitted):
                    raise
            else:
                self._explain(outcomes)
                return outcomes

    def _forget_finished(self) -> None:
        """Let go of calls that will not be submitted again."""
        running = []
        for submitted in self._running:
            future = submitted.future
            if isinstance(future, Future) and future.status != "finished":
                running.append(submitted)
            else:
                # What it holds, results of other calls among it, may go.
                submitted.submit_again = None
                submitted.takes = ()
        self._running = running

    def _mend_all(self, submitted: Iterable[Submitted]) -> bool:
        """Replace the calls that have no outcome; return whether there were any."""
        mended = [self._mend(call) for call in submitted]
        # If none was given up, an outcome arrived that this process cannot unpickle.
        if not any(mended):
            mended = [self._mend_unreadable(call) for call in submitted]
        return any(mended)

    def _mend(self, submitted: Submitted) -> bool:
        """Replace a call that Dask gave up, and those before it that it failed with."""
        future = submitted.future
        if not isinstance(future, Future) or future.status != "error":
            return False
        self._given_up.add(future.key)
        if submitted.before_release is not None:
            # A use of the result was given up, so the result was not let go.
            submitted.future = submitted.before_release
            submitted.before_release = None
            self._mend(submitted)
            return True
        # Those before it first: a call fails in Dask with any that it takes.
        for call in submitted.takes:
            self._mend(call)
        failed_itself = self._given_up.isdisjoint(submitted.taken_keys)
        if not failed_itself and submitted.submit_again is not None:
            submitted.future = submitted.submit_again()
            submitted.taken_keys = _keys(submitted.takes)
            return True
        return self._fail(submitted, future.exception())

    def _mend_unreadable(self, submitted: Submitted) -> bool:
        """Replace the outcome of a call if it cannot be unpickled here."""
        future = submitted.future
        # Others are lost with the scheduler, which ends the run.
        if not isinstance(future, Future) or future.status != "finished":
            return False
        try:
            self.executor.wait(future)
        except Exception as error:  # noqa: BLE001 - whatever a user's value raises
            return self._fail(submitted, error)
        return False

    def _fail(self, submitted: Submitted, error: BaseException) -> bool:
        """Replace a task's run with a Failed state; leave other calls alone."""
        key = submitted.future.key
        if key not in self._lost.runs:
            return False
        run = self._lost.runs[key]
        message = self._lost.words(key, error)
        self.executor.logger.error("Task %r failed: %s", run.name, message)
        if run.is_counted:
            self.progress.done(run.slug, "failed")
        submitted.future = Failed(message=message, result=error)
        return True

    def _explain(self, outcomes: Any) -> None:
        """Explain the failures of tasks whose own Dask tasks lost their workers."""
        # Prefect waits for states by task or edge, and for those of mapped children.
        if type(outcomes) is dict:
            outcomes = list(outcomes.values())
        if type(outcomes) is not list:
            return
        for state in outcomes:
            if not isinstance(state, Failed):
                continue
            error = raw_value(state)
            # `_fail` has explained those that are task runs themselves.
            if isinstance(error, KilledWorker) and error.task not in self._lost.runs:
                state.message = self._lost.words(error.task, error)


def _state_or_call(submitted: Submitted) -> Any:
    if isinstance(submitted.future, State):
        return submitted.future
    return submitted


def _keys(submitted: Iterable[Submitted]) -> tuple[Any, ...]:
    return tuple(
        call.future.key for call in submitted if isinstance(call.future, Future)
    )


@contextlib.contextmanager
def _without_first_warnings(executor: DaskExecutor) -> Iterator[None]:
    """Set options that keep Dask from warning, unless the user has set them.

    Two clusters ask for one port of the dashboard, and Prefect's plugin that watches
    workers has a name that Dask uses itself; :class:`LostWorkers` watches them, too.
    """
    kwargs = executor.cluster_kwargs
    watches = executor.watch_worker_status
    # A class of the user's own that hears of workers goes on hearing of them.
    is_plain = type(executor).on_worker_status_changed is (
        DaskExecutor.on_worker_status_changed
    )
    if watches is None and is_plain:
        executor.watch_worker_status = False
    if executor.cluster_class is LocalCluster and not _is_free(_DASHBOARD_PORT):
        executor.cluster_kwargs = {"dashboard_address": ":0", **(kwargs or {})}
    try:
        yield
    finally:
        executor.cluster_kwargs = kwargs
        executor.watch_worker_status = watches


_DASHBOARD_PORT = 8787
"""The port that a LocalCluster asks for."""


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do, so that a port that was in use a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _run_and_tell(topic: str, task: str, *submitted: Any) -> State:
    """Call :func:`run_submitted` on a worker, and tell the client how it ended."""
    worker = get_worker()

    def hear(step: WriteStep) -> None:
        worker.log_event(topic, {"write": step._replace(task=task)._asdict()})

    # By thread: other tasks of this worker write at the same time.
    with listening(hear, thread=threading.get_ident()):
        state = run_submitted(*submitted)
    worker.log_event(topic, {"task": task, "outcome": ending(state)})
    return state
