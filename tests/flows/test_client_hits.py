"""What ends on the client is not submitted; a run in which all is loaded needs no cluster."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import prefect
import pytest
from prefect import Flow, Parameter, case, task, unmapped
from prefect.engine.flow_runner import run_task
from prefect.executors import DaskExecutor, LocalDaskExecutor
from prefect.tasks.control_flow import merge
from prefect.utilities.context import Context

from prefect_ds import PandasResultHandler
from prefect_ds.checkpoints import memory_cache
from prefect_ds.engine.submission import run_submitted
from prefect_ds.engine.task_checkpoint import TaskCheckpoint
from prefect_ds.report import RunReport
from prefect_ds.storage.local_files import LocalFiles
from prefect_ds.storage.store import CheckpointStore
from prefect_ds.task_runner import DSTaskRunner
from tests.support.flows import Notes, frame_of


class Counting(DaskExecutor):
    """Counts its starts, and the runs of tasks that are submitted."""

    def __init__(self, address: str) -> None:
        super().__init__(address=address, watch_worker_status=False)
        self.n_starts = 0
        self.n_runs = 0

    def start(self) -> Any:
        self.n_starts += 1
        return super().start()

    def submit(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        self.n_runs += fn is run_submitted
        return super().submit(fn, *args, **kwargs)


@pytest.fixture
def counting(cluster_address: str) -> Any:
    return lambda: Counting(cluster_address)


def kept(path: Path) -> PandasResultHandler:
    return PandasResultHandler(path, "parquet")


@pytest.fixture
def flow(tmp_path: Path, notes: Notes) -> Flow:
    @task(result=kept(tmp_path / "load_{n}.parquet"))
    def load(n):
        notes(f"load {n}")
        return frame_of(n)

    @task(result=kept(tmp_path / "clean_{map_index}.parquet"))
    def clean(frame, factor):
        return frame.assign(factor=factor)

    @task(result=kept(tmp_path / "report.parquet"))
    def report(pair, kind):
        return pd.concat(pair[0]).assign(total=pair[1], kind=kind)

    @task(result=kept(tmp_path / "rare.parquet"))
    def rare():
        return frame_of(9)

    with Flow("hits") as flow:
        factor = Parameter("factor", default=1)
        kind = Parameter("kind", default="a")
        cleaned = clean.map(load.map([1, 2, 3]), unmapped(factor))
        report([cleaned, factor], kind)
        with case(kind, "b"):
            branch = rare()
        merge(branch)
    return flow


def counts(state: Any) -> dict[str, tuple[int, int]]:
    """Return how many results of each task were loaded and computed."""
    report = RunReport.of(state.result)
    return {row.task: (row.n_loaded, row.n_ran) for row in report.tasks}


def test_a_run_in_which_all_is_loaded_starts_no_cluster(flow, run_here, counting):
    fresh = run_here(flow, executor=counting())
    executor = counting()
    resumed = run_here(flow, executor=executor)
    assert (executor.n_starts, executor.n_runs) == (0, 0)
    report = flow.get_tasks("report")[0]
    pd.testing.assert_frame_equal(
        resumed.result[report].result, fresh.result[report].result
    )
    assert counts(resumed)["load"] == (3, 0)
    assert counts(resumed)["report"] == (1, 0)
    assert resumed.result[flow.get_tasks("rare")[0]].is_skipped()


def test_only_what_has_to_run_is_submitted(flow, run_here, counting, tmp_path, notes):
    run_here(flow, executor=counting())
    notes.take()
    (tmp_path / "load_2.parquet").unlink()
    executor = counting()
    state = run_here(flow, executor=executor)
    assert notes.lines == ["load 2"]
    assert counts(state)["load"] == (2, 1)
    assert counts(state)["clean"] == (3, 0)
    # load[1], and what waits for it: clean[1], the list of the cleaned, and report.
    assert (executor.n_starts, executor.n_runs) == (1, 4)


class CountingThreads(LocalDaskExecutor):
    """Counts the runs of tasks that are submitted."""

    def __init__(self) -> None:
        super().__init__(scheduler="threads")
        self.n_runs = 0

    def submit(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        self.n_runs += fn is run_task
        return super().submit(fn, *args, **kwargs)


@pytest.mark.parametrize("keep", [None, []])
def test_hits_are_not_submitted_to_threads_either(
    flow, run_here, tmp_path, notes, keep
):
    run_here(flow, executor=CountingThreads())
    notes.take()
    executor = CountingThreads()
    resumed = run_here(flow, executor=executor, keep_results=keep)
    assert executor.n_runs == 0
    assert counts(resumed)["load"] == (3, 0)
    (tmp_path / "load_2.parquet").unlink()
    state = run_here(flow, executor=executor, keep_results=keep)
    assert notes.lines == ["load 2"]
    assert counts(state)["load"] == (2, 1)
    assert counts(state)["clean"] == (3, 0)
    # As in the test above.
    assert executor.n_runs == 4


def test_an_object_store_is_looked_at_from_here_too(run_here, notes):
    folder = f"memory://{uuid.uuid4().hex}"

    @task(result=PandasResultHandler(f"{folder}/load_{{n}}.parquet", "parquet"))
    def load(n):
        notes(f"load {n}")
        return frame_of(n)

    @task(result=PandasResultHandler(f"{folder}/all.parquet", "parquet"))
    def whole(frames):
        return pd.concat(frames)

    with Flow("store") as flow:
        last = whole(load.map([1, 2, 3]))
    fresh = run_here(flow, executor=CountingThreads())
    notes.take()
    executor = CountingThreads()
    state = run_here(flow, executor=executor)
    assert (executor.n_runs, notes.take()) == (0, [])
    pd.testing.assert_frame_equal(state.result[last].result, fresh.result[last].result)
    fsspec.filesystem("memory").rm(f"{folder}/load_2.parquet")
    state = run_here(flow, executor=executor)
    assert notes.take() == ["load 2"]
    assert counts(state) == {"load": (2, 1), "whole": (1, 0)}


def test_the_steps_of_children_are_taken_in_their_order(run_here, notes, log_lines):
    folder = f"memory://{uuid.uuid4().hex}"

    def changes(of_task, old, new):
        name = prefect.context.task_full_name
        seen.append(f"{name} {type(old).__name__} {type(new).__name__}")

    handler = PandasResultHandler(f"{folder}/{{n}}.parquet", "parquet")

    @task(result=handler, state_handlers=[changes])
    def load(n):
        return frame_of(n)

    with Flow("store") as flow:
        load.map([3, 1, 2])
    seen: list[str] = []
    run_here(flow, executor=CountingThreads())
    log_lines.clear()
    seen.clear()
    run_here(flow, executor=CountingThreads())
    children = [f"load[{index}]" for index in range(3)]
    assert seen == [
        "load Pending Mapped",
        *[f"{child} Pending Success" for child in children],
    ]
    started = [line.split("'")[1] for line in log_lines if "Starting task" in line]
    assert started == ["load", *children]


def test_a_folder_that_cannot_be_read_here_is_left_to_the_workers(
    run_here, tmp_path, log_lines
):
    class Refusing(CheckpointStore):
        """Refuses one thread: nothing refuses root, which tests may run as."""

        def look_up(self, path, kind, **options):
            if threading.current_thread() is threading.main_thread():
                raise PermissionError(13, "Permission denied", path)
            return super().look_up(path, kind, **options)

    class Unreadable(PandasResultHandler):
        @property
        def store(self):
            return Refusing(super().store.files)

    @task(result=Unreadable(tmp_path / "load_{n}.parquet", "parquet"))
    def load(n):
        return frame_of(n)

    with Flow("unreadable") as flow:
        load.map([1, 2, 3])
    run_here(flow, executor=CountingThreads())
    executor = CountingThreads()
    state = run_here(flow, executor=executor)
    assert counts(state)["load"] == (3, 0)
    assert executor.n_runs == 3
    lines = [line for line in log_lines if "Workers look for" in line]
    assert len(lines) == 1
    assert str(tmp_path) in lines[0]


def test_a_first_run_digests_no_input_on_the_client(
    flow, run_here, counting, monkeypatch
):
    n_taken = Counter()
    take = TaskCheckpoint.of_run

    def counted(*args, **kwargs):
        n_taken["client"] += 1
        return take(*args, **kwargs)

    monkeypatch.setattr(TaskCheckpoint, "of_run", counted)
    run_here(flow, executor=counting())
    assert n_taken["client"] == 0
    run_here(flow, executor=counting())
    assert n_taken["client"] == 7


def test_stale_and_damaged_checkpoints_run_on_workers(
    flow, run_here, counting, tmp_path
):
    run_here(flow, executor=counting())
    (tmp_path / "load_3.parquet").write_bytes(b"PAR1")
    state = run_here(flow, executor=counting(), parameters={"factor": 2})
    assert counts(state)["load"] == (2, 1)
    assert counts(state)["clean"] == (0, 3)
    cleaned = state.result[flow.get_tasks("clean")[0]]
    assert "factor" in cleaned.map_states[0].message
    assert [frame["factor"].iloc[0] for frame in cleaned.result] == [2, 2, 2]
    assert len(list((tmp_path / ".prefect_ds/set-aside").iterdir())) == 1


def test_each_task_run_is_logged_once(flow, run_here, counting, tmp_path, log_lines):
    run_here(flow, executor=counting())
    (tmp_path / "load_2.parquet").unlink()
    log_lines.clear()
    run_here(flow, executor=counting())
    started = Counter(
        line.split("'")[1] for line in log_lines if "Starting task run" in line
    )
    assert started["load[0]"] == 1
    assert started["report"] == 1
    assert max(started.values()) == 1


def test_handlers_and_triggers_of_the_users_see_what_they_always_saw(
    run_here, counting, tmp_path, notes
):
    def changes(of_task, old, new):
        notes(f"{of_task.name} {type(old).__name__} {type(new).__name__}")

    def trigger(states):
        notes("trigger")
        return True

    @task(result=kept(tmp_path / "one.parquet"), state_handlers=[changes])
    def one():
        return frame_of(1)

    @task(result=kept(tmp_path / "two.parquet"), trigger=trigger)
    def two(frame):
        return frame

    with Flow("handlers") as flow:
        two(one())
    run_here(flow, executor=counting())
    assert notes.take() == ["one Pending Running", "one Running Success", "trigger"]
    run_here(flow, executor=counting())
    assert notes.take() == ["one Pending Success", "trigger"]


def test_a_failed_trigger_needs_no_worker(run_here, counting, tmp_path):
    from prefect.triggers import all_failed

    @task(result=kept(tmp_path / "one.parquet"))
    def one():
        return frame_of(1)

    @task(result=kept(tmp_path / "two.parquet"), trigger=all_failed)
    def two(frame):
        return frame

    with Flow("triggers") as flow:
        last = two(one())
    run_here(flow, executor=counting())
    executor = counting()
    state = run_here(flow, executor=executor)
    assert executor.n_starts == 0
    assert type(state.result[last]).__name__ == "TriggerFailed"


def test_a_task_without_a_handler_runs_on_a_worker(run_here, counting, notes):
    @task
    def plain(number):
        from distributed import get_worker

        get_worker()
        notes("plain")
        return number

    with Flow("plain") as flow:
        plain(1)
    executor = counting()
    assert run_here(flow, executor=executor).is_successful()
    assert notes.lines == ["plain"]
    assert executor.n_runs == 1


def mapped_twice(folder: Path, **settings: Any) -> Flow:
    """Return a flow of two mapped stages, whose paths have names of Prefect's."""

    @task(result=kept(folder / "{task_name}_{n}_{task_run_count}.parquet"), **settings)
    def load(n):
        return frame_of(n)

    @task(result=kept(folder / "{task_full_name}_{checkpointing}.parquet"), **settings)
    def clean(frame, by):
        return frame.assign(by=by)

    with Flow("mapped twice") as flow:
        clean.map(load.map([1, 2, 3]), unmapped(2))
    return flow


