"""What a run did, as values and as a table."""

import datetime

import pandas as pd
import prefect
import pytest
from prefect import Flow, Parameter
from prefect.engine import signals
from prefect.engine.results import LocalResult
from prefect.utilities.configuration import set_temporary_config

from prefect_ds import explain, task
from prefect_ds.checkpoints.reference import CheckpointReference
from prefect_ds.report import RunReport, TaskReport
from tests.support.flows import frame_of, parquet, pipeline


def counts(report, name):
    each = report[name]
    return each.n_loaded, each.n_ran, each.n_failed, each.n_not_needed


def test_what_ran_and_what_was_loaded_is_counted_per_task(run, tmp_path, notes):
    flow = pipeline(tmp_path, notes)
    first = RunReport.of(run(flow).result, flow.sorted_tasks())
    assert [each.task for each in first.tasks] == [
        "download",
        "clean",
        "total",
        "largest",
    ]
    assert [counts(first, each.task) for each in first.tasks] == [
        (0, 3, 0, 0),
        (0, 3, 0, 0),
        (0, 1, 0, 0),
        (0, 1, 0, 0),
    ]
    assert all(each.saved_s == 0 for each in first.tasks)
    assert all(each.compute_s > 0 for each in first.tasks)
    assert [each.task for each in first.tasks if each.write_s] == [
        "download",
        "clean",
        "total",
    ]
    assert not any(each.error for each in first.tasks)
    (tmp_path / "clean_2.parquet").unlink()

    second = RunReport.of(run(flow).result, flow.sorted_tasks())

    assert [counts(second, each.task) for each in second.tasks] == [
        (3, 0, 0, 0),
        (2, 1, 0, 0),
        (1, 0, 0, 0),
        (0, 1, 0, 0),
    ]
    sizes = {each.task: each.size_bytes for each in second.tasks}
    assert sizes["download"] == sum(
        path.stat().st_size for path in tmp_path.glob("download_*.parquet")
    )
    assert sizes["total"] == (tmp_path / "total.csv").stat().st_size
    assert sizes["largest"] == 0
    assert (second["download"].compute_s, second["download"].write_s) == (0, 0)
    for name in ("download", "total"):
        assert second[name].saved_s == pytest.approx(
            first[name].compute_s + first[name].write_s
        )
    assert second["clean"].write_s > 0


def test_reading_the_inputs_is_no_time_of_computing(run_here, tmp_path, monkeypatch):
    """Seconds saved are those that a hit spares, and a hit's inputs are not read either way."""
    from prefect_ds import task_runner

    ticks = iter(range(1000))

    @task(result=parquet(tmp_path, "source"))
    def source():
        return frame_of(1)

    @task(result=parquet(tmp_path, "after"))
    def after(frame):
        return frame

    with Flow("seconds") as flow:
        after(source())
    load = CheckpointReference.load

    class Clock:
        perf_counter = staticmethod(lambda: float(next(ticks)))

    monkeypatch.setattr(task_runner, "time", Clock)

    def slow(self):
        for _ in range(100):
            next(ticks)
        return load(self)

    monkeypatch.setattr(CheckpointReference, "load", slow)
    report = RunReport.of(run_here(flow).result, flow.sorted_tasks())
    assert next(ticks) > 100, "no input was read"
    assert report["after"].compute_s == 1


def test_failed_skipped_and_triggered_children_are_counted(run_here, tmp_path):
    @task(result=parquet(tmp_path, "mixed_{number}"))
    def mixed(number):
        if number == 1:
            raise ValueError("broken")
        if number == 2:
            raise signals.SKIP("not this")
        return frame_of(number)

    @task
    def after(frame):
        return 1

    with Flow("mixed") as flow:
        after.map(mixed.map([1, 2, 3, 4]))
    report = RunReport.of(run_here(flow).result, flow.sorted_tasks())
    assert counts(report, "mixed") == (0, 2, 1, 1)
    assert counts(report, "after") == (0, 2, 1, 1)
    assert "broken" in report["mixed"].error
    assert report["after"].error == "", "it failed only since its upstream did"
    assert "mixed failed: " in str(report)
    report = RunReport.of(run_here(flow).result, flow.sorted_tasks())
    assert counts(report, "mixed") == (2, 0, 1, 1)


def test_parameters_and_what_prefect_adds_are_no_steps(run_here, tmp_path):
    @task(result=parquet(tmp_path, "source"))
    def source(number):
        return frame_of(number)

    @task
    def take(frames):
        return len(frames)

    with Flow("steps") as flow:
        frame = source(Parameter("number", default=1))
        take([frame, frame])
    report = RunReport.of(run_here(flow).result, flow.sorted_tasks())
    assert [each.task for each in report.tasks] == ["source", "take"]


