"""How tasks are wired: collections, merges, templates, and results that Prefect itself keeps."""

import asyncio
import datetime
import gc
import traceback
import weakref

import pandas as pd
import prefect
import pytest
from pandas.testing import assert_frame_equal
from prefect import Flow, Parameter, Task, case, flatten
from prefect import task as prefect_task
from prefect.engine import signals
from prefect.engine.results import LocalResult
from prefect.executors import LocalDaskExecutor
from prefect.tasks.control_flow import merge
from prefect.utilities.configuration import set_temporary_config

from prefect_ds import PandasResultHandler, task
from prefect_ds.checkpoints import memory_cache as cache
from prefect_ds.checkpoints.lazy_result import raw_value
from prefect_ds.checkpoints.reference import CheckpointReference
from tests.support.flows import (
    AT_ONCE,
    Counting,
    data_files,
    frame_of,
    parquet,
    reads,
    result_of,
    state_of,
)

# How tasks are wired


def test_what_prefect_collects_is_not_read_to_be_collected(
    run_here, tmp_path, notes, no_cache
):
    @task(result=Counting(f"{tmp_path}/source_{{id}}.parquet", "parquet", notes))
    def source(id):
        return frame_of(id)

    @task
    def take(collected):
        return type(collected).__name__

    with Flow("collect") as flow:
        one, two = source(1), source(2)
        listed = [one, two]
        deep = take({"a": [one, (two, listed)]})
    state = run_here(flow)

    assert state.result[deep].result == "dict"
    assert reads(notes) == ["read source_1.parquet", "read source_2.parquet"]


def test_mapping_over_a_list_of_checkpoints_reads_each_once(
    run_here, tmp_path, notes, no_cache
):
    @task(result=Counting(f"{tmp_path}/source_{{id}}.parquet", "parquet", notes))
    def source(id):
        return frame_of(id)

    @task
    def each(frame):
        return int(frame["id"][0])

    with Flow("map") as flow:
        mapped = each.map([source(1), source(2)])
    state = run_here(flow)

    assert state.result[mapped].result == [1, 2]
    assert reads(notes) == ["read source_1.parquet", "read source_2.parquet"]


def test_an_item_of_a_mapped_task_reads_that_item_only(
    run_here, tmp_path, notes, no_cache
):
    @task(result=Counting(f"{tmp_path}/source_{{id}}.parquet", "parquet", notes))
    def source(id):
        return frame_of(id)

    @task
    def take(frame):
        return int(frame["id"][0])

    with Flow("item") as flow:
        taken = take(source.map([1, 2, 3])[1])
    state = run_here(flow)

    assert state.result[taken].result == 2
    assert reads(notes) == ["read source_2.parquet"]


def test_a_column_of_a_checkpoint_is_no_checkpoint(run_here, tmp_path):
    @task(result=parquet(tmp_path, "source_{id}"))
    def source(id):
        return frame_of(id)

    with Flow("column") as flow:
        column = source(1)["value"]
    state = run_here(flow)

    assert state.is_successful()
    assert list(state.result[column].result) == list(frame_of(1)["value"])
    assert data_files(tmp_path) == ["source_1.parquet"]


def test_a_merge_passes_the_checkpoint_on(run_here, tmp_path, notes):
    @task(result=Counting(f"{tmp_path}/{{name}}.parquet", "parquet", notes))
    def source(name):
        return frame_of(1)

    @task
    def which():
        return True

    with Flow("merge") as flow:
        condition = which()
        with case(condition, True):
            left = source("left")
        with case(condition, False):
            right = source("right")
        merged = merge(left, right)
    state = run_here(flow)

    assert_frame_equal(state.result[merged].result, frame_of(1))
    assert isinstance(raw_value(state.result[merged]), CheckpointReference)


def test_flatten_takes_lists_of_checkpoints_apart(run_here, tmp_path):
    @task(result=parquet(tmp_path, "source_{id}"))
    def source(id):
        return frame_of(id)

    @task
    def each(frame):
        return int(frame["id"][0])

    with Flow("flatten") as flow:
        one = source(1)
        nested = each.map(flatten([[one, source(2)], [source(3)]]))
    state = run_here(flow)

    assert state.result[nested].result == [1, 2, 3]