def test_a_child_is_taken_at_once_as_by_prefects_steps(
    run_here, counting, tmp_path, log_lines
):
    def sees(of_task, old, new):
        seen.append(of_task.name)

    def said(flow: Flow) -> tuple[list[str], list[list[str]]]:
        log_lines.clear()
        executor = counting()
        state = run_here(flow, executor=executor)
        assert executor.n_runs == 0
        messages = [
            [f"{type(child).__name__} {child.message}" for child in mapped.map_states]
            for mapped in (state.result[task] for task in flow.sorted_tasks())
            if mapped.is_mapped()
        ]
        lines = [line for line in log_lines if line.startswith("Task ")]
        return lines, messages

    seen: list[str] = []
    run_here(mapped_twice(tmp_path), executor=counting())
    at_once = said(mapped_twice(tmp_path))
    assert not seen
    by_steps = said(mapped_twice(tmp_path, state_handlers=[sees]))
    assert seen.count("clean") == 4
    assert at_once == by_steps
    assert len(at_once[1]) == 2


def test_a_hit_of_a_child_reads_one_file_and_needs_no_runner(
    run_here, counting, tmp_path, monkeypatch
):
    flow = mapped_twice(tmp_path)
    run_here(flow, executor=counting())
    numbers: Counter[str] = Counter()

    def count(kind: type, name: str) -> None:
        method = getattr(kind, name)

        def counted(*args, **kwargs):
            numbers[name] += 1
            return method(*args, **kwargs)

        monkeypatch.setattr(kind, name, counted)

    count(LocalFiles, "status")
    count(LocalFiles, "read_bytes")
    count(TaskCheckpoint, "find")
    count(DSTaskRunner, "__init__")
    assert run_here(flow, executor=counting()).is_successful()
    # Three children of two tasks: two looks at the data, one file read. One look is at
    # the folder: whether anything in it was freed. Runners are those of the parents.
    assert numbers == {"status": 13, "read_bytes": 6, "find": 6, "__init__": 2}


