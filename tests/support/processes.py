"""Processes that tests start: commands of Dask's, and the cluster of an executor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from distributed import LocalCluster
from prefect.executors import DaskExecutor

ROOT = str(Path(__file__).parents[2])
"""The checkout: on the path of each process, so that it can import ``tests``."""


def start(command: list[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    python_path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), ROOT])
    with open(log, "wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": python_path},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a worker's nanny has a child: both end together
        )


def end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(20)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def own_cluster() -> DaskExecutor:
    """The executor that brings its own cluster of two worker processes."""
    return DaskExecutor(
        cluster_kwargs={
            "n_workers": 2,
            "threads_per_worker": 1,
            "processes": True,
            "dashboard_address": ":0",
        },
        watch_worker_status=False,
    )


def executor_at(address: str) -> DaskExecutor:
    """Return an executor for one run on a cluster that runs already."""
    return DaskExecutor(address=address, watch_worker_status=False)


def local_cluster(n_workers: int = 2, threads_per_worker: int = 1) -> LocalCluster:
    """Return a cluster of processes on this machine; it ends with its context."""
    return LocalCluster(
        n_workers=n_workers,
        threads_per_worker=threads_per_worker,
        processes=True,
        dashboard_address=":0",
    )