def test_a_task_class_is_checkpointed_as_a_function_is(run_here, tmp_path, notes):
    class Download(Task):
        def __init__(self, factor, **options):
            self.factor = factor
            super().__init__(**options)

        def run(self, id):
            notes(f"ran {id}")
            return frame_of(id * self.factor)

    download = Download(10, name="download", result=parquet(tmp_path, "download_{id}"))
    with Flow("class") as flow:
        download.map([1, 2])
    for _ in range(2):
        assert [
            frame["id"][0] for frame in result_of(run_here(flow), flow, "download")
        ] == [10, 20]
    assert notes.lines == ["ran 1", "ran 2"]


def test_parameters_context_and_inputs_fill_the_template_later_ones_winning(
    run_here, tmp_path
):
    @task(
        result=parquet(
            tmp_path,
            "{flow_name}_{region}_{params[lr]}_{day:%Y%m%d}_{task_name}_{id:03d}",
        )
    )
    def fit(id, params, day):
        return frame_of(id)

    with Flow("training") as flow:
        flow.add_task(Parameter("region", default="north"))
        flow.add_task(Parameter("id", default=99))
        fit(7, {"lr": 0.5}, datetime.date(2024, 2, 29))
    assert run_here(flow, region="south").is_successful()
    assert data_files(tmp_path) == ["training_south_0.5_20240229_fit_007.parquet"]


def test_a_child_may_be_named_by_its_run_name(run_here, tmp_path, notes):
    names = []

    @task(
        result=parquet(tmp_path, "{task_run_name}"),
        task_run_name="run {id} of {flow_name}",
    )
    def by_template(id):
        return frame_of(id)

    @task(
        result=parquet(tmp_path, "{task_run_name}"),
        task_run_name=lambda **values: f"made {values['id'] * 2}",
    )
    def by_function(id):
        return frame_of(id)

    with Flow("names") as flow:
        by_template.map([1, 2])
        by_function.map([1, 2])
    assert run_here(flow).is_successful()
    names = data_files(tmp_path)

    assert len(names) == 4
    assert sum("made" in name for name in names) == 2


def test_a_run_name_that_looks_at_a_frame_sees_it_and_another_reads_nothing(
    run_here, tmp_path, notes, no_cache
):
    import prefect

    @task(result=Counting(f"{tmp_path}/source.parquet", "parquet", notes))
    def source():
        return frame_of(4)

    @task(result=parquet(tmp_path, "looks"), task_run_name="id {frame.shape[0]}")
    def looks(frame):
        notes(f"name {prefect.context.task_run_name}")
        return frame

    @task(result=parquet(tmp_path, "looks_not"), task_run_name="flow {flow_name}")
    def looks_not(frame):
        notes(f"name {prefect.context.task_run_name}")
        return frame

    with Flow("names") as flow:
        frame = source()
        looks(frame)
        looks_not(frame)
    run_here(flow)
    assert [line for line in notes.take() if line.startswith("name")] == [
        "name flow names",
        "name id 3",
    ]
    run_here(flow)
    assert reads(notes) == ["read source.parquet"], (
        "the name of one needs the frame, the other's does not"
    )


def test_upstream_only_edges_pass_no_data(run_here, tmp_path, notes, no_cache):
    @task(result=Counting(f"{tmp_path}/first.parquet", "parquet", notes))
    def first():
        return frame_of(1)

    @task
    def second():
        return 2

    with Flow("edges") as flow:
        second(upstream_tasks=[first()])
    run_here(flow)
    assert notes.take() == ["write first.parquet"]


def test_a_template_that_names_a_plain_input_does_not_read_the_heavy_one(
    run_here, tmp_path, notes, no_cache
):
    @task(result=Counting(f"{tmp_path}/source.parquet", "parquet", notes))
    def source():
        return frame_of(1)

    @task(result=parquet(tmp_path, "step_{name}"))
    def step(frame, name):
        return frame

    with Flow("template") as flow:
        step(source(), "x")
    run_here(flow)
    notes.take()
    run_here(flow)
    assert notes.take() == []


@pytest.mark.parametrize(
    "executor",
    [None, LocalDaskExecutor("threads", num_workers=4)],
    ids=["local", "threads"],
)
def test_tasks_that_share_a_handler_keep_their_own_targets(
    run_here, tmp_path, executor
):
    """Prefect writes a task's target into the result object that the tasks share."""
    shared = PandasResultHandler(None, "parquet")

    def make(number):
        @task(
            name=f"task {number}",
            result=shared,
            target=f"{tmp_path}/target_{number}.parquet",
        )
        def each():
            return frame_of(number)

        return each

    with Flow("targets") as flow:
        for number in range(12):
            make(number)()
    for _ in range(2):
        state = run_here(flow, **({"executor": executor} if executor else {}))
        assert state.is_successful(), {
            each.message for each in state.result.values() if each.is_failed()
        }
        for number in range(12):
            assert result_of(state, flow, f"task {number}")["id"][0] == number
            assert (
                pd.read_parquet(tmp_path / f"target_{number}.parquet")["id"][0]
                == number
            )


