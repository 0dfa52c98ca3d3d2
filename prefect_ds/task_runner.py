"""The task runner that loads checkpoints, and writes those that are missing."""

from __future__ import annotations

import copy
import functools
import inspect
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

import prefect
from prefect.core import Edge, Task
from prefect.engine.result import Result
from prefect.engine.runner import ENDRUN, Runner, call_state_handlers
from prefect.engine.state import Failed, Paused, State, Success
from prefect.engine.task_runner import TaskRunner
from prefect.utilities.executors import tail_recursive

from prefect_ds.checkpoint_handler import checkpoint_handler
from prefect_ds.checkpoints.handed_on import loaded_on_access, with_handed_on
from prefect_ds.checkpoints.identity import TaskIdentity
from prefect_ds.checkpoints.lazy_result import (
    PlainResult,
    by_reference,
    lazy,
    raw_value,
    with_result,
)
from prefect_ds.checkpoints.loader import Loader
from prefect_ds.checkpoints.prefect_result import Place
from prefect_ds.checkpoints.reference import CheckpointReference
from prefect_ds.engine import context as run_context
from prefect_ds.engine.failures import failed, free_locals
from prefect_ds.engine.handing_on import hands_on, task_arguments
from prefect_ds.engine.read_paths import confirm_inputs
from prefect_ds.engine.remarks import warn_of_remarks
from prefect_ds.engine.task_checkpoint import Hit, Miss, TaskCheckpoint, run_name
from prefect_ds.engine.task_events import TaskEvents
from prefect_ds.engine.task_handler import handler_of
from prefect_ds.engine.task_identity import classes_named_by
from prefect_ds.engine.template_names import TemplateNames, check_template
from prefect_ds.errors import PrefectDSError, TemplateError
from prefect_ds.report import COMPUTE_S
from prefect_ds.result_handler import ResultHandler

# Prefect's steps without the call of the state handlers: a step of ours that calls them
# calls the handlers itself.
_run = inspect.unwrap(TaskRunner.run)
_check_task_ready_to_map = inspect.unwrap(TaskRunner.check_task_ready_to_map)
_get_task_run_state = inspect.unwrap(TaskRunner.get_task_run_state)
_check_for_retry = inspect.unwrap(TaskRunner.check_for_retry)


