"""What the task runner promises in Prefect's engine: each construct gets the right value at the right time."""

import asyncio
import contextlib
import datetime
import errno
import gc
import os
import traceback
import weakref

import pandas as pd
import prefect
import pytest
from pandas.testing import assert_frame_equal
from prefect import Flow, Parameter, Task, case, flatten, unmapped
from prefect import task as prefect_task
from prefect.engine import signals
from prefect.engine.flow_runner import FlowRunner
from prefect.engine.results import LocalResult
from prefect.engine.state import Failed, Skipped, Success
from prefect.executors import LocalDaskExecutor
from prefect.tasks.control_flow import merge
from prefect.triggers import all_finished, any_failed
from prefect.utilities.configuration import set_temporary_config
from prefect.utilities.debug import raise_on_exception

from prefect_ds import DSTaskRunner, PandasResultHandler, task
from prefect_ds.checkpoint_handler import checkpoint_handler
from prefect_ds.checkpoints import memory_cache as cache
from prefect_ds.checkpoints.lazy_result import raw_value
from prefect_ds.checkpoints.reference import CheckpointReference
from prefect_ds.errors import TemplateError
from tests.support.flows import (
    Counting,
    Notes,
    data_files,
    frame_of,
    late,
    parquet,
    poison,
    result_of,
    state_of,
)

AT_ONCE = datetime.timedelta(0)


def reads(notes: Notes) -> list[str]:
    return [line for line in notes if line.startswith("read ")]


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


# Retries


def test_a_task_that_fails_once_is_retried_and_its_checkpoint_written(
    run_here, tmp_path, notes
):
    @task(result=parquet(tmp_path, "flaky"), max_retries=2, retry_delay=AT_ONCE)
    def flaky():
        notes("ran")
        if len(notes.lines) == 1:
            raise ValueError("the first time")
        return frame_of(1)

    with Flow("retry") as flow:
        flaky()
    state = run_here(flow)

    assert state.is_successful()
    assert notes.take() == ["ran", "ran"]
    assert_frame_equal(result_of(state, flow, "flaky"), frame_of(1))
    assert run_here(flow).is_successful()
    assert notes.take() == []


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_a_write_that_fails_once_is_tried_again_without_computing_again(
    run_here, tmp_path, notes, monkeypatch, number
):
    @task(result=parquet(tmp_path, "costly"))
    def costly():
        notes("ran")
        return frame_of(1)

    with Flow("write") as flow:
        costly()
    link, failures = os.link, [OSError(number, "now and then")]

    def falters(*args, **kwargs):
        if failures:
            raise failures.pop()
        return link(*args, **kwargs)

    monkeypatch.setattr("prefect_ds.storage.local_files.os.link", falters)
    state = run_here(flow)

    assert state.is_successful()
    assert failures == []
    assert notes.take() == ["ran"]
    assert data_files(tmp_path) == ["costly.parquet"]


def test_a_disk_that_is_full_fails_the_task_and_says_so(
    run_here, tmp_path, notes, monkeypatch
):
    @task(result=parquet(tmp_path, "costly"))
    def costly():
        return frame_of(1)

    with Flow("full") as flow:
        costly()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("prefect_ds.storage.local_files.os.link", full)
    state = run_here(flow)

    assert "No space left on device" in state_of(state, flow, "costly").message
    assert data_files(tmp_path) == []


def test_in_a_mapped_retry_the_siblings_are_neither_run_nor_read_nor_written(
    run_here, tmp_path, notes, no_cache
):
    @task(
        result=Counting(f"{tmp_path}/flaky_{{id}}.parquet", "parquet", notes),
        max_retries=1,
        retry_delay=AT_ONCE,
    )
    def flaky(id):
        notes(f"ran {id}")
        if id == 2 and notes.lines.count("ran 2") == 1:
            raise ValueError("the first time")
        return frame_of(id)

    with Flow("retry") as flow:
        flaky.map([1, 2, 3])
    state = run_here(flow)

    assert state.is_successful()
    written = [f"write flaky_{id}.parquet" for id in (1, 2, 3)]
    assert notes.take() == sorted(["ran 1", "ran 2", "ran 2", "ran 3", *written])
    assert [frame["id"][0] for frame in result_of(state, flow, "flaky")] == [1, 2, 3]


