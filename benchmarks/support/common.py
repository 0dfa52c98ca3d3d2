"""The parts that benchmarks share: seeded frames, work of known cost, folders, counts.

Importing it silences Prefect's log.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

if "prefect" not in sys.modules:
    # Here and in the workers: four lines of log a task would be much of what is
    # measured.
    os.environ.setdefault("PREFECT__LOGGING__LEVEL", "ERROR")

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    # asv finds this package by a hook of its own, which the processes of a cluster do
    # not have.
    sys.path.append(ROOT)

import numpy as np  # noqa: E402 - after what Prefect and the workers need
import pandas as pd  # noqa: E402
from distributed import Client, LocalCluster  # noqa: E402
from prefect.executors import DaskExecutor, Executor, LocalExecutor  # noqa: E402

from prefect_ds import PandasResultHandler  # noqa: E402
from prefect_ds.checkpoints import memory_cache as cache  # noqa: E402

EXECUTORS = ["LocalExecutor", "DaskExecutor"]
_ENDINGS = {"excel": "xlsx"}


@functools.lru_cache(maxsize=4)
def frame(n_rows: int, seed: int = 0) -> pd.DataFrame:
    """Return the frame of every benchmark: six columns of the types that people have.

    It is the same for the same seed.
    """
    random = np.random.default_rng(seed)
    names = pd.Series([f"name {number}" for number in range(1_000)], dtype="str")
    kinds = pd.Index(["a", "b", "c", "d"])
    # In this order, as every column takes its numbers from the one generator.
    return pd.DataFrame(
        {
            "id": np.arange(n_rows),
            "value": random.normal(size=n_rows),
            "count": random.integers(0, 1_000, n_rows),
            "name": names.take(random.integers(0, 1_000, n_rows)).reset_index(
                drop=True
            ),
            "kind": pd.Categorical.from_codes(random.integers(0, 4, n_rows), kinds),
            "at": pd.date_range("2024-01-01", periods=n_rows, freq="s", unit="us"),
        }
    )


@functools.lru_cache(maxsize=4)
def numbers(n_rows: int, seed: int = 0) -> pd.DataFrame:
    """Return six columns of floats: 48 bytes a row, in memory and in a file."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {f"x{column}": random.normal(size=n_rows) for column in range(6)}
    )


def burn(cpu_s: float) -> None:
    """Compute for so many seconds of this thread's CPU time."""
    until = time.thread_time() + cpu_s
    while time.thread_time() < until:
        pass


def _place() -> str | None:
    # asv ends its processes without what atexit would do, in a folder that it removes
    # afterwards.
    return os.getcwd() if "asv_runner" in sys.modules else None


def temporary_folder() -> str:
    """Return a new folder, which goes when this process ends."""
    folder = tempfile.mkdtemp(prefix="prefect_ds-benchmark-", dir=_place())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Folder:
    """A base of benchmarks that need an empty folder for every setup.

    It removes the folder of the setup before.
    """

    folder = ""

    def new_folder(self) -> str:
        """Return an empty folder."""
        self.teardown()
        self.folder = tempfile.mkdtemp(prefix="prefect_ds-benchmark-", dir=_place())
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        return self.folder

    def teardown(self, *params: object) -> None:
        """Remove the folder, if there is one."""
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def handler(
    folder: str, file_type: str = "parquet", name: str = "{n}"
) -> PandasResultHandler:
    """Return a handler that keeps files of this type in the folder."""
    return PandasResultHandler(
        f"{folder}/{name}.{_ENDINGS.get(file_type, file_type)}", file_type
    )


def without_cache() -> None:
    """Let this process read files, also those that it has just written."""
    cache.resize(0)


def forget() -> None:
    """Empty the memory cache of this process, as that of a new process is."""
    # A cache that shrinks drops its values.
    cache.resize(0)
    cache.resize(cache.DEFAULT_BYTES)


@functools.lru_cache(maxsize=8)
def written(file_type: str, n_rows: int) -> tuple[PandasResultHandler, str]:
    """Return a handler and the path at which it keeps a frame already."""
    keeps = handler(temporary_folder(), file_type, "frame")
    keeps.keep(frame(n_rows), keeps.render({}))
    return keeps, keeps.render({})


