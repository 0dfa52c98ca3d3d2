"""A run of a flow that is killed, or whose disk fails, and what is right after it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.testing import assert_frame_equal
from prefect import Flow
from prefect.executors import LocalExecutor

from prefect_ds import DSTaskRunner, PandasResultHandler, task
from prefect_ds.checkpoints import memory_cache as cache
from prefect_ds.storage.layout import manifest_file
from prefect_ds.storage.manifest import Manifest
from tests.support import kill_harness
from tests.support.kill_disks import DISKS, MOUNTED, mount

FILE_TYPES = {
    "csv": "csv", "json": "json", "parquet": "parquet", "feather": "feather", "orc": "orc", "hdf": "h5", "html": "html",
    "xml": "xml", "stata": "dta", "pickle": "pkl", "excel": "xlsx", "ods": "ods",
}  # fmt: skip
"""The endings that the file types have here; ods is another one of Excel's."""
OLD, NEW = 0, 1
READERS: dict[str, Callable[[str], pd.DataFrame]] = {
    "html": lambda path: pd.read_html(path)[0],
    "ods": pd.read_excel,
}


def frame_of(number: int) -> pd.DataFrame:
    """A frame that takes more than one write, and that every file type keeps."""
    rows = np.arange(40 if number else 60)
    text = [f"{number} {'x' * 400 if row % 2 else 'y'}{row}" for row in rows]
    return pd.DataFrame(
        {
            "x": rows + number * 1000,
            "f": rows * 0.5 + number,
            "s": pd.Series(text, dtype="str"),
        }
    )


