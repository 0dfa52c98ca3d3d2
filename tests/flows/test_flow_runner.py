"""The flow runner: the user's line, Prefect's own behaviour left alone, collisions, and what importing changes."""

import json
import pickle

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from prefect import Flow, Parameter
from prefect import task as prefect_task
from prefect.engine.flow_runner import FlowRunner
from prefect.engine.result import Result
from prefect.engine.state import Mapped, Success
from prefect.executors import DaskExecutor, LocalDaskExecutor, LocalExecutor
from prefect.schedules import Schedule
from prefect.schedules.clocks import DatesClock
from prefect.utilities.configuration import set_temporary_config

from prefect_ds import DSFlowRunner, DSTaskRunner, PandasResultHandler, task
from prefect_ds.checkpoint_handler import checkpoint_handler
from prefect_ds.checkpoints.lazy_result import LazyResult
from prefect_ds.errors import CheckpointNotFoundError
from tests.support.flows import (
    ALL_RAN,
    Counting,
    data_files,
    expected_total,
    frame_of,
    parquet,
    pipeline,
    poison,
    result_of,
    state_of,
)

# Which runner runs


def test_prefects_own_flow_runner_runs_our_task_runner(tmp_path, notes):
    flow = pipeline(tmp_path, notes)
    (total,), (clean,) = flow.get_tasks("total"), flow.get_tasks("clean")

    def run():
        return FlowRunner(flow=flow, task_runner_cls=DSTaskRunner).run(
            task_runner_state_handlers=[checkpoint_handler], return_tasks=[total, clean]
        )

    state = run()
    assert state.is_successful()
    assert notes.take() == ALL_RAN
    assert_frame_equal(state.result[total].result, expected_total())

    state = run()
    assert notes.take() == []
    assert_frame_equal(state.result[total].result, expected_total())
    assert [frame["id"][0] for frame in state.result[clean].result] == [1, 2, 3]

    (tmp_path / "clean_1.parquet").unlink()
    assert run().is_successful()
    assert notes.take() == ["clean 2"]


@pytest.mark.parametrize("kind", ["processes", "cluster address"])
def test_prefects_own_flow_runner_gives_frames_from_other_processes(
    kind, request, tmp_path, notes
):
    if kind == "processes":
        executor = LocalDaskExecutor("processes", num_workers=2)
    else:
        executor = DaskExecutor(
            address=request.getfixturevalue("cluster_address"),
            watch_worker_status=False,
        )
    flow = pipeline(tmp_path, notes)
    (total,), (clean,) = flow.get_tasks("total"), flow.get_tasks("clean")
    for ran in (ALL_RAN, []):
        state = FlowRunner(flow=flow, task_runner_cls=DSTaskRunner).run(
            executor=executor, return_tasks=[total, clean]
        )
        assert state.is_successful()
        assert notes.take() == ran
        assert_frame_equal(state.result[total].result, expected_total())
        assert [frame["id"][0] for frame in state.result[clean].result] == [1, 2, 3]