_clusters: list[LocalCluster] = []


def close_clusters() -> None:
    """Close the clusters that :func:`cluster` gave."""
    cluster.cache_clear()
    while _clusters:
        made = _clusters.pop()
        atexit.unregister(made.close)
        made.close()


@functools.cache
def cluster(n_workers: int = 2, threads_per_worker: int = 1) -> LocalCluster:
    """Return a cluster of processes, the same for the same sizes.

    It ends with this process.
    """
    made = LocalCluster(
        n_workers=n_workers,
        threads_per_worker=threads_per_worker,
        processes=True,
        dashboard_address=None,
        memory_limit=0,
    )
    atexit.register(made.close)
    _clusters.append(made)
    with Client(made, set_as_default=False) as client:
        client.wait_for_workers(n_workers)
        # A worker imports when its first task comes: that is none of the work that is
        # measured.
        client.run(_import_all)
    return made


def _import_all() -> None:
    import prefect_ds.dask  # noqa: F401 - for its effect

    frame(1)


def executor(name: str) -> Executor:
    """Return one of :data:`EXECUTORS`.

    The cluster of a DaskExecutor is running already, with two workers.
    """
    if name == "LocalExecutor":
        return LocalExecutor()
    return DaskExecutor(address=cluster().scheduler_address, watch_worker_status=False)


_opened: list[str] | None = None


def _note_open(event: str, arguments: tuple[Any, ...]) -> None:
    """Note a file that is opened to be read; Python calls this at every event."""
    if event != "open" or _opened is None:
        return
    path, mode, flags = arguments
    # A number: a file that is open already.
    if not isinstance(path, str):
        return
    # `os.open` has no mode, only flags.
    is_read = mode is None or ("r" in mode and "+" not in mode)
    if is_read and not flags & (os.O_WRONLY | os.O_RDWR):
        _opened.append(path)


@contextlib.contextmanager
def reads(folder: str) -> Iterator[list[str]]:
    """Give a list that holds, at the end, the data files that this process has read.

    Only those of the folder count.
    """
    global _opened
    opened: list[str] = []
    _add_hook()
    _opened = opened
    try:
        yield opened
    finally:
        _opened = None
        opened[:] = [
            path for path in opened if path.startswith(folder) and is_data(path)
        ]


@functools.cache
def _add_hook() -> None:
    # For good: Python has no way to take one back.
    sys.addaudithook(_note_open)


def is_data(path: str) -> bool:
    """Return whether a file holds data, and is no note of a library beside it."""
    # Of prefect_ds; then those of joblib.
    if "/.prefect_ds/" in path:
        return False
    notes = ("metadata.json", "func_code.py", ".gitignore")
    return os.path.basename(path) not in notes


@contextlib.contextmanager
def seconds_in(
    functions: Mapping[str, list[tuple[Any, str]]],
) -> Iterator[dict[str, float]]:
    """Give a dict with the seconds that this process spends in some functions.

    Parameters
    ----------
    functions
        Name of a step to the functions that do it: an object, and the name of its
        attribute. Of nested calls the outer counts.
    """
    spent = dict.fromkeys(functions, 0.0)
    depth = 0

    def timed(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal depth
            depth += 1
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                depth -= 1
                if depth == 0:
                    spent[what] += time.perf_counter() - started

        return call

    with contextlib.ExitStack() as stack:
        for what, places in functions.items():
            for owner, attribute in places:
                original = getattr(owner, attribute)
                setattr(owner, attribute, timed(what, original))
                stack.callback(setattr, owner, attribute, original)
        yield spent


def peak_bytes() -> int:
    """Return the most memory that this process had resident so far."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: there a process begins with the peak of the one that started
        # it.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def exponent(sizes: list[int], costs: list[float]) -> float:
    """Return the power of the size with which the cost grows: 0 is flat, 1 linear."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def best_of(n_times: int, action: Callable[[], object]) -> float:
    """Return the seconds of the fastest of some calls: noise only adds to them."""
    seconds = []
    for _ in range(n_times):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