def test_a_list_that_holds_itself_passes_as_in_prefect(run_here):
    @task
    def endless():
        endless = [1]
        endless.append(endless)
        return endless

    @task
    def first(values):
        return values[0]

    with Flow("endless") as flow:
        first(endless())
    assert result_of(run_here(flow), flow, "first") == 1


# Templates


@pytest.mark.parametrize(
    ("template", "field"),
    [
        ("{nowhere}", "nowhere"),
        ("{frame}", "frame"),
        ("{id:%Y}", "id"),
        ("{values}", "values"),
        ("{absent}", "absent"),
    ],
)
def test_a_template_that_cannot_be_filled_ends_the_task_before_it_runs(
    run_here, tmp_path, notes, template, field
):
    @task(name="source")
    def source():
        return frame_of(1)

    @task(
        name="writer",
        result=parquet(tmp_path, f"out_{template}"),
        max_retries=3,
        retry_delay=AT_ONCE,
    )
    def writer(frame, id, values, absent=None):
        notes("ran")
        return frame

    with Flow("template") as flow:
        writer(source(), 1, [1, 2], None)
    state = run_here(flow)
    message = state_of(state, flow, "writer").message

    assert state_of(state, flow, "writer").is_failed()
    assert notes.lines == []
    assert "TemplateError" in message
    assert field in message
    assert f"out_{template}" in message
    assert "'writer'" in message


# Reading once


@pytest.fixture
def source(tmp_path, notes):
    @task(result=Counting(f"{tmp_path}/source_{{id}}.parquet", "parquet", notes))
    def source(id):
        return frame_of(id)

    return source


def _takes_it_twice(source):
    @task
    def twice(one, other, both):
        return one is other is both[0]

    frame = source(1)
    return twice(frame, frame, [frame, frame])


def _loops(source):
    @task
    def loops(frame):
        turn = prefect.context.get("task_loop_count", 1)
        if turn < 4:
            raise signals.LOOP(result=turn)
        return len(frame) == 3

    return loops(source(1))


def _looks_at_all_in_its_trigger(source):
    def looks(upstream):
        return all(
            len(each.result[0]) == len(each.map_states[0].result)
            for each in upstream.values()
        )

    @task(trigger=looks)
    def takes(frames):
        return len(frames) == 1

    return takes(source.map([1]))


@pytest.mark.parametrize(
    "make", [_takes_it_twice, _loops, _looks_at_all_in_its_trigger]
)
def test_one_task_reads_one_checkpoint_once(run_here, source, notes, no_cache, make):
    with Flow("once") as flow:
        answer = make(source)
    for _ in range(2):
        state = run_here(flow)
        assert state.result[answer].result is True
        assert reads(notes) == ["read source_1.parquet"]
        notes.take()


# What Prefect itself keeps or hands on


def test_a_checkpoint_that_was_removed_is_computed_again_whatever_cache_for_remembers(
    run, tmp_path, notes
):
    @task(result=parquet(tmp_path, "cached"), cache_for=datetime.timedelta(hours=1))
    def cached():
        notes("ran")
        return frame_of(1)

    @task
    def rows(frame):
        return len(frame)

    with Flow("cached") as flow:
        answer = rows(cached())
    for expected in (["ran"], []):
        assert run(flow).result[answer].result == 3
        assert notes.take() == expected
    (tmp_path / "cached.parquet").unlink()
    assert run(flow).result[answer].result == 3
    assert notes.take() == ["ran"]


def test_states_that_prefect_remembers_are_submitted_without_a_read(
    run, tmp_path, notes, no_cache
):
    @task(
        result=Counting(f"{tmp_path}/cached.parquet", "parquet", notes),
        cache_for=datetime.timedelta(hours=1),
    )
    def cached():
        return frame_of(1)

    @task
    def number(n):
        return n

    with Flow("cached and others") as flow:
        cached()
        numbers = number.map([1, 2, 3])
    for _ in range(3):
        assert run(flow).result[numbers].result == [1, 2, 3]
    assert reads(notes) == []


