"""Hits of mapped children on whose way no code of the user's is called.

Runs on the client. Prefect's steps with a task take as long as all that a hit itself
needs, and most children have no state handlers, no trigger that could fail and no name
of their own: then all steps but the last change nothing. Here a child is taken from its
inputs to its final state at once: same context, same log lines, same state. It makes a
resume of 2 stages x 5,000 children a third shorter.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import prefect
from prefect import triggers
from prefect.engine.state import State, Success

from prefect_ds.checkpoint_handler import checkpoint_handler
from prefect_ds.checkpoints.lazy_result import by_reference, lazy
from prefect_ds.engine import context as run_context
from prefect_ds.engine.client_looks import ClientLooks, Look
from prefect_ds.engine.release import TaskRun
from prefect_ds.engine.task_checkpoint import Miss
from prefect_ds.engine.task_events import TaskEvents
from prefect_ds.engine.task_handler import handler_of

_PASSED_BY_SUCCESSES = {
    triggers.all_finished,
    triggers.all_successful,
    triggers.any_successful,
    triggers.not_all_skipped,
}


def is_plain(
    run: TaskRun, call: Mapping[str, Any], states: Mapping[str, Mapping[Any, Any]]
) -> bool:
    """Return whether a run is that of a child whose steps call no code of the user's.

    Parameters
    ----------
    run
        The task run.
    call
        The arguments of ``run_task``.
    states
        Those of them that hold states, all of which are known.
    """
    task = run.task
    if not run.is_child or handler_of(task, call["flow_result"]) is None:
        return False
    if task.state_handlers or task.target or task.task_run_name:
        return False
    # A flow that a turn of a loop runs: Prefect logs less there.
    if call["context"].get("task_loop_count") is not None:
        return False
    handlers = call["task_runner_state_handlers"] or ()
    if any(handler is not checkpoint_handler for handler in handlers):
        return False
    # None of them was skipped, is the parent of a map, or of a kind of the user's.
    are_successes = all(
        type(state) is Success for state in states["upstream_states"].values()
    )
    return are_successes and task.trigger in _PASSED_BY_SUCCESSES


def plain_hit(
    run: TaskRun,
    call: Mapping[str, Any],
    states: Mapping[str, Mapping[Any, Any]],
    looks: ClientLooks,
    look: Look | None,
) -> State | Look | None:
    """Return the final state of a hit, or the look for it, or ``None`` for a miss.

    Parameters
    ----------
    run, call, states
        As for :func:`is_plain`.
    looks
        The looks of this run of the flow.
    look
        The look for the checkpoint, if it was begun.
    """
    task, given = run.task, call["context"]
    name = f"{task.name}[{given['map_index']}]"
    # What Prefect's steps add to the context, as a path may have it in its fields; but
    # for the logger of the child, which Python would keep for ever.
    added = {
        "task_full_name": name,
        "task_name": task.name,
        "task_tags": task.tags,
        "task_run_count": 1,
        "checkpointing": given.get("checkpointing", looks.checkpointing),
    }
    with prefect.context(given, **added):
        inputs = {
            edge.key: lazy(state)._result
            for edge, state in states["upstream_states"].items()
            if edge.key is not None
        }
        found = looks.find(
            task,
            looks.handler(task, call["flow_result"]),
            inputs,
            common=given.get(run_context.IDENTITY),
            refresh=bool(given.get(run_context.REFRESH)),
            is_needed=given["map_index"] not in given.get(run_context.NOT_NEEDED, ()),
            look=look,
            waits=True,
        )
        if found is None or isinstance(found, Future):
            return found
        # As Prefect's steps write them.
        _logger.info("Task '%s': Starting task run...", name)
        final = by_reference(found.checkpoint.loaded(found.hit))
        _logger.debug("Task '%s': Handling state change from Pending to Success", name)
        TaskEvents.of(task, given).ended(final, _NO_MISS, found.checkpoint.path)
        _logger.info(
            "Task '%s': Finished task run for task with final state: 'Success'", name
        )
    return final


_NO_MISS = Miss("")
_logger = prefect.utilities.logging.get_logger("DSTaskRunner")
