"""What the documentation of the 2020 library showed still works, in today's spelling: imports, behaviour, outcome."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from prefect import Flow, Parameter, task
from prefect.engine import FlowRunner

import prefect_ds
from prefect_ds.checkpoint_handler import checkpoint_handler
from prefect_ds.flow_runner import DSFlowRunner
from prefect_ds.pandas_result_handler import PandasResultHandler
from prefect_ds.result import PurgedResult
from prefect_ds.task_runner import DSTaskRunner

FRAME = pd.DataFrame({"one": [1, 2, 3], "two": [4, 5, 6]})


@task
def generate_data() -> pd.DataFrame:
    return FRAME


@task
def double_data(input_data: pd.DataFrame) -> pd.DataFrame:
    return input_data * 2


def test_a_checkpoint_short_circuits_the_task_under_prefects_own_flow_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    @prefect_ds.task(result_handler=PandasResultHandler("data_{id}.csv", "csv"))
    def demo_task(id: int) -> pd.DataFrame:
        with open("calls", "a") as calls:
            calls.write(f"{id}\n")
        return FRAME

    with Flow("test") as flow:
        output = demo_task(1)

    for _ in range(2):
        state = FlowRunner(flow=flow, task_runner_cls=DSTaskRunner).run(
            return_tasks=[output], task_runner_state_handlers=[checkpoint_handler]
        )
        assert_frame_equal(state.result[output].result, FRAME)
    assert Path("calls").read_text() == "1\n"
    assert_frame_equal(pd.read_csv("data_1.csv"), FRAME)


def test_the_flow_runner_lets_go_of_results_once_they_are_used() -> None:
    with Flow("test") as flow:
        initial_data = generate_data()
        two_x_data = double_data(initial_data)
        four_x_data = double_data(two_x_data)

    state = DSFlowRunner(flow=flow).run(return_tasks=flow.tasks, keep_results=[])
    assert isinstance(state.result[initial_data]._result, PurgedResult)
    assert state.result[two_x_data].result is None
    assert_frame_equal(state.result[four_x_data].result, FRAME * 4)


def test_parameters_and_repeated_maps_are_let_go_as_well() -> None:
    @task
    def offsets(number: int) -> list[int]:
        return list(range(number))

    @task
    def shifted(offset: int) -> pd.DataFrame:
        return FRAME + offset

    @task
    def merged(frames: list[pd.DataFrame]) -> pd.DataFrame:
        return pd.concat(frames, ignore_index=True)

    with Flow("test") as flow:
        number = Parameter("number")
        data = shifted.map(offsets(number))
        doubled = double_data.map(data)
        result = merged(doubled)

    state = DSFlowRunner(flow=flow).run(
        return_tasks=flow.tasks, parameters={"number": 2}, keep_results=[]
    )
    assert_frame_equal(
        state.result[result].result,
        pd.concat([FRAME * 2, (FRAME + 1) * 2], ignore_index=True),
    )
    assert isinstance(state.result[number]._result, PurgedResult)
    assert [child.result for child in state.result[data].map_states] == [None, None]
    assert [child.result for child in state.result[doubled].map_states] == [None, None]


def test_a_result_that_two_tasks_take_stays_until_both_have_run() -> None:
    with Flow("test") as flow:
        data = generate_data()
        tripled, doubled = data * 3, double_data(data)

    state = DSFlowRunner(flow=flow).run(return_tasks=flow.tasks, keep_results=[])
    assert_frame_equal(state.result[tripled].result, FRAME * 3)
    assert_frame_equal(state.result[doubled].result, FRAME * 2)
    assert isinstance(state.result[data]._result, PurgedResult)