@pytest.mark.parametrize("runner", [FlowRunner, DSFlowRunner])
@pytest.mark.parametrize("template", ["{task_full_name}", "source_{id}"])
def test_what_prefect_collects_needs_no_path_where_the_flows_result_is_ours(
    tmp_path, template, runner
):
    """The flow's result is a default for every task, also for the lists that Prefect puts between them."""

    @task
    def source(id):
        return frame_of(id)

    @task(checkpoint=False)
    def take(listed):
        return [type(each).__name__ for each in listed]

    with Flow(
        "collect",
        result=PandasResultHandler(f"{tmp_path}/{template}.parquet", "parquet"),
    ) as flow:
        one = source(1)
        taken = take([one, 5])
        item = one["id"]
    state = runner(flow=flow, task_runner_cls=DSTaskRunner).run(return_tasks=flow.tasks)
    assert state.is_successful(), {
        each: final.message for each, final in state.result.items()
    }
    assert state.result[taken].result == ["DataFrame", "int"]
    assert list(state.result[item].result) == [1, 1, 1]
    (listed,) = flow.get_tasks("List")
    assert [type(each).__name__ for each in state.result[listed].result] == [
        "DataFrame",
        "int",
    ]
    assert len(data_files(tmp_path)) == 1


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_flow_with_no_task_runner_of_ours_runs_as_prefects(
    tmp_path, notes, checkpointing
):
    """Types of states and results, values and messages, on the default flow runner and on Prefect's."""

    @prefect_task
    def number(n):
        if n == 3:
            raise ValueError("three")
        return n

    @prefect_task(max_retries=1, retry_delay=pd.Timedelta(0).to_pytimedelta())
    def flaky():
        notes("flaky")
        if len(notes.lines) % 2:
            raise ValueError("first")
        return [1, 2]

    def shapes(runner_cls):
        with Flow("plain") as flow:
            numbers = number.map([1, 2, 3])
            listed = flaky()
            [numbers[0], {"a": listed}]
        state = flow.run(runner_cls=runner_cls)
        return (type(state), state.message), {
            each.name: (
                type(final),
                type(final._result),
                repr(final.result),
                final.message,
                type(final.__dict__.get("map_states")),
            )
            for each, final in state.result.items()
        }

    with set_temporary_config({"flows.checkpointing": checkpointing}):
        assert shapes(None) == shapes(FlowRunner)
    assert data_files(tmp_path) == []


def test_a_flow_of_our_handlers_without_our_task_runner_writes_no_file(tmp_path, notes):
    flow = pipeline(tmp_path, notes)
    state = flow.run()
    assert state.is_successful()
    assert type(state_of(state, flow, "clean").result) is list
    assert notes.take() == ALL_RAN
    assert data_files(tmp_path) == []
    assert not (tmp_path / ".prefect_ds").exists()


def test_the_checkpoint_handler_on_prefects_task_runner_says_what_is_needed(
    tmp_path, notes
):
    flow = pipeline(tmp_path, notes)
    state = flow.run(task_runner_state_handlers=[checkpoint_handler])
    message = state_of(state, flow, "total").message
    failed = state_of(state, flow, "download").map_states[0]
    assert state.is_failed()
    assert "task_runner_cls=DSTaskRunner" in failed.message
    assert notes.lines == []
    assert message


def test_the_task_runner_may_be_set_in_prefects_config(tmp_path, notes):
    flow = pipeline(tmp_path, notes)
    with set_temporary_config(
        {"engine.task_runner.default_class": "prefect_ds.task_runner.DSTaskRunner"}
    ):
        assert flow.run().is_successful()
        assert notes.take() == ALL_RAN
        state = flow.run()
    assert notes.take() == []
    assert_frame_equal(result_of(state, flow, "total"), expected_total())


def test_a_subclass_of_our_task_runner_is_ours(tmp_path, notes, no_cache):
    class Own(DSTaskRunner):
        pass

    flow = pipeline(tmp_path, notes)
    flow.run(task_runner_cls=Own)
    for each in tmp_path.glob("*.parquet"):
        poison(each)
    assert flow.run(task_runner_cls=Own).is_successful()


def test_another_task_runner_class_is_used_as_it_is(tmp_path):
    from prefect.engine.task_runner import TaskRunner

    used = []

    class Own(TaskRunner):
        def run(self, *args, **kwargs):
            used.append(self.task.name)
            return super().run(*args, **kwargs)

    with Flow("own") as flow:
        prefect_task(lambda: 1, name="one")()
    state = flow.run(task_runner_cls=Own, runner_cls=DSFlowRunner)
    assert used == ["one"]
    assert result_of(state, flow, "one") == 1
    assert type(state_of(state, flow, "one")._result) is Result


