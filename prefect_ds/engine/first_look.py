"""What a run logs about a flow before it begins. Runs on the client."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import prefect
from prefect.core import Flow, Task
from prefect.engine.result import Result
from prefect.engine.results import ConstantResult, PrefectResult

from prefect_ds.engine.task_handler import handler_of
from prefect_ds.result_handler import ResultHandler

logger = logging.getLogger("prefect.prefect_ds.engine.first_look")

_MAX_NAMED = 5


def warn_of_unused_results(flow: Flow, has_our_tasks: bool) -> None:
    """Log a line if the results of some tasks will not be written or loaded.

    Parameters
    ----------
    flow
        The flow about to run.
    has_our_tasks
        Whether :class:`prefect_ds.DSTaskRunner` runs the tasks.
    """
    checkpoints = prefect.context.config.flows.checkpointing
    if has_our_tasks:
        _warn_of_prefects(flow, checkpoints)
    elif not checkpoints:
        # With Prefect's checkpointing on, Prefect itself writes through our handlers.
        ours = [
            task for task in flow.tasks if handler_of(task, flow.result) is not None
        ]
        if ours:
            logger.warning(
                "No checkpoint is written or loaded for %s: run the flow with "
                "flow.run(task_runner_cls=DSTaskRunner)",
                _named(ours),
            )


def _warn_of_prefects(flow: Flow, checkpoints: bool) -> None:
    """Say which results of Prefect's own do nothing."""
    # The three classes write no file; Prefect gives them to tasks by itself.
    prefects = [
        task
        for task in flow.tasks
        if isinstance(task.result, Result)
        and type(task.result) not in (Result, ConstantResult, PrefectResult)
        and not isinstance(task.result, ResultHandler)
        and task.checkpoint is not False
    ]
    # Prefect looks for a file only where a task has a target.
    untargeted = [task for task in prefects if not task.target]
    if prefects and not checkpoints:
        logger.warning(
            "No result is written for %s: results of Prefect need "
            "PREFECT__FLOWS__CHECKPOINTING=true",
            _named(prefects),
        )
    elif untargeted:
        logger.warning(
            "Results are written but never loaded for %s: results of Prefect need a "
            "target, as in task(result=..., target='{today}.pickle')",
            _named(untargeted),
        )


def _named(tasks: Iterable[Task]) -> str:
    names = sorted({task.name for task in tasks})
    noun = "task"
    if len(names) > 1:
        noun = "tasks"
    named = ", ".join(map(repr, names[:_MAX_NAMED]))
    if len(names) > _MAX_NAMED:
        named += f" and {len(names) - _MAX_NAMED} more"
    return f"{noun} {named}"
