"""Retries, triggers, signals and loops of tasks with checkpoints."""

import errno
import os

import prefect
import pytest
from pandas.testing import assert_frame_equal
from prefect import Flow, Parameter, flatten, unmapped
from prefect.engine import signals
from prefect.engine.state import Failed, Skipped
from prefect.triggers import all_finished
from prefect.utilities.configuration import set_temporary_config

from prefect_ds import task
from tests.support.flows import (
    AT_ONCE,
    Counting,
    data_files,
    frame_of,
    parquet,
    reads,
    result_of,
    state_of,
)

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


def test_flatten_waits_for_the_children_that_are_retried(run, tmp_path, notes):
    @task(result=parquet(tmp_path, "frame_{x}"), max_retries=1, retry_delay=AT_ONCE)
    def frame(x):
        notes(f"frame {x}")
        if prefect.context.task_run_count == 1:
            raise ValueError("the first time")
        return frame_of(x)

    @task
    def cells(frame):
        (x,) = set(frame["id"])
        return [f"{x}a", f"{x}b"]

    @task
    def prefix():
        return "of "

    @task
    def shown(prefix, cell):
        notes(cell)
        return prefix + cell

    @task
    def joined(cells):
        return "".join(cells)

    with Flow("flatten") as flow:
        of_each = cells.map(frame.map([1, 2, 3]))
        of_all = shown.map(unmapped(prefix()), flatten(of_each))
        together = joined(of_all)
    all_cells = ["1a", "1b", "2a", "2b", "3a", "3b"]
    words = [f"of {cell}" for cell in all_cells]
    state = run(flow)
    assert state.result[of_all].result == words
    notes.take()

    # The third child loads, so that it is there a round before the others.
    for x in (1, 2):
        os.remove(tmp_path / f"frame_{x}.parquet")
    # Nothing that the children take later is let go in between.
    state = run(flow, keep_results=[])
    assert state.result[together].result == "".join(words)
    ran = ["frame 1", "frame 1", "frame 2", "frame 2"]
    assert sorted(notes.take()) == [*all_cells, *ran]


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
