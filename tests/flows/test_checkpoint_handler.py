"""When a checkpoint counts, and what the states and the log say of it."""

import datetime
import re

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from prefect import Flow, Parameter, unmapped
from prefect.engine.state import Pending, Running, Success
from prefect.engine.task_runner import TaskRunner

from prefect_ds import DSTaskRunner, PandasResultHandler, task
from prefect_ds.checkpoint_handler import checkpoint_handler
from tests.support.flows import (
    data_files,
    expected_total,
    frame_of,
    parquet,
    pipeline,
    result_of,
    state_of,
)


def one_task(folder, notes, body=None, **options):
    """A flow of one checkpointed task with two parameters, of which the path names one."""
    options.setdefault("name", "make")

    @task(
        result=options.pop("result", None)
        or parquet(folder, "made_{x}", **options.pop("handler", {})),
        **options,
    )
    def make(x, y):
        notes(f"made {x} {y}")
        return (body or frame_of)(x)

    with Flow("one") as flow:
        make(Parameter("x", default=1), Parameter("y", default="a"))
    return flow


# Messages


def test_the_message_says_what_was_written_where_and_why_the_task_ran(
    run_here, tmp_path, notes, log_lines
):
    flow = one_task(tmp_path, notes)
    message = state_of(run_here(flow), flow, "make").message

    assert re.fullmatch(
        r"Task run succeeded\. Ran because there was nothing yet; wrote 3 rows, 5 columns, \d\.\d KiB to (\S+)",
        message,
    )
    assert message.endswith(str(tmp_path / "made_1.parquet"))
    assert f"Task 'make': {message}" in log_lines


def test_the_message_says_what_was_loaded_from_where_and_when_it_was_written(
    run_here, tmp_path, notes, log_lines
):
    flow = one_task(tmp_path, notes)
    run_here(flow)
    state = state_of(run_here(flow), flow, "make")

    assert type(state) is Success
    assert re.fullmatch(
        r"Loaded from the checkpoint: 3 rows, 5 columns, \d\.\d KiB at (\S+), "
        r"written 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\+00:00",
        state.message,
    )
    assert str(tmp_path / "made_1.parquet") in state.message
    assert f"Task 'make': {state.message}" in log_lines


def test_a_file_put_there_by_hand_counts_and_the_message_says_so(
    run_here, tmp_path, notes
):
    frame_of(77).to_parquet(tmp_path / "made_1.parquet")
    flow = one_task(tmp_path, notes)
    state = run_here(flow)
    assert notes.lines == []
    assert "by hand" in state_of(state, flow, "make").message
    assert_frame_equal(result_of(state, flow, "make"), frame_of(77))


def test_a_mapped_childs_lines_name_the_child(run_here, tmp_path, notes, log_lines):
    flow = pipeline(tmp_path, notes)
    run_here(flow)
    for number in range(3):
        assert (
            sum(
                line.startswith(
                    f"Task 'clean[{number}]': Task run succeeded. Ran because"
                )
                for line in log_lines
            )
            == 1
        )


def test_data_that_are_gone_are_computed_and_the_message_says_they_were_there(
    run_here, tmp_path, notes
):
    flow = one_task(tmp_path, notes)
    run_here(flow)
    (tmp_path / "made_1.parquet").unlink()
    assert "its data were gone" in state_of(run_here(flow), flow, "make").message
    assert notes.lines == ["made 1 a", "made 1 a"]


def test_damaged_data_are_set_aside_and_computed_and_the_log_says_so(
    run_here, tmp_path, notes, log_lines
):
    flow = one_task(tmp_path, notes)
    run_here(flow)
    (tmp_path / "made_1.parquet").write_bytes(b"half a fi")
    state = run_here(flow)

    assert notes.lines == ["made 1 a", "made 1 a"]
    assert (
        "its bytes were not those that were written"
        in state_of(state, flow, "make").message
    )
    assert any(
        "set aside as" in line and "made_1.parquet" in line for line in log_lines
    )
    assert_frame_equal(result_of(state, flow, "make"), frame_of(1))
    (aside,) = (tmp_path / ".prefect_ds" / "set-aside").iterdir()
    assert aside.read_bytes() == b"half a fi"


