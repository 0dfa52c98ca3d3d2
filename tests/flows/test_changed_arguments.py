"""A task may change its arguments: path and identity are those that it was given."""

import pandas as pd
import prefect
import pytest
from prefect import Flow, Parameter, task
from prefect.engine import signals
from prefect.tasks.core.constants import Constant

from tests.support.flows import AT_ONCE, Notes, data_files, parquet, result_of, state_of


@pytest.fixture
def mean(tmp_path, notes):
    """Builds a flow whose task appends to the list that it is given."""

    @task(result=parquet(tmp_path, "mean", match="inputs"))
    def mean(values):
        notes("ran")
        frame = pd.DataFrame({"mean": [sum(values) / len(values)]})
        values.append(9)
        return frame

    def build(values):
        with Flow("mean") as flow:
            mean(Constant(values))
        return flow

    return build


def test_a_list_that_the_task_changes_counts_as_it_was_given(run_here, notes, mean):
    run_here(mean([1, 2]))
    assert notes.take() == ["ran"]

    flow = mean([1, 2])
    assert result_of(run_here(flow), flow, "mean")["mean"][0] == 1.5
    assert notes.take() == []

    flow = mean([1, 2, 9])
    assert result_of(run_here(flow), flow, "mean")["mean"][0] == 4.0
    assert notes.take() == ["ran"]


def test_a_frame_that_the_task_adds_a_column_to_counts_as_it_was_given(
    run_here, tmp_path, notes
):
    @task
    def load():
        return pd.DataFrame({"v": [1, 2]})

    @task(result=parquet(tmp_path, "scaled", match="inputs"))
    def scaled(frame):
        notes("ran")
        frame["w"] = frame["v"] * 2
        return frame

    with Flow("frame") as flow:
        scaled(load())
    for _ in range(2):
        frame = result_of(run_here(flow), flow, "scaled")
        assert list(frame["w"]) == [2, 4]
    assert notes.lines == ["ran"]


@pytest.mark.parametrize("change", ["divide", "pop"])
def test_the_path_is_that_of_the_arguments_as_they_were_given(
    run_here, tmp_path, notes, change
):
    @task(result=parquet(tmp_path, "model_{params[lr]}", match="inputs"))
    def train(params):
        notes("ran")
        rate = params.pop("lr") if change == "pop" else params["lr"]
        if change == "divide":
            params["lr"] = rate / 10
        return pd.DataFrame({"rate": [rate]})

    with Flow("model") as flow:
        train(Parameter("params"))
    for rate in (0.1, 0.01, 0.1, 0.01):
        state = run_here(flow, parameters={"params": {"lr": rate}})
        assert result_of(state, flow, "train")["rate"][0] == rate
    assert notes.lines == ["ran", "ran"]
    assert data_files(tmp_path) == ["model_0.01.parquet", "model_0.1.parquet"]


@pytest.fixture
def loop(tmp_path, notes):
    """Builds a flow whose looping task changes its argument in each turn."""

    @task(result=parquet(tmp_path, "loop_{values[0]}", match="inputs"))
    def loop(values):
        count = prefect.context.get("task_loop_count", 1)
        notes(f"turn {count}")
        values[0] += 1
        if count < 3:
            raise signals.LOOP(result=values)
        return pd.DataFrame({"last": values})

    def build(values):
        with Flow("loop") as flow:
            loop(Constant(values))
        return flow

    return build


def test_a_loop_is_kept_as_the_result_of_its_first_turns_arguments(
    run_here, tmp_path, notes, loop
):
    for _ in range(2):
        flow = loop([1])
        assert result_of(run_here(flow), flow, "loop")["last"][0] == 4
    assert notes.lines == ["turn 1", "turn 2", "turn 3"]
    assert data_files(tmp_path) == ["loop_1.parquet"]


def test_a_retry_is_kept_as_the_result_of_what_that_attempt_was_given(
    run_here, tmp_path, notes: Notes
):
    """On this executor an attempt hands its changed argument on to the next one."""

    @task(
        result=parquet(tmp_path, "kept_{values[0]}", match="inputs"),
        max_retries=1,
        retry_delay=AT_ONCE,
    )
    def kept(values):
        notes(f"ran {values}")
        values[0] += 1
        if len(notes.lines) == 1:
            raise ValueError("the first time")
        return pd.DataFrame({"v": [values[0]]})

    with Flow("retry") as flow:
        kept(Constant([1]))
    state = run_here(flow)

    assert result_of(state, flow, "kept")["v"][0] == 3
    assert data_files(tmp_path) == ["kept_2.parquet"]
    assert state_of(state, flow, "kept").is_successful()
