"""How close a full read comes to the fastest that the same bytes can be read."""

from __future__ import annotations

import functools
from pathlib import Path

import dask
import dask.dataframe as dd
import pandas as pd
import pyarrow.dataset

from benchmarks.support import common
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.checksum import checksum_of

READERS = ["prefect_ds", "pandas", "pyarrow.dataset", "file", "file and checksum"]


@functools.lru_cache(maxsize=4)
def written_dask(n_rows: int) -> tuple[DaskDataFrameResultHandler, str]:
    """Return a handler and the folder in which it keeps a frame of eight parts."""
    keeps = DaskDataFrameResultHandler(f"{common.temporary_folder()}/frame")
    with dask.config.set(scheduler="threads"):
        keeps.keep(
            dd.from_pandas(common.frame(n_rows), npartitions=8), keeps.render({})
        )
    return keeps, keeps.render({})


def files_at(path: str) -> list[Path]:
    """Return the data files of a checkpoint."""
    if Path(path).is_file():
        return [Path(path)]
    return sorted(Path(path).glob("*.parquet"))


class FullRead:
    """Read all of a checkpoint: as a frame, as an Arrow table, and as plain bytes."""

    params = (READERS, ["pandas", "dask"], [1_000, 1_000_000])
    param_names = ("reader", "kind", "n_rows")
    number, repeat, warmup_time = 1, (3, 10, 20.0), 0

    def setup(self, reader: str, kind: str, n_rows: int) -> None:
        """Write the checkpoint."""
        common.without_cache()
        dask.config.set(scheduler="threads", num_workers=2)
        self.keeps: ResultHandler
        if kind == "pandas":
            self.keeps, self.path = common.written("parquet", n_rows)
        else:
            self.keeps, self.path = written_dask(n_rows)

    def time_read(self, reader: str, kind: str, n_rows: int) -> None:
        """Time the read."""
        is_dask = kind == "dask"
        if reader == "prefect_ds":
            frame = self.keeps.load(self.path)
            n_read = len(frame.compute() if is_dask else frame)
        elif reader == "pandas" and is_dask:
            n_read = len(dd.read_parquet(self.path).compute())
        elif reader == "pandas":
            n_read = len(pd.read_parquet(self.path))
        elif reader == "pyarrow.dataset":
            n_read = pyarrow.dataset.dataset(self.path).to_table().num_rows
        else:
            contents = [file.read_bytes() for file in files_at(self.path)]
            if reader == "file and checksum":
                list(map(checksum_of, contents))
            n_read = n_rows
        assert n_read == n_rows, n_read
