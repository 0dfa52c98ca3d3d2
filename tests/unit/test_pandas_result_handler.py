"""The handler as a Prefect ``Result``: `target=`, `Flow(result=)`, checkpointing on and off, written once."""

import json
import os
import pickle
from pathlib import Path

import cloudpickle
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from prefect import Flow, Parameter
from prefect import task as prefect_task
from prefect.engine.result import Result
from prefect.executors import LocalDaskExecutor, LocalExecutor
from prefect.utilities.configuration import set_temporary_config

from prefect_ds import DSTaskRunner, PandasResultHandler, task
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.errors import (
    CheckpointNotFoundError,
    FileTypeError,
    ResultTypeError,
    TemplateError,
)
from prefect_ds.storage import retries
from tests.support.flows import (
    Counting,
    data_files,
    frame_of,
    parquet,
    result_of,
    state_of,
)

RUNNERS = [
    pytest.param(None, id="Prefect's task runner"),
    pytest.param(DSTaskRunner, id="DSTaskRunner"),
]


def staged(folder: Path) -> list[str]:
    """What a writer left on its way."""
    return [str(each) for each in (folder / ".prefect_ds").rglob("*.staged")]


# The protocol of a Result


def test_it_is_a_result_that_writes_reads_and_knows_what_exists(tmp_path):
    handler = parquet(tmp_path, "sales_{year}")
    assert isinstance(handler, Result)
    assert not handler.exists(handler.location, year=2024)

    written = handler.write(frame_of(1), year=2024)

    assert written.location == str(tmp_path / "sales_2024.parquet")
    assert_frame_equal(written.value, frame_of(1))
    assert written.exists(written.location)
    assert handler.exists(handler.location, year=2024)
    assert not handler.exists(handler.location, year=2025)
    assert_frame_equal(handler.read(written.location).value, frame_of(1))
    assert handler.location == f"{tmp_path}/sales_{{year}}.parquet"
    assert handler.value is None
    assert staged(tmp_path) == []


def test_format_gives_a_copy_at_the_rendered_path(tmp_path):
    handler = parquet(tmp_path, "{a}_{b:03d}")
    formatted = handler.format(a="x/y", b=7, c="unused")
    assert formatted.location == handler.render({"a": "x/y", "b": 7})
    assert os.path.dirname(formatted.location) == str(tmp_path)
    assert handler.location.endswith("{a}_{b:03d}.parquet")


def test_reading_what_is_not_there_says_so(tmp_path):
    with pytest.raises(
        CheckpointNotFoundError, match=r"nowhere\.parquet.*run the task again"
    ):
        parquet(tmp_path, "x").read(f"{tmp_path}/nowhere.parquet")


def test_writing_again_replaces(tmp_path):
    handler = parquet(tmp_path, "sales")
    handler.write(frame_of(1))
    handler.write(frame_of(2))
    assert_frame_equal(handler.read(handler.location).value, frame_of(2))
    assert data_files(tmp_path) == ["sales.parquet"]


def test_a_template_without_its_value_is_an_error_that_names_both(tmp_path):
    with pytest.raises(TemplateError, match=r"sales_\{year\}.*field \{year\}"):
        parquet(tmp_path, "sales_{year}").write(frame_of(1))


def test_values_with_slashes_and_dots_stay_in_the_folder(tmp_path):
    handler = parquet(tmp_path / "in", "{name}")
    for name in ("../out", "/etc/passwd", "a/b", "..", ""):
        try:
            location = handler.write(frame_of(1), name=name).location
        except TemplateError:
            continue
        assert os.path.dirname(os.path.realpath(location)) == os.path.realpath(
            tmp_path / "in"
        )
        assert_frame_equal(handler.read(location).value, frame_of(1))
        assert handler.exists(handler.location, name=name)


def test_other_results_than_frames_are_refused_with_what_to_use(tmp_path):
    for value in ([1], {"a": 1}, pd.Index([1]), 5, "text"):
        with pytest.raises(ResultTypeError, match="DataFrame"):
            parquet(tmp_path, "x").write(value)
    assert data_files(tmp_path) == []


def test_it_pickles_small_and_keeps_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handler = PandasResultHandler(
        "data/sales_{year}.csv",
        "CSV",
        read_kwargs={"sep": ";"},
        write_kwargs={"sep": ";"},
    )
    for pickler in (pickle, cloudpickle):
        data = pickler.dumps(handler)
        assert len(data) < 2_000
        monkeypatch.chdir("/")
        back = pickler.loads(data)
        assert back.render({"year": 1}) == str(tmp_path / "data" / "sales_1.csv")
        assert (back.file_type, back.write_kwargs) == ("csv", {"sep": ";"})


