"""The state handler that loads a task's checkpoint in place of running the task."""

from __future__ import annotations

from typing import Protocol

from prefect.engine.state import State


class FindsCheckpoint(Protocol):
    """A task runner that can look for the checkpoint of its task: DSTaskRunner."""

    def find_checkpoint(self) -> State | None:
        """Return a Success with the checkpoint; ``None`` where the task has to run."""


def checkpoint_handler(
    runner: FindsCheckpoint, old_state: State, new_state: State
) -> State | None:
    """Return a Success with the checkpoint of a task that is about to run and has one.

    :class:`prefect_ds.DSTaskRunner` brings it along; naming it in
    ``task_runner_state_handlers`` too changes nothing.

    Parameters
    ----------
    runner
        The runner of the task.
    old_state, new_state
        The change of state. Only that from Pending to Running is acted on.

    Returns
    -------
    State or None
        ``Success`` in place of ``Running``, or ``None``: the task runs, and the runner
        writes what it returns.

    Raises
    ------
    TypeError
        The runner is not ours: it knows neither the task's inputs nor how to write its
        result.
    TemplateError
        The path cannot be made from the task's inputs.
    """
    if not (old_state.is_pending() and new_state.is_running()):
        return None
    # By its method, not by its class: the module of DSTaskRunner imports this one.
    if not hasattr(runner, "find_checkpoint"):
        raise TypeError(
            f"checkpoint_handler needs DSTaskRunner, not {type(runner).__name__}: "
            "run the flow with task_runner_cls=DSTaskRunner"
        )
    return runner.find_checkpoint()
