"""The task runner that fills path templates, loads checkpoints and writes them."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

import prefect
from prefect.core import Edge, Task
from prefect.engine.result import Result
from prefect.engine.runner import ENDRUN, Runner, call_state_handlers
from prefect.engine.signals import PrefectStateSignal
from prefect.engine.state import Failed, State, Success
from prefect.engine.task_runner import TaskRunner
from prefect.tasks.control_flow.conditional import Merge
from prefect.tasks.core.collections import Dict, List, Set, Tuple
from prefect.tasks.core.operators import GetItem
from prefect.utilities.collections import merge_dicts
from prefect.utilities.executors import tail_recursive

from prefect_ds.checkpoint_handler import checkpoint_handler
from prefect_ds.checkpoints import memory_cache as cache
from prefect_ds.checkpoints.identity import identify_run, identify_task
from prefect_ds.checkpoints.reference import CheckpointReference, count, size
from prefect_ds.errors import TemplateError
from prefect_ds.path_template import PathTemplate
from prefect_ds.report import COMPUTE_S
from prefect_ds.result import LazyResult, PlainResult, by_reference, lazy, raw_value
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.manifest import Identity, Owner

BY_REFERENCE = "prefect_ds_by_reference"
"""Set in Prefect's context by :class:`prefect_ds.DSFlowRunner`: checkpointed results travel as references."""

CONFIG = "prefect_ds_config"
"""In the context of a submitted task: the client's config, pickled, in place of the config itself."""

IDENTITY = "prefect_ds_identity"
"""In the context of a task: what the identities of its runs have in common, see :func:`of_all_runs`."""

# Prefect's steps without the call of the state handlers: a step of ours that calls them
# calls the handlers itself.
_run = inspect.unwrap(TaskRunner.run)
_check_task_ready_to_map = inspect.unwrap(TaskRunner.check_task_ready_to_map)
_get_task_run_state = inspect.unwrap(TaskRunner.get_task_run_state)
_check_for_retry = inspect.unwrap(TaskRunner.check_for_retry)


