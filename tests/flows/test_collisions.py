"""Two tasks of one run at one path: refused before the run where it shows, else by the second writer."""

import os

import pandas as pd
import pytest
from prefect import Flow, Parameter, flatten, unmapped
from prefect.engine.flow_runner import FlowRunner
from prefect.engine.state import Failed

from prefect_ds import DSTaskRunner, PandasResultHandler, task
from prefect_ds.errors import TemplateError
from tests.support.flows import (
    data_files,
    frame_of,
    parquet,
    result_of,
)

# Collisions


def mapped_flow(folder, notes, wire, template="same"):
    @task(name="source", result=parquet(folder, "source_{id}"))
    def source(id):
        notes("ran")
        return frame_of(id)

    @task(name="child", result=parquet(folder, template))
    def child(x, y=0):
        notes("ran")
        return frame_of(1)

    @task(name="lists")
    def lists(n):
        notes("ran")
        return [n, n + 1]

    with Flow("mapped") as flow:
        wire(source, child, lists)
    return flow


WIRES = {
    "constants": lambda source, child, lists: child.map([1, 2]),
    "a varying and an unmapped": lambda source, child, lists: child.map(
        [1, 2], unmapped(3)
    ),
    "a map over a map": lambda source, child, lists: child.map(source.map([1, 2])),
    "flatten": lambda source, child, lists: child.map(flatten(lists.map([1, 2]))),
    "two maps": lambda source, child, lists: child.map(
        source.map([1, 2]), lists.map([1, 2])
    ),
    "a parameter": lambda source, child, lists: child.map(
        Parameter("xs", default=[1, 2])
    ),
}


@pytest.mark.parametrize(
    ("wire", "template"),
    [
        (wire, template)
        for wire in WIRES
        for template in ("same", "{y}", "{flow_name}_{task_name}_{today}", "{y:>3}")
        if not (wire == "two maps" and "y" in template)  # there it tells them apart
    ],
)
def test_a_template_that_cannot_tell_children_apart_fails_before_anything_runs(
    run_here, tmp_path, notes, wire, template
):
    flow = mapped_flow(tmp_path, notes, WIRES[wire], template)
    state = run_here(flow)
    assert state.is_failed()
    assert notes.lines == []
    assert isinstance(state.result, TemplateError)
    message = str(state.result)
    assert "'child'" in message
    assert template in message
    assert "{x}" in message
    assert "{map_index}" in message


@pytest.mark.parametrize(
    "template", ["{x}", "{map_index}", "{x}_{y}", "{task_full_name}", "{x:03d}"]
)
def test_a_template_that_tells_children_apart_passes(
    run_here, tmp_path, notes, template
):
    flow = mapped_flow(tmp_path, notes, WIRES["a varying and an unmapped"], template)
    assert run_here(flow).is_successful()
    assert len(data_files(tmp_path)) == 2


@pytest.mark.parametrize("wire", WIRES)
def test_under_prefects_own_flow_runner_it_fails_at_the_mapped_parent(
    tmp_path, notes, wire
):
    flow = mapped_flow(tmp_path, notes, WIRES[wire])
    (child,) = flow.get_tasks("child")
    state = FlowRunner(flow=flow, task_runner_cls=DSTaskRunner).run(
        return_tasks=[child]
    )
    assert state.is_failed()
    assert type(state.result[child]) is Failed
    assert "{map_index}" in state.result[child].message
    assert "child_" not in "".join(data_files(tmp_path))
    assert "same.parquet" not in data_files(tmp_path)


def test_the_target_of_a_mapped_task_is_checked_too(run_here, tmp_path):
    @task(
        result=PandasResultHandler(None, "parquet"), target=f"{tmp_path}/same.parquet"
    )
    def child(x):
        return frame_of(x)

    with Flow("target") as flow:
        child.map([1, 2])
    assert isinstance(run_here(flow).result, TemplateError)


def test_a_mapped_task_that_is_not_checkpointed_needs_no_varying_field(
    run_here, tmp_path
):
    @task(result=parquet(tmp_path, "same"), checkpoint=False)
    def child(x):
        return x

    with Flow("off") as flow:
        child.map([1, 2])
    assert run_here(flow).is_successful()


