"""How a user says what runs: refresh and max_age."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow, task
from prefect.engine import signals
from prefect.engine.state import State

from prefect_ds import DSTaskRunner, PandasResultHandler, explain
from tests.support.ages import make_older
from tests.support.executors import on_every_executor
from tests.support.flows import Notes, frame_of

DAY = datetime.timedelta(days=1)


run = on_every_executor


def chain(folder: Path, notes: Notes, **options: Any) -> Flow:
    """Two children, and a task behind them."""

    @task(result=PandasResultHandler(folder / "load_{n}.parquet", **options))
    def load(n):
        notes(f"load {n}")
        # A file, so that its text is no value that the code reads.
        changed = Path(notes.path).with_name("changed")
        if changed.exists():
            n = n + int(changed.read_text())
        return frame_of(n)

    @task(result=PandasResultHandler(folder / "total.parquet"))
    def total(frames):
        notes("total")
        return frames[0]

    with Flow("chain") as flow:
        total(load.map([1, 2]))
    return flow


def message(state: State, flow: Flow, name: str) -> str:
    of_task = state.result[flow.get_tasks(name)[0]]
    if of_task.is_mapped():
        of_task = of_task.map_states[0]
    return str(of_task.message)


class TestRefresh:
    def test_a_task_runs_whatever_is_there_and_the_rest_loads(
        self, run, tmp_path, notes
    ):
        flow = chain(tmp_path / "data", notes)
        run(flow)
        notes.take()
        state = run(flow, refresh=flow.get_tasks("load"))
        assert notes.take() == ["load 1", "load 2"]
        assert "Ran because a refresh was asked for; wrote" in message(
            state, flow, "load"
        )
        assert "Loaded" in message(state, flow, "total")
        run(flow)
        assert notes.lines == []

    def test_another_result_replaces_the_one_of_the_same_inputs(
        self, run, tmp_path, notes
    ):
        flow = chain(tmp_path / "data", notes)
        run(flow)
        (tmp_path / "changed").write_text("40")
        notes.take()
        state = run(flow, refresh=["load"])
        assert notes.take() == ["load 1", "load 2", "total"]
        assert state.result[flow.get_tasks("total")[0]].result["id"].iloc[0] == 41
        resumed = run(flow)
        assert notes.lines == []
        assert resumed.result[flow.get_tasks("total")[0]].result["id"].iloc[0] == 41

    def test_explain_says_it(self, tmp_path, notes, run_here):
        flow = chain(tmp_path / "data", notes)
        run_here(flow)
        explanation = explain(flow, refresh=flow.get_tasks("load"))
        assert explanation.counts == {"run": 2, "maybe": 1}
        of_total = explanation.steps[-1]
        assert of_total.reason == "a refresh was asked for => load => total"
        assert explain(flow).counts == {"load": 3}

    def test_a_retry_within_the_run_refreshes_and_the_end_is_kept(
        self, tmp_path, notes, run_here
    ):
        @task(
            result=PandasResultHandler(tmp_path / "data" / "a.parquet"),
            max_retries=1,
            retry_delay=datetime.timedelta(0),
        )
        def flaky():
            notes("flaky")
            if (tmp_path / "boom").exists():
                (tmp_path / "boom").unlink()
                raise signals.FAIL("boom")
            return frame_of(1)

        with Flow("flaky") as flow:
            flaky()
        run_here(flow)
        (tmp_path / "boom").touch()
        notes.take()
        assert run_here(flow, refresh=["flaky"]).is_successful()
        assert notes.take() == ["flaky", "flaky"]
        run_here(flow)
        assert notes.lines == []

    def test_two_tasks_of_one_checkpoint_compute_it_once(
        self, tmp_path, notes, run_here
    ):
        flow = chain(tmp_path / "data", notes)
        load = flow.get_tasks("load")[0]
        again = load.copy()
        again.name = "load"
        with flow:
            again.map([1, 2])
        run_here(flow)
        notes.take()
        run_here(flow, refresh=["load"])
        assert notes.lines == ["load 1", "load 2"]

    def test_a_file_of_the_users_is_set_aside_not_deleted(
        self, tmp_path, notes, run_here
    ):
        flow = chain(tmp_path / "data", notes)
        (tmp_path / "data").mkdir()
        frame_of(7).to_parquet(tmp_path / "data" / "load_1.parquet")
        run_here(flow)
        assert notes.take() == ["load 2", "total"]
        assert explain(flow, refresh=["load"]).counts["run"] == 2
        run_here(flow, refresh=["load"])
        assert "load 1" in notes.lines
        aside = list((tmp_path / "data" / ".prefect_ds" / "set-aside").iterdir())
        assert len(aside) == 1

    def test_a_flow_that_a_refreshed_task_runs_is_not_refreshed(
        self, tmp_path, notes, run_here
    ):
        inner = chain(tmp_path / "inner", notes)

        @task(result=PandasResultHandler(tmp_path / "outer.parquet", match="inputs"))
        def outer():
            notes("outer")
            state = inner.run(task_runner_cls=DSTaskRunner)
            return state.result[inner.get_tasks("total")[0]].result

        with Flow("outer") as flow:
            outer()
        run_here(flow)
        notes.take()
        run_here(flow, refresh=["outer"])
        assert notes.lines == ["outer"]

    @pytest.mark.parametrize(
        ("refresh", "error", "words"),
        [
            ("load", TypeError, "refresh is 'load': give a list of tasks"),
            (["lode"], ValueError, "refresh has task 'lode', which is not in flow"),
            (3, TypeError, "give a list of tasks"),
        ],
    )
    def test_what_is_no_task_of_the_flow_is_refused(
        self, tmp_path, notes, run_here, refresh, error, words
    ):
        flow = chain(tmp_path / "data", notes)
        with pytest.raises(error, match=words):
            run_here(flow, refresh=refresh)
        with pytest.raises(error, match=words):
            explain(flow, refresh=refresh)
        assert notes.lines == []

    def test_the_task_behind_a_decorator_is_no_task_of_the_flow(
        self, tmp_path, notes, run_here
    ):
        flow = chain(tmp_path / "data", notes)
        outside = flow.get_tasks("load")[0].copy()
        with pytest.raises(
            ValueError, match=r"give what the call of the task returned"
        ):
            run_here(flow, refresh=[outside])

    def test_without_our_task_runner_it_is_refused(self, tmp_path, notes):
        flow = chain(tmp_path / "data", notes)
        with pytest.raises(TypeError, match="needs task_runner_cls=DSTaskRunner"):
            flow.run(refresh=["load"])


class TestMaxAge:
    def test_a_checkpoint_that_is_too_old_runs_again_and_is_young_then(
        self, run, tmp_path, notes, log_lines
    ):
        flow = chain(tmp_path / "data", notes, max_age="1d")
        run(flow)
        path = tmp_path / "data" / "load_1.parquet"
        make_older(flow.get_tasks("load")[0].result, path, 3 * DAY)
        notes.take()
        state = run(flow)
        assert notes.take() == ["load 1"]
        age = "it is 3 days old, and max_age is 1 day"
        assert f"Ran because the checkpoint was stale: {age}" in message(
            state, flow, "load"
        )
        run(flow)
        assert notes.lines == []

    def test_a_younger_one_loads(self, tmp_path, notes, run_here):
        flow = chain(tmp_path / "data", notes, max_age=2 * DAY)
        run_here(flow)
        path = tmp_path / "data" / "load_1.parquet"
        make_older(flow.get_tasks("load")[0].result, path, DAY)
        notes.take()
        assert explain(flow).counts == {"load": 3}
        run_here(flow)
        assert notes.lines == []

    def test_explain_and_the_log_say_it(self, tmp_path, notes, run_here, log_lines):
        flow = chain(tmp_path / "data", notes, max_age="12h")
        run_here(flow)
        path = tmp_path / "data" / "load_2.parquet"
        make_older(flow.get_tasks("load")[0].result, path, DAY)
        explanation = explain(flow)
        assert [step.decision for step in explanation.steps] == ["load", "run", "maybe"]
        age = "it is 1 day old, and max_age is 12 hours"
        assert explanation.steps[1].reason == age
        assert explanation.steps[2].reason == f"{age} => load => total"
        run_here(flow)
        assert any(f"is stale: {age}; running" in line for line in log_lines)

    def test_a_limit_of_nothing_runs_each_time_and_once_a_run(
        self, tmp_path, notes, run_here
    ):
        flow = chain(tmp_path / "data", notes, max_age="0s", match="path")
        for _ in range(2):
            assert run_here(flow).is_successful()
            assert {"load 1", "load 2"} <= set(notes.take())

    def test_a_file_that_a_person_put_there_has_no_age(self, tmp_path, notes, run_here):
        flow = chain(tmp_path / "data", notes, max_age="0s")
        (tmp_path / "data").mkdir()
        frame_of(7).to_parquet(tmp_path / "data" / "load_1.parquet")
        run_here(flow)
        run_here(flow)
        assert "load 1" not in notes.lines
