"""What the task runner promises in Prefect's engine: each construct gets the right value at the right time."""

import contextlib
import datetime

import pytest
from pandas.testing import assert_frame_equal
from prefect import Flow, Parameter, unmapped
from prefect import task as prefect_task
from prefect.engine import signals
from prefect.engine.flow_runner import FlowRunner
from prefect.engine.results import LocalResult
from prefect.engine.state import Success
from prefect.triggers import all_finished, any_failed
from prefect.utilities.configuration import set_temporary_config
from prefect.utilities.debug import raise_on_exception

from prefect_ds import DSTaskRunner, PandasResultHandler, task
from prefect_ds.checkpoint_handler import checkpoint_handler
from prefect_ds.errors import TemplateError
from tests.support.flows import (
    Counting,
    data_files,
    frame_of,
    late,
    parquet,
    poison,
    result_of,
    state_of,
)

# Prefect's own flow runner


def test_a_frame_handed_to_mapped_children_stays_a_frame_in_a_later_round(tmp_path):
    @task(result=parquet(tmp_path, "frame"))
    def makes():
        return frame_of(1)

    @task
    def length(_number, frame):
        return len(frame)

    with Flow("rounds") as flow:
        frame = makes()
        lengths = length.map([1, 2], unmapped(frame))
        late(str(tmp_path), upstream_tasks=[lengths])
    ours = {"engine.task_runner.default_class": "prefect_ds.DSTaskRunner"}
    with set_temporary_config(ours):
        state = flow.run(runner_cls=FlowRunner)

    assert state.result[lengths].result == [3, 3]
    assert_frame_equal(state.result[frame].result, frame_of(1))


# Inputs that are failures


@pytest.mark.parametrize("error", [signals.FAIL("no"), ValueError("no")])
def test_a_task_that_takes_a_failure_loads_its_checkpoint(
    run_here, tmp_path, notes, error
):
    @task
    def fails():
        raise type(error)("no")

    @task(trigger=all_finished, result=parquet(tmp_path, "reported"))
    def report(failure):
        notes("reported")
        return frame_of(1).assign(failure=str(failure))

    with Flow("failure") as flow:
        report(fails())
    run_here(flow)
    run_here(flow)

    assert notes.lines == ["reported"]


# What is not checkpointed


def test_a_task_that_runs_out_of_time_leaves_no_checkpoint(run_here, tmp_path):
    import threading

    @task(result=parquet(tmp_path, "slow"), timeout=1)
    def slow():
        threading.Event().wait(30)
        return frame_of(1)

    with Flow("timeout") as flow:
        slow()
    state = run_here(flow)

    assert type(state_of(state, flow, "slow")).__name__ == "TimedOut"
    assert data_files(tmp_path) == []


def test_a_task_in_time_is_checkpointed_as_any_other(run_here, tmp_path, notes):
    @task(result=parquet(tmp_path, "quick"), timeout=600)
    def quick():
        notes("ran")
        return frame_of(1)

    with Flow("timeout") as flow:
        quick()
    for _ in range(2):
        assert_frame_equal(result_of(run_here(flow), flow, "quick"), frame_of(1))
    assert notes.lines == ["ran"]


def test_none_is_handed_on_but_not_kept_and_the_state_says_so(
    run_here, tmp_path, notes
):
    @task(result=parquet(tmp_path, "nothing"))
    def nothing():
        notes("ran")

    with Flow("none") as flow:
        nothing()
    for _ in range(2):
        state = run_here(flow)
        assert state.is_successful()
        assert result_of(state, flow, "nothing") is None
        assert (
            "No checkpoint was written: it returned nothing"
            in state_of(state, flow, "nothing").message
        )
    assert notes.lines == ["ran", "ran"]
    assert data_files(tmp_path) == []


def test_checkpoint_false_switches_the_handler_off(run_here, tmp_path, notes):
    @task(result=parquet(tmp_path, "off"), checkpoint=False)
    def off():
        notes("ran")
        return frame_of(1)

    with Flow("off") as flow, set_temporary_config({"flows.checkpointing": True}):
        off()
    for _ in range(2):
        assert_frame_equal(result_of(run_here(flow), flow, "off"), frame_of(1))
    assert notes.lines == ["ran", "ran"]
    assert data_files(tmp_path) == []


def test_a_result_that_is_no_frame_fails_and_says_what_the_handler_keeps(
    run_here, tmp_path
):
    @task(result=parquet(tmp_path, "wrong"))
    def wrong():
        return [1, 2]

    with Flow("wrong") as flow:
        wrong()
    message = state_of(run_here(flow), flow, "wrong").message

    assert "ResultTypeError" in message
    assert "list" in message
    assert "DataFrame" in message


