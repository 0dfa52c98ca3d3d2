"""Flows whose tasks return paths of files and folders, or nothing at all."""

import os
import shutil
from pathlib import Path

import pytest
from prefect import Flow
from prefect.engine import signals

from prefect_ds import (
    FileResultHandler,
    MarkerResultHandler,
    PandasResultHandler,
    accept,
    explain,
    task,
)
from tests.support.file_flows import ALL_RAN, files_flow
from tests.support.flows import AT_ONCE, Notes, frame_of, result_of, state_of

BEST = ("best.onnx", bytes([3, 0] * 8 + [3, 1] * 8 + [3, 2] * 8))


def test_files_and_folders_are_kept_and_loaded_on_every_executor(run, tmp_path, notes):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    flow = files_flow(tmp_path, scratch, notes)
    state = run(flow)
    assert state.is_successful()
    assert notes.take() == sorted(ALL_RAN)
    assert result_of(state, flow, "use") == BEST
    assert list(result_of(state, flow, "train")) == [
        tmp_path / f"models/{n}.onnx" for n in (1, 2, 3)
    ]
    assert os.listdir(scratch) == []
    shutil.rmtree(tmp_path / "stores/2.zarr")
    (tmp_path / "done/3").unlink()
    again = run(flow)
    assert notes.take() == ["announce 3", "collect 2"], (
        "what follows has the same content"
    )
    assert result_of(again, flow, "use") == BEST
    assert list(result_of(again, flow, "collect")) == list(
        result_of(state, flow, "collect")
    )
    assert list(result_of(again, flow, "announce")) == [None] * 3


def test_in_an_object_store_readers_get_a_copy_and_the_files_stay(
    run_here, tmp_path, notes
):
    flow = files_flow(f"memory://{tmp_path.name}", tmp_path, notes)
    state = run_here(flow)
    assert state.is_successful()
    assert result_of(state, flow, "use") == BEST
    assert sorted(os.listdir(tmp_path)) == sorted(
        [
            "best",
            "ran.notes",
            *[
                f"scratch {n}.{ending}"
                for n in (1, 2, 3)
                for ending in ("onnx", "zarr")
            ],
        ]
    )
    assert notes.take() == sorted(ALL_RAN)
    again = run_here(flow)
    assert result_of(again, flow, "use") == BEST
    assert notes.take() == []
    assert list(result_of(again, flow, "train")) == list(
        result_of(state, flow, "train")
    )


def test_the_messages_count_files(run_here, tmp_path, notes):
    flow = files_flow(tmp_path, tmp_path / "scratch", notes)
    (tmp_path / "scratch").mkdir()
    state = run_here(flow)
    first = state_of(state, flow, "collect").map_states[0]
    assert first.message.endswith(
        f"wrote 4 files, 50 bytes to {tmp_path}/stores/1.zarr"
    )
    assert "wrote 1 file, 48 bytes to" in state_of(state, flow, "best").message
    again = run_here(flow)
    assert (
        "Loaded from the checkpoint: 1 file, 48 bytes at"
        in state_of(again, flow, "best").message
    )
    done = state_of(again, flow, "announce").map_states[0].message
    assert done.startswith("Loaded from the checkpoint: marker, ")


class Flaky(FileResultHandler):
    """Cannot write the first time."""

    def _stage(self, value, path, origin):
        blocked = Path(path).parent / ".prefect_ds/staging"
        if not blocked.exists():
            blocked.parent.mkdir(parents=True, exist_ok=True)
            blocked.write_text("in the way")
        else:
            blocked.unlink()
        return super()._stage(value, path, origin)


def test_a_retry_of_prefects_keeps_what_the_task_writes_again(
    run_here, tmp_path, notes
):
    @task(max_retries=1, retry_delay=AT_ONCE, result=Flaky(tmp_path / "data/{n}"))
    def write(n):
        notes("write")
        path = tmp_path / "scratch"
        path.write_text(f"{len(notes.lines)}")
        return path

    with Flow("retries") as flow:
        written = write(1)
    state = run_here(flow)
    assert state.is_successful()
    assert notes.take() == ["write", "write"]
    assert state.result[written].result.read_text() == "2"


def test_the_error_says_where_the_file_is(run_here, tmp_path):
    (tmp_path / "data/.prefect_ds").mkdir(parents=True)
    (tmp_path / "data/.prefect_ds/staging").write_text("in the way")

    @task(result=FileResultHandler(tmp_path / "data/{n}"))
    def write(n):
        path = tmp_path / "scratch"
        path.write_text("hours of work")
        return path

    with Flow("error") as flow:
        written = write(1)
    state = run_here(flow)
    assert state.is_failed()
    message = state.result[written].message
    assert f"what the task wrote is still at '{tmp_path}/scratch'" in message
    assert (tmp_path / "scratch").read_text() == "hours of work"


