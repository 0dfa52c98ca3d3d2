"""The time of a mapped flow, fresh and resumed, with prefect_ds and with its rivals."""

from __future__ import annotations

import functools
from typing import Any

import cloudpickle
from prefect.executors import Executor
from prefect.utilities.configuration import set_temporary_config

from benchmarks.support import common
from benchmarks.support.rivals import RIVALS, MappedWork

SITUATIONS = ["fresh", "resume", "tenth missing"]


@functools.lru_cache(maxsize=16)
def finished(
    rival: str, n_children: int, n_rows: int, n_stages: int, executor: str
) -> MappedWork:
    """Return work that was run once, the same for the same parameters."""
    folder = common.temporary_folder()
    work = MappedWork(
        rival, folder, n_children=n_children, n_rows=n_rows, n_stages=n_stages
    )
    work.run(common.executor(executor))
    return work


def check(rival: str, executor: str, situation: str) -> None:
    """Raise NotImplementedError for a combination that asv has to leave out."""
    if rival == "joblib.Memory" and executor != "LocalExecutor":
        raise NotImplementedError("a loop in one process")
    if rival == "prefect, nothing kept" and situation != "fresh":
        raise NotImplementedError("nothing is there to resume from")


class MappedFlow(common.Folder):
    """Run a flow of two mapped stages on frames of some 0.5 MB.

    Fresh, as a resume, and with a tenth of the results missing.
    """

    params: tuple[list[Any], ...] = (RIVALS, common.EXECUTORS, SITUATIONS, [8, 64, 512])
    param_names: tuple[str, ...] = ("rival", "executor", "situation", "n_children")
    number, repeat, warmup_time, timeout = 1, (2, 5, 20.0), 0, 600
    n_rows = 10_000
    n_stages = 2

    def setup(self, rival: str, executor: str, situation: str, n_children: int) -> None:
        """Bring the kept results into the situation."""
        check(rival, executor, situation)
        common.executor(executor)
        if situation == "fresh":
            self.work = MappedWork(
                rival,
                self.new_folder(),
                n_children=n_children,
                n_rows=self.n_rows,
                n_stages=self.n_stages,
            )
        else:
            self.work = finished(
                rival, n_children, self.n_rows, self.n_stages, executor
            )
            if situation == "tenth missing":
                self.work.lose(every=10)

    def time_run(
        self, rival: str, executor: str, situation: str, n_children: int
    ) -> None:
        """Time the run."""
        self.work.run(common.executor(executor))


OF_NONE = {
    "tasks of None": "prefect_ds",
    "tasks of None, Prefect's engine": "prefect, nothing kept",
}
"""Tasks that return None show an engine's own cost: name to the rival that has it."""


class FiveStages(MappedFlow):
    """Run five mapped stages, beside tasks that return None.

    On a resume nothing is computed: it shows the time that the engine takes.
    """

    params = (
        ["prefect_ds", *OF_NONE, "prefect target=parquet"],
        ["LocalExecutor"],
        ["fresh", "resume"],
        [0, 1_000, 100_000, 1_000_000],
        [4, 200],
    )
    param_names = ("rival", "executor", "situation", "n_rows", "n_children")
    n_stages = 5

    def setup(  # type: ignore[override]
        self, rival: str, executor: str, situation: str, n_rows: int, n_children: int
    ) -> None:
        """Bring the kept results into the situation."""
        if (rival in OF_NONE) != (n_rows == 0):
            raise NotImplementedError("tasks of None have no rows")
        if n_rows * n_children * self.n_stages > 50_000_000:
            raise NotImplementedError(
                "gigabytes of frames, which Prefect's own client holds all at once"
            )
        self.n_rows = n_rows
        super().setup(OF_NONE.get(rival, rival), executor, situation, n_children)

    def time_run(  # type: ignore[override]
        self, rival: str, executor: str, situation: str, n_rows: int, n_children: int
    ) -> None:
        """Time the run."""
        self.work.run(common.executor(executor))