# Staleness


def stale(state, flow, name="make"):
    message = state_of(state, flow, name).message
    found = re.search(r"Ran because the checkpoint was stale: (.*); wrote", message)
    assert found, message
    return found[1]


def test_a_changed_input_makes_it_stale_and_the_words_name_the_input(
    run_here, tmp_path, notes, log_lines
):
    flow = one_task(tmp_path, notes)
    run_here(flow)
    assert stale(run_here(flow, y="b"), flow) == "input 'y' changed"
    assert notes.lines == ["made 1 a", "made 1 b"]
    assert (
        f"Task 'make': the checkpoint at {tmp_path}/made_1.parquet is stale: input 'y' changed; running"
        in log_lines
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (1, 1.0),
        (1, True),
        ("1", 1),
        (None, "None"),
        ((1, 2), [1, 2]),
        ({"a": 1}, {"a": 2}),
        ([1], [1, 1]),
        (0.0, -0.0),
    ]
    + [
        (datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1)),
        (pd.Series([1, 2]), pd.Series([1, 3])),
    ],
)
def test_inputs_that_differ_in_type_or_depth_are_different(
    run_here, tmp_path, notes, before, after
):
    @task(result=parquet(tmp_path, "made"))
    def make(value):
        notes("made")
        return frame_of(1)

    def flow_of(value):
        with Flow("inputs") as flow:
            make(value)
        return flow

    for value in (before, before, after, after):
        run_here(flow_of(value))
    assert notes.lines == ["made", "made"]


def test_a_changed_upstream_makes_it_stale_and_an_equal_one_computed_again_does_not(
    run_here, tmp_path, notes
):
    @task(result=parquet(tmp_path, "source"))
    def source(number):
        notes("source")
        return frame_of(number // 10)

    @task(result=parquet(tmp_path, "after"))
    def after(frame):
        notes("after")
        return frame

    with Flow("upstream") as flow:
        after(source(Parameter("number")))
    run_here(flow, number=10)
    assert notes.take() == ["after", "source"]

    run_here(flow, number=11)
    assert notes.take() == ["source"], "computed again with the same outcome"

    state = run_here(flow, number=20)
    assert notes.take() == ["after", "source"]
    assert stale(state, flow, "after") == "input 'frame' changed"


def test_an_upstream_without_a_checkpoint_counts_by_its_value(
    run_here, tmp_path, notes
):
    @task
    def source(number):
        return frame_of(number // 10)

    @task(result=parquet(tmp_path, "after"))
    def after(frame):
        notes("after")
        return frame

    with Flow("upstream") as flow:
        after(source(Parameter("number")))
    for number, ran in ((10, ["after"]), (11, []), (20, ["after"])):
        run_here(flow, number=number)
        assert notes.take() == ran


def test_one_changed_frame_among_many_makes_the_reduce_stale(run_here, tmp_path, notes):
    flow = pipeline(tmp_path, notes)
    run_here(flow)
    notes.take()
    state = run_here(pipeline(tmp_path, notes, ids=(1, 2, 4)))
    assert notes.take() == ["clean 4", "download 4", "total"]
    assert state.is_successful()
    other_rate = pipeline(tmp_path, notes, rate=3.0)
    state = run_here(other_rate)
    assert notes.take() == ["clean 1", "clean 2", "clean 3", "total"]
    assert_frame_equal(result_of(state, other_rate, "total"), expected_total(3.0))


def test_the_order_of_the_frames_of_a_reduce_counts(run_here, tmp_path, notes):
    run_here(pipeline(tmp_path, notes))
    notes.take()
    flow = pipeline(tmp_path, notes, ids=(3, 2, 1))
    run_here(flow)
    assert notes.take() == ["clean 1", "clean 3", "total"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"write_kwargs": {"compression": "gzip"}}),
        (
            {"read_kwargs": {"columns": ["id"]}},
            {"read_kwargs": {"columns": ["id", "value"]}},
        ),
    ],
)
def test_changed_options_of_the_handler_make_it_stale(
    run_here, tmp_path, notes, before, after
):
    run_here(one_task(tmp_path, notes, handler=before))
    flow = one_task(tmp_path, notes, handler=after)
    assert stale(run_here(flow), flow) == "the handler's options changed"
    assert notes.lines == ["made 1 a", "made 1 a"]


