"""A flow with checkpoints sees the objects that it sees without them.

Each test runs one flow twice, with and without handlers, and compares the two.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import prefect
import pytest
from prefect import Flow, Parameter, flatten, task, unmapped
from prefect.engine import signals
from prefect.engine.state import State
from prefect.executors import Executor, LocalDaskExecutor, LocalExecutor
from prefect.tasks.core.collections import List
from prefect.utilities.configuration import set_temporary_config
from prefect.utilities.tasks import as_task

from prefect_ds import DSTaskRunner, ObjectResultHandler, PandasResultHandler
from prefect_ds.checkpoints import memory_cache
from tests.differential.kit import aliases
from tests.support.flows import Notes, parquet


@task
def changed(frames: list[pd.DataFrame]) -> list[list[int]]:
    """Change each frame, and return what is in all of them then."""
    for number, frame in enumerate(frames):
        frame["number"] = number
    return [frame["number"].tolist() for frame in frames]


@task
def are_one(left: Any, right: Any) -> bool:
    return left is right


@task
def first_are_one(left: list[Any], right: list[Any]) -> bool:
    return left[0] is right[0]


@task
def kind(of: Any) -> str:
    return type(of).__name__


def _frames(folder: Path | None, name: str = "frame_{x}") -> prefect.Task:
    def frame(x: int) -> pd.DataFrame:
        return pd.DataFrame({"x": [x]})

    result = None if folder is None else parquet(folder, name)
    return task(frame, name="frame", result=result)


def _both(run: Callable[..., State], make: Callable[..., Flow], folder: Path) -> Any:
    """Return the results of the flow's ``asked`` tasks without and with handlers."""
    plain = make(None)
    expected = plain.run(executor=LocalExecutor())
    flow = make(folder)
    runs = [run(flow), run(flow)]
    assert [type(state) for state in runs] == [type(expected)] * 2
    assert isinstance(expected.result, dict)
    return (
        [expected.result[task].result for task in plain.asked],
        [[state.result[task].result for task in flow.asked] for state in runs],
    )


@pytest.mark.parametrize("cache_bytes", [memory_cache.DEFAULT_BYTES, 0])
def test_what_is_one_object_stays_one_and_what_is_two_stays_two(
    run: Callable[..., State], tmp_path: Path, cache_bytes: int
) -> None:
    def make(folder: Path | None) -> Flow:
        frame = _frames(folder)
        with Flow("objects") as flow:
            # The first two render one path for equal inputs.
            children = frame.map([1, 1, 2])
            one, other = frame(5), frame(5)
            collected = List().bind(one)
            flow.asked = [
                changed(children),
                changed([one, one, other]),
                are_one(one, one),
                are_one(one, other),
                are_one(children, children),
                are_one(collected, collected),
                first_are_one(collected, [one]),
                first_are_one(children, [children[0]]),
            ]
        return flow

    with set_temporary_config({"prefect_ds.cache_bytes": cache_bytes}):
        expected, found = _both(run, make, tmp_path)
    assert expected[:4] == [[[0], [1], [2]], [[1], [1], [2]], True, False]
    assert found == [expected] * 2


@pytest.mark.parametrize("cache_bytes", [memory_cache.DEFAULT_BYTES, 0])
def test_what_a_task_hands_on_is_one_object_with_the_result_itself(
    run_here: Callable[..., State], tmp_path: Path, cache_bytes: int
) -> None:
    @task
    def handed_on(frames: Any) -> Any:
        return frames

    def make(folder: Path | None) -> Flow:
        frame = _frames(folder)
        with Flow("handed on") as flow:
            one, other = frame(5), frame(5)
            children = frame.map([1, 1])
            flow.asked = [
                are_one(handed_on(one), one),
                are_one(handed_on(one), other),
                first_are_one(children, handed_on(handed_on(children))),
                first_are_one(handed_on([one]), [one]),
                first_are_one(handed_on([one]), [other]),
                changed([one, handed_on(one), other]),
            ]
        return flow

    with set_temporary_config({"prefect_ds.cache_bytes": cache_bytes}):
        expected, found = _both(run_here, make, tmp_path)
    assert expected == [True, False, True, True, False, [[1], [1], [2]]]
    assert found == [expected] * 2


@task
def hand_on(value: Any) -> Any:
    return value


@task
def hand_on_too(value: Any) -> Any:
    return value


@task
def wrap(value: Any) -> dict[str, Any]:
    return {"inside": [value]}


@dataclasses.dataclass
class Held:
    """A user's own class."""

    value: Any


class Named(NamedTuple):
    value: Any


