"""The growth of the cost: with checkpoints, parts, workers, data and tasks.

A fitted exponent is a ``track_`` benchmark, so that a regression in growth shows as a
number: 0 is flat, 1 linear.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import dask
import dask.dataframe as dd
import pandas as pd
from distributed import Client
from prefect import Flow

from benchmarks.suites.mapped_flows import finished
from benchmarks.support import common
from prefect_ds import DSTaskRunner, checkpoints, task
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.storage.filed_manifests import FiledManifests
from prefect_ds.storage.local_files import LocalFiles
from prefect_ds.storage.manifest import Origin


def up_to(largest: int, first: int = 10) -> list[int]:
    """Return powers of ten from the first to the largest."""
    sizes = [first]
    while sizes[-1] * 10 <= largest:
        sizes.append(sizes[-1] * 10)
    return sizes


class Checkpoints(common.Folder):
    """Commit and find one more checkpoint in a folder of so many: flat."""

    params = ([10, 100, 1_000, 10_000],)
    param_names = ("n_checkpoints",)
    number, repeat, warmup_time, timeout = 1, (5, 20, 5.0), 0, 600

    def setup(self, n_checkpoints: int) -> None:
        """Fill a folder, once, and take one name that is not there."""
        common.without_cache()
        if not self.folder:
            self.keeps = common.handler(self.new_folder(), "pickle")
            self.frame = common.frame(10)
            self.n_there = 0
        self.fill(n_checkpoints)

    def teardown(self, *params: object) -> None:
        """Keep the folder: one checkpoint more among so many does no harm."""

    def fill(self, n_checkpoints: int) -> None:
        """Commit until so many are there."""
        while self.n_there < n_checkpoints:
            self.commit()

    def commit(self) -> None:
        """Commit one more."""
        self.keeps.keep(self.frame, self.keeps.render({"n": self.n_there}))
        self.n_there += 1

    def find(self) -> None:
        """Find one of those that are there."""
        path = self.keeps.render({"n": self.n_there // 2})
        at_path = self.keeps.look_up(path)
        assert at_path.manifest is not None
        self.keeps.refer(path, at_path.manifest, origin=Origin(), is_loaded=True)

    def time_commit(self, n_checkpoints: int) -> None:
        """Time one commit."""
        self.commit()

    def time_hit(self, n_checkpoints: int) -> None:
        """Time one hit."""
        self.find()

    def costs(self, largest: int) -> dict[int, tuple[float, float]]:
        """Return the seconds of a commit and of a hit among so many."""
        costs = {}
        for size in up_to(largest):
            self.fill(size)
            commit_s = common.best_of(20, self.commit)
            hit_s = common.best_of(20, self.find)
            costs[size] = commit_s, hit_s
        return costs

    def track_commit_exponent(self, n_checkpoints: int) -> float:
        """Return the growth of the cost of a commit, from 10 checkpoints on."""
        # A fit needs two sizes at least.
        costs = self.costs(max(n_checkpoints, 100))
        return common.exponent(
            list(costs), [commit_s for commit_s, _ in costs.values()]
        )

    def track_hit_exponent(self, n_checkpoints: int) -> float:
        """Return the growth of the cost of a hit."""
        costs = self.costs(max(n_checkpoints, 100))
        return common.exponent(list(costs), [hit_s for _, hit_s in costs.values()])


class Listing(common.Folder):
    """List a folder of so many checkpoints: linear, a look and a small read for one."""

    params = ([100, 1_000, 10_000, 100_000],)
    param_names = ("n_checkpoints",)
    number, repeat, warmup_time, timeout = 1, (1, 5, 10.0), 0, 900

    def setup(self, n_checkpoints: int) -> None:
        """Run a task for a manifest, and file that for so many small files, once."""
        if not self.folder:
            keeps = common.handler(self.new_folder(), "csv")
            table = task(lambda n: common.frame(n), name="table", result=keeps)
            with Flow("one") as flow:
                table(10)
            assert flow.run(task_runner_cls=DSTaskRunner).is_successful()
            self.manifest = keeps.manifest(keeps.render({"n": 10}))
        self.fill(n_checkpoints)

    def teardown(self, *params: object) -> None:
        """Keep the folder for the next size."""

    def fill(self, n_checkpoints: int) -> str:
        """Return a folder with so many files and their manifests."""
        files = LocalFiles()
        folder = f"{self.folder}/of_{n_checkpoints}"
        if files.names(folder):
            return folder
        for number in range(n_checkpoints):
            # A thousand checkpoints a folder, as a user would spread so many.
            path = f"{folder}/{number // 1_000}/{number}.csv"
            files.put(path, b"0" * self.manifest.size_bytes)
            status = files.status(path)
            assert status is not None
            manifest = replace(self.manifest, path=path, stamp=status.stamp)
            FiledManifests(files, path).refile(manifest)
        return folder

    def time_list(self, n_checkpoints: int) -> None:
        """Time the listing of all of them."""
        assert checkpoints(self.fill(n_checkpoints)).counts == {"valid": n_checkpoints}

    def costs(self, largest: int) -> dict[int, float]:
        """Return the seconds of listing so many."""
        seconds = {}
        for size in up_to(largest, first=100):
            self.fill(size)
            seconds[size] = common.best_of(2, functools.partial(self.time_list, size))
        return seconds

    def track_list_exponent(self, n_checkpoints: int) -> float:
        """Return the growth of the time of a listing, from 100 checkpoints on."""
        costs = self.costs(max(n_checkpoints, 1_000))
        return common.exponent(list(costs), list(costs.values()))


class Parts(common.Folder):
    """Write a Dask frame of so many partitions, and open it: linear in both."""

    params = ([1, 10, 100, 1_000, 10_000],)
    param_names = ("n_parts",)
    number, repeat, warmup_time, timeout = 1, (1, 5, 10.0), 0, 900

    def setup(self, n_parts: int) -> None:
        """Take an empty folder."""
        dask.config.set(scheduler="threads", num_workers=2)
        self.new_folder()

    def write(self, n_parts: int, name: str) -> tuple[DaskDataFrameResultHandler, str]:
        """Write a frame of so many partitions of ten rows."""
        keeps = DaskDataFrameResultHandler(f"{self.folder}/{name}")
        frame = dd.from_map(_ten_rows, range(n_parts), meta=_ten_rows(0))
        keeps.keep(frame, keeps.render({}))
        return keeps, keeps.render({})

    def time_write(self, n_parts: int) -> None:
        """Time the write."""
        self.write(n_parts, "timed")

    def costs(self, largest: int) -> dict[int, tuple[float, float]]:
        """Return the seconds of writing and of opening so many parts."""
        costs = {}
        for size in up_to(largest, first=1):
            name = f"parts_{size}"
            write_s = common.best_of(1, functools.partial(self.write, size, name))
            keeps = DaskDataFrameResultHandler(f"{self.folder}/{name}")
            load = functools.partial(keeps.load, keeps.render({}))
            costs[size] = write_s, common.best_of(3, load)
        return costs

    def track_write_exponent(self, n_parts: int) -> float:
        """Return the growth of the time of a write."""
        costs = self.costs(max(n_parts, 10))
        return common.exponent(list(costs), [write_s for write_s, _ in costs.values()])

    def track_open_exponent(self, n_parts: int) -> float:
        """Return the growth of the time of opening."""
        costs = self.costs(max(n_parts, 10))
        return common.exponent(list(costs), [open_s for _, open_s in costs.values()])


class OpenParts:
    """Open a checkpoint of so many parts, which reads one manifest."""

    params = Parts.params
    param_names = Parts.param_names
    number, repeat, warmup_time, timeout = 1, (5, 20, 5.0), 0, 900

    def setup(self, n_parts: int) -> None:
        """Write it, once."""
        self.keeps, self.path = written_parts(n_parts)

    def time_open(self, n_parts: int) -> None:
        """Time opening the lazy frame."""
        assert self.keeps.load(self.path).npartitions == n_parts


@functools.lru_cache(maxsize=8)
def written_parts(n_parts: int) -> tuple[DaskDataFrameResultHandler, str]:
    """Return a handler and the folder in which it keeps so many parts."""
    writer = Parts()
    writer.folder = common.temporary_folder()
    with dask.config.set(scheduler="threads", num_workers=2):
        return writer.write(n_parts, "written")


def _ten_rows(number: int) -> pd.DataFrame:
    return common.frame(10).assign(id=number)


WORKERS = {"1 process": (1, 1), "2 processes": (2, 1), "1 process of 2 threads": (1, 2)}


class Workers(common.Folder):
    """Write and read one Dask frame on clusters of different sizes."""

    params = (list(WORKERS), [10_000, 4_000_000])
    param_names = ("workers", "n_rows")
    number, repeat, warmup_time, timeout = 1, (2, 5, 20.0), 0, 300
    n_parts = 16

    def setup(self, workers: str, n_rows: int) -> None:
        """Start the cluster, persist the frame on its workers, and write it once."""
        self.client = Client(common.cluster(*WORKERS[workers]), set_as_default=True)
        self.new_folder()
        rows = n_rows // self.n_parts
        frame = dd.from_map(_rows, [rows] * self.n_parts, meta=common.numbers(1))
        self.frame = self.client.persist(frame)
        self.client.compute(self.frame.size, sync=True)
        self.written = DaskDataFrameResultHandler(f"{self.folder}/written")
        self.written.keep(self.frame, self.written.render({}))
        self.keeps = DaskDataFrameResultHandler(f"{self.folder}/timed")

    def teardown(self, *params: object) -> None:
        """Free the frame."""
        super().teardown()
        if params:
            del self.frame
            self.client.close()

    def time_write(self, workers: str, n_rows: int) -> None:
        """Time the write of a frame that the workers hold."""
        self.keeps.keep(self.frame, self.keeps.render({}))

    def time_read(self, workers: str, n_rows: int) -> None:
        """Time reading all of it, for sums of all columns."""
        self.written.load(self.written.render({})).sum().compute()


def _rows(n_rows: int) -> pd.DataFrame:
    return common.numbers(n_rows)


class WorkersExponent:
    """Fit the growth of the time of a write with the number of worker processes.

    -1, twice as fast with twice as many, is the best that there can be.
    """

    params = ([10_000, 4_000_000],)
    param_names = ("n_rows",)
    timeout = 300

    def track_write_exponent(self, n_rows: int) -> float:
        """Return the exponent, from one process and two."""
        costs = []
        for workers in ("1 process", "2 processes"):
            case = Workers()
            case.setup(workers, n_rows)
            write = functools.partial(case.time_write, workers, n_rows)
            costs.append(common.best_of(3, write))
            case.teardown(workers, n_rows)
        return common.exponent([1, 2], costs)


class ResumeBySize:
    """Resume a finished flow of two stages of eight children, by their rows: flat."""

    params = ([1_000, 10_000, 100_000, 1_000_000],)
    param_names = ("n_rows",)
    number, repeat, warmup_time, timeout = 1, (3, 10, 10.0), 0, 300

    def setup(self, n_rows: int) -> None:
        """Run the flow once."""
        self.work = finished("prefect_ds", 8, n_rows, 2, "LocalExecutor")

    def time_resume(self, n_rows: int) -> None:
        """Time the resume."""
        self.work.run()

    def costs(self, largest: int) -> dict[int, float]:
        """Return size to the seconds of a resume."""
        sizes = up_to(max(largest, 10_000), first=1_000)
        works = {
            size: finished("prefect_ds", 8, size, 2, "LocalExecutor") for size in sizes
        }
        return {size: common.best_of(5, work.run) for size, work in works.items()}

    def track_exponent(self, n_rows: int) -> float:
        """Return the growth of a resume with the data."""
        costs = self.costs(n_rows)
        return common.exponent(list(costs), list(costs.values()))


class ResumeByTasks:
    """Resume a finished flow of two stages of so many children: linear."""

    params = ([8, 64, 512, 4_096],)
    param_names = ("n_children",)
    number, repeat, warmup_time, timeout = 1, (2, 5, 20.0), 0, 600

    def setup(self, n_children: int) -> None:
        """Run the flow once."""
        self.work = finished("prefect_ds", n_children, 10, 2, "LocalExecutor")

    def time_resume(self, n_children: int) -> None:
        """Time the resume."""
        self.work.run()

    def costs(self, largest: int) -> dict[int, float]:
        """Return number of children to the seconds of a resume."""
        sizes = [size for size in self.params[0] if size <= max(largest, 64)]
        works = {
            size: finished("prefect_ds", size, 10, 2, "LocalExecutor") for size in sizes
        }
        return {size: common.best_of(2, work.run) for size, work in works.items()}

    def track_exponent(self, n_children: int) -> float:
        """Return the growth of a resume with the tasks."""
        costs = self.costs(n_children)
        return common.exponent(list(costs), list(costs.values()))