def test_a_changed_way_of_reading_makes_downstream_stale_where_it_changes_the_data(
    run_here, tmp_path, notes
):
    """The file's bytes are the same, what a reader gets is not."""

    def flow_of(columns):
        @task(
            result=PandasResultHandler(
                f"{tmp_path}/source.csv", "csv", read_kwargs={"usecols": columns}
            )
        )
        def source():
            notes("source")
            return frame_of(1)[["id", "value"]]

        @task(result=parquet(tmp_path, "after"))
        def after(frame):
            notes("after")
            return pd.DataFrame({"columns": list(frame.columns)})

        with Flow("options") as flow:
            after(source())
        return flow

    for columns in (["id"], ["value"]):
        flow = flow_of(columns)
        state = run_here(flow)
        assert list(result_of(state, flow, "after")["columns"]) == columns
        assert list(result_of(state, flow, "source").columns) == columns
    assert notes.lines == ["after", "after", "source", "source"]


def test_two_handlers_that_read_equal_files_differently_each_get_their_own(
    run_here, tmp_path
):
    """A frame that is still in memory is handed to who would read the same from the file, and to nobody else."""

    def source_of(columns):
        handler = PandasResultHandler(
            f"{tmp_path}/{columns[0]}.csv", "csv", read_kwargs={"usecols": columns}
        )

        @task(name=columns[0], result=handler)
        def source():
            return frame_of(1)[["id", "value"]]

        return source

    @task
    def columns(frame):
        return list(frame.columns)

    with Flow("equal files") as flow:
        left, right = source_of(["id"])(), source_of(["value"])()
        seen = [
            columns(left, upstream_tasks=[right]),
            columns(right, upstream_tasks=[left]),
        ]
    for _ in range(2):
        state = run_here(flow)
        assert [state.result[each].result for each in seen] == [["id"], ["value"]]
        assert [list(state.result[each].result.columns) for each in (left, right)] == [
            ["id"],
            ["value"],
        ]


def test_another_task_at_the_path_makes_it_stale(run_here, tmp_path, notes):
    run_here(one_task(tmp_path, notes))
    flow = one_task(tmp_path, notes, name="another")
    assert stale(run_here(flow), flow, "another") == "it was written by task 'make'"


def test_an_input_that_came_new_or_went_away_makes_it_stale(run_here, tmp_path, notes):
    run_here(one_task(tmp_path, notes))

    @task(name="make", result=parquet(tmp_path, "made_{x}", match="inputs"))
    def make(x, z):
        return frame_of(x)

    with Flow("one") as flow:
        make(1, 2)
    assert stale(run_here(flow), flow) == "input 'z' came new, input 'y' went away"


def test_match_path_takes_what_is_there_whatever_the_inputs(run_here, tmp_path, notes):
    flow = one_task(tmp_path, notes, handler={"match": "path"})
    run_here(flow)
    state = run_here(flow, y="another")
    assert notes.lines == ["made 1 a"]
    assert "Loaded" in state_of(state, flow, "make").message


@pytest.mark.parametrize(("match", "ran"), [("inputs", 1), ("code", 2), ("path", 1)])
def test_changed_code_counts_where_the_user_asks_for_it(
    run_here, tmp_path, notes, match, ran
):
    def flow_of(version):
        if version == 1:

            @task(name="make", result=parquet(tmp_path, "made", match=match))
            def make():
                notes("made")
                return frame_of(1)
        else:

            @task(name="make", result=parquet(tmp_path, "made", match=match))
            def make():
                notes("made")
                return frame_of(1).assign(id=2)

        with Flow("code") as flow:
            make()
        return flow

    run_here(flow_of(1))
    run_here(flow_of(1))
    assert len(notes.lines) == 1
    flow = flow_of(2)
    state = run_here(flow)
    assert len(notes.lines) == ran
    if ran == 2:
        assert stale(state, flow) == "code changed: make()"