CONFIG = (
    "import json, prefect\n"
    "def flat(box, head=''):\n"
    "    for key, value in box.items():\n"
    "        if isinstance(value, dict): yield from flat(value, f'{head}{key}.')\n"
    "        else: yield f'{head}{key}', repr(value)\n"
    "before = dict(flat(prefect.config))\n"
    "context = sorted(prefect.context)\n"
    "import prefect_ds\n"
    "after = dict(flat(prefect.config))\n"
    "keys = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]\n"
    "changed = {key: [before.get(key), after.get(key)] for key in keys}\n"
    "print('RESULT', json.dumps([changed, sorted(prefect.context) == context]))\n"
)


def result_line(done):
    (line,) = [
        line for line in done.stdout.splitlines() if line.startswith("RESULT ")
    ] or [done.stderr]
    return json.loads(line.removeprefix("RESULT "))


def test_importing_changes_one_setting_of_prefect(in_child_process):
    changed, same_context = result_line(in_child_process(CONFIG))
    assert changed == {
        "engine.flow_runner.default_class": [
            "'prefect.engine.flow_runner.FlowRunner'",
            "'prefect_ds.flow_runner.DSFlowRunner'",
        ]
    }
    assert same_context


def test_a_users_own_default_flow_runner_stays(in_child_process):
    done = in_child_process(
        CONFIG, PREFECT__ENGINE__FLOW_RUNNER__DEFAULT_CLASS="my.own.FlowRunner"
    )
    assert result_line(done)[0] == {}


def test_importing_leaves_prefects_classes_and_logging_as_they_are(in_child_process):
    done = in_child_process(
        "import logging, json, prefect, warnings\n"
        "from prefect.engine import flow_runner, task_runner, state, result\n"
        "def seen():\n"
        "    classes = [flow_runner.FlowRunner, task_runner.TaskRunner, state.State, state.Mapped, result.Result]\n"
        "    loggers = [logging.getLogger(), logging.getLogger('prefect')]\n"
        "    members = [{k: id(v) for k, v in vars(c).items()} for c in classes]\n"
        "    members[2].pop('__reduce_ex__', None)  # How a state is pickled, see lazy_result.\n"
        "    return members, [(each.level, len(each.handlers), each.propagate) for each in loggers]\n"
        "before, filters = seen(), list(warnings.filters)\n"
        "import prefect_ds\n"
        "print('RESULT', json.dumps([before == seen(), len(warnings.filters) >= len(filters)]))\n"
    )
    assert result_line(done) == [True, True]


# What travels and what the caller gets


def test_states_go_back_into_a_run_as_they_came_out(
    run_here, tmp_path, notes, no_cache
):
    flow = pipeline(tmp_path, notes)
    state = run_here(flow)
    notes.take()
    for each in tmp_path.glob("*.parquet"):
        poison(each)

    again = run_here(flow, task_states=state.result)

    assert again.is_successful()
    assert notes.take() == []
    assert_frame_equal(result_of(again, flow, "total"), expected_total())


def test_some_states_go_back_in_and_only_the_rest_runs(run_here, tmp_path, notes):
    flow = pipeline(tmp_path, notes)
    state = run_here(flow)
    notes.take()
    (download,) = flow.get_tasks("download")
    for each in tmp_path.glob("clean_*.parquet"):
        each.unlink()

    again = run_here(flow, task_states={download: state.result[download]})

    assert notes.take() == ["clean 1", "clean 2", "clean 3"]
    assert [frame["id"][0] for frame in result_of(again, flow, "clean")] == [1, 2, 3]


def test_finished_states_given_by_the_caller_are_inputs_as_in_prefect(
    run_here, tmp_path, notes
):
    flow = pipeline(tmp_path, notes)
    (total,) = flow.get_tasks("total")
    state = run_here(
        flow, task_states={total: Success(result=expected_total().assign(value=5.0))}
    )
    assert result_of(state, flow, "largest") == 5.0
    assert "total" not in notes.lines