class DSTaskRunner(TaskRunner):
    """Prefect's ``TaskRunner`` for tasks whose ``result`` is one of our handlers; others it runs as Prefect does.

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
        # parameters with it, for each task.
        Runner.__init__(self, state_handlers=others)
        self.task = task
        self.flow_result = flow_result
        self.result = task.result or (Result() if flow_result is None else flow_result)
        if self.result is not task.result or isinstance(self.result, ResultHandler):
            # Prefect writes a task's target into it, and tasks may share a handler.
            self.result = copy.copy(self.result)
        self._inputs: dict[str, Result] = {}
        self._loaded: dict[CheckpointReference, Any] = {}
        self._compute_s: float | None = None
        self._attempts_s = 0.0
        self._reason = ""
        self._problem: OSError | None = None
        self._by_reference = False
        self._task_identity: Identity | None = None

    @functools.cached_property
    def context(self) -> dict[str, Any]:  # type: ignore[override] # Prefect's is an attribute, copied for each task
        """Prefect's context as nested dicts, copied when somebody asks for it."""
        return cast(dict[str, Any], prefect.context.to_dict())

    @property
    def handler(self) -> ResultHandler | None:
        """The handler that keeps the task's result; ``None`` where Prefect does, or nobody."""
        result = self.result
        if (
            not isinstance(result, ResultHandler)
            or self.task.checkpoint is False
            or _is_prefects(self.task)
        ):
            return None
        return result

    @tail_recursive
    def run(
        self,
        state: State | None = None,
        upstream_states: dict[Edge, State] | None = None,
        context: dict[str, Any] | None = None,
        is_mapped_parent: bool = False,
    ) -> State:
        """Prefect's ``TaskRunner.run``; under our flow runner a checkpointed result leaves as a reference."""
        context = dict(context or prefect.context.to_dict())
        # Prefect merges the config into its context three times a task, which is most
        # of what a small task costs. Under our flow runner it comes pickled, and is
        # merged once a process; under Prefect's, `run_task` has merged it.
        context.pop("config", None)
        if CONFIG in context:
            prefect.context.update(config=_merged_config(context.pop(CONFIG)))
        config = prefect.context.config
        context.setdefault("checkpointing", config.flows.checkpointing)
        # They are this run's, not that of a flow which the task itself runs. A loop
        # comes by here once a turn.
        self._by_reference = self._by_reference or bool(context.get(BY_REFERENCE))
        self._task_identity = self._task_identity or context.get(IDENTITY)
        context.update({BY_REFERENCE: False, IDENTITY: None})
        resize_cache(config)
        self._attempts_s += 0.0 if state is None else state.context.get(COMPUTE_S, 0.0)
        final: State = _run(
            self,
            state=state,
            upstream_states=upstream_states,
            context=context,
            is_mapped_parent=is_mapped_parent,
        )
        if self._compute_s is not None:
            final.context[COMPUTE_S] = self._attempts_s + self._compute_s
        if not self._by_reference:
            return final
        if isinstance(error := raw_value(final), BaseException):
            self._inputs, self._loaded = {}, {}
            _let_go_of_locals(error)
        return by_reference(final)

    def call_runner_target_handlers(self, old_state: State, new_state: State) -> State:
        """Prefect's step that calls the task's own state handlers, after the checkpoint handler."""
        new_state = checkpoint_handler(self, old_state, new_state) or new_state
        return super().call_runner_target_handlers(old_state, new_state)

    def load_results(
        self, state: State, upstream_states: dict[Edge, State]
    ) -> tuple[State, dict[Edge, State]]:
        """Prefect's step before inputs are taken from upstream states, which load when looked at from here on."""
        return state, {
            edge: lazy(upstream, load=self._load)
            for edge, upstream in upstream_states.items()
        }

    def _load(self, reference: CheckpointReference) -> Any:
        # Once a task: it may take a checkpoint twice, its trigger may look at it, a
        # loop comes by each turn.
        if reference not in self._loaded:
            self._loaded[reference] = reference.load()
        return self._loaded[reference]

    def set_task_run_name(self, task_inputs: dict[str, Result]) -> None:
        """Prefect's ``set_task_run_name``, which reads only the inputs that the name has in it."""
        name = self.task.task_run_name
        if isinstance(name, str):
            prefect.context.update(task_run_name=name.format_map(_Names(task_inputs)))
        else:
            super().set_task_run_name(task_inputs)

    @call_state_handlers
    def check_task_ready_to_map(
        self, state: State, upstream_states: dict[Edge, State]
    ) -> State:
        """Prefect's step for the parent of mapped children; a template that cannot tell them apart ends it here."""
        try:
            check_template(self.task, upstream_states)
        except TemplateError as error:
            raise ENDRUN(Failed(str(error), result=error)) from error
        # Counting what is mapped over, and handing it to the client for a retry, reads
        # nothing.
        unread = {
            edge: by_reference(upstream) for edge, upstream in upstream_states.items()
        }
        return cast(
            State, _check_task_ready_to_map(self, state, upstream_states=unread)
        )

    def check_target(self, state: State, inputs: dict[str, Result]) -> State:
        """Prefect's look for a ``target``; for our handlers the checkpoint handler looks, after the trigger."""
        if self.handler is not None:
            return state
        return super().check_target(state, inputs=inputs)

    def check_task_is_cached(self, state: State, inputs: dict[str, Result]) -> State:
        """Prefect's look for what ``cache_for`` left in this process; with our handlers the checkpoint counts."""
        if self.handler is not None:
            return state
        found = super().check_task_is_cached(state, inputs=inputs)
        if found is not state and COMPUTE_S in found.context:
            found = copy.copy(found)  # An earlier run took those seconds.
            found.context = {
                key: each for key, each in found.context.items() if key != COMPUTE_S
            }
        return found

    def set_task_to_running(self, state: State, inputs: dict[str, Result]) -> State:
        """Prefect's change from Pending to Running, at which the checkpoint handler looks for the checkpoint."""
        self._inputs = inputs
        state = super().set_task_to_running(state, inputs=inputs)
        if not state.is_running():
            raise ENDRUN(state)  # A checkpoint was loaded, mostly.
        return state

    @call_state_handlers
    def get_task_run_state(self, state: State, inputs: dict[str, Result]) -> State:
        """Prefect's step that runs the task; then its result is written, by our handler and once."""
        if self._problem is not None:
            raise self._problem
        passes_on = self._passes_on(inputs)
        run = functools.partial(
            _get_task_run_state,
            self,
            state,
            inputs=self._task_arguments(inputs, passes_on),
        )
        started = time.perf_counter()
        try:
            if passes_on or isinstance(self.result, ResultHandler):
                with prefect.context(checkpointing=False):
                    new_state: State = run()
            else:
                new_state = run()
        finally:
            self._compute_s = (
                (self._compute_s or 0.0) + time.perf_counter() - started
            )  # A loop adds up.
        # Skipped, Cached and Looped are no results to keep; a loop's last turn is.
        if type(new_state) is Success and self.handler is not None:
            # In this step, not in a state handler: an error here is retried as the
            # task's own are.
            return self._keep(self.handler, new_state, self._compute_s)
        if passes_on:
            new_state._result = PlainResult(raw_value(new_state))
            return lazy(new_state, load=self._load)
        return new_state

    @call_state_handlers
    def check_for_retry(self, state: State, inputs: dict[str, Result]) -> State:
        """Prefect's step before a retry; what a loop has reached so far is not written as if it were its result."""
        if not isinstance(self.result, ResultHandler):
            return cast(State, _check_for_retry(self, state, inputs=inputs))
        with prefect.context(checkpointing=False):
            return cast(State, _check_for_retry(self, state, inputs=inputs))

    def find_checkpoint(self) -> State | None:
        """Return a Success with the task's checkpoint, ``None`` where there is none that counts."""
        handler = self.handler
        # A loop looks before its first turn only: what later turns would find is not
        # the loop's result.
        if handler is None or _context().get("task_loop_count") is not None:
            return None
        path = self._path(handler)
        try:
            found = handler.look_up(path)
            if found.kind == "damaged":
                handler.set_aside(path, found, then=f"task {self._name!r} runs")
        except OSError as error:
            # Raised where the task would run: Prefect retries what fails there, and no
            # error of a state handler.
            self._problem = error
            return None
        if found.manifest is None:
            self._reason = found.reason
            return None
        identity = self._identity(handler)
        difference = (
            identity.difference(found.manifest.identity, handler.match)
            if found.manifest.identity
            else ""
        )
        if difference:
            self._reason = f"the checkpoint was stale: {difference}"
            self.logger.info(
                "Task %r: the checkpoint at %s is stale: %s; running",
                self._name,
                path,
                difference,
            )
            return None
        reference = handler.refer(
            path, found.manifest, owner=self._owner, identity=identity, is_loaded=True
        )
        message = f"Loaded from the checkpoint: {reference}"
        if found.manifest.adopted:
            message += " (by hand)"
        self.logger.info("Task %r: %s", self._name, message)
        return Success(message=message, result=LazyResult(reference, path))

    def _keep(self, handler: ResultHandler, state: State, compute_s: float) -> State:
        value = state.result
        if value is None or isinstance(value, PrefectStateSignal):
            return self._not_kept(state, "it returned nothing")
        if self.task.result is None and not handler.accepts(value):
            # The flow's own result is a default for all tasks, also for those that
            # return something else.
            return self._not_kept(
                state,
                f"it returned {type(value).__name__}, which the flow's result does not keep",
            )
        path = self._path(handler)
        template = handler.template
        kept = handler.keep(
            value,
            path,
            owner=self._owner,
            identity=self._identity(handler),
            fields={}
            if template is None
            else template.render_fields(self._names, task=self._name),
            compute_s=compute_s,
        )
        reference = kept.reference
        message = (
            f"{state.message or 'Task run succeeded.'} Ran because {self._reason or 'there was no checkpoint'}; wrote "
            f"{count(reference.n_rows, 'row')}, {count(reference.n_columns, 'column')}, {size(reference.size_bytes)} "
            f"to {path}{f' ({kept.note})' if kept.note else ''}"
        )
        self.logger.info("Task %r: %s", self._name, message)
        result = LazyResult(reference, path).loaded(kept.value)
        return Success(message=message, result=result, context=state.context)

    def _not_kept(self, state: State, why: str) -> State:
        state.message = (
            f"{state.message or 'Task run succeeded.'} No checkpoint was written: {why}"
        )
        self.logger.info("Task %r: no checkpoint was written: %s", self._name, why)
        return state

    @property
    def _name(self) -> str:
        return str(_context().get("task_full_name", self.task.name))

    @property
    def _names(self) -> Mapping[str, Any]:
        return _Names(self._inputs)

    @property
    def _owner(self) -> Owner:
        context = _context()
        return Owner(
            flow=context.get("flow_name", ""),
            run_id=_run_id(
                context.get("flow_run_id", ""), context.get("scheduled_start_time", "")
            ),
            task=context.get("task_slug") or self.task.name,
            map_index=context.get("map_index"),
        )

    def _path(self, handler: ResultHandler) -> str:
        return handler.render(self._names, task=self._name)

    def _identity(self, handler: ResultHandler) -> Identity:
        inputs = {name: raw_input(result) for name, result in self._inputs.items()}
        return identify_run(
            self._task_identity or of_all_runs(self.task, handler), inputs
        )

    def _passes_on(self, inputs: dict[str, Result]) -> bool:
        """Return whether the task hands on what it is given, references too, and keeps nothing itself."""
        if self.handler is not None or not any(
            isinstance(each, LazyResult) for each in inputs.values()
        ):
            return False
        if isinstance(self.task, GetItem):
            return not isinstance(raw_input(inputs["task_result"]), CheckpointReference)
        return isinstance(self.task, (Merge, *_COLLECTING)) and self.task.result is None

    def _task_arguments(
        self, inputs: dict[str, Result], passes_on: bool
    ) -> dict[str, Result]:
        """Return the inputs as the task takes them: loaded, unless it only passes them on."""
        if passes_on:
            return {
                name: PlainResult(raw_input(result)) for name, result in inputs.items()
            }
        for result in inputs.values():
            _ = result.value  # Loads it here, so that the time of computing does not have reading in it.
        return inputs


