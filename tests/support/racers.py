"""Processes that stay warm and do things at the same moment, round after round, and what they do."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
from prefect import Flow
from prefect.executors import LocalExecutor

from prefect_ds import (
    DSTaskRunner,
    FileResultHandler,
    MarkerResultHandler,
    ObjectResultHandler,
    Outputs,
    PandasResultHandler,
    task,
)
from prefect_ds.checkpoints import memory_cache as cache
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.errors import CheckpointNotFoundError
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.manifest import Identity, Origin, Owner
from prefect_ds.storage.store import CheckpointStore

PARTS = "parts"
TASK_FOLDER = "task-folder"
OBJECTS = ("json", "npy")
OUTPUTS = "outputs"
MARKER = "marker"
COLUMNS = ("version", "attempt")
N_ROWS = 300


class Racers:
    """Processes that each do a call, all at the same moment."""

    def __init__(self, n_racers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._barrier = barrier = context.Barrier(
            n_racers
        )  # Held: without it its semaphores go.
        pairs = [context.Pipe() for _ in range(n_racers)]
        self._pipes = [ours for ours, _ in pairs]
        self._processes = [
            context.Process(target=_serve, args=(theirs, barrier), daemon=True)
            for _, theirs in pairs
        ]
        for process in self._processes:
            process.start()

    def __call__(self, *calls: partial[Any]) -> list[Any]:
        """Return what each call gave, an error as it was raised; one call for each racer."""
        for pipe, call in zip(self._pipes, calls, strict=True):
            pipe.send(call)
        answers = []
        for pipe in self._pipes:
            assert pipe.poll(120), "a racer hangs"
            answers.append(pipe.recv())
        return answers

    def end(self) -> None:
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join(30)


@contextmanager
def racers(n_racers: int) -> Iterator[Racers]:
    """Give warm processes that end with the context."""
    started = Racers(n_racers)
    try:
        yield started
    finally:
        started.end()


def _serve(pipe: Any, barrier: Any) -> None:
    cache.resize(0)
    dask.config.set(scheduler="synchronous")
    while (call := pipe.recv()) is not None:
        barrier.wait(120)
        pipe.send(outcome(call))


def outcome(call: Any) -> Any:
    """Return what a call gives, or the error that it raises."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the outcome
        return error


def frame(version: object, *, n_rows: int = N_ROWS) -> pd.DataFrame:
    """A frame that says in each row which version it is of, and that no other call makes."""
    return pd.DataFrame(
        {"version": [str(version)] * n_rows, "attempt": [uuid.uuid4().hex] * n_rows}
    )


def value_of(kind: str, version: object) -> Any:
    """What a task returns: a frame, in one form or another, whole or in two pieces."""
    if kind == MARKER:
        return None
    made = frame(version)
    if kind == "json":
        return made.to_dict("list")
    if kind == "npy":
        return made.to_numpy(dtype="U40")
    if kind == OUTPUTS:
        return {"a": made, "b": made.to_dict("list")}
    if kind != TASK_FOLDER:
        return made
    folder = Path(tempfile.mkdtemp(prefix="prefect_ds-")) / "written"
    for column in made:
        (folder / "columns").mkdir(parents=True, exist_ok=True)
        made[[column]].to_csv(folder / "columns" / column, index=False)
    return folder


def handler_of(folder: str, kind: str, **options: Any) -> ResultHandler:
    """A handler of a file type, of folders of parts, or of folders that tasks write."""
    if kind == TASK_FOLDER:
        return FileResultHandler(f"{folder}/{{key}}", **options)
    if kind in OBJECTS:
        return ObjectResultHandler(f"{folder}/{{key}}.{kind}", **options)
    if kind == MARKER:
        return MarkerResultHandler(f"{folder}/{{key}}", **options)
    if kind == OUTPUTS:
        return Outputs(
            a=PandasResultHandler(f"{folder}/{{key}}.csv", **options),
            b=ObjectResultHandler(f"{folder}/{{key}}.json", **options),
        )
    if kind == PARTS:
        return DaskDataFrameResultHandler(
            f"{folder}/{{key}}", partition_size=N_ROWS * 30, **options
        )
    return PandasResultHandler(f"{folder}/{{key}}.{kind}", kind, **options)


