"""Frames that Dask shuffles in every way, what pandas makes of them, and deaths."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd

N_KEYS = 101


def events(n_rows: int) -> pd.DataFrame:
    """Rows with a key, in an order that no shuffle keeps."""
    numbers = np.arange(n_rows)
    return pd.DataFrame(
        {
            "k": numbers * 7 % N_KEYS,
            "x": numbers,
            "name": pd.array([f"row {number}" for number in numbers], dtype="str"),
        }
    )


def keys() -> pd.DataFrame:
    """One row for each key."""
    numbers = np.arange(N_KEYS)
    return pd.DataFrame({"k": numbers, "weight": numbers * 0.5})


def ranges(group: pd.DataFrame) -> pd.Series:
    """What a group holds, whatever its order."""
    return pd.Series({"n": len(group), "total": int(group["x"].sum())})


def heavier(part: pd.DataFrame) -> pd.DataFrame:
    """A step whose rows stay where they are."""
    return part.assign(x=part["x"] * 2)


def unhurried(part: pd.DataFrame) -> pd.DataFrame:
    """A step of the user's that takes a moment, and changes nothing."""
    time.sleep(0.005)
    return part


def with_previous(part: pd.DataFrame) -> pd.DataFrame:
    """A step that needs the last row of the partition before."""
    return part.assign(previous=part["x"].shift(1, fill_value=-1))


_META = pd.DataFrame({"n": [1], "total": [1]}).iloc[:0]

Make = Callable[[Any, Any], Any]

IN_DASK: dict[str, Make] = {
    "shuffle": lambda left, right: left.shuffle("k"),
    "merge": lambda left, right: left.merge(right, on="k"),
    "set_index": lambda left, right: left.set_index("k"),
    "set_index by divisions": lambda left, right: left.set_index(
        "k", divisions=[0, 40, 70, N_KEYS]
    ),
    "set_index sorted": lambda left, right: left.set_index("x", sorted=True),
    "groupby apply": lambda left, right: (
        left.groupby("k")[["x"]].apply(ranges, meta=_META).reset_index(drop=True)
    ),
    "groupby split_out": lambda left, right: (
        left.groupby("k").agg({"x": "sum"}, split_out=3).reset_index()
    ),
    "drop_duplicates": lambda left, right: left[["k"]].drop_duplicates(split_out=3),
    "sort_values": lambda left, right: left.sort_values(["k", "x"]),
    "repartition": lambda left, right: left.repartition(npartitions=7),
    "map_overlap": lambda left, right: left.map_overlap(with_previous, 1, 0),
    "several": lambda left, right: (
        left.merge(right, on="k").map_partitions(heavier).shuffle("x").set_index("k")
    ),
}

IN_PANDAS: dict[str, Make] = {
    **IN_DASK,
    "shuffle": lambda left, right: left,
    "set_index by divisions": IN_DASK["set_index"],
    "set_index sorted": lambda left, right: left.set_index("x"),
    "groupby apply": lambda left, right: (
        left.groupby("k")[["x"]].apply(ranges).reset_index(drop=True)
    ),
    "groupby split_out": lambda left, right: left.groupby("k").agg("sum").reset_index(),
    "drop_duplicates": lambda left, right: left[["k"]].drop_duplicates(),
    "repartition": lambda left, right: left,
    "map_overlap": lambda left, right: with_previous(left),
    "several": lambda left, right: heavier(left.merge(right, on="k")).set_index("k"),
}
IN_PANDAS["groupby split_out"] = lambda left, right: (
    left.groupby("k").agg({"x": "sum"}).reset_index()
)


def rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Return the rows of a frame, sorted; a named index is among them."""
    if frame.index.name is not None:
        frame = frame.reset_index()
    return sorted(map(tuple, frame.astype(object).to_numpy().tolist()))


def expected_rows(kind: str, n_rows: int) -> list[tuple[Any, ...]]:
    """Return the rows that pandas gives."""
    return rows(IN_PANDAS[kind](events(n_rows), keys()))


class Fatal:
    """A step for partitions in which, once, a worker dies: at a given one of all calls."""

    def __init__(self, folder: Path | str, fatal_call: int, seconds: float = 0) -> None:
        self.folder, self.fatal_call = str(folder), fatal_call
        self.seconds = seconds
        os.makedirs(self.folder, exist_ok=True)

    def __call__(self, part: pd.DataFrame) -> pd.DataFrame:
        """Return the partition."""
        time.sleep(self.seconds)
        with open(f"{self.folder}/calls", "a") as calls:
            calls.write(".")
        if os.path.getsize(f"{self.folder}/calls") >= self.fatal_call and len(part):
            with contextlib.suppress(FileExistsError):
                Path(self.folder, "died").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        return part

    @property
    def is_sprung(self) -> bool:
        """Whether a worker died."""
        return Path(self.folder, "died").exists()


class FailsOnce:
    """A step for partitions that fails, once, as soon as some others are written."""

    def __init__(self, folder: Path | str, n_written: int = 2) -> None:
        self.folder, self.n_written = str(folder), n_written

    def __call__(self, part: pd.DataFrame) -> pd.DataFrame:
        """Return the partition."""
        folder = Path(self.folder)
        with contextlib.suppress(FileExistsError):
            (folder / "failed").touch(exist_ok=False)
            # A record of a partition lies beside its part.
            deadline = time.monotonic() + 60
            while len(list(folder.rglob("*.staged/*.json"))) < self.n_written:
                assert time.monotonic() < deadline, "no other partition was written"
                time.sleep(0.02)
            raise ValueError("not the first time")
        return part


def ranked(part: pd.DataFrame) -> pd.DataFrame:
    """A step by which the order of the rows decides what they hold."""
    return part.assign(rank=np.arange(len(part)))


def lazy(n_rows: int, n_partitions: int) -> tuple[dd.DataFrame, dd.DataFrame]:
    """Return the two frames, lazy."""
    left = dd.from_pandas(events(n_rows), npartitions=n_partitions)
    return left, dd.from_pandas(keys(), npartitions=max(2, n_partitions // 2))