class DSTaskRunner(TaskRunner):
    """Prefect's ``TaskRunner`` for tasks whose ``result`` is one of our handlers.

    Other tasks run as Prefect runs them. The methods are Prefect's steps, in the order
    in which Prefect takes them.

    Parameters
    ----------
    task, state_handlers, flow_result
        As for Prefect's ``TaskRunner``.
        :func:`~prefect_ds.checkpoint_handler.checkpoint_handler` always takes part,
        before all others, so that they see a loaded checkpoint as one change, from
        Pending to Success.
    """

    def __init__(
        self,
        task: Task,
        state_handlers: Iterable[Callable[..., State | None]] | None = None,
        flow_result: Result | None = None,
    ) -> None:
        others = [
            handler
            for handler in state_handlers or ()
            if handler is not checkpoint_handler
        ]
        # Not by Prefect's own constructor: it copies all of the context, the flow's
        # parameters with it, for every task.
        Runner.__init__(self, state_handlers=others)
        self.task = task
        self.flow_result = flow_result
        result = task.result or flow_result
        if result is None:
            result = Result()
        if result is not task.result or isinstance(result, ResultHandler):
            # Prefect writes a task's target into it, and tasks may share a handler.
            result = copy.copy(result)
        self.result = result
        self._has_handler = handler_of(task, flow_result) is not None
        self._place: Place | None = None
        self._by_reference = False
        self._task_identity: TaskIdentity | None = None
        self._refresh = False
        self._not_needed: frozenset[int | None] = frozenset()
        self._inputs: dict[str, Result] = {}
        self._load = Loader(functools.partial(classes_named_by, task))
        self._has_begun = False
        self._is_in_loop = False
        self._checkpoint: TaskCheckpoint | None = None
        self._miss = Miss("there was no checkpoint")
        self._offered = State()
        """What the state handlers were asked about last."""
        self._compute_s: float | None = None
        self._attempts_s = 0.0

    @functools.cached_property
    def context(self) -> dict[str, Any]:  # type: ignore[override]
        """Prefect's context as nested dicts, copied for those who ask for it.

        Prefect's own is an attribute, copied for every task.
        """
        return run_context.copied()

    @property
    def handler(self) -> ResultHandler | None:
        """The handler of the task's result; ``None`` where it is Prefect's, or none."""
        if not self._has_handler:
            return None
        # Not the task's own but this runner's copy, which it may change.
        return cast(ResultHandler, self.result)

    @tail_recursive
    def run(
        self,
        state: State | None = None,
        upstream_states: dict[Edge, State] | None = None,
        context: dict[str, Any] | None = None,
        is_mapped_parent: bool = False,
    ) -> State:
        """Prefect's ``TaskRunner.run``.

        Under our flow runner a checkpointed result leaves as a reference.
        """
        steps = run_context.for_steps(context)
        # They are this run's, not that of a flow which the task itself runs. A loop
        # calls this once a turn.
        self._by_reference |= bool(steps.get(run_context.BY_REFERENCE))
        self._task_identity = self._task_identity or steps.get(run_context.IDENTITY)
        self._refresh |= bool(steps.get(run_context.REFRESH))
        self._not_needed |= steps.get(run_context.NOT_NEEDED) or frozenset()
        events = TaskEvents.of(self.task, steps)
        steps.update(run_context.OF_NO_TASK)
        steps.pop(run_context.EVENTS, None)
        run_context.resize_cache(prefect.context.config)
        # Prefect's loop count says less: where a turn of a loop runs another flow, the
        # tasks of that flow have the count in their context, too.
        is_retried_turn = state is not None and "_loop_count" in state.context
        self._is_in_loop = self._has_begun or is_retried_turn
        self._has_begun = True
        if state is not None:
            self._attempts_s += state.context.get(COMPUTE_S, 0.0)
        final: State = _run(
            self,
            state=state,
            upstream_states=upstream_states,
            context=steps,
            is_mapped_parent=is_mapped_parent,
        )
        if self._compute_s is not None:
            seconds = self._attempts_s + self._compute_s
            with_seconds = {**final.context, COMPUTE_S: seconds}
            # A copy: a signal holds the state too, and seconds are not in its digest.
            final = with_result(final, final._result, context=with_seconds)
        path = None
        if self._checkpoint is not None:
            path = self._checkpoint.path
        events.ended(final, self._miss, path)
        if not self._by_reference:
            # Under our flow runner the client says it, once for all children.
            warn_of_remarks(self.task, raw_value(final))
            return with_handed_on(final, self._load)
        error = raw_value(final)
        if isinstance(error, BaseException):
            self._inputs = {}
            self._load.forget()
            free_locals(error)
        return with_handed_on(by_reference(final), self._load)

    def call_runner_target_handlers(self, old_state: State, new_state: State) -> State:
        """Call the checkpoint handler, then the task's own state handlers."""
        try:
            new_state = checkpoint_handler(self, old_state, new_state) or new_state
        except PrefectDSError as error:
            raise ENDRUN(failed(error, run_name(self.task))) from error
        self._offered = new_state
        return super().call_runner_target_handlers(old_state, new_state)

    def handle_state_change(self, old_state: State, new_state: State) -> State:
        """Prefect's step that calls the state handlers.

        A result that they reject is no checkpoint: a retry would load it again.
        """
        state = super().handle_state_change(old_state, new_state)
        offered = raw_value(self._offered)
        # A pause is none: the result counts once someone has approved it.
        is_rejected = state.is_failed() or state.is_pending()
        is_rejected = is_rejected and not isinstance(state, Paused)
        if (
            is_rejected
            and self._checkpoint is not None
            and self._offered.is_successful()
            and isinstance(offered, CheckpointReference)
        ):
            try:
                self._checkpoint.withdraw(offered)
            except PrefectDSError as error:
                raise ENDRUN(failed(error, run_name(self.task))) from error
        return state

    def load_results(
        self, state: State, upstream_states: dict[Edge, State]
    ) -> tuple[State, dict[Edge, State]]:
        """Prefect's step before the inputs are taken from the upstream states.

        From here on they load when they are looked at.
        """
        return state, loaded_on_access(upstream_states, self._load)

    def set_task_run_name(self, task_inputs: dict[str, Result]) -> None:
        """Prefect's ``set_task_run_name``; reads only inputs that the name names."""
        name = self.task.task_run_name
        if isinstance(name, str):
            run_name = name.format_map(TemplateNames(task_inputs, self.task))
            prefect.context.update(task_run_name=run_name)
        else:
            super().set_task_run_name(task_inputs)

    @call_state_handlers
    def check_task_ready_to_map(
        self, state: State, upstream_states: dict[Edge, State]
    ) -> State:
        """Prefect's step for the parent of mapped children.

        A template that cannot tell the children apart ends it here.
        """
        try:
            check_template(self.task, upstream_states)
        except TemplateError as error:
            raise ENDRUN(Failed(str(error), result=error)) from error
        if self._by_reference:
            # Prefect counts what is mapped over, and hands it to the client for a
            # retry: neither reads anything.
            upstream_states = {
                edge: by_reference(upstream)
                for edge, upstream in upstream_states.items()
            }
        parent = _check_task_ready_to_map(self, state, upstream_states=upstream_states)
        return cast(State, parent)

    def check_target(self, state: State, inputs: dict[str, Result]) -> State:
        """Prefect's look for a ``target``.

        For our handlers the checkpoint handler looks, after the trigger.
        """
        if self.handler is not None:
            return state
        return super().check_target(state, inputs=inputs)

    def check_task_is_cached(self, state: State, inputs: dict[str, Result]) -> State:
        """Prefect's look for what ``cache_for`` left in this process.

        With our handlers the checkpoint counts.
        """
        if self.handler is not None:
            return state
        cached = super().check_task_is_cached(state, inputs=inputs)
        if cached is not state and COMPUTE_S in cached.context:
            # An earlier run took those seconds.
            cached = copy.copy(cached)
            cached.context = {**cached.context}
            del cached.context[COMPUTE_S]
        return cached

    def set_task_to_running(self, state: State, inputs: dict[str, Result]) -> State:
        """Prefect's change from Pending to Running.

        The checkpoint handler answers it with a Success where a checkpoint counts.
        """
        self._inputs = inputs
        state = super().set_task_to_running(state, inputs=inputs)
        if state.is_failed() and self._offered.is_successful():
            # A checkpoint that was rejected is retried as what a task returns is.
            state = self.check_for_retry(state, inputs=inputs)
        if not state.is_running():
            raise ENDRUN(state)
        return state

    def find_checkpoint(self) -> State | None:
        """Return a Success with the checkpoint; ``None`` where the task has to run."""
        # A loop looks before its first turn only: a checkpoint that is there in a later
        # turn was not there when the loop began.
        checkpoint = self._taken_checkpoint(self._inputs)
        if checkpoint is None or self._is_in_loop:
            return None
        match checkpoint.find():
            case Hit() as hit:
                if not hit.reference.is_loaded:
                    self._compute_s = hit.reference.compute_s or 0.0
                return checkpoint.loaded(hit)
            case Miss() as miss:
                self._miss = checkpoint.make_way(miss)
                return None

    @property
    def _is_needed(self) -> bool:
        """Whether data that were freed have to be computed again."""
        return run_context.current().get("map_index") not in self._not_needed

    def _taken_checkpoint(self, inputs: dict[str, Result]) -> TaskCheckpoint | None:
        """Take path and identity, once: the task's code may change its arguments.

        A loop is one computation from its first turn's inputs, which a turn may change
        in place.
        """
        if self._checkpoint is None and self.handler is not None:
            self._checkpoint = TaskCheckpoint.of_run(
                self.handler,
                self.task,
                inputs,
                self._task_identity,
                place=self._place,
                refresh=self._refresh,
                is_needed=self._is_needed,
            )
        return self._checkpoint

    @call_state_handlers
    def get_task_run_state(self, state: State, inputs: dict[str, Result]) -> State:
        """Prefect's step that runs the task; our handler writes its result, once."""
        if self._miss.problem is not None:
            if isinstance(self._miss.problem, PrefectDSError):
                return failed(self._miss.problem, run_name(self.task))
            raise self._miss.problem
        passes_on = self.handler is None and hands_on(self.task, inputs)
        try:
            checkpoint = self._taken_checkpoint(inputs)
            arguments = task_arguments(inputs, passes_on)
        except PrefectDSError as error:
            return failed(error, run_name(self.task))
        if passes_on or isinstance(self.result, ResultHandler):
            with prefect.context(checkpointing=False):
                new_state = self._timed_run(state, arguments)
        else:
            new_state = self._timed_run(state, arguments)
        if passes_on:
            new_state._result = PlainResult(raw_value(new_state))
            return lazy(new_state, load=self._load)
        # Skipped, Cached and Looped are no results to keep; a loop's last turn is.
        if type(new_state) is not Success:
            return new_state
        # In this step, not in a state handler: an error here is retried as the task's
        # own are.
        try:
            confirm_inputs(inputs.values())
            if checkpoint is None:
                return new_state
            new_state, more_s = checkpoint.keep(
                new_state,
                is_own=self.task.result is not None,
                miss=self._miss,
                compute_s=self._compute_s or 0.0,
            )
        except PrefectDSError as error:
            return failed(error, run_name(self.task))
        self._compute_s = (self._compute_s or 0.0) + more_s
        return new_state

    def _timed_run(self, state: State, inputs: dict[str, Result]) -> State:
        """Run the task as Prefect does, and count the seconds; a loop adds up."""
        started = time.perf_counter()
        try:
            return cast(State, _get_task_run_state(self, state, inputs=inputs))
        finally:
            taken_s = time.perf_counter() - started
            self._compute_s = (self._compute_s or 0.0) + taken_s

    @call_state_handlers
    def check_for_retry(self, state: State, inputs: dict[str, Result]) -> State:
        """Prefect's step before a retry.

        The value that a loop has reached so far is not written as its result.
        """
        if not isinstance(self.result, ResultHandler):
            return cast(State, _check_for_retry(self, state, inputs=inputs))
        with prefect.context(checkpointing=False):
            return cast(State, _check_for_retry(self, state, inputs=inputs))