@dataclass(frozen=True)
class Job:
    """One run of a flow, the fault that it meets, and what was there before."""

    folder: str
    """Of this job alone; the checkpoint lies in ``data`` below it."""
    file_type: str
    scene: str
    durability: str = "process"
    max_retries: int = 0
    number: int = 0
    when: str = "before"
    action: str = "kill self"
    n_times: int | None = 1
    only: tuple[str, ...] = kill_harness.CHANGES
    """As for a trap."""
    disk: str = ""
    """What is really wrong while the flow runs: a key of DISKS.

    ``action`` is the error that it makes.
    """
    room: int = 0
    """Free pages of a small disk, bytes that a file may have, files that may be open."""

    def __dask_tokenize__(self) -> tuple[str, str]:
        return (
            self.folder,
            self.file_type,
        )  # The task is the same one whatever trap is set for it.

    @property
    def data(self) -> str:
        return f"{self.folder}/data"

    @property
    def path(self) -> str:
        return f"{self.data}/a.{FILE_TYPES[self.file_type]}"

    @property
    def paths(self) -> list[str]:
        """Of the checkpoint, and of those that belong to it."""
        return [self.path]

    @property
    def trap(self) -> kill_harness.Trap:
        return kill_harness.Trap(
            self.data,
            f"{self.folder}/log",
            self.number,
            self.when,
            self.action,
            self.n_times,
            tuple(self.only),
        )

    @property
    def handler(self) -> PandasResultHandler:
        kind = "excel" if self.file_type == "ods" else self.file_type
        return PandasResultHandler(self.path, kind, durability=self.durability)

    def make(self, number: int) -> Any:
        """The task's body."""
        self.note()
        return frame_of(number)

    def note(self) -> None:
        with open(f"{self.folder}/ran", "a") as file:
            file.write("ran\n")

    def run(self, number: int, max_retries: int = 0, executor: Any = None) -> Any:
        """Run the flow for an input; return the state of its task."""
        delay = (
            {
                "max_retries": max_retries,
                "retry_delay": pd.Timedelta(0).to_pytimedelta(),
            }
            if max_retries
            else {}
        )

        @task(name="make", result=self.handler, **delay)
        def make(number):
            return self.make(number)

        with Flow("kills") as flow:
            made = make(number)
        state = flow.run(
            executor=executor or LocalExecutor(), task_runner_cls=DSTaskRunner
        )
        return state.result[made]

    def take_n_runs(self) -> int:
        """Return how often the task's body ran since this was asked last."""
        if not os.path.exists(f"{self.folder}/ran"):
            return 0
        with open(f"{self.folder}/ran") as file:
            n_runs = len(file.readlines())
        os.unlink(f"{self.folder}/ran")
        return n_runs

    def read_plainly(self) -> pd.DataFrame:
        """Read the file as anybody does."""
        reader = READERS.get(self.file_type) or getattr(pd, f"read_{self.file_type}")
        return reader(self.path)

    def side_files(self) -> list[str]:
        return sorted(
            os.path.relpath(os.path.join(at, name), self.data)
            for at, _, names in os.walk(self.data)
            for name in names
            if "/set-aside" not in at
        )

    def prepare(self) -> None:
        """Make what is there before the flow runs."""
        os.makedirs(self.folder, exist_ok=True)
        if self.disk:
            os.mkdir(self.data)
            os.chmod(
                self.folder, 0o777
            )  # Who may write nothing else says here how it went.
        if self.disk in MOUNTED:
            mount("-t", "tmpfs", "tmpfs", self.data)
        if self.scene == "first":
            return
        if self.scene == "freed":
            assert in_fork(self.keep_and_free) == (0, "")
            return
        earlier = f"{os.path.dirname(self.folder)}/earlier.{self.file_type}"
        if not os.path.exists(earlier):
            assert in_fork(
                lambda: type(self)(earlier, self.file_type, "first").keep_old()
            ) == (0, "")
        shutil.copytree(f"{earlier}/data", self.data, dirs_exist_ok=True)
        if self.scene == "adopt":
            shutil.rmtree(f"{self.data}/.prefect_ds")
        if self.scene == "damaged":
            self.damage()

    def damage(self) -> None:
        os.truncate(self.path, os.path.getsize(self.path) // 2)

    def keep_old(self) -> None:
        os.makedirs(self.folder, exist_ok=True)
        assert self.run(OLD).is_successful()

    def keep_and_free(self) -> None:
        assert self.run(NEW).is_successful()
        self.handler.free(self.path)
        self.take_n_runs()

    def act(self) -> None:
        """Run the flow with its trap, in a process that may die of it."""
        if self.disk:
            with DISKS[self.disk](self):
                outcome = self.outcome()
        else:
            kill_harness.install(self.trap)
            outcome = self.outcome()
        with open(f"{self.folder}/outcome", "w") as file:
            json.dump(outcome, file)

    def outcome(self) -> tuple[str, str]:
        """Do what the fault is tried on; return the state and its message."""
        state = self.run(NEW, self.max_retries)
        return type(state).__name__, str(state.message)

    def judge(self) -> None:
        """Assert that all is well after the flow has ended, or died.

        The flow runs again, and what the fault left is cleared.
        """
        outcome, message = None, ""
        if os.path.exists(f"{self.folder}/outcome"):
            with open(f"{self.folder}/outcome") as file:
                outcome, message = json.load(file)
        self.take_n_runs()
        result, allowed = self.expected()
        if outcome == "Success":
            allowed = {result}
        elif outcome is not None:
            assert outcome == "Failed", outcome
            code = getattr(errno, self.action, 0)
            assert any(path in message for path in self.paths), message
            assert os.strerror(code) in message, message
            assert "run again" in message, message
        # What others see, before anything of ours looks.
        self.judge_plainly(allowed)
        # A reader of ours.
        found = self.handler.look_up(self.path)
        there = None
        if found.manifest is None:
            assert found.kind in ("missing", "damaged"), found
            assert found.kind == "missing" or self.may_be_damaged(), found
        else:
            there = self.number_of(found.manifest)
        assert there in allowed, (there, allowed)
        # Leftovers that are young stay: their writer may be at work.
        store = self.handler.store
        before = self.side_files()
        assert store.clean(self.data) == []
        assert self.side_files() == before
        # The next run mends it.
        self.judge_next_run(there == result)
        self.judge_litter()

    def judge_plainly(self, allowed: set[int | None]) -> None:
        """Assert that the data are well as anybody reads them."""
        is_damage = self.scene == "damaged"
        if os.path.exists(self.path) and not (is_damage and self.is_damaged()):
            first = self.read_plainly()["x"].iloc[0]
            assert first in first_numbers(allowed), first

    def number_of(self, manifest: Manifest) -> int:
        """Load a checkpoint, and return which of the two it is, in all that it has."""
        frame = self.loaded(self.handler.load(self.path))
        (there,) = [
            number
            for number in (OLD, NEW)
            if frame_of(number)["x"].equals(frame["x"].astype("int64"))
        ]
        if self.scene != "adopt":
            assert_frame_equal(frame, frame_of(there))
        return there

    def expected(self) -> tuple[int, set[int | None]]:
        """Return what the run was to give, and what may lie there after any fault."""
        if self.scene == "adopt":
            return OLD, {OLD}
        return NEW, {OLD if self.scene == "rewrite" else None, NEW}

    def judge_next_run(self, is_there: bool) -> None:
        state = self.run(NEW)
        assert state.is_successful(), state.message
        assert self.take_n_runs() == (not is_there)
        result = self.loaded(state.result)
        if self.expected()[0] == OLD:
            assert len(result) == len(frame_of(OLD))
        else:
            assert_frame_equal(result, frame_of(NEW))

    def judge_litter(self) -> None:
        """Leftovers are recognised and cleared; nothing else is."""
        store = self.handler.store
        would_go = store.clean(self.data, older_than_s=-10, dry_run=True)
        assert sorted(store.clean(self.data, older_than_s=-10)) == sorted(would_go)
        expected = [".prefect_ds/freed"] if self.scene == "freed" else []
        for path in self.paths:
            name = path.removeprefix(f"{self.data}/")
            parts = store.files.sizes(path)
            expected += [f"{name}/{part}" for part in parts] or [name]
            manifest = manifest_file(path, store.files.status(path).stamp)
            expected.append(manifest.removeprefix(f"{self.data}/"))
        assert self.side_files() == sorted(expected)
        assert self.handler.verify(self.path) == []
        assert self.run(NEW).is_successful()
        assert self.take_n_runs() == 0

    def may_be_damaged(self) -> bool:
        """Return whether data that do not count may be there after a fault."""
        return self.scene == "damaged"

    def loaded(self, value: Any) -> pd.DataFrame:
        return value

    def is_damaged(self) -> bool:
        return (
            os.path.getsize(self.path)
            == os.path.getsize(self.path.replace(self.folder, self.earlier)) // 2
        )

    @property
    def earlier(self) -> str:
        return f"{os.path.dirname(self.folder)}/earlier.{self.file_type}"


def first_numbers(numbers: set[int | None]) -> list[int]:
    """Return what the frames of these numbers begin with."""
    return [frame_of(number)["x"].iloc[0] for number in numbers if number is not None]


def not_adopted(scene: str) -> tuple[int, set[int | None]] | None:
    """Return what is expected where data that were put there are set aside."""
    return (NEW, {None, OLD, NEW}) if scene == "adopt" else None


def in_fork(action: Callable[[], None]) -> tuple[int, str]:
    """Run an action in a process of its own.

    Return the number of the signal that ended it, and what went wrong.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            signal.alarm(60)  # Nothing hangs.
            cache.resize(0)
            action()
        except BaseException:  # noqa: BLE001 - told to the parent
            os.write(write, traceback.format_exc()[-6000:].encode())
        finally:
            os._exit(0)
    os.close(write)
    text = b""
    while piece := os.read(read, 65536):
        text += piece
    os.close(read)
    status = os.waitpid(pid, 0)[1]
    return os.waitstatus_to_exitcode(status), text.decode()
