"""The events of runs: what is written, from where, and what can be made of it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from prefect import Flow
from prefect.utilities.configuration import set_temporary_config

from prefect_ds import ObjectResultHandler, PandasResultHandler, read_events, task
from prefect_ds.event_log import log
from prefect_ds.events import Event
from prefect_ds.report import RunReport
from prefect_ds_command.main import commands
from tests.support.executors import on_every_executor
from tests.support.flows import frame_of
from tests.support.processes import ROOT

run = on_every_executor


def flow_of(folder: Path) -> Flow:
    """Three loads, of which one fails and one is refused, and a task that is kept."""

    @task(result=ObjectResultHandler(folder / "part_{n}.json"))
    def load(n):
        if n == 2:
            raise ValueError("no part 2")
        return {1: object()} if n == 3 else {"n": n}

    @task(result=PandasResultHandler(folder / "other.csv"))
    def other():
        return frame_of(1)

    @task
    def take(part, frame):
        return part["n"] + len(frame)

    with Flow("events") as flow:
        frame = other()
        take.map(load.map([1, 2, 3]), [frame, frame, frame])
    return flow


@pytest.fixture
def events(tmp_path):
    """The file that events go to while the test runs."""
    file = tmp_path / "below" / "events.jsonl"
    with set_temporary_config({"prefect_ds.events": str(file)}):
        yield file


def kinds(events) -> Counter:
    return Counter((event.event, event.task, event.map_index) for event in events)


def test_a_run_and_its_resume_on_every_executor(run, tmp_path, events):
    flow = flow_of(tmp_path)
    states = [run(flow), run(flow)]
    written = read_events(events)
    assert written.n_broken == 0
    first, second = map(written.of_run, written.run_ids)
    failed = {
        ("failed", "load", 1): 1,
        ("refused", "load", 2): 1,
        ("failed", "take", 1): 1,
        ("failed", "take", 2): 1,
        ("ran", "take", 0): 1,
        ("run started", "", None): 1,
        ("run ended", "", None): 1,
    }
    others = {("other", None), ("load", 0)}
    assert kinds(second) == failed | {
        ("loaded", "load", 0): 1,
        ("loaded", "other", None): 1,
    }
    ran = kinds(first) - Counter(failed)
    assert {key[1:] for key in ran} == others
    assert ran["written", "load", 0] == ran["ran", "load", 0] == 1
    for of_run, state in zip((first, second), states, strict=True):
        from_events, from_states = (
            of_run.report(),
            RunReport.of(state.result, flow=flow),
        )
        assert from_events.edges == from_states.edges
        shared = ["task", "map_index", "outcome", "path", "size_bytes"]
        assert from_events.to_frame()[shared].equals(from_states.to_frame()[shared])
        assert from_events["load"].error == from_states["load"].error


def test_a_line_has_what_the_documentation_says(run_here, tmp_path, events):
    run_here(flow_of(tmp_path))
    page = Path(ROOT, "docs/events.md").read_text()
    for line in events.read_text().splitlines():
        values = json.loads(line)
        assert values["version"] == 1
        assert f"`{values['event']}`" in page
        for name in values:
            assert f"`{name}`" in page, name
    [refused] = [event for event in read_events(events) if event.event == "refused"]
    assert "result[1] (object)" in refused.reason
    assert refused.path == str(tmp_path / "part_3.json")
    assert refused.state == "Failed"


def test_freed_and_damaged_data_have_events(run_here, tmp_path, events):
    @task(result=PandasResultHandler(tmp_path / "a.csv"))
    def load():
        return frame_of(1)

    with Flow("upkeep") as flow:
        load()
    run_here(flow)
    path = tmp_path / "a.csv"
    path.write_bytes(path.read_bytes()[:-2])
    run_here(flow)
    flow.get_tasks("load")[0].result.free(str(path))
    found = [
        event for event in read_events(events) if not event.event.startswith("run")
    ]
    assert [event.event for event in found] == [
        *("ran", "written"),
        *("set aside", "ran", "written"),
        "freed",
    ]
    assert "bytes" in found[2].reason
    assert found[-1].size_bytes == found[-2].size_bytes
    assert {event.path for event in found} == {str(path)}


WRITERS = """
import os, sys
from prefect_ds.event_log.event import Event
from prefect_ds.event_log.log import EventLog
children = []
for number in range(4):
    child = os.fork()
    if child == 0:
        for index in range(200):
            EventLog(sys.argv[1]).write(
                Event(event="ran", slug=str(number), map_index=index, reason="x" * 9000)
            )
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_lines_of_many_processes_are_never_mixed(tmp_path):
    file = tmp_path / "events.jsonl"
    subprocess.run(
        [sys.executable, "-c", WRITERS, str(file)], cwd=ROOT, check=True, timeout=300
    )
    written = read_events(file)
    assert written.n_broken == 0
    assert {(event.slug, event.map_index) for event in written} == {
        (str(number), index) for number in range(4) for index in range(200)
    }
    assert {len(event.reason) for event in written} == {9000}


