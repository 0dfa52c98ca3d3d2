"""The user's line on every executor: run, resume, lose a file, be killed."""

import pickle

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from prefect import Flow, flatten, unmapped
from prefect.engine import signals

from prefect_ds import task
from prefect_ds.checkpoints.lazy_result import LazySequence
from tests.support.flows import (
    ALL_RAN,
    Enclosed,
    data_files,
    expected_total,
    frame_of,
    parquet,
    pipeline,
    poison,
    result_of,
    state_of,
)

FILES = [
    f"{stage}_{number}.parquet"
    for stage, first in (("clean", 0), ("download", 1))
    for number in range(first, first + 3)
]


def test_a_run_a_full_resume_and_a_resume_with_one_file_gone(run, tmp_path, notes):
    flow = pipeline(tmp_path, notes)

    state = run(flow)
    assert state.is_successful()
    assert notes.take() == ALL_RAN
    assert data_files(tmp_path) == sorted([*FILES, "total.csv"])
    assert_frame_equal(result_of(state, flow, "total"), expected_total())
    assert_frame_equal(result_of(state, flow, "download")[2], frame_of(3))

    state = run(flow)
    assert state.is_successful()
    assert notes.take() == []
    assert_frame_equal(result_of(state, flow, "total"), expected_total())
    assert_frame_equal(
        result_of(state, flow, "clean")[1],
        frame_of(2).assign(value=lambda frame: frame["value"] * 2.0),
    )
    assert result_of(state, flow, "largest") == expected_total()["value"].max()

    (tmp_path / "download_2.parquet").unlink()
    state = run(flow)
    assert state.is_successful()
    assert notes.take() == ["download 2"], (
        "what depends on it is unchanged, as the content is"
    )


def test_a_run_whose_process_dies_in_the_third_child_is_resumed_where_it_was(
    run, tmp_path, notes, in_child_process
):
    died = in_child_process(
        "import os\n"
        "from prefect.executors import LocalExecutor\n"
        "from prefect_ds import DSTaskRunner\n"
        "from tests.support.flows import Notes, pipeline\n"
        "os.environ['CRASH_AT'] = '3'\n"
        f"flow = pipeline({str(tmp_path)!r}, Notes({notes.path!r}))\n"
        "flow.run(executor=LocalExecutor(), task_runner_cls=DSTaskRunner)\n"
    )
    assert died.returncode == 9, died.stderr
    finished = notes.take()
    assert finished == [
        "clean 1",
        "clean 2",
        "download 1",
        "download 2",
    ] or finished == ["download 1", "download 2"]

    flow = pipeline(tmp_path, notes)
    state = run(flow)

    assert state.is_successful()
    assert notes.take() == sorted(set(ALL_RAN) - set(finished))
    assert_frame_equal(result_of(state, flow, "total"), expected_total())


def test_a_full_hit_reads_no_data(run, tmp_path, notes, no_cache):
    @task(result=parquet(tmp_path, "source_{id}"))
    def source(id):
        return frame_of(id)

    @task(result=parquet(tmp_path, "step_{map_index}"))
    def step(frame):
        return frame

    @task(result=parquet(tmp_path, "reduced"))
    def reduced(frames, pair, named, column):
        return pd.concat(frames)

    with Flow("hit") as flow:
        sources = source.map([1, 2])
        steps = step.map(sources)
        listed = step.map(
            [source(3), source(4)],
            task_args={
                "name": "listed",
                "result": parquet(tmp_path, "listed_{map_index}"),
            },
        )
        reduced(steps, (sources, listed), {"first": steps}, steps[0])
    assert run(flow).is_successful()

    for each in tmp_path.glob("*.parquet"):
        poison(each)
    state = run(flow)

    assert state.is_successful()
    # Poisoned files prove it: what is read now is found damaged.
    with pytest.raises(Exception, match="is damaged"):
        _ = result_of(state, flow, "reduced")


def test_what_a_task_encloses_is_digested_once_a_run_and_by_the_client(
    run, run_here, tmp_path, notes
):
    def flow_with(says):
        enclosed = Enclosed(notes, says)

        @task(result=parquet(tmp_path, "source_{id}", match="code"))
        def source(id):
            notes(f"{enclosed.says} {id}")
            return frame_of(id)

        with Flow("encloses") as flow:
            source.map([1, 2, 3])
        return flow

    assert run(flow_with("one")).is_successful()
    assert notes.take() == ["digested", "one 1", "one 2", "one 3"]
    for again in (run, run_here):
        assert again(flow_with("one")).is_successful()
        assert notes.take() == ["digested"]
    assert run(flow_with("two")).is_successful()
    assert notes.take() == ["digested", "two 1", "two 2", "two 3"]


