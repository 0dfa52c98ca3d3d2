"""The cost of a run in which everything is loaded, beside a bare pool of processes."""

from __future__ import annotations

import atexit
import functools
import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pandas as pd
from prefect.executors import DaskExecutor, LocalExecutor

from benchmarks.support import common
from benchmarks.support.rivals import MappedWork

OURS = {
    "prefect_ds, DaskExecutor": DaskExecutor,
    "prefect_ds, LocalExecutor": LocalExecutor,
}
POOLS = ["a process pool that reads", "a process pool that only looks"]
RESUMED_BY = [*OURS, *POOLS]


class BarePool:
    """Two processes that read the files of finished stages, as a script would.

    They have imported all they need before the clock starts.
    """

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(2, mp_context=get_context("fork"))
        atexit.register(self._pool.shutdown)
        self._used_s: dict[int, float] = {}

    @property
    def used_s(self) -> float:
        """The CPU seconds of the processes, as far as their last answers say."""
        return sum(self._used_s.values())

    def resume(self, work: MappedWork, *, reads: bool) -> None:
        """Read every result, or ask whether it is there, stage by stage."""
        for stage in range(work.n_stages):
            names = [
                f"{work.folder}/stage{stage}_{child}.parquet"
                for child in range(work.n_children)
            ]
            for process, used_s in self._pool.map(_read if reads else _look, names):
                self._used_s[process] = used_s


def _read(path: str) -> tuple[int, float]:
    """Read a file; return this process's number and the CPU seconds that it used."""
    assert len(pd.read_parquet(path)) > 0
    return _look(path)


def _look(path: str) -> tuple[int, float]:
    """Look for a file; return as above."""
    assert os.path.exists(path)
    return os.getpid(), time.process_time()


@functools.cache
def _bare_pool() -> BarePool:
    pool = BarePool()
    pool.resume(_finished(40, 5), reads=True)
    return pool


def resume(resumed_by: str, work: MappedWork) -> None:
    """Take all results from the files of a flow that ran before."""
    if resumed_by in POOLS:
        _bare_pool().resume(work, reads=resumed_by == POOLS[0])
        return
    # The cluster would be the executor's own. A run in which all is loaded starts none.
    work.run(OURS[resumed_by]())


def cpu_s() -> float:
    """Return the CPU seconds of this process, its ended children and the pool."""
    used = [
        resource.getrusage(resource.RUSAGE_SELF),
        resource.getrusage(resource.RUSAGE_CHILDREN),
    ]
    own_s = sum(usage.ru_utime + usage.ru_stime for usage in used)
    return own_s + _bare_pool().used_s


class FullResume:
    """Resume five finished stages of small frames."""

    params = (RESUMED_BY, [4, 40])
    param_names = ("resumed_by", "n_children")
    number, repeat, warmup_time, timeout = 1, (3, 9, 20.0), 0, 300
    unit = "s"

    def setup(self, resumed_by: str, n_children: int) -> None:
        """Run the flow once."""
        self.work = _finished(n_children, 5)

    def time_resume(self, resumed_by: str, n_children: int) -> None:
        """Time the resume."""
        resume(resumed_by, self.work)

    def track_cpu(self, resumed_by: str, n_children: int) -> float:
        """Return the CPU seconds of the resume, in this process and those it starts."""
        before_s = cpu_s()
        resume(resumed_by, self.work)
        return cpu_s() - before_s


class ManyHits:
    """Resume two finished stages of many small frames on a DaskExecutor."""

    params = ([8, 512, 5_000],)
    param_names = ("n_children",)
    timeout = 600
    unit = "s"

    def setup(self, n_children: int) -> None:
        """Run the flow once."""
        self.work = _finished(n_children, 2)

    def track_cpu(self, n_children: int) -> float:
        """Return the CPU seconds of the resume, in this process and those it starts."""
        before_s = cpu_s()
        resume("prefect_ds, DaskExecutor", self.work)
        return cpu_s() - before_s


@functools.lru_cache(maxsize=4)
def _finished(n_children: int, n_stages: int) -> MappedWork:
    work = MappedWork(
        "prefect_ds",
        common.temporary_folder(),
        n_children=n_children,
        n_rows=100,
        n_stages=n_stages,
    )
    work.run(LocalExecutor())
    return work