def test_results_of_a_run_do_not_change_with_the_handler(run_here, tmp_path):
    flow = mapped_twice(tmp_path)
    run_here(flow)
    state = run_here(flow, executor=CountingThreads())
    load = flow.get_tasks("load")[0]
    load.result.read_kwargs = {"columns": ["name"]}
    # Else the frame of the first run would come back.
    memory_cache.resize(0)
    frame = state.result[load].result[0]
    memory_cache.resize(memory_cache.DEFAULT_BYTES)
    pd.testing.assert_frame_equal(frame, frame_of(1))


def test_prefects_context_is_left_faster_during_a_run_only(run_here, tmp_path):
    seen = []

    @task(result=kept(tmp_path / "outer.parquet"))
    def outer():
        with Flow("inner") as inner:
            task(lambda: seen.append("clear" in vars(Context)), name="look")()
        assert run_here(inner).is_successful()
        seen.append("clear" in vars(Context))
        return frame_of(1)

    with Flow("outer") as flow:
        outer()
    with prefect.context(mine=1):
        before = {**prefect.context, "caches": {}}  # Prefect leaves its caches there.
        assert run_here(flow).is_successful()
        assert {**prefect.context, "caches": {}} == before
    assert seen == [True, True]
    assert not {"clear", "update"} & vars(Context).keys()


def test_results_that_nobody_keeps_go_beside_hits(flow, run_here, counting, tmp_path):
    run_here(flow, executor=counting())
    (tmp_path / "clean_1.parquet").unlink()
    state = run_here(flow, executor=counting(), keep_results=[])
    assert state.is_successful(), state.message
    assert counts(state)["clean"] == (2, 1)