def _is_prefects(task: Task) -> bool:
    """Return whether Prefect put the task between the user's: its result is the flow's, or that of its upstream."""
    is_merge = isinstance(task, Merge) and task.result is None
    return task.auto_generated or is_merge or isinstance(task, _COLLECTING)


_COLLECTING = (GetItem, List, Tuple, Set, Dict)


class _Names(Mapping[str, Any]):
    """What a template may name: flow parameters, Prefect's context, the task's inputs, later ones winning.

    Nothing is looked at before it is asked for: an input may be a frame in a file.
    """

    def __init__(self, inputs: Mapping[str, Result]) -> None:
        self._inputs = inputs
        self._context = _context()
        self._parameters = self._context.get("parameters", {})

    def __getitem__(self, name: str) -> Any:
        if name in self._inputs:
            return self._inputs[name].value
        if name in self._context:
            return self._context[name]
        return self._parameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._parameters, **self._context, **self._inputs})

    def __len__(self) -> int:
        return len(list(iter(self)))


def _context() -> dict[str, Any]:
    """Return Prefect's context as the dict that it is made of: many times as fast to look into."""
    return vars(prefect.context)


@functools.lru_cache(maxsize=8)
def _run_id(flow_run_id: str, scheduled: object) -> str:
    # A schedule runs a flow again and again under one id.
    return f"{flow_run_id} {scheduled}".strip()