def test_a_mapped_retry_over_a_list_of_checkpoints_brings_none_to_the_client(
    run_here, tmp_path, notes, no_cache
):
    """Prefect keeps what was mapped over for the second round, in the state of the mapped parent."""
    handler = Counting(f"{tmp_path}/source_{{id}}.parquet", "parquet", notes)

    @task(result=handler)
    def source(id):
        return frame_of(id)

    @task(max_retries=1, retry_delay=AT_ONCE)
    def flaky(frame):
        notes(f"ran {frame['id'][0]}")
        if notes.lines.count("ran 2") == 1:
            raise ValueError("the first time")
        return int(frame["id"][0])

    with Flow("retry") as flow:
        mapped = flaky.map([source(1), source(2)])
    state = run_here(flow)

    assert state.result[mapped].result == [1, 2]
    assert reads(notes) == [
        "read source_1.parquet",
        "read source_2.parquet",
        "read source_2.parquet",
    ]


def test_a_retry_waits_for_its_upstream_and_reads_it_again(run_here, tmp_path, notes):
    @task(result=parquet(tmp_path, "source"))
    def source():
        return frame_of(4)

    @task(max_retries=1, retry_delay=AT_ONCE)
    def flaky(frame):
        notes(f"ran {frame['id'][0]}")
        if len(notes.lines) == 1:
            raise ValueError("the first time")
        return len(frame)

    with Flow("retry") as flow:
        flaky(source())
    state = run_here(flow)

    assert result_of(state, flow, "flaky") == 3
    assert notes.lines == ["ran 4", "ran 4"]


# Triggers and skips


def test_a_trigger_sees_frames_in_the_upstream_states(run_here, tmp_path):
    def all_have_rows(upstream_states):
        return all(len(state.result) == 3 for state in upstream_states.values())

    def mapped_have_rows(upstream_states):
        (state,) = upstream_states.values()
        assert [len(child.result) for child in state.map_states] == [3, 3]
        return [frame["id"][0] for frame in state.result] == [1, 2]

    @task(result=parquet(tmp_path, "source_{id}"))
    def source(id):
        return frame_of(id)

    @task(trigger=all_have_rows)
    def after(frame):
        return len(frame)

    @task(trigger=mapped_have_rows)
    def after_all(frames):
        return len(frames)

    with Flow("trigger") as flow:
        after(source(9))
        after_all(source.map([1, 2], task_args={"name": "sources"}))
    for _ in range(2):
        state = run_here(flow)
        assert result_of(state, flow, "after") == 3
        assert result_of(state, flow, "after_all") == 2


def test_a_trigger_that_fails_wins_over_a_checkpoint(run_here, tmp_path, notes):
    @task
    def fails(wanted):
        if wanted:
            raise ValueError("broken")

    @task(result=parquet(tmp_path, "kept"))
    def kept():
        return frame_of(1)

    with Flow("trigger") as flow:
        wanted = Parameter("wanted")
        kept(upstream_tasks=[fails(wanted)])
    assert run_here(flow, wanted=False).is_successful()

    state = run_here(flow, wanted=True)

    assert type(state_of(state, flow, "kept")).__name__ == "TriggerFailed"


def test_what_ran_on_a_failed_input_is_not_taken_for_the_result_of_a_good_one(
    run_here, tmp_path, notes
):
    @task
    def source(fails):
        if fails:
            raise ValueError("broken")
        return 7

    @task(result=parquet(tmp_path, "kept"), trigger=all_finished)
    def kept(value):
        notes(f"kept {value!r}")
        return frame_of(value if isinstance(value, int) else 0)

    with Flow("failed input") as flow:
        kept(source(Parameter("fails")))
    run_here(flow, fails=True)
    state = run_here(flow, fails=False)

    assert notes.lines == ["kept 7", "kept ValueError('broken')"]
    assert result_of(state, flow, "kept")["id"][0] == 7


