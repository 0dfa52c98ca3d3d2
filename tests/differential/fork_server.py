"""Runs scripts in processes of their own without the seconds that an import takes.

The server has imported what the scripts need, and forks a process for each; two
servers with different hash seeds stand for a run and its resume.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


class ForkServer:
    """A process that runs scripts, each in a fork of its own.

    Parameters
    ----------
    hash_seed
        Python's, on which the order of sets depends.
    """

    def __init__(self, hash_seed: int) -> None:
        folders = [os.environ.get("PYTHONPATH", ""), str(Path(__file__).parents[2])]
        environment = {
            **os.environ,
            "PYTHONHASHSEED": str(hash_seed),
            "PYTHONPATH": os.pathsep.join(filter(None, folders)),
            "PREFECT__LOGGING__LEVEL": "CRITICAL",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.differential.fork_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def run(self, script: str, *arguments: str, log: str, seconds: float = 280) -> int:
        """Run a script and return how it ended, as a shell says it."""
        job = {"argv": [script, *arguments], "log": log, "seconds": seconds}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the server."""
        self._process.communicate(timeout=120)


def serve() -> None:
    """Fork a process for each job on stdin, and say on stdout how it ended."""
    import prefect.executors  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    import prefect_ds.dask  # noqa: F401

    gc.freeze()  # What the forks share stays shared: no collection touches it.
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            run_forked(job)
        print(wait(pid, job["seconds"]), flush=True)


def run_forked(job: dict[str, Any]) -> None:
    """Run the job's script as a program of its own, and end the process."""
    os.setsid()
    # What loops for ever ends by itself; no run needs a tenth of this.
    resource.setrlimit(resource.RLIMIT_CPU, (20, 25))
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    sys.argv = job["argv"]
    status = 1
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except BaseException as error:  # noqa: BLE001 - the log has it
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(pid: int, seconds: float) -> int:
    """Return how a process ended; one that does not end is killed, with its children."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -1000


if __name__ == "__main__":
    serve()
