"""Folders of parts under real kills: of the one process, of any process of a cluster, of all of them together."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client

from tests.support.kill_harness import CALLS, CHANGES, WRITES, Trap, processes
from tests.support.kill_servers import HERE, Servers, problems
from tests.support.processes import ROOT, end
from tests.support.scale import SCALE, sweep

pytestmark = sweep


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("kills"))
    yield servers
    servers.close()


def numbers_of(servers: Servers, scene: str, only: tuple[str, ...]) -> range:
    [answer] = servers.run([{"file_type": "dask", "scene": scene, "only": only}])
    assert (answer["outcome"], answer["problem"]) == ("Success", "")
    return range(1, len(answer["calls"]) + 1)


def some(numbers: range, n_numbers: int) -> list[int]:
    """Return so many of the numbers, the first and the last among them; all of them at full scale."""
    if SCALE >= 10 or n_numbers >= len(numbers):
        return list(numbers)
    between = random.Random(len(numbers)).sample(numbers[1:-1], n_numbers - 2)
    return [numbers[0], *sorted(between), numbers[-1]]


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["first", "rewrite"])
def test_a_write_by_threads_killed_at_any_call_leaves_old_new_or_nothing(
    servers, scene
):
    """And what was finished is not computed again."""
    jobs = [
        {
            "file_type": "dask",
            "scene": scene,
            "number": number,
            "when": when,
            "only": only,
        }
        for when, only, n_numbers in (
            ("before", CHANGES, 5),
            ("after", CHANGES, 4),
            ("halfway", ("write",), 2),
        )
        for number in some(numbers_of(servers, scene, only), n_numbers)
    ]
    answers = servers.run(jobs)
    assert problems(jobs, answers) == []
    # Threads make some calls more or fewer each time: the last ones may not be reached.
    assert sum(not answer["died"] for answer in answers) <= max(2, len(jobs) // 50)


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["first", "rewrite"])
@pytest.mark.parametrize("action", ["ENOSPC", "EIO"])
def test_an_error_at_any_call_fails_the_task_or_is_mended(servers, scene, action):
    only, n_times = (WRITES, None) if action == "ENOSPC" else (CALLS, 1)
    jobs = [
        {
            "file_type": "dask",
            "scene": scene,
            "number": number,
            "action": action,
            "only": only,
            "n_times": n_times,
        }
        for number in some(numbers_of(servers, scene, only), 3)
    ]
    answers = servers.run(jobs)
    assert problems(jobs, answers) == []
    assert action == "ENOSPC" or {answer["outcome"] for answer in answers} == {
        "Success"
    }


class Cluster:
    """Runs a job's flow on armed processes of a cluster, and ends those that are left."""

    def __init__(self, folder: Path, servers: Servers) -> None:
        self.folder, self.servers = folder, servers

    def run(
        self, scene: str, number: int, action: str, from_command_line: bool
    ) -> list[tuple[str, str, str]]:
        """Return the calls that were made; nothing is amiss after the kill."""
        job = {
            "folder": str(self.folder / f"{number}"),
            "file_type": "dask",
            "scene": scene,
        }
        self.servers.run([{**job, "step": "prepare"}])
        trap = Trap(
            f"{job['folder']}/data",
            f"{job['folder']}/log",
            number,
            "before",
            action,
            only=CHANGES,
        )
        started: list[subprocess.Popen[bytes]] = []
        environment = trap.environment
        environment["PYTHONPATH"] += os.pathsep + ROOT
        try:
            scheduler = (
                self.start(trap, environment, started) if from_command_line else ""
            )
            client = subprocess.Popen(
                [sys.executable, "-W", "ignore", str(HERE / "kill_server.py"), json.dumps(job), scheduler],
                cwd=self.folder, env={**os.environ, **environment}, start_new_session=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            started.append(client)
            client.wait(120)
        finally:
            for pid, _ in processes(trap):
                os.kill(pid, signal.SIGKILL)
            for process in started:
                end(process)
        calls, is_sprung = trap.calls, trap.is_sprung
        [answer] = self.servers.run([{**job, "step": "judge"}])
        assert answer["problem"] == "", (number, calls[number - 1 :])
        assert is_sprung, calls
        return calls

    def start(
        self,
        trap: Trap,
        environment: dict[str, str],
        started: list[subprocess.Popen[bytes]],
    ) -> str:
        """Start a scheduler and two workers from the command line; return the scheduler's address."""
        scheduler_file = f"{os.path.dirname(trap.log)}/scheduler.json"
        at_scheduler = ["--scheduler-file", scheduler_file, "--no-dashboard"]
        worker = [
            "worker",
            "--nworkers",
            "1",
            "--nthreads",
            "1",
            "--death-timeout",
            "60",
            *at_scheduler,
        ]
        for command in (
            ["scheduler", "--port", "0", "--host", "127.0.0.1", *at_scheduler],
            worker,
            worker,
        ):
            process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "dask", *command],
                cwd=self.folder, env={**os.environ, **environment}, start_new_session=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            started.append(process)
        with Client(
            scheduler_file=scheduler_file, timeout=300, set_as_default=False
        ) as client:
            client.wait_for_workers(2, timeout=300)
            return str(client.scheduler.address)


SCENES = [("rewrite", "self"), ("first", "all"), ("first", "self"), ("rewrite", "all")]
WHOM = ["all", "client", "worker", "scheduler"]


@pytest.mark.slow
@pytest.mark.parametrize(("scene", "whom"), SCENES if SCALE >= 10 else SCENES[:2])
def test_a_cluster_killed_at_any_call_leaves_old_new_or_nothing(
    servers, tmp_path, scene, whom
):
    cluster = Cluster(tmp_path, servers)
    for number in (
        range(2, 130, 8) if SCALE >= 10 else [random.Random(scene).randrange(2, 130)]
    ):
        calls = cluster.run(scene, number, f"kill {whom}", False)
        assert {role for role, _, _ in calls} == {"worker"}, (
            "the workers write, and nobody else"
        )


@pytest.mark.slow
@pytest.mark.parametrize("whom", WHOM if SCALE >= 10 else WHOM[:1])
def test_a_cluster_from_the_command_line_that_loses_a_process_leaves_old_new_or_nothing(
    servers, tmp_path, whom
):
    cluster = Cluster(tmp_path, servers)
    for number in (
        range(5, 130, 20) if SCALE >= 10 else [random.Random(whom).randrange(2, 130)]
    ):
        cluster.run("rewrite", number, f"kill {whom}", True)