@functools.lru_cache(maxsize=8)
def _merged_config(client_config: bytes) -> Any:
    """Return the client's config merged over this process's own, as Prefect does for each task."""
    return merge_dicts(prefect.config, pickle.loads(client_config))


def resize_cache(config: Any) -> None:
    """Bound this process's memory cache as Prefect's config says.

    Raises
    ------
    ValueError
        The setting is no number of bytes.
    """
    wanted = (config.get("prefect_ds") or {}).get("cache_bytes", cache.DEFAULT_BYTES)
    try:
        limit_bytes = int(wanted)
    except (TypeError, ValueError):
        limit_bytes = -1
    if limit_bytes < 0:
        raise ValueError(
            f"prefect_ds.cache_bytes is {wanted!r}: give a whole number of bytes, 134217728, or 0 for no cache"
        )
    cache.resize(limit_bytes)


def _let_go_of_locals(error: BaseException | None) -> None:
    """Let go of the variables that an error's traceback holds, a failed task's frames among them; its lines stay."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        for frame, _ in traceback.walk_tb(error.__traceback__):
            # And of those that called it, up to what is still under way.
            for each, _ in traceback.walk_stack(frame):
                if each.f_code.co_flags & _MAY_GO_ON:
                    continue
                try:
                    each.clear()
                except RuntimeError:
                    break
        error = error.__cause__ or error.__context__


_MAY_GO_ON = (
    inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
    | inspect.CO_ITERABLE_COROUTINE
)
"""What may have caught the error and be waiting for something else now, on another thread's event loop: to clear its
frame would end it."""


def raw_input(result: Result) -> Any:
    """Return a task's input with its references, as nothing was loaded."""
    return result.raw if isinstance(result, LazyResult) else result.value


def of_all_runs(task: Task, handler: ResultHandler) -> Identity:
    """Return what the identities of a task's runs have in common: its code may enclose a lot, and is digested once."""
    return identify_task(task.name, handler.options, task.run)


def check_template(task: Task, edges: Iterable[Edge]) -> None:
    """Refuse a mapped task whose path template could never tell its children apart.

    Parameters
    ----------
    task
        Any task; one that is not mapped, or has no handler of ours, passes.
    edges
        The edges to it.

    Raises
    ------
    TemplateError
        No field of the template differs between children.
    """
    handler, mapped = (
        task.result,
        [edge.key for edge in edges if edge.mapped and edge.key],
    )
    if not mapped or not isinstance(handler, ResultHandler) or task.checkpoint is False:
        return
    location = task.target or handler.location
    if not isinstance(location, str):
        return  # A function makes the path; whether children meet there shows when they write.
    if PathTemplate(location).names & {
        *mapped,
        "map_index",
        "task_full_name",
        "task_run_name",
    }:
        return
    raise TemplateError(
        f"task {task.name!r} is mapped over {', '.join(map(repr, mapped))}, but its template {location!r} gives every "
        f"child the same path: put {{{'} or {'.join(mapped)}}} or {{map_index}} into it"
    )
