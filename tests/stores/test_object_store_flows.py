"""Flows whose checkpoints lie in object stores."""

import functools
import multiprocessing
import warnings
from dataclasses import replace

import dask.dataframe as dd
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from prefect import Flow
from prefect.executors import LocalExecutor

from prefect_ds import DSTaskRunner, PandasResultHandler, task
from prefect_ds.dask import DaskDataFrameResultHandler
from tests.support.object_stores import (
    FRAMES,
    handler_of,
    keep,
    names_below,
    there,
)
from tests.support.processes import own_cluster
from tests.support.scale import SCALE
from tests.support.servers import KEY, SECRET

# ------------------------------------------------------------------------------------------------
# flows


def pipeline(store):
    """A mapped stage of pandas frames and a Dask frame made of them."""

    @task(
        result=PandasResultHandler(
            f"{store.root}/part_{{number}}.csv", "csv", storage_options=store.options
        )
    )
    def part(number):
        print(f"computed {number}")
        return pd.DataFrame({"n": [number, number * 2]})

    @task(
        result=DaskDataFrameResultHandler(
            f"{store.root}/all", storage_options=store.options
        )
    )
    def together(parts):
        return dd.concat([dd.from_pandas(each, npartitions=1) for each in parts])

    @task
    def total(frame):
        return int(frame["n"].sum().compute())

    with Flow("stores") as flow:
        total(together(part.map([1, 2, 3])))
    return flow


EXECUTORS = {"local": LocalExecutor, "cluster": own_cluster}
NOT_IN_SAMPLE = [("s3", "local"), ("az", "cluster"), ("gs", "cluster")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s3", "az", "gs"])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_flow_is_written_once_and_read_on_the_next_run(
    start, name, executor, log_lines, capfd
):
    if SCALE == 1 and (name, executor) in NOT_IN_SAMPLE:
        pytest.skip("PREFECT_DS_TEST_SCALE=10 does this one on all servers")
    store = start(name).fresh()
    writes = []
    for _ in range(2):
        flow = pipeline(store)
        store.proxy.requests.clear()
        state = flow.run(executor=EXECUTORS[executor](), task_runner_cls=DSTaskRunner)
        assert state.is_successful(), state.result
        assert state.result[flow.get_tasks("total")[0]].result == 18
        writes.append(
            [
                each
                for each in store.proxy.requests
                if each.startswith("PUT") or "/upload/" in each
            ]
        )
        texts = [
            repr(state),
            repr(state.result),
            repr(flow.tasks),
            *map(repr, state.result.values()),
        ]
        assert not [each for each in texts if SECRET in each]
    assert len(writes[0]) > 10
    assert writes[1] == []
    said = "\n".join(log_lines) + "".join(capfd.readouterr())
    objects = [store.fs.cat_file(f"{store.root}{each}") for each in names_below(store)]
    assert len(objects) == 11 - 1, (
        "four checkpoints, of which one has three parts, and a manifest for each"
    )
    assert SECRET not in said
    assert not [
        each for each in objects if SECRET.encode() in each or KEY.encode() in each
    ]


def fails(number):
    """A partition that fails, on a worker."""
    raise ValueError(f"partition {number} fails")


@pytest.mark.slow
def test_an_error_on_a_worker_prints_no_credentials(s3, capfd, log_lines):
    """Dask prints the function and arguments of a task that fails."""
    handler = handler_of(s3, "folder")
    frame = dd.from_map(fails, [0, 1], meta=pd.DataFrame({"x": [1]}))
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        with pytest.raises(ValueError, match=r"partition \d fails"):
            handler.keep(frame, handler.location)
        writer = functools.partial(
            handler.keep, dd.from_pandas(FRAMES["1"], npartitions=1), handler.location
        )
        s3.proxy.before = lambda request: 403
        with pytest.raises(PermissionError, match="credentials"):
            writer()
        said = f"{client.get_worker_logs()}{client.get_scheduler_logs()}"
    said += "".join(capfd.readouterr()) + "\n".join(log_lines)
    assert "Compute Failed" in said
    assert SECRET not in said
    assert SECRET not in repr(handler.storage_options)
    assert dict(handler.storage_options) == s3.options, "the driver gets them"


def test_a_store_that_was_open_when_the_process_forked_is_opened_anew(s3):
    keep(handler_of(s3, "csv"), "1")
    with multiprocessing.get_context("fork").Pool(1) as pool, warnings.catch_warnings():
        assert pool.apply_async(there, (replace(s3, proxy=None), "csv")).get(60) == "1"