def test_an_upstream_that_skips_skips_a_task_that_has_a_checkpoint(run_here, tmp_path):
    @task
    def maybe(skip):
        if skip:
            raise signals.SKIP("not today")

    @task(result=parquet(tmp_path, "kept"))
    def kept():
        return frame_of(1)

    with Flow("skip") as flow:
        kept(upstream_tasks=[maybe(Parameter("skip"))])
    run_here(flow, skip=False)
    state = run_here(flow, skip=True)

    assert type(state_of(state, flow, "kept")) is Skipped


# Signals


def test_success_with_a_frame_is_checkpointed_and_success_without_is_not(
    run_here, tmp_path, notes
):
    @task(result=parquet(tmp_path, "with"))
    def with_result():
        notes("with")
        raise signals.SUCCESS(result=frame_of(1))

    @task(result=parquet(tmp_path, "without"))
    def without_result():
        notes("without")
        raise signals.SUCCESS("enough")

    with Flow("signals") as flow:
        with_result()
        without_result()
    state = run_here(flow)

    assert state.is_successful()
    assert_frame_equal(result_of(state, flow, "with_result"), frame_of(1))
    assert "None" not in state_of(state, flow, "with_result").message
    assert data_files(tmp_path) == ["with.parquet"]
    assert "enough" in state_of(state, flow, "without_result").message
    assert (
        "No checkpoint was written" in state_of(state, flow, "without_result").message
    )
    notes.take()
    assert run_here(flow).is_successful()
    assert notes.take() == ["without"]


def test_skip_and_fail_signals_write_nothing(run_here, tmp_path):
    @task(result=parquet(tmp_path, "{kind}"))
    def signalling(kind):
        raise getattr(signals, kind)(kind, result=frame_of(1))

    with Flow("signals") as flow:
        signalling.map(["SKIP", "FAIL"])
    state = run_here(flow)

    assert [type(each) for each in state_of(state, flow, "signalling").map_states] == [
        Skipped,
        Failed,
    ]
    assert data_files(tmp_path) == []


# LOOP


def loop_flow(folder, notes, fails_at=None, handler=None, **options):
    """Three turns, each on a frame; the last one's is the result."""
    import prefect

    @task(
        name="loop",
        result=handler or Counting(f"{folder}/loop.parquet", "parquet", notes),
        **options,
    )
    def loop(start):
        count = prefect.context.get("task_loop_count", 1)
        notes(f"turn {count}")
        if count == fails_at and notes.lines.count(f"turn {count}") == 1:
            raise ValueError("the first time")
        before = prefect.context.get("task_loop_result")
        frame = (
            frame_of(start)
            if before is None
            else before.assign(value=before["value"] + 1)
        )
        if count < 3:
            raise signals.LOOP(result=frame)
        return frame

    with Flow("loop") as flow:
        loop(5)
    return flow