def test_a_partial_resume_reads_exactly_the_inputs_of_what_runs(
    run, tmp_path, notes, no_cache
):
    flow = pipeline(tmp_path, notes)
    run(flow)
    notes.take()
    (tmp_path / "clean_1.parquet").unlink()
    for each in ("download_1", "download_3", "clean_0", "clean_2"):
        poison(tmp_path / f"{each}.parquet")

    state = run(flow)

    assert state.is_successful()
    assert notes.take() == ["clean 2"]


def test_only_the_failed_child_runs_again_and_its_siblings_are_not_read(
    run, tmp_path, notes, no_cache
):
    @task(
        result=parquet(tmp_path, "flaky_{id}"),
        max_retries=1,
        retry_delay=pd.Timedelta(0).to_pytimedelta(),
    )
    def flaky(id):
        notes(f"flaky {id}")
        if id == 2 and notes.lines.count("flaky 2") == 1:
            raise ValueError("the first time")
        if (
            id == 2
        ):  # The others are done, and so is what follows them: from here on nobody may read them.
            poison(f"{tmp_path}/flaky_1.parquet")
            poison(f"{tmp_path}/flaky_3.parquet")
        return frame_of(id)

    @task(result=parquet(tmp_path, "after_{map_index}"))
    def after(frame):
        notes(f"after {frame['id'].iloc[0]}")
        return frame

    with Flow("retry") as flow:
        after.map(flaky.map([1, 2, 3]))
    state = run(flow)

    assert state.is_successful()
    assert notes.lines == [
        "after 1",
        "after 2",
        "after 3",
        "flaky 1",
        "flaky 2",
        "flaky 2",
        "flaky 3",
    ]
    assert [frame["id"].iloc[0] for frame in result_of(state, flow, "after")] == [
        1,
        2,
        3,
    ]


def test_each_task_gets_the_right_values_however_they_are_wired(run, tmp_path, notes):
    @task(result=parquet(tmp_path, "source_{id}"))
    def source(id):
        return frame_of(id)

    @task(result=parquet(tmp_path, "step_{map_index}_{shift}"))
    def step(frame, shift):
        return frame.assign(id=frame["id"] + shift)

    @task(result=parquet(tmp_path, "both_{map_index}"))
    def both(left, right):
        return pd.concat([left, right])

    @task
    def ids(value):
        if isinstance(value, pd.DataFrame):
            return sorted(set(value["id"]))
        if isinstance(value, pd.Series):
            return sorted(set(value))
        if isinstance(value, dict):
            return {key: ids.run(each) for key, each in value.items()}
        return [ids.run(each) for each in value]

    @task(nout=2)
    def two(frame):
        return frame, frame.assign(id=-frame["id"])

    @task
    def pair(number):
        return [number, number * 10]

    with Flow("wires") as flow:
        sources = source.map([1, 2])
        steps = step.map(sources, unmapped(10))
        nested = step.map(steps, unmapped(100), task_args={"name": "nested"})
        one = source(7)
        first, negative = two(one)
        looks = {
            "reduce": ids(nested),
            "list": ids([one, steps]),
            "tuple": ids((one, sources)),
            "dict": ids({"a": one, "b": sources}),
            "item of frames": ids(sources[1]),
            "column": ids(one["id"]),
            "item of list": ids([one, one][0]),
            "nout": ids([first, negative]),
            "two mapped": ids(both.map(sources, steps)),
            "unmapped frame": ids.map(sources, task_args={"name": "each"}),
            "flatten": ids(
                source.map(flatten(pair.map([3, 4])), task_args={"name": "flattened"})
            ),
            "map over a list of tasks": ids(
                step.map(
                    [one, sources[0]], unmapped(1000), task_args={"name": "listed"}
                )
            ),
        }
        checked = both.map(
            sources,
            unmapped(one),
            task_args={
                "name": "with one",
                "result": parquet(tmp_path, "with_one_{map_index}"),
            },
        )
        looks["unmapped"] = ids(checked)
    for _ in range(2):  # the second time everything is loaded
        state = run(flow)
        assert state.is_successful(), {
            task: each for task, each in state.result.items() if each.is_failed()
        }
        assert {name: state.result[look].result for name, look in looks.items()} == {
            "reduce": [[111], [112]],
            "list": [[7], [[11], [12]]],
            "tuple": [[7], [[1], [2]]],
            "dict": {"a": [7], "b": [[1], [2]]},
            "item of frames": [2],
            "column": [7],
            "item of list": [7],
            "nout": [[7], [-7]],
            "two mapped": [[1, 11], [2, 12]],
            "unmapped frame": [[1], [2]],
            "flatten": [[3], [30], [4], [40]],
            "map over a list of tasks": [[1007], [1001]],
            "unmapped": [[1, 7], [2, 7]],
        }