def test_a_damaged_folder_is_set_aside_and_computed_again(run_here, tmp_path, notes):
    (tmp_path / "scratch").mkdir()
    flow = files_flow(tmp_path, tmp_path / "scratch", notes)
    run_here(flow)
    notes.take()
    with open(tmp_path / "stores/1.zarr/x/c/0/1", "r+b") as chunk:
        chunk.write(b"?")
    explained = explain(flow).to_frame()
    reasons = list(explained.loc[explained["decision"] == "run", "reason"])
    assert "its bytes were not those that were written" in reasons
    assert result_of(run_here(flow), flow, "use") == BEST
    assert notes.take() == ["collect 1"]
    [aside] = (tmp_path / "stores/.prefect_ds/set-aside").iterdir()
    assert (aside / "x/c/0/1").read_bytes()[:1] == b"?"


def test_a_file_that_a_person_put_there_does_not_count_unless_it_is_adopted(
    run_here, tmp_path, notes, log_lines
):
    handler = FileResultHandler(tmp_path / "data/{n}")

    @task(result=handler)
    def write(n):
        notes("write")
        (tmp_path / "scratch").write_text("computed")
        return tmp_path / "scratch"

    with Flow("foreign") as flow:
        written = write.map([1, 2])
    (tmp_path / "data").mkdir()
    (tmp_path / "data/1").write_text("half of")
    (tmp_path / "data/2").write_text("by hand")
    handler.adopt(tmp_path / "data/2")
    assert sorted(explain(flow).to_frame()["decision"]) == ["load", "run"]
    state = run_here(flow)
    assert [path.read_text() for path in state.result[written].result] == [
        "computed",
        "by hand",
    ]
    assert notes.take() == ["write"]
    [line] = [line for line in log_lines if "set aside as" in line]
    assert "nothing says that it is whole" in line


def test_nothing_is_kept_of_a_task_that_returns_no_path(run_here, tmp_path):
    @task(result=FileResultHandler(tmp_path / "data/{n}"))
    def write(n):
        return None

    with Flow("none") as flow:
        written = write(1)
    state = run_here(flow)
    assert state.is_successful()
    assert (
        "No checkpoint was written: it returned nothing"
        in state.result[written].message
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("handler", "returned", "is_kept"),
    [
        (FileResultHandler, Path, True),
        (FileResultHandler, str, True),
        (FileResultHandler, "os.PathLike[str]", True),
        (FileResultHandler, object, True),
        (FileResultHandler, dict, False),
        (FileResultHandler, bytes, False),
        (MarkerResultHandler, None, True),
        (MarkerResultHandler, dict, False),
        (MarkerResultHandler, "Path | None", True),
    ],
)
def test_an_annotation_that_cannot_be_kept_is_refused_before_the_run(
    run_here, tmp_path, handler, returned, is_kept
):
    path = tmp_path / "scratch"

    def write(n):
        path.write_text("x")
        return path if handler is FileResultHandler else None

    write.__annotations__["return"] = returned
    with Flow("annotated") as flow:
        task(write, result=handler(tmp_path / "data/{n}"))(1)
    state = run_here(flow)
    assert state.is_successful() == is_kept
    if not is_kept:
        assert f"which {handler.__name__} does not keep" in state.message
        assert not path.exists()


def test_a_flow_wide_handler_leaves_alone_what_is_no_file(run_here, tmp_path):
    @task
    def text():
        return "no path"

    @task
    def number():
        return 7

    @task
    def path():
        (tmp_path / "scratch").write_text("x")
        return str(tmp_path / "scratch")

    with Flow("wide", result=FileResultHandler(tmp_path / "data/{task_name}")) as flow:
        results = [text(), number(), path()]
    state = run_here(flow)
    assert [state.result[each].result for each in results] == [
        "no path",
        7,
        tmp_path / "data/path",
    ]


# ------------------------------------------------------------------------------------------------
# markers


def marked(tmp_path, notes, body=lambda: None, **options):
    """A flow of two children that are done once, and a task that follows."""

    @task(result=MarkerResultHandler(tmp_path / "done/{day}", **options))
    def load(day, table):
        notes(f"load {day}")
        return body()

    @task(result=PandasResultHandler(tmp_path / "counts_{day}.csv"))
    def count(day, loaded):
        assert loaded is None
        notes(f"count {day}")
        return frame_of(1)

    def flow(table="a"):
        with Flow("marked") as built:
            days = ["mon", "tue"]
            count.map(days, load.map(days, [table] * 2))
        return built

    return flow


def test_a_task_that_returns_nothing_runs_once_for_its_inputs(run, tmp_path, notes):
    flow = marked(tmp_path, notes)
    assert run(flow()).is_successful()
    assert notes.take() == ["count mon", "count tue", "load mon", "load tue"]
    text = (tmp_path / "done/mon").read_text()
    assert text.startswith("load-1[0] was done\nat: 20")
    assert "\nday: mon\n" in text
    again = flow()
    state = run(again)
    assert state.is_successful()
    assert notes.take() == []
    assert list(result_of(state, again, "load")) == [None, None]


