"""What a Dask write says of its time: computing and writing apart, and how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import pandas as pd
import pytest
from prefect import Flow
from prefect.engine.state import State

from prefect_ds import task
from prefect_ds.dask import DaskDataFrameResultHandler, write_progress
from prefect_ds.dask.layouts import Layout
from prefect_ds.dask.parts import StagedPart
from prefect_ds.report import RunReport
from prefect_ds.storage.part import Part


def _slow(frame: pd.DataFrame) -> pd.DataFrame:
    time.sleep(0.2)
    return frame


def _flow(folder: Path) -> tuple[Flow, Any]:
    @task(name="events", result=DaskDataFrameResultHandler(folder / "events"))
    def events() -> dd.DataFrame:
        frame = pd.DataFrame({"x": range(6)})
        return dd.from_pandas(frame, npartitions=3).map_partitions(_slow, meta=frame)

    with Flow("events") as flow:
        made = events()
    return flow, made


def test_computing_a_dask_frame_counts_as_computing(
    run_here: Callable[..., State], tmp_path: Path
) -> None:
    flow, made = _flow(tmp_path)
    ran = RunReport.of(run_here(flow).result)["events"]
    assert ran.compute_s > 0
    assert ran.write_s > 0
    state = run_here(flow)
    loaded = RunReport.of(state.result)["events"]
    assert loaded.compute_s == loaded.write_s == 0
    assert loaded.saved_s == pytest.approx(ran.compute_s + ran.write_s, rel=0.01)
    assert len(state.result[made].result) == 6


def _part(write_s: float, writer: str) -> StagedPart:
    part = Part("part.parquet", 1, "blake3:" + "0" * 64, 1)
    return StagedPart(
        0, 0, 0, "", part, Layout(False, ""), write_s=write_s, writer=writer
    )


@pytest.mark.parametrize(
    ("parts", "elapsed_s", "expected"),
    [
        ([], 5.0, 0.0),
        ([_part(2.0, "a"), _part(1.0, "a")], 10.0, 7.0),
        # Two threads wrote at the same time.
        ([_part(2.0, "a"), _part(4.0, "b")], 10.0, 7.0),
        ([_part(8.0, "a"), _part(4.0, "a")], 10.0, 0.0),
    ],
)
def test_what_is_not_writing_is_computing(
    parts: list[StagedPart], elapsed_s: float, expected: float
) -> None:
    assert write_progress.computing_s(parts, elapsed_s) == expected


def test_a_long_write_says_how_far_it_is(
    run_here: Callable[..., State],
    tmp_path: Path,
    log_lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(write_progress, "_EVERY_S", 0.05)
    flow, _made = _flow(tmp_path)
    run_here(flow)
    said = [line for line in log_lines if "partitions are written after" in line]
    assert said
    assert all(line.startswith(f"{tmp_path}/events: ") for line in said)
    assert all(" of 3 partitions are written" in line for line in said)
