"""The cost of a checkpoint, beside a bare write and a bare read of the same data."""

from __future__ import annotations

import os
import time
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.support import common
from prefect_ds import pandas_result_handler
from prefect_ds.file_types import frame_format as formats
from prefect_ds.pandas_result_handler import PandasResultHandler
from prefect_ds.storage import commit, manifest
from prefect_ds.storage.local_files import LocalFiles

SAME_OPTIONS: dict[str, Any] = {
    "use_dictionary": ["name", "kind"],
    "write_page_checksum": True,
}
"""Options that prefect_ds gives to the parquet writer for this frame.

The bare writers are measured with them and without.
"""

WRITERS = ["prefect_ds", "pandas", "pandas, same options", "pyarrow, same options"]

PLACES: dict[str, list[tuple[Any, str]]] = {
    "checksum": [(pandas_result_handler, "describe_staged")],
    "manifest": [
        (PandasResultHandler, "_manifest"),
        (manifest.Manifest, "to_json"),
        (manifest.Manifest, "from_json"),
        (LocalFiles, "create"),
        (commit, "_refuse_collision"),
    ],
    "rename": [
        (LocalFiles, "stamped"),
        (LocalFiles, "place"),
        (LocalFiles, "replace"),
        (LocalFiles, "remove"),
    ],
    "file": [(formats.FrameFormat, "encode")],
}
"""Step of a commit to the functions that do it, to measure the time in them."""


class WriteParquet(common.Folder):
    """Write one frame to a parquet file."""

    params = (WRITERS, [1_000, 100_000, 1_000_000])
    param_names = ("writer", "n_rows")
    number, repeat, warmup_time = 1, (3, 10, 20.0), 0

    def setup(self, writer: str, n_rows: int) -> None:
        """Make the frame and an empty folder."""
        common.without_cache()
        self.keeps = common.handler(self.new_folder(), "parquet", "ours")
        self.frame = common.frame(n_rows)
        self.bare = f"{self.folder}/bare.parquet"

    def time_write(self, writer: str, n_rows: int) -> None:
        """Time the write."""
        if writer == "prefect_ds":
            self.keeps.keep(self.frame, self.keeps.render({}))
        elif writer == "pandas":
            self.frame.to_parquet(self.bare)
        elif writer == "pandas, same options":
            self.frame.to_parquet(self.bare, **SAME_OPTIONS)
        else:
            pq.write_table(pa.Table.from_pandas(self.frame), self.bare, **SAME_OPTIONS)

    def track_bytes(self, writer: str, n_rows: int) -> int:
        """Return the bytes that were written."""
        self.time_write(writer, n_rows)
        names = [name for name in os.listdir(self.folder) if name.endswith(".parquet")]
        assert len(names) == 1, names
        return os.stat(f"{self.folder}/{names[0]}").st_size

    track_bytes.unit = "bytes"  # type: ignore[attr-defined]


class WriteCsv(common.Folder):
    """Write one frame to a csv file."""

    params = (["prefect_ds", "pandas"], [1_000, 100_000])
    param_names = ("writer", "n_rows")
    number, repeat, warmup_time = 1, (3, 10, 20.0), 0

    def setup(self, writer: str, n_rows: int) -> None:
        """Make the frame and an empty folder."""
        common.without_cache()
        self.keeps = common.handler(self.new_folder(), "csv", "ours")
        self.frame = common.frame(n_rows)

    def time_write(self, writer: str, n_rows: int) -> None:
        """Time the write."""
        if writer == "prefect_ds":
            self.keeps.keep(self.frame, self.keeps.render({}))
        else:
            self.frame.to_csv(f"{self.folder}/bare.csv", index=False)


class Shares(common.Folder):
    """The shares of a commit's time: the file itself, checksum, manifest and rename."""

    params = (list(PLACES), [1, 100_000, 1_000_000])
    param_names = ("step", "n_rows")
    n_times = 5

    def setup(self, step: str, n_rows: int) -> None:
        """Make the frame and an empty folder."""
        common.without_cache()
        self.keeps = common.handler(self.new_folder())
        self.frame = common.frame(n_rows)
        self.keeps.keep(self.frame, self.keeps.render({"n": "warm"}))

    def track_share(self, step: str, n_rows: int) -> float:
        """Return the step's share of the time of a commit."""
        return self.shares()[step]

    def shares(self) -> dict[str, float]:
        """Return step to share; the rest is Python around them."""
        with common.seconds_in(PLACES) as spent:
            started = time.perf_counter()
            for n in range(self.n_times):
                self.keeps.keep(self.frame, self.keeps.render({"n": n}))
            total = time.perf_counter() - started
        return {step: seconds / total for step, seconds in spent.items()}


class Read:
    """Read one frame back: with its checksum, or bare."""

    params = (["prefect_ds", "pandas"], ["parquet", "csv"], [1_000, 100_000, 1_000_000])
    param_names = ("reader", "file_type", "n_rows")
    number, repeat, warmup_time = 1, (3, 10, 20.0), 0

    def setup(self, reader: str, file_type: str, n_rows: int) -> None:
        """Write the file."""
        common.without_cache()
        self.keeps, self.path = common.written(file_type, n_rows)

    def time_read(self, reader: str, file_type: str, n_rows: int) -> None:
        """Time the read."""
        read: Any = getattr(pd, f"read_{file_type}")
        if reader == "prefect_ds":
            read = self.keeps.load
        assert len(read(self.path)) == n_rows
