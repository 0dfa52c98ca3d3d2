"""Runs flows in forks of one warm process that reads jobs, so that a real kill costs no imports.

Each fork is a process of its own: it runs a flow as a user does and dies by SIGKILL, or
judges what the dead left.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.testing import assert_frame_equal
from prefect import Flow
from prefect.executors import LocalExecutor

from prefect_ds import DSTaskRunner, PandasResultHandler, task
from prefect_ds.checkpoints import memory_cache as cache
from prefect_ds.checkpoints.versions import versions
from prefect_ds.storage import retries
from prefect_ds.storage.layout import manifest_file
from tests.support import kill_harness

FILE_TYPES = {
    "csv": "csv", "json": "json", "parquet": "parquet", "feather": "feather", "orc": "orc", "hdf": "h5", "html": "html",
    "xml": "xml", "stata": "dta", "pickle": "pkl", "excel": "xlsx", "ods": "ods",
}  # fmt: skip
"""The endings that the file types have here; ods is another one of Excel's."""
SCENES = ("first", "rewrite", "adopt", "damaged")
OLD, NEW = 0, 1
READERS: dict[str, Callable[[str], pd.DataFrame]] = {
    "html": lambda path: pd.read_html(path)[0],
    "ods": pd.read_excel,
}


def frame_of(number: int) -> pd.DataFrame:
    """A frame that takes more than one write to its file, and lets itself be kept by every file type."""
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
    """One run of a flow, what befalls it, and what it stood before."""

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
    """What is really wrong while the flow runs: a key of DISKS; ``action`` is the error that it makes."""
    room: int = 0
    """Pages free on a small disk, bytes that a file may have, files that may be open beside those that are."""

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

    def act(self) -> None:
        """Run the flow with its trap, in a process that may die of it."""
        if self.disk:
            with DISKS[self.disk](self):
                state = self.run(NEW, self.max_retries)
        else:
            kill_harness.install(self.trap)
            state = self.run(NEW, self.max_retries)
        with open(f"{self.folder}/outcome", "w") as file:
            json.dump([type(state).__name__, str(state.message)], file)

    def judge(self) -> None:
        """Say by an assertion what is amiss after the flow has ended, or died; run it again and clear up."""
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
            assert self.path in message, message
            assert os.strerror(code) in message, message
            assert "run again" in message, message
        # What others see, before anything of ours looks.
        if os.path.exists(self.path) and not (
            self.scene == "damaged" and self.is_damaged()
        ):
            first = self.read_plainly()["x"].iloc[0]
            assert first in [
                frame_of(number)["x"].iloc[0]
                for number in allowed
                if number is not None
            ], first
        # A reader of ours.
        found = self.handler.look_up(self.path)
        there = None
        if found.manifest is None:
            assert found.kind in ("missing", "damaged"), found
            assert found.kind == "missing" or self.may_be_damaged(), found
        else:
            frame = self.loaded(self.handler.load(self.path))
            (there,) = [
                number
                for number in (OLD, NEW)
                if frame_of(number)["x"].equals(frame["x"].astype("int64"))
            ]
            if self.scene != "adopt":
                assert_frame_equal(frame, frame_of(there))
        assert there in allowed, (there, allowed)
        # Leftovers that are young stay: their writer may be at work.
        store = self.handler.store
        before = self.side_files()
        assert store.clean(self.data) == []
        assert self.side_files() == before
        # The next run mends it.
        self.judge_next_run(there == result)
        self.judge_litter()

    def expected(self) -> tuple[int, set[int | None]]:
        """Return what the run was to give, and what may lie there after any fault."""
        if self.scene == "adopt":
            return OLD, {OLD}
        return NEW, {OLD if self.scene == "rewrite" else None, NEW}

    def judge_next_run(self, is_there: bool) -> None:
        state = self.run(NEW)
        assert state.is_successful(), state.message
        assert self.take_n_runs() == (not is_there)
        if self.scene == "adopt":
            assert len(state.result) == len(frame_of(OLD))
        else:
            assert_frame_equal(state.result, frame_of(NEW))

    def judge_litter(self) -> None:
        """Leftovers are recognised and cleared; nothing else is."""
        store = self.handler.store
        would_go = store.clean(self.data, older_than_s=-10, dry_run=True)
        assert sorted(store.clean(self.data, older_than_s=-10)) == sorted(would_go)
        stamp = store.files.status(self.path).stamp
        name = os.path.basename(self.path)
        ours = [f"{name}/{part}" for part in store.files.sizes(self.path)] or [name]
        assert self.side_files() == [
            manifest_file(self.path, stamp).removeprefix(f"{self.data}/"),
            *ours,
        ]
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


