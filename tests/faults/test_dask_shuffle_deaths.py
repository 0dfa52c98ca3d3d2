"""Workers lost in a shuffle: the right rows, or a failed task and no checkpoint."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dask
import dask.dataframe as dd
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from prefect import Flow
from prefect.executors import LocalExecutor

from prefect_ds import DSTaskRunner, task
from tests.support.dask_flows import handler
from tests.support.flows import state_of
from tests.support.scale import SCALE, sweep
from tests.support.shuffles import (
    IN_DASK,
    N_KEYS,
    FailsOnce,
    events,
    expected_rows,
    lazy,
    ranked,
    rows,
    unhurried,
)
from tests.support.worker_deaths import ACTIONS, WorkerDeath, wait_for_workers

pytestmark = [pytest.mark.slow, sweep]

N_WORKERS = 3
# With a scale of 10, each kind of shuffle meets each way to lose a worker.
N_ROUNDS = 6 * SCALE
CONFIG = {
    # The cluster gives up a worker whose nanny takes longer to start it again.
    "distributed.deploy.lost-worker-timeout": "120s",
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Three processes, which come back when they are lost."""
    with (
        dask.config.set(CONFIG),
        LocalCluster(
            n_workers=N_WORKERS, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def death(cluster: LocalCluster) -> WorkerDeath:
    """What loses them."""
    return WorkerDeath(cluster)


@dataclass(frozen=True)
class Round:
    """One run with a death at a random moment, and one without."""

    seed: int
    kind: str
    method: str
    action: str
    n_rows: int
    n_partitions: int
    slow_step: str
    """Where a function of the user's is: before the shuffle, after it, nowhere."""
    share: float
    """Of the graph's tasks that are done when the worker is lost."""
    n_graphs_before: int
    """Graphs that are computed before: one, where Dask looks for divisions first."""
    allowed_failures: int

    @property
    def size(self) -> str:
        """Of the two checkpoints, which several rounds share."""
        return f"{self.n_rows}-{self.n_partitions}"

    @classmethod
    def of(cls, seed: int) -> Round:
        """Return the round of a seed: all kinds in turn, the rest at random."""
        chance = random.Random(seed)
        kind = sorted(IN_DASK)[seed % len(IN_DASK)]
        looks_first = kind in ("set_index", "sort_values", "several")
        is_large = SCALE >= 10 and chance.random() < 0.1
        return cls(
            seed,
            kind,
            chance.choice(["p2p", "tasks"]),
            ACTIONS[seed % len(ACTIONS)],
            chance.choice([2_000, 30_000]) if SCALE >= 10 else 2_000,
            chance.choice([300, 1_200] if is_large else [3, 8, 20]),
            chance.choice(["before", "after", "nowhere"]),
            chance.random(),
            chance.choice([0, 1]) if looks_first else 0,
            chance.choice([0, 10]),
        )


def flow_of(folder: Path, inputs: Path, it: Round) -> Flow:
    """Two checkpoints, and a frame of both that is shuffled."""
    # The whole round, as a global of theirs, would make them stale.
    n_rows, n_partitions = it.n_rows, it.n_partitions

    @task(result=handler(inputs, f"left-{it.size}"))
    def left():
        return lazy(n_rows, n_partitions)[0]

    @task(result=handler(inputs, f"right-{it.size}"))
    def right():
        return lazy(n_rows, n_partitions)[1]

    @task(result=handler(folder, "shuffled"))
    def shuffled(left, right):
        if it.slow_step == "before":
            left = left.map_partitions(unhurried, meta=left._meta)
        frame = IN_DASK[it.kind](left, right)
        if it.slow_step == "after":
            frame = frame.map_partitions(unhurried, meta=frame._meta)
        return frame

    with Flow("deaths") as flow:
        shuffled(left(), right())
    return flow


def run(flow: Flow, method: str):
    """Run the flow here, its frames on the cluster: no task is lost with a worker."""
    with dask.config.set({"dataframe.shuffle.method": method}):
        return flow.run(executor=LocalExecutor(), task_runner_cls=DSTaskRunner)


def one_round(
    folder: Path, inputs: Path, it: Round, cluster: LocalCluster, death: WorkerDeath
) -> str:
    """Return what happened in a round, in one line."""
    wait_for_workers(cluster, N_WORKERS)
    cluster.scheduler.allowed_failures = it.allowed_failures
    flow = flow_of(folder, inputs, it)
    with Client(cluster):
        made = [(inputs / f"{side}-{it.size}").exists() for side in ("left", "right")]
        death.arm(
            it.action,
            share=it.share,
            n_graphs_before=it.n_graphs_before + made.count(False),
            seed=it.seed,
        )
        first = state_of(run(flow, it.method), flow, "shuffled")
        death.disarm()
        if not first.is_successful():
            assert not (folder / "shuffled").exists(), "a failed task has no checkpoint"
            assert str(first.message)
            wait_for_workers(cluster, N_WORKERS)
        cluster.scheduler.allowed_failures = 10
        state = run(flow, it.method)
    second = state_of(state, flow, "shuffled")
    assert second.is_successful(), (it, second.message)
    kept = handler(folder, "shuffled").load(f"{folder}/shuffled")
    frame = kept.compute(scheduler="threads")
    assert rows(frame) == expected_rows(it.kind, it.n_rows), it
    if it.kind in ("sort_values", "set_index", "set_index by divisions"):
        order = frame["k"] if it.kind == "sort_values" else frame.index.to_series()
        assert order.is_monotonic_increasing, it
    assert handler(folder, "shuffled").verify(f"{folder}/shuffled") == []
    assert len(pd.read_parquet(folder / "shuffled")) == len(frame)
    how = it.action if death.is_sprung else "nobody lost"
    return f"{it}: {how}, {type(first).__name__}: {first.message}"


def test_workers_that_are_lost_in_a_shuffle_leave_the_right_rows_or_none(
    tmp_path, cluster, death
):
    n_lost = 0
    for seed in range(N_ROUNDS):
        folder = tmp_path / str(seed)
        said = one_round(folder, tmp_path / "inputs", Round.of(seed), cluster, death)
        print(said, flush=True)
        n_lost += death.is_sprung
        shutil.rmtree(folder)
    assert n_lost >= N_ROUNDS // 2


def rank_counts(n_rows: int, n_partitions: int) -> list[int]:
    """Return the ranks that the rows get, whatever their order."""
    left, _ = lazy(n_rows, n_partitions)
    with dask.config.set({"dataframe.shuffle.method": "tasks"}):
        frame = left.shuffle("k").map_partitions(ranked)
        return sorted(frame["rank"].compute(scheduler="threads"))


def test_all_is_computed_again_where_a_worker_took_rows_of_one_order_along(
    tmp_path, cluster, death, log_lines
):
    """An order that differs each time decides where rows go: two cannot be joined."""

    @task(result=handler(tmp_path, "by_rank"))
    def by_rank():
        left, _ = lazy(2_000, 8)
        return left.shuffle("k").map_partitions(ranked).shuffle("rank")

    with Flow("again") as flow:
        by_rank()
    wait_for_workers(cluster, N_WORKERS)
    cluster.scheduler.allowed_failures = 10
    with Client(cluster):
        death.arm("kill", share=0.7, n_graphs_before=0, seed=1)
        state = state_of(run(flow, "p2p"), flow, "by_rank")
        death.disarm()

    assert death.is_sprung
    assert state.is_successful(), state.message
    assert any("all of them are computed again" in line for line in log_lines)
    kept = pd.read_parquet(tmp_path / "by_rank")
    assert sorted(kept["x"]) == list(range(2_000))
    assert sorted(kept["rank"]) == rank_counts(2_000, 8)


def table_partition(number: int, path: str) -> pd.DataFrame:
    """A sixth of the rows of a table that others may change."""
    return pd.read_pickle(path).iloc[number::6]


@pytest.mark.parametrize(
    ("make", "goes_on"),
    [
        pytest.param(lambda left, table: left.shuffle("k"), True, id="a checkpoint"),
        pytest.param(lambda left, table: table.shuffle("k"), False, id="a table"),
        pytest.param(
            lambda left, table: (
                left.shuffle("k").map_partitions(ranked).shuffle("rank")
            ),
            False,
            id="any order",
        ),
    ],
)
def test_parts_of_a_failed_shuffle_are_joined_with_a_later_one_only_where_that_is_right(
    tmp_path, cluster, make, goes_on
):
    fails, path = FailsOnce(tmp_path), str(tmp_path / "table")
    events(2_000).to_pickle(path)

    @task(result=handler(tmp_path, "left"))
    def left():
        return lazy(2_000, 6)[0]

    @task(result=handler(tmp_path, "shuffled"))
    def shuffled(left):
        table = dd.from_map(table_partition, range(6), path=path, meta=events(0))
        frame = make(left, table)
        return frame.map_partitions(fails, meta=frame._meta)

    with Flow("later") as flow:
        shuffled(left())
    wait_for_workers(cluster, N_WORKERS)
    with Client(cluster):
        first = state_of(run(flow, "p2p"), flow, "shuffled")
        assert "not the first time" in str(first.message)
        # Every row has another key now.
        changed = events(2_000).assign(k=lambda table: (table["k"] + 1) % N_KEYS)
        changed.to_pickle(path)
        second = state_of(run(flow, "p2p"), flow, "shuffled")

    assert second.is_successful(), second.message
    assert ("a write that was stopped" in second.message) == goes_on
    kept = pd.read_parquet(tmp_path / "shuffled")
    of_table = "rank" not in kept and not goes_on
    wanted = changed if of_table else events(2_000)
    assert rows(kept[["k", "x", "name"]]) == rows(wanted)
    if "rank" in kept:
        assert sorted(kept["rank"]) == rank_counts(2_000, 6)