@task
def held(value: Any) -> Held:
    return Held({"in": value})


@task
def named_tuple(value: Any) -> Named:
    return Named(OrderedDict(a=[value]))


@task
def inner_places(a: Any, b: Held, c: Named) -> list[int]:
    return aliases(a, b.value, c.value)


@task
def places(a: Any, b: Any = None, c: Any = None, d: Any = None) -> list[int]:
    """Return which objects in the values are one."""
    return aliases(a, b, c, d)


@task
def lengthened(values: list[Any]) -> list[Any]:
    values.append(0)
    return values


@task
def lengths(left: list[Any], right: list[Any]) -> list[int]:
    return [len(left), len(right)]


def _containers_handed_on(folder: Path | None) -> Flow:
    frame = _frames(folder)

    def kept(make: Callable[[], Any], ending: str) -> prefect.Task:
        handler = folder and ObjectResultHandler(folder / f"{make.__name__}.{ending}")
        return task(make, result=handler)()

    def settings() -> dict[str, Any]:
        return {"a": [1, {"b": 2}], "empty": []}

    def pieces() -> list[pd.DataFrame]:
        return [pd.DataFrame({"x": [1]}), pd.DataFrame({"x": [1]})]

    with Flow("containers") as flow:
        one, other = frame(5), frame(5)
        listed = as_task([one, [other, {"k": one}], (other,)])
        named = as_task({"one": one, "all": listed})
        of_json, of_pickle = kept(settings, "json"), kept(pieces, "pkl")
        flow.asked = [
            places(listed, hand_on(listed)),
            places(listed, hand_on(hand_on_too(listed)), wrap(listed), [listed]),
            places(hand_on(listed), hand_on_too(listed)),
            places(hand_on(one), hand_on_too(one), wrap(one), other),
            places(hand_on(other), hand_on(one), wrap(wrap(listed)), listed),
            places(hand_on(named), named, hand_on(listed), wrap(named["all"])),
            places(hand_on(named)["all"][1], listed, hand_on(listed)[1]),
            places(hand_on(of_json), of_json, of_json["a"], hand_on_too(of_json)),
            places(hand_on(of_json["a"]), of_json, hand_on(of_json)["a"]),
            places(hand_on(of_pickle), of_pickle, of_pickle[1], wrap(of_pickle[0])),
            places.map(hand_on.map(listed), listed),
            places(hand_on.map(listed), listed, wrap.map(listed)),
            places(hand_on.map([one, other]), hand_on_too.map([one, other])),
            places(hand_on(as_task([one])), as_task([one])),
            inner_places(listed, held(listed), named_tuple(0)),
            inner_places(of_json, held(one), named_tuple(of_json)),
            inner_places(listed, held(0), named_tuple(hand_on(listed))),
        ]
    return flow


@pytest.mark.parametrize(
    ("executor", "cache_bytes"),
    [
        (LocalExecutor, memory_cache.DEFAULT_BYTES),
        (functools.partial(LocalDaskExecutor, "threads", num_workers=4), 0),
    ],
    ids=["local", "threads"],
)
def test_containers_that_are_handed_on_stay_one(
    tmp_path: Path, executor: Callable[[], Executor], cache_bytes: int
) -> None:
    plain, flow = _containers_handed_on(None), _containers_handed_on(tmp_path)
    expected = plain.run(executor=executor())
    assert expected.is_successful()
    seen = [expected.result[task].result for task in plain.asked]
    assert len(set(seen[0])) < len(seen[0])
    with set_temporary_config({"prefect_ds.cache_bytes": cache_bytes}):
        for _ in range(2):
            state = flow.run(executor=executor(), task_runner_cls=DSTaskRunner)
            assert state.is_successful()
            assert [_listed(state.result[task].result) for task in flow.asked] == seen


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [*value]


def test_a_container_of_what_two_tasks_hand_on_stays_one(
    run_here: Callable[..., State], tmp_path: Path
) -> None:
    def make(folder: Path | None) -> Flow:
        frame = _frames(folder)
        with Flow("wrapped") as flow:
            listed = as_task([frame(1)])
            wrapped, too = wrap(listed), hand_on(listed)
            both = hand_on_too(as_task([too, wrapped]))
            flow.asked = [places(both, wrapped, too)]
        return flow

    expected, found = _both(run_here, make, tmp_path)
    assert expected[0][2] == expected[0][-1]
    assert found == [expected] * 2


@task
def tuple_of(value: Any) -> tuple[Any]:
    return (value,)


