"""Jobs for folders of parts, and for files and folders that a task writes by itself."""

from __future__ import annotations

import os
import pathlib
import shutil
from typing import Any

import pandas as pd
from pandas.testing import assert_frame_equal

from prefect_ds import FileResultHandler
from tests.support.kill_jobs import NEW, Job, frame_of, not_adopted


class DaskJob(Job):
    """A folder of twelve parts."""

    N_PARTITIONS = 12

    @property
    def path(self) -> str:
        return f"{self.data}/a"

    @property
    def handler(self) -> Any:
        from prefect_ds.dask import DaskDataFrameResultHandler

        return DaskDataFrameResultHandler(self.path, durability=self.durability)

    def make(self, number: int) -> Any:
        import dask.dataframe as dd

        numbers = range(self.N_PARTITIONS)
        return dd.from_map(
            partition_of,
            numbers,
            which=number,
            folder=self.folder,
            meta=partition_of(0, 0, "").iloc[:0],
        )

    def read_plainly(self) -> pd.DataFrame:
        return self.whole(pd.read_parquet(self.path))

    def loaded(self, value: Any) -> pd.DataFrame:
        return self.whole(value.compute())

    def whole(self, parts: pd.DataFrame) -> pd.DataFrame:
        """Return the frame that just these twelve parts were made of."""
        number = int(parts["x"].iloc[0]) // 1000
        expected = pd.concat(
            [partition_of(i, number, "") for i in range(self.N_PARTITIONS)]
        )
        assert_frame_equal(
            parts.reset_index(drop=True), expected.reset_index(drop=True)
        )
        return frame_of(number)

    def judge_next_run(self, is_there: bool) -> None:
        staging = f"{self.data}/.prefect_ds/staging"
        finished = {
            each.name.partition(".")[0]
            for each in pathlib.Path(staging).glob("*.staged/*.json")
        }
        state = self.run(NEW)
        assert state.is_successful(), state.message
        assert self.loaded(state.result).equals(frame_of(NEW))
        n_runs = self.take_n_runs()
        assert (
            n_runs == 0 if is_there else n_runs <= self.N_PARTITIONS - len(finished)
        ), (n_runs, finished)


class FileJob(Job):
    """A file that the task writes by itself, in a folder beside the checkpoint's."""

    @property
    def path(self) -> str:
        return f"{self.data}/a"

    @property
    def scratch(self) -> pathlib.Path:
        return pathlib.Path(f"{self.folder}/scratch")

    @property
    def handler(self) -> Any:
        return FileResultHandler(self.path, durability=self.durability)

    def make(self, number: int) -> Any:
        self.note()
        self.write(frame_of(number))
        return self.scratch

    def write(self, frame: pd.DataFrame) -> None:
        frame.to_csv(self.scratch, index=False)

    def read(self, path: pathlib.Path) -> pd.DataFrame:
        return pd.read_csv(path, dtype={"s": "str"})

    def read_plainly(self) -> pd.DataFrame:
        return self.read(pathlib.Path(self.path))

    def loaded(self, value: Any) -> pd.DataFrame:
        assert value == pathlib.Path(self.path)
        return self.read(value)

    def expected(self) -> tuple[int, set[int | None]]:
        # Nothing says that a file without a manifest is whole.
        return not_adopted(self.scene) or super().expected()

    def judge(self) -> None:
        if os.path.exists(f"{self.folder}/ran"):
            # Whatever the fault, what the task wrote is there or at its path.
            is_there = self.scratch.exists()
            written = self.read(self.scratch) if is_there else self.read_plainly()
            assert_frame_equal(written, frame_of(NEW))
        super().judge()

    def may_be_damaged(self) -> bool:
        return self.scene in ("damaged", "adopt")


class FolderJob(FileJob):
    """A nested folder that the task writes by itself."""

    def write(self, frame: pd.DataFrame) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
        for column in frame:
            (self.scratch / "columns" / column).mkdir(parents=True)
            frame[[column]].to_csv(self.scratch / f"columns/{column}/0", index=False)
        (self.scratch / "empty").mkdir()

    def read(self, path: pathlib.Path) -> pd.DataFrame:
        assert sorted(each.name for each in path.iterdir()) == ["columns", "empty"]
        columns = [
            super(FolderJob, self).read(path / f"columns/{name}/0") for name in "xfs"
        ]
        return pd.concat(columns, axis=1)

    def damage(self) -> None:
        os.truncate(f"{self.path}/columns/x/0", 10)

    def is_damaged(self) -> bool:
        column = f"{self.path}/columns/x/0"
        return os.path.exists(column) and os.path.getsize(column) == 10


def partition_of(number: int, which: int, folder: str) -> pd.DataFrame:
    """One part of a frame, noted."""
    if folder:
        with open(f"{folder}/ran", "a") as file:
            file.write("ran\n")
    return (
        frame_of(which).assign(part=number).astype({"s": pd.StringDtype("pyarrow")})
    )  # As Dask would have it.
