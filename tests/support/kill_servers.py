"""The tests' end of the processes that `kill_server` runs."""

from __future__ import annotations

import collections
import concurrent.futures
import itertools
import json
import os
import queue
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT

HERE = Path(__file__).parent


class Servers:
    """Warm processes that fork one process for each job."""

    def __init__(self, folder: Path, n_servers: int = 2) -> None:
        self.folder = folder
        self._numbers = itertools.count()
        self._idle: queue.Queue[subprocess.Popen[str]] = queue.Queue()
        self._pool = concurrent.futures.ThreadPoolExecutor(n_servers)
        python_path = os.pathsep.join(
            [*filter(None, [os.environ.get("PYTHONPATH")]), ROOT]
        )
        # One thread, so that a fork is a whole process.
        quiet = {
            "OPENBLAS_NUM_THREADS": "1",
            "PREFECT__LOGGING__LEVEL": "CRITICAL",
            "PYTHONPATH": python_path,
        }
        self._all = [
            subprocess.Popen(
                [sys.executable, "-W", "ignore", str(HERE / "kill_server.py")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder, env={**os.environ, **quiet},
            )
            for _ in range(n_servers)
        ]  # fmt: skip
        for server in self._all:
            assert server.stdout is not None
            assert json.loads(server.stdout.readline()) == "ready"
            (folder / str(server.pid)).mkdir()
            self._idle.put(server)

    def run(self, jobs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the answers to jobs, in order."""
        return list(self._pool.map(self._ask, jobs))

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        server = self._idle.get()
        assert server.stdin is not None
        assert server.stdout is not None
        job = {"folder": f"{self.folder}/{server.pid}/{next(self._numbers)}", **job}
        server.stdin.write(json.dumps(job) + "\n")
        server.stdin.flush()
        answer: dict[str, Any] = json.loads(server.stdout.readline())
        self._idle.put(server)
        return answer

    def close(self) -> None:
        self._pool.shutdown()
        for server in self._all:
            server.kill()
            server.communicate()


def problems(jobs: list[dict[str, Any]], answers: list[dict[str, Any]]) -> list[str]:
    """Return what was wrong after each job, and print how the jobs ended."""
    outcomes = collections.Counter(
        "killed" if each["died"] else each["outcome"] for each in answers
    )
    print(len(jobs), "points:", dict(outcomes))
    return [
        f"{job}:\n{answer['problem']}"
        for job, answer in zip(jobs, answers, strict=True)
        if answer["problem"]
    ]