LOOPED = frame_of(5).assign(value=lambda frame: frame["value"] + 2)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_loop_keeps_the_last_turn_only_and_a_resume_loads_it(
    run_here, tmp_path, notes, checkpointing
):
    flow = loop_flow(tmp_path, notes)
    with set_temporary_config({"flows.checkpointing": checkpointing}):
        state = run_here(flow)
        assert notes.take() == ["turn 1", "turn 2", "turn 3", "write loop.parquet"]
        assert_frame_equal(result_of(state, flow, "loop"), LOOPED)
        state = run_here(flow)
    assert [line for line in notes.take() if not line.startswith("read")] == []
    assert_frame_equal(result_of(state, flow, "loop"), LOOPED)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_loop_that_fails_in_a_turn_goes_on_from_it(
    run_here, tmp_path, notes, checkpointing
):
    flow = loop_flow(tmp_path, notes, fails_at=2, max_retries=1, retry_delay=AT_ONCE)
    with set_temporary_config({"flows.checkpointing": checkpointing}):
        state = run_here(flow)

    assert state.is_successful()
    assert notes.lines == ["turn 1", "turn 2", "turn 2", "turn 3", "write loop.parquet"]
    assert_frame_equal(result_of(state, flow, "loop"), LOOPED)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_value_of_a_loop_that_was_given_up_is_no_checkpoint(
    run_here, tmp_path, notes, checkpointing
):
    """Prefect itself writes a loop's value between two tries."""
    import prefect

    @task(
        name="loop",
        result=parquet(tmp_path, "loop"),
        max_retries=1,
        retry_delay=AT_ONCE,
    )
    def loop():
        count = prefect.context.get("task_loop_count", 1)
        notes(f"turn {count}")
        if count < 2:
            raise signals.LOOP(result=frame_of(count))
        if len(notes.lines) < 4:
            raise ValueError("as long as this flow runs")
        return frame_of(100)

    with Flow("loop") as flow:
        loop()
    with set_temporary_config({"flows.checkpointing": checkpointing}):
        assert run_here(flow).is_failed()
        assert data_files(tmp_path) == []
        state = run_here(flow)

    assert state.is_successful()
    assert result_of(state, flow, "loop")["id"][0] == 100


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_loop_whose_turns_pass_on_something_else_than_a_frame_is_retried(
    run_here, tmp_path, notes, checkpointing
):
    import prefect

    @task(
        name="loop",
        result=parquet(tmp_path, "loop"),
        max_retries=1,
        retry_delay=AT_ONCE,
    )
    def loop():
        done = prefect.context.get("task_loop_result", [])
        notes(f"done {done}")
        if done == [0, 1] and notes.lines.count("done [0, 1]") == 1:
            raise ValueError("the first time")
        if len(done) < 3:
            raise signals.LOOP(result=done + [len(done)])
        return frame_of(len(done))

    with Flow("loop") as flow:
        loop()
    with set_temporary_config({"flows.checkpointing": checkpointing}):
        state = run_here(flow)

    assert state.is_successful(), state_of(state, flow, "loop").message
    assert result_of(state, flow, "loop")["id"][0] == 3


def test_mapped_loops_each_keep_their_own_last_turn(run_here, tmp_path, notes):
    import prefect

    @task(result=parquet(tmp_path, "loop_{id}"))
    def loop(id):
        count = prefect.context.get("task_loop_count", 1)
        if count < id:
            raise signals.LOOP(result=frame_of(count))
        return frame_of(count * 10)

    with Flow("loops") as flow:
        loop.map([1, 2, 3])
    for _ in range(2):
        state = run_here(flow)
        assert [frame["id"][0] for frame in result_of(state, flow, "loop")] == [
            10,
            20,
            30,
        ]


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


# How tasks are wired


def test_what_prefect_collects_is_not_read_to_be_collected(
    run_here, tmp_path, notes, no_cache
):
    @task(result=Counting(f"{tmp_path}/source_{{id}}.parquet", "parquet", notes))
    def source(id):
        return frame_of(id)

    @task
    def take(collected):
        return type(collected).__name__

    with Flow("collect") as flow:
        one, two = source(1), source(2)
        listed = [one, two]
        deep = take({"a": [one, (two, listed)]})
    state = run_here(flow)

    assert state.result[deep].result == "dict"
    assert reads(notes) == ["read source_1.parquet", "read source_2.parquet"]


def test_mapping_over_a_list_of_checkpoints_reads_each_once(
    run_here, tmp_path, notes, no_cache
):
    @task(result=Counting(f"{tmp_path}/source_{{id}}.parquet", "parquet", notes))
    def source(id):
        return frame_of(id)

    @task
    def each(frame):
        return int(frame["id"][0])

    with Flow("map") as flow:
        mapped = each.map([source(1), source(2)])
    state = run_here(flow)

    assert state.result[mapped].result == [1, 2]
    assert reads(notes) == ["read source_1.parquet", "read source_2.parquet"]