def collide(folder, notes, how, match="inputs"):
    @task(name="child", result=parquet(folder, "{key}", match=match))
    def child(key, value):
        notes(f"child {value}")
        return frame_of(value)

    @task(name="other", result=parquet(folder, "{key}", match=match))
    def other(key, value):
        notes(f"other {value}")
        return frame_of(value)

    @task(name="third", result=parquet(folder, "third_{map_index}"))
    def third(frame):
        return frame

    with Flow("collision") as flow:
        if how == "two children":
            third.map(child.map(["k", "k"], [1, 2]))
        elif how == "two tasks":
            child("k", 1)
            other("k", 2)
        elif how == "a child and a task":
            child.map(["k", "j"], [1, 2])
            other("k", 3)
        elif how == "equal inputs":
            third.map(child.map(["k", "k"], [1, 1]))
        elif how == "two spellings of one path":
            child("k", 1)
            other.copy(
                result=parquet(f"{folder}/../{os.path.basename(folder)}", "{key}")
            )("k", 2)
    return flow


@pytest.mark.parametrize(
    "how",
    ["two children", "two tasks", "a child and a task", "two spellings of one path"],
)
def test_two_tasks_on_one_path_with_different_inputs_fail_the_run_and_are_named(
    run, tmp_path, notes, how
):
    flow = collide(tmp_path, notes, how)
    state = run(flow)
    assert state.is_failed()
    messages = " ".join(
        [
            state.message,
            *(
                f"{child.message}"
                for each in state.result.values()
                for child in getattr(each, "map_states", [each])
            ),
        ]
    )
    assert "k.parquet" in messages
    names = {
        "two children": ("child-1[0]", "child-1[1]"),
        "a child and a task": ("child-1[0]", "other-1"),
    }
    for name in names.get(how, ("child-1", "other-1")):
        assert name in messages, messages
    # What is there is not trusted: the next run fails again, whoever is first.
    assert run(flow).is_failed()


def test_after_a_collision_no_result_is_taken_for_the_others(run_here, tmp_path, notes):
    flow = collide(tmp_path, notes, "two children")
    run_here(flow)
    assert data_files(tmp_path) == [] or all(
        not name.startswith("k") for name in data_files(tmp_path)
    )
    with Flow("alone") as alone:

        @task(name="child", result=parquet(tmp_path, "{key}"))
        def child(key, value):
            notes("alone")
            return frame_of(value)

        child("k", 2)
    state = run_here(alone)
    assert result_of(state, alone, "child")["id"][0] == 2
    assert "alone" in notes.lines


@pytest.mark.parametrize("match", ["inputs", "path"])
def test_a_collision_shows_also_where_all_is_loaded_or_only_the_path_counts(
    run_here, tmp_path, notes, match
):
    frame_of(5).to_parquet(tmp_path / "k.parquet")  # by hand: it counts for either
    state = run_here(collide(tmp_path, notes, "two children", match=match))
    assert notes.lines == []
    assert state.is_failed()
    assert "k.parquet" in state.message


def test_under_prefects_own_flow_runner_a_collision_fails_the_second_writer(
    tmp_path, notes
):
    flow = collide(tmp_path, notes, "two children")
    (child,) = flow.get_tasks("child")
    state = FlowRunner(flow=flow, task_runner_cls=DSTaskRunner).run(
        return_tasks=[child]
    )
    assert state.is_failed()
    assert "CollisionError" in state.result[child].map_states[1].message


def test_children_with_equal_inputs_share_one_checkpoint(run, tmp_path, notes):
    flow = collide(tmp_path, notes, "equal inputs")
    for _ in range(2):
        state = run(flow)
        assert state.is_successful()
        assert [frame["id"][0] for frame in result_of(state, flow, "third")] == [1, 1]
    assert set(notes.lines) == {"child 1"}
    assert "k.parquet" in data_files(tmp_path)


def test_a_collision_with_retries_does_not_pass_in_a_later_round(
    run_here, tmp_path, notes
):
    @task(
        result=parquet(tmp_path, "{key}"),
        max_retries=2,
        retry_delay=pd.Timedelta(0).to_pytimedelta(),
    )
    def child(key, value):
        return frame_of(value)

    with Flow("collision") as flow:
        child.map(["k", "k"], [1, 2])
    state = run_here(flow)
    assert state.is_failed()
