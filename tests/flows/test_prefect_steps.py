"""The steps of Prefect's runners, called by themselves, do with ours what they do.

Subclasses of runners call them so, and Prefect's own tests of its engine do.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pendulum
import prefect
import pytest
from prefect import Flow, Parameter, Task, task
from prefect.core import Edge
from prefect.engine import signals
from prefect.engine.cache_validators import duration_only, never_use
from prefect.engine.flow_runner import FlowRunner
from prefect.engine.result import Result
from prefect.engine.runner import ENDRUN
from prefect.engine.state import (
    Cached,
    Failed,
    Finished,
    Mapped,
    Paused,
    Pending,
    Retrying,
    Running,
    Scheduled,
    Skipped,
    State,
    Submitted,
    Success,
    TimedOut,
    TriggerFailed,
)
from prefect.engine.task_runner import TaskRunner
from prefect.executors import LocalDaskExecutor, LocalExecutor
from prefect.utilities.debug import raise_on_exception

from prefect_ds import DSFlowRunner, DSTaskRunner

HOUR = datetime.timedelta(hours=1)
STATES: list[Callable[[], State]] = [
    Pending,
    lambda: Scheduled(start_time=pendulum.now("utc") - HOUR),
    lambda: Scheduled(start_time=pendulum.now("utc") + HOUR),
    lambda: Retrying(run_count=2, start_time=pendulum.now("utc") - HOUR),
    lambda: Paused(start_time=pendulum.now("utc") - HOUR),
    lambda: Submitted(state=Pending()),
    Running,
    lambda: Success(result=1),
    lambda: Failed(result=ValueError("x")),
    Skipped,
    lambda: Cached(result=1, cached_result_expiration=pendulum.now("utc") + HOUR),
    Mapped,
    TimedOut,
    TriggerFailed,
    Finished,
]


def outcome(step: Callable[..., Any], *args: Any) -> Any:
    """Return what a step gives, in terms that compare."""
    try:
        given = step(*args)
    except ENDRUN as end:
        return ("ENDRUN", _described(end.state))
    except signals.PrefectStateSignal as signal:
        return ("signal", _described(signal.state))
    except Exception as error:  # noqa: BLE001 - it is what is compared
        return (type(error).__name__, str(error))
    return _described(given)


def _described(given: Any) -> Any:
    if not isinstance(given, State):
        return given
    result = given.result
    if isinstance(result, dict):
        result = {task.name: _described(state) for task, state in result.items()}
    elif isinstance(result, BaseException):
        result = repr(result)
    return (type(given), given.message, result)


@task
def one() -> int:
    return 1


@task
def add(x: int, y: int = 1) -> int:
    return x + y


@task(max_retries=1, retry_delay=datetime.timedelta(0))
def broken() -> None:
    raise ValueError("broken")


@task
def skipping() -> None:
    raise signals.SKIP("skipped")


UP = Edge(one, add, key="x")
MAPPED = Edge(one, add, key="x", mapped=True)


def _upstream(edge: Edge = UP, **states: Any) -> dict[Edge, State]:
    return {edge: states.get("x", Success(result=5))}


# Steps of the task runner: each takes the class of the runner, and a state.
TASK_STEPS: dict[str, Callable[[type[TaskRunner], State], Any]] = {
    "initialize_run": lambda runner, state: type(
        runner(one).initialize_run(state, {})[0]
    ),
    "the count of runs": lambda runner, state: (
        runner(one).initialize_run(state, {})[1].get("task_run_count")
    ),
    "check_upstream_finished": lambda runner, state: runner(
        add
    ).check_upstream_finished(Pending(), upstream_states=_upstream(x=state)),
    "check_upstream_skipped": lambda runner, state: runner(add).check_upstream_skipped(
        Pending(), upstream_states=_upstream(x=state)
    ),
    "check_task_trigger": lambda runner, state: runner(add).check_task_trigger(
        Pending(), upstream_states=_upstream(x=state)
    ),
    "check_task_is_ready": lambda runner, state: runner(one).check_task_is_ready(state),
    "check_task_reached_start_time": lambda runner, state: runner(
        one
    ).check_task_reached_start_time(state),
    "check_task_ready_to_map": lambda runner, state: runner(
        add
    ).check_task_ready_to_map(
        state, upstream_states=_upstream(MAPPED, x=Success(result=[1, 2]))
    ),
    "check_task_ready_to_map over": lambda runner, state: runner(
        add
    ).check_task_ready_to_map(Pending(), upstream_states=_upstream(MAPPED, x=state)),
    "get_task_inputs": lambda runner, state: {
        name: result.value
        for name, result in runner(add)
        .get_task_inputs(state, upstream_states=_upstream())
        .items()
    },
    "check_target": lambda runner, state: runner(one).check_target(state, inputs={}),
    "check_task_is_cached": lambda runner, state: runner(
        one.copy(cache_for=HOUR, cache_validator=duration_only)
    ).check_task_is_cached(state, inputs={}),
    "check_task_is_cached never": lambda runner, state: runner(
        one.copy(cache_for=HOUR, cache_validator=never_use)
    ).check_task_is_cached(state, inputs={}),
    "set_task_to_running": lambda runner, state: runner(one).set_task_to_running(
        state, inputs={}
    ),
    "get_task_run_state": lambda runner, state: runner(one).get_task_run_state(
        state, inputs={}
    ),
    "get_task_run_state with inputs": lambda runner, state: runner(
        add
    ).get_task_run_state(state, inputs={"x": Result(value=4)}),
    "get_task_run_state of a failure": lambda runner, state: runner(
        broken
    ).get_task_run_state(state, inputs={}),
    "get_task_run_state of a signal": lambda runner, state: runner(
        skipping
    ).get_task_run_state(state, inputs={}),
    "cache_result": lambda runner, state: runner(one).cache_result(state, inputs={}),
    "cache_result for a while": lambda runner, state: type(
        runner(one.copy(cache_for=HOUR)).cache_result(state, inputs={})
    ),
    "check_for_retry": lambda runner, state: runner(one).check_for_retry(
        state, inputs={}
    ),
    "check_for_retry of a task that has some": lambda runner, state: type(
        runner(broken).check_for_retry(state, inputs={})
    ),
    "check_task_is_looping": lambda runner, state: runner(one).check_task_is_looping(
        state, inputs={}, upstream_states={}, context={}
    ),
    "run": lambda runner, state: type(runner(one).run(state)),
    "run behind": lambda runner, state: runner(add).run(
        upstream_states=_upstream(x=state)
    ),
}


@pytest.mark.parametrize("name", TASK_STEPS)
def test_a_step_of_the_task_runner_by_itself_does_as_in_prefect(name: str) -> None:
    step = TASK_STEPS[name]
    for make in STATES:
        prefect.context.get("caches", {}).clear()
        with prefect.context(task_run_count=1, checkpointing=False):
            expected = outcome(step, TaskRunner, make())
            found = outcome(step, DSTaskRunner, make())
        assert found == expected, (name, make().__class__)


def _flow() -> Flow:
    with Flow("steps") as flow:
        start = Parameter("start", default=2)
        added = add(start)
        add.map([1, 2], y=prefect.unmapped(added))
    return flow


def _failing_flow() -> Flow:
    with Flow("failing") as flow:
        failed = task(lambda: 1 / 0, name="failed")()
        add(failed)
    return flow


def _run_state(runner: FlowRunner, state: State, **changes: Any) -> State:
    call = {
        "task_states": {},
        "task_contexts": {},
        "return_tasks": runner.flow.tasks,
        "task_runner_state_handlers": [],
        "executor": LocalExecutor(),
    }
    with prefect.context(parameters={"start": 2}, flow_name="steps"):
        return runner.get_flow_run_state(state, **{**call, **changes})


# Steps of the flow runner: each takes a runner, and a state.
FLOW_STEPS: dict[str, Callable[[FlowRunner, State], Any]] = {
    "get_flow_run_state": _run_state,
    "get_flow_run_state with threads": lambda runner, state: _run_state(
        runner, state, executor=LocalDaskExecutor("threads", num_workers=2)
    ),
    "get_flow_run_state without tasks": lambda runner, state: _run_state(
        runner, state, return_tasks=None
    ),
    "get_flow_run_state with tasks of others": lambda runner, state: _run_state(
        runner, state, return_tasks={Task("other")}
    ),
    "check_flow_is_pending_or_running": lambda runner, state: (
        runner.check_flow_is_pending_or_running(state)
    ),
    "check_flow_reached_start_time": lambda runner, state: (
        runner.check_flow_reached_start_time(state)
    ),
    "set_flow_to_running": lambda runner, state: runner.set_flow_to_running(state),
    "determine_final_state": lambda runner, state: runner.determine_final_state(
        Running(), {state}, dict.fromkeys(runner.flow.tasks, state), {state}
    ),
    "run": lambda runner, state: runner.run(
        state=state, return_tasks=runner.flow.tasks
    ),
    "run by position": lambda runner, state: runner.run(
        state, {}, runner.flow.tasks, {"start": 7}
    ),
    "run with a context": lambda runner, state: runner.run(
        state=state, context={"today": "1999-01-01"}, return_tasks=[]
    ),
}


@pytest.mark.parametrize("make_flow", [_flow, _failing_flow])
@pytest.mark.parametrize("name", FLOW_STEPS)
def test_a_step_of_the_flow_runner_by_itself_does_as_in_prefect(
    name: str, make_flow: Callable[[], Flow]
) -> None:
    step = FLOW_STEPS[name]
    flow = make_flow()
    runs_tasks = "run" in name.split()[0].split("_")
    for make in STATES:
        state = make()
        is_repetition = not state.is_pending() and not state.is_running()
        if runs_tasks and is_repetition and not isinstance(state, Success):
            continue
        expected = outcome(step, FlowRunner(flow, TaskRunner), make())
        found = outcome(step, DSFlowRunner(flow, DSTaskRunner), make())
        assert found == expected, (name, type(state))


def test_a_flow_runner_may_override_a_step() -> None:
    class Counting(DSFlowRunner):
        n_calls = 0

        def get_flow_run_state(self, *args: Any, **kwargs: Any) -> State:
            Counting.n_calls += 1
            return super().get_flow_run_state(*args, **kwargs)

    state = Counting(_flow(), DSTaskRunner).run(return_tasks=[])
    assert state.is_successful()
    assert Counting.n_calls == 1


def test_a_task_runner_may_override_a_step() -> None:
    class Doubled(DSTaskRunner):
        def get_task_run_state(self, state: State, inputs: Any) -> State:
            new_state = super().get_task_run_state(state, inputs=inputs)
            new_state.result = 2 * new_state.result
            return new_state

    assert Doubled(one).run().result == 2


def test_states_given_to_a_run_are_not_run_again() -> None:
    flow = _flow()
    (start,) = flow.get_tasks(name="start")
    for runner in (FlowRunner(flow, TaskRunner), DSFlowRunner(flow, DSTaskRunner)):
        state = runner.run(
            task_states={start: Success(result=40)}, return_tasks=flow.tasks
        )
        assert sorted(
            str(_described(final)[2]) for final in state.result.values()
        ) == sorted(["40", "41", "[1, 2]", "[42, 43]"])


def test_errors_reach_a_user_who_asks_for_exceptions() -> None:
    with raise_on_exception(), pytest.raises(ZeroDivisionError):
        DSFlowRunner(_failing_flow(), DSTaskRunner).run()
