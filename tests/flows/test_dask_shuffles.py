"""Shuffled frames: how Dask shuffles is decided where the frame is computed, and no row is lost or doubled."""

from __future__ import annotations

import functools
import logging

import dask
import dask.bag as db
import dask.dataframe as dd
import pandas as pd
import pytest
from distributed import Client, get_client, get_worker, worker_client
from prefect import Flow
from prefect.executors import DaskExecutor, LocalDaskExecutor, LocalExecutor

from prefect_ds import DSTaskRunner, task
from prefect_ds.dask.lowering import lower, shuffles
from prefect_ds.errors import ResultTypeError
from tests.support.dask_flows import handler
from tests.support.flows import result_of, state_of
from tests.support.processes import executor_at
from tests.support.shuffles import (
    IN_DASK,
    Fatal,
    events,
    expected_rows,
    keys,
    lazy,
    rows,
)

N_ROWS = 600


@pytest.fixture(scope="module")
def client(cluster):
    with Client(cluster, set_as_default=False) as client:
        yield client


def as_on_a_fresh_worker() -> None:
    """Forget the client that an earlier task made on this worker."""
    worker = get_worker()
    if worker._client is not None:
        worker._client.close()
        worker._client = None


def shuffled(how: str) -> dd.DataFrame:
    left, right = lazy(N_ROWS, 5)
    if how == "asked for by name":
        return left.shuffle("k", shuffle_method="disk")
    if how == "optimised by the user":
        return left.shuffle("k").optimize()
    return IN_DASK[how](left, right)


def ours(how: str, method: str | None) -> tuple[list[str], int]:
    """Return the shuffles that we would run here, and how many rows they give."""
    as_on_a_fresh_worker()
    with dask.config.set({"dataframe.shuffle.method": method}):
        lowered = lower(shuffled(how), "events")
        assert lowered.client is not None
        return shuffles(lowered.frame), len(lowered.frame.compute())


def plain(how: str, method: str | None) -> list[str]:
    """Return the shuffles that Dask's own compute runs here."""
    as_on_a_fresh_worker()
    with dask.config.set({"dataframe.shuffle.method": method}):
        frame = shuffled(how)
        get_client()  # As compute does, before it looks at the frame.
        return shuffles(frame.optimize(fuse=False))


def several(function, cases):
    """Return what the function says of several cases: one task on one worker, which is quicker."""
    return [function(*case) for case in cases]


def test_on_a_worker_a_frame_is_shuffled_as_plain_dask_would(client):
    cases = [
        ("shuffle", None),
        ("shuffle", "tasks"),
        ("shuffle", "p2p"),
        ("merge", None),
        ("merge", "tasks"),
        ("groupby apply", None),
        ("set_index", None),
        ("set_index", "tasks"),
    ]

    by_us = client.submit(several, ours, cases, pure=False).result()

    by_dask = client.submit(several, plain, cases, pure=False).result()
    assert [names for names, _ in by_us] == by_dask
    assert all(by_dask)
    assert all("DiskShuffle" not in names for names in by_dask)
    assert [n_rows for _, n_rows in by_us] == [
        len(expected_rows(how, N_ROWS)) for how, _ in cases
    ]


def test_a_shuffle_through_one_workers_disk_is_replaced_on_a_cluster(client):
    cases = [
        ("shuffle", "disk"),
        ("merge", "disk"),
        ("asked for by name", None),
        ("optimised by the user", None),
    ]
    for names, n_rows in client.submit(several, ours, cases, pure=False).result():
        assert set(names) == {"TaskShuffle"}
        assert n_rows == N_ROWS


def said(how: str) -> list[str]:
    """Return what is logged here when the frame is lowered."""
    lines: list[str] = []
    collect = logging.Handler()
    collect.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("prefect.prefect_ds.dask")
    logger.addHandler(collect)
    try:
        lower(shuffled(how), "data/events")
    finally:
        logger.removeHandler(collect)
    return lines


def test_the_replacement_is_said(client):
    [line] = client.submit(said, "asked for by name", pure=False).result()
    assert "shuffled by 'tasks'" in line
    assert "data/events" in line
    assert client.submit(said, "shuffle", pure=False).result() == []


def grouped_on_disk() -> dd.DataFrame:
    bag = db.from_sequence([{"k": number % 3} for number in range(9)], npartitions=3)
    return (
        bag.groupby(lambda row: row["k"], shuffle="disk")
        .map(lambda pair: {"k": pair[0], "n": len(pair[1])})
        .to_dataframe(meta={"k": "int64", "n": "int64"})
    )


