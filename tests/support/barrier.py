"""Holds up a worker in the middle of what it does. Workers in other processes import this module."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
from distributed import get_worker

from prefect_ds import PandasResultHandler
from prefect_ds.storage.filesystem import Staged
from prefect_ds.storage.local_files import LocalFiles
from prefect_ds.storage.store import CheckpointStore
from tests.support import dask_flows
from tests.support.flows import Notes


def wait_for(what: Callable[[], object], seconds: float = 300) -> None:
    """Wait for what other processes do."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


class Barrier:
    """Holds up whoever comes first, in whatever process, until a test lets it go on; notes where it was."""

    def __init__(self, path: object) -> None:
        self.path = str(path)

    def hold(self) -> None:
        try:
            open(f"{self.path}.held", "x").close()
        except FileExistsError:
            return
        Path(f"{self.path}.where").write_text(get_worker().address)
        os.replace(f"{self.path}.where", f"{self.path}.held")
        wait_for(lambda: os.path.exists(f"{self.path}.let go"))
        Notes(f"{self.path}.went on")("went on")

    def holds(self) -> str:
        """Return where somebody is held, empty as long as nobody is."""
        return (
            Path(f"{self.path}.held").read_text()
            if os.path.exists(f"{self.path}.held")
            else ""
        )

    def let_go(self) -> None:
        Path(f"{self.path}.let go").touch()


class HeldFiles(LocalFiles):
    """Is held up where the data are written, their manifest is filed, and one step is left to put them in place."""

    def __init__(self, barrier: Barrier) -> None:
        self.barrier = barrier

    def place(self, staged: Staged, path: str) -> None:
        self.barrier.hold()
        super().place(staged, path)


class Held(PandasResultHandler):
    """Is held up in that moment; notes where each result was kept, and what was said of it."""

    def __init__(self, path: str, barrier: Barrier) -> None:
        self.barrier = barrier
        super().__init__(path, "parquet")

    @property
    def store(self) -> CheckpointStore:
        return CheckpointStore(HeldFiles(self.barrier))

    def _keep_once(self, value, path, owner, *others):
        kept = super()._keep_once(value, path, owner, *others)
        Notes(f"{self.barrier.path}.kept")(f"{get_worker().address} {kept.note}")
        return kept


def held_partition(number: int, barrier: Barrier, owner: str, at_owner: bool):
    """Compute a partition that says where; the first worker in question is held up in the middle of its file."""
    where = get_worker().address
    if (where == Path(owner).read_text()) == at_owner:
        write_table = pq.ParquetWriter.write_table

        def held_write_table(*args, **kwargs):
            write_table(*args, **kwargs)
            barrier.hold()

        pq.ParquetWriter.write_table = held_write_table
    return dask_flows.partition(number, seconds=0.05).assign(name=where)
