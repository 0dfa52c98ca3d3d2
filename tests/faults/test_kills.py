"""Real flows in real processes, killed by SIGKILL or failed at every file-system call of a commit.

The points are counted, not listed by hand: a first run of each scene writes the table
of its calls. A kill before a call that only looks leaves what one after the last change
leaves, so kills are tried at calls that change something.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.kill_harness import CALLS, CHANGES, OPENS, WRITES
from tests.support.kill_servers import Servers, problems
from tests.support.scale import SCALE

FILE_TYPES = (
    "csv",
    "json",
    "parquet",
    "feather",
    "orc",
    "hdf",
    "html",
    "xml",
    "stata",
    "pickle",
    "excel",
    "ods",
)
BY_TASKS = ("task-file", "task-folder")
"""Written by the task itself, which returns the path."""
KILLED_TYPES = (*(FILE_TYPES if SCALE >= 10 else ("csv", "parquet", "hdf")), *BY_TASKS)
"""One for each way of writing: a file object, Arrow, a path of its own."""
SCENES = ("first", "rewrite", "adopt", "damaged")


@dataclass(frozen=True)
class Fault:
    """What is tried at each call of these kinds; a task that is run again after the error is to be a success."""

    action: str
    when: str
    only: tuple[str, ...]
    n_times: int | None = 1
    max_retries: int = 0


KILLS = {
    "killed before": Fault("kill self", "before", CHANGES),
    "killed after": Fault("kill self", "after", CHANGES),
    "killed halfway": Fault("kill self", "halfway", ("write",)),
}
FAULTS = {
    "disk full": Fault("ENOSPC", "halfway", WRITES, None),
    "disk full, then a retry by Prefect": Fault(
        "ENOSPC", "halfway", WRITES, 1, max_retries=1
    ),
    "over quota, then a retry by Prefect": Fault(
        "EDQUOT", "before", WRITES, 1, max_retries=1
    ),
    "forbidden": Fault("EACCES", "before", CALLS),
    "read-only": Fault("EROFS", "before", CHANGES, None),
    "too many open files": Fault("EMFILE", "before", OPENS),
    "fails once": Fault("EIO", "before", CALLS),
    "answer lost once": Fault("EIO", "after", CHANGES),
    "short write": Fault("short write", "before", ("write",), None),
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("kills"))
    yield servers
    servers.close()


def points(
    servers: Servers, faults: dict[str, Fault], cells: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return a job for each fault at each call of the runs that these cells describe."""
    found = []
    for cell, answer in zip(
        cells, servers.run({**cell, "only": CALLS} for cell in cells), strict=True
    ):
        assert (answer["outcome"], answer["problem"]) == ("Success", ""), (
            cell,
            answer["problem"],
        )
        for name, fault in faults.items():
            n_calls = sum(call in fault.only for _, call, _ in answer["calls"])
            assert n_calls or "fsync" in fault.only or cell["scene"] == "adopt", (
                name,
                answer["calls"],
            )
            found += [
                {**cell, **vars(fault), "number": number}
                for number in range(1, n_calls + 1)
            ]
    return found


def sample(jobs: list[dict[str, Any]], share: float) -> list[dict[str, Any]]:
    """Return this share of the jobs, all of them at full scale; the same ones each time."""
    n_jobs = len(jobs) if SCALE >= 10 else max(1, round(len(jobs) * share))
    return random.Random(n_jobs).sample(jobs, n_jobs)


def cells(
    file_type: str, scenes: Iterable[str] = SCENES, durability: str = "process"
) -> list[dict[str, Any]]:
    return [
        {"file_type": file_type, "scene": scene, "durability": durability}
        for scene in scenes
    ]


@pytest.mark.parametrize("scene", SCENES)
def test_a_flow_killed_before_any_call_leaves_old_new_or_nothing(servers, scene):
    jobs = points(
        servers, {"killed before": KILLS["killed before"]}, cells("csv", [scene])
    )
    answers = servers.run(jobs)
    assert problems(jobs, answers) == []
    assert [
        job for job, answer in zip(jobs, answers, strict=True) if not answer["died"]
    ] == []
    assert len(jobs) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("file_type", KILLED_TYPES)
def test_a_flow_killed_at_any_call_leaves_old_new_or_nothing_and_the_next_run_mends_it(
    servers, file_type
):
    every = points(
        servers,
        KILLS,
        [*cells(file_type), *cells(file_type, ["first", "rewrite"], "power")],
    )
    jobs = sample(every, 0.02 if file_type in BY_TASKS else 0.06)
    answers = servers.run(jobs)
    assert problems(jobs, answers) == []
    assert [
        job for job, answer in zip(jobs, answers, strict=True) if not answer["died"]
    ] == []


@pytest.mark.slow
@pytest.mark.parametrize("file_type", KILLED_TYPES)
def test_an_error_at_any_call_is_mended_or_fails_the_task_and_costs_no_checkpoint(
    servers, file_type
):
    every = points(servers, FAULTS, cells(file_type))
    jobs = sample(every, 0.01 if file_type in BY_TASKS else 0.03)
    answers = servers.run(jobs)
    assert problems(jobs, answers) == []
    for job, answer in zip(jobs, answers, strict=True):
        assert not answer["died"]
        # What passes, within the run or with Prefect's retry, is no failure.
        is_lasting = job["n_times"] is None or (
            job["action"] == "EACCES" and not job["max_retries"]
        )
        assert answer["outcome"] == "Success" or (
            is_lasting and job["action"] != "short write"
        ), (job, answer)