def test_an_item_of_a_mapped_task_reads_that_item_only(
    run_here, tmp_path, notes, no_cache
):
    @task(result=Counting(f"{tmp_path}/source_{{id}}.parquet", "parquet", notes))
    def source(id):
        return frame_of(id)

    @task
    def take(frame):
        return int(frame["id"][0])

    with Flow("item") as flow:
        taken = take(source.map([1, 2, 3])[1])
    state = run_here(flow)

    assert state.result[taken].result == 2
    assert reads(notes) == ["read source_2.parquet"]


def test_a_column_of_a_checkpoint_is_no_checkpoint(run_here, tmp_path):
    @task(result=parquet(tmp_path, "source_{id}"))
    def source(id):
        return frame_of(id)

    with Flow("column") as flow:
        column = source(1)["value"]
    state = run_here(flow)

    assert state.is_successful()
    assert list(state.result[column].result) == list(frame_of(1)["value"])
    assert data_files(tmp_path) == ["source_1.parquet"]


def test_a_merge_passes_the_checkpoint_on(run_here, tmp_path, notes):
    @task(result=Counting(f"{tmp_path}/{{name}}.parquet", "parquet", notes))
    def source(name):
        return frame_of(1)

    @task
    def which():
        return True

    with Flow("merge") as flow:
        condition = which()
        with case(condition, True):
            left = source("left")
        with case(condition, False):
            right = source("right")
        merged = merge(left, right)
    state = run_here(flow)

    assert_frame_equal(state.result[merged].result, frame_of(1))
    assert isinstance(raw_value(state.result[merged]), CheckpointReference)


def test_flatten_takes_lists_of_checkpoints_apart(run_here, tmp_path):
    @task(result=parquet(tmp_path, "source_{id}"))
    def source(id):
        return frame_of(id)

    @task
    def each(frame):
        return int(frame["id"][0])

    with Flow("flatten") as flow:
        one = source(1)
        nested = each.map(flatten([[one, source(2)], [source(3)]]))
    state = run_here(flow)

    assert state.result[nested].result == [1, 2, 3]


def test_a_task_class_is_checkpointed_as_a_function_is(run_here, tmp_path, notes):
    class Download(Task):
        def __init__(self, factor, **options):
            self.factor = factor
            super().__init__(**options)

        def run(self, id):
            notes(f"ran {id}")
            return frame_of(id * self.factor)

    download = Download(10, name="download", result=parquet(tmp_path, "download_{id}"))
    with Flow("class") as flow:
        download.map([1, 2])
    for _ in range(2):
        assert [
            frame["id"][0] for frame in result_of(run_here(flow), flow, "download")
        ] == [10, 20]
    assert notes.lines == ["ran 1", "ran 2"]


def test_parameters_context_and_inputs_fill_the_template_later_ones_winning(
    run_here, tmp_path
):
    @task(
        result=parquet(
            tmp_path,
            "{flow_name}_{region}_{params[lr]}_{day:%Y%m%d}_{task_name}_{id:03d}",
        )
    )
    def fit(id, params, day):
        return frame_of(id)

    with Flow("training") as flow:
        flow.add_task(Parameter("region", default="north"))
        flow.add_task(Parameter("id", default=99))
        fit(7, {"lr": 0.5}, datetime.date(2024, 2, 29))
    assert run_here(flow, region="south").is_successful()
    assert data_files(tmp_path) == ["training_south_0.5_20240229_fit_007.parquet"]


def test_a_child_may_be_named_by_its_run_name(run_here, tmp_path, notes):
    names = []

    @task(
        result=parquet(tmp_path, "{task_run_name}"),
        task_run_name="run {id} of {flow_name}",
    )
    def by_template(id):
        return frame_of(id)

    @task(
        result=parquet(tmp_path, "{task_run_name}"),
        task_run_name=lambda **values: f"made {values['id'] * 2}",
    )
    def by_function(id):
        return frame_of(id)

    with Flow("names") as flow:
        by_template.map([1, 2])
        by_function.map([1, 2])
    assert run_here(flow).is_successful()
    names = data_files(tmp_path)

    assert len(names) == 4
    assert sum("made" in name for name in names) == 2


