"""Clusters as they are in earnest: TLS, hosts on a network, workers that are cut off, a scheduler that dies."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask.dataframe as dd
import pytest
from distributed import get_worker
from pandas.testing import assert_frame_equal
from prefect import Flow

from prefect_ds import DSTaskRunner, PandasResultHandler, task
from prefect_ds.storage.layout import data_name
from prefect_ds.storage.store import CheckpointStore
from tests.support import dask_flows
from tests.support.barrier import Barrier, Held, held_partition, wait_for
from tests.support.clusters import Cluster, Machine, cluster, network, why_no_network
from tests.support.flows import (
    ALL_RAN,
    Notes,
    expected_total,
    frame_of,
    pipeline,
    result_of,
)
from tests.support.scale import SCALE

pytestmark = pytest.mark.slow


def run(flow: Flow, there: Cluster):
    return flow.run(executor=there.executor(), task_runner_cls=DSTaskRunner)


@pytest.fixture(params=["loopback and TLS", "network", "network and TLS"][: 1 + SCALE])
def somewhere(request, tmp_path):
    """A scheduler and two workers, each at an address of its own."""
    folder, tls = tmp_path / "cluster", "TLS" in request.param
    if request.param.startswith("loopback"):
        with cluster(
            folder, [Machine("127.0.0.2"), Machine("127.0.0.3")], tls=tls
        ) as there:
            yield there
        return
    if why_no_network():
        pytest.skip(why_no_network())
    with (
        network(3) as hosts,
        cluster(folder, hosts.hosts[1:], scheduler=hosts.hosts[0], tls=tls) as there,
    ):
        yield there


def test_whole_flows_and_their_resume_with_each_log_line_once(
    somewhere, tmp_path, notes, log_lines
):
    pandas_flow = pipeline(tmp_path / "pandas", notes)
    dask_flow = dask_flows.pipeline(tmp_path / "dask", notes, [1, 2])
    for is_first in (True, False):
        log_lines.clear()
        state = run(pandas_flow, somewhere)
        assert state.is_successful()
        assert notes.take() == (ALL_RAN if is_first else [])
        assert_frame_equal(result_of(state, pandas_flow, "total"), expected_total())
        assert_frame_equal(result_of(state, pandas_flow, "download")[1], frame_of(2))

        said = [
            line
            for line in log_lines
            if "Ran because" in line or "Loaded from the checkpoint" in line
        ]
        assert sorted(line.split("'")[1] for line in said) == sorted(
            [
                f"{stage}[{child}]"
                for stage in ("clean", "download")
                for child in range(3)
            ]
            + ["total"]
        )
        assert sum("Checkpoints of flow 'pipeline'" in line for line in log_lines) == 1

        state = run(dask_flow, somewhere)
        assert state.is_successful()
        assert notes.take() == (sorted(dask_flows.parts(3) * 2) if is_first else [])
        assert result_of(state, dask_flow, "total") == dask_flows.expected_total([1, 2])
        assert_frame_equal(
            result_of(state, dask_flow, "events")[1].compute(),
            dask_flows.expected(3, offset=2),
        )


SHORT_TTL = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "1s",  # Dask makes ten heartbeats of it, 5 s.
    "DASK_DISTRIBUTED__SCHEDULER__PRELOAD": '["prefect_ds"]',  # No import keeps a worker from its heartbeats.
    "DASK_DISTRIBUTED__WORKER__PRELOAD": '["prefect_ds"]',
}


@pytest.fixture
def cut_off(request, tmp_path):
    """A cluster, and what takes the worker with an address off it and brings it back."""
    if request.param == "stopped":
        hosts = [Machine("127.0.0.2"), Machine("127.0.0.3")]
        with cluster(tmp_path / "cluster", hosts, **SHORT_TTL) as there:

            def send(number: int, address: str) -> None:
                [worker] = [
                    process
                    for host, process in zip(hosts, there.workers, strict=True)
                    if host.host in address
                ]
                os.killpg(worker.pid, number)

            yield (
                there,
                lambda address: send(signal.SIGSTOP, address),
                lambda address: send(signal.SIGCONT, address),
            )
        return
    if why_no_network():
        pytest.skip(why_no_network())
    with (
        network(3) as net,
        cluster(
            tmp_path / "cluster", net.hosts[1:], scheduler=net.hosts[0], **SHORT_TTL
        ) as there,
    ):

        def number(address: str) -> int:
            return next(
                number
                for number, host in enumerate(net.hosts)
                if f"//{host.host}:" in address
            )

        yield (
            there,
            lambda address: net.cut(number(address)),
            lambda address: net.mend(number(address)),
        )


def run_with_a_worker_cut_off(flow: Flow, cut_off, barrier: Barrier, finished: Path):
    """Run the flow; cut off the worker that the barrier holds until another has written what it was to write."""
    there, cut, mend = cut_off

    def fate() -> str:
        wait_for(barrier.holds)
        where = barrier.holds()
        cut(where)
        wait_for(finished.exists)
        mend(where)
        barrier.let_go()
        wait_for(lambda: os.path.exists(f"{barrier.path}.went on"))
        return where

    with ThreadPoolExecutor(1) as thread:
        cut_off_worker = thread.submit(fate)
        state = run(flow, there)
        return state, cut_off_worker.result()


def has_ended(there: Cluster) -> bool:
    """Return whether the worker that was given up has seen that, finished what it was at, and gone."""
    return any(worker.poll() is not None for worker in there.workers)


def assert_nothing_but_checkpoints(folder: Path, *names: str) -> None:
    CheckpointStore.open(str(folder)).clean(str(folder), older_than_s=0)
    assert sorted(os.listdir(folder)) == sorted([".prefect_ds", *names])
    assert not os.listdir(folder / ".prefect_ds/staging")
    manifests = {
        data_name(each.name): os.listdir(each)
        for each in (folder / ".prefect_ds/manifests").iterdir()
    }
    assert {name: len(filed) for name, filed in manifests.items()} == dict.fromkeys(
        names, 1
    )
    assert not (folder / ".prefect_ds/set-aside").exists()


@pytest.mark.parametrize(
    "cut_off", ["cut off the network", "stopped"][:SCALE], indirect=True
)
def test_a_worker_cut_off_in_the_middle_of_a_write_comes_back_and_finishes_it(
    cut_off, tmp_path, notes
):
    barrier, data = Barrier(tmp_path / "barrier"), tmp_path / "data"
    handler = Held(f"{data}/source.parquet", barrier)

    @task(result=handler)
    def source():
        notes("source")
        return frame_of(1, 1000).assign(where=get_worker().address)

    @task
    def n_rows(frame):
        return len(frame)

    with Flow("cut off") as flow:
        n_rows(source())
    state, where = run_with_a_worker_cut_off(
        flow, cut_off, barrier, data / "source.parquet"
    )
    wait_for(lambda: len(Notes(f"{barrier.path}.kept").lines) == 2)

    assert state.is_successful()
    assert notes.take() == ["source", "source"]
    [zombie] = [
        line for line in Notes(f"{barrier.path}.kept").lines if line.startswith(where)
    ]
    assert "its result counts" in zombie
    assert result_of(state, flow, "n_rows") == 1000
    there = result_of(state, flow, "source")
    assert_frame_equal(there.drop(columns="where"), frame_of(1, 1000))
    assert set(there["where"]) == {
        kept.split()[0] for kept in Notes(f"{barrier.path}.kept").lines
    } - {where}
    assert handler.verify(f"{data}/source.parquet") == []
    assert_nothing_but_checkpoints(data, "source.parquet")


@pytest.mark.parametrize(
    ("cut_off", "at_owner"),
    [
        pytest.param(
            how, at_owner, id=f"{how} with {'the task' if at_owner else 'a part'}"
        )
        for how in ("stopped", "cut off the network")
        for at_owner in (False, True)
    ][:SCALE],
    indirect=["cut_off"],
)
def test_a_worker_cut_off_in_the_middle_of_a_part_comes_back_and_finishes_it(
    cut_off, at_owner, tmp_path, notes
):
    barrier, data, owner = (
        Barrier(tmp_path / "barrier"),
        tmp_path / "data",
        str(tmp_path / "owner"),
    )
    data.mkdir()
    handler = dask_flows.handler(data, "events")

    @task(result=handler)
    def events():
        notes("events")
        if not os.path.exists(owner):
            Path(owner).write_text(get_worker().address)
        meta = dask_flows.partition(0).iloc[:0]
        return dd.from_map(
            held_partition,
            range(8),
            barrier=barrier,
            owner=owner,
            at_owner=at_owner,
            meta=meta,
        )

    with Flow("cut off") as flow:
        events()
    state, where = run_with_a_worker_cut_off(flow, cut_off, barrier, data / "events")
    wait_for(lambda: has_ended(cut_off[0]))

    assert state.is_successful()
    assert (where == Path(owner).read_text()) == at_owner
    assert notes.take() == (["events", "events"] if at_owner else ["events"])
    frame = result_of(state, flow, "events").compute()
    assert_frame_equal(frame[["id", "value"]], dask_flows.expected(8)[["id", "value"]])
    assert handler.verify(f"{data}/events") == []
    assert sorted(os.listdir(data / "events")) == [
        f"part.{number:05d}.parquet" for number in range(8)
    ]
    assert_nothing_but_checkpoints(data, "events")


def test_a_flow_whose_scheduler_is_killed_fails_and_is_resumed_by_the_next_run(
    tmp_path, notes
):
    barrier, data = Barrier(tmp_path / "barrier"), tmp_path / "data"

    @task(result=PandasResultHandler(f"{data}/{{number}}.parquet", "parquet"))
    def source(number):
        notes(f"source {number}")
        if number == 3:
            barrier.hold()
        return frame_of(number)

    with Flow("killed") as flow:
        source.map([1, 2, 3])
    hosts = [Machine("127.0.0.2"), Machine("127.0.0.3")]
    with cluster(tmp_path / "cluster", hosts) as there, ThreadPoolExecutor(1) as thread:

        def kill() -> None:
            wait_for(
                lambda: (
                    barrier.holds()
                    and (data / "1.parquet").exists()
                    and (data / "2.parquet").exists()
                )
            )
            os.killpg(there.scheduler.pid, signal.SIGKILL)

        killed = thread.submit(kill)
        state = run(flow, there)
        killed.result()
    assert state.is_failed()
    assert "scheduler-connection-lost" in str(state.result)
    assert notes.take() == ["source 1", "source 2", "source 3"]

    with cluster(tmp_path / "another", hosts) as there:
        state = run(flow, there)
    assert state.is_successful()
    assert notes.take() == ["source 3"]
    for number, frame in enumerate(result_of(state, flow, "source"), 1):
        assert_frame_equal(frame, frame_of(number))
