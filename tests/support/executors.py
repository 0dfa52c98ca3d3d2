"""The user's line on one executor of each kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prefect import Flow
from prefect.engine.state import State
from prefect.executors import DaskExecutor, LocalDaskExecutor, LocalExecutor

from prefect_ds import DSTaskRunner


@pytest.fixture(
    name="run",
    params=["local", "threads", pytest.param("cluster", marks=pytest.mark.slow)],
)
def on_every_executor(request: pytest.FixtureRequest) -> Callable[..., State]:
    """The user's line, on every kind of executor."""

    def executor() -> Any:
        if request.param == "local":
            return LocalExecutor()
        if request.param == "threads":
            return LocalDaskExecutor("threads", num_workers=2)
        address = request.getfixturevalue("cluster_address")
        return DaskExecutor(address=address, watch_worker_status=False)

    def run(flow: Flow, **kwargs: Any) -> State:
        state = flow.run(executor=executor(), task_runner_cls=DSTaskRunner, **kwargs)
        assert isinstance(state, State)
        return state

    return run