def test_a_run_name_that_looks_at_a_frame_sees_it_and_another_reads_nothing(
    run_here, tmp_path, notes, no_cache
):
    import prefect

    @task(result=Counting(f"{tmp_path}/source.parquet", "parquet", notes))
    def source():
        return frame_of(4)

    @task(result=parquet(tmp_path, "looks"), task_run_name="id {frame.shape[0]}")
    def looks(frame):
        notes(f"name {prefect.context.task_run_name}")
        return frame

    @task(result=parquet(tmp_path, "looks_not"), task_run_name="flow {flow_name}")
    def looks_not(frame):
        notes(f"name {prefect.context.task_run_name}")
        return frame

    with Flow("names") as flow:
        frame = source()
        looks(frame)
        looks_not(frame)
    run_here(flow)
    assert [line for line in notes.take() if line.startswith("name")] == [
        "name flow names",
        "name id 3",
    ]
    run_here(flow)
    assert reads(notes) == ["read source.parquet"], (
        "the name of one needs the frame, the other's does not"
    )


def test_upstream_only_edges_pass_no_data(run_here, tmp_path, notes, no_cache):
    @task(result=Counting(f"{tmp_path}/first.parquet", "parquet", notes))
    def first():
        return frame_of(1)

    @task
    def second():
        return 2

    with Flow("edges") as flow:
        second(upstream_tasks=[first()])
    run_here(flow)
    assert notes.take() == ["write first.parquet"]


def test_a_template_that_names_a_plain_input_does_not_read_the_heavy_one(
    run_here, tmp_path, notes, no_cache
):
    @task(result=Counting(f"{tmp_path}/source.parquet", "parquet", notes))
    def source():
        return frame_of(1)

    @task(result=parquet(tmp_path, "step_{name}"))
    def step(frame, name):
        return frame

    with Flow("template") as flow:
        step(source(), "x")
    run_here(flow)
    notes.take()
    run_here(flow)
    assert notes.take() == []


@pytest.mark.parametrize(
    "executor",
    [None, LocalDaskExecutor("threads", num_workers=4)],
    ids=["local", "threads"],
)
def test_tasks_that_share_a_handler_keep_their_own_targets(
    run_here, tmp_path, executor
):
    """Prefect writes a task's target into the result object that the tasks share."""
    shared = PandasResultHandler(None, "parquet")

    def make(number):
        @task(
            name=f"task {number}",
            result=shared,
            target=f"{tmp_path}/target_{number}.parquet",
        )
        def each():
            return frame_of(number)

        return each

    with Flow("targets") as flow:
        for number in range(12):
            make(number)()
    for _ in range(2):
        state = run_here(flow, **({"executor": executor} if executor else {}))
        assert state.is_successful(), {
            each.message for each in state.result.values() if each.is_failed()
        }
        for number in range(12):
            assert result_of(state, flow, f"task {number}")["id"][0] == number
            assert (
                pd.read_parquet(tmp_path / f"target_{number}.parquet")["id"][0]
                == number
            )


def test_a_list_that_holds_itself_passes_as_in_prefect(run_here):
    @task
    def endless():
        endless = [1]
        endless.append(endless)
        return endless

    @task
    def first(values):
        return values[0]

    with Flow("endless") as flow:
        first(endless())
    assert result_of(run_here(flow), flow, "first") == 1


# Templates