@pytest.mark.parametrize("name", ["a folder", "a URL"])
def test_a_file_that_cannot_be_written_is_one_warning(
    run_here, tmp_path, caplog, monkeypatch, name
):
    log._warned.clear()
    monkeypatch.chdir(tmp_path)
    file = "s3://bucket/events.jsonl"
    if name == "a folder":
        file = str(tmp_path / name)
        os.mkdir(file)
    with set_temporary_config({"prefect_ds.events": file}):
        assert run_here(flow_of(tmp_path)).is_failed()
    assert not os.path.exists("s3:")
    said = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    [warning] = [text for text in said if text.startswith("Events are not written")]
    assert file in warning
    assert "the run goes on without them" in warning
    with pytest.raises(ValueError, match="no events of a run"):
        read_events([]).report()


def test_files_of_several_hosts_are_one_list(run_here, tmp_path):
    file = str(tmp_path / "events-{host}-{pid}.jsonl")
    with set_temporary_config({"prefect_ds.events": file}):
        run_here(flow_of(tmp_path))
    [written] = tmp_path.glob("events-*.jsonl")
    other = tmp_path / "events-other.jsonl"
    later = '{"version":9,"event":"ran","task":"new","colour":"red","time":"2999"}'
    other.write_text(f'{later}\n{{"version":1,"event":"lo\n\n[1]\n{{"event":"ran"}}\n')
    events = read_events(tmp_path / "events-*.jsonl")
    assert events.n_broken == 3
    assert len(events) == len(read_events(written)) + 1
    assert events[-1].more == {"colour": "red"}
    assert events[-1:].to_frame().loc[0, "task"] == "new"
    with pytest.raises(FileNotFoundError, match="no file of events"):
        read_events(tmp_path / "nothing-*.jsonl")


def test_the_report_of_a_run_that_was_killed(run_here, tmp_path, events):
    run_here(flow_of(tmp_path))
    lines = events.read_text().splitlines()
    events.write_text("\n".join(lines[:2]))
    report = read_events(events).report()
    assert {task.task for task in report.tasks} == {"load", "other", "take"}
    assert sum(len(task.runs) for task in report.tasks) == 1


def test_the_command_makes_the_report(run_here, tmp_path, events):
    run_here(flow_of(tmp_path))
    page = tmp_path / "report.html"
    call = ["report", str(events), "--html", str(page)]
    answer = CliRunner().invoke(commands, call, standalone_mode=False)
    assert answer.return_value == 1, answer.output
    assert "load failed: Error during execution of task" in answer.output
    assert "no part 2" in page.read_text()
    answer = CliRunner().invoke(commands, [*call, "--json"], standalone_mode=False)
    assert Counter(row["outcome"] for row in json.loads(answer.output)) == {
        "failed": 4,
        "ran": 3,
    }


def test_an_event_and_its_line_are_the_same():
    event = Event(event="ran", task="a\n\ud800", map_index=0, seconds=1.5, pid=3)
    line = event.to_line()
    assert line.count("\n") == 1
    assert line.isascii()
    assert Event.from_line(line) == event
