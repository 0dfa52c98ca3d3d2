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
from tests.support.kill_objects import OBJECTS
from tests.support.kill_servers import Servers, problems
from tests.support.scale import SCALE, some, sweep

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
NEW_KINDS = (*OBJECTS, "marker", "outputs", "outputs-files")
FREEING = ("freeing-file", "freeing-folder", "freeing-outputs")


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


def is_as_it_may_be(job: dict[str, Any], answer: dict[str, Any]) -> bool:
    """Return whether a run that met errors may have ended as it did."""
    if answer["outcome"] == "Success":
        return True
    # What passes, within the run or with Prefect's retry, is no failure.
    is_forbidden = job["action"] == "EACCES" and not job["max_retries"]
    is_lasting = job["n_times"] is None or is_forbidden
    return is_lasting and job["action"] != "short write"


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
        assert is_as_it_may_be(job, answer), (job, answer)


def cells_of(kinds: Iterable[str], n_cells: int) -> list[dict[str, Any]]:
    """Return so many of the scenes of these kinds of checkpoint; all at full scale."""
    scenes = (*SCENES, "freed")
    every = [cell for kind in kinds for cell in cells(kind, scenes)]
    durable = [cell for kind in kinds for cell in cells(kind, SCENES[:2], "power")]
    return some([*every, *durable], n_cells)


@pytest.mark.slow
@sweep
@pytest.mark.parametrize("faults", [KILLS, FAULTS], ids=["kills", "errors"])
def test_objects_outputs_and_marks_are_whole_or_absent_after_any_fault(servers, faults):
    """What lies there is of one run, and the next run gives the same as a fresh one."""
    jobs = some(points(servers, faults, cells_of(NEW_KINDS, 6)), 12)
    answers = servers.run(jobs)
    assert problems(jobs, answers) == []
    for job, answer in zip(jobs, answers, strict=True):
        assert answer["died"] == (faults is KILLS)
        assert answer["died"] or is_as_it_may_be(job, answer), (job, answer)


@pytest.mark.slow
@sweep
@pytest.mark.parametrize("faults", [KILLS, FAULTS], ids=["kills", "errors"])
def test_freeing_that_stops_at_any_call_loses_no_value_that_is_needed(servers, faults):
    """Either the data are there, or the manifest says that they are gone on purpose."""
    every = [cell for kind in FREEING for cell in cells(kind, ["first"])]
    jobs = some(points(servers, faults, every), 6)
    answers = servers.run(jobs)
    assert problems(jobs, answers) == []
    assert {answer["died"] for answer in answers} == {faults is KILLS}
