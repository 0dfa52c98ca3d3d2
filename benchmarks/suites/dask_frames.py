"""What a checkpoint of a Dask frame costs beside Dask's own files: to write, open, read, resume, and to the client."""

from __future__ import annotations

import shutil
import tempfile
from typing import ClassVar

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
    """Return a frame whose partitions are in memory, so that what is timed is writing."""
    parts = pd.concat([partition(number, n_rows) for number in range(n_partitions)])
    return dd.from_pandas(parts, npartitions=n_partitions, sort=False)


SAME = {"use_dictionary": ["name"], "write_page_checksum": True}
"""What the handler would choose by itself, for Dask's writer."""


class _Folder:
    number = 1
    warmup_time = 0

    def _enter(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.handler = DaskDataFrameResultHandler(f"{self.folder}/frame")
        dask.config.set(scheduler="threads", num_workers=2)

    def teardown(self, *_: object) -> None:
        """Remove what was written."""
        shutil.rmtree(self.folder)


class WriteFrame(_Folder):
    """Write one frame: through prefect_ds, by Dask with the same options, by Dask as it is."""

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
        else:
            self.frame.to_parquet(
                f"{self.folder}/frame", **(SAME if "same" in writer else {})
            )


class OpenFrame(_Folder):
    """Open a frame of many parts, of few rows or many: the manifest is read, no part."""

    params: ClassVar = (["prefect_ds", "dask"], [100, 1_000])
    param_names: ClassVar = ["reader", "n_parts"]

    def setup(self, reader: str, n_parts: int) -> None:
        """Write the parts."""
        self._enter()
        self.handler.write(frame(n_parts, 10))

    def time_open(self, reader: str, n_parts: int) -> None:
        """Open the frame, and ask for its length's cheap neighbours: partitions and divisions."""
        opened = (
            dd.read_parquet(f"{self.folder}/frame")
            if reader == "dask"
            else self.handler.load(f"{self.folder}/frame")
        )
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
        opened = (
            dd.read_parquet(f"{self.folder}/frame")
            if reader == "dask"
            else self.handler.load(f"{self.folder}/frame")
        )
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
    """Run a finished flow of three stages again: no data is read, whatever their size."""

    params: ClassVar = ([4, 64],)
    param_names: ClassVar = ["n_partitions"]

    def setup(self, n_partitions: int) -> None:
        """Run the flow."""
        self._enter()
        self.flow = stages(self.folder, n_partitions, 20_000)
        self.time_resume(n_partitions)

    def time_resume(self, n_partitions: int) -> None:
        """Run it again."""
        assert self.flow.run(
            executor=LocalExecutor(), task_runner_cls=DSTaskRunner
        ).is_successful()


class ClientMemory(_Folder):
    """Peak memory of the client of a cluster, for frames of two sizes: it does not grow with the data."""

    params: ClassVar = ([2, 40],)
    param_names: ClassVar = ["n_partitions"]
    timeout = 600

    def setup(self, n_partitions: int) -> None:
        """Do nothing but make the folder: the cluster's processes would be counted by a fork."""
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
            assert flow.run(
                executor=executor, task_runner_cls=DSTaskRunner
            ).is_successful()
        return common.peak_bytes() / 2**20

    track_client_peak_mib.unit = "MiB"  # type: ignore[attr-defined]
