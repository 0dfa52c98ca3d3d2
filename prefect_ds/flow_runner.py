"""The flow runner under which results travel as references.

The states that a flow's caller gets load on access. Runs on the client.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

import prefect
from prefect.core import Task
from prefect.engine.flow_runner import FlowRunner
from prefect.engine.runner import ENDRUN
from prefect.engine.state import Failed, Mapped, State
from prefect.executors import Executor, LocalExecutor

from prefect_ds.checkpoint_handler import checkpoint_handler
from prefect_ds.checkpoints.lazy_result import by_reference, lazy, raw_value
from prefect_ds.checkpoints.reference import CheckpointReference
from prefect_ds.engine.chosen_tasks import chosen_tasks
from prefect_ds.engine.client_looks import FoldersNotShared
from prefect_ds.engine.context import (
    BY_REFERENCE,
    EVENTS,
    IDENTITY,
    NOT_NEEDED,
    REFRESH,
    left_at_once,
    resize_cache,
)
from prefect_ds.engine.executor_for_run import for_run
from prefect_ds.engine.failures import failed_flow
from prefect_ds.engine.first_look import warn_of_unused_results
from prefect_ds.engine.flow_plan import walked
from prefect_ds.engine.freed import TaskRun, have_freed
from prefect_ds.engine.freed_results import FreedResults, part_before
from prefect_ds.engine.leftovers import say_leftovers
from prefect_ds.engine.log_levels import important_level
from prefect_ds.engine.progress import Progress, wanted
from prefect_ds.engine.remarks import with_advice
from prefect_ds.engine.result_check import check_result
from prefect_ds.engine.run_page import write_run_page
from prefect_ds.engine.task_events import run_ended, run_started
from prefect_ds.engine.task_handler import handler_of
from prefect_ds.engine.task_identity import of_all_runs
from prefect_ds.engine.template_names import check_template
from prefect_ds.errors import OptionError, PrefectDSError
from prefect_ds.event_log.log import EventLog
from prefect_ds.report import RunReport
from prefect_ds.task_runner import DSTaskRunner

T = TypeVar("T")


class DSFlowRunner(FlowRunner):
    """Prefect's ``FlowRunner``, with ``task_runner_cls`` in ``flow.run(...)``.

    Importing prefect_ds makes it the default flow runner. With any other task runner
    than :class:`prefect_ds.DSTaskRunner` it behaves exactly as Prefect's.
    """

    _keep: set[Task] | None = None
    _shows_progress = False
    _is_first_round = True
    """False in the rounds that follow the first, for retries."""
    _refresh: frozenset[Task] = frozenset()
    _asked: TaskRun | None = None
    """The task run whose freed data the user asks for; ``None``: no single one."""
    _run_context: Mapping[str, Any] = {}
    _are_states_handled = False
    """Whether the caller has handlers for the states of all tasks.

    They may look at any data.
    """

    def run(
        self,
        *args: Any,
        task_runner_cls: type | None = None,
        progress: bool | None = None,
        keep_results: Iterable[Task] | None = None,
        refresh: Iterable[Task | str] = (),
        **kwargs: Any,
    ) -> State:
        """Prefect's ``FlowRunner.run``.

        Parameters
        ----------
        *args, **kwargs
            As for Prefect's ``FlowRunner.run``.
        task_runner_cls
            The class that runs the tasks.
        progress
            Show per task how many results were loaded, computed and failed, and how
            many are left, while the flow runs. ``None``: show it if stderr is a
            terminal and tqdm is installed.
        keep_results
            Let go of results during the run, except those of these tasks and of
            terminal tasks. A result without a checkpoint goes once no task needs it;
            its state then has a :class:`prefect_ds.result.PurgedResult`. ``None``: keep
            all. Works with any task runner.
        refresh
            Tasks of the flow, or their names, that run whatever is there. What depends
            on them loads if they give the same result as before.

        Raises
        ------
        TypeError
            ``progress`` or ``refresh`` is given without
            :class:`prefect_ds.DSTaskRunner`, or ``keep_results`` or ``refresh`` is no
            list of tasks.
        ValueError
            ``keep_results`` or ``refresh`` names a task of another flow, or the size of
            the memory cache is set to no number.
        """
        if task_runner_cls is not None:
            self.task_runner_cls = task_runner_cls
        if progress is not None and not self._has_our_tasks:
            raise TypeError("progress= needs task_runner_cls=DSTaskRunner")
        self._keep = None
        if keep_results is not None:
            named = chosen_tasks(self.flow, keep_results, "keep_results", by_name=False)
            self._keep = self.flow.terminal_tasks() | named
        self._refresh = frozenset(chosen_tasks(self.flow, refresh, "refresh"))
        if self._refresh and not self._has_our_tasks:
            raise TypeError("refresh= needs task_runner_cls=DSTaskRunner")
        # A caller may give Prefect's arguments by position as well.
        call = _prefects_run.bind(self, *args, **kwargs)
        handlers = call.arguments.get("task_runner_state_handlers") or ()
        self._are_states_handled = any(
            handler is not checkpoint_handler for handler in handlers
        )
        self._is_first_round = not call.arguments.get("task_states")
        if self._is_first_round:
            # Once a run, not in every round of its retries.
            warn_of_unused_results(self.flow, self._has_our_tasks)
            if self._has_our_tasks:
                say_leftovers(self.flow)
        if self._has_our_tasks:
            resize_cache(prefect.config)
            self._shows_progress = wanted(progress)
            # The states that an earlier round gave to its caller come back when Prefect
            # retries.
            task_states = call.arguments.get("task_states") or {}
            call.arguments["task_states"] = {
                task: by_reference(state) for task, state in task_states.items()
            }
        # Without `self`, which `super().run` has already.
        _, *others = call.args
        state = super().run(*others, **call.kwargs)
        if self._has_our_tasks and self._asked is None:
            write_run_page(self.flow, state, self._run_context, self.logger)
            run_ended(self.flow, state, self._run_context)
        return state

    def initialize_run(self, *args: Any, **kwargs: Any) -> Any:
        """Prefect's first step of a run.

        It ends the run if a template could never tell mapped children apart, or a task
        could never keep its result.
        """
        if self._has_our_tasks:
            self._or_end(self._check_tasks, PrefectDSError, TypeError, ValueError)
        initialized = super().initialize_run(*args, **kwargs)
        if self._has_our_tasks:
            log = EventLog.configured()
            if self._is_first_round and self._asked is None:
                run_started(log, self.flow, initialized.context)
            for task, context in initialized.task_contexts.items():
                # Opened once: a task then asks no config for the file.
                context[EVENTS] = log
                handler = handler_of(task, self.flow.result)
                if handler is not None:
                    keys = [edge.key for edge in self.flow.edges_to(task) if edge.key]
                    identify = partial(of_all_runs, task, handler, keys)
                    context[IDENTITY] = self._or_end(identify, OptionError)
                    context[REFRESH] = task in self._refresh
            # Kept for what comes after the run: the page of the run, and freed data
            # that the user asks for.
            self._run_context = dict(initialized.context)
            for task, indices in self._not_needed(initialized.context).items():
                initialized.task_contexts[task][NOT_NEEDED] = frozenset(indices)
        return initialized

    def _not_needed(self, context: Mapping[str, Any]) -> dict[Task, set[int | None]]:
        """Return the task runs whose freed data nothing in this run needs."""
        if self._are_states_handled or not have_freed(self.flow):
            return {}
        try:
            parameters = context.get("parameters", {})
            plan = walked(
                self.flow,
                parameters,
                self._refresh,
                context=context,
                asked=self._asked,
            )
            return plan.freed
        except Exception as error:  # noqa: BLE001 - without proof the tasks run
            self.logger.warning(
                "Freed data are computed again, as the run could not be planned: %r",
                error,
            )
            return {}

    def _check_tasks(self) -> None:
        """Refuse tasks that could never keep their results."""
        for task in self.flow.tasks:
            check_template(task, self.flow.edges_to(task))
            check_result(task)

    def _or_end(self, check: Callable[[], T], *refusals: type[Exception]) -> T:
        """Return what a check returns; end the run in one line if it refuses."""
        try:
            return check()
        except refusals as error:
            # Prefect's own switch for debugging: errors reach the caller.
            if prefect.context.get("raise_on_exception"):
                raise
            raise ENDRUN(failed_flow(error, self.flow)) from error

    def get_flow_run_state(
        self,
        state: State,
        task_states: Any,
        task_contexts: Any,
        return_tasks: Any,
        task_runner_state_handlers: Any,
        executor: Executor,
    ) -> State:
        """Prefect's step that runs the tasks."""
        not_shared: frozenset[str] = frozenset()
        while True:
            run_executor = executor
            if self._has_our_tasks or self._keep is not None:
                run_executor = for_run(
                    executor,
                    self.flow,
                    has_our_tasks=self._has_our_tasks,
                    keep=self._keep,
                    progress=Progress() if self._shows_progress else None,
                    not_shared=not_shared,
                )
            with contextlib.ExitStack() as stack:
                if self._has_our_tasks:
                    stack.enter_context(left_at_once())
                    stack.enter_context(prefect.context({BY_REFERENCE: True}))
                try:
                    return super().get_flow_run_state(
                        state,
                        # Prefect adds to it.
                        task_states=copy.copy(task_states),
                        task_contexts=task_contexts,
                        return_tasks=return_tasks,
                        task_runner_state_handlers=task_runner_state_handlers,
                        executor=run_executor,
                    )
                except FoldersNotShared as error:
                    # Nothing was submitted yet. The run begins again, and the workers
                    # look into these folders themselves.
                    not_shared |= error.folders

    def determine_final_state(
        self,
        state: State,
        key_states: set[State],
        return_states: dict[Task, State],
        terminal_states: set[State],
    ) -> State:
        """Prefect's last step of a run, which says how the run ended.

        It also fails a run in which two tasks share a path for different inputs.
        """
        if not self._has_our_tasks:
            return super().determine_final_state(
                state, key_states, return_states, terminal_states
            )
        references = list(
            _references([*return_states.values(), *key_states, *terminal_states])
        )
        # The user may ask for data that this run did not need.
        load = FreedResults(return_states, self._compute_freed) or None
        return_states = {
            task: lazy(state, keep=False, load=load)
            for task, state in return_states.items()
        }
        # A flow's `terminal_state_handler` looks at them.
        key_states = {lazy(state, keep=False) for state in key_states}
        final = super().determine_final_state(
            state, key_states, return_states, terminal_states
        )
        # Prefect runs the flow again for its retries: the last round has the report.
        if not final.is_finished():
            return final
        report = RunReport.of(return_states, self.flow.slugs, self.flow)
        level = important_level(self.logger)
        self.logger.log(level, "Checkpoints of flow %r:\n%s", self.flow.name, report)
        for task in report.tasks:
            for remark in task.remarks:
                self.logger.warning("Task %r: %s", task.task, with_advice(remark))
            if task.loss and task.n_ran:
                # The run that wrote them says it, not every run that loads them.
                self.logger.warning("Task %r: %s", task.task, task.loss)
        collision = _collision(references)
        if collision:
            self.logger.error(collision)
            return Failed(message=collision, result=return_states)
        return final

    def _compute_freed(self, task: Task, map_index: int | None) -> State:
        """Compute a task run whose data were freed, and return its state.

        All that its result depends on is loaded or computed first.
        """

        # `Flow.run` makes the runner itself, so the class carries what is asked for.
        class RunnerOfPart(DSFlowRunner):
            _asked = (task, map_index)

        part = part_before(self.flow, task)
        given = self._run_context
        self.logger.info("The data of task %r were freed: computing them", task.name)
        state = part.run(
            parameters=dict(given.get("parameters", {})),
            context={name: given[name] for name in given.keys() - _OF_THE_ENGINE},
            runner_cls=RunnerOfPart,
            # Now, and here: the schedule would wait, and the cluster may be gone.
            run_on_schedule=False,
            executor=LocalExecutor(),
            task_runner_cls=self.task_runner_cls,
            progress=False,
        )
        assert isinstance(state, State)
        if not isinstance(state.result, dict):
            return state
        computed: State = state.result[task]
        if map_index is not None and isinstance(computed, Mapped):
            return computed.map_states[map_index]
        return computed

    @property
    def _has_our_tasks(self) -> bool:
        """Whether our task runner runs the tasks."""
        runner = self.task_runner_cls
        return isinstance(runner, type) and issubclass(runner, DSTaskRunner)


_OF_THE_ENGINE = {"caches", "config", "logger", "parameters"}
"""Entries of Prefect's context that are the engine's; all others may fill a path."""

_prefects_run = inspect.signature(FlowRunner.run)


def _references(states: Iterable[State]) -> Iterator[CheckpointReference]:
    for state in states:
        if isinstance(state, Mapped):
            children = [child for child in state.map_states if child is not None]
            yield from _references(children)
            continue
        raw = raw_value(state)
        if isinstance(raw, CheckpointReference):
            yield raw


def _collision(references: Iterable[CheckpointReference]) -> str:
    """Return the error of two tasks that share a path for different inputs.

    Empty if there are none.
    """
    first_at: dict[str, CheckpointReference] = {}
    for reference in references:
        first = first_at.setdefault(reference.path, reference)
        # Tasks that ask for the same may share a checkpoint.
        if first.owner != reference.owner and first.asked != reference.asked:
            return (
                f"Tasks {first.owner!r} and {reference.owner!r} of this run share the "
                f"checkpoint {reference.path!r}, for different inputs: give the "
                "template a field that tells them apart"
            )
    return ""