class TrivialTasks(common.Folder):
    """Run mapped tasks that are not worth a checkpoint, with one and without."""

    params = (
        ["prefect_ds", "tasks of None", "prefect, nothing kept"],
        ["fresh", "resume"],
        [8, 512],
    )
    param_names = ("rival", "situation", "n_children")
    number, repeat, warmup_time, timeout = 1, (2, 5, 20.0), 0, 600

    def setup(self, rival: str, situation: str, n_children: int) -> None:
        """Bring the kept results into the situation."""
        check(rival, "LocalExecutor", situation)
        n_rows = 1
        if rival == "tasks of None":
            rival, n_rows = "prefect_ds", 0
        self.work = MappedWork(
            rival,
            self.new_folder(),
            n_children=n_children,
            n_rows=n_rows,
            n_stages=1,
        )
        if situation == "resume":
            self.work.run()

    def time_run(self, rival: str, situation: str, n_children: int) -> None:
        """Time the run."""
        self.work.run()

    def teardown(self, *params: object) -> None:
        """Leave the files to the end of the process.

        After many were removed, ext4 is slow to make new ones for a while.
        """


class Reads(common.Folder):
    """Count the data files that a run opens to read."""

    params = (RIVALS, SITUATIONS, [10])
    param_names = ("rival", "situation", "n_children")
    n_rows = 100

    def setup(self, rival: str, situation: str, n_children: int) -> None:
        """Bring the kept results into the situation."""
        check(rival, "LocalExecutor", situation)
        self.work = MappedWork(
            rival, self.new_folder(), n_children=n_children, n_rows=self.n_rows
        )
        if situation != "fresh":
            self.work.run()
        if situation == "tenth missing":
            self.work.lose(every=10)

    def track_reads(self, rival: str, situation: str, n_children: int) -> int:
        """Return the number of reads."""
        # Without the memory cache, from which ours would take the frames of this run.
        with (
            set_temporary_config({"prefect_ds.cache_bytes": 0}),
            common.reads(self.folder) as files,
        ):
            self.work.run()
        return len(files)

    track_reads.unit = "files"  # type: ignore[attr-defined]


class PicklingExecutor(Executor):
    """Runs everything in this process, and counts the bytes that a cluster would send.

    To a worker, and back to the client.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[int] = []
        self.returned: list[int] = []

    def submit(self, fn, *args, extra_context=None, **kwargs):  # type: ignore[no-untyped-def]
        """Run, and count."""
        state = fn(*args, **kwargs)
        # The worker that has them sends upstream states, which were counted as they
        # were returned.
        sent = {
            name: value for name, value in kwargs.items() if name != "upstream_states"
        }
        if not kwargs.get("is_mapped_parent"):
            self.sent.append(len(cloudpickle.dumps((fn, args, sent))))
            self.returned.append(len(cloudpickle.dumps(state)))
        return state

    def wait(self, futures):  # type: ignore[no-untyped-def]
        """Return the states: all calls have run."""
        return futures


class BytesThroughTheScheduler(common.Folder):
    """Count the bytes of a task that go through the scheduler.

    They are those of the pickled call, and of the pickled state that the client gets.
    """

    params = (RIVALS[:4], ["fresh", "resume"], [1_000, 100_000])
    param_names = ("rival", "situation", "n_rows")
    n_children = 8

    def setup(self, rival: str, situation: str, n_rows: int) -> None:
        """Run the flow."""
        check(rival, "LocalExecutor", situation)
        self.executor = PicklingExecutor()
        work = MappedWork(
            rival, self.new_folder(), n_children=self.n_children, n_rows=n_rows
        )
        if situation == "resume":
            work.run()
        work.run(self.executor)

    def track_state_bytes(self, rival: str, situation: str, n_rows: int) -> float:
        """Return the mean bytes of a task's final state, pickled."""
        return sum(self.executor.returned) / len(self.executor.returned)

    def track_call_bytes(self, rival: str, situation: str, n_rows: int) -> float:
        """Return the mean bytes of a submitted call, without upstream states."""
        return sum(self.executor.sent) / len(self.executor.sent)

    track_state_bytes.unit = "bytes"  # type: ignore[attr-defined]
    track_call_bytes.unit = "bytes"  # type: ignore[attr-defined]