def test_a_step_on_one_workers_disk_that_cannot_be_replaced_is_refused_on_a_cluster(
    client, tmp_path
):
    write = functools.partial(handler(tmp_path, "grouped").write, grouped_on_disk())

    with pytest.raises(ResultTypeError, match="shuffle='tasks'"):
        client.submit(write, pure=False).result()
    assert not (tmp_path / "grouped").exists()


def test_one_process_may_use_its_disk(tmp_path):
    written = handler(tmp_path, "grouped").write(grouped_on_disk())

    assert rows(written.value.compute()) == [(0, 3), (1, 3), (2, 3)]
    assert shuffles(lower(shuffled("shuffle"), "events").frame) == ["DiskShuffle"]


def on(cluster) -> DaskExecutor:
    return executor_at(cluster.scheduler_address)


def run(flow: Flow, executor):
    state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)
    assert state.is_successful(), state.result
    return state


def chain(folder: object) -> Flow:
    """A checkpoint, two frames that are shuffled from it, and a task that merges them."""

    @task(result=handler(folder, "left"))
    def left():
        return dd.from_pandas(events(N_ROWS), npartitions=5).shuffle("x")

    @task(result=handler(folder, "right"))
    def right():
        return dd.from_pandas(keys(), npartitions=3).set_index("k").reset_index()

    @task(result=handler(folder, "merged"))
    def merged(left, right):
        return left.merge(right, on="k")

    with Flow("chain") as flow:
        merged(left(), right())
    return flow


def inside(folder: object) -> Flow:
    """A task that runs the chain as a flow of its own."""

    @task
    def inner():
        flow = chain(folder)
        state = run(flow, LocalExecutor())
        return len(result_of(state, flow, "merged").compute())

    with Flow("outer") as flow:
        inner()
    return flow


@pytest.mark.parametrize("place", ["here", "threads", "processes", "address"])
@pytest.mark.parametrize("default_client", [False, True])
def test_a_chain_of_shuffles_on_each_executor(
    request, tmp_path, cluster, place, default_client
):
    executor = {
        "here": LocalExecutor,
        "threads": functools.partial(LocalDaskExecutor, "threads", num_workers=2),
        "processes": functools.partial(LocalDaskExecutor, "processes", num_workers=2),
        "address": functools.partial(on, cluster),
    }[place]()
    flow = chain(tmp_path)
    if default_client:
        there = Client(cluster)
        request.addfinalizer(there.close)

    state = run(flow, executor)

    merged = result_of(state, flow, "merged")
    assert rows(merged.compute()) == expected_rows("merge", N_ROWS)
    assert len(merged) == N_ROWS


def test_a_flow_inside_a_task_shuffles_on_the_cluster(cluster, tmp_path):
    flow = inside(tmp_path)
    state = run(flow, on(cluster))
    assert result_of(state, flow, "inner") == N_ROWS


def test_a_task_that_uses_the_workers_client(cluster, tmp_path):
    @task(result=handler(tmp_path, "counted"))
    def counted():
        with worker_client() as client:
            n_workers = len(client.scheduler_info()["workers"])
        return shuffled("shuffle").assign(n_workers=n_workers)

    with Flow("client") as flow:
        counted()
    state = run(flow, on(cluster))

    frame = result_of(state, flow, "counted").compute()
    assert len(frame) == N_ROWS
    assert set(frame["n_workers"]) == {2}


@pytest.mark.slow
@pytest.mark.parametrize("adapt", [{}, {"minimum": 2, "maximum": 2}])
def test_a_worker_of_the_executors_own_cluster_dies_in_a_shuffle(tmp_path, adapt):
    """Seen before: 2,400 rows of 2,000."""
    fatal = Fatal(tmp_path / "fatal", 8, seconds=0.02)

    @task(result=handler(tmp_path, "shuffled"))
    def shuffled():
        left, _ = lazy(2000, 12)
        return left.map_partitions(fatal, meta=left._meta).shuffle("k")

    with Flow("dies") as flow:
        shuffled()
    executor = DaskExecutor(
        cluster_kwargs={
            "n_workers": 2,
            "threads_per_worker": 1,
            "dashboard_address": ":0",
        },
        adapt_kwargs=adapt,
        watch_worker_status=False,
    )
    state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)

    assert fatal.is_sprung
    # It may be the worker with the task itself that died, once or more.
    assert state.is_successful(), state_of(state, flow, "shuffled").message
    kept = pd.read_parquet(tmp_path / "shuffled")
    assert rows(kept[["k", "x", "name"]]) == expected_rows("shuffle", 2000)
