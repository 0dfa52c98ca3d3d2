"""Tasks that map over a result, or over what ``flatten`` makes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect import Flow, flatten, task, unmapped
from prefect.core import Task
from prefect.engine.state import State
from prefect.executors import LocalDaskExecutor, LocalExecutor
from prefect.utilities.tasks import as_task

from prefect_ds import DSTaskRunner, ObjectResultHandler
from prefect_ds.storage.store import CheckpointStore
from tests.differential.kit import aliases
from tests.support.flows import parquet
from tests.support.processes import executor_at

N_ITEMS = 40


@task
def taken(item: Any) -> Any:
    return item


@task
def total(items: list[int]) -> int:
    return sum(items)


@task
def places(a: Any, b: Any) -> list[int]:
    return aliases(a, b)


@task
def hand_on(value: Any) -> Any:
    return value


@task
def changed(row: list[int], rows: list[list[int]]) -> list[list[int]]:
    row.append(9)
    return [list(row) for row in rows]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose data are read in this process."""
    names: list[str] = []
    read_data = CheckpointStore.read_data

    def counted(store: CheckpointStore, path: str, part: Any) -> Any:
        names.append(Path(path).name)
        return read_data(store, path, part)

    monkeypatch.setattr(CheckpointStore, "read_data", counted)
    return names


@pytest.mark.parametrize(
    "executor", [LocalExecutor(), LocalDaskExecutor("threads", num_workers=4)]
)
def test_what_is_taken_item_by_item_is_read_once(tmp_path, reads, executor):
    def items(x: int) -> list[int]:
        return [x] * N_ITEMS

    def rows(x: int) -> list[list[int]]:
        return [[x] * 10] * 4

    def kept(make: Callable[..., Any], name: str) -> Task:
        return task(make, result=ObjectResultHandler(tmp_path / name))

    with Flow("items") as flow:
        listed = taken.map(kept(items, "items.json")(1))
        flat = taken.map(flatten(kept(rows, "rows.json")(1)))
        children = kept(items, "child_{x}.json").map([1, 2])
        flat_children = taken.map(flatten(children))
        reduced = total(flatten(children))
    for _ in range(2):
        reads.clear()
        state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)
        assert state.is_successful()
        found = [state.result[task].result for task in (listed, flat, flat_children)]
        assert [list(values) for values in found] == [
            [1] * N_ITEMS,
            [1] * N_ITEMS,
            [1] * N_ITEMS + [2] * N_ITEMS,
        ]
        assert state.result[reduced].result == 3 * N_ITEMS
        assert reads.count("items.json") == 1
        assert reads.count("rows.json") == 1
        # Twice by each of two tasks: for the number of items, and for the items.
        assert reads.count("child_1.json") <= 4
        assert reads.count("child_2.json") <= 4


def _of_kept_lists(folder: Path | None) -> Flow:
    def kept(make: Callable[..., Any], name: str) -> Task:
        handler = folder and ObjectResultHandler(folder / name)
        return task(make, result=handler)

    def rows() -> list[list[int]]:
        return [[1], [2]]

    def twice(x: int) -> list[pd.DataFrame]:
        return [pd.DataFrame({"x": [x]})] * 2

    def frame() -> pd.DataFrame:
        return pd.DataFrame({"x": [1]})

    with Flow("kept lists") as flow:
        listed, pair = kept(rows, "rows.json")(), kept(twice, "pair.pkl")(1)
        pairs = kept(twice, "pair_{x}.pkl").map([1, 2])
        one = task(frame, result=folder and parquet(folder, "frame"))()
        nested = as_task([pair, [one]])
        flow.asked = [
            places.map(listed, unmapped(listed)),
            places.map(pair, unmapped(pair)),
            places(hand_on.map(pair), pair),
            places(hand_on.map(listed), listed),
            places.map(flatten(nested), unmapped(nested)),
            places.map(flatten(pairs), unmapped(pairs)),
            places(hand_on.map(flatten(pairs)), pairs),
            places(hand_on.map(pair), hand_on.map(pair)),
        ]
    return flow