def test_a_relative_path_counts_from_where_the_handler_was_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handler = PandasResultHandler(Path("data") / "x.parquet", "parquet")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    handler.write(frame_of(1))
    assert (tmp_path / "data" / "x.parquet").exists()
    assert handler.exists("data/x.parquet")


@pytest.mark.parametrize("options", [{"match": "never"}, {"durability": "sometimes"}])
def test_unknown_options_are_refused_with_those_there_are(options):
    with pytest.raises(ValueError, match="give one of"):
        PandasResultHandler("x.csv", "csv", **options)


def test_what_is_no_file_type_is_refused_with_those_that_are():
    with pytest.raises(FileTypeError, match=r"csv.*parquet"):
        PandasResultHandler("x.sql", "sql")


def test_a_malformed_template_is_an_error_where_it_is_written():
    with pytest.raises(TemplateError, match=r"x_\{"):
        PandasResultHandler("x_{.csv", "csv")


def test_the_repr_says_where_and_what():
    assert (
        repr(PandasResultHandler("x_{a}.csv", "csv"))
        == "<PandasResultHandler: 'x_{a}.csv', 'csv'>"
    )


def test_verify_and_manifest_know_what_was_written(tmp_path):
    handler = parquet(tmp_path, "sales")
    handler.write(frame_of(1))
    assert handler.verify(handler.location) == []
    assert handler.manifest(handler.location).n_rows == 3
    (tmp_path / "sales.parquet").write_bytes(b"other")
    assert handler.verify(handler.location) != []
    with pytest.raises(CheckpointNotFoundError):
        handler.verify(f"{tmp_path}/nothing.parquet")


def test_it_works_in_memory_as_on_a_disk(tmp_path):
    url = f"memory://{tmp_path.name}/sales_{{year}}.parquet"
    handler = PandasResultHandler(url, "parquet")
    written = handler.write(frame_of(1), year=1)
    assert handler.exists(url, year=1)
    assert_frame_equal(handler.read(written.location).value, frame_of(1))


# In flows


def flow_with_target(folder, notes, target=None):
    @prefect_task(
        name="make",
        result=Counting(None, "parquet", notes),
        target=target or f"{folder}/made_{{x}}_{{flow_name}}.parquet",
    )
    def make(x):
        notes(f"made {x}")
        return frame_of(x)

    with Flow("target") as flow:
        make.map([1, 2])
    return flow


@pytest.mark.parametrize("task_runner_cls", RUNNERS)
def test_target_is_the_path_and_what_is_there_is_loaded(
    tmp_path, notes, task_runner_cls, no_cache
):
    flow = flow_with_target(tmp_path, notes)
    with set_temporary_config({"flows.checkpointing": True}):
        state = flow.run(task_runner_cls=task_runner_cls)
        assert [frame["id"][0] for frame in result_of(state, flow, "make")] == [1, 2]
        names = ["made_1_target.parquet", "made_2_target.parquet"]
        assert data_files(tmp_path) == names
        assert [line for line in notes.take() if not line.startswith("read")] == sorted(
            ["made 1", "made 2", *(f"write {name}" for name in names)]
        )
        state = flow.run(task_runner_cls=task_runner_cls)
    assert [line for line in notes.lines if not line.startswith("read")] == []
    assert [frame["id"][0] for frame in result_of(state, flow, "make")] == [1, 2]


@pytest.mark.parametrize("task_runner_cls", RUNNERS)
def test_target_may_be_a_function(tmp_path, notes, task_runner_cls):
    flow = flow_with_target(
        tmp_path,
        notes,
        target=lambda x, flow_name, **others: f"{tmp_path}/{flow_name}-{x}.parquet",
    )
    with set_temporary_config({"flows.checkpointing": True}):
        for ran in (["made 1", "made 2"], []):
            state = flow.run(task_runner_cls=task_runner_cls)
            assert state.is_successful(), result_of(state, flow, "make")
            assert [line for line in notes.take() if line.startswith("made")] == ran
    assert data_files(tmp_path) == ["target-1.parquet", "target-2.parquet"]


