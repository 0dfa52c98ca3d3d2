"""What happens between the flow runner and the user's executor."""

from __future__ import annotations

import gc
import re
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import prefect
import pytest
from distributed.protocol import Serialized
from prefect import Flow, Task, resource_manager, task
from prefect.engine.state import State
from prefect.executors import DaskExecutor, Executor, LocalDaskExecutor, LocalExecutor
from prefect.triggers import any_successful
from prefect.utilities.configuration import set_temporary_config

from prefect_ds import DSTaskRunner
from prefect_ds.result import PurgedResult
from tests.support.flows import asks_to_be_retried, late
from tests.support.processes import executor_at


@task
def setting() -> Any:
    return prefect.context.config.tests.setting, prefect.context.config.logging.level


@task
def numbers(start: int) -> list[int]:
    return [start, start + 1]


@task
def total(lists: list[list[int]]) -> int:
    return sum(sum(each) for each in lists)


@task
def double(number: int) -> int:
    return 2 * number


def test_the_clients_config_reaches_the_tasks_of_every_run(
    run: Callable[..., State],
) -> None:
    with Flow("config") as flow:
        plain, mapped = setting(), setting.map(upstream_tasks=[numbers(1)])
    for value in ("first", "second"):
        with set_temporary_config({"tests.setting": value}):
            state = run(flow)
            level = prefect.config.logging.level
        assert state.result[plain].result == (value, level)
        assert state.result[mapped].result == [(value, level)] * 2


def test_results_that_nothing_needs_any_more_are_let_go_on_request(
    run: Callable[..., State],
) -> None:
    with Flow("purge") as flow:
        lists = numbers.map([1, 10])
        kept = numbers(5)
        answer = double(total(lists))
        double(total([kept]))
    state = run(flow, keep_results=[kept])
    assert state.is_successful()
    assert all(
        isinstance(child._result, PurgedResult)
        for child in state.result[lists].map_states
    )
    assert state.result[kept].result == [5, 6]
    assert state.result[answer].result == 2 * (1 + 2 + 10 + 11)


def test_every_result_stays_where_nobody_asks_otherwise(
    run: Callable[..., State],
) -> None:
    with Flow("keep") as flow:
        lists = numbers.map([1, 10])
        total(lists)
    assert run(flow).result[lists].result == [[1, 2], [10, 11]]


def test_a_task_that_will_be_retried_finds_the_inputs_it_had(
    run: Callable[..., State], tmp_path: Path
) -> None:
    @task(max_retries=1, retry_delay=timedelta(0))
    def fails_once(number: int, folder: str) -> int:
        try:
            (Path(folder) / str(number)).touch(exist_ok=False)
        except FileExistsError:
            return number
        raise ValueError("first attempt")

    with Flow("retry") as flow:
        doubled = double.map([1, 2])
        again = fails_once.map(doubled, folder=prefect.unmapped(str(tmp_path)))
        answer = double.map(again)
    state = run(flow, keep_results=[])
    assert state.result[answer].result == [4, 8]


@task
def both(one: Any, other: Any) -> Any:
    return one, other


def _waits_with_its_input(folder: str) -> Task:
    return both(numbers(1), late(folder))


def _waits_with_its_input_in_a_list(folder: str) -> Task:
    return both(one=[numbers(1), late(folder)], other=0)


def _is_mapped_and_waits(folder: str) -> Task:
    return both.map(numbers(1), prefect.unmapped(late(folder)))


def _some_children_wait(folder: str) -> Task:
    return both.map(numbers(1), late.map(prefect.unmapped(folder), numbers(1)))


def _takes_pieces_and_waits(folder: str) -> Task:
    lists = numbers.map([1, 2])
    return both.map(
        prefect.flatten(lists),
        late.map(prefect.unmapped(folder), prefect.flatten(numbers.map([1, 2]))),
    )


def _takes_pieces_beside_a_late_task(folder: str) -> Task:
    # All children have ended in the first round, and are counted again in the second.
    late(folder)
    return double.map(prefect.flatten(numbers.map([1, 2])))


def _raises_retry(folder: str) -> Task:
    return asks_to_be_retried.map(prefect.unmapped(folder), numbers(1))


def _takes_all_and_waits(folder: str) -> Task:
    return both(numbers.map([1, 2]), late.map(prefect.unmapped(folder), [7]))


@task
def fails() -> None:
    raise ValueError("on purpose")