@pytest.mark.parametrize(
    "executor", [LocalExecutor(), LocalDaskExecutor("threads", num_workers=4)]
)
def test_an_item_is_one_object_with_the_same_in_the_whole(tmp_path, executor):
    plain, flow = _of_kept_lists(None), _of_kept_lists(tmp_path)
    expected = plain.run(executor=executor)
    seen = [expected.result[task].result for task in plain.asked]
    assert seen[0] == [[0, 1, 2, 1, 4], [0, 1, 2, 3, 1]]
    for _ in range(2):
        state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)
        assert state.is_successful()
        found = [state.result[task].result for task in flow.asked]
        assert [list(values) for values in found] == seen


def test_a_task_that_changes_an_item_changes_it_in_the_whole(
    run_here: Callable[..., State], tmp_path: Path
) -> None:
    def make(folder: Path | None) -> tuple[Flow, Task]:
        handler = folder and ObjectResultHandler(folder / "rows.json")
        with Flow("changed") as flow:
            rows = task(lambda: [[1], [2]], name="rows", result=handler)()
            asked = changed.map(rows, unmapped(rows))
        return flow, asked

    plain, asked = make(None)
    expected = plain.run(executor=LocalExecutor()).result[asked].result
    assert expected[1] == [[1, 9], [2, 9]]
    flow, asked = make(tmp_path)
    for _ in range(2):
        assert list(run_here(flow).result[asked].result) == expected


class Model:
    """A user's object without items."""


@pytest.mark.parametrize(
    "make", [lambda: 3, lambda: "ab", lambda: {"a": 1}, Model, lambda: None]
)
@pytest.mark.parametrize("is_flat", [True, False])
def test_what_has_no_items_does_as_in_prefect(
    run_here: Callable[..., State], tmp_path: Path, make: Any, is_flat: bool
) -> None:
    def flow_of(folder: Path | None) -> tuple[Flow, list[Task]]:
        handler = folder and ObjectResultHandler(folder / "value.pkl")
        each = folder and ObjectResultHandler(folder / "value_{x}.pkl")
        with Flow("no items") as flow:
            value = task(make, name="value", result=handler)()
            many = task(lambda x: make(), name="many", result=each).map([1, 2])
            if not is_flat:
                return flow, [kinds.map(value)]
            return flow, [kinds(flatten(value)), kinds.map(flatten(many))]

    plain, tasks = flow_of(None)
    expected = plain.run(executor=LocalExecutor())
    flow, asked = flow_of(tmp_path)
    for _ in range(2):
        state = run_here(flow)
        assert (type(state), state.message) == (type(expected), expected.message)
        if isinstance(expected.result, Exception):
            continue
        for one, other in zip(tasks, asked, strict=True):
            states = [expected.result[one], state.result[other]]
            assert type(states[0]) is type(states[1])
            assert states[0].message == states[1].message
            assert _plain(states[0].result) == _plain(states[1].result)


@task
def kinds(of: Any) -> Any:
    return (
        [type(item).__name__ for item in of] if isinstance(of, list) else repr(of)[:9]
    )


def _plain(result: Any) -> Any:
    if isinstance(result, BaseException):
        return str(result)
    return result if result is None or isinstance(result, str) else list(result)


def test_a_cluster_is_given_items_that_the_client_reads_once(
    tmp_path: Path, reads: list[str], cluster_address: str
) -> None:
    def kept(make: Callable[[], Any], name: str) -> Task:
        return task(make, name=name, result=ObjectResultHandler(tmp_path / name))()

    with Flow("on a cluster") as flow:
        listed = taken.map(kept(lambda: list(range(N_ITEMS)), "listed.json"))
        flat = taken.map(flatten(kept(lambda: [[1], [2, 3]], "rows.json")))
        failing = taken.map(kept(lambda: {1, 2}, "set.json"))
    for _ in range(2):
        reads.clear()
        executor = executor_at(cluster_address)
        state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)
        assert list(state.result[listed].result) == list(range(N_ITEMS))
        assert list(state.result[flat].result) == [1, 2, 3]
        assert "unmappable" in state.result[failing].message
        assert reads.count("listed.json") == 1