def test_what_a_column_or_an_item_is_taken_of_needs_no_checkpoint_of_its_own(
    run, tmp_path, notes
):
    @task(result=parquet(tmp_path, "source_{id}"))
    def source(id):
        return frame_of(id)

    with Flow("items") as flow:
        frames = source.map([1, 2])
        second = frames[1]
        column = source(3)["value"]
    for _ in range(2):
        state = run(flow)
        assert state.is_successful(), state.result
        assert_frame_equal(state.result[second].result, frame_of(2))
        assert list(state.result[column].result) == list(frame_of(3)["value"])
    assert data_files(tmp_path) == [
        "source_1.parquet",
        "source_2.parquet",
        "source_3.parquet",
    ]


def test_a_task_that_changes_its_input_in_place_harms_no_sibling(run, tmp_path):
    @task(result=parquet(tmp_path, "source"))
    def source():
        return frame_of(5, 50)

    @task
    def spoil(frame, number):
        before = float(frame["value"].sum())
        frame.loc[:, "value"] = -1.0
        frame["id"] += 1
        frame.insert(0, "new", number)
        del frame["name"]
        return before

    with Flow("spoil") as flow:
        frame = source()
        sums = spoil.map(unmapped(frame), list(range(6)))
        again = spoil(frame, 99, upstream_tasks=[sums])
    for _ in range(2):
        state = run(flow)
        expected = frame_of(5, 50)["value"].sum()
        assert list(state.result[sums].result) == [expected] * 6
        assert state.result[again].result == expected
        assert_frame_equal(result_of(state, flow, "source"), frame_of(5, 50))


def test_results_are_small_in_states_whatever_the_frame(run, tmp_path):
    @task(result=parquet(tmp_path, "big_{id}"))
    def big(id):
        return pd.DataFrame({"value": range(400_000)}) * id

    with Flow("small") as flow:
        frames = big.map([1, 2])
        one = big(3)
    state = run(flow)

    for final in [*state.result[frames].map_states, state.result[one]]:
        assert final.result.shape == (400_000, 1)
        assert len(pickle.dumps(final)) < 10_000
    assert isinstance(state.result[frames].result, LazySequence)
    assert len(state.result[frames].result) == 2


def test_skipped_failed_and_upstream_only_edges_behave_as_in_prefect(
    run, tmp_path, notes
):
    from prefect.triggers import all_finished, any_failed

    @task(result=parquet(tmp_path, "skips_{id}"))
    def skips(id):
        if id == 2:
            raise signals.SKIP("not this one")
        if id == 3:
            raise ValueError("broken")
        return frame_of(id)

    @task(result=parquet(tmp_path, "after_{map_index}"))
    def after(frame):
        notes(f"after {frame['id'].iloc[0]}")
        return frame

    @task(trigger=all_finished, skip_on_upstream_skip=False)
    def seen(values):
        return [type(each).__name__ for each in values]

    @task(trigger=any_failed, skip_on_upstream_skip=False)
    def alarm():
        notes("alarm")

    @task(result=parquet(tmp_path, "last"))
    def last():
        notes("last")
        return frame_of(9)

    with Flow("mixed") as flow:
        states = skips.map([1, 2, 3])
        after.map(states)
        what = seen(states)
        alarmed = alarm(upstream_tasks=[states])
        last(upstream_tasks=[what, alarmed])
    state = run(flow)

    assert [
        type(each).__name__ for each in state_of(state, flow, "skips").map_states
    ] == [
        "Success",
        "Skipped",
        "Failed",
    ]
    assert [
        type(each).__name__ for each in state_of(state, flow, "after").map_states
    ] == [
        "Success",
        "Skipped",
        "TriggerFailed",
    ]
    assert state.result[what].result[0] == "DataFrame"
    assert state.result[what].result[2] == "ValueError"
    assert notes.take() == ["after 1", "alarm", "last"]
    run(flow)
    assert notes.take() == ["alarm"]