def whole(data: Any) -> tuple[str, str]:
    """Return version and attempt of a frame; an error where it is mixed, or cut."""
    if isinstance(data, dict) and "a" in data:
        assert whole(data["a"]) == whole(data["b"]), "a mix"
        return whole(data["a"])
    data = data.compute() if hasattr(data, "compute") else data
    if isinstance(data, dict | np.ndarray):
        data = pd.DataFrame(data, columns=COLUMNS)
    if isinstance(data, Path):
        try:
            columns = [pd.read_csv(data / "columns" / each) for each in COLUMNS]
        except FileNotFoundError as error:
            # Nothing of ours is between a path and its reader.
            raise CheckpointNotFoundError(
                f"replaced while it was read: {error}"
            ) from error
        data = pd.concat(columns, axis=1)
    assert len(data) == N_ROWS, f"{len(data)} rows"
    [version], [attempt] = data["version"].unique(), data["attempt"].unique()
    return str(version), str(attempt)


def run_flow(
    folder: str, kind: str, keys: list[str], versions: list[object]
) -> list[tuple[str, str] | str]:
    """Run a flow of mapped children, and return what a task that reads each gets: version and attempt, or its error."""

    @task(name="make", result=handler_of(folder, kind))
    def make(key, version):
        return value_of(kind, version)

    @task
    def use(data):
        return whole(data)

    with Flow("race") as flow:
        used = use.map(make.map(keys, versions))
    state = flow.run(executor=LocalExecutor(), task_runner_cls=DSTaskRunner)
    children = state.result[used].map_states
    return [
        child.result if child.is_successful() else str(child.message)
        for child in children
    ]


def keep(folder: str, kind: str, version: object, run_id: str, map_index: int) -> str:
    """Commit a result as a child of a run, and return its attempt."""
    handler = handler_of(folder, kind)
    owner, identity = (
        Owner("flow", run_id, "make", map_index),
        Identity("make", {"version": str(version)}),
    )
    kept = handler.keep(
        value_of(kind, version),
        handler.render({"key": "a"}),
        origin=Origin(owner=owner, identity=identity, fields={"key": "a"}),
    )
    return kept.reference.content if kind == MARKER else whole(kept.value)[1]


def rewrite(folder: str, kind: str, n_times: int) -> int:
    """Replace a checkpoint again and again."""
    for version in range(1, n_times + 1):
        keep(folder, kind, version, f"run {version}", 0)
    return n_times


def read(folder: str, kind: str, last: int) -> tuple[int, int]:
    """Read until the last version is there; return how many reads gave a frame, and how many found it replaced."""
    handler = handler_of(folder, kind)
    path, n_whole, n_replaced, version = handler.render({"key": "a"}), 0, 0, 0
    deadline = time.monotonic() + 300
    while version < last:
        assert time.monotonic() < deadline, (
            f"{n_whole} whole, {n_replaced} replaced, {version} of {last}"
        )
        try:
            found = int(whole(handler.load(path))[0])
        except CheckpointNotFoundError:
            n_replaced += 1
            continue
        assert found >= version, f"version {found} after version {version}"
        version, n_whole = found, n_whole + 1
    return n_whole, n_replaced


def read_held(folder: str, kind: str, last: int) -> tuple[int, int]:
    """Open a lazy frame and compute it until it fails, then the next; return the numbers of frames and of reads."""
    handler = handler_of(folder, kind)
    path, n_frames, n_reads, version = handler.render({"key": "a"}), 0, 0, 0
    while version < last:
        held, first = handler.load(path), None
        n_frames += 1
        try:
            while first is None or int(first[0]) < last:
                found = whole(held)
                assert found == (first or found), f"{first} then {found}"
                first, version, n_reads = found, int(found[0]), n_reads + 1
        except CheckpointNotFoundError:
            continue
    return n_frames, n_reads


def read_plainly(path: str, kind: str, last: int) -> int:
    """Read with pandas alone until the last version is there; return the number of reads, each of a whole frame."""
    n_reads = version = 0
    while version < last:
        # Given a path, pandas.read_parquet opens the file twice, and can meet two
        # files.
        with open(path, "rb") as file:
            found = int(whole(getattr(pd, f"read_{kind}")(file))[0])
        assert found >= version
        version, n_reads = found, n_reads + 1
    return n_reads


def clean(folder: str, n_times: int) -> int:
    """Clean a folder again and again; return how many leftovers went."""
    store = CheckpointStore.open(folder)
    return sum(len(store.clean(folder)) for _ in range(n_times))
