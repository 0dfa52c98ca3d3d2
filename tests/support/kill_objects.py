"""Jobs for objects, for tasks that return nothing, and for several outputs."""

from __future__ import annotations

import fractions
import io
import json
import os
import pathlib
import pickle
from typing import Any

import numpy as np
import pandas as pd
from pandas.testing import assert_frame_equal

from prefect_ds import (
    FileResultHandler,
    MarkerResultHandler,
    ObjectResultHandler,
    Outputs,
    PandasResultHandler,
)
from prefect_ds.storage.manifest import Manifest
from tests.support.kill_jobs import (
    NEW,
    OLD,
    Job,
    first_numbers,
    frame_of,
    not_adopted,
)

OBJECTS = ("object-json", "object-npy", "object-pkl", "object-bin")


class ObjectJob(Job):
    """An object in a plain file."""

    @property
    def ending(self) -> str:
        return self.file_type.removeprefix("object-")

    @property
    def path(self) -> str:
        return f"{self.data}/a.{self.ending}"

    @property
    def handler(self) -> Any:
        return ObjectResultHandler(self.path, durability=self.durability)

    def make(self, number: int) -> Any:
        self.note()
        return self.object_of(number)

    def object_of(self, number: int) -> Any:
        """Return an object that takes more than one write, and holds the whole frame."""
        frame = frame_of(number)
        if self.ending == "npy":
            return np.tile(frame[["x", "f"]].to_numpy(), (1, 40))
        if self.ending == "bin":
            return frame.to_csv(index=False).encode()
        rows = [*zip(*(frame[name].tolist() for name in "xfs"), strict=True)]
        if self.ending == "pkl":
            return {"rows": rows, "number": fractions.Fraction(number, 3)}
        return {"rows": rows, number: float("inf"), "none": {None: ()}}

    def read_plainly(self) -> pd.DataFrame:
        data = pathlib.Path(self.path).read_bytes()
        if self.ending == "json":
            return pd.DataFrame(json.loads(data)["rows"], columns=[*"xfs"])
        plain = {"npy": np.load, "pkl": pickle.load, "bin": lambda file: file.read()}
        return self.loaded(plain[self.ending](io.BytesIO(data)))

    def loaded(self, value: Any) -> pd.DataFrame:
        if self.ending == "json" and self.scene == "adopt":
            # A person's file has no marks: its tuples are lists.
            return pd.DataFrame(value["rows"], columns=[*"xfs"])
        (number,) = [
            number for number in (OLD, NEW) if is_same(value, self.object_of(number))
        ]
        return frame_of(number)


class MarkerJob(Job):
    """A file that says that a task was done."""

    @property
    def path(self) -> str:
        return f"{self.data}/done"

    @property
    def handler(self) -> Any:
        return MarkerResultHandler(self.path, durability=self.durability)

    def make(self, number: int) -> None:
        self.note()

    def judge_plainly(self, allowed: set[int | None]) -> None:
        is_damage = self.scene == "damaged"
        if os.path.exists(self.path) and not (is_damage and self.is_damaged()):
            text = pathlib.Path(self.path).read_text()
            names = [line.partition(":")[0] for line in text.splitlines()]
            assert names == ["make-1 was done", "at", "flow", "run"], text

    def number_of(self, manifest: Manifest) -> int:
        assert self.handler.load(self.path) is None
        if manifest.identity is None:
            return OLD
        return int(manifest.identity.values["number"])

    def judge_next_run(self, is_there: bool) -> None:
        state = self.run(NEW)
        assert state.is_successful(), state.message
        assert state.result is None
        assert self.take_n_runs() == (not is_there)


class OutputsJob(Job):
    """Two outputs of one task, and the list of them."""

    NAMES = ("a.csv", "b.json")

    @property
    def outputs(self) -> list[str]:
        return [f"{self.data}/{name}" for name in self.NAMES]

    @property
    def path(self) -> str:
        return f"{self.data}/.{self.NAMES[0]}.outputs"

    @property
    def paths(self) -> list[str]:
        return [self.path, *self.outputs]

    @property
    def handler(self) -> Any:
        a, b = self.outputs
        return Outputs(
            a=PandasResultHandler(a, durability=self.durability),
            b=ObjectResultHandler(b, durability=self.durability),
        )

    def make(self, number: int) -> Any:
        self.note()
        frame = frame_of(number)
        return {"a": frame, "b": {"x": tuple(frame["x"].tolist())}}

    def read_plainly(self) -> pd.DataFrame:
        raise NotImplementedError("there are two")

    def first_of(self, path: str) -> int:
        """Return what an output begins with, as anybody reads it."""
        if path.endswith(".json"):
            return int(json.loads(pathlib.Path(path).read_text())["x"][0])
        return int(pd.read_csv(path)["x"].iloc[0])

    def judge_plainly(self, allowed: set[int | None]) -> None:
        if self.scene == "damaged":
            allowed = {*allowed, OLD}  # The sound output of the two.
        for path in self.outputs:
            is_damage = self.scene == "damaged" and path == self.damaged
            if os.path.exists(path) and not (is_damage and self.is_damaged()):
                assert self.first_of(path) in first_numbers(allowed), path

    def loaded(self, value: Any) -> pd.DataFrame:
        assert value["b"] == {"x": tuple(value["a"]["x"].tolist())}, "a mix"
        return value["a"]

    def expected(self) -> tuple[int, set[int | None]]:
        # A list without a manifest says nothing; and while one output is replaced after
        # the other, none counts.
        if self.scene == "rewrite":
            return NEW, {None, OLD, NEW}
        return not_adopted(self.scene) or super().expected()

    def may_be_damaged(self) -> bool:
        return self.scene in ("damaged", "adopt")

    @property
    def damaged(self) -> str:
        return self.outputs[0]

    def damage(self) -> None:
        os.truncate(self.damaged, 100)

    def is_damaged(self) -> bool:
        return os.path.getsize(self.damaged) == 100


class FileOutputsJob(OutputsJob):
    """Two files that the task writes by itself."""

    NAMES = ("a", "b")

    @property
    def handler(self) -> Any:
        a, b = self.outputs
        return Outputs(
            FileResultHandler(a, durability=self.durability),
            FileResultHandler(b, durability=self.durability),
        )

    def make(self, number: int) -> Any:
        self.note()
        written = [pathlib.Path(f"{self.folder}/scratch {name}") for name in self.NAMES]
        for path in written:
            frame_of(number).to_csv(path, index=False)
        return written

    def loaded(self, value: Any) -> pd.DataFrame:
        assert value == [pathlib.Path(path) for path in self.outputs]
        one, other = [pd.read_csv(path, dtype={"s": "str"}) for path in value]
        assert_frame_equal(one, other)
        return one


def is_same(one: Any, other: Any) -> bool:
    """Return whether two objects are equal, type for type."""
    if isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return repr(one) == repr(other)
