"""Lets go of results during a run."""

from __future__ import annotations

from prefect.engine.state import State

from prefect_ds.checkpoints.lazy_result import raw_value, with_result
from prefect_ds.checkpoints.reference import CheckpointReference
from prefect_ds.result import PurgedResult


def purged(state: State) -> State:
    """Return the state of a success without its value.

    References stay, as they hold no data, and so do the values of tasks with
    ``cache_for``: Prefect gives them to later runs.
    """
    if not state.is_successful() or state.is_cached():
        return state
    if isinstance(raw_value(state), CheckpointReference):
        return state
    return with_result(state, PurgedResult())