@task(trigger=any_successful)
def names(one: Any, other: Any) -> str:
    return f"{one} {other}"


def _gets_its_children_later(folder: str) -> Task:
    late(folder)
    # Prefect maps over nothing in the first round, and over the numbers in the second.
    return names.map(double.map(fails()), numbers(1))


def _maps_over_the_shorter(folder: str) -> Task:
    doubled = double.map([1, 2, 3])
    return both.map(doubled, late.map(prefect.unmapped(folder), [7]))


@resource_manager
class Connection:
    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers

    def setup(self) -> list[int]:
        return [2 * number for number in self.numbers]

    def cleanup(self, connection: list[int]) -> None:
        assert connection


def _sets_a_resource_up_again(folder: str) -> Task:
    with Connection(numbers(1)) as connection:
        return both(connection, late(folder))


@pytest.mark.parametrize(
    "make",
    [
        _gets_its_children_later,
        _maps_over_the_shorter,
        _sets_a_resource_up_again,
        _waits_with_its_input,
        _waits_with_its_input_in_a_list,
        _is_mapped_and_waits,
        _some_children_wait,
        _takes_pieces_and_waits,
        _takes_pieces_beside_a_late_task,
        _raises_retry,
        _takes_all_and_waits,
    ],
)
def test_what_a_later_round_takes_is_not_let_go(
    run: Callable[..., State], tmp_path: Path, make: Callable[[str], Task]
) -> None:
    found = []
    for keep, folder in ((None, tmp_path / "all"), ([], tmp_path / "few")):
        folder.mkdir()
        with Flow("later") as flow:
            answer = make(str(folder))
        state = run(flow, keep_results=keep)
        assert state.is_successful()
        found.append(state.result[answer].result)
        assert list(folder.iterdir())  # There was a second round.
    assert found[1] == found[0]


def test_what_a_cached_task_took_is_not_let_go(
    run: Callable[..., State], tmp_path: Path
) -> None:
    folder = str(tmp_path)

    def is_valid(_state: State, inputs: dict[str, Any], _parameters: Any) -> bool:
        # Once: Prefect asks again in the second round, and then runs the task.
        try:
            (Path(folder) / "asked").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    @task(cache_for=timedelta(hours=1), cache_validator=is_valid)
    def added(one: list[int]) -> int:
        return sum(one)

    with Flow("cached") as flow:
        answer = both(added(numbers(1)), late(folder))
    with Flow("cached") as filled:
        added(numbers(1))
    run(filled)
    state = run(flow, keep_results=[])
    assert state.result[answer].result == (3, 10)
    assert (tmp_path / "asked").exists()


@pytest.mark.parametrize("has_our_tasks", [True, False])
def test_results_that_no_task_takes_are_let_go_too(
    executor: Callable[[], Executor], has_our_tasks: bool
) -> None:
    """Prefect maps over the shorter of two, so nothing takes the rest of the longer."""
    with Flow("shorter") as flow:
        doubled = double.map([1, 2, 3])
        answer = both.map(doubled, [10])
    runner = {"task_runner_cls": DSTaskRunner} if has_our_tasks else {}
    state = flow.run(executor=executor(), keep_results=[], **runner)
    assert isinstance(state, State)
    assert list(state.result[answer].result) == [(2, 10)]
    for child in state.result[doubled].map_states:
        assert isinstance(child._result, PurgedResult)


class Large:
    """Counts how many there are at once."""

    there = most = 0

    def __init__(self) -> None:
        Large.there += 1
        Large.most = max(Large.most, Large.there)

    def __del__(self) -> None:
        Large.there -= 1


@task
def another(_previous: Any) -> Large:
    return Large()


@pytest.mark.parametrize(
    "executor",
    [LocalExecutor(), LocalDaskExecutor(num_workers=1)],
    ids=["local", "threads"],
)
def test_along_a_chain_of_tasks_two_results_are_there_at_once(
    executor: Executor,
) -> None:
    with Flow("chain") as flow:
        last = another(0)
        for _ in range(9):
            last = another(last)
    Large.there = Large.most = 0
    state = flow.run(executor=executor, task_runner_cls=DSTaskRunner, keep_results=[])
    assert isinstance(state.result[last].result, Large)
    assert Large.most == 2
    del state
    flow.run(executor=executor, task_runner_cls=DSTaskRunner)
    assert Large.most == 10