def test_tasks_without_a_handler_and_with_results_of_prefect_behave_as_in_prefect(
    run_here, tmp_path, notes
):
    @prefect_task(result=LocalResult(str(tmp_path)), target="prefect_{number}.pickle")
    def prefects(number):
        notes(f"prefects {number}")
        return {"number": number}

    @prefect_task
    def plain(found, frame):
        return found["number"], len(frame)

    @task(result=parquet(tmp_path, "ours"))
    def ours(found):
        notes("ours")
        return frame_of(found["number"])

    with Flow("mixed") as flow, set_temporary_config({"flows.checkpointing": True}):
        found = prefects(3)
        plain(found, ours(found))
    with set_temporary_config({"flows.checkpointing": True}):
        assert result_of(run_here(flow), flow, "plain") == (3, 3)
        assert notes.take() == ["ours", "prefects 3"]
        state = run_here(flow)
    assert state_of(state, flow, "prefects").is_cached()
    assert result_of(state, flow, "plain") == (3, 3)
    assert notes.take() == []


def test_a_prefect_result_with_a_target_may_take_a_checkpoint_as_input(
    run_here, tmp_path, notes
):
    @task(result=parquet(tmp_path, "ours"))
    def ours():
        return frame_of(3)

    @prefect_task(result=LocalResult(str(tmp_path)), target="{flow_name}_count.pickle")
    def count(frame):
        notes("count")
        return len(frame)

    with Flow("mixed") as flow:
        count(ours())
    with set_temporary_config({"flows.checkpointing": True}):
        for _ in range(2):
            assert result_of(run_here(flow), flow, "count") == 3
    assert notes.lines == ["count"]


def test_cache_for_and_a_checkpoint_may_meet_on_one_task(run_here, tmp_path, notes):
    @task(result=parquet(tmp_path, "both"), cache_for=datetime.timedelta(hours=1))
    def both():
        notes("ran")
        return frame_of(1)

    @task
    def after(frame):
        return len(frame)

    with Flow("cached") as flow:
        after(both())
    for _ in range(3):
        state = run_here(flow)
        assert result_of(state, flow, "after") == 3
        assert_frame_equal(result_of(state, flow, "both"), frame_of(1))
    assert notes.lines == ["ran"]


# In place, exceptions, running by itself


def test_an_observer_that_changes_the_values_it_sees_changes_nothing_downstream(
    run_here, tmp_path
):
    def spoil(task, old_state, new_state):
        if new_state.is_successful():
            new_state.result["value"].array[:] = -1.0
            new_state.result["id"] = -1

    @task(result=parquet(tmp_path, "source"), state_handlers=[spoil])
    def source():
        return frame_of(4)

    @task
    def after(frame):
        return frame

    with Flow("observer") as flow:
        after(source())
    state = run_here(flow)
    assert_frame_equal(result_of(state, flow, "after"), frame_of(4))
    assert_frame_equal(result_of(state, flow, "source"), frame_of(4))


@pytest.mark.parametrize("cache_bytes", [0, 2**27])
def test_a_task_that_reaches_below_copy_on_write_harms_no_sibling(
    run_here, tmp_path, cache_bytes
):
    """Where the arrays below a frame are writable at all."""

    @task(result=PandasResultHandler(f"{tmp_path}/source.csv", "csv"))
    def source():
        return frame_of(5)

    @task
    def spoil(frame, number):
        before = float(frame["value"].sum())
        with contextlib.suppress(ValueError):
            frame["value"].array[:] = -1.0
        return before

    with Flow("spoil") as flow:
        sums = spoil.map(unmapped(source()), [1, 2, 3])
    with set_temporary_config({"prefect_ds.cache_bytes": cache_bytes}):
        for _ in range(2):
            state = run_here(flow)
            assert state.result[sums].result == [frame_of(5)["value"].sum()] * 3
            assert_frame_equal(result_of(state, flow, "source"), frame_of(5))


def test_a_task_that_goes_on_changing_what_it_returned_changes_nothing_downstream(
    run_here, tmp_path
):
    held = {}

    @task(result=parquet(tmp_path, "source"))
    def source():
        held["frame"] = frame_of(4)
        held["array"] = held["frame"]["value"].array
        return held["frame"]

    @task
    def spoil():
        held["frame"].loc[:, "id"] = -1
        held["array"][:] = -1.0

    @task
    def after(frame):
        return frame

    with Flow("observer") as flow:
        frame = source()
        spoiled = spoil(upstream_tasks=[frame])
        after(frame, upstream_tasks=[spoiled])
    state = run_here(flow)
    assert_frame_equal(result_of(state, flow, "after"), frame_of(4))


def test_errors_of_the_task_and_of_the_template_reach_a_user_who_asks_for_exceptions(
    run_here, tmp_path
):
    @task(result=parquet(tmp_path, "{wrong}"))
    def template():
        return frame_of(1)

    @task(result=parquet(tmp_path, "fails"))
    def fails():
        raise ZeroDivisionError("mine")

    with Flow("template") as flow:
        template()
    with raise_on_exception(), pytest.raises(TemplateError, match="wrong"):
        run_here(flow)
    with Flow("fails") as flow:
        fails()
    with raise_on_exception(), pytest.raises(ZeroDivisionError, match="mine"):
        run_here(flow)


