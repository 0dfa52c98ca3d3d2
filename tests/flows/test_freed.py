"""Data that were freed still prove what was made from them."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path
from typing import Any

import cloudpickle
import dask.dataframe as dd
import pandas as pd
import pytest
from prefect import Flow, Parameter, Task, case, task
from prefect.engine.state import State

from prefect_ds import PandasResultHandler, explain
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.errors import CheckpointNotFoundError, PrefectDSError
from prefect_ds.report import RunReport, outcome_of
from prefect_ds.storage.manifest import FORMAT_VERSION
from tests.support.executors import on_every_executor
from tests.support.flows import Notes, frame_of
from tests.support.manifests import sealed
from tests.support.scale import SCALE

run = on_every_executor


def chain(folder: Path, notes: Notes) -> Flow:
    """Two loads, two cleans and a total."""

    def kept(name: str) -> PandasResultHandler:
        return PandasResultHandler(folder / f"{name}.parquet")

    @task(result=kept("load_{n}"))
    def load(n):
        notes(f"load {n}")
        return frame_of(n)

    @task(result=kept("clean_{map_index}"))
    def clean(frame):
        notes(f"clean {frame['id'].iloc[0]}")
        return frame.assign(value=frame["value"] * 2)

    @task(result=kept("total"))
    def total(frames):
        notes("total")
        return pd.concat(list(frames))

    with Flow("chain") as flow:
        total(clean.map(load.map([1, 2])))
    return flow


def handler_of(flow: Flow, name: str) -> Any:
    return flow.get_tasks(name)[0].result


def free(flow: Flow, name: str, *paths: Path) -> None:
    for path in paths:
        handler_of(flow, name).free(str(path))


@pytest.fixture
def flow(tmp_path: Path, notes: Notes) -> Flow:
    return chain(tmp_path, notes)


@pytest.fixture
def loads(tmp_path: Path) -> list[Path]:
    return [tmp_path / "load_1.parquet", tmp_path / "load_2.parquet"]


def test_what_follows_freed_data_loads_and_they_are_not_needed(run, flow, loads, notes):
    run(flow)
    free(flow, "load", *loads)
    notes.take()
    assert explain(flow).counts == {"not needed": 2, "load": 3}
    state = run(flow)
    assert notes.lines == []
    assert not any(path.exists() for path in loads)
    report = RunReport.of(state.result)
    assert (report["load"].n_not_needed, report["load"].n_loaded) == (2, 0)
    assert report["clean"].n_loaded == 2
    children = state.result[flow.get_tasks("load")[0]].map_states
    assert "its data were freed, and nothing that runs needs them" in (
        children[0].message
    )


def test_they_are_computed_again_where_a_consumer_runs(
    run, flow, loads, notes, tmp_path
):
    run(flow)
    free(flow, "load", *loads)
    (tmp_path / "clean_1.parquet").unlink()
    notes.take()
    explanation = explain(flow)
    decisions = [step.decision for step in explanation.steps]
    assert decisions == ["not needed", "run", "load", "run", "maybe"]
    assert explanation.steps[1].reason == "its data were freed"
    state = run(flow)
    assert notes.take() == ["clean 2", "load 2"]
    total = state.result[flow.get_tasks("total")[0]]
    assert outcome_of(total) == "loaded"
    assert [path.exists() for path in loads] == [False, True]
    run(flow)
    assert notes.lines == []


def test_on_request_they_are_computed_again(run, flow, loads, notes):
    run(flow)
    free(flow, "load", *loads)
    notes.take()
    state = run(flow, refresh=["load"])
    assert notes.take() == ["load 1", "load 2"]
    of_load = state.result[flow.get_tasks("load")[0]]
    assert of_load.result[0]["id"].iloc[0] == 1
    handler = handler_of(flow, "load")
    assert handler.manifest(str(loads[0])).freed_at is None
    run(flow)
    assert notes.lines == []


def test_the_result_of_a_last_task_is_computed_again(run, flow, notes, tmp_path):
    run(flow)
    free(flow, "total", tmp_path / "total.parquet")
    notes.take()
    assert explain(flow).counts == {"load": 4, "run": 1}
    state = run(flow)
    assert notes.lines == ["total"]
    assert len(state.result[flow.get_tasks("total")[0]].result) == 6


def test_a_whole_chain_is_freed_and_comes_back(run_here, flow, loads, notes, tmp_path):
    before = run_here(flow)
    cleaned = [tmp_path / "clean_0.parquet", tmp_path / "clean_1.parquet"]
    free(flow, "load", *loads)
    free(flow, "clean", *cleaned)
    notes.take()
    assert explain(flow).counts == {"not needed": 4, "load": 1}
    run_here(flow)
    assert notes.lines == []
    (tmp_path / "total.parquet").unlink()
    assert explain(flow).counts == {"run": 5}
    after = run_here(flow)
    assert len(notes.take()) == 5
    (total,) = flow.get_tasks("total")
    pd.testing.assert_frame_equal(
        before.result[total].result, after.result[total].result
    )


def test_a_file_deleted_by_hand_is_computed_again(run_here, flow, loads, notes):
    run_here(flow)
    loads[0].unlink()
    free(flow, "load", loads[1])
    notes.take()
    decisions = [step.decision for step in explain(flow).steps]
    assert decisions == ["run", "not needed", "maybe", "load", "maybe"]
    run_here(flow)
    assert notes.take() == ["load 1"]
    # It was freed once, and computed since; then somebody deletes it.
    run_here(flow, refresh=["load"])
    loads[1].unlink()
    notes.take()
    run_here(flow)
    assert notes.lines == ["load 2"]


def test_data_that_are_put_back_may_be_deleted_by_hand(
    run_here, flow, loads, notes, tmp_path
):
    run_here(flow)
    data = loads[0].read_bytes()
    free(flow, "load", loads[0])
    loads[0].write_bytes(data)
    notes.take()
    assert explain(flow).counts == {"load": 5}
    run_here(flow)
    assert notes.lines == []
    loads[0].unlink()
    handler_of(flow, "total").clean(older_than_s=-10)
    run_here(flow)
    assert notes.lines == ["load 1"]


def test_other_inputs_or_code_are_no_proof(run_here, flow, loads, notes):
    run_here(flow)
    free(flow, "load", *loads)
    notes.take()
    (load,) = flow.get_tasks("load")

    def other(n):
        notes(f"other {n}")
        return frame_of(n)

    load.run = other
    assert explain(flow).counts["run"] == 2
    run_here(flow)
    assert notes.take() == ["other 1", "other 2"]


def test_a_folder_that_was_copied_without_its_marker_computes(
    run_here, flow, loads, notes, tmp_path
):
    run_here(flow)
    free(flow, "load", *loads)
    (tmp_path / ".prefect_ds" / "freed").unlink()
    notes.take()
    assert explain(flow).counts == {"run": 2, "maybe": 3}
    run_here(flow)
    assert notes.lines == ["load 1", "load 2"]


def test_clean_keeps_the_manifests_of_freed_data(run_here, flow, loads, notes):
    run_here(flow)
    free(flow, "load", *loads)
    handler_of(flow, "total").clean(older_than_s=-10)
    assert explain(flow).counts == {"not needed": 2, "load": 3}


def test_clean_removes_the_manifest_of_data_deleted_by_hand(run_here, flow, loads):
    run_here(flow)
    loads[0].unlink()
    removed = handler_of(flow, "total").clean(older_than_s=-10)
    assert [Path(path).parent.name for path in removed] == ["_load_1._parquet_"]


def test_a_manifest_says_that_and_when_it_was_freed(run_here, flow, loads):
    run_here(flow)
    handler = handler_of(flow, "load")
    before = handler.manifest(str(loads[0]))
    free(flow, "load", loads[0])
    after = handler.manifest(str(loads[0]))
    assert [event.what for event in after.history] == ["freed"]
    assert after.freed_at == after.history[0].at
    assert (after.content, after.identity) == (before.content, before.identity)
    with pytest.raises(
        CheckpointNotFoundError, match=r"its data were freed; flow\.run\(refresh"
    ):
        handler.load(str(loads[0]), "other content")
    with pytest.raises(CheckpointNotFoundError, match="its data were freed"):
        handler.free(str(loads[0]))


def test_a_persons_file_cannot_be_freed(run_here, flow, loads):
    frame_of(7).to_parquet(loads[0])
    run_here(flow)
    with pytest.raises(PrefectDSError, match="cannot be freed"):
        free(flow, "load", loads[0])
    assert loads[0].exists()


def test_a_dask_frame_is_freed(run_here, tmp_path, notes):
    @task(result=DaskDataFrameResultHandler(tmp_path / "parts"))
    def load():
        notes("load")
        return dd.from_pandas(frame_of(1, n_rows=4), npartitions=2)

    @task(result=PandasResultHandler(tmp_path / "total.parquet"))
    def total(frame):
        notes("total")
        return frame.compute()

    with Flow("dask") as flow:
        total(load())
    run_here(flow)
    handler_of(flow, "load").free(str(tmp_path / "parts"))
    notes.take()
    assert explain(flow).counts == {"not needed": 1, "load": 1}
    run_here(flow)
    assert notes.lines == []
    assert not (tmp_path / "parts").exists()
    (tmp_path / "total.parquet").unlink()
    run_here(flow)
    assert notes.lines == ["load", "total"]


def test_a_condition_that_looks_at_freed_data_gets_them(run_here, tmp_path, notes):
    @task(result=PandasResultHandler(tmp_path / "a.parquet"))
    def load():
        notes("load")
        return frame_of(1)

    @task
    def size(frame):
        return len(frame)

    @task(result=PandasResultHandler(tmp_path / "b.parquet"))
    def branch():
        return frame_of(2)

    with Flow("condition") as flow, case(size(load()), 3):
        branch()
    run_here(flow)
    handler_of(flow, "load").free(str(tmp_path / "a.parquet"))
    notes.take()
    assert run_here(flow).is_successful()
    assert notes.lines == ["load"]


@pytest.mark.usefixtures("no_cache")
@pytest.mark.parametrize(
    "what", ["function as name", "template of a name", "trigger", "state handler"]
)
def test_what_a_function_of_the_users_may_look_at_is_computed_again(
    run, tmp_path, notes, what
):
    # Made here: workers cannot import a module of tests.
    def has_rows(states: dict[Any, Any]) -> bool:
        return all(len(state.result) == 3 for state in states.values())

    def counts_rows(_: Task, __: State, new_state: State) -> State:
        if new_state.is_successful():
            assert len(new_state.result) == 3
        return new_state

    of_load = {"state_handlers": [counts_rows]} if what == "state handler" else {}
    of_double: dict[str, Any] = {
        "function as name": {"task_run_name": lambda **inputs: len(inputs["frame"])},
        "template of a name": {"task_run_name": "of {frame.shape}"},
        "trigger": {"trigger": has_rows},
        "state handler": {},
    }[what]

    @task(result=PandasResultHandler(tmp_path / "a.parquet"), **of_load)
    def load():
        notes("load")
        return frame_of(1)

    @task(result=PandasResultHandler(tmp_path / "b.parquet"), **of_double)
    def double(frame):
        notes("double")
        return frame.assign(value=frame["value"] * 2)

    with Flow("looked at") as flow:
        doubled = double(load())
    before = run(flow).result[doubled].result
    handler_of(flow, "load").free(str(tmp_path / "a.parquet"))
    notes.take()
    assert [step.decision for step in explain(flow).steps] == ["run", "maybe"]
    state = run(flow)
    assert state.is_successful()
    assert notes.lines == ["load"]
    pd.testing.assert_frame_equal(state.result[doubled].result, before)


@pytest.mark.usefixtures("no_cache")
def test_state_handlers_of_all_tasks_may_look_at_freed_data(
    run_here, flow, loads, notes
):
    run_here(flow)
    free(flow, "load", *loads)
    notes.take()
    handlers = [lambda _, __, new_state: str(new_state.result) and new_state]
    assert run_here(flow, task_runner_state_handlers=handlers).is_successful()
    assert notes.lines == ["load 1", "load 2"]


def test_a_result_that_was_deleted_by_hand_before_can_be_freed(
    run_here, flow, loads, notes
):
    run_here(flow)
    manifest = next(loads[0].parent.glob(".prefect_ds/manifests/_load_1*/*.manifest"))
    body = json.loads(manifest.read_bytes())["manifest"]
    manifest.write_text(sealed({**body, "written_at": "2024-01-01 00:00:00+00:00"}))
    loads[0].unlink()
    run_here(flow)
    free(flow, "load", loads[0])
    notes.take()
    assert explain(flow).counts == {"not needed": 1, "load": 4}
    run_here(flow)
    assert notes.lines == []


def test_data_that_a_newer_version_freed_end_the_task_before_it_runs(
    run_here, flow, loads, notes
):
    run_here(flow)
    free(flow, "load", *loads)
    for manifest in loads[0].parent.glob(".prefect_ds/manifests/_load_*/*.manifest"):
        body = json.loads(manifest.read_bytes())["manifest"]
        manifest.write_text(sealed({**body, "format_version": FORMAT_VERSION + 1}))
    assert handler_of(flow, "total").clean(older_than_s=-10) == []
    notes.take()
    (reason,) = {step.reason for step in explain(flow).steps[:2]}
    assert reason.startswith("it will fail: the manifest has format")
    state = run_here(flow)
    children = state.result[flow.get_tasks("load")[0]].map_states
    assert [child.is_failed() for child in children] == [True, True]
    assert "install a newer one" in children[0].message
    assert notes.lines == []


def test_a_run_of_another_day_needs_what_that_day_takes(run_here, tmp_path, notes):
    @task(result=PandasResultHandler(tmp_path / "a.parquet"))
    def load():
        notes("load")
        return frame_of(1)

    @task(result=PandasResultHandler(tmp_path / "b_{today}.parquet"))
    def daily(frame):
        notes("daily")
        return frame

    with Flow("daily") as flow:
        daily(load())
    run_here(flow)
    handler_of(flow, "load").free(str(tmp_path / "a.parquet"))
    notes.take()
    other_day = {"today": "2024-02-29"}
    assert explain(flow).counts == {"not needed": 1, "load": 1}
    assert explain(flow, context=other_day).counts == {"run": 2}
    assert run_here(flow, context=other_day).is_successful()
    assert notes.lines == ["daily", "load"]


def test_the_reason_of_freed_data_says_what_has_changed_besides(run_here, flow, loads):
    run_here(flow)
    free(flow, "load", *loads)
    (load,) = flow.get_tasks("load")
    load.run = lambda n: frame_of(n + 1)
    step = explain(flow).steps[0]
    assert step.reason.startswith("its data were freed, code changed: ")
    assert step.size_bytes is None
    assert step.seconds > 0
    states = run_here(flow).result[load].map_states
    assert f"Ran because {step.reason}" in states[0].message


@pytest.mark.usefixtures("no_cache")
def test_a_result_that_is_asked_for_is_computed(run, flow, loads, notes, tmp_path):
    before = run(flow)
    load, clean = flow.get_tasks("load")[0], flow.get_tasks("clean")[0]
    expected = list(before.result[clean].result)
    cleaned = [tmp_path / "clean_0.parquet", tmp_path / "clean_1.parquet"]
    free(flow, "load", *loads)
    free(flow, "clean", *cleaned)
    state = run(flow)
    notes.take()
    second = state.result[clean].map_states[1].result
    pd.testing.assert_frame_equal(second, expected[1])
    # Only what leads to it, and no other child.
    assert notes.take() == ["clean 2", "load 2"]
    assert [path.exists() for path in [*loads, *cleaned]] == [False, True] * 2
    for frame, right in zip(state.result[clean].result, expected, strict=True):
        pd.testing.assert_frame_equal(frame, right)
    assert notes.take() == ["clean 1", "load 1"]
    assert [len(frame) for frame in state.result[load].result[:2]] == [3, 3]
    assert run(flow).is_successful()
    assert notes.lines == []


@pytest.mark.usefixtures("no_cache")
def test_a_result_that_cannot_be_computed_any_more_says_so(
    run_here, flow, loads, monkeypatch
):
    run_here(flow)
    free(flow, "load", *loads)
    state = run_here(flow)
    (load,) = flow.get_tasks("load")

    def gone(n):
        raise OSError("the source is gone")

    monkeypatch.setattr(load, "run", gone)
    with pytest.raises(
        CheckpointNotFoundError,
        match=r"its data were freed, and computing them again failed: .*source is gone",
    ):
        _ = state.result[load].result[0]
    # A state that travelled knows no flow.
    travelled = pickle.loads(cloudpickle.dumps(state.result[load]))
    with pytest.raises(CheckpointNotFoundError, match=r"flow\.run\(refresh="):
        _ = travelled.result[0]


@pytest.mark.usefixtures("no_cache")
def test_what_was_skipped_for_a_result_is_skipped_when_it_is_asked_for(
    run_here, tmp_path, notes
):
    def kept(name: str) -> PandasResultHandler:
        return PandasResultHandler(tmp_path / f"{name}.parquet")

    @task(result=kept("extra"))
    def extra():
        notes("extra")
        return frame_of(9)

    @task(result=kept("base_{days}"), skip_on_upstream_skip=False)
    def base(more, days):
        notes(f"base of {type(more).__name__}")
        return frame_of(days)

    @task(result=kept("last"))
    def last(frame):
        return frame

    with Flow("skipped") as flow:
        with case(Parameter("with_more", default=False), True):
            more = extra()
        of_base = base(more, Parameter("days", default=4))
        last(of_base)
    run_here(flow, parameters={"days": 5})
    handler_of(flow, "base").free(str(tmp_path / "base_5.parquet"))
    state = run_here(flow, parameters={"days": 5})
    notes.take()
    pd.testing.assert_frame_equal(state.result[of_base].result, frame_of(5))
    assert notes.lines == ["base of NoneType"]


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to each value in a JSON document."""
    if isinstance(value, dict) and value:
        return [leaf for key in value for leaf in leaves(value[key], (*path, key))]
    if isinstance(value, list) and value:
        return [
            leaf
            for key, item in enumerate(value)
            for leaf in leaves(item, (*path, key))
        ]
    return [path]


