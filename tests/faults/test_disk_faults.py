"""Disks that are really full, read-only or forbidden, and real limits: what a user is told, and what is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kill_servers import Servers, problems
from tests.support.scale import SCALE, some

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may act as another user"
)
FILE_TYPES = (
    ("csv", "parquet")
    if SCALE < 10
    else ("csv", "json", "parquet", "feather", "orc", "hdf", "excel")
)
NEW_KINDS = (
    *("object-json", "object-npy", "object-pkl", "object-bin", "marker"),
    *("outputs", "outputs-files", "task-file", "task-folder"),
)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    folder = Path(tempfile.mkdtemp(prefix="prefect_ds-"))
    folder.chmod(
        0o755
    )  # Other users come by, which a folder of pytest's does not let them.
    servers = Servers(folder)
    yield servers
    servers.close()
    shutil.rmtree(folder)


@pytest.fixture
def mounts(tmp_path):
    """Skips where this process may mount nothing."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"needs a disk of its own: {done.stderr.strip()}")
    subprocess.run(["umount", str(tmp_path)], check=True)


def outcomes(servers, jobs):
    """Return how each job ended; nothing is wrong after any."""
    answers = servers.run(jobs)
    assert problems(jobs, answers) == []
    return [answer["outcome"] for answer in answers]


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["first", "rewrite"])
def test_a_full_disk_fails_the_task_and_costs_no_checkpoint(servers, mounts, scene):
    """With room for any number of pages, so that it is full at any point of the write."""
    rooms = range(1, 16, 1 if SCALE >= 10 else 3)
    jobs = [
        {
            "file_type": each,
            "scene": scene,
            "disk": "small",
            "room": room,
            "action": "ENOSPC",
        }
        for each in FILE_TYPES
        for room in rooms
    ]
    found = outcomes(servers, jobs)
    assert {"Failed", "Success"} == set(found), "too little room, and enough"


@pytest.mark.slow
def test_a_full_disk_costs_no_object_output_or_mark(servers, mounts):
    jobs = [
        {
            "file_type": kind,
            "scene": scene,
            "disk": "small",
            "room": room,
            "action": "ENOSPC",
        }
        for kind in NEW_KINDS
        for scene in ("first", "rewrite")
        for room in (1, 3, 5, 7, 9, 12, 15, 25, 40)
    ]
    found = outcomes(servers, some(jobs, 12))
    assert {"Failed", "Success"} == set(found), "too little room, and enough"


@pytest.mark.parametrize("kind", ["object-json", "outputs"])
def test_a_read_only_disk_fails_a_task_with_an_object(servers, mounts, kind):
    jobs = [
        {"file_type": kind, "scene": scene, "disk": "read-only", "action": "EROFS"}
        for scene in ("first", "rewrite")
    ]
    assert outcomes(servers, jobs) == ["Failed", "Failed"]


def test_a_read_only_disk_fails_the_task_that_wants_to_write(servers, mounts):
    jobs = [
        {"file_type": "csv", "scene": each, "disk": "read-only", "action": "EROFS"}
        for each in ("first", "rewrite")
    ]
    assert outcomes(servers, jobs) == ["Failed", "Failed"]


def test_what_a_person_put_on_a_read_only_disk_counts(servers, mounts):
    assert outcomes(
        servers, [{"file_type": "csv", "scene": "adopt", "disk": "read-only"}]
    ) == ["Success"]


@needs_root
def test_a_folder_of_somebody_elses_fails_the_task_that_wants_to_write(servers):
    jobs = [
        {"file_type": "csv", "scene": each, "disk": "forbidden", "action": "EACCES"}
        for each in ("first", "rewrite")
    ]
    assert outcomes(servers, jobs) == ["Failed", "Failed"]


@needs_root
def test_what_lies_in_a_folder_of_somebody_elses_counts(servers):
    assert outcomes(
        servers, [{"file_type": "csv", "scene": "adopt", "disk": "forbidden"}]
    ) == ["Success"]


@pytest.mark.parametrize("scene", ["first", "rewrite"])
def test_a_limit_of_a_files_size_fails_the_task_and_costs_no_checkpoint(servers, scene):
    rooms = [
        8,
        4096,
        8192,
        8193,
        1_000_000,
    ]  # The first is enough for the note that the task ran.
    jobs = [
        {
            "file_type": "csv",
            "scene": scene,
            "disk": "file size",
            "room": each,
            "action": "EFBIG",
        }
        for each in rooms
    ]
    assert outcomes(servers, jobs) == ["Failed"] * (len(rooms) - 1) + ["Success"]


@pytest.mark.parametrize("scene", ["first", "rewrite"])
def test_a_limit_of_open_files_fails_the_task_and_costs_no_checkpoint(servers, scene):
    rooms = range(-1, 8)
    jobs = [
        {
            "file_type": "csv",
            "scene": scene,
            "disk": "open files",
            "room": each,
            "action": "EMFILE",
        }
        for each in rooms
    ]
    found = outcomes(servers, jobs)
    assert found[0] == "Failed"
    assert found[-1] == "Success"
