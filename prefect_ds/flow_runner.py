"""The flow runner under which checkpointed results travel as references, and the caller's states load on access."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import prefect
from prefect.core import Task
from prefect.engine.flow_runner import FlowRunner
from prefect.engine.state import Failed, Mapped, State
from prefect.executors import Executor

from prefect_ds.checkpoints.lazy_result import by_reference, lazy, raw_value
from prefect_ds.checkpoints.reference import CheckpointReference
from prefect_ds.engine.context import BY_REFERENCE, IDENTITY, resize_cache
from prefect_ds.engine.progress import Progress, wanted
from prefect_ds.engine.run_executor import RunExecutor
from prefect_ds.engine.task_checkpoint import check_template, of_all_runs
from prefect_ds.report import RunReport
from prefect_ds.result_handler import ResultHandler
from prefect_ds.task_runner import DSTaskRunner


class DSFlowRunner(FlowRunner):
    """Prefect's ``FlowRunner``, which also takes ``task_runner_cls`` in ``flow.run(...)``.

    Importing prefect_ds makes it the default flow runner. With any other task runner
    than :class:`prefect_ds.DSTaskRunner` it behaves exactly as Prefect's.
    """

    def run(  # type: ignore[override] # what Prefect's takes by position it is given by name
        self,
        state: State | None = None,
        *,
        task_runner_cls: type | None = None,
        progress: bool | None = None,
        keep_results: Iterable[Task] | None = None,
        **kwargs: Any,
    ) -> State:
        """Prefect's ``FlowRunner.run``.

        Parameters
        ----------
        state, **kwargs
            As for Prefect's ``FlowRunner.run``.
        task_runner_cls
            The class that runs the tasks.
        progress
            Show per task how many results were loaded, computed and failed, and how
            many are left, while the flow runs. ``None``: if stderr is a terminal and
            tqdm is installed.
        keep_results
            Let go, during the run, of every result without a checkpoint that nothing
            downstream needs any more, but for those of these tasks and of terminal
            tasks; :class:`prefect_ds.result.PurgedResult` stands in their states.
            ``None``: keep all. Works with any task runner.

        Raises
        ------
        TypeError
            ``progress`` is given without :class:`prefect_ds.DSTaskRunner`, or
            ``keep_results`` is no list of tasks.
        ValueError
            ``keep_results`` names a task of another flow, or the size of the memory
            cache is set to no number.
        """
        if task_runner_cls is not None:
            self.task_runner_cls = task_runner_cls
        if progress is not None and not self._is_ours:
            raise TypeError("progress= needs task_runner_cls=DSTaskRunner")
        self._keep = (
            None
            if keep_results is None
            else self.flow.terminal_tasks() | self._tasks_of(keep_results)
        )
        if self._is_ours:
            resize_cache(prefect.config)
            self._progress = wanted(progress)
            kwargs["context"] = {**(kwargs.get("context") or {}), BY_REFERENCE: True}
            # What an earlier round gave to its caller comes back when Prefect retries.
            task_states = kwargs.get("task_states") or {}
            kwargs["task_states"] = {
                task: by_reference(each) for task, each in task_states.items()
            }
        return super().run(state=state, **kwargs)

    def _tasks_of(self, keep_results: Iterable[Task]) -> set[Task]:
        # Prefect comes by again with the same argument for each retry: an iterator
        # would be empty then.
        if isinstance(keep_results, str | Iterator) or not all(
            isinstance(each, Task) for each in keep_results
        ):
            raise TypeError(
                f"keep_results is {keep_results!r}: give a list of tasks, [] to keep what nothing follows"
            )
        for each in keep_results:
            if each not in self.flow.tasks:
                raise ValueError(
                    f"keep_results has task {each.name!r}, which is not in flow {self.flow.name!r}"
                )
        return set(keep_results)

    def initialize_run(self, *args: Any, **kwargs: Any) -> Any:
        """Prefect's first step of a run; templates that could never tell mapped children apart end it here."""
        if self._is_ours:
            for task in self.flow.tasks:
                check_template(task, self.flow.edges_to(task))
        initialized = super().initialize_run(*args, **kwargs)
        if self._is_ours:
            for task, context in initialized.task_contexts.items():
                handler = task.result or self.flow.result
                if isinstance(handler, ResultHandler):
                    context[IDENTITY] = of_all_runs(task, handler)
        return initialized

    def get_flow_run_state(
        self, state: State, *, executor: Executor, **kwargs: Any
    ) -> State:
        """Prefect's step that runs the tasks."""
        if self._is_ours or self._keep is not None:
            progress = Progress() if self._is_ours and self._progress else None
            executor = RunExecutor(
                executor,
                self.flow,
                is_ours=self._is_ours,
                keep=self._keep,
                progress=progress,
            )
        return super().get_flow_run_state(state, executor=executor, **kwargs)

    def determine_final_state(
        self,
        state: State,
        key_states: set[State],
        return_states: dict[Task, State],
        terminal_states: set[State],
    ) -> State:
        """Prefect's last step of a run, which also fails a run in which two tasks share a path for different inputs."""
        if not self._is_ours:
            return super().determine_final_state(
                state, key_states, return_states, terminal_states
            )
        references = list(
            _references([*return_states.values(), *key_states, *terminal_states])
        )
        return_states = {
            task: lazy(each, keep=False) for task, each in return_states.items()
        }
        # A flow's `terminal_state_handler` looks at them.
        key_states = {lazy(each, keep=False) for each in key_states}
        final = super().determine_final_state(
            state, key_states, return_states, terminal_states
        )
        if not final.is_finished():
            return final
        report = RunReport.of(return_states, self.flow.slugs)
        self.logger.info("Checkpoints of flow %r:\n%s", self.flow.name, report)
        collision = _collision(references)
        if collision:
            self.logger.error(collision)
            return Failed(message=collision, result=return_states)
        return final

    @property
    def _is_ours(self) -> bool:
        return isinstance(self.task_runner_cls, type) and issubclass(
            self.task_runner_cls, DSTaskRunner
        )


def _references(states: Iterable[State]) -> Iterator[CheckpointReference]:
    for state in states:
        if isinstance(state, Mapped):
            yield from _references(
                child for child in state.map_states if child is not None
            )
        elif isinstance(raw := raw_value(state), CheckpointReference):
            yield raw


def _collision(references: Iterable[CheckpointReference]) -> str:
    """Return in words which two tasks of a run share a path for different inputs; empty where none do."""
    first: dict[str, CheckpointReference] = {}
    for each in references:
        other = first.setdefault(each.path, each)
        if other.owner != each.owner and other.asked != each.asked:
            return (
                f"Tasks {other.owner!r} and {each.owner!r} of this run share the checkpoint {each.path!r}, for "
                "different inputs: give the template a field that tells them apart"
            )
    return ""
