"""Races on one path, between threads, processes and workers of a cluster: nothing is wrong, mixed or lost."""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pandas as pd
import pytest
from distributed import Client
from prefect import Flow
from prefect.executors import LocalDaskExecutor

from prefect_ds import DSTaskRunner, PandasResultHandler, task
from prefect_ds.errors import CheckpointNotFoundError, CollisionError
from tests.support import racers
from tests.support.processes import executor_at, local_cluster
from tests.support.racers import (
    PARTS,
    TASK_FOLDER,
    handler_of,
    keep,
    outcome,
    run_flow,
    whole,
)
from tests.support.scale import SCALE, at_full_scale

KINDS = ["csv", "parquet", PARTS]
BY_TASKS = pytest.param(TASK_FOLDER, marks=at_full_scale)
"""A folder that the task writes by itself."""
OF_OBJECTS = [pytest.param(kind, marks=at_full_scale) for kind in racers.OBJECTS]
MARKER = pytest.param(racers.MARKER, marks=at_full_scale)
RACES = 3
ROUNDS = 3 * SCALE


@pytest.fixture(autouse=True)
def _reads_read(no_cache):
    """No value comes from memory."""


@pytest.fixture(scope="module")
def processes():
    """Processes that start each round at the same moment."""
    with racers.racers(RACES) as started:
        yield started


