"""What ends on the client is not submitted; a run in which all is loaded needs no cluster."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import prefect
import pytest
from prefect import Flow, Parameter, case, task, unmapped
from prefect.executors import DaskExecutor
from prefect.tasks.control_flow import merge
from prefect.utilities.context import Context

from prefect_ds import PandasResultHandler
from prefect_ds.engine.submission import run_submitted
from prefect_ds.engine.task_checkpoint import TaskCheckpoint
from prefect_ds.report import RunReport
from tests.support.flows import Notes, frame_of


class Counting(DaskExecutor):
    """Counts its starts, and the runs of tasks that are submitted."""

    def __init__(self, address: str) -> None:
        super().__init__(address=address, watch_worker_status=False)
        self.n_starts = 0
        self.n_runs = 0

    def start(self) -> Any:
        self.n_starts += 1
        return super().start()

    def submit(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        self.n_runs += fn is run_submitted
        return super().submit(fn, *args, **kwargs)


@pytest.fixture
def counting(cluster_address: str) -> Any:
    return lambda: Counting(cluster_address)


def kept(path: Path) -> PandasResultHandler:
    return PandasResultHandler(path, "parquet")


@pytest.fixture
def flow(tmp_path: Path, notes: Notes) -> Flow:
    @task(result=kept(tmp_path / "load_{n}.parquet"))
    def load(n):
        notes(f"load {n}")
        return frame_of(n)

    @task(result=kept(tmp_path / "clean_{map_index}.parquet"))
    def clean(frame, factor):
        return frame.assign(factor=factor)

    @task(result=kept(tmp_path / "report.parquet"))
    def report(pair, kind):
        return pd.concat(pair[0]).assign(total=pair[1], kind=kind)

    @task(result=kept(tmp_path / "rare.parquet"))
    def rare():
        return frame_of(9)

    with Flow("hits") as flow:
        factor = Parameter("factor", default=1)
        kind = Parameter("kind", default="a")
        cleaned = clean.map(load.map([1, 2, 3]), unmapped(factor))
        report([cleaned, factor], kind)
        with case(kind, "b"):
            branch = rare()
        merge(branch)
    return flow


def counts(state: Any) -> dict[str, tuple[int, int]]:
    """Return how many results of each task were loaded and computed."""
    report = RunReport.of(state.result)
    return {row.task: (row.n_loaded, row.n_ran) for row in report.tasks}


def test_a_run_in_which_all_is_loaded_starts_no_cluster(flow, run_here, counting):
    fresh = run_here(flow, executor=counting())
    executor = counting()
    resumed = run_here(flow, executor=executor)
    assert (executor.n_starts, executor.n_runs) == (0, 0)
    report = flow.get_tasks("report")[0]
    pd.testing.assert_frame_equal(
        resumed.result[report].result, fresh.result[report].result
    )
    assert counts(resumed)["load"] == (3, 0)
    assert counts(resumed)["report"] == (1, 0)
    assert resumed.result[flow.get_tasks("rare")[0]].is_skipped()


def test_only_what_has_to_run_is_submitted(flow, run_here, counting, tmp_path, notes):
    run_here(flow, executor=counting())
    notes.take()
    (tmp_path / "load_2.parquet").unlink()
    executor = counting()
    state = run_here(flow, executor=executor)
    assert notes.lines == ["load 2"]
    assert counts(state)["load"] == (2, 1)
    assert counts(state)["clean"] == (3, 0)
    # load[1], and what waits for it: clean[1], the list of the cleaned, and report.
    assert (executor.n_starts, executor.n_runs) == (1, 4)


def test_a_first_run_digests_no_input_on_the_client(
    flow, run_here, counting, monkeypatch
):
    n_taken = Counter()
    take = TaskCheckpoint.of_run

    def counted(*args, **kwargs):
        n_taken["client"] += 1
        return take(*args, **kwargs)

    monkeypatch.setattr(TaskCheckpoint, "of_run", counted)
    run_here(flow, executor=counting())
    assert n_taken["client"] == 0
    run_here(flow, executor=counting())
    assert n_taken["client"] == 7


def test_stale_and_damaged_checkpoints_run_on_workers(
    flow, run_here, counting, tmp_path
):
    run_here(flow, executor=counting())
    (tmp_path / "load_3.parquet").write_bytes(b"PAR1")
    state = run_here(flow, executor=counting(), parameters={"factor": 2})
    assert counts(state)["load"] == (2, 1)
    assert counts(state)["clean"] == (0, 3)
    cleaned = state.result[flow.get_tasks("clean")[0]]
    assert "factor" in cleaned.map_states[0].message
    assert [frame["factor"].iloc[0] for frame in cleaned.result] == [2, 2, 2]
    assert len(list((tmp_path / ".prefect_ds/set-aside").iterdir())) == 1


def test_each_task_run_is_logged_once(flow, run_here, counting, tmp_path, log_lines):
    run_here(flow, executor=counting())
    (tmp_path / "load_2.parquet").unlink()
    log_lines.clear()
    run_here(flow, executor=counting())
    started = Counter(
        line.split("'")[1] for line in log_lines if "Starting task run" in line
    )
    assert started["load[0]"] == 1
    assert started["report"] == 1
    assert max(started.values()) == 1


def test_handlers_and_triggers_of_the_users_see_what_they_always_saw(
    run_here, counting, tmp_path, notes
):
    def changes(of_task, old, new):
        notes(f"{of_task.name} {type(old).__name__} {type(new).__name__}")

    def trigger(states):
        notes("trigger")
        return True

    @task(result=kept(tmp_path / "one.parquet"), state_handlers=[changes])
    def one():
        return frame_of(1)

    @task(result=kept(tmp_path / "two.parquet"), trigger=trigger)
    def two(frame):
        return frame

    with Flow("handlers") as flow:
        two(one())
    run_here(flow, executor=counting())
    assert notes.take() == ["one Pending Running", "one Running Success", "trigger"]
    run_here(flow, executor=counting())
    assert notes.take() == ["one Pending Success", "trigger"]


def test_a_failed_trigger_needs_no_worker(run_here, counting, tmp_path):
    from prefect.triggers import all_failed

    @task(result=kept(tmp_path / "one.parquet"))
    def one():
        return frame_of(1)

    @task(result=kept(tmp_path / "two.parquet"), trigger=all_failed)
    def two(frame):
        return frame

    with Flow("triggers") as flow:
        last = two(one())
    run_here(flow, executor=counting())
    executor = counting()
    state = run_here(flow, executor=executor)
    assert executor.n_starts == 0
    assert type(state.result[last]).__name__ == "TriggerFailed"


def test_a_task_without_a_handler_runs_on_a_worker(run_here, counting, notes):
    @task
    def plain(number):
        from distributed import get_worker

        get_worker()
        notes("plain")
        return number

    with Flow("plain") as flow:
        plain(1)
    executor = counting()
    assert run_here(flow, executor=executor).is_successful()
    assert notes.lines == ["plain"]
    assert executor.n_runs == 1


def test_prefects_context_is_left_faster_during_a_run_only(run_here, tmp_path):
    seen = []

    @task(result=kept(tmp_path / "outer.parquet"))
    def outer():
        with Flow("inner") as inner:
            task(lambda: seen.append("clear" in vars(Context)), name="look")()
        assert run_here(inner).is_successful()
        seen.append("clear" in vars(Context))
        return frame_of(1)

    with Flow("outer") as flow:
        outer()
    with prefect.context(mine=1):
        before = {**prefect.context, "caches": {}}  # Prefect leaves its caches there.
        assert run_here(flow).is_successful()
        assert {**prefect.context, "caches": {}} == before
    assert seen == [True, True]
    assert "clear" not in vars(Context)


def test_results_that_nobody_keeps_go_beside_hits(flow, run_here, counting, tmp_path):
    run_here(flow, executor=counting())
    (tmp_path / "clean_1.parquet").unlink()
    state = run_here(flow, executor=counting(), keep_results=[])
    assert state.is_successful(), state.message
    assert counts(state)["clean"] == (2, 1)
