"""Dask frames as task results on clusters of processes, of threads, and on one thread."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
import pytest
from distributed import Client
from pandas.testing import assert_frame_equal
from prefect import Flow
from prefect.executors import DaskExecutor, LocalDaskExecutor, LocalExecutor

from prefect_ds import DSTaskRunner, task
from tests.support.dask_flows import (
    expected,
    expected_total,
    flaky,
    frame,
    handler,
    parts,
    peak_bytes,
    pipeline,
    slow_events,
    wide_partition,
    worker_of,
)
from tests.support.flows import result_of
from tests.support.processes import executor_at, local_cluster


@pytest.fixture(scope="module")
def one_thread():
    """One worker process with one thread: a task that waits for another one there waits for ever."""
    with local_cluster(n_workers=1) as cluster:
        yield cluster


def on(cluster) -> DaskExecutor:
    return executor_at(cluster.scheduler_address)


def run(flow: Flow, executor):
    state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)
    assert state.is_successful(), state.result
    return state


@pytest.mark.parametrize(
    "executor",
    [
        LocalExecutor,
        lambda: LocalDaskExecutor("threads", num_workers=4),
        "cluster",
        "one_thread",
        "cluster_address",
    ],
)
def test_mapped_tasks_that_return_frames_and_their_resume(
    executor, tmp_path, notes, request
):
    """`cluster_address` is a `dask scheduler` with two `dask worker` processes of two threads."""
    if isinstance(executor, str):
        place = request.getfixturevalue(executor)
        address = place if isinstance(place, str) else place.scheduler_address
        executor = lambda: executor_at(address)  # noqa: E731
    ids = [1, 2, 3, 4]
    flow = pipeline(tmp_path, notes, ids)

    state = run(flow, executor())
    assert notes.take() == sorted(parts(3) * 4), "each partition of each child once"
    assert result_of(state, flow, "total") == expected_total(ids)
    assert_frame_equal(
        result_of(state, flow, "events")[2].compute(), expected(3, offset=3)
    )

    state = run(flow, executor())
    assert notes.take() == [], "nothing runs, and no lineage is computed again"
    assert result_of(state, flow, "total") == expected_total(ids)
    assert sorted(os.listdir(tmp_path / "events_1")) == [
        f"part.{number:05d}.parquet" for number in range(3)
    ]


@pytest.mark.slow
def test_the_executors_own_cluster_of_processes(tmp_path, notes):
    flow = pipeline(tmp_path, notes, [1, 2])
    options = {
        "n_workers": 2,
        "threads_per_worker": 2,
        "processes": True,
        "dashboard_address": ":0",
    }

    state = run(flow, DaskExecutor(cluster_kwargs=options, watch_worker_status=False))

    assert result_of(state, flow, "total") == expected_total([1, 2])


@pytest.mark.slow
def test_an_adaptive_cluster(tmp_path, notes):
    flow = pipeline(tmp_path, notes, list(range(6)), n_partitions=4)
    executor = DaskExecutor(
        cluster_kwargs={
            "n_workers": 0,
            "threads_per_worker": 1,
            "processes": True,
            "dashboard_address": ":0",
        },
        adapt_kwargs={"minimum": 1, "maximum": 3},
        watch_worker_status=False,
    )

    state = run(flow, executor)

    assert result_of(state, flow, "total") == expected_total(list(range(6)), 4)


def test_partitions_are_written_by_the_workers_that_have_them(cluster, tmp_path):
    """The data are not gathered: each of the two workers wrote some parts of the one frame."""

    @task(result=handler(tmp_path, "events"))
    def events():
        held = frame(8, seconds=0.05)
        return held.map_partitions(
            worker_of, meta=held._meta.assign(worker=pd.Series([], dtype=object))
        )

    with Flow("spread") as flow:
        events()
    state = run(flow, on(cluster))

    workers = result_of(state, flow, "events")["worker"].compute()
    assert workers.nunique() == 2


def test_the_data_do_not_go_through_client_or_scheduler(cluster, tmp_path):
    n_partitions, n_rows = 8, 100_000  # 20 MB

    @task(result=handler(tmp_path, "events"))
    def events():
        return frame(n_partitions, n_rows=n_rows)

    with Flow("large") as flow:
        events()

    with Client(cluster, set_as_default=False) as client:
        state = run(flow, on(cluster))
        transferred = sum(
            each.get("nbytes", 0)
            for log in client.run(
                lambda dask_worker: list(dask_worker.transfer_outgoing_log)
            ).values()
            for each in log
        )
    assert len(result_of(state, flow, "events")) == n_partitions * n_rows
    assert transferred < 2_000_000


def test_a_pandas_frame_does_not_go_through_the_scheduler(cluster, tmp_path):
    @task(result=handler(tmp_path, "events", partition_size="1MB"))
    def events():
        return expected(1, n_rows=200_000)

    with Flow("pandas") as flow:
        events()
    state = run(flow, on(cluster))

    assert len(result_of(state, flow, "events")) == 200_000
    assert result_of(state, flow, "events").npartitions > 1


@pytest.mark.slow
def test_a_worker_that_dies_in_the_middle_of_a_write(tmp_path, notes):
    """Dask computes its partitions again: none is lost, doubled or mixed."""
    with local_cluster() as cluster:

        @task(result=handler(tmp_path, "events"))
        def events():
            return frame(8, notes, die_at=5, seconds=0.05)

        with Flow("death") as flow:
            events()
        state = run(flow, on(cluster))

        loaded = result_of(state, flow, "events")
        assert_frame_equal(loaded.compute(), expected(8))
        assert loaded.divisions[0] == 0
    assert sorted(os.listdir(tmp_path / "events")) == [
        f"part.{number:05d}.parquet" for number in range(8)
    ]
    assert handler(tmp_path, "events").verify(f"{tmp_path}/events") == []


def test_a_killed_run_is_gone_on_with_by_the_next(tmp_path, notes):
    """Client, scheduler and workers die after k of n partitions: the next run computes n - k."""
    code = (
        "from distributed import LocalCluster\n"
        "from prefect import Flow\n"
        "from prefect.executors import DaskExecutor\n"
        "from prefect_ds import DSTaskRunner, task\n"
        "from tests.support.dask_flows import slow_events\n"
        "if __name__ == '__main__':\n"
        "    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=':0') as cluster:\n"
        f"        slow_events({str(tmp_path)!r}, {notes.path!r}, 0.3).run(\n"
        "            executor=DaskExecutor(address=cluster.scheduler_address, watch_worker_status=False),\n"
        "            task_runner_cls=DSTaskRunner)\n"
    )
    script = tmp_path / "killed.py"
    script.write_text(code)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                [os.environ.get("PYTHONPATH", ""), str(Path(__file__).parents[2])]
            ),
        },
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while (
        len(records(tmp_path)) < 3
        and time.monotonic() < deadline
        and process.poll() is None
    ):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = len(records(tmp_path))
    assert 3 <= finished < 10
    assert not (tmp_path / "events").exists()
    notes.take()

    flow = slow_events(str(tmp_path), notes.path, 0.0)
    state = run(flow, LocalExecutor())

    assert len(notes.take()) == 10 - finished
    assert_frame_equal(result_of(state, flow, "events").compute(), expected(10))
    assert "from a write that was stopped" in next(iter(state.result.values())).message


def records(folder: Path) -> list[Path]:
    return list((folder / ".prefect_ds/staging").glob("*.staged/*.json"))


def test_a_retry_computes_only_what_its_first_try_did_not_finish(
    cluster, tmp_path, notes
):
    @task(
        result=handler(tmp_path, "events"),
        max_retries=1,
        retry_delay=pd.Timedelta(0).to_pytimedelta(),
    )
    def events():
        return flaky(6, notes)

    with Flow("retry") as flow:
        events()
    state = run(flow, on(cluster))

    noted = notes.take()
    assert noted.count("partition 3") == 2
    assert len(noted) <= 9, "what was finished before the failure is not computed again"
    assert_frame_equal(result_of(state, flow, "events").compute(), expected(6))


@pytest.mark.parametrize("executor", ["cluster", "threads"])
def test_a_task_with_a_timeout(executor, tmp_path, notes, request):
    flow = pipeline(tmp_path, notes, [1, 2], timeout=600)
    place = (
        on(request.getfixturevalue("cluster"))
        if executor == "cluster"
        else LocalDaskExecutor("threads", num_workers=2)
    )

    state = run(flow, place)

    assert result_of(state, flow, "total") == expected_total([1, 2])
    assert notes.take() == sorted(parts(3) * 2)


@pytest.mark.slow
def test_many_children_write_at_once_in_bounded_memory(cluster, tmp_path):
    """Eighty partitions of 16 MB: a worker holds a few of them, whosesoever they are."""
    n_children, n_partitions, n_rows = 16, 5, 250_000

    @task(result=handler(tmp_path, "events_{map_index}"))
    def events(first):
        numbers = range(first, first + n_partitions)
        return dd.from_map(
            wide_partition, numbers, n_rows=n_rows, meta=wide_partition(0, 0)
        )

    with Flow("many") as flow:
        events.map(list(range(n_children)))
    with Client(cluster, set_as_default=False) as client:
        before = client.run(peak_bytes)
        state = run(flow, on(cluster))
        after = client.run(peak_bytes)
    assert [len(each) for each in result_of(state, flow, "events")] == [
        n_partitions * n_rows
    ] * n_children
    grown = max(after[worker] - before[worker] for worker in after)
    assert grown < 250e6, (
        f"{grown / 1e6:.0f} MB more than before, for 1,280 MB of frames"
    )


@pytest.mark.slow
def test_a_frame_larger_than_the_clusters_memory(tmp_path, in_child_process):
    """Three stages from disk to disk. PREFECT_DS_WORKER_MIB sets a worker's memory; the frame is four times both."""
    worker_mib = int(os.environ.get("PREFECT_DS_WORKER_MIB", "512"))
    done = in_child_process(
        "from tests.support.dask_flows import larger_than_memory\n"
        "if __name__ == '__main__':\n"
        f"    larger_than_memory({str(tmp_path)!r}, {worker_mib})\n",
        timeout_s=1200,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    n_rows, n_killed, client_mib = map(float, done.stdout.split()[-3:])
    assert n_rows > 0
    assert n_killed == 0
    assert client_mib < 300