def test_the_runner_runs_a_task_by_itself(tmp_path, notes):
    @task(result=parquet(tmp_path, "alone"))
    def alone():
        notes("ran")
        return frame_of(1)

    for _ in range(2):
        state = DSTaskRunner(alone).run()
        assert type(state) is Success
        assert_frame_equal(state.result, frame_of(1))
    assert notes.lines == ["ran"]


def test_a_flow_that_a_task_runs_with_prefects_flow_runner_gives_frames(
    run_here, tmp_path
):
    @task(result=parquet(tmp_path, "inner"))
    def inner():
        return frame_of(6)

    with Flow("inner") as inner_flow:
        frame = inner()

    @task
    def outer():
        state = FlowRunner(inner_flow, task_runner_cls=DSTaskRunner).run(
            return_tasks=[frame]
        )
        return type(state.result[frame].result).__name__

    with Flow("outer") as flow:
        outer()
    assert result_of(run_here(flow), flow, "outer") == "DataFrame"


def test_the_checkpoint_handler_given_too_takes_part_once(
    run_here, tmp_path, notes, log_lines
):
    @task(result=Counting(f"{tmp_path}/once.parquet", "parquet", notes))
    def once():
        return frame_of(1)

    with Flow("once") as flow:
        once()
    run_here(flow, task_runner_state_handlers=[checkpoint_handler])
    assert notes.take() == ["write once.parquet"]
    log_lines.clear()
    run_here(flow, task_runner_state_handlers=[checkpoint_handler])
    assert sum("Loaded from the checkpoint" in line for line in log_lines) == 1


def test_a_damaged_input_fails_the_task_that_reads_it_and_the_next_run_computes_it(
    run_here, tmp_path, notes, no_cache
):
    @task(result=parquet(tmp_path, "source"))
    def source():
        notes("source")
        return frame_of(1)

    @task
    def after(frame):
        notes("after")
        return len(frame)

    with Flow("damaged") as flow:
        after(source())
    run_here(flow)
    notes.take()
    poison(tmp_path / "source.parquet")

    state = run_here(flow)
    assert notes.take() == []
    assert "DamagedCheckpointError" in state_of(state, flow, "after").message
    assert "set aside" in state_of(state, flow, "after").message

    state = run_here(flow)
    assert notes.take() == ["after", "source"]
    assert result_of(state, flow, "after") == 3


def test_an_unmapped_mapped_task_is_a_list_of_frames_in_each_child(run_here, tmp_path):
    @task(result=parquet(tmp_path, "source_{id}"))
    def source(id):
        return frame_of(id)

    @task
    def look(frames, frame, number):
        return type(frames).__name__, len(frames), type(frame).__name__, number

    with Flow("list") as flow:
        frames = source.map([1, 2])
        looks = look.map(unmapped(frames), frames, unmapped(3))
    state = run_here(flow)
    assert list(state.result[looks].result) == [("list", 2, "DataFrame", 3)] * 2


def test_a_failure_upstream_reaches_the_trigger_that_waits_for_it(
    run_here, tmp_path, notes
):
    @task(result=parquet(tmp_path, "fails"))
    def fails():
        raise ValueError("mine")

    @task(result=parquet(tmp_path, "alarm"), trigger=any_failed)
    def alarm(error):
        notes(repr(error))
        return frame_of(1)

    with Flow("alarm") as flow:
        alarm(fails())
    state = run_here(flow)
    assert notes.lines == ["ValueError('mine')"]
    assert state_of(state, flow, "alarm").is_successful()


def test_the_flows_parameters_are_not_copied_for_each_task(run_here, notes):
    class Listed(list):
        def __iter__(self):
            notes("walked over")
            return super().__iter__()

    @task
    def nothing(number):
        return None

    walked = []
    for n_children in (2, 20):
        with Flow("parameters") as flow:
            flow.add_task(Parameter("ids"))
            nothing.map(list(range(n_children)))
        assert run_here(flow, parameters={"ids": Listed([1, 2])}).is_successful()
        walked.append(len(notes.take()))
    assert walked[0] == walked[1]


def test_a_state_handler_may_look_at_the_runners_context(run_here, tmp_path):
    seen = []

    @task(result=parquet(tmp_path, "one"), state_handlers=[lambda task, old, new: None])
    def one():
        return frame_of(1)

    with Flow("context") as flow:
        one()
    state = run_here(
        flow,
        task_runner_state_handlers=[
            lambda runner, old, new: seen.append(runner.context)
        ],
    )
    assert state.is_successful()
    assert {each["task_name"] for each in seen} == {"one"}