def test_what_prefect_remembers_for_later_runs_is_not_let_go(
    run: Callable[..., State],
) -> None:
    @task(cache_for=timedelta(hours=1))
    def remembered() -> list[int]:
        return [1, 2]

    with Flow("cached") as flow:
        answer = total([remembered()])
    for _ in range(2):
        assert run(flow, keep_results=[]).result[answer].result == 3


def test_a_config_that_cannot_be_pickled_stays_in_its_process() -> None:
    with Flow("config") as flow:
        answer = setting()
    lock = threading.Lock()
    with set_temporary_config({"tests.setting": lock}):
        state = flow.run(task_runner_cls=DSTaskRunner)
    assert state.result[answer].result[0] is lock


def test_a_failure_keeps_its_error_when_results_are_let_go(
    run: Callable[..., State],
) -> None:
    with Flow("failure") as flow:
        broken = double.map([1, None])
        double.map(broken)
    state = run(flow, keep_results=[])
    first, second = state.result[broken].map_states
    assert isinstance(first._result, PurgedResult)
    assert isinstance(second.result, TypeError)


def test_progress_needs_our_task_runner() -> None:
    with Flow("plain") as flow:
        double(1)
    with pytest.raises(TypeError, match="needs task_runner_cls=DSTaskRunner"):
        flow.run(progress=True)


def test_progress_tells_how_each_task_ended(
    run: Callable[..., State], capsys: pytest.CaptureFixture[str]
) -> None:
    with Flow("progress") as flow:
        doubled = double.map([1, 2, None])
        double.map(doubled)
    run(flow, progress=True)
    lines = re.split(r"[\r\n]+", capsys.readouterr().err)
    bars = [line for line in lines if line.startswith("double-")]
    assert any(
        "3/3" in line and "failed=1, ran=2" in line
        for line in bars
        if line.startswith("double-1")
    )
    assert any(
        "3/3" in line and "failed=1, ran=2" in line
        for line in bars
        if line.startswith("double-2")
    )


def test_no_progress_is_shown_where_stderr_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Flow("quiet") as flow:
        double(1)
    flow.run(task_runner_cls=DSTaskRunner)
    assert "double: " not in capsys.readouterr().err


def test_progress_without_tqdm_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with Flow("no tqdm") as flow:
        double(1)
    with pytest.raises(ImportError, match=r'pip install "prefect_ds\[progress\]"'):
        flow.run(task_runner_cls=DSTaskRunner, progress=True)


def test_the_user_sees_the_logs_of_a_remote_clusters_tasks_once(
    cluster_address: str, log_lines: list[str]
) -> None:
    @task(name="chatty")
    def chatty(number: int) -> None:
        prefect.context.logger.warning("number %d was here", number)

    with Flow("logs") as flow:
        chatty.map([1, 2, 3])
    for _ in range(2):
        log_lines.clear()
        executor = executor_at(cluster_address)
        flow.run(executor=executor, task_runner_cls=DSTaskRunner)
        assert [
            log_lines.count(f"number {number} was here") for number in (1, 2, 3)
        ] == [1, 1, 1]
        assert sum("Checkpoints of flow 'logs'" in line for line in log_lines) == 1


def test_the_client_holds_nothing_of_what_it_has_submitted(
    cluster_address: str,
) -> None:
    held = []

    class Counting(DaskExecutor):
        def wait(self, futures: Any) -> Any:
            states = super().wait(futures)
            held.append(_count(Serialized))
            return states

    with Flow("many") as flow:
        double.map(list(range(20)))
    before = _count(Serialized)
    flow.run(
        executor=Counting(address=cluster_address, watch_worker_status=False),
        task_runner_cls=DSTaskRunner,
    )
    assert held[-1] - before < 5


def _count(kind: type) -> int:
    gc.collect()
    return sum(isinstance(each, kind) for each in gc.get_objects())


@task
def raises_what_cannot_be_read() -> None:
    class CannotBeRead(Exception):
        """Pickles, and cannot be unpickled."""

        def __init__(self, one: int, other: int) -> None:
            super().__init__("of two arguments")

    raise CannotBeRead(1, 2)


def test_an_outcome_that_does_not_arrive_fails_its_task_alone(
    cluster_address: str,
) -> None:
    with Flow("unreadable") as flow:
        broken = raises_what_cannot_be_read()
        answer = double(2)
    executor = executor_at(cluster_address)
    state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)
    assert state.is_failed()
    assert state.result[broken].is_failed()
    assert "Dask returned no result of it: " in state.result[broken].message
    assert state.result[answer].result == 4