def test_what_follows_a_marker_stays_valid_if_the_same_is_done_again(
    run_here, tmp_path, notes
):
    flow = marked(tmp_path, notes)
    run_here(flow())
    notes.take()
    before = (tmp_path / "done/mon").read_text()
    (tmp_path / "done/mon").write_text("edited by hand")
    run_here(flow(), refresh=["load"])
    assert notes.take() == ["load mon", "load tue"]
    assert (tmp_path / "done/mon").read_text() != before, "another run, another time"
    run_here(flow("b"))
    assert notes.take() == ["count mon", "count tue", "load mon", "load tue"]


def test_a_marker_that_is_removed_or_damaged_is_written_again(
    run_here, tmp_path, notes
):
    flow = marked(tmp_path, notes)
    run_here(flow())
    notes.take()
    (tmp_path / "done/mon").unlink()
    (tmp_path / "done/tue").write_text("cut")
    assert run_here(flow()).is_successful()
    assert notes.take() == ["load mon", "load tue"]


def test_a_marker_of_a_persons_counts(run_here, tmp_path, notes, log_lines):
    (tmp_path / "done").mkdir()
    (tmp_path / "done/mon").touch()
    flow = marked(tmp_path, notes)
    assert run_here(flow()).is_successful()
    assert notes.take() == ["count mon", "count tue", "load tue"]
    assert not [line for line in log_lines if "0 rows" in line]


def test_a_success_that_a_task_raises_is_marked_and_a_failure_is_not(
    run_here, tmp_path, notes
):
    def succeed():
        raise signals.SUCCESS("enough")

    def fail():
        raise ValueError("no table")

    flow = marked(tmp_path / "good", notes, succeed)
    assert run_here(flow()).is_successful()
    assert run_here(flow()).is_successful()
    assert notes.take() == ["count mon", "count tue", "load mon", "load tue"]
    assert run_here(marked(tmp_path / "bad", notes, fail)()).is_failed()
    assert not (tmp_path / "bad/done/mon").exists()


def test_a_result_of_a_task_with_a_marker_is_refused_and_not_lost(
    run_here, tmp_path, notes
):
    flow = marked(tmp_path, notes, lambda: {"rows": 7})
    built = flow()
    state = run_here(built)
    assert state.is_failed()
    message = state_of(state, built, "load").map_states[0].message
    assert (
        "the task returned a dict, and MarkerResultHandler keeps no more than that it was done"
        in message
    )
    assert ".set-aside" in message


def test_an_accepted_marker_leaves_what_follows_it_valid(run_here, tmp_path, notes):
    flow = marked(tmp_path, notes)
    run_here(flow())
    notes.take()
    changed = marked(tmp_path, notes, lambda: print("more code"))
    accept(changed(), ["load"])
    assert run_here(changed()).is_successful()
    assert notes.take() == []


def test_what_follows_a_marker_runs_again_if_its_code_has_changed(
    run_here, tmp_path, notes
):
    run_here(marked(tmp_path, notes)())
    notes.take()
    run_here(marked(tmp_path, notes, lambda: print("more code"))())
    assert notes.take() == ["count mon", "count tue", "load mon", "load tue"]


def test_markers_lie_in_an_object_store_too(run_here, tmp_path, notes):
    url = f"memory://{tmp_path.name}"

    @task(result=MarkerResultHandler(f"{url}/done/{{n}}"))
    def once(n):
        notes(n)

    with Flow("store") as flow:
        once.map([1, 2])
    run_here(flow)
    assert run_here(flow).is_successful()
    assert Notes(notes.path).take() == ["1", "2"]


# ------------------------------------------------------------------------------------------------
# readers of a path


@pytest.mark.parametrize("keeps", [True, False])
def test_a_task_that_changes_the_file_it_reads_fails_and_names_it(
    run_here, tmp_path, keeps
):
    @task(result=FileResultHandler(tmp_path / "data/{n}"))
    def write(n):
        (tmp_path / "scratch").write_text("x")
        return tmp_path / "scratch"

    @task(result=PandasResultHandler(tmp_path / "read.csv") if keeps else None)
    def read(path):
        path.write_text("changed")
        return frame_of(1)

    with Flow("changes") as flow:
        done = read(write(1))
    state = run_here(flow)
    assert state.is_failed()
    message = state.result[done].message
    assert f"the checkpoint at '{tmp_path}/data/1' is damaged" in message
    assert not (tmp_path / "read.csv").exists()


def test_a_file_that_was_replaced_while_a_task_read_it_fails_the_task(
    run_here, tmp_path
):
    handler = FileResultHandler(tmp_path / "data/{n}")

    @task(result=handler)
    def write(n):
        (tmp_path / "scratch").write_text("x")
        return tmp_path / "scratch"

    @task
    def read(path):
        (tmp_path / "other").write_text("of another run")
        handler.write(tmp_path / "other", n=1)
        return path.read_text()

    with Flow("replaced") as flow:
        done = read(write(1))
    state = run_here(flow)
    assert state.is_failed()
    assert "is not the one referred to: it was replaced" in state.result[done].message