def test_a_merge_with_a_handler_of_its_own_keeps_what_it_is_given(
    run, tmp_path, source
):
    with Flow("merge") as flow:
        merged = merge(source(1), source(2), checkpoint=True)
        merged.result = PandasResultHandler(f"{tmp_path}/merged.csv", "csv")
    for message in ("Ran because there was nothing yet", "Loaded from the checkpoint"):
        state = run(flow)
        assert_frame_equal(state.result[merged].result, frame_of(1))
        assert message in state.result[merged].message
    assert pd.read_csv(tmp_path / "merged.csv")["id"].tolist() == [1, 1, 1]


def test_the_flows_handler_does_not_keep_what_a_merge_passes_on(
    run_here, tmp_path, source
):
    seen = []

    def look(task, old, new):
        if new.is_successful():
            seen.append(type(new.result))

    with Flow(
        "merge", result=PandasResultHandler(f"{tmp_path}/{{task_slug}}.csv", "csv")
    ) as flow:
        merged = merge(source(1), source(2))
        merged.state_handlers.append(look)
    state = run_here(flow)
    assert_frame_equal(state.result[merged].result, frame_of(1))
    assert seen == [pd.DataFrame]
    assert list(tmp_path.glob("*.csv")) == []


def test_prefects_results_hold_no_references(run_here, tmp_path, source):
    @task(checkpoint=False)
    def rows(frames):
        return sum(map(len, frames))

    folder = tmp_path / "prefect"
    with Flow(
        "local results", result=LocalResult(dir=str(folder), location="{task_slug}.pkl")
    ) as flow:
        frames = [source(1), merge(source(2), source(3))]
        answer = rows(frames)
    with set_temporary_config({"flows.checkpointing": True}):
        state = run_here(flow)
    assert state.result[answer].result == 6
    assert not [
        path
        for path in folder.rglob("*")
        if path.is_file() and b"CheckpointReference" in path.read_bytes()
    ]


def test_a_merge_with_a_result_of_prefects_writes_the_data(run_here, tmp_path, source):
    with Flow("merge") as flow:
        merged = merge(source(1), source(2))
        merged.result = LocalResult(dir=str(tmp_path), location="merged.pkl")
    with set_temporary_config({"flows.checkpointing": True}):
        run_here(flow)
    assert_frame_equal(
        LocalResult(dir=str(tmp_path)).read("merged.pkl").value, frame_of(1)
    )


def test_a_failed_task_does_not_hold_its_inputs(run_here, source):
    alive = []

    @prefect_task
    def fails(frame):
        alive.append(weakref.ref(frame))
        raise ValueError(f"{len(frame)} rows")

    with Flow("fails") as flow:
        failed = fails.map(source.map([1, 2]))
    state = run_here(flow)
    gc.collect()
    assert [str(child.result) for child in state.result[failed].map_states] == [
        "3 rows",
        "3 rows",
    ]
    assert [ref() for ref in alive] == [None, None]
    assert "in fails" in "".join(
        traceback.format_exception(state.result[failed].map_states[0].result)
    )


def test_what_caught_a_failed_tasks_error_goes_on(run_here):
    """An error that an event loop's coroutine caught has that coroutine's frame in its traceback."""
    errors, going_on = [], asyncio.Event()

    async def catches():
        try:
            raise ValueError("caught")
        except ValueError as error:
            errors.append(error)
        await going_on.wait()
        return "went on"

    @prefect_task
    def fails():
        raise errors[0]

    async def main():
        waiting = asyncio.create_task(catches())
        await asyncio.sleep(0)
        with Flow("fails") as flow:
            fails()
        state = await asyncio.to_thread(run_here, flow)
        going_on.set()
        return state, await asyncio.wait_for(waiting, 300)

    state, answer = asyncio.run(main())
    assert state.is_failed()
    assert answer == "went on"


@pytest.mark.parametrize("setting", ["128MB", -1, None])
def test_a_cache_of_no_size_is_an_error_that_names_the_setting(
    run_here, source, setting
):
    with Flow("setting") as flow:
        source(1)
    with (
        set_temporary_config({"prefect_ds.cache_bytes": setting}),
        pytest.raises(ValueError, match=r"prefect_ds\.cache_bytes is"),
    ):
        run_here(flow)


def test_the_callers_process_bounds_its_cache_as_the_workers_do(run, source):
    with Flow("setting") as flow:
        source(1)
    with set_temporary_config({"prefect_ds.cache_bytes": 12345}):
        run(flow)
    assert cache._kept.n == 12345