@pytest.mark.parametrize("task_runner_cls", RUNNERS)
@pytest.mark.parametrize("scheduler", ["threads", "local"])
def test_targets_with_values_that_are_encoded_are_found_again(
    tmp_path, notes, task_runner_cls, scheduler
):
    values = [f"a/{number}: *?" for number in range(12)]

    @prefect_task(
        result=PandasResultHandler(None, "parquet"),
        target=f"{tmp_path}/made_{{x}}.parquet",
    )
    def make(x):
        notes(f"made {x}")
        return frame_of(int(x[2:].split(":")[0]))

    with Flow("encoded") as flow:
        make.map(values)
    executor = (
        LocalDaskExecutor("threads", num_workers=6)
        if scheduler == "threads"
        else LocalExecutor()
    )
    with set_temporary_config({"flows.checkpointing": True}):
        for ran in (12, 0, 0):
            state = flow.run(executor=executor, task_runner_cls=task_runner_cls)
            assert state.is_successful(), [
                each.message for each in state_of(state, flow, "make").map_states
            ]
            assert [frame["id"][0] for frame in result_of(state, flow, "make")] == list(
                range(12)
            )
            assert len(notes.take()) == ran


@pytest.mark.parametrize("task_runner_cls", RUNNERS)
def test_the_flows_result_serves_the_tasks_that_have_none(
    tmp_path, notes, task_runner_cls
):
    @task
    def frame(x):
        notes(f"frame {x}")
        return frame_of(x)

    @task(result=parquet(tmp_path, "own"))
    def own(frame):
        notes("own")
        return frame

    @task(checkpoint=False)
    def number(frame):
        return len(frame)

    with Flow(
        "result", result=PandasResultHandler(f"{tmp_path}/{{task_name}}.csv", "csv")
    ) as flow:
        number(own(frame(1)))
    with set_temporary_config({"flows.checkpointing": True}):
        state = flow.run(task_runner_cls=task_runner_cls)
    assert state.is_successful()
    assert_frame_equal(result_of(state, flow, "own"), frame_of(1))
    assert data_files(tmp_path) == ["frame.csv", "own.parquet"]
    assert notes.take() == ["frame 1", "own"]
    if task_runner_cls is DSTaskRunner:
        assert flow.run(task_runner_cls=task_runner_cls).is_successful()
        assert notes.take() == []


def test_what_the_flows_result_does_not_keep_passes_and_the_state_says_so(
    run_here, tmp_path, notes
):
    @task
    def number(x):
        notes("ran")
        return x + 1

    with Flow(
        "result", result=PandasResultHandler(f"{tmp_path}/{{task_name}}.csv", "csv")
    ) as flow:
        number(1)
    state = run_here(flow)
    assert result_of(state, flow, "number") == 2
    assert (
        "it returned int, which the flow's result does not keep"
        in state_of(state, flow, "number").message
    )
    assert data_files(tmp_path) == []


CHILD = """
import json, sys
from prefect import Flow
from prefect_ds import DSTaskRunner, task
from tests.support.flows import Counting, Notes, frame_of
folder, notes = sys.argv[1], Notes(sys.argv[2])
@task(result=Counting(f"{folder}/made_{{x}}.parquet", "parquet", notes))
def make(x):
    notes(f"made {x}")
    return frame_of(x)
with Flow("child") as flow:
    made = make.map([1, 2])
state = flow.run(**({"task_runner_cls": DSTaskRunner} if sys.argv[3] == "ours" else {}))
print("RESULT", json.dumps([type(state).__name__, [int(frame["id"][0]) for frame in state.result[made].result]]))
"""


@pytest.mark.parametrize("checkpointing", ["true", "false"])
@pytest.mark.parametrize("runner", ["ours", "prefect's"])
def test_prefects_checkpointing_on_or_off_nothing_is_written_twice(
    tmp_path, notes, checkpointing, runner, in_child_process
):
    def run():
        arguments = (
            f"import sys; sys.argv[1:] = {[str(tmp_path), notes.path, runner]!r}\n"
        )
        done = in_child_process(
            arguments + CHILD, PREFECT__FLOWS__CHECKPOINTING=checkpointing
        )
        (line,) = [
            line for line in done.stdout.splitlines() if line.startswith("RESULT ")
        ] or [done.stderr]
        assert json.loads(line.removeprefix("RESULT ")) == ["Success", [1, 2]]
        return notes.take()

    made, written = (
        ["made 1", "made 2"],
        ["write made_1.parquet", "write made_2.parquet"],
    )
    writes = runner == "ours" or checkpointing == "true"
    assert run() == made + (written if writes else [])
    assert data_files(tmp_path) == (
        ["made_1.parquet", "made_2.parquet"] if writes else []
    )
    if runner == "ours":
        assert [line for line in run() if not line.startswith("read")] == []
    else:
        # Prefect looks at a result before it runs only where the task has a target.
        assert run() == made + (written if writes else [])


