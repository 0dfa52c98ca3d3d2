"""What the benchmarks share: seeded frames, work of known cost, folders that go away, clusters, and counts."""

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
    """Return the frame of every benchmark: six columns of the types that people have, the same for the same seed."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": np.arange(n_rows),
            "value": random.normal(size=n_rows),
            "count": random.integers(0, 1_000, n_rows),
            "name": pd.Series(
                [f"name {number}" for number in range(1_000)], dtype="str"
            )
            .take(random.integers(0, 1_000, n_rows))
            .reset_index(drop=True),
            "kind": pd.Categorical.from_codes(
                random.integers(0, 4, n_rows), pd.Index(["a", "b", "c", "d"])
            ),
            "at": pd.date_range("2024-01-01", periods=n_rows, freq="s", unit="us"),
        }
    )


@functools.lru_cache(maxsize=4)
def numbers(n_rows: int, seed: int = 0) -> pd.DataFrame:
    """Return six columns of floats: 48 bytes a row in memory, and hardly less in a file."""
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
    """Gives a benchmark that is run once per setup a folder of its own, and removes the one before."""

    folder = ""

    def new_folder(self) -> str:
        """Return an empty folder."""
        self.teardown()
        self.folder = tempfile.mkdtemp(prefix="prefect_ds-benchmark-", dir=_place())
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        return self.folder

    def teardown(self, *params: object) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder or os.devnull, ignore_errors=True)


def handler(
    folder: str, file_type: str = "parquet", name: str = "{n}"
) -> PandasResultHandler:
    """Return a handler that keeps files of this type in the folder."""
    return PandasResultHandler(
        f"{folder}/{name}.{_ENDINGS.get(file_type, file_type)}", file_type
    )


def without_cache() -> None:
    """Have this process read files, also those that it just wrote."""
    cache.resize(0)


def forget() -> None:
    """Have this process forget what it just wrote, as a new process would."""
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
    """Close what :func:`cluster` gave."""
    cluster.cache_clear()
    while _clusters:
        made = _clusters.pop()
        atexit.unregister(made.close)
        made.close()


@functools.cache
def cluster(n_workers: int = 2, threads_per_worker: int = 1) -> LocalCluster:
    """Return a cluster of processes, the same for the same sizes; it ends with this process."""
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
        # What a worker imports when its first task comes is none of the work that is
        # measured.
        client.run(_import_all)
    return made


def _import_all() -> None:
    import prefect_ds.dask  # noqa: F401 - for its effect

    frame(1)


def executor(name: str) -> Executor:
    """Return one of :data:`EXECUTORS`; the cluster of a DaskExecutor is there already, with two workers."""
    if name == "LocalExecutor":
        return LocalExecutor()
    return DaskExecutor(address=cluster().scheduler_address, watch_worker_status=False)


_opened: list[str] | None = None


def _note_open(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None and isinstance(arguments[0], str):
        mode, flags = arguments[1], arguments[2]
        if (
            (mode is None or "r" in mode)
            and "+" not in (mode or "")
            and not flags & (os.O_WRONLY | os.O_RDWR)
        ):
            _opened.append(arguments[0])


@contextlib.contextmanager
def reads(folder: str) -> Iterator[list[str]]:
    """Give a list that holds, at the end, the data files of a folder that this process opened for reading."""
    global _opened
    found: list[str] = []
    _add_hook()
    _opened = found
    try:
        yield found
    finally:
        _opened = None
        found[:] = [each for each in found if each.startswith(folder) and is_data(each)]


@functools.cache
def _add_hook() -> None:
    sys.addaudithook(_note_open)  # For good: Python has no way to take one back.


def is_data(path: str) -> bool:
    """Return whether a file holds data: not what prefect_ds or joblib writes beside it."""
    return "/.prefect_ds/" not in path and os.path.basename(path) not in (
        "metadata.json",
        "func_code.py",
        ".gitignore",
    )


@contextlib.contextmanager
def seconds_in(
    functions: Mapping[str, list[tuple[Any, str]]],
) -> Iterator[dict[str, float]]:
    """Give a dict with the seconds that this process spends in some functions, until the end.

    Parameters
    ----------
    functions
        What they do to where they are found: an object and an attribute's name. Of
        nested calls the outer counts.
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
    """Return by which power of the size the cost grows: 0 is flat, 1 linear, 2 quadratic."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def best_of(n_times: int, action: Callable[[], object]) -> float:
    """Return the seconds of the fastest of some calls: what growth is fitted to, as noise only adds."""
    found = []
    for _ in range(n_times):
        started = time.perf_counter()
        action()
        found.append(time.perf_counter() - started)
    return min(found)