def test_code_holds_in_another_process(run, tmp_path, notes):
    @task(result=parquet(tmp_path, "made_{x}", match="code"))
    def make(x, kinds=frozenset({"a", "b", "c"})):
        notes(f"made {x}")
        if x in {"p", "q", "r"}:
            return None
        return frame_of(x)

    with Flow("code") as flow:
        make.map([1, 2])
    run(flow)
    assert notes.take() == ["made 1", "made 2"]
    run(flow)
    assert notes.take() == []


def test_an_input_without_a_digest_is_left_out_and_the_rest_still_counts(
    run_here, tmp_path, notes
):
    import threading

    @task
    def connect():
        return threading.Lock()

    @task(name="make", result=parquet(tmp_path, "made"))
    def make(connection, y):
        notes(f"made {y}")
        return frame_of(1)

    with Flow("unstable") as flow:
        make(connect(), Parameter("y", default="a"))
    run_here(flow)
    run_here(flow)
    assert notes.take() == ["made a"]
    assert stale(run_here(flow, y="b"), flow) == "input 'y' changed"
    manifest = PandasResultHandler(f"{tmp_path}/made.parquet", "parquet").manifest(
        f"{tmp_path}/made.parquet"
    )
    assert manifest.identity.unstable_inputs == ("connection",)


def test_a_stale_checkpoint_stays_until_its_successor_is_whole(
    run_here, tmp_path, notes
):
    def body(x):
        raise ValueError("broken")

    run_here(one_task(tmp_path, notes))
    state = run_here(one_task(tmp_path, notes, body=body), y="b")
    assert state.is_failed()
    assert_frame_equal(pd.read_parquet(tmp_path / "made_1.parquet"), frame_of(1))
    flow = one_task(tmp_path, notes)
    assert "Loaded" in state_of(run_here(flow), flow, "make").message


def test_the_manifest_says_who_wrote_it_and_of_what(run_here, tmp_path, notes):
    flow = one_task(tmp_path, notes)
    run_here(flow)
    manifest = PandasResultHandler(None, "parquet").manifest(
        f"{tmp_path}/made_1.parquet"
    )
    assert (manifest.owner.flow, manifest.owner.task) == ("one", "make-1")
    assert manifest.fields == {"x": "1"}
    assert manifest.template.endswith("made_{x}.parquet")
    assert set(manifest.identity.inputs) == {"x", "y"}
    assert (manifest.n_rows, manifest.n_columns) == (3, 5)
    assert manifest.compute_s >= 0
    assert manifest.write_s > 0


# Users' state handlers


class Seen:
    """Records each change of state and what a handler can see in it."""

    def __init__(self):
        self.changes = []

    def __call__(self, runner_or_task, old_state, new_state):
        if getattr(getattr(runner_or_task, "task", runner_or_task), "name", "") in (
            "x",
            "y",
        ):
            return  # Prefect calls a runner's handlers for parameters, too.
        value = new_state.result
        what = type(value).__name__ if new_state.is_successful() else ""
        self.changes.append(
            f"{type(old_state).__name__} -> {type(new_state).__name__} {what}".strip()
        )


def test_a_users_handlers_see_the_frame_and_on_a_hit_one_change(
    run_here, tmp_path, notes
):
    on_task, on_runner = Seen(), Seen()
    flow = one_task(tmp_path, notes, state_handlers=[on_task])

    run_here(flow, task_runner_state_handlers=[on_runner])
    changes = ["Pending -> Running", "Running -> Success DataFrame"]
    assert on_task.changes == changes
    assert on_runner.changes == changes

    on_task.changes.clear()
    on_runner.changes.clear()
    run_here(flow, task_runner_state_handlers=[on_runner, checkpoint_handler])
    assert on_task.changes == ["Pending -> Success DataFrame"]
    assert on_runner.changes == ["Pending -> Success DataFrame"]