def test_what_prefect_wrote_counts_for_our_runner(run_here, tmp_path, notes):
    """Its manifest has no identity of inputs, as a file that was put there by hand has none."""

    @task(result=parquet(tmp_path, "made_{x}"))
    def make(x):
        notes("ran")
        return frame_of(x)

    with Flow("both") as flow:
        make(Parameter("x", default=1))
    with set_temporary_config({"flows.checkpointing": True}):
        flow.run()
    assert notes.take() == ["ran"]
    state = run_here(flow)
    assert notes.take() == []
    assert_frame_equal(result_of(state, flow, "make"), frame_of(1))


@pytest.mark.parametrize("n_lost", [1, 3, 9])
def test_a_connection_that_is_lost_says_nothing_of_a_persons_file(
    tmp_path, monkeypatch, n_lost
):
    handler = PandasResultHandler(f"{tmp_path}/a.csv", "csv")
    (tmp_path / "a.csv").write_text("x\n1\n")
    lost = iter([ConnectionError("lost")] * n_lost)
    describe = handler._describe_foreign

    def falters(path):
        error = next(lost, None)
        if error is not None:
            raise error
        return describe(path)

    monkeypatch.setattr(retries, "RETRY_DELAYS_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(handler, "_describe_foreign", falters)
    path = handler.render({})
    if n_lost <= 3:
        assert handler.look_up(path).kind == "committed"
    else:
        with pytest.raises(ConnectionError, match="lost"):
            handler.look_up(path)
    assert data_files(tmp_path) == ["a.csv"]


def test_a_handler_without_a_path_or_target_is_an_error_that_says_what_to_give(
    run_here, tmp_path
):
    @task(result=PandasResultHandler(None, "csv"))
    def make():
        return frame_of(1)

    with Flow("nowhere") as flow:
        make()
    message = state_of(run_here(flow), flow, "make").message
    assert "'make'" in message
    assert "target" in message


def test_users_read_and_write_options_win_and_hit_equals_miss(
    run_here, tmp_path, notes
):
    handler = PandasResultHandler(
        f"{tmp_path}/rounded.csv",
        "csv",
        {"usecols": ["id", "value"]},
        {"float_format": "%.1f", "sep": ";", "index": False},
    )

    @task(result=handler)
    def make():
        notes("ran")
        return frame_of(1).assign(value=[0.123, 0.456, 0.789])

    @task
    def after(frame):
        return frame

    with Flow("options") as flow:
        after(make())
    seen = []
    for _ in range(2):
        state = run_here(flow)
        seen += [result_of(state, flow, "make"), result_of(state, flow, "after")]
    assert notes.lines == ["ran"]
    assert (tmp_path / "rounded.csv").read_text().splitlines()[:2] == [
        "id;value;name;kind;at",
        "1;0.1;row 0;a;2024-01-01 00:00:00+00:00",
    ]
    for frame in seen:
        assert_frame_equal(frame, seen[0])
        assert list(frame.columns) == ["id", "value"]
        assert list(frame["value"]) == [0.1, 0.5, 0.8]


@pytest.mark.parametrize("file_type", ["csv", "json", "parquet", "pickle", "feather"])
def test_hit_equals_miss_in_a_flow(run_here, tmp_path, notes, file_type, no_cache):
    @task(result=PandasResultHandler(f"{tmp_path}/made.{file_type}", file_type.upper()))
    def make():
        notes("ran")
        return frame_of(1, 6)

    @task
    def after(frame):
        return frame

    with Flow("types") as flow:
        after(make())
    for _ in range(2):
        state = run_here(flow)
        assert state.is_successful(), state_of(state, flow, "make").message
        assert_frame_equal(result_of(state, flow, "after"), frame_of(1, 6))
        assert_frame_equal(result_of(state, flow, "make"), frame_of(1, 6))
    assert notes.lines == ["ran"]


EDITS = {
    "a column": lambda frame: frame.loc.__setitem__((slice(None), "value"), -1.0),
    "a cell by position": lambda frame: frame.iloc.__setitem__((0, 1), -1.0),
    "a cell by label": lambda frame: frame.at.__setitem__((0, "value"), -1.0),
    "rows by a condition": lambda frame: frame.loc.__setitem__(
        (frame["value"] > 2, "id"), 0
    ),
    "a text": lambda frame: frame.loc.__setitem__((1, "name"), "changed"),
    "a category": lambda frame: frame.loc.__setitem__((0, "kind"), "b"),
    "a date": lambda frame: frame.loc.__setitem__((0, "at"), frame.loc[1, "at"]),
    "a nullable number": lambda frame: frame.loc.__setitem__((0, "maybe"), 5),
    "a truth": lambda frame: frame.loc.__setitem__((0, "flag"), False),
    "in place": lambda frame: frame.__setitem__("value", frame["value"].__iadd__(1)),
}


@pytest.mark.parametrize(
    ("file_type", "edit"),
    [
        (file_type, edit)
        for file_type in ("csv", "json", "parquet", "feather", "orc")
        for edit in EDITS
        if not (
            file_type == "orc" and edit in ("a category", "a date")
        )  # it keeps neither
    ],
)
def test_a_frame_that_was_read_can_be_changed_as_the_one_that_was_written(
    tmp_path, file_type, edit, no_cache
):
    """On a hit a task gets a frame from a file, on a miss from memory: the task's code must not see a difference."""
    frame = frame_of(1).assign(
        maybe=pd.array([1, None, 3], dtype="Int64"), flag=[True, False, True]
    )
    if file_type == "orc":
        frame = frame.drop(columns=["kind", "at"])
    handler = PandasResultHandler(f"{tmp_path}/made", file_type)
    read = handler.read(handler.write(frame).location).value
    expected = frame.copy()
    EDITS[edit](expected)

    EDITS[edit](read)

    assert_frame_equal(read, expected)


class TestTheFileType:
    def test_is_that_of_the_ending(self, tmp_path):
        frame = pd.DataFrame({"id": [1, 2]})
        handler = PandasResultHandler(f"{tmp_path}/x_{{id}}.csv.gz")
        written = handler.write(frame, id=3)
        assert handler.file_type == "csv"
        assert pd.read_csv(tmp_path / "x_3.csv.gz").equals(frame)
        assert handler.manifest(written.location).file_type == "csv"
        same = PandasResultHandler(f"{tmp_path}/x_{{id}}.csv.gz", "csv")
        assert same.options == handler.options
        assert pickle.loads(pickle.dumps(handler)).file_type == "csv"

    def test_that_the_ending_contradicts_is_an_error(self, tmp_path):
        with pytest.raises(FileTypeError, match="ends as a file of type 'parquet' do"):
            PandasResultHandler(f"{tmp_path}/x_{{id}}.parquet", "csv")
        handler = PandasResultHandler(f"{tmp_path}/{{name}}", "csv")
        handler.write(pd.DataFrame({"id": [1]}), name="a value such as x.parquet")

    def test_writes_tabs_and_lines_where_the_ending_says_so(self, tmp_path):
        frame = pd.DataFrame({"id": [1, 2], "name": ["a,b", "c\td"]})
        for ending in ("tsv", "tsv.gz", "jsonl", "ndjson"):
            handler = PandasResultHandler(f"{tmp_path}/x.{ending}")
            reference = handler.write(frame)
            assert_frame_equal(handler.read(reference.location).value, frame)
        tabs = pd.read_csv(tmp_path / "x.tsv", sep="\t")
        assert_frame_equal(tabs, frame)
        assert_frame_equal(pd.read_json(tmp_path / "x.jsonl", lines=True), frame)
        commas = PandasResultHandler(f"{tmp_path}/y.tsv", write_kwargs={"sep": ","})
        commas.write(frame)
        assert_frame_equal(pd.read_csv(tmp_path / "y.tsv"), frame)

    def test_that_is_not_compressed_as_a_whole_takes_no_such_ending(self, tmp_path):
        with pytest.raises(FileTypeError, match=r"ends in '\.gz', and files of type"):
            PandasResultHandler(f"{tmp_path}/x_{{id}}.parquet.gz")
        with pytest.raises(FileTypeError, match="ends as a file of type 'csv' do"):
            DaskDataFrameResultHandler(f"{tmp_path}/x_{{id}}.csv")
        with pytest.raises(FileTypeError, match=r"ends in '\.gz'"):
            DaskDataFrameResultHandler(f"{tmp_path}/x_{{id}}.parquet.gz")

    def test_that_no_ending_means_has_to_be_given(self, tmp_path):
        with pytest.raises(FileTypeError, match=r"x_\{id\}': give file_type"):
            PandasResultHandler(f"{tmp_path}/x_{{id}}")


def test_an_option_that_nearly_is_one_is_named():
    with pytest.raises(ValueError, match=r"match='input': .*; did you mean 'inputs'"):
        PandasResultHandler("x.csv", match="input")
