"""Flows that several test modules run, and what they count with. Workers in other processes import this module."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import Flow, Task, unmapped
from prefect.engine import signals
from prefect.engine.state import State

from prefect_ds import PandasResultHandler, task

AT_ONCE = timedelta(0)
"""A delay of retries."""


class Notes:
    """Lines in a file: what happened in whatever process."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)

    def __call__(self, line: object) -> None:
        with open(self.path, "a") as file:
            file.write(f"{line}\n")

    def __iter__(self):
        return iter(self.lines)

    @property
    def lines(self) -> list[str]:
        """What was noted, sorted: workers run in any order."""
        return (
            sorted(Path(self.path).read_text().splitlines())
            if os.path.exists(self.path)
            else []
        )

    def take(self) -> list[str]:
        """Return the lines, and start anew."""
        lines = self.lines
        Path(self.path).unlink(missing_ok=True)
        return lines


def reads(notes: Notes) -> list[str]:
    """Return the lines that say what was read."""
    return [line for line in notes if line.startswith("read ")]


def frame_of(number: int, n_rows: int = 3) -> pd.DataFrame:
    """A frame of some types whose values depend on the number."""
    return pd.DataFrame(
        {
            "id": [number] * n_rows,
            "value": [number * 1.5 + row for row in range(n_rows)],
            "name": pd.Series([f"row {row}" for row in range(n_rows)], dtype="str"),
            "kind": pd.Categorical(
                ["a", "b", "a"] * (n_rows // 3) + ["b"] * (n_rows % 3)
            ),
            "at": pd.date_range("2024-01-01", periods=n_rows, tz="UTC"),
        }
    )


def numbers(*values: int) -> pd.DataFrame:
    """A frame of one column."""
    return pd.DataFrame({"x": values})


def parquet(folder: object, name: str, **options: Any) -> PandasResultHandler:
    """A handler that keeps parquet files in the folder."""
    return PandasResultHandler(f"{folder}/{name}.parquet", "parquet", **options)


def download(id: int, notes: Notes) -> pd.DataFrame:
    """The first stage; ends its process where a test wants that."""
    # Not an argument: a value that the code reads would count.
    if str(id) == os.environ.get("CRASH_AT"):
        os._exit(9)
    notes(f"download {id}")
    return frame_of(id)


def clean(frame: pd.DataFrame, rate: float, notes: Notes) -> pd.DataFrame:
    """The second stage."""
    notes(f"clean {frame['id'].iloc[0]}")
    return frame.assign(value=frame["value"] * rate)


def total(frames: Sequence[pd.DataFrame], notes: Notes) -> pd.DataFrame:
    """The reduce."""
    notes("total")
    return pd.concat(frames).groupby("id")["value"].sum().reset_index()


def largest(frame: pd.DataFrame) -> float:
    """A last stage without a checkpoint."""
    return float(frame["value"].max())


ALL_RAN = [
    "clean 1",
    "clean 2",
    "clean 3",
    "download 1",
    "download 2",
    "download 3",
    "total",
]


def pipeline(
    folder: object,
    notes: Notes,
    *,
    ids: Sequence[int] = (1, 2, 3),
    rate: float = 2.0,
) -> Flow:
    """Two mapped stages, a reduce and a task without a checkpoint, as a data scientist writes them.

    The tasks' own arguments are bound here, so that only ``id``, ``frame`` and ``rate``
    count as inputs.
    """

    @task(name="download", result=parquet(folder, "download_{id}"))
    def download_(id):
        return download(id, notes)

    @task(name="clean", result=parquet(folder, "clean_{map_index}"))
    def clean_(frame, rate):
        return clean(frame, rate, notes)

    @task(name="total", result=PandasResultHandler(f"{folder}/total.csv", "csv"))
    def total_(frames):
        return total(frames, notes)

    with Flow("pipeline") as flow:
        downloaded = download_.map(list(ids))
        cleaned = clean_.map(downloaded, unmapped(rate))
        task(largest)(total_(cleaned))
    return flow


def expected_total(rate: float = 2.0) -> pd.DataFrame:
    """What the pipeline's reduce gives."""
    frames = [
        frame_of(number).assign(value=lambda frame: frame["value"] * rate)
        for number in (1, 2, 3)
    ]
    return pd.concat(frames).groupby("id")["value"].sum().reset_index()


def poison(path: str | Path) -> None:
    """Make a file unreadable in a way that shows only when its bytes are read: same size, same time of change."""
    path = Path(path)
    status = path.stat()
    path.write_bytes(b"\xff" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def data_files(folder: str | Path) -> list[str]:
    """Names of the files that the user sees in a folder."""
    return sorted(
        each.name
        for each in Path(folder).iterdir()
        if each.is_file() and each.suffix not in (".notes", ".log")
    )


class Enclosed:
    """Notes when somebody makes a digest of it."""

    def __init__(self, notes: Notes, says: str = "") -> None:
        self.notes = notes
        self.says = says

    def __dask_tokenize__(self) -> tuple[str, str]:
        self.notes("digested")
        return ("enclosed", self.says)


class Counting(PandasResultHandler):
    """Notes every write and every read of a file."""

    def __init__(self, path: Any, file_type: str, notes: Notes, **options: Any) -> None:
        self.notes = notes
        super().__init__(path, file_type, **options)

    def _stage(self, value, path, *others):
        self.notes(f"write {os.path.basename(path)}")
        return super()._stage(value, path, *others)

    def _load(self, path, *others):
        self.notes(f"read {os.path.basename(path)}")
        return super()._load(path, *others)


def result_of(state: State, flow: Flow, name: str) -> Any:
    """Return what the caller sees as the result of the task with this name."""
    return state_of(state, flow, name).result


def state_of(state: State, flow: Flow, name: str) -> State:
    """Return the final state of the task with this name."""
    (found,) = flow.get_tasks(name=name)
    final: State = state.result[found]
    return final


def _passes_the_second_time(folder: str, number: int) -> None:
    try:
        (Path(folder) / str(number)).touch(exist_ok=False)
    except FileExistsError:
        return
    raise ValueError("first attempt")


@task(max_retries=1, retry_delay=timedelta(0))
def late(folder: str, number: int = 10) -> int:
    """Fail the first time that it is called with a number."""
    _passes_the_second_time(folder, number)
    return number


@task
def asks_to_be_retried(folder: str, number: int) -> int:
    """Raise Prefect's signal the first time that it is called with a number."""
    try:
        _passes_the_second_time(folder, number)
    except ValueError as error:
        raise signals.RETRY("first attempt") from error
    return number


class TakesAll(Task):
    """Takes any number of inputs."""

    def run(self, **inputs: object) -> pd.DataFrame:
        return pd.DataFrame({"n": [len(inputs)]})
