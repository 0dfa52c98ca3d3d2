"""Which tasks of a flow the next run would load, and which it would run.

Used on the client, without a run. The plan walks the flow in Prefect's order and asks
every task run the question that its worker would ask, :meth:`TaskCheckpoint.find`. It
runs no code of the user's, writes nothing and starts no cluster.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias

import prefect
from prefect.core import Edge, Flow, Task
from prefect.engine.flow_runner import FlowRunner

from prefect_ds.checkpoints.identity import TaskIdentity
from prefect_ds.engine.chosen_tasks import chosen_tasks
from prefect_ds.engine.context import left_at_once
from prefect_ds.engine.freed import TaskRun, have_freed, needed_runs
from prefect_ds.engine.planned_looks import (
    Look,
    Looks,
    is_far,
    seconds_of,
    with_running_write,
)
from prefect_ds.engine.planned_names import of_child, of_task, takes_inputs
from prefect_ds.engine.planned_values import (
    BETWEEN,
    Known,
    Open,
    Outcome,
    Planned,
    Skipped,
    causes_of,
    chained,
    check_parameters,
    conditions_of,
    divided,
    elements,
    evaluated,
    may_skip,
    reduced,
    skipped,
    through,
    words,
)
from prefect_ds.engine.task_checkpoint import NOT_NEEDED, TaskCheckpoint
from prefect_ds.engine.task_decision import Decision, TaskDecision
from prefect_ds.engine.task_handler import handler_of
from prefect_ds.engine.task_identity import of_all_runs
from prefect_ds.engine.template_names import check_template
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.manifest import Manifest

Accept: TypeAlias = Callable[[Task, TaskCheckpoint, Manifest], bool]
"""Returns whether it has changed the manifest of a checkpoint."""

Watch: TypeAlias = Callable[[Task, TaskDecision, Look], None]
"""Sees every decision, and the look that it comes from."""


def plan_flow(
    flow: Flow,
    parameters: Mapping[str, Any],
    refresh: Iterable[Task | str] = (),
    accept: Accept | None = None,
    context: Mapping[str, Any] | None = None,
) -> list[TaskDecision]:
    """Return what the next run of a flow does with its tasks, in order.

    See :func:`walked`, which takes the same.
    """
    return walked(flow, parameters, refresh, accept, context).decisions


def walked(
    flow: Flow,
    parameters: Mapping[str, Any],
    refresh: Iterable[Task | str] = (),
    accept: Accept | None = None,
    context: Mapping[str, Any] | None = None,
    asked: TaskRun | None = None,
    watch: Watch | None = None,
) -> Walk:
    """Return the walk over a flow, with its decisions.

    Parameters
    ----------
    flow
        Any flow. Tasks without a handler of ours run in every run.
    parameters
        Values of the flow's parameters; those that have defaults may be missing.
    refresh
        Tasks, or their names, that run whatever is there.
    accept
        Asked for every checkpoint. It may change the manifest of a stale one so that
        the checkpoint counts.
    context
        Prefect's context of the run, or what the user puts into it.
    asked
        The task run whose result is asked for; ``None``: all of the last tasks.
    watch
        Sees every decision; more than once where the flow is walked again.

    Raises
    ------
    TypeError
        The parameters are no mapping.
    ValueError
        A parameter is unknown or missing, or the flow has no such task to refresh.
    TemplateError
        A template could never tell the children of a mapped task apart.
    """
    check_parameters(flow, parameters)
    # A run would refuse the flow for it, too, before its first task.
    for task in flow.tasks:
        check_template(task, flow.edges_to(task))
    # Prefect's own context and parameters: templates are filled as a run fills them.
    start = FlowRunner(flow).initialize_run(
        state=None,
        task_states={},
        context={"flow_id": flow.name, **(context or {})},
        task_contexts={},
        parameters=dict(parameters),
    )
    refreshed = chosen_tasks(flow, refresh, "refresh")
    may_have_freed = have_freed(flow)
    computed: set[TaskRun] = set()
    while True:
        with Looks() as looks, left_at_once(), prefect.context(start.context):
            walk = Walk(flow, looks, refreshed, accept, computed, may_have_freed, watch)
            for task in flow.sorted_tasks():
                with prefect.context(start.task_contexts[task], **of_task(flow, task)):
                    walk.visit(task)
        needed = needed_runs(flow, walk.runs, walk.freed, walk.mapped, asked)
        if not needed:
            return walk
        # What is computed again may come out otherwise, and more may be needed then.
        computed |= needed


class Walk:
    """The tasks of a flow so far: their decisions, and what they hand on.

    Parameters
    ----------
    flow
        The flow.
    looks
        Looks at the checkpoints.
    refresh
        Tasks that run whatever is there.
    accept
        Asked for every checkpoint, or ``None``.
    computed
        Task runs whose freed data are computed again.
    may_have_freed
        Whether the data of checkpoints may have been freed.
    watch
        Sees every decision, or ``None``.
    """

    def __init__(
        self,
        flow: Flow,
        looks: Looks,
        refresh: Collection[Task],
        accept: Accept | None,
        computed: Collection[TaskRun],
        may_have_freed: bool,
        watch: Watch | None = None,
    ) -> None:
        self.flow = flow
        self._looks = looks
        self._refresh = refresh
        self._accept = accept
        self._computed = computed
        self._may_have_freed = may_have_freed
        self._watch = watch
        self.decisions: list[TaskDecision] = []
        self.runs: dict[Task, set[int | None]] = defaultdict(set)
        """The task runs that run, or may."""
        self.freed: dict[Task, set[int | None]] = defaultdict(set)
        """The task runs whose data were freed, and that prove what follows them."""
        self._outcomes: dict[Task, Outcome] = {}
        # A task's code is walked once, not once a child.
        self._identities: dict[Task, TaskIdentity] = {}

    @property
    def mapped(self) -> set[Task]:
        """The mapped tasks whose children are known."""
        outcomes = self._outcomes.items()
        return {task for task, outcome in outcomes if isinstance(outcome, list)}

    def visit(self, task: Task) -> None:
        """Decide one task, with all its children."""
        edges = self.flow.edges_to(task)
        values = self.flow.constants[task].items()
        constants = {key: Known(value) for key, value in values}
        if any(edge.mapped for edge in edges):
            self._outcomes[task] = self._visit_mapped(task, edges, constants)
            return
        whole = {edge: self._whole(edge) for edge in edges}
        inputs, others = divided(constants, whole)
        self._outcomes[task] = self._visit_one(task, inputs, others, None)

    def _whole(self, edge: Edge) -> Planned:
        """Return what comes along an edge that is not mapped over."""
        outcome = self._outcomes[edge.upstream_task]
        passes_skips = not edge.downstream_task.skip_on_upstream_skip
        return reduced(outcome, edge.flattened, passes_skips)

    def _visit_mapped(
        self, task: Task, edges: Iterable[Edge], constants: Mapping[str, Planned]
    ) -> Outcome:
        """Expand a mapped task as far as what it maps over is known."""
        whole: dict[Edge, Planned] = {}
        mapped: dict[Edge, list[Planned]] = {}
        for edge in edges:
            outcome = self._outcomes[edge.upstream_task]
            if not edge.mapped:
                whole[edge] = self._whole(edge)
                continue
            expanded = elements(outcome, edge.flattened)
            if not isinstance(expanded, list):
                return self._unexpanded(task, expanded)
            mapped[edge] = expanded
        # Prefect makes as many children as the shortest has elements.
        numbers = range(min(map(len, mapped.values())))
        taken = []
        for number in numbers:
            own = {edge: outcomes[number] for edge, outcomes in mapped.items()}
            taken.append(divided(constants, {**whole, **own}))
        handler = handler_of(task, self.flow.result)
        # In an object store a look is a request: all begin before the first is waited
        # for.
        if handler is not None and is_far(handler):
            for number, (inputs, _) in zip(numbers, taken, strict=True):
                with prefect.context(of_child(task, number)):
                    self._looks.begin(task, handler, inputs)
        children: list[Planned] = []
        for number, (inputs, others) in zip(numbers, taken, strict=True):
            with prefect.context(of_child(task, number)):
                children.append(self._visit_one(task, inputs, others, number))
        return children

    def _unexpanded(self, task: Task, outcome: Open | Skipped) -> Planned:
        if isinstance(outcome, Skipped) and task.skip_on_upstream_skip:
            self._decide(task, None, "not needed", outcome.reason)
            return outcome
        if isinstance(outcome, Open):
            causes = outcome.causes
        else:
            # Skipped, and this task runs all the same: what it gets then is open.
            causes = (outcome.reason,)
        reason = f"what it maps over is not known yet: {words(causes)}"
        self._decide(task, None, "unknown", reason)
        return Open(through(causes, task), may_skip(task, [outcome]))

    def _visit_one(
        self,
        task: Task,
        inputs: Mapping[str, Planned],
        others: list[Planned],
        map_index: int | None,
    ) -> Planned:
        upstream = [*inputs.values(), *others]
        skip = skipped(task, upstream)
        if skip is not None:
            self._decide(task, map_index, "not needed", skip.reason)
            return skip
        # Parameters, constants and lists of them: their values are known without a run.
        value = evaluated(task, inputs, others)
        if value is not None:
            if isinstance(value, Open):
                # The run evaluates it, and takes the data for that.
                self.runs[task].add(map_index)
            return value
        handler = handler_of(task, self.flow.result)
        conditions = conditions_of(task, upstream)
        if handler is None:
            return self._runs_always(task, conditions, map_index)
        # Such a name is made of the inputs before the checkpoint is looked for: they
        # are read, also where the task loads.
        if takes_inputs(task, inputs.keys()):
            self.runs[task].add(map_index)
        if task not in self._identities:
            keys = [edge.key for edge in self.flow.edges_to(task) if edge.key]
            self._identities[task] = of_all_runs(task, handler, keys)
        look = self._look(task, handler, inputs)
        if look.is_unknown:
            self._decide(task, map_index, "unknown", look.reason)
            return Open(through((look.reason,), task), bool(conditions))
        # A condition comes first: what is skipped neither loads nor runs.
        if conditions:
            reason = chained(conditions, task)
            self._decide(task, map_index, "maybe", reason, look)
            return Open(through(conditions, task), may_skip=True)
        open_causes = causes_of(inputs.values())
        # Freed data prove something only if all is known that they were made from.
        is_not_there = bool(open_causes) or self._needs_data(task, map_index)
        if look.runs or (look.is_freed and is_not_there):
            reason = with_running_write(handler, look.path, look.reason)
            if open_causes and look.manifest is not None:
                reason = f"{chained(open_causes, task)}; {reason}"
            self._decide(task, map_index, "run", reason, look)
            return Open(through((look.reason,), task))
        if look.is_freed and look.reference is not None:
            self.freed[task].add(map_index)
            self._decide(task, map_index, "not needed", NOT_NEEDED, look)
            return Known(look.reference)
        if open_causes:
            self._decide(task, map_index, "maybe", chained(open_causes, task), look)
            return Open(through(open_causes, task))
        self._decide(task, map_index, "load", look.reason, look)
        if look.reference is None:
            # A file that a person put there: its content is known once it is read.
            return Open(through((look.reason,), task))
        return Known(look.reference)

    def _needs_data(self, task: Task, map_index: int | None) -> bool:
        """Return whether the data of a task run are computed again if they were freed.

        Handlers of a task's states may look at them.
        """
        is_computed = (task, map_index) in self._computed or not self._may_have_freed
        return is_computed or bool(task.state_handlers)

    def _look(
        self, task: Task, handler: ResultHandler, inputs: Mapping[str, Planned]
    ) -> Look:
        """Look at the checkpoint of a task run, again if it was accepted meanwhile."""
        identity, refresh = self._identities[task], task in self._refresh
        look = self._looks.at(task, handler, inputs, identity, refresh=refresh)
        if self._accept is None or look.manifest is None or look.checkpoint is None:
            return look
        if self._accept(task, look.checkpoint, look.manifest):
            look = self._looks.at(task, handler, inputs, identity, refresh=refresh)
        return look

    def _runs_always(
        self, task: Task, conditions: tuple[str, ...], map_index: int | None
    ) -> Open:
        reason = "it has no handler that keeps its result"
        decision: Decision = "run"
        # A plan does not ask Prefect's cache: it would read the file of a `target`.
        if task.cache_for is not None or task.target is not None:
            reason = "Prefect's own cache decides"
            decision = "maybe"
        elif conditions:
            reason = f"{chained(conditions, task)}; {reason}"
            decision = "maybe"
        self._decide(task, map_index, decision, reason)
        return Open((f"{task.name} runs in every run",), bool(conditions))

    def _decide(
        self,
        task: Task,
        map_index: int | None,
        decision: Decision,
        reason: str,
        look: Look | None = None,
    ) -> None:
        if decision in ("run", "maybe", "unknown"):
            self.runs[task].add(map_index)
        # Without a look there is no checkpoint to name.
        look = look or Look(reason)
        size_bytes = None
        if look.manifest is not None and not look.is_freed:
            # If the data were freed, only the manifest is there.
            size_bytes = look.manifest.size_bytes
        made = TaskDecision(
            task=task.name,
            map_index=map_index,
            decision=decision,
            reason=reason,
            path=look.path,
            size_bytes=size_bytes,
            seconds=seconds_of(look.manifest),
            is_step=not (task.auto_generated or isinstance(task, BETWEEN)),
            slug=self.flow.slugs[task],
        )
        self.decisions.append(made)
        if self._watch is not None:
            self._watch(task, made, look)
