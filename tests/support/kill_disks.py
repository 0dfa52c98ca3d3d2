"""Disks and limits of the system that are really wrong while a flow runs."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.kill_jobs import Job


def mount(*args: str) -> None:
    subprocess.run(["mount", *args], check=True, capture_output=True)


@contextlib.contextmanager
def small(job: Job) -> Iterator[None]:
    """A disk with so many pages left."""
    status = os.statvfs(job.data)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    mount("-o", f"remount,size={used + max(1, job.room) * status.f_frsize}", job.data)
    yield
    mount("-o", "remount,size=64m", job.data)


@contextlib.contextmanager
def read_only(job: Job) -> Iterator[None]:
    """A disk that is mounted to be read."""
    mount("-o", "remount,ro", job.data)
    yield
    mount("-o", "remount,rw", job.data)


@contextlib.contextmanager
def forbidden(job: Job) -> Iterator[None]:
    """A folder of root's, for anybody else."""
    os.setgid(65534)
    os.setuid(65534)
    yield


@contextlib.contextmanager
def limited(kind: int, room: int) -> Iterator[None]:
    """A limit that the system sets to this process."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (room, before[1]))
    yield
    resource.setrlimit(kind, before)


DISKS: dict[str, Callable[[Job], contextlib.AbstractContextManager[None]]] = {
    "small": small,
    "read-only": read_only,
    "forbidden": forbidden,
    "file size": lambda job: limited(resource.RLIMIT_FSIZE, job.room),
    "open files": lambda job: limited(
        resource.RLIMIT_NOFILE, max(map(int, os.listdir("/proc/self/fd"))) + job.room
    ),
}
MOUNTED = ("small", "read-only")
