"""Workers that die, or are retired, while a frame is shuffled: the right rows, or a failed task and no checkpoint."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import dask
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from prefect import Flow
from prefect.executors import LocalExecutor

from prefect_ds import DSTaskRunner, task
from tests.support.dask_flows import handler
from tests.support.flows import state_of
from tests.support.scale import SCALE
from tests.support.shuffles import (
    IN_DASK,
    Fatal,
    expected_rows,
    lazy,
    rows,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3_600)]

N_ROWS = 1500
N_ROUNDS = 3 if SCALE < 10 else 40
ACTIONS = ["kill", "kill", "kill", "retire"]
CONFIG = {
    # Until a new one comes for a worker that retired.
    "distributed.deploy.lost-worker-timeout": "1s",
    "distributed.scheduler.allowed-failures": 10,
}
N_WORKERS = 3


@contextlib.contextmanager
def workers(method: str) -> Iterator[LocalCluster]:
    """Three processes that shuffle by this method, which come back when they are lost."""
    # They hear of the method by their environment.
    os.environ["DASK_DATAFRAME__SHUFFLE__METHOD"] = method
    try:
        with (
            dask.config.set({**CONFIG, "dataframe.shuffle.method": method}),
            LocalCluster(
                n_workers=N_WORKERS, threads_per_worker=1, dashboard_address=":0"
            ) as cluster,
        ):
            yield cluster
    finally:
        del os.environ["DASK_DATAFRAME__SHUFFLE__METHOD"]


def flow_of(
    folder: Path, kind: str, fatal: Fatal, where: str, n_partitions: int
) -> Flow:
    """A frame of two checkpoints that is shuffled, with the fatal step before the shuffle or after it."""

    @task(result=handler(folder, "left"))
    def left():
        return lazy(N_ROWS, n_partitions)[0]

    @task(result=handler(folder, "right"))
    def right():
        return lazy(N_ROWS, n_partitions)[1]

    @task(result=handler(folder, "shuffled"))
    def shuffled(left, right):
        if where == "before":
            left = left.map_partitions(fatal, meta=left._meta)
        frame = IN_DASK[kind](left, right)
        if where == "after":
            frame = frame.map_partitions(fatal, meta=frame._meta)
        return frame

    with Flow("deaths") as flow:
        shuffled(left(), right())
    return flow


def run(flow: Flow, cluster: LocalCluster):
    """Run the flow here, its frames on the cluster: no task of Prefect's is lost with a worker."""
    cluster.scale(N_WORKERS)  # One that retired does not come back by itself.
    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=120)
        return flow.run(executor=LocalExecutor(), task_runner_cls=DSTaskRunner)


def one_round(folder: Path, seed: int, cluster: LocalCluster) -> str:
    """Return what happened in a round, in one line."""
    chance = random.Random(seed)
    kind = sorted(IN_DASK)[seed % len(IN_DASK)]
    where = chance.choice(["before", "after"])
    n_partitions = chance.choice([3, 8, 20])
    action = chance.choice(ACTIONS)
    fatal = Fatal(folder / "fatal", chance.randrange(1, n_partitions + 2), 0.02, action)
    flow = flow_of(folder, kind, fatal, where, n_partitions)
    outcomes = []
    for _ in range(3):
        state = run(flow, cluster)
        last = state_of(state, flow, "shuffled")
        outcomes.append(type(last).__name__)
        if last.is_successful():
            break
        assert not (folder / "shuffled").exists(), "a failed task has no checkpoint"
        assert str(last.message)
    kept = handler(folder, "shuffled").load(f"{folder}/shuffled")
    # The row before the first of a partition is another one than pandas'.
    if kind != "map_overlap":
        assert rows(kept.compute(scheduler="threads")) == expected_rows(kind, N_ROWS), (
            seed,
            kind,
        )
    assert handler(folder, "shuffled").verify(f"{folder}/shuffled") == []
    assert len(pd.read_parquet(folder / "shuffled")) == len(expected_rows(kind, N_ROWS))
    sprung = f"{action}ed" if fatal.is_sprung else "nobody died"
    what = f"{seed}: {kind}, {n_partitions} partitions, {where}"
    return f"{what}: {sprung}, {', '.join(outcomes)}"


@pytest.mark.parametrize("method", ["p2p", "tasks"])
def test_workers_that_are_lost_in_a_shuffle_leave_the_right_rows_or_none(
    tmp_path, method
):
    first = 0 if method == "p2p" else 7
    said = []
    with workers(method) as cluster:
        for seed in range(first, first + N_ROUNDS):
            folder = tmp_path / str(seed)
            said.append(one_round(folder, seed, cluster))
            shutil.rmtree(folder)
    assert sum("nobody died" not in line for line in said) >= len(said) // 2
    assert all(line.endswith("Success") for line in said)