@pytest.mark.parametrize("wrapped", [wrap, tuple_of])
def test_copies_of_which_a_task_made_one_stay_one_for_the_tasks_after_it(
    run_here: Callable[..., State], tmp_path: Path, wrapped: prefect.Task
) -> None:
    @task(max_retries=1, retry_delay=timedelta(0))
    def retried(a: Any, b: Any, c: Any = None) -> list[int]:
        if prefect.context.task_run_count == 1:
            raise ValueError("once more")
        return aliases(a, b, c)

    def make(folder: Path | None) -> Flow:
        frame = _frames(folder)
        with Flow("after") as flow:
            listed = as_task([frame(1), frame(2)])
            one, other = wrapped(listed), wrapped(listed)
            # A parent gives each child a state of its own.
            mapped = wrapped.map(as_task([listed, listed]))
            # Before `both`, which makes of `one` and `other` one object.
            inside = as_task({"a": one, "b": [listed]})
            too = as_task({"a": other, "b": [listed]})
            both = places(listed, one, other, mapped, upstream_tasks=[inside, too])
            again = retried(listed, other, one)
            flow.asked = [
                both,
                again,
                places(listed, other, upstream_tasks=[both]),
                places(one, other, upstream_tasks=[both, again]),
                places.map(unmapped(listed), mapped, upstream_tasks=[both]),
                places(inside, upstream_tasks=[both]),
                places(too, upstream_tasks=[both]),
                retried(listed, other, upstream_tasks=[both]),
                retried(listed, mapped, upstream_tasks=[both]),
            ]
        return flow

    expected, found = _both(run_here, make, tmp_path)
    assert len(set(expected[0])) < len(expected[0])
    assert found == [expected] * 2


@pytest.mark.parametrize("wrapped", [wrap, tuple_of])
def test_copies_of_which_a_task_made_one_and_changed_it_stay_one(
    run_here: Callable[..., State], tmp_path: Path, wrapped: prefect.Task
) -> None:
    @task
    def lengthened_by_one(a: list[Any], b: Any, c: Any) -> list[int]:
        a.append(pd.DataFrame({"x": [9]}))
        return aliases(a, b, c)

    @task
    def seen(a: list[Any], b: Any) -> list[Any]:
        return [len(a), aliases(a, b)]

    def make(folder: Path | None) -> Flow:
        frame = _frames(folder)
        with Flow("changed after") as flow:
            listed = hand_on(as_task([frame(1), frame(2)]))
            one, other = wrapped(listed), wrapped(listed)
            both = lengthened_by_one(listed, one, other)
            flow.asked = [both, seen(listed, other, upstream_tasks=[both])]
        return flow

    expected, found = _both(run_here, make, tmp_path)
    assert expected[1][0] == 3
    assert found == [expected] * 2


def test_what_one_task_has_changed_is_not_what_another_has_loaded(
    run_here: Callable[..., State], tmp_path: Path
) -> None:
    frame = _frames(tmp_path)
    with Flow("changed") as flow:
        listed = as_task([frame(1)])
        longer, as_it_was = hand_on(listed), hand_on_too(listed)
        changed_list = lengthened(longer)
        seen = lengths(changed_list, as_it_was)
    assert run_here(flow).result[seen].result == [2, 1]


def test_a_frame_of_an_earlier_run_is_another_object(
    run_here: Callable[..., State], tmp_path: Path
) -> None:
    frame = _frames(tmp_path)
    with Flow("again") as flow:
        given = Parameter("given", default=None)
        made = frame(5)
        seen = are_one(given, made)
    state = run_here(flow)
    before = state.result[made].result
    again = run_here(flow, parameters={"given": before})
    assert again.result[seen].result is False


def test_flatten_goes_over_what_it_goes_over_in_prefect(
    run: Callable[..., State], tmp_path: Path
) -> None:
    def make(folder: Path | None) -> Flow:
        frame = _frames(folder)
        with Flow("flat") as flow:
            one, other = frame(5), frame(6)
            flow.asked = [
                kind.map(flatten([one, other])),
                kind.map(flatten([[one, other], [one]])),
                kind.map(flatten(one)),
            ]
        return flow

    expected, found = _both(run, make, tmp_path)
    assert expected == [["str", "str"], ["DataFrame"] * 3, ["str"]]
    assert [[list(kinds) for kinds in each] for each in found] == [expected] * 2