def test_a_caller_walks_over_mapped_results_and_holds_one_at_a_time(
    run_here, tmp_path, notes, no_cache
):
    @task(result=Counting(f"{tmp_path}/source_{{id}}.parquet", "parquet", notes))
    def source(id):
        return frame_of(id)

    with Flow("walk") as flow:
        source.map(list(range(5)))
    state = run_here(flow)
    notes.take()
    results = result_of(state, flow, "source")
    assert notes.take() == []
    assert len(results) == 5
    assert results[3]["id"][0] == 3
    assert results[-1]["id"][0] == 4
    assert [frame["id"][0] for frame in results[1:3]] == [1, 2]
    assert notes.take() == [f"read source_{number}.parquet" for number in (1, 2, 3, 4)]
    assert pd.concat(results).shape == (15, 5)
    final = state_of(state, flow, "source")
    for child in [final, *final.map_states]:
        assert not any(
            isinstance(value, pd.DataFrame) for value in vars(child._result).values()
        )
        assert not getattr(child._result, "_loaded", [])


def test_states_say_what_and_where_the_result_is_without_reading(
    run_here, tmp_path, notes, no_cache
):
    @task(result=Counting(f"{tmp_path}/source_{{id}}.parquet", "parquet", notes))
    def source(id):
        return frame_of(id)

    with Flow("repr") as flow:
        source.map([1], task_args={"name": "mapped"})
        source(2)
    run_here(flow)
    notes.take()
    state = run_here(flow)
    plain, mapped = state_of(state, flow, "source"), state_of(state, flow, "mapped")
    for text in (
        repr(plain),
        repr(plain._result),
        repr(mapped.map_states[0]),
        repr(mapped.map_states[0]._result),
        repr(mapped.result),
    ):
        assert "3 rows, 5 columns" in text
        assert "KiB" in text
        assert str(tmp_path / "source_") in text
    assert notes.take() == []


def test_the_terminal_state_handler_and_the_flows_own_handlers_see_frames(
    run_here, tmp_path
):
    seen = []

    def terminal(flow, state, reference_task_states):
        seen.extend(type(each.result).__name__ for each in reference_task_states)

    def on_flow(flow, old_state, new_state):
        if new_state.is_finished():
            seen.extend(
                type(each.result).__name__ for each in new_state.result.values()
            )

    @task(result=parquet(tmp_path, "source"))
    def source():
        return frame_of(1)

    with Flow(
        "terminal", terminal_state_handler=terminal, state_handlers=[on_flow]
    ) as flow:
        source()
    run_here(flow)
    assert seen == ["DataFrame", "DataFrame"]


def test_what_is_gone_since_the_run_is_an_error_that_says_so(
    run_here, tmp_path, no_cache
):
    @task(result=parquet(tmp_path, "source"))
    def source():
        return frame_of(1)

    with Flow("gone") as flow:
        source()
    state = run_here(flow)
    (tmp_path / "source.parquet").unlink()
    with pytest.raises(
        CheckpointNotFoundError, match=r"source\.parquet.*run the task again"
    ):
        _ = result_of(state, flow, "source")


def test_a_checkpoint_replaced_since_the_run_is_not_taken_for_the_result(
    run_here, tmp_path, no_cache
):
    @task(result=parquet(tmp_path, "source"))
    def source(number):
        return frame_of(number)

    with Flow("replaced") as flow:
        source(Parameter("number"))
    first = run_here(flow, number=1)
    run_here(flow, number=2)
    with pytest.raises(CheckpointNotFoundError, match=r"replaced at .* by source-1"):
        _ = result_of(first, flow, "source")


