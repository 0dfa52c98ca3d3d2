"""Kills processes for real, or fails their calls, at the k-th file-system call below a folder.

The calls are counted where Python makes them: in ``os``, in the raw files under
``open``, and in the one libc call that we make; a file that Arrow would write itself is
written through Python. ``install`` arms this process; the ``environment`` of a trap
arms every Python process that is started with it, workers of a cluster included.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import errno
import fcntl
import functools
import io
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

VARIABLE = "PREFECT_DS_TEST_TRAP"
WRITES = (
    "open to write",
    "mkdir",
    "write",
    "link",
    "rename",
    "replace",
    "exchange",
    "fsync",
)
"""What a full disk refuses."""
CHANGES = (*WRITES, "unlink", "rmdir", "utime")
OPENS = ("open to read", "open to write", "open folder", "listdir", "scandir")
CALLS = (*CHANGES, *OPENS, "read", "stat", "lstat")
_RECORD = 160


@dataclass(frozen=True)
class Trap:
    """What happens at which call.

    A trap without a number lets every call pass, and writes the table of calls.
    """

    folder: str
    """Calls on paths below it count."""
    log: str
    """A line per call, of all processes together; the names of the processes lie beside it."""
    number: int = 0
    """Of the call, from 1, among those that count; 0 for none."""
    when: str = "before"
    """``before`` the call does anything, ``after`` all of it, ``halfway``: half of a write's bytes are written."""
    action: str = "kill self"
    """``kill self``, ``kill all`` armed processes, ``kill`` and a role, the name of an error, or ``short write``."""
    n_times: int | None = 1
    """How many calls fail, ``None`` for each from then on."""
    only: tuple[str, ...] = CALLS
    """Kinds of calls that count."""

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that arm whatever Python starts with them."""
        here = Path(self.log).parent / "armed"
        here.mkdir(exist_ok=True)
        (here / "sitecustomize.py").write_text(
            f"import sys\nsys.path.append({str(Path(__file__).parents[2])!r})\nimport tests.support.kill_harness\nsys.path.pop()\n"
            "tests.support.kill_harness.install_from_environment()\n"
        )
        python_path = os.pathsep.join(
            [str(here), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        return {VARIABLE: json.dumps(asdict(self)), "PYTHONPATH": python_path}

    @property
    def calls(self) -> list[tuple[str, str, str]]:
        """Role, kind of call and kind of path of each call so far."""
        if not os.path.exists(self.log):
            return []
        lines = Path(self.log).read_text().splitlines()
        return [tuple(line.rstrip().split("\t")) for line in lines]  # type: ignore[misc]

    @property
    def is_sprung(self) -> bool:
        """Whether the call was reached."""
        return 0 < self.number <= len(self.calls)


def install_from_environment() -> None:
    """Arm this process if its environment says so."""
    if VARIABLE in os.environ:
        described = json.loads(os.environ[VARIABLE])
        install(Trap(**{**described, "only": tuple(described["only"])}))


def role() -> str:
    """Return what this process is to a Dask cluster."""
    command = " ".join(sys.orig_argv[1:])
    for text, name in (
        ("resource_tracker", "tracker"),
        ("spawn_main", "worker"),
        ("dask scheduler", "scheduler"),
        ("dask worker", "nanny"),
    ):
        if text in command:
            return name
    return "client"


def install(trap: Trap) -> None:
    """Let the trap see every call of this process from now on."""
    armed = _Armed(trap)
    simple = (
        "mkdir",
        "rmdir",
        "unlink",
        "rename",
        "replace",
        "link",
        "utime",
        "listdir",
        "scandir",
        "stat",
        "lstat",
    )
    for name in simple:
        setattr(os, name, armed.watched(name, getattr(os, name)))
    os.remove = os.unlink
    os.fsync = armed.watched("fsync", os.fsync)
    os.open = armed.open_descriptor
    builtins.open = io.open = armed.open_file
    pa.OSFile = armed.arrow_file
    ctypes.CDLL = armed.library()


class _Armed:
    """The watched calls of one process."""

    def __init__(self, trap: Trap) -> None:
        self.trap = trap
        self.role = role()
        self.paths: dict[int, str] = {}
        self.real_open, self.real_open_file, self.FileIO = os.open, open, io.FileIO
        self.write, self.close, self.kill = os.write, os.close, os.kill
        self.note_process()

    def note_process(self) -> None:
        handle = self.real_open(
            f"{self.trap.log}.{os.getpid()}.{self.role}", os.O_CREAT | os.O_WRONLY
        )
        self.close(handle)

    def watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            path = (
                args[1]
                if name in ("link", "rename", "replace")
                else args[0]
                if args
                else kwargs.get("path", ".")
            )
            with self.around(name, self.path_of(path, kwargs.get("dir_fd"))):
                return function(*args, **kwargs)

        return call

    def path_of(self, path: Any, dir_fd: int | None = None) -> str:
        if isinstance(path, int):
            return self.paths.get(path, "")
        text = os.fsdecode(path)
        return f"{self.paths.get(dir_fd, '')}/{text}" if dir_fd is not None else text

    @contextlib.contextmanager
    def around(
        self, name: str, path: str, halfway: Callable[[], Any] = lambda: None
    ) -> Iterator[None]:
        is_due = (
            path.startswith(f"{self.trap.folder}/")
            and name in self.trap.only
            and self.is_due(name, path)
        )
        if is_due and self.trap.when != "after":
            if self.trap.when == "halfway":
                halfway()
            self.spring(path)
        try:
            yield
        finally:
            if is_due and self.trap.when == "after":
                self.spring(path)

    def is_due(self, name: str, path: str) -> bool:
        """Count a call and return whether it is the one."""
        line = (
            f"{self.role}\t{name}\t{kind_of(path, self.trap.folder)}".ljust(
                _RECORD - 1
            )[: _RECORD - 1]
            + "\n"
        )
        handle = self.real_open(self.trap.log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        try:
            fcntl.flock(
                handle, fcntl.LOCK_EX
            )  # Two processes never have the same number.
            number = os.lseek(handle, 0, os.SEEK_END) // _RECORD + 1
            self.write(handle, line.encode())
        finally:
            self.close(handle)
        if not self.trap.number or number < self.trap.number:
            return False
        return (
            self.trap.n_times is None or number < self.trap.number + self.trap.n_times
        )

    def spring(self, path: str) -> None:
        action = self.trap.action
        if action.startswith("kill"):
            self.kill_those(action.removeprefix("kill "))
        elif action != "short write":
            code = getattr(errno, action)
            raise OSError(code, os.strerror(code), path)

    def kill_those(self, whom: str) -> None:
        for pid, its_role in () if whom == "self" else processes(self.trap):
            if pid != os.getpid() and whom in ("all", its_role):
                with contextlib.suppress(ProcessLookupError):
                    self.kill(pid, signal.SIGKILL)
        if whom in ("self", "all", self.role):
            self.kill(os.getpid(), signal.SIGKILL)

    def open_descriptor(
        self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> int:
        text = self.path_of(path, dir_fd)
        with self.around(
            "open to write" if flags & (os.O_WRONLY | os.O_RDWR) else "open folder",
            text,
        ):
            handle = self.real_open(path, flags, mode, dir_fd=dir_fd)
        self.paths[handle] = text
        return handle

    def open_file(
        self, file: Any, mode: str = "r", buffering: int = -1, *args: Any, **kwargs: Any
    ) -> Any:
        path = "" if isinstance(file, int) else os.path.abspath(os.fsdecode(file))
        if not path.startswith(f"{self.trap.folder}/"):
            return self.real_open_file(file, mode, buffering, *args, **kwargs)
        armed = self

        class Watched(self.FileIO):  # type: ignore[misc, name-defined]
            """A raw file whose reads and writes count."""

            def write(self, data: Any) -> int:
                view = memoryview(data).cast("B")
                half = functools.partial(super().write, view[: len(view) // 2])
                if armed.trap.action == "short write":
                    return armed.short(
                        path, half, functools.partial(super().write, view)
                    )
                with armed.around("write", path, half):
                    return super().write(view)

            def readinto(self, buffer: Any) -> int:
                with armed.around("read", path):
                    return super().readinto(buffer)

            def readall(self) -> bytes:
                with armed.around("read", path):
                    return super().readall()

        raw_mode = mode.replace("t", "").replace("b", "")
        with self.around("open to read" if raw_mode == "r" else "open to write", path):
            raw = Watched(file, raw_mode)
        if "+" in raw_mode:
            buffered: Any = io.BufferedRandom(raw)
        else:
            buffered = (io.BufferedReader if raw_mode == "r" else io.BufferedWriter)(
                raw
            )
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *args, **kwargs)

    def arrow_file(self, path: Any, mode: str) -> Any:
        """Return what stands for Arrow's file: each write of its is one, and is there for a reader at once."""

        class AtOnce(io.BufferedWriter):
            def write(self, data: Any) -> int:
                n_bytes = super().write(data)
                self.flush()
                return n_bytes

        return AtOnce(self.open_file(path, mode).detach())

    def short(
        self, path: str, half: Callable[[], int], whole: Callable[[], int]
    ) -> int:
        """A write that takes only half of the bytes, as the system may."""
        is_due = "write" in self.trap.only and self.is_due("write", path)
        return (is_due and half()) or whole()

    def library(self) -> type[ctypes.CDLL]:
        armed = self

        class CDLL(ctypes.CDLL):
            """libc, whose exchange of two paths counts."""

            def __getattr__(self, name: str) -> Any:
                if name != "renameat2":
                    return super().__getattr__(name)
                function = self[
                    name
                ]  # Not kept as an attribute, which would be the function itself.

                def renameat2(
                    at: int, one: bytes, other_at: int, other: bytes, flags: int
                ) -> Any:
                    with armed.around("exchange", os.fsdecode(other)):
                        return function(at, one, other_at, other, flags)

                return renameat2

        return CDLL


def processes(trap: Trap) -> list[tuple[int, str]]:
    """Return number and role of each process that the trap armed and that lives."""
    found = []
    for name in os.listdir(os.path.dirname(trap.log)):
        _, _, about = name.partition(f"{os.path.basename(trap.log)}.")
        pid, _, its_role = about.partition(".")
        if pid.isdecimal() and _is_armed(int(pid), trap):
            found.append((int(pid), its_role))
    return found


def _is_armed(pid: int, trap: Trap) -> bool:
    """Return whether a process still is the one that was armed: numbers are given again."""
    with contextlib.suppress(OSError):
        handle = os.open(f"/proc/{pid}/environ", os.O_RDONLY)
        try:
            return json.dumps(trap.log).encode() in os.read(handle, 1 << 20)
        finally:
            os.close(handle)
    return False


def kind_of(path: str, folder: str) -> str:
    """Return a path without what is made by chance."""
    text = path.removeprefix(f"{folder}/")
    text = re.sub(r"[0-9a-f]{32,64}", "<id>", text)
    return re.sub(r"[0-9a-f]+-[0-9a-f]{12,}\.manifest", "<stamp>.manifest", text)