@pytest.mark.parametrize(
    ("template", "field"),
    [
        ("{nowhere}", "nowhere"),
        ("{frame}", "frame"),
        ("{id:%Y}", "id"),
        ("{values}", "values"),
        ("{absent}", "absent"),
    ],
)
def test_a_template_that_cannot_be_filled_ends_the_task_before_it_runs(
    run_here, tmp_path, notes, template, field
):
    @task(name="source")
    def source():
        return frame_of(1)

    @task(
        name="writer",
        result=parquet(tmp_path, f"out_{template}"),
        max_retries=3,
        retry_delay=AT_ONCE,
    )
    def writer(frame, id, values, absent=None):
        notes("ran")
        return frame

    with Flow("template") as flow:
        writer(source(), 1, [1, 2], None)
    state = run_here(flow)
    message = state_of(state, flow, "writer").message

    assert state_of(state, flow, "writer").is_failed()
    assert notes.lines == []
    assert "TemplateError" in message
    assert field in message
    assert f"out_{template}" in message
    assert "'writer'" in message


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


# Reading once


@pytest.fixture
def source(tmp_path, notes):
    @task(result=Counting(f"{tmp_path}/source_{{id}}.parquet", "parquet", notes))
    def source(id):
        return frame_of(id)

    return source


def _takes_it_twice(source):
    @task
    def twice(one, other, both):
        return one is other is both[0]

    frame = source(1)
    return twice(frame, frame, [frame, frame])


def _loops(source):
    @task
    def loops(frame):
        turn = prefect.context.get("task_loop_count", 1)
        if turn < 4:
            raise signals.LOOP(result=turn)
        return len(frame) == 3

    return loops(source(1))


def _looks_at_all_in_its_trigger(source):
    def looks(upstream):
        return all(
            len(each.result[0]) == len(each.map_states[0].result)
            for each in upstream.values()
        )

    @task(trigger=looks)
    def takes(frames):
        return len(frames) == 1

    return takes(source.map([1]))


@pytest.mark.parametrize(
    "make", [_takes_it_twice, _loops, _looks_at_all_in_its_trigger]
)
def test_one_task_reads_one_checkpoint_once(run_here, source, notes, no_cache, make):
    with Flow("once") as flow:
        answer = make(source)
    for _ in range(2):
        state = run_here(flow)
        assert state.result[answer].result is True
        assert reads(notes) == ["read source_1.parquet"]
        notes.take()


# What Prefect itself keeps or hands on


def test_a_checkpoint_that_was_removed_is_computed_again_whatever_cache_for_remembers(
    run, tmp_path, notes
):
    @task(result=parquet(tmp_path, "cached"), cache_for=datetime.timedelta(hours=1))
    def cached():
        notes("ran")
        return frame_of(1)

    @task
    def rows(frame):
        return len(frame)

    with Flow("cached") as flow:
        answer = rows(cached())
    for expected in (["ran"], []):
        assert run(flow).result[answer].result == 3
        assert notes.take() == expected
    (tmp_path / "cached.parquet").unlink()
    assert run(flow).result[answer].result == 3
    assert notes.take() == ["ran"]


def test_states_that_prefect_remembers_are_submitted_without_a_read(
    run, tmp_path, notes, no_cache
):
    @task(
        result=Counting(f"{tmp_path}/cached.parquet", "parquet", notes),
        cache_for=datetime.timedelta(hours=1),
    )
    def cached():
        return frame_of(1)

    @task
    def number(n):
        return n

    with Flow("cached and others") as flow:
        cached()
        numbers = number.map([1, 2, 3])
    for _ in range(3):
        assert run(flow).result[numbers].result == [1, 2, 3]
    assert reads(notes) == []


def test_a_merge_with_a_handler_of_its_own_keeps_what_it_is_given(
    run, tmp_path, source
):
    with Flow("merge") as flow:
        merged = merge(source(1), source(2), checkpoint=True)
        merged.result = PandasResultHandler(f"{tmp_path}/merged.csv", "csv")
    for message in ("Ran because there was nothing yet", "Loaded from the checkpoint"):
        state = run(flow)
        assert_frame_equal(state.result[merged].result, frame_of(1))
        assert message in state.result[merged].message
    assert pd.read_csv(tmp_path / "merged.csv")["id"].tolist() == [1, 1, 1]