def test_as_text_it_is_a_table_with_a_line_for_each_task(run_here, tmp_path, notes):
    flow = pipeline(tmp_path, notes)
    text = str(RunReport.of(run_here(flow).result, flow.sorted_tasks()))
    lines = text.splitlines()
    assert lines[0].split() == [
        "task",
        "loaded",
        "ran",
        "not",
        "needed",
        "failed",
        "other",
        "checkpoints",
        "compute",
        "s",
        "write",
        "s",
        "saved",
        "s",
    ]
    assert [line.split()[:6] for line in lines[2:]] == [
        ["download", "0", "3", "0", "0", "0"],
        ["clean", "0", "3", "0", "0", "0"],
        ["total", "0", "1", "0", "0", "0"],
        ["largest", "0", "1", "0", "0", "0"],
    ]


def test_what_explain_called_maybe_is_named_where_it_loaded(
    run_here, tmp_path, notes, log_lines
):
    flow = pipeline(tmp_path, notes)
    run_here(flow)
    (tmp_path / "download_2.parquet").unlink()
    expected = explain(flow).counts["maybe"]
    log_lines.clear()
    state = run_here(flow)
    report = RunReport.of(state.result, flow=flow)
    maybe = {row.task: row.n_maybe for row in report.tasks}
    assert maybe == {"download": 0, "clean": 1, "total": 1, "largest": 0}
    assert sum(maybe.values()) == expected
    line = next(line for line in str(report).splitlines() if line.startswith("Loaded"))
    assert line.startswith("Loaded 6 results, which saved ")
    assert "2 of them were maybe" in line
    assert line in "\n".join(log_lines)
    # Without the flow nothing is claimed.
    assert RunReport.of(state.result)["clean"].n_maybe == 0


def test_a_checkpoint_that_costs_more_than_computing_is_named_with_the_figures():
    def row(compute_s, write_s):
        seconds = {"kept_compute_s": compute_s, "kept_write_s": write_s}
        return TaskReport("clean", 0, 3, 0, 0, 0, 10, 0.1, 4.0, 0.0, "", **seconds)

    loses = row(0.25, 4.0)
    line = "clean: its checkpoints do not pay: computing them took 0.25 s, writing them 4.00 s"
    assert line in str(RunReport((loses,)))
    for pays in (row(5.0, 4.0), row(0.001, 0.01)):
        assert "do not pay" not in str(RunReport((pays,)))


def test_a_task_that_is_not_there_is_a_key_error(run_here, tmp_path, notes):
    flow = pipeline(tmp_path, notes)
    with pytest.raises(KeyError, match="nowhere"):
        RunReport.of(run_here(flow).result)["nowhere"]


def test_the_report_reads_no_data(run_here, tmp_path, notes, no_cache):
    flow = pipeline(tmp_path, notes)
    state = run_here(flow)
    for each in tmp_path.glob("*.parquet"):
        each.unlink()
    assert RunReport.of(state.result)["download"].n_ran == 3


def test_the_seconds_of_each_turn_attempt_and_failure_count(
    run_here, tmp_path, monkeypatch, notes
):
    from prefect_ds import task_runner

    clock = [0.0]

    def works(seconds):
        clock[0] += seconds

    monkeypatch.setattr(task_runner.time, "perf_counter", lambda: clock[0])

    # The clock that the tasks enclose changes, and is not to count as their code.
    @task(result=parquet(tmp_path, "loops", match="inputs"))
    def loops():
        works(1)
        if prefect.context.get("task_loop_count", 1) < 4:
            raise signals.LOOP(result=0)
        return frame_of(1)

    @task(
        result=parquet(tmp_path, "retried", match="inputs"),
        max_retries=2,
        retry_delay=datetime.timedelta(0),
    )
    def retried():
        works(10)
        notes("tried")
        if len(notes.lines) < 3:
            raise ValueError("not yet")
        return frame_of(1)

    @task
    def gives_up():
        works(100)
        raise signals.FAIL("enough")

    @task(result=parquet(tmp_path, "unkept"))
    def unkept():
        works(1000)
        return pd.DataFrame({"x": [object()]})

    with Flow("seconds") as flow:
        loops(), retried(), gives_up(), unkept()
    report = RunReport.of(run_here(flow).result)
    assert [
        report[name].compute_s for name in ("loops", "retried", "gives_up", "unkept")
    ] == [4, 30, 100, 1000]
    again = RunReport.of(run_here(flow).result)
    # What computing it once more would take.
    assert [
        again[name].saved_s - report[name].write_s for name in ("loops", "retried")
    ] == [4, 10]


def test_what_prefect_itself_had_is_loaded(run_here, tmp_path):
    @task(result=LocalResult(dir=str(tmp_path)), target="kept.pkl", checkpoint=True)
    def kept():
        return 1

    @task(cache_for=datetime.timedelta(hours=1))
    def remembered():
        return 2

    with Flow("prefect's own") as flow:
        kept(), remembered()
    with set_temporary_config({"flows.checkpointing": True}):
        first, second = (RunReport.of(run_here(flow).result) for _ in range(2))
    for name in ("kept", "remembered"):
        assert counts(first, name) == (0, 1, 0, 0)
        assert counts(second, name) == (1, 0, 0, 0)
        assert second[name].compute_s == 0


def test_a_run_that_ended_with_an_error_has_no_report():
    with pytest.raises(TypeError, match="it ended with ValueError\\('x'\\)"):
        RunReport.of(ValueError("x"))
