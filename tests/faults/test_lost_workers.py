"""Workers that go during a run: what the log says, what counts as run, how a run ends."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd
import pytest
from distributed import Nanny, Reschedule
from prefect import Flow, task
from prefect.engine.state import State, TriggerFailed
from prefect.executors import DaskExecutor
from prefect.triggers import all_finished

from prefect_ds import DSTaskRunner
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.engine import lost_workers
from prefect_ds.report import RunReport
from tests.support.flows import Notes, frame_of, parquet

pytestmark = pytest.mark.slow  # Each starts a cluster, and loses some of it.


def _cluster(n_workers: int, **options: Any) -> DaskExecutor:
    return DaskExecutor(
        cluster_kwargs={
            "n_workers": n_workers,
            "threads_per_worker": 1,
            "dashboard_address": ":0",
            **options,
        }
    )


@pytest.fixture
def run_on() -> Callable[..., State]:
    """Run a flow on a cluster of its own, which gives a task up with its first worker."""

    def run_on(flow: Flow, executor: DaskExecutor, **options: Any) -> State:
        with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
            state = flow.run(executor=executor, task_runner_cls=DSTaskRunner, **options)
        assert isinstance(state, State)
        return state

    return run_on


@task
def killed(_upstream: Any) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@task
def after(value: Any) -> str:
    return f"after {value}"


@task(trigger=all_finished)
def cleaned(value: Any) -> str:
    return type(value).__name__


def test_a_task_that_kills_its_worker_fails_alone(
    run_on: Callable[..., State],
    tmp_path: Path,
    notes: Notes,
    log_lines: list[str],
) -> None:
    @task(name="part", result=parquet(tmp_path, "part_{number}"))
    def part(number: int) -> pd.DataFrame:
        notes(f"part {number}")
        return frame_of(number)

    with Flow("killed") as flow:
        parts = part.map([1, 2])
        broken = killed(parts)
        behind = after(broken)
        cleanup = cleaned(broken)
        beside = after(1)
    state = run_on(flow, _cluster(1), keep_results=[])
    assert state.is_failed()
    assert isinstance(state.result, dict)
    assert state.result[broken].is_failed()
    assert isinstance(state.result[behind], TriggerFailed)
    assert state.result[cleanup].result == "KilledWorker"
    assert state.result[beside].result == "after 1"
    message = state.result[broken].message
    assert message.startswith("1 worker was lost while computing it")
    assert "its process ended, or the network did" in message
    # The one worker held the states of both parts, which then ran again.
    (gone,) = [line for line in log_lines if line.startswith("Worker tcp")]
    assert "is gone: its connection broke" in gone
    assert "; Dask runs again: " in gone
    assert "'part[0]', 'part[1]'" in gone
    assert "'killed'" not in gone
    assert notes.take() == ["part 1", "part 2"]
    report = RunReport.of(state.result)["part"]
    assert (report.n_loaded, report.n_ran, report.saved_s) == (0, 2, 0)
    assert report.compute_s > 0
    assert any("Checkpoints of flow 'killed'" in line for line in log_lines)


class _Unreplaced(Nanny):
    """Like one whose worker ends while it starts."""

    async def _on_worker_exit(self, exitcode: int) -> None:
        pass


def test_a_cluster_without_any_worker_ends_the_run_with_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, notes: Notes
) -> None:
    @task(name="part", result=parquet(tmp_path, "part_{number}"))
    def part(number: int, _after: Any) -> pd.DataFrame:
        notes(f"part {number}")
        return frame_of(number)

    monkeypatch.setattr(lost_workers, "NO_WORKERS_S", 1)
    with Flow("deserted") as flow:
        first = part(1, 0)
        broken = killed(first)
        cleanup = cleaned(broken)
    executor = _cluster(1, worker_class=_Unreplaced)
    state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)
    assert isinstance(state, State)
    assert state.is_failed()
    assert isinstance(state.result, dict)
    for lost in (broken, cleanup):
        assert state.result[lost].message.startswith("no worker was left to run it")
    assert notes.take() == ["part 1"]


@task
def _too_much() -> int:
    return len(bytearray(os.urandom(1)) * 2**30)


def test_a_task_that_takes_too_much_memory_fails_and_says_how_much_there_was(
    run_on: Callable[..., State], log_lines: list[str]
) -> None:
    with Flow("memory") as flow:
        large = _too_much()
    state = run_on(flow, _cluster(1, memory_limit="600MiB"))
    message = state.result[large].message
    assert "% of its 600.0 MiB of memory; give the workers more memory" in message
    assert any("% of its 600.0 MiB of memory" in line for line in log_lines)


def _kills(frame: pd.DataFrame, home: int) -> pd.DataFrame:
    """Kill a worker at any partition with rows, and never the process ``home``."""
    if len(frame) and os.getpid() == home:
        time.sleep(0.1)
        raise Reschedule
    if len(frame):
        os.kill(os.getpid(), signal.SIGKILL)
    return frame


def test_a_dask_task_that_kills_its_worker_is_named_by_its_partition(
    run_on: Callable[..., State], tmp_path: Path
) -> None:
    @task(result=DaskDataFrameResultHandler(tmp_path / "events"))
    def events() -> dd.DataFrame:
        frame = pd.DataFrame({"x": range(10)})
        parts = dd.from_pandas(frame, npartitions=2)
        return parts.map_partitions(_kills, os.getpid(), meta=frame)

    with Flow("events") as flow:
        made = events()
    state = run_on(flow, _cluster(2))
    assert state.result[made].is_failed()
    # Dask blames any of the tasks that a lost worker was to run.
    tasks = "writeparts|_kills|frompandas"
    named = rf"1 worker was lost while computing its partition [01] \(({tasks})-"
    assert re.match(named, state.result[made].message), state.result[made].message
