"""Dask frames that several test modules write. Workers in other processes import this module."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
from distributed import get_worker
from prefect import Flow

from prefect_ds import task
from prefect_ds.dask import DaskDataFrameResultHandler
from tests.support.flows import Notes
from tests.support.processes import executor_at

SCALE = 1
"""A global that a partition function reads, which tests change."""


def partition(
    number: int,
    notes: Notes | None = None,
    *,
    n_rows: int = 100,
    offset: int = 0,
    fail_at: int | None = None,
    die_at: int | None = None,
    seconds: float = 0.0,
) -> pd.DataFrame:
    """One partition, noted; fails or ends its process where a test wants that, once."""
    if notes is not None:
        notes(f"partition {number}")
        flag = Path(f"{notes.path}.died")
        if number == fail_at:
            raise ValueError(f"partition {number} fails")
        if number == die_at and not flag.exists():
            flag.touch()
            os._exit(9)
    time.sleep(seconds)
    rows = np.arange(number * n_rows, (number + 1) * n_rows)
    return pd.DataFrame(
        {
            "id": rows + offset,
            "value": rows * 0.5 * SCALE,
            "name": pd.array(
                [f"name {row % 7}" for row in rows], dtype=pd.StringDtype("pyarrow")
            ),
        },
        index=pd.Index(rows, name="row"),
    )


def frame(
    n_partitions: int, notes: Notes | None = None, *, n_rows: int = 100, **options: Any
) -> dd.DataFrame:
    """A frame whose partitions are made on the workers."""
    divisions = [*range(0, n_partitions * n_rows, n_rows), n_partitions * n_rows - 1]
    return dd.from_map(
        partition,
        range(n_partitions),
        notes=notes,
        n_rows=n_rows,
        meta=partition(0).iloc[:0],
        divisions=divisions,
        **options,
    )


def expected(n_partitions: int, **options: Any) -> pd.DataFrame:
    """What `frame` computes."""
    return pd.concat([partition(number, **options) for number in range(n_partitions)])


def handler(folder: object, name: str, **options: Any) -> DaskDataFrameResultHandler:
    """A handler that keeps folders of parquet in the folder."""
    return DaskDataFrameResultHandler(f"{folder}/{name}", **options)


def pipeline(
    folder: object,
    notes: Notes,
    ids: list[int],
    *,
    n_partitions: int = 3,
    **task_options: Any,
) -> Flow:
    """A mapped stage that makes Dask frames, a mapped stage over them, and a task that looks at the data."""

    @task(result=handler(folder, "events_{id}"), **task_options)
    def events(id):
        return frame(n_partitions, notes, offset=id)

    @task(result=handler(folder, "doubled_{map_index}"), **task_options)
    def doubled(events):
        return events.assign(id=events["id"] * 2)

    @task
    def total(frames):
        return sum(int(each["id"].sum().compute()) for each in frames)

    with Flow("frames") as flow:
        total(doubled.map(events.map(ids)))
    return flow


def expected_total(ids: list[int], n_partitions: int = 3) -> int:
    """What the last task of `pipeline` returns."""
    return sum(int(expected(n_partitions, offset=each)["id"].sum()) * 2 for each in ids)


def parts(n_partitions: int) -> list[str]:
    """What is noted when each partition is computed once."""
    return sorted(f"partition {number}" for number in range(n_partitions))


def worker_of(part: pd.DataFrame) -> pd.DataFrame:
    """Put the worker's address in a partition."""
    return part.assign(worker=get_worker().address)


def slow_partition(number: int, path: str) -> pd.DataFrame:
    """One partition, noted, which takes as long as the environment says: no part of what is computed."""
    time.sleep(float(os.environ.get("PREFECT_DS_TEST_SECONDS", "0")))
    return partition(number, Notes(path))


def slow_events(folder: str, path: str, seconds: float) -> Flow:
    """A flow of one task, whose ten partitions take their time."""
    os.environ["PREFECT_DS_TEST_SECONDS"] = str(seconds)

    @task(result=handler(folder, "events"))
    def events():
        return dd.from_map(
            slow_partition, range(10), path=path, meta=partition(0).iloc[:0]
        )

    with Flow("slow") as flow:
        events()
    return flow


def fails_once(number: int, path: str) -> pd.DataFrame:
    """One partition, noted; the fourth fails the first time."""
    Notes(path)(f"partition {number}")
    flag = Path(f"{path}.failed")
    if number == 3 and not flag.exists():
        flag.touch()
        raise ValueError("not the first time")
    return partition(number)


def flaky(n_partitions: int, notes: Notes) -> dd.DataFrame:
    """A frame whose fourth partition fails the first time."""
    return dd.from_map(
        fails_once, range(n_partitions), path=notes.path, meta=partition(0).iloc[:0]
    )


def wide_partition(number: int, n_rows: int) -> pd.DataFrame:
    """One partition of 8 columns of numbers, quick to make and to compress."""
    constant = {column: np.full(n_rows, float(number)) for column in "bcdefgh"}
    return pd.DataFrame({"a": np.arange(n_rows) % 1000 / 1000, **constant})


def larger_than_memory(folder: str, worker_mib: int, n_workers: int = 2) -> None:
    """Run three stages over a frame of four times the cluster's memory; print rows, workers killed, client's MiB."""
    from distributed import LocalCluster

    from prefect_ds import DSTaskRunner

    n_rows = (
        worker_mib * 2**20 // 32 // 64
    )  # A partition is a thirty-second of a worker's memory.
    n_partitions = 4 * n_workers * 32
    bare = wide_partition(0, 1).iloc[:0]

    @task(result=handler(folder, "raw"))
    def raw():
        return dd.from_map(
            wide_partition, range(n_partitions), n_rows=n_rows, meta=bare
        )

    @task(result=handler(folder, "clean"))
    def clean(frame):
        return frame[frame["a"] > 0.1].assign(a=lambda part: part["a"] * 2)

    @task(result=handler(folder, "scaled"))
    def scaled(frame):
        return frame.assign(b=frame["b"] * 2)

    with Flow("large") as flow:
        result = scaled(clean(raw()))
    with LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        memory_limit=f"{worker_mib}MiB",
        dashboard_address=":0",
    ) as cluster:
        first = _pids(cluster)
        executor = executor_at(cluster.scheduler_address)
        state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)
        assert state.is_successful(), state.result
        killed = first - _pids(cluster)
        n_rows = len(state.result[result].result)
    print(n_rows, len(killed), peak_bytes() / 2**20)


def peak_bytes() -> int:
    """Return this process's peak; not by getrusage, where it begins with that of the process that started it."""
    [line] = [
        each
        for each in Path("/proc/self/status").read_text().splitlines()
        if each.startswith("VmHWM")
    ]
    return int(line.split()[1]) * 1024


def _pids(cluster: Any) -> set[int]:
    from distributed import Client

    with Client(cluster, set_as_default=False) as client:
        return set(client.run(os.getpid).values())


def staged_in(folder: Path) -> list[str]:
    """Return the names of unfinished writes to a folder."""
    staging = folder / ".prefect_ds/staging"
    return sorted(os.listdir(staging)) if staging.exists() else []