def test_the_flows_handler_does_not_keep_what_a_merge_passes_on(
    run_here, tmp_path, source
):
    seen = []

    def look(task, old, new):
        if new.is_successful():
            seen.append(type(new.result))

    with Flow(
        "merge", result=PandasResultHandler(f"{tmp_path}/{{task_slug}}.csv", "csv")
    ) as flow:
        merged = merge(source(1), source(2))
        merged.state_handlers.append(look)
    state = run_here(flow)
    assert_frame_equal(state.result[merged].result, frame_of(1))
    assert seen == [pd.DataFrame]
    assert list(tmp_path.glob("*.csv")) == []


def test_prefects_results_hold_no_references(run_here, tmp_path, source):
    @task(checkpoint=False)
    def rows(frames):
        return sum(map(len, frames))

    folder = tmp_path / "prefect"
    with Flow(
        "local results", result=LocalResult(dir=str(folder), location="{task_slug}.pkl")
    ) as flow:
        frames = [source(1), merge(source(2), source(3))]
        answer = rows(frames)
    with set_temporary_config({"flows.checkpointing": True}):
        state = run_here(flow)
    assert state.result[answer].result == 6
    assert not [
        path
        for path in folder.rglob("*")
        if path.is_file() and b"CheckpointReference" in path.read_bytes()
    ]


def test_a_merge_with_a_result_of_prefects_writes_the_data(run_here, tmp_path, source):
    with Flow("merge") as flow:
        merged = merge(source(1), source(2))
        merged.result = LocalResult(dir=str(tmp_path), location="merged.pkl")
    with set_temporary_config({"flows.checkpointing": True}):
        run_here(flow)
    assert_frame_equal(
        LocalResult(dir=str(tmp_path)).read("merged.pkl").value, frame_of(1)
    )


def test_a_failed_task_does_not_hold_its_inputs(run_here, source):
    alive = []

    @prefect_task
    def fails(frame):
        alive.append(weakref.ref(frame))
        raise ValueError(f"{len(frame)} rows")

    with Flow("fails") as flow:
        failed = fails.map(source.map([1, 2]))
    state = run_here(flow)
    gc.collect()
    assert [str(child.result) for child in state.result[failed].map_states] == [
        "3 rows",
        "3 rows",
    ]
    assert [ref() for ref in alive] == [None, None]
    assert "in fails" in "".join(
        traceback.format_exception(state.result[failed].map_states[0].result)
    )


def test_what_caught_a_failed_tasks_error_goes_on(run_here):
    """An error that an event loop's coroutine caught has that coroutine's frame in its traceback."""
    errors, going_on = [], asyncio.Event()

    async def catches():
        try:
            raise ValueError("caught")
        except ValueError as error:
            errors.append(error)
        await going_on.wait()
        return "went on"

    @prefect_task
    def fails():
        raise errors[0]

    async def main():
        waiting = asyncio.create_task(catches())
        await asyncio.sleep(0)
        with Flow("fails") as flow:
            fails()
        state = await asyncio.to_thread(run_here, flow)
        going_on.set()
        return state, await asyncio.wait_for(waiting, 300)

    state, answer = asyncio.run(main())
    assert state.is_failed()
    assert answer == "went on"


@pytest.mark.parametrize("setting", ["128MB", -1, None])
def test_a_cache_of_no_size_is_an_error_that_names_the_setting(
    run_here, source, setting
):
    with Flow("setting") as flow:
        source(1)
    with (
        set_temporary_config({"prefect_ds.cache_bytes": setting}),
        pytest.raises(ValueError, match=r"prefect_ds\.cache_bytes is"),
    ):
        run_here(flow)


def test_the_callers_process_bounds_its_cache_as_the_workers_do(run, source):
    with Flow("setting") as flow:
        source(1)
    with set_temporary_config({"prefect_ds.cache_bytes": 12345}):
        run(flow)
    assert cache._kept.n == 12345
