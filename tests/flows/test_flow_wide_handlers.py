"""A handler of the flow keeps what it is made for, and leaves the results of other tasks alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prefect import Flow, task

from prefect_ds import (
    DSTaskRunner,
    FileResultHandler,
    MarkerResultHandler,
    ObjectResultHandler,
    Outputs,
    PandasResultHandler,
)
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.report import outcome_of

FRAME = pd.DataFrame({"x": [1, 2]})
VALUES: dict[str, Callable[[], Any]] = {
    "frame": lambda: FRAME,
    "series": lambda: FRAME["x"],
    "metrics": lambda: {"rmse": 0.5},
    "array": lambda: np.zeros(3),
    "text": lambda: "# Report",
    "nothing": lambda: None,
}


def wide(folder: Path, kind: str) -> Any:
    path = folder / "{task_name}"
    return {
        "pandas": lambda: PandasResultHandler(f"{path}.csv"),
        "dask": lambda: DaskDataFrameResultHandler(path),
        "json": lambda: ObjectResultHandler(f"{path}.json"),
        "npy": lambda: ObjectResultHandler(f"{path}.npy"),
        "pickle": lambda: ObjectResultHandler(f"{path}.pkl"),
        "files": lambda: FileResultHandler(path),
        "marker": lambda: MarkerResultHandler(path),
        "outputs": lambda: Outputs(rmse=ObjectResultHandler(f"{path}.json")),
    }[kind]()


@pytest.mark.parametrize(
    ("kind", "kept"),
    {
        "pandas": {"frame", "series"},
        "dask": {"frame", "series"},
        "json": {"metrics", "text"},
        "npy": {"array"},
        "pickle": {"frame", "series", "metrics", "array", "text"},
        "files": set(),
        "marker": {"nothing"},
        "outputs": {"metrics"},
    }.items(),
)
def test_it_keeps_its_own_kind_and_no_other_task_fails(
    tmp_path: Path, kind: str, kept: set[str]
) -> None:
    with Flow("wide", result=wide(tmp_path, kind)) as flow:
        tasks = {name: task(make, name=name)() for name, make in VALUES.items()}
    for loaded in (set[str](), kept):
        state = flow.run(task_runner_cls=DSTaskRunner)
        assert state.is_successful()
        states = {name: state.result[tasks[name]] for name in VALUES}
        outcomes = {name: outcome_of(states[name]) for name in VALUES}
        assert {name for name in VALUES if outcomes[name] == "loaded"} == loaded
        assert repr(states["metrics"].result) == repr(VALUES["metrics"]())
    assert {path.stem for path in tmp_path.iterdir() if path.name[0] != "."} == kept