def test_a_state_of_the_caller_pickles_small(run_here, tmp_path):
    @task(result=parquet(tmp_path, "big_{id}"))
    def big(id):
        return pd.DataFrame({"value": range(300_000)})

    with Flow("small") as flow:
        big.map([1, 2])
    final = state_of(run_here(flow), flow, "big")
    assert len(pickle.dumps(final)) < 20_000
    back = pickle.loads(pickle.dumps(final))
    assert len(back.map_states[0].result) == 300_000
    assert len(back.result) == 2


def test_a_schedule_runs_the_flow_twice_with_the_parameters_of_its_clocks(
    run_here, tmp_path, notes
):
    import pendulum

    now = pendulum.now("utc")

    @task(result=parquet(tmp_path, "day_{day}"))
    def day(day, factor):
        notes(f"day {day} {factor}")
        return frame_of(day * factor)

    clocks = [
        DatesClock([now.add(seconds=1)], parameter_defaults={"number": 1}),
        DatesClock([now.add(seconds=2)], parameter_defaults={"number": 2}),
    ]
    with Flow("scheduled", schedule=Schedule(clocks=clocks)) as flow:
        day(Parameter("number", default=0), 10)
    state = run_here(flow)
    assert notes.lines == ["day 1 10", "day 2 10"]
    assert result_of(state, flow, "day")["id"][0] == 20
    assert data_files(tmp_path) == ["day_1.parquet", "day_2.parquet"]


def test_a_schedule_may_write_the_same_path_each_time(run_here, tmp_path, notes):
    """Both runs have one flow run id: it is no collision."""
    import pendulum

    now = pendulum.now("utc")

    @task(result=parquet(tmp_path, "latest"))
    def latest(number):
        notes(f"latest {number}")
        return frame_of(number)

    clocks = [
        DatesClock([now.add(seconds=1 + number)], parameter_defaults={"number": number})
        for number in (1, 2)
    ]
    with Flow("scheduled", schedule=Schedule(clocks=clocks)) as flow:
        latest(Parameter("number", default=0))
    state = run_here(flow)
    assert state.is_successful()
    assert notes.lines == ["latest 1", "latest 2"]
    assert result_of(state, flow, "latest")["id"][0] == 2


# The log


def test_the_log_has_one_summary_for_each_run(run_here, tmp_path, notes, log_lines):
    flow = pipeline(tmp_path, notes)
    run_here(flow)
    run_here(flow, executor=LocalExecutor())
    summaries = [
        line for line in log_lines if line.startswith("Checkpoints of flow 'pipeline'")
    ]
    assert len(summaries) == 2
    assert [
        line.split()[:4]
        for line in summaries[1].splitlines()
        if line.startswith("download")
    ] == [["download", "3", "0", "0"]]


def test_a_mapped_state_of_no_children_is_fine(run_here, tmp_path, notes):
    flow = pipeline(tmp_path, notes, ids=())
    state = run_here(flow)
    assert isinstance(state_of(state, flow, "download"), Mapped)
    assert list(result_of(state, flow, "download")) == []


def test_a_lazy_result_is_what_the_caller_holds(run_here, tmp_path, notes):
    flow = pipeline(tmp_path, notes)
    assert isinstance(state_of(run_here(flow), flow, "total")._result, LazyResult)


@pytest.mark.parametrize("keep", ["total", ["total"], 5, iter([])])
def test_keep_results_is_a_list_of_tasks(tmp_path, notes, keep):
    flow = pipeline(tmp_path, notes)
    with pytest.raises(TypeError, match=r"keep_results is|not iterable"):
        flow.run(task_runner_cls=DSTaskRunner, keep_results=keep)
    assert notes.take() == []


def test_keep_results_names_tasks_of_the_flow(tmp_path, notes):
    flow = pipeline(tmp_path, notes)
    (stranger,) = pipeline(tmp_path, notes).get_tasks("total")
    with pytest.raises(
        ValueError,
        match="keep_results has task 'total', which is not in flow 'pipeline'",
    ):
        flow.run(task_runner_cls=DSTaskRunner, keep_results=[stranger])
    assert notes.take() == []
