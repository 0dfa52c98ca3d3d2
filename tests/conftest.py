"""Executors to run the same flow on, and what a test looks at a run with."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import prefect
import pytest
from prefect import Flow
from prefect.engine.state import State
from prefect.executors import Executor, LocalDaskExecutor, LocalExecutor
from prefect.utilities.configuration import set_temporary_config

ROOT = str(Path(__file__).parent.parent)
if ROOT not in sys.path:
    # Last, so that an installed prefect_ds is the one tested: `tests.support.flows` has to be
    # importable, also on workers.
    sys.path.append(ROOT)

from prefect_ds import DSTaskRunner  # noqa: E402 - after the path to it
from prefect_ds.checkpoints import memory_cache as cache  # noqa: E402
from tests.support.flows import Notes  # noqa: E402
from tests.support.processes import end, executor_at, own_cluster, start  # noqa: E402
from tests.support.scale import SCALE  # noqa: E402
from tests.support.time_limits import (  # noqa: E402, F401 - hooks of pytest
    pytest_configure,
    pytest_handlecrashitem,
    pytest_runtest_logfinish,
    pytest_runtest_logreport,
    pytest_runtest_logstart,
)


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    """Counts what happened in whatever process."""
    return Notes(tmp_path / "ran.notes")


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    """No test reads from memory what another one left there, nor what Prefect keeps there by the names of tasks."""
    cache._kept.clear()
    prefect.context.get("caches", {}).clear()
    yield
    cache.resize(cache.DEFAULT_BYTES)


@pytest.fixture
def no_cache() -> Iterator[None]:
    """Every load is a read of the file, on workers as well."""
    with set_temporary_config({"prefect_ds.cache_bytes": 0}):
        cache.resize(0)
        yield


@pytest.fixture
def log_lines() -> Iterator[list[str]]:
    """What Prefect's loggers say in this process. A LocalCluster changes caplog's handler, so it is one of our own."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = Collect(logging.DEBUG)
    logger = logging.getLogger("prefect")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


@pytest.fixture(scope="session")
def cluster_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler and two workers, started from the command line in a folder of their own."""
    from distributed import Client

    folder = tmp_path_factory.mktemp("cluster")
    scheduler_file = folder / "scheduler.json"
    at_scheduler = ["--scheduler-file", str(scheduler_file), "--no-dashboard"]
    # They end by themselves too, should this process be killed before it can end them.
    commands = [
        [
            "scheduler",
            "--port",
            "0",
            "--host",
            "127.0.0.1",
            "--idle-timeout",
            "3 hours",
            *at_scheduler,
        ],
        *[
            [
                "worker",
                "--nworkers",
                "1",
                "--nthreads",
                "2",
                "--death-timeout",
                "180",
                "--name",
                name,
                *at_scheduler,
            ]
            for name in ("one", "two")
        ],
    ]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for number, command in enumerate(commands):
            processes.append(start(command, folder, folder / f"{number}.log"))
        with Client(
            scheduler_file=str(scheduler_file), timeout=300, set_as_default=False
        ) as client:
            client.wait_for_workers(2, timeout=300)
            address = client.scheduler.address
        yield address
    finally:
        for process in reversed(processes):
            end(process)


EXECUTORS: dict[str, Callable[[], Executor]] = {
    "local": LocalExecutor,
    "threads": lambda: LocalDaskExecutor("threads", num_workers=4),
    "processes": lambda: LocalDaskExecutor("processes", num_workers=2),
    "own cluster": own_cluster,
}


@pytest.fixture(
    params=[
        "local",
        "threads",
        "processes",
        pytest.param("own cluster", marks=pytest.mark.slow),
        "cluster address",
    ]
)
def executor(request: pytest.FixtureRequest) -> Callable[[], Executor]:
    """Makes an executor for one run, of each kind that Prefect has."""
    if request.param == "cluster address":
        address = request.getfixturevalue("cluster_address")
        return lambda: executor_at(address)
    is_sampled = request.node.path.name == "test_executors.py"
    if request.param == "own cluster" and SCALE == 1 and not is_sampled:
        pytest.skip("PREFECT_DS_TEST_SCALE=10 starts a cluster for this one, too")
    return EXECUTORS[request.param]


@pytest.fixture
def run(executor: Callable[[], Executor]) -> Callable[..., State]:
    """The user's line, on every executor."""

    def run(flow: Flow, **kwargs: Any) -> State:
        state = flow.run(executor=executor(), task_runner_cls=DSTaskRunner, **kwargs)
        assert isinstance(state, State)
        return state

    return run


@pytest.fixture
def run_here() -> Callable[..., State]:
    """The user's line in this process."""

    def run_here(flow: Flow, **kwargs: Any) -> State:
        kwargs.setdefault("executor", LocalExecutor())
        state = flow.run(task_runner_cls=DSTaskRunner, **kwargs)
        assert isinstance(state, State)
        return state

    return run_here


@pytest.fixture
def in_child_process(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python code in a process of its own, with these environment variables."""

    def in_child_process(
        code: str, *, timeout_s: float = 600, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        python_path = os.pathsep.join(
            [*filter(None, [os.environ.get("PYTHONPATH")]), ROOT]
        )
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": python_path, **environment},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return in_child_process
