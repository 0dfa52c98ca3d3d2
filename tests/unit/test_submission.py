"""What of a task's run goes to a Dask cluster, and how much of it the scheduler holds."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect import Flow, task, unmapped
from prefect.core import Edge
from prefect.core.task import Task
from prefect.engine.state import Mapped, Success
from prefect.engine.task_runner import TaskRunner

from prefect_ds import DSTaskRunner, PandasResultHandler
from prefect_ds.engine import submission
from prefect_ds.engine.submission import Blob, Submissions, Submitted, run_submitted
from tests.support.processes import executor_at

UP, OTHER, DOWN = Task("up"), Task("other"), Task("down")


def call(index: int, **changes: Any) -> dict[str, Any]:
    """The arguments of ``run_task`` for a child that maps over ``up`` and takes ``other`` whole."""
    edges = changes.pop("edges", EDGES)
    return {
        "task": DOWN,
        "state": None,
        "upstream_states": {edges[0]: Success(result=index), edges[1]: WHOLE},
        "context": {"config": CONFIG, "map_index": index},
        "flow_result": None,
        "task_runner_cls": TaskRunner,
        "task_runner_state_handlers": HANDLERS,
        "upstream_mapped_states": {},
        **changes,
    }


EDGES = [Edge(UP, DOWN, key="x", mapped=True), Edge(OTHER, DOWN, key="y")]
HANDLERS: list[Any] = []
CONFIG = {"large": list(range(1000))}
WHOLE = Success(result=list(range(1000)))


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments with which ``run_task`` was called."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(
        submission, "run_task", lambda **arguments: calls.append(arguments)
    )
    return calls


def shape(call: dict[str, Any]) -> dict[str, Any]:
    """A call as values that compare, and its edges in their order."""
    edges = {
        name: [
            (edge.key, edge.upstream_task.name, edge.mapped, state)
            for edge, state in call[name].items()
        ]
        for name in ("upstream_states", "upstream_mapped_states")
    }
    return {**call, **edges, "task": call["task"].name}


def test_run_task_is_called_with_what_was_submitted(
    called: list[dict[str, Any]],
) -> None:
    submissions = Submissions()
    for index in range(3):
        run_submitted(*submissions.split(call(index)))
    assert [shape(each) for each in called] == [
        shape(call(index)) for index in range(3)
    ]


def test_states_that_are_not_there_yet_are_put_in_by_dask(
    called: list[dict[str, Any]],
) -> None:
    first, second, reduced = (
        Submitted("first"),
        Submitted("second"),
        Submitted("reduced"),
    )
    edges = [*EDGES, Edge(Task("mapped"), DOWN, key="z")]
    parent = Mapped()
    blob, own, futures = Submissions().split(
        call(
            0,
            upstream_states={edges[0]: first, edges[1]: second, edges[2]: parent},
            upstream_mapped_states={edges[2]: [reduced, first]},
        )
    )
    assert sorted(futures) == ["first", "first", "reduced", "second"]
    run_submitted(blob, own, [Success(result=each) for each in futures])  # type: ignore[misc]
    (arguments,) = called
    states = {edge.key: state for edge, state in arguments["upstream_states"].items()}
    assert (states["x"].result, states["y"].result) == ("first", "second")
    ((edge, mapped),) = arguments["upstream_mapped_states"].items()
    assert (edge.key, [state.result for state in mapped]) == ("z", ["reduced", "first"])


def test_siblings_share_all_but_their_element_and_index() -> None:
    submissions = Submissions()
    (one, own, _), (other, *_) = submissions.split(call(0)), submissions.split(call(1))
    assert one is other
    assert len(own) < 600 < len(one.data)


@pytest.mark.parametrize(
    "changes",
    [
        {"task": Task("another")},
        {"is_mapped_parent": True},
        {"context": {"config": {"another": True}, "map_index": 1}},
        {"context": {"map_index": 1}},
        {"upstream_states": {EDGES[0]: Success(), EDGES[1]: Success(result="another")}},
        {"upstream_states": {EDGES[0]: Success()}},
    ],
)
def test_what_differs_is_not_shared(
    changes: dict[str, Any], called: list[dict[str, Any]]
) -> None:
    submissions = Submissions()
    submissions.split(call(0))
    run_submitted(*submissions.split(call(1, **changes)))
    expected = shape(call(1, **changes))
    assert {name: shape(called[0])[name] for name in expected} == expected


def test_no_run_sees_what_another_did_to_what_they_share(
    called: list[dict[str, Any]],
) -> None:
    submissions = Submissions()
    for index in range(2):
        run_submitted(*submissions.split(call(index)))
        if index == 0:
            for state in called[0]["upstream_states"].values():
                state.result = "changed"
            called[0]["context"]["config"].clear()
    assert shape(called[1]) == shape(call(1))


def test_a_process_holds_one_copy_of_a_blob() -> None:
    blob = Blob(b"x" * 1000, "token")
    sent = pickle.dumps(blob)
    one, other = pickle.loads(sent), pickle.loads(sent)
    assert one is other
    assert (one.data, one.token) == (blob.data, blob.token)


@task
def held_by_scheduler(parts: list[pd.DataFrame]) -> list[tuple[int, int]]:
    """Look at what the scheduler holds of the tasks named part: identity of the shared bytes, size of the own."""
    from distributed import worker_client

    def look(dask_scheduler: Any) -> list[tuple[int, int]]:
        calls = [
            each.run_spec
            for key, each in dask_scheduler.tasks.items()
            if str(key).startswith("part-")
        ]
        arguments = [[arg for arg in each.args if not callable(arg)] for each in calls]
        blobs = [
            next(arg for arg in args if type(arg).__name__ == "Blob")
            for args in arguments
        ]
        owns = [next(arg for arg in args if type(arg) is bytes) for args in arguments]
        return [(id(blob), len(own)) for blob, own in zip(blobs, owns, strict=True)]

    with worker_client() as client:
        held: list[tuple[int, int]] = client.run_on_scheduler(look)
    return held


@task
def numbers() -> list[int]:
    return list(range(20_000))


def test_the_scheduler_holds_one_copy_of_what_siblings_share(
    cluster_address: str, tmp_path: Path
) -> None:
    @task(result=PandasResultHandler(tmp_path / "{i}.csv", "csv"))
    def part(i: int, whole: list[int]) -> pd.DataFrame:
        return pd.DataFrame({"i": [i + len(whole)]})

    with Flow("held") as flow:
        parts = part.map(list(range(8)), unmapped(numbers()))
        held = held_by_scheduler(parts)
    executor = executor_at(cluster_address)
    state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)
    assert state.is_successful(), state
    assert [frame.i.item() for frame in state.result[parts].result] == [
        20_000 + i for i in range(8)
    ]
    children = sorted(state.result[held].result, key=lambda each: each[1])[:8]
    assert len({identity for identity, _ in children}) == 1
    assert all(size < 1000 for _, size in children)


@task
def emptied(whole: list[int], i: int) -> int:
    n_before = len(whole)
    whole.clear()
    return n_before


def test_a_task_that_changes_an_unmapped_input_harms_no_sibling_on_its_worker(
    cluster_address: str,
) -> None:
    with Flow("in place") as flow:
        counts = emptied.map(unmapped(numbers()), list(range(6)))
    executor = executor_at(cluster_address)
    state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)
    assert state.result[counts].result == [20_000] * 6