@pytest.fixture(scope="module")
def threads():
    """Threads of this process that do so."""
    barrier = threading.Barrier(RACES)

    def start(call):
        barrier.wait(120)
        return outcome(call)

    with ThreadPoolExecutor(RACES) as pool:
        yield lambda *calls: list(pool.map(start, calls))


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of four threads each."""
    with local_cluster(threads_per_worker=4) as started:
        yield started


@pytest.fixture(scope="module")
def workers(cluster):
    """Threads of the workers of a cluster."""
    with Client(cluster, set_as_default=False) as client:
        yield lambda *calls: client.gather(client.map(outcome, calls, pure=False))


@pytest.fixture(params=["threads", "processes", "workers"])
def race(request) -> Callable[..., list[Any]]:
    """Does calls at the same moment."""
    of_outputs = "outputs" in request.node.name
    if SCALE == 1 and of_outputs and request.param != "processes":
        pytest.skip("PREFECT_DS_TEST_SCALE=10 does this one")
    return request.getfixturevalue(request.param)


def set_aside(folder) -> list[str]:
    side = folder / ".prefect_ds/set-aside"
    return os.listdir(side) if side.exists() else []


def staged(folder) -> list[str]:
    return os.listdir(folder / ".prefect_ds/staging")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, TASK_FOLDER, *OF_OBJECTS])
def test_flows_with_the_same_inputs_all_hand_on_the_one_result_that_stands(
    race, request, tmp_path, kind
):
    """Each attempt gives other data: what is handed on says whose it is."""
    is_alike = kind == TASK_FOLDER and request.node.callspec.params["race"] != "threads"
    if SCALE == 1 and is_alike:
        pytest.skip("PREFECT_DS_TEST_SCALE=10 does this one")
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        answers = race(
            *[partial(run_flow, str(folder), kind, ["a", "b"], [1, 2])] * RACES
        )
        assert answers[0] == answers[1] == answers[2], answers
        assert [version for version, _ in answers[0]] == ["1", "2"]
        handler = handler_of(str(folder), kind)
        for key, there in zip("ab", answers[0], strict=True):
            path = handler.render({"key": key})
            assert whole(handler.load(path)) == there
            assert handler.verify(path) == []
        assert (set_aside(folder), staged(folder)) == ([], [])


@pytest.mark.slow
def test_several_outputs_of_flows_with_the_same_inputs_are_never_mixed(race, tmp_path):
    """A flow may find that another has replaced them, and says so."""
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        flow = partial(run_flow, str(folder), racers.OUTPUTS, ["a", "b"], [1, 2])
        answers = race(flow, flow, flow)
        handler = handler_of(str(folder), racers.OUTPUTS)
        for index, key in enumerate("ab"):
            path = handler.render({"key": key})
            there = whole(handler.load(path))
            handed_on = [answer[index] for answer in answers]
            assert there in handed_on
            assert all(
                "was replaced at" in answer
                for answer in handed_on
                if isinstance(answer, str)
            )
            assert handler.verify(path) == []
        assert (set_aside(folder), staged(folder)) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, BY_TASKS, *OF_OBJECTS, racers.OUTPUTS])
def test_flows_with_other_inputs_never_hand_on_each_others_result(race, tmp_path, kind):
    handler = handler_of(str(tmp_path), kind)
    path = handler.render({"key": "a"})
    outcomes: Counter[str] = Counter()
    for number in range(ROUNDS):
        versions = [f"{number}.{racer}" for racer in range(RACES)]
        answers = race(
            *[
                partial(run_flow, str(tmp_path), kind, ["a"], [version])
                for version in versions
            ]
        )
        attempts = {}
        for version, [answer] in zip(versions, answers, strict=True):
            if isinstance(answer, str):
                assert "CheckpointNotFoundError" in answer
                assert "replaced" in answer
            else:
                assert answer[0] == version
                attempts[version] = answer[1]
            outcomes["replaced" if isinstance(answer, str) else "read"] += 1
        # One of them lies there, whole, and is what its flow handed on.
        version, attempt = whole(handler.load(path))
        assert attempts.get(version, attempt) == attempt
        assert handler.verify(path) == []
        [again] = run_flow(str(tmp_path), kind, ["a"], [version])
        assert again == (version, attempt)
        assert (set_aside(tmp_path), staged(tmp_path)) == ([], [])
    assert outcomes["read"] >= ROUNDS, outcomes


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [*KINDS, BY_TASKS, *OF_OBJECTS, racers.OUTPUTS, MARKER]
)
def test_children_of_one_run_on_one_path_collide_whoever_is_first(race, tmp_path, kind):
    for number in range(5 * ROUNDS):
        folder = tmp_path / str(number)
        answers = race(
            *[
                partial(keep, str(folder), kind, version, "run", version)
                for version in range(RACES)
            ]
        )
        collided = [answer for answer in answers if isinstance(answer, CollisionError)]
        # The first may have been done before the others began; what it then reads is
        # gone.
        assert len(collided) >= RACES - 1, answers
        others = [answer for answer in answers if answer not in collided]
        assert all(
            isinstance(each, str | CheckpointNotFoundError) for each in others
        ), others
        for version, answer in enumerate(answers):
            if isinstance(answer, CollisionError):
                assert f"'make[{version}]'" in str(answer)
                assert str(answer).count("make[") == 2
        handler = handler_of(str(folder), kind)
        assert handler.look_up(handler.render({"key": "a"})).kind == "missing"
        # Finished parts stay for the next write of the same computation, as after any
        # error.
        assert staged(folder) == [] or kind == PARTS


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, BY_TASKS, *OF_OBJECTS, MARKER])
def test_children_of_one_run_with_equal_inputs_share_one_result(race, tmp_path, kind):
    for number in range(5 * ROUNDS):
        folder = tmp_path / str(number)
        answers = race(
            *[
                partial(keep, str(folder), kind, 7, "run", index)
                for index in range(RACES)
            ]
        )
        assert len(set(answers)) == 1, answers
        assert (set_aside(folder), staged(folder)) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_reader_during_rewrites_sees_one_whole_version_or_none(
    processes, tmp_path, kind
):
    """Ours, and pandas alone."""
    keep(str(tmp_path), kind, 0, "run 0", 0)
    n_writes = 5 * ROUNDS
    path = f"{tmp_path}/a.{kind}"
    written, ours, plain = processes(
        partial(racers.rewrite, str(tmp_path), kind, n_writes),
        partial(racers.read, str(tmp_path), kind, n_writes),
        partial(racers.read_plainly, path, kind, n_writes),
    )
    assert written == n_writes
    assert isinstance(ours, tuple), ours
    assert isinstance(plain, int), plain
    assert min(ours[0], plain) > 1
    assert (set_aside(tmp_path), staged(tmp_path)) == ([], [])
    assert handler_of(str(tmp_path), kind).verify(path) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_clean_up_during_writes_takes_old_leftovers_and_nothing_else(
    processes, tmp_path, kind
):
    keep(str(tmp_path), kind, 0, "run 0", 0)
    n_writes, n_leftovers = 2 * ROUNDS, 30
    days_ago = time.time() - 2 * 86_400
    for number in range(n_leftovers):
        leftover = tmp_path / f".prefect_ds/staging/{number}.staged"
        leftover.write_bytes(b"killed")
        os.utime(leftover, (days_ago, days_ago))
    written, read, cleaned = processes(
        partial(racers.rewrite, str(tmp_path), kind, n_writes),
        partial(racers.read, str(tmp_path), kind, n_writes),
        partial(racers.clean, str(tmp_path), 10 * n_writes),
    )
    assert (written, cleaned) == (n_writes, n_leftovers)
    assert isinstance(read, tuple), read
    assert (set_aside(tmp_path), staged(tmp_path)) == ([], [])
    handler = handler_of(str(tmp_path), kind)
    assert handler.verify(handler.render({"key": "a"})) == []


N_CHILDREN = 200


def child(index, key):
    return pd.DataFrame({"index": [index]})


@pytest.mark.slow
@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_two_of_two_hundred_children_that_share_a_path_are_always_both_named(
    request, tmp_path, where
):
    for number in range(2 * SCALE):
        folder = tmp_path / str(number)
        one, other = random.Random(number).sample(range(N_CHILDREN), 2)
        keys = [f"k{index}" for index in range(N_CHILDREN)]
        keys[other] = keys[one]
        made = task(
            child,
            name="child",
            result=PandasResultHandler(f"{folder}/{{key}}.csv", "csv"),
        )
        with Flow("collision") as flow:
            mapped = made.map(list(range(N_CHILDREN)), keys)
        if where == "cluster":
            address = request.getfixturevalue("cluster").scheduler_address
            executor = executor_at(address)
        else:
            executor = LocalDaskExecutor("threads", num_workers=4)
        state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)
        assert state.is_failed()
        children = state.result[mapped].map_states
        failed = [index for index, each in enumerate(children) if each.is_failed()]
        assert failed
        assert set(failed) <= {one, other}
        for index in failed:
            message = children[index].message
            assert "CollisionError" in message
            assert f"'child-1[{one}]'" in message
            assert f"'child-1[{other}]'" in message
            assert f"{keys[one]}.csv" in message
        # No result of the two is trusted, all the others stand.
        assert sorted(each.name for each in folder.glob("*.csv")) == sorted(
            f"k{index}.csv" for index in range(N_CHILDREN) if index not in (one, other)
        )
