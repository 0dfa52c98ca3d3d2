"""The cost of a checkpoint of a Dask frame, beside Dask's own files."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any, ClassVar

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
from distributed import LocalCluster
from prefect import Flow
from prefect.executors import DaskExecutor, LocalExecutor

from benchmarks.support import common
from prefect_ds import DSTaskRunner, task
from prefect_ds.dask import DaskDataFrameResultHandler


def partition(number: int, n_rows: int) -> pd.DataFrame:
    """Return one partition of numbers, text and times."""
    rng = np.random.default_rng(number)
    return pd.DataFrame(
        {
            "id": rng.integers(0, 1_000_000, n_rows),
            "x": rng.random(n_rows),
            "y": rng.random(n_rows),
            "name": pd.array(
                rng.choice(["Alice", "Bob", "Carol", "Dan"], n_rows),
                dtype=pd.StringDtype("pyarrow"),
            ),
        },
        index=pd.Index(np.arange(n_rows) + number * n_rows, name="row"),
    )


def frame(n_partitions: int, n_rows: int) -> dd.DataFrame:
    """Return a frame whose partitions are in memory, so that only writing is timed."""
    parts = pd.concat([partition(number, n_rows) for number in range(n_partitions)])
    return dd.from_pandas(parts, npartitions=n_partitions, sort=False)


SAME = {"use_dictionary": ["name"], "write_page_checksum": True}
"""The options that the handler chooses by itself, for Dask's writer."""


class _Folder:
    number = 1
    warmup_time = 0

    def _enter(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.handler = DaskDataFrameResultHandler(f"{self.folder}/frame")
        dask.config.set(scheduler="threads", num_workers=2)

    def _opened(self, reader: str) -> Any:
        path = f"{self.folder}/frame"
        if reader == "dask":
            return dd.read_parquet(path)
        return self.handler.load(path)

    def teardown(self, *_: object) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder)


class WriteFrame(_Folder):
    """Write a frame by prefect_ds, by Dask with the same options, and by Dask alone."""

    params: ClassVar = (["prefect_ds", "dask with the same options", "dask"],)
    param_names: ClassVar = ["writer"]

    def setup(self, writer: str) -> None:
        """Make the frame."""
        self._enter()
        self.frame = frame(16, 250_000)

    def time_write(self, writer: str) -> None:
        """Write 4 million rows in 16 parts."""
        if writer == "prefect_ds":
            self.handler.write(self.frame)
        elif writer == "dask":
            self.frame.to_parquet(f"{self.folder}/frame")
        else:
            self.frame.to_parquet(f"{self.folder}/frame", **SAME)


class OpenFrame(_Folder):
    """Open a frame of many parts: the manifest is read, and no part."""

    params: ClassVar = (["prefect_ds", "dask"], [100, 1_000])
    param_names: ClassVar = ["reader", "n_parts"]

    def setup(self, reader: str, n_parts: int) -> None:
        """Write the parts."""
        self._enter()
        self.handler.write(frame(n_parts, 10))

    def time_open(self, reader: str, n_parts: int) -> None:
        """Open the frame, and ask for its partitions and divisions."""
        opened = self._opened(reader)
        # Dask reads the footers only when it is asked.
        _ = opened.npartitions, opened.divisions


class ReadFrame(_Folder):
    """Compute every partition of a written frame, or one column of it."""

    params: ClassVar = (["prefect_ds", "dask"], ["all columns", "one column"])
    param_names: ClassVar = ["reader", "columns"]

    def setup(self, reader: str, columns: str) -> None:
        """Write the frame."""
        self._enter()
        self.handler.write(frame(16, 250_000))

    def time_read(self, reader: str, columns: str) -> None:
        """Read 4 million rows from 16 parts."""
        opened = self._opened(reader)
        if columns == "one column":
            opened = opened[["x"]]
        opened.map_partitions(len, meta=(None, int)).compute()


def stages(folder: str, n_partitions: int, n_rows: int) -> Flow:
    """Return a flow of three stages over one frame."""

    @task(result=DaskDataFrameResultHandler(f"{folder}/raw"))
    def raw() -> dd.DataFrame:
        return dd.from_map(
            partition, range(n_partitions), n_rows=n_rows, meta=partition(0, 1).iloc[:0]
        )

    @task(result=DaskDataFrameResultHandler(f"{folder}/clean"))
    def clean(frame: dd.DataFrame) -> dd.DataFrame:
        return frame[frame["x"] > 0.1]

    @task(result=DaskDataFrameResultHandler(f"{folder}/scaled"))
    def scaled(frame: dd.DataFrame) -> dd.DataFrame:
        return frame.assign(x=frame["x"] * 2)

    with Flow("stages") as flow:
        scaled(clean(raw()))
    return flow


class ResumeFlow(_Folder):
    """Run a finished flow of three stages again: no data are read, of any size."""

    params: ClassVar = ([4, 64],)
    param_names: ClassVar = ["n_partitions"]

    def setup(self, n_partitions: int) -> None:
        """Run the flow."""
        self._enter()
        self.flow = stages(self.folder, n_partitions, 20_000)
        self.time_resume(n_partitions)

    def time_resume(self, n_partitions: int) -> None:
        """Run it again."""
        state = self.flow.run(executor=LocalExecutor(), task_runner_cls=DSTaskRunner)
        assert state.is_successful()


class ClientMemory(_Folder):
    """Peak memory of a cluster's client, for frames of two sizes.

    It does not grow with the data.
    """

    params: ClassVar = ([2, 40],)
    param_names: ClassVar = ["n_partitions"]
    timeout = 600

    def setup(self, n_partitions: int) -> None:
        """Make the folder only: a cluster that a fork inherits would count."""
        self._enter()

    def track_client_peak_mib(self, n_partitions: int) -> float:
        """Return the peak in MiB after a run of three stages."""
        with LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster:
            executor = DaskExecutor(
                address=cluster.scheduler_address, watch_worker_status=False
            )
            flow = stages(self.folder, n_partitions, 250_000)
            state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)
            assert state.is_successful()
        return common.peak_bytes() / 2**20

    track_client_peak_mib.unit = "MiB"  # type: ignore[attr-defined]
