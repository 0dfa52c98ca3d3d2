"""A flow that writes a Dask frame for as long as a test wants. Workers import this."""

from __future__ import annotations

import os
import time
from pathlib import Path

import dask
import dask.dataframe as dd
import pandas as pd
from prefect import Flow
from prefect.executors import LocalExecutor

from prefect_ds import DSTaskRunner, task
from prefect_ds.dask import DaskDataFrameResultHandler

N_PARTITIONS = 6


def partition(number: int, folder: str) -> pd.DataFrame:
    """A partition; the fourth that is made waits for a file."""
    Path(f"{folder}/begun {number}").touch()
    is_fourth = len(list(Path(folder).glob("begun *"))) > 3
    while is_fourth and not os.path.exists(f"{folder}/go"):
        time.sleep(0.05)
    return pd.DataFrame({"n": [number]})


def flow_of(folder: str) -> Flow:
    @task(result=DaskDataFrameResultHandler(f"{folder}/data/events"))
    def events():
        return dd.from_map(
            partition,
            range(N_PARTITIONS),
            folder=folder,
            meta=pd.DataFrame({"n": [0]}).iloc[:0],
        )

    with Flow("long") as flow:
        events()
    return flow


def write(folder: str) -> None:
    """Write the frame, one partition after the other; for a process of its own."""
    with dask.config.set(scheduler="synchronous"):
        flow_of(folder).run(executor=LocalExecutor(), task_runner_cls=DSTaskRunner)