def test_a_users_handler_may_replace_the_result(run_here, tmp_path, notes):
    def replace(task, old_state, new_state):
        if new_state.is_successful():
            return Success(result=new_state.result.assign(id=-5))
        return None

    @task
    def after(frame):
        return int(frame["id"].iloc[0])

    @task(result=parquet(tmp_path, "source"), state_handlers=[replace])
    def source():
        return frame_of(1)

    with Flow("replace") as flow:
        after(source())
    for _ in range(2):
        assert result_of(run_here(flow), flow, "after") == -5


def test_a_users_handler_that_fails_fails_the_task_as_in_prefect(
    run_here, tmp_path, notes
):
    def fail(task, old_state, new_state):
        if new_state.is_running():
            raise ZeroDivisionError("in the handler")

    flow = one_task(tmp_path, notes, state_handlers=[fail])
    state = run_here(flow)
    assert "in the handler" in state_of(state, flow, "make").message
    assert notes.lines == []


def test_the_on_failure_callback_of_a_task_is_called(run_here, tmp_path):
    seen = []

    @task(
        name="make",
        result=parquet(tmp_path, "made"),
        on_failure=lambda task, state: seen.append(state.message),
    )
    def make():
        raise ValueError("mine")

    with Flow("callback") as flow:
        make()
    run_here(flow)
    assert len(seen) == 1


@pytest.mark.parametrize(
    "states", [(Pending(), Pending()), (Running(), Success()), (Success(), Running())]
)
def test_every_change_but_pending_to_running_passes(states):
    assert checkpoint_handler(None, *states) is None


def test_another_runner_is_refused_with_what_to_do(notes):
    @task
    def anything():
        notes("ran")

    with pytest.raises(TypeError, match="task_runner_cls=DSTaskRunner"):
        checkpoint_handler(TaskRunner(anything), Pending(), Running())


def test_the_handler_is_found_where_the_2020_library_had_it():
    import prefect_ds.checkpoint_handler
    import prefect_ds.flow_runner
    import prefect_ds.pandas_result_handler
    import prefect_ds.task_runner

    assert callable(prefect_ds.checkpoint_handler.checkpoint_handler)
    assert prefect_ds.task_runner.DSTaskRunner is DSTaskRunner
    assert prefect_ds.flow_runner.DSFlowRunner
    assert prefect_ds.pandas_result_handler.PandasResultHandler is PandasResultHandler


def test_the_2020_librarys_example_runs_as_its_readme_had_it(run_here, tmp_path, notes):
    """The downloads of many ids, of which only the missing ones are fetched the next time."""

    @task(
        result_handler=PandasResultHandler(
            tmp_path / "data_{id}.csv", "csv", write_kwargs={"index": False}
        )
    )
    def download(id):
        notes(f"download {id}")
        return pd.DataFrame({"id": [id], "name": [f"n{id}"]})

    with Flow("downloads") as flow:
        downloaded = download.map([1, 2, 3])
    for ids in (["download 1", "download 2", "download 3"], []):
        state = run_here(flow, task_runner_state_handlers=[checkpoint_handler])
        assert notes.take() == ids
        assert [len(frame) for frame in state.result[downloaded].result] == [1, 1, 1]
    assert (tmp_path / "data_2.csv").read_text().split() == ["id,name", "2,n2"]
    (tmp_path / "data_2.csv").unlink()
    run_here(flow, task_runner_state_handlers=[checkpoint_handler])
    assert notes.take() == ["download 2"]
    assert data_files(tmp_path) == ["data_1.csv", "data_2.csv", "data_3.csv"]


def test_unmapped_and_constant_inputs_count_for_each_child(run_here, tmp_path, notes):
    def flow_of(rate):
        @task(name="child", result=parquet(tmp_path, "child_{id}"))
        def child(id, rate, options):
            notes(f"child {id}")
            return frame_of(id)

        with Flow("unmapped") as flow:
            child.map([1, 2], unmapped(rate), unmapped({"deep": [1]}))
        return flow

    run_here(flow_of(1))
    assert notes.take() == ["child 1", "child 2"]
    run_here(flow_of(1))
    assert notes.take() == []
    run_here(flow_of(2))
    assert notes.take() == ["child 1", "child 2"]
