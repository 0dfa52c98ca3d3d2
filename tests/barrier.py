"""Holds up a worker in the middle of what it does. Workers in other processes import this module."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from distributed import get_worker

from prefect_ds import PandasResultHandler
from tests import dask_flows
from tests.flows import Notes


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
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
        return Path(f"{self.path}.held").read_text() if os.path.exists(f"{self.path}.held") else ""

    def let_go(self) -> None:
        Path(f"{self.path}.let go").touch()


class Held(PandasResultHandler):
    """Is held up where its data are staged and nothing is in place yet."""

    def __init__(self, path: str, barrier: Barrier) -> None:
        self.barrier = barrier
        super().__init__(path, "parquet")

    def _keep_once(self, value, path, owner, *others):
        kept = super()._keep_once(value, path, owner, *others)
        Notes(f"{self.barrier.path}.kept")(f"{get_worker().address} {kept.note}")
        return kept

    def _manifest(self, *args, **kwargs):
        self.barrier.hold()
        return super()._manifest(*args, **kwargs)


def held_partition(number: int, barrier: Barrier, owner: str, at_owner: bool):
    if (get_worker().address == Path(owner).read_text()) == at_owner:
        barrier.hold()
    return dask_flows.partition(number, seconds=0.05)
