"""Runs flows in forks of one warm process that reads jobs, so that a real kill costs no imports.

Each fork is a process of its own: it runs a flow as a user does and dies by SIGKILL, or
judges what the dead left.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from typing import Any

from prefect_ds.checkpoints.versions import versions
from prefect_ds.storage import retries
from tests.support.kill_disks import MOUNTED
from tests.support.kill_jobs import NEW, in_fork
from tests.support.kill_kinds import job_of


def serve() -> None:
    """Do one job a line of the standard input; answer each with a line of JSON."""
    retries.RETRY_DELAYS_S = (0.0, 0.0, 0.0)
    versions()
    importlib.import_module("prefect_ds.dask")
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        described = json.loads(line)
        step = described.pop("step", "all")
        job = job_of(described)
        if step != "judge":
            job.prepare()
        code, problem = in_fork(job.act) if step == "all" else (0, "")
        outcome = None
        if os.path.exists(f"{job.folder}/outcome"):
            with open(f"{job.folder}/outcome") as file:
                outcome, _ = json.load(file)
        calls = job.trap.calls
        died = code == -signal.SIGKILL
        if step != "prepare" and not problem and (code == 0 or died):
            code, problem = in_fork(job.judge)
        problem = problem or (
            f"ended by signal {-code}" if code < 0 and not died else ""
        )
        if job.disk in MOUNTED:
            subprocess.run(["umount", job.data], check=True)
        if step != "prepare":
            shutil.rmtree(job.folder)
        answer = {"died": died, "outcome": outcome, "problem": problem, "calls": calls}
        print(json.dumps(answer), flush=True)


def run_on_cluster(described: dict[str, Any], scheduler: str) -> None:
    """Run a job's flow on a cluster, its own where none is named, and write how it went; for a process of its own."""

    from tests.support.processes import executor_at, own_cluster

    job = job_of(described)
    executor = executor_at(scheduler) if scheduler else own_cluster()
    state = job.run(NEW, executor=executor)
    with open(f"{job.folder}/outcome", "w") as file:
        json.dump([type(state).__name__, str(state.message)], file)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        serve()
    else:
        run_on_cluster(json.loads(sys.argv[1]), sys.argv[2])
