"""The jobs of every kind of checkpoint, and of freeing one."""

from __future__ import annotations

import os
from typing import Any

from pandas.testing import assert_frame_equal
from prefect import Flow

from prefect_ds import DSTaskRunner, ObjectResultHandler, task
from tests.support.kill_files import DaskJob, FileJob, FolderJob
from tests.support.kill_jobs import NEW, Job, frame_of, in_fork
from tests.support.kill_objects import (
    OBJECTS,
    FileOutputsJob,
    MarkerJob,
    ObjectJob,
    OutputsJob,
)


class FreeingJob(Job):
    """The data of a checkpoint are freed: what follows them has one of its own."""

    @property
    def after(self) -> str:
        return f"{self.data}/after.json"

    def run(self, number: int, max_retries: int = 0, executor: Any = None) -> Any:
        """Run a flow of two tasks; return the state of the second."""

        @task(name="make", result=self.handler)
        def make(number):
            return self.make(number)

        @task(name="use", result=ObjectResultHandler(self.after))
        def use(made):
            self.note()
            return self.loaded(made)["x"].tolist()

        with Flow("freeing") as flow:
            used = use(make(number))
        return flow.run(task_runner_cls=DSTaskRunner).result[used]

    def prepare(self) -> None:
        os.makedirs(self.folder)
        assert in_fork(self.keep_new) == (0, "")

    def keep_new(self) -> None:
        assert self.run(NEW).is_successful()

    def outcome(self) -> tuple[str, str]:
        self.take_n_runs()
        try:
            self.handler.free(self.path)
        except OSError as error:
            return "Failed", str(error)
        return "Success", ""

    def judge(self) -> None:
        """Assert that all is well after the freeing has ended, or died."""
        self.take_n_runs()
        found = self.handler.look_up(self.path, only_looks=True)
        is_there = found.manifest is not None
        assert is_there or found.freed is not None, found
        assert is_there == all(map(os.path.exists, self.paths))
        # Whatever is gone, nothing has to run: the second result is still proved.
        self.judge_result(n_runs=0)
        if is_there:
            self.judge_data()
        store = self.handler.store
        store.clean(self.data, older_than_s=-10)
        assert store.files.names(f"{self.data}/.prefect_ds/staging") == []
        self.judge_result(n_runs=0)
        # Where they are needed, they are there again.
        os.unlink(self.after)
        self.judge_result(n_runs=1 + (not is_there))
        self.judge_data()

    def judge_result(self, n_runs: int) -> None:
        assert self.run(NEW).result == frame_of(NEW)["x"].tolist()
        assert self.take_n_runs() == n_runs

    def judge_data(self) -> None:
        assert_frame_equal(self.loaded(self.handler.load(self.path)), frame_of(NEW))


class FreeingFileJob(FreeingJob, FileJob):
    """A file goes."""


class FreeingFolderJob(FreeingJob, FolderJob):
    """A folder goes."""


class FreeingOutputsJob(FreeingJob, OutputsJob):
    """Two outputs go."""


def job_of(described: dict[str, Any]) -> Job:
    return JOBS.get(described["file_type"], Job)(**described)


JOBS = {
    "dask": DaskJob,
    "task-file": FileJob,
    "task-folder": FolderJob,
    **dict.fromkeys(OBJECTS, ObjectJob),
    "marker": MarkerJob,
    "outputs": OutputsJob,
    "outputs-files": FileOutputsJob,
    "freeing-file": FreeingFileJob,
    "freeing-folder": FreeingFolderJob,
    "freeing-outputs": FreeingOutputsJob,
}
"""By file type."""
