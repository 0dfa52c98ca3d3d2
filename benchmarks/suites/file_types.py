"""The costs of a checkpoint by file type, and when it pays."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd
from prefect import Flow, task
from prefect.executors import LocalExecutor

from benchmarks.support import common
from prefect_ds import DSTaskRunner
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.errors import FileTypeError
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.manifest import Origin

FILE_TYPES = [
    "parquet",
    "feather",
    "pickle",
    "orc",
    "hdf",
    "csv",
    "json",
    "stata",
    "excel",
    "xml",
    "html",
    "dask parquet",
]
SLOW = {"excel", "xml", "html"}
"""They take tens of seconds for a million rows, and are measured with fewer."""


def handler(folder: str, file_type: str) -> ResultHandler:
    """Return the handler that keeps a frame in the folder.

    Raises
    ------
    NotImplementedError
        A package is missing: asv leaves the type out.
    """
    if file_type == "dask parquet":
        return DaskDataFrameResultHandler(f"{folder}/frame")
    try:
        return common.handler(folder, file_type, "frame")
    except FileTypeError as error:
        raise NotImplementedError(str(error)) from error


def size_bytes(folder: str) -> int:
    """Return the bytes of the checkpoint itself, without its manifest."""
    return sum(
        file.stat().st_size
        for file in Path(folder).rglob("*")
        if file.is_file() and common.is_data(str(file))
    )


@functools.lru_cache(maxsize=32)
def written(file_type: str, n_rows: int) -> tuple[ResultHandler, str]:
    """Return a handler and the path at which it keeps a frame already."""
    keeps = handler(common.temporary_folder(), file_type)
    path = keeps.render({})
    keeps.keep(value(file_type, n_rows), path)
    return keeps, path


@functools.lru_cache(maxsize=2)
def value(file_type: str, n_rows: int) -> Any:
    """Return the frame, as Dask would have it for ``dask parquet``."""
    made = common.frame(n_rows)
    if file_type == "dask parquet":
        return dd.from_pandas(made, npartitions=4)
    return made


class Checkpoint(common.Folder):
    """Write a frame as a checkpoint, find it, and read it again."""

    params = (FILE_TYPES, [1_000, 100_000, 1_000_000])
    param_names = ("file_type", "n_rows")
    number, repeat, warmup_time, timeout = 1, (2, 5, 20.0), 0, 600

    def setup(self, file_type: str, n_rows: int) -> None:
        """Make the frame, and a checkpoint of it to read."""
        # PyTables warns of column names and lxml of its own use: no matter here.
        warnings.simplefilter("ignore")
        if file_type in SLOW and n_rows > 100_000:
            raise NotImplementedError("too slow to be of use")
        common.without_cache()
        dask.config.set(scheduler="threads", num_workers=2)
        self.keeps = handler(self.new_folder(), file_type)
        self.path = self.keeps.render({})
        self.value = value(file_type, n_rows)
        self.written, self.written_path = written(file_type, n_rows)
        self.reference = self.written.refer(
            self.written_path,
            self.written.manifest(self.written_path),
            origin=Origin(),
            is_loaded=True,
        )

    def time_write(self, file_type: str, n_rows: int) -> None:
        """Time the commit: the file, its proof, checksum, manifest and rename."""
        self.keeps.keep(self.value, self.path)

    def time_read(self, file_type: str, n_rows: int) -> None:
        """Time the way of the frame from its checkpoint into memory."""
        read = self.reference.load()
        if isinstance(read, dd.DataFrame):
            read = read.compute()
        assert len(read) == n_rows, len(read)

    def time_hit(self, file_type: str, n_rows: int) -> None:
        """Time a hit: the look-up, and the reference that travels on."""
        at_path = self.written.look_up(self.written_path)
        assert at_path.manifest is not None
        self.written.refer(
            self.written_path,
            at_path.manifest,
            origin=Origin(),
            is_loaded=True,
        )

    def track_bytes(self, file_type: str, n_rows: int) -> int:
        """Return the bytes on disk."""
        self.keeps.keep(self.value, self.path)
        return size_bytes(self.folder)

    def track_break_even(self, file_type: str, n_rows: int) -> float:
        """Return the seconds of computing a million rows that make a checkpoint pay.

        It pays at the first resume.
        """
        write_s = common.best_of(1, lambda: self.time_write(file_type, n_rows))
        read_s = common.best_of(2, lambda: self.time_read(file_type, n_rows))
        hit_s = common.best_of(2, lambda: self.time_hit(file_type, n_rows))
        return break_even(write_s, read_s, hit_s, n_rows)

    track_bytes.unit = "bytes"  # type: ignore[attr-defined]
    track_break_even.unit = "s per million rows"  # type: ignore[attr-defined]


def break_even(write_s: float, read_s: float, hit_s: float, n_rows: int) -> float:
    """Return the seconds of computing a million rows at which a checkpoint breaks even.

    Of a run and a resume that needs the frame: ``compute + write + hit + read`` with
    it, ``2 * compute`` without.
    """
    return (write_s + hit_s + read_s) * 1e6 / n_rows


KEEPERS = ["nothing kept", "parquet", "feather", "csv", "json"]


class TwoRuns(common.Folder):
    """Run a task of known cost in a flow, and again in a run that needs its frame.

    It shows where the lines of the costs really cross.
    """

    params = (KEEPERS, [0.0, 0.1, 0.3, 1.0, 3.0, 10.0], [1_000, 100_000])
    param_names = ("file_type", "compute_s_per_million_rows", "n_rows")
    number, repeat, warmup_time, timeout = 1, (2, 3, 10.0), 0, 300

    def setup(
        self, file_type: str, compute_s_per_million_rows: float, n_rows: int
    ) -> None:
        """Make the flow."""
        folder = self.new_folder()
        # Made now, and kept: the task below takes it from there.
        common.frame(n_rows)
        result = None
        if file_type != "nothing kept":
            result = handler(folder, file_type)
        cost_s = compute_s_per_million_rows * n_rows / 1e6

        @task(result=result)
        def compute() -> pd.DataFrame:
            common.burn(cost_s)
            return common.frame(n_rows)

        @task
        def use(frame: pd.DataFrame) -> int:
            return len(frame)

        with Flow("two runs") as self.flow:
            use(compute())

    def time_two_runs(
        self, file_type: str, compute_s_per_million_rows: float, n_rows: int
    ) -> None:
        """Time both runs."""
        for _ in range(2):
            common.forget()
            state = self.flow.run(
                executor=LocalExecutor(), task_runner_cls=DSTaskRunner
            )
            assert state is not None
            assert state.is_successful(), state