class DaskJob(Job):
    """A folder of twelve parts."""

    N_PARTITIONS = 12

    @property
    def path(self) -> str:
        return f"{self.data}/a"

    @property
    def handler(self) -> Any:
        from prefect_ds.dask import DaskDataFrameResultHandler

        return DaskDataFrameResultHandler(self.path, durability=self.durability)

    def make(self, number: int) -> Any:
        import dask.dataframe as dd

        # By its module: Dask names a function of a script otherwise on a worker, which
        # the next run need not have.
        from tests.support.kill_server import partition_of

        numbers = range(self.N_PARTITIONS)
        return dd.from_map(
            partition_of,
            numbers,
            which=number,
            folder=self.folder,
            meta=partition_of(0, 0, "").iloc[:0],
        )

    def read_plainly(self) -> pd.DataFrame:
        return self.whole(pd.read_parquet(self.path))

    def loaded(self, value: Any) -> pd.DataFrame:
        return self.whole(value.compute())

    def whole(self, parts: pd.DataFrame) -> pd.DataFrame:
        """Return the frame that twelve parts, none more and none of another frame, were made of."""
        number = int(parts["x"].iloc[0]) // 1000
        expected = pd.concat(
            [partition_of(i, number, "") for i in range(self.N_PARTITIONS)]
        )
        assert_frame_equal(
            parts.reset_index(drop=True), expected.reset_index(drop=True)
        )
        return frame_of(number)

    def judge_next_run(self, is_there: bool) -> None:
        staging = f"{self.data}/.prefect_ds/staging"
        finished = {
            each.name.partition(".")[0]
            for each in pathlib.Path(staging).glob("*.staged/*.json")
        }
        state = self.run(NEW)
        assert state.is_successful(), state.message
        assert self.loaded(state.result).equals(frame_of(NEW))
        n_runs = self.take_n_runs()
        assert (
            n_runs == 0 if is_there else n_runs <= self.N_PARTITIONS - len(finished)
        ), (n_runs, finished)


class FileJob(Job):
    """A file that the task writes by itself, in a folder beside the checkpoint's."""

    @property
    def path(self) -> str:
        return f"{self.data}/a"

    @property
    def scratch(self) -> pathlib.Path:
        return pathlib.Path(f"{self.folder}/scratch")

    @property
    def handler(self) -> Any:
        from prefect_ds import FileResultHandler

        return FileResultHandler(self.path, durability=self.durability)

    def make(self, number: int) -> Any:
        self.note()
        self.write(frame_of(number))
        return self.scratch

    def write(self, frame: pd.DataFrame) -> None:
        frame.to_csv(self.scratch, index=False)

    def read(self, path: pathlib.Path) -> pd.DataFrame:
        return pd.read_csv(path, dtype={"s": "str"})

    def read_plainly(self) -> pd.DataFrame:
        return self.read(pathlib.Path(self.path))

    def loaded(self, value: Any) -> pd.DataFrame:
        assert value == pathlib.Path(self.path)
        return self.read(value)

    def expected(self) -> tuple[int, set[int | None]]:
        if self.scene == "adopt":
            # Nothing says that it is whole: it is set aside, and computed.
            return NEW, {None, OLD, NEW}
        return super().expected()

    def judge(self) -> None:
        if os.path.exists(f"{self.folder}/ran"):
            # Whatever befell the run, what the task wrote is there or at its path.
            is_there = self.scratch.exists()
            written = self.read(self.scratch) if is_there else self.read_plainly()
            assert_frame_equal(written, frame_of(NEW))
        super().judge()

    def may_be_damaged(self) -> bool:
        return self.scene in ("damaged", "adopt")

    def judge_next_run(self, is_there: bool) -> None:
        state = self.run(NEW)
        assert state.is_successful(), state.message
        assert self.take_n_runs() == (not is_there)
        assert_frame_equal(self.loaded(state.result), frame_of(NEW))


class FolderJob(FileJob):
    """A nested folder that the task writes by itself."""

    def write(self, frame: pd.DataFrame) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)
        for column in frame:
            (self.scratch / "columns" / column).mkdir(parents=True)
            frame[[column]].to_csv(self.scratch / f"columns/{column}/0", index=False)
        (self.scratch / "empty").mkdir()

    def read(self, path: pathlib.Path) -> pd.DataFrame:
        assert sorted(each.name for each in path.iterdir()) == ["columns", "empty"]
        columns = [
            super(FolderJob, self).read(path / f"columns/{name}/0") for name in "xfs"
        ]
        return pd.concat(columns, axis=1)

    def damage(self) -> None:
        os.truncate(f"{self.path}/columns/x/0", 10)

    def is_damaged(self) -> bool:
        column = f"{self.path}/columns/x/0"
        return os.path.exists(column) and os.path.getsize(column) == 10


def partition_of(number: int, which: int, folder: str) -> pd.DataFrame:
    """One part of a frame, noted."""
    if folder:
        with open(f"{folder}/ran", "a") as file:
            file.write("ran\n")
    return (
        frame_of(which).assign(part=number).astype({"s": pd.StringDtype("pyarrow")})
    )  # As Dask would have it.


def job_of(described: dict[str, Any]) -> Job:
    return JOBS.get(described["file_type"], Job)(**described)


JOBS = {
    "dask": DaskJob,
    "task-file": FileJob,
    "task-folder": FolderJob,
}
"""By file type."""


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


def in_fork(action: Callable[[], None]) -> tuple[int, str]:
    """Run an action in a process of its own; return the number of the signal that ended it, and what went wrong."""
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
