"""The same mapped work, its results kept by prefect_ds or by one of its rivals."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import Flow, task
from prefect.engine.flow_runner import FlowRunner
from prefect.engine.results import LocalResult
from prefect.engine.serializers import PandasSerializer
from prefect.executors import Executor, LocalExecutor
from prefect.utilities.configuration import set_temporary_config

from benchmarks.support import common
from prefect_ds import DSTaskRunner

RIVALS = [
    "prefect_ds",
    "prefect target=parquet",
    "prefect target=pickle",
    "prefect, nothing kept",
    "joblib.Memory",
]
"""joblib.Memory is a loop in one process, without Prefect's engine."""


def first(n: int, n_rows: int) -> pd.DataFrame:
    """Return the frame of one child: cheap to make, and different for every child."""
    return common.numbers(n_rows).assign(n=float(n))


def nothing(n: int, n_rows: int) -> None:
    """Return nothing, as a task does that is called for its effect."""


def later(frame: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return the next stage's frame."""
    if frame is None:
        return None
    return frame.assign(x0=frame["x0"] + 1.0)


class MappedWork:
    """Some mapped stages with the same number of children, which can be run again.

    Parameters
    ----------
    rival
        One of :data:`RIVALS`, which keeps the results.
    folder
        The folder for them.
    n_children, n_stages
        The shape of the flow: a child of a stage takes the same child of the stage
        before.
    n_rows
        Of every frame, at 56 bytes a row; 0: the tasks return None.
    """

    def __init__(
        self,
        rival: str,
        folder: str,
        *,
        n_children: int,
        n_rows: int,
        n_stages: int = 2,
    ) -> None:
        if rival not in RIVALS:
            raise ValueError(f"rival {rival!r}: it is one of {RIVALS}")
        self.rival = rival
        self.folder = folder
        self.n_children = n_children
        self.n_stages = n_stages
        self.n_rows = n_rows
        self._loop = _joblib_loop(self) if rival == "joblib.Memory" else None

    @functools.cached_property
    def flow(self) -> Flow:
        """The flow; :class:`ValueError` where the rival has none."""
        make = nothing if self.n_rows == 0 else first
        with Flow("benchmark") as flow:
            stage = _task(
                functools.partial(make, n_rows=self.n_rows), "n", **self._kept(0)
            ).map(range(self.n_children))
            for number in range(1, self.n_stages):
                stage = _task(later, "frame", **self._kept(number)).map(stage)
        return flow

    def run(self, executor: Executor | None = None) -> Any:
        """Run the flow to its end and return its state.

        Results that are kept already are taken from there.
        """
        if self._loop is not None:
            return self._loop()
        # Named, as importing prefect_ds changes the default one.
        runner: dict[str, Any] = {"runner_cls": FlowRunner}
        if self.rival == "prefect_ds":
            runner = {"task_runner_cls": DSTaskRunner}
        is_kept = self.rival.startswith("prefect target")
        with set_temporary_config({"flows.checkpointing": is_kept}):
            state = self.flow.run(executor=executor or LocalExecutor(), **runner)
        assert state is not None
        assert state.is_successful(), state
        return state

    def lose(self, every: int) -> int:
        """Remove the results of one child in so many; return the number of files."""
        if self._loop is not None:
            return self._loop(every)
        lost = [
            file
            for file in Path(self.folder).glob("stage*")
            if int(file.stem.split("_")[1]) % every == 0
        ]
        for file in lost:
            file.unlink()
        return len(lost)

    def _kept(self, stage: int) -> dict[str, Any]:
        name = f"stage{stage}_{{map_index}}"
        if self.rival == "prefect_ds":
            return {"result": common.handler(self.folder, "parquet", name)}
        if self.rival.startswith("prefect target="):
            file_type = self.rival.partition("=")[2]
            return {
                "target": f"{name}.{file_type}",
                "result": LocalResult(
                    dir=self.folder, serializer=PandasSerializer(file_type)
                ),
            }
        return {}


def _task(function: Callable[..., Any], argument: str, **options: Any) -> Any:
    # A function made here, with one argument: Prefect takes the names of a task's
    # inputs from it.
    if argument == "n":
        return task(name="first", **options)(lambda n: function(n))
    return task(name="later", **options)(lambda frame: function(frame))


def _joblib_loop(work: MappedWork) -> Callable[..., int]:
    try:
        from joblib import Memory  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        # To asv it means that this combination is left out.
        raise NotImplementedError("joblib is not installed") from None
    memory = Memory(os.path.join(work.folder, "joblib"), verbose=0)
    make, change = memory.cache(first), memory.cache(later)

    def loop(lose_every: int | None = None) -> int:
        lost = 0
        for n in range(0, work.n_children, lose_every or 1):
            value = make(n, work.n_rows)
            shelved = []
            if lose_every:
                shelved.append(make.call_and_shelve(n, work.n_rows))
            for _ in range(1, work.n_stages):
                if lose_every:
                    shelved.append(change.call_and_shelve(value))
                value = change(value)
            for result in shelved:
                result.clear()
            lost += len(shelved)
        return lost

    return loop