def mutated(value: Any, rng: random.Random) -> Any:
    """Return another value, mostly one of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + rng.choice([1, -1, 86_400])
    if isinstance(value, str) and value:
        position = rng.randrange(len(value))
        other = "0" if value[position] != "0" else "1"
        return value[:position] + other + value[position + 1 :]
    return rng.choice(["2024-01-01 00:00:00+00:00", {}, [], None, 1])


@pytest.mark.parametrize("seed", range(4 * SCALE))
def test_no_mutation_of_a_manifest_gives_a_wrong_skip(run_here, tmp_path, notes, seed):
    """Whatever a manifest says of freed data, the run's results are the right ones."""
    rng = random.Random(seed)
    flow = chain(tmp_path, notes)
    expected = run_here(flow).result[flow.get_tasks("total")[0]].result
    saved = {path: path.read_bytes() for path in tmp_path.glob("*.parquet")}
    free(flow, "load", tmp_path / "load_1.parquet", tmp_path / "load_2.parquet")
    manifests = {
        path: path.read_bytes() for path in tmp_path.glob(".prefect_ds/**/*.manifest")
    }
    marker = tmp_path / ".prefect_ds" / "freed"
    for _ in range(8):
        for name, data in {**saved, **manifests}.items():
            name.parent.mkdir(exist_ok=True, parents=True)
            name.write_bytes(data)
        marker.touch()
        for name in saved:
            if name.name.startswith("load"):
                name.unlink()
        if rng.random() < 0.5:
            rng.choice([path for path in saved if path.exists()]).unlink()
        target = rng.choice(sorted(manifests))
        body = json.loads(target.read_bytes())["manifest"]
        way = rng.choice(leaves(body))
        place = body
        for key in way[:-1]:
            place = place[key]
        place[way[-1]] = mutated(place[way[-1]], rng)
        target.write_text(sealed(body))
        state = run_here(flow)
        if way == ("format_version",) and state.is_failed():
            continue  # A manifest of a newer version ends the task, with advice.
        assert state.is_successful(), (way, state.message)
        total = state.result[flow.get_tasks("total")[0]].result
        pd.testing.assert_frame_equal(total, expected)
        # What an input is made from decides: other digests are no proof.
        if way[:2] == ("identity", "inputs"):
            name = "load" if "_load_" in target.parent.name else ""
            if name:
                index = int("load_2" in target.parent.name)
                child = state.result[flow.get_tasks(name)[0]].map_states[index]
                assert outcome_of(child) == "ran", way