def test_a_frame_is_mapped_over_as_in_prefect(
    run: Callable[..., State], tmp_path: Path
) -> None:
    @task
    def second(_number: int, column: pd.Series) -> list[int]:
        return column.tolist()

    def make(folder: Path | None) -> Flow:
        handler = folder and PandasResultHandler(f"{folder}/numbered.pkl", "pickle")

        @task(result=handler)
        def numbered() -> pd.DataFrame:
            return pd.DataFrame([[1, 2, 5], [3, 4, 6]])

        with Flow("columns") as flow:
            # The list ends before the frame, whose end is a KeyError.
            flow.asked = [second.map([7, 8], numbered())]
        return flow

    expected, found = _both(run, make, tmp_path)
    assert expected == [[[1, 3], [2, 4]]]
    assert [[list(columns) for columns in each] for each in found] == [expected] * 2


def _set_of_frames(folder: Path | None) -> Flow:
    frame = _frames(folder)
    with Flow("set") as flow:
        flow.asked = [kind({frame(1), frame(2)})]
    return flow


def _mapped_over_rows(folder: Path | None) -> Flow:
    frame = _frames(folder)
    with Flow("rows") as flow:
        flow.asked = [kind.map(frame(1))]
    return flow


def _flattened_children(folder: Path | None) -> Flow:
    frame = _frames(folder)
    with Flow("flattened children") as flow:
        flow.asked = [kind.map(flatten(frame.map([1, 2])))]
    return flow


@pytest.mark.parametrize(
    "make",
    [
        _set_of_frames,
        _mapped_over_rows,
        _flattened_children,
    ],
)
def test_what_prefect_cannot_do_with_a_frame_fails_as_in_prefect(
    run_here: Callable[..., State], tmp_path: Path, make: Callable[..., Flow]
) -> None:
    plain = make(None)
    expected = plain.run()
    flow = make(tmp_path)
    for _ in range(2):
        state = run_here(flow)
        assert state.is_failed()
        assert type(state.result) is type(expected.result)
        if isinstance(expected.result, dict):
            (task_here,) = flow.asked
            (task_there,) = plain.asked
            assert type(state.result[task_here]) is type(expected.result[task_there])
        else:
            assert repr(state.result) == repr(expected.result)


def _times(factor: int) -> dict[str, Any]:
    lock = threading.Lock()  # It cannot be pickled, so the options have no digest.

    def convert(text: str) -> int:
        with lock:
            return int(text) * factor

    return {"converters": {"v": convert}}


def test_the_cache_gives_a_handler_its_own_data_only(
    run_here: Callable[..., State], tmp_path: Path
) -> None:
    class Tenfold(PandasResultHandler):
        def _load(self, path: str, manifest: Any) -> pd.DataFrame:
            return super()._load(path, manifest) * 10

    def frame() -> pd.DataFrame:
        return pd.DataFrame({"v": [1, 2]})

    handlers = [
        PandasResultHandler(f"{tmp_path}/a.csv", "csv", read_kwargs=_times(3)),
        PandasResultHandler(f"{tmp_path}/b.csv", "csv", read_kwargs=_times(5)),
        PandasResultHandler(f"{tmp_path}/c.parquet", "parquet"),
        Tenfold(f"{tmp_path}/d.parquet", "parquet"),
    ]
    with Flow("handlers") as flow:
        frames = [
            task(frame, name=f"frame {number}", result=handler)()
            for number, handler in enumerate(handlers)
        ]
        values = task(lambda frames: [frame["v"].tolist() for frame in frames])(frames)
    run_here(flow)
    memory_cache._kept.clear()
    for _ in range(2):
        state = run_here(flow)
        # What a fresh result is after a read, the options of the first two say.
        assert state.result[values].result[:2] == [[3, 6], [5, 10]]
        assert state.result[values].result[2:] == [[1, 2], [10, 20]]


def test_the_tasks_of_a_flow_that_a_loop_runs_find_their_checkpoints(
    run: Callable[..., State], tmp_path: Path, notes: Notes
) -> None:
    folder, noted = str(tmp_path), notes

    @task(name="loop", result=parquet(tmp_path, "loop"))
    def loop() -> pd.DataFrame:
        @task(name="inner", result=parquet(folder, "inner"))
        def inner() -> pd.DataFrame:
            noted("inner")
            return pd.DataFrame({"x": [1]})

        with Flow("inner") as flow:
            made = inner()
        state = flow.run(executor=LocalExecutor(), task_runner_cls=DSTaskRunner)
        turn = prefect.context.get("task_loop_count", 1)
        noted(f"turn {turn}")
        if turn < 3:
            raise signals.LOOP(result=turn)
        return state.result[made].result

    with Flow("outer") as flow:
        looped = loop()
    state = run(flow)
    assert state.result[looped].result["x"].tolist() == [1]
    assert notes.take() == ["inner", "turn 1", "turn 2", "turn 3"]
    run(flow)
    assert notes.take() == []
