"""Helpers that the generated programs use; every script has a copy of this file.

It imports nothing of the tests, so that a script works alone.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import prefect

FRAME_KINDS = ("numbers", "text", "times", "categories", "missing", "empty")


@dataclasses.dataclass
class Held:
    """A user's own class."""

    value: Any
    more: list[Any]


SHARED_TYPES = (list, dict, set, np.ndarray, pd.DataFrame, pd.Series)
"""Values that one task can change in the hands of another."""


def canonical(value: Any) -> Any:
    """Return a value as nested lists of text, equal only where the values are.

    Types, dtypes, index, order, ``-0.0`` and the kind of a missing value all count.
    """
    name = type(value).__name__
    if isinstance(value, pd.DataFrame):
        columns = [
            canonical(value.iloc[:, at].array) for at in range(len(value.columns))
        ]
        flags = repr(value.flags)
        labels = canonical(value.columns)
        return [name, labels, columns, canonical(value.index), value.attrs, flags]
    if isinstance(value, pd.Series):
        return [name, repr(value.name), canonical(value.array), canonical(value.index)]
    if isinstance(value, pd.MultiIndex):
        levels = [canonical(level.array) for level in value.levels]
        used = [
            canonical(value.get_level_values(at).array) for at in range(len(levels))
        ]
        return [name, list(map(repr, value.names)), used]
    if isinstance(value, pd.RangeIndex):
        return [name, repr(value), repr(value.name)]
    if isinstance(value, pd.Index):
        freq = repr(getattr(value, "freqstr", None))
        return [name, repr(value.name), canonical(value.array), freq]
    if isinstance(value, pd.api.extensions.ExtensionArray):
        dtype = value.dtype
        kind = [repr(dtype)]
        if isinstance(dtype, pd.CategoricalDtype):
            kind = ["category", canonical(dtype.categories), dtype.ordered]
        return [kind, [canonical(cell) for cell in value]]
    if isinstance(value, np.ndarray):
        return [
            name,
            str(value.dtype),
            value.shape,
            list(map(canonical, value.ravel())),
        ]
    if isinstance(value, dict):
        return [name, [[canonical(key), canonical(value[key])] for key in value]]
    if isinstance(value, set | frozenset):
        return [name, sorted(map(repr, map(canonical, value)))]
    if isinstance(value, list | tuple):
        return [name, list(map(canonical, value))]
    if isinstance(value, BaseException):
        return [name, str(value)]
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return [name, [canonical(getattr(value, field.name)) for field in fields]]
    return f"{name} {value!r}"


def aliases(*values: Any) -> list[int]:
    """Return for each object in the values, in order, at which place it came first.

    ``[0, 1, 1]``: the second and the third object are one.
    """
    first: dict[int, int] = {}
    places: list[int] = []

    def walk(value: Any) -> None:
        if isinstance(value, SHARED_TYPES):
            place = first.setdefault(id(value), len(places))
            places.append(place)
            if place != len(places) - 1:
                return
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, Held):
            value = [value.value, value.more]
        if isinstance(value, list | tuple):
            for item in value:
                walk(item)

    walk(list(values))
    return places


def number(*values: Any) -> int:
    """Return a number that every difference between values changes."""
    return zlib.crc32(repr(list(map(canonical, values))).encode()) % 1000


def frame(seed: int, kind: str) -> pd.DataFrame:
    """Return a small frame whose values depend on the seed and its types on the kind."""
    chance = random.Random(f"{seed} {kind}")
    n_rows = 0 if kind == "empty" else chance.randint(1, 4)
    columns: dict[str, Any] = {
        "n": [chance.randrange(100) for _ in range(n_rows)],
        "x": [chance.choice([0.5, -0.0, 1e300, 3.0]) for _ in range(n_rows)],
    }
    if kind == "text":
        words = ["a", "b-c", "", "ü", "1", "NA"]
        columns["word"] = pd.Series(chance.choices(words, k=n_rows), dtype="str")
    if kind == "times":
        columns["at"] = pd.date_range("2024-03-30", periods=n_rows, tz="Europe/Berlin")
        columns["took"] = pd.to_timedelta(columns["n"], unit="s")
    if kind == "categories":
        letters = chance.choices("abc", k=n_rows)
        kinds = chance.choice([["c", "b", "a"], ["a", "b", "c", "d"]])
        ordered = chance.random() < 0.5
        columns["kind"] = pd.Categorical(letters, kinds, ordered=ordered)
    if kind == "missing":
        columns["x"] = [chance.choice([1.5, None, np.nan]) for _ in range(n_rows)]
        items = [chance.choice([1, None, 2**53 + 1]) for _ in range(n_rows)]
        columns["i"] = pd.array(items, dtype="Int64")
        columns["b"] = pd.array([None] * n_rows, dtype="boolean")
    made = pd.DataFrame(columns)
    if kind == "numbers" and seed % 3 == 0:
        made.index = pd.Index(range(10, 10 + n_rows), name="row")
    return made


def as_frame(value: Any) -> pd.DataFrame:
    """Return the value if it is a frame, else a frame that depends on it."""
    if isinstance(value, pd.DataFrame):
        return value
    return frame(number(value), "text")


def frames_in(value: Any) -> list[pd.DataFrame]:
    """Return the frames in nested lists, tuples and dicts."""
    if isinstance(value, pd.DataFrame):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [one for item in value for one in frames_in(item)]
    return []


def stacked(first: pd.DataFrame, *values: Any, keys: bool = False) -> pd.DataFrame:
    """Return a frame and those in the values one below another."""
    frames = [first, *frames_in(values)]
    if len({one.index.nlevels for one in frames}) > 1:
        # Labels of other depths would become an index of numbers and tuples.
        frames = [one.reset_index(drop=True) for one in frames]
    return pd.concat(frames, keys=range(len(frames)) if keys else None)


def change(value: Any, by: int) -> None:
    """Change in place every frame, list and dict in a value."""
    if isinstance(value, pd.DataFrame):
        value[f"by{by}"] = len(value.columns)
    elif isinstance(value, dict):
        for item in value.values():
            change(item, by)
        value["by"] = by + len(value)
    elif isinstance(value, list | tuple):
        for item in value:
            change(item, by)
        if isinstance(value, list):
            value.append(by + len(value))


class Notes:
    """Counts the bodies that ran, in whatever process, and what each took and gave."""

    def __init__(self, folder: str) -> None:
        self.path = f"{folder}/bodies.jsonl"
        self.kill_path = f"{folder}/kill"

    def took(self, task: str, *inputs: Any) -> None:
        """Note that a body starts; it is here that a test kills the run."""
        self._add(task, "took", inputs)
        if os.path.exists(self.kill_path):
            pid, n_bodies = map(int, Path(self.kill_path).read_text().split())
            n_started = Path(self.path).read_text().count('"took"')
            if n_started > n_bodies:
                os.remove(self.kill_path)
                os.killpg(pid, signal.SIGKILL)

    def gave(self, task: str, value: Any) -> Any:
        """Note what a body returns, and return it."""
        self._add(task, "gave", (value,))
        return value

    def _add(self, task: str, what: str, values: tuple[Any, ...]) -> None:
        context = prefect.context
        body = [task, context.get("map_index")]
        body += [context.get("task_run_count"), context.get("task_loop_count")]
        seen = [canonical(value) for value in values]
        line = json.dumps([body, what, seen, aliases(*values)], default=repr)
        # One write at the end of the file: processes do not mix their lines.
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line.encode() + b"\n")
        os.close(file)
