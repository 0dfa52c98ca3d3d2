"""Many checkpoints, many parts, many runs: nothing leaks, and nothing that was left behind piles up."""

import dataclasses
import gc
import itertools
import logging
import os
import tempfile
import threading
import time
from pathlib import Path

import dask
import dask.dataframe as dd
import pandas as pd
import pytest
from prefect import Flow

from prefect_ds import DSTaskRunner, PandasResultHandler, task
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.storage.layout import manifest_folder
from prefect_ds.storage.manifest import Manifest
from tests.support.clusters import Machine, cluster, n_tasks, objects_and_mib
from tests.support.flows import frame_of
from tests.support.scale import SCALE, sweep

pytestmark = [
    pytest.mark.slow,
    sweep,
    pytest.mark.skipif(
        not os.path.isdir("/proc/self/fd"), reason="counts open files in /proc"
    ),
]


class Held:
    """What this process holds."""

    def __init__(self) -> None:
        gc.collect()
        self.n_files = len(os.listdir("/proc/self/fd"))
        self.n_threads = threading.active_count()
        self.n_temporary = len(os.listdir(tempfile.gettempdir()))
        _, self.memory_mib = objects_and_mib()


def assert_nothing_leaked(before: Held, *, memory_mib: float) -> None:
    after = Held()
    assert after.n_files <= before.n_files
    assert after.n_threads <= before.n_threads
    assert after.n_temporary <= before.n_temporary
    assert after.memory_mib - before.memory_mib < memory_mib


def files_below(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path, monkeypatch):
    """Other processes write into that of the machine."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


@pytest.mark.parametrize("kind", ["parquet", "hdf", "parts"])
@pytest.mark.parametrize("what", ["resumes", "fresh runs"])
def test_a_soak_of_runs_in_one_process_leaks_nothing(
    run_here, tmp_path, no_cache, kind, what
):
    """A fresh run replaces what the last one wrote."""
    n_children, n_runs = 8, 4 * SCALE
    folder = tmp_path / "data"
    handler = (
        DaskDataFrameResultHandler(f"{folder}/{{id}}")
        if kind == "parts"
        else PandasResultHandler(f"{folder}/{{id}}.{kind}", kind)
    )

    @task(result=handler)
    def make(id, run):
        frame = frame_of(id)[["id", "value", "name"]]
        return dd.from_pandas(frame, npartitions=2) if kind == "parts" else frame

    @task
    def use(data):
        return int((data.compute() if kind == "parts" else data)["id"].sum())

    def once(run):
        with Flow("soak") as flow:
            used = use.map(make.map(list(range(n_children)), [run] * n_children))
        state = run_here(flow)
        assert state.result[used].result == [3 * id for id in range(n_children)]

    with dask.config.set(scheduler="synchronous"):
        for run in range(3):  # Warm up: imports, caches of bounded size.
            once(run)
        before, n_files = Held(), files_below(folder)
        for run in range(n_runs):
            once(2 if what == "resumes" else 3 + run)
    # Measured in 200 runs: a few MiB, which do not grow with their number.
    assert_nothing_leaked(before, memory_mib=64)
    assert files_below(folder) == n_files
    assert os.listdir(folder / ".prefect_ds/staging") == []
    assert not (folder / ".prefect_ds/set-aside").exists()


def test_ten_thousand_checkpoints_in_one_folder(tmp_path, no_cache):
    n = 500 * SCALE
    handler = PandasResultHandler(f"{tmp_path}/data/{{id}}.csv", "csv")
    frame = pd.DataFrame({"a": [1]})
    paths = [handler.render({"id": number}) for number in range(n)]
    handler.keep(frame, handler.render({"id": "first"}))
    before = Held()
    marks = [time.perf_counter()]
    for number, path in enumerate(paths):
        handler.keep(frame, path)
        if number + 1 in (100, n - 100, n):
            marks.append(time.perf_counter())
    started = time.perf_counter()
    assert all(handler.look_up(path).kind == "committed" for path in paths)
    looked_s = time.perf_counter() - started
    assert handler.load(paths[-1])["a"].tolist() == [1]
    # With -s, for people: what a write costs with 100 and with all beside it, and a
    # look.
    print(
        "ms a write, first and last 100:",
        [(marks[1] - marks[0]) * 10, (marks[3] - marks[2]) * 10],
    )
    print("ms a look:", looked_s / n * 1_000)
    assert_nothing_leaked(before, memory_mib=64)
    assert files_below(tmp_path / "data") == 2 * (n + 1)
    assert handler.store.clean(f"{tmp_path}/data", older_than_s=-1) == []


def test_ten_thousand_children_over_two_stages_leave_client_and_scheduler_as_they_were(
    tmp_path, notes, caplog
):
    n = 300 if SCALE < 10 else 10_000
    caplog.set_level(
        logging.ERROR, "prefect"
    )  # What pytest keeps of the log is not asked here.

    @task(result=PandasResultHandler(tmp_path / "data/made_{number}.csv", "csv"))
    def make(number):
        notes("ran")
        return pd.DataFrame({"a": [number]})

    @task(result=PandasResultHandler(tmp_path / "data/doubled_{map_index}.csv", "csv"))
    def double(frame):
        notes("ran")
        return frame * 2

    with Flow("wide") as flow:
        doubled = double.map(make.map(list(range(n))))

    # Dask's own logs, of a thousand events for each client, would hide what a few
    # hundred children leave.
    short = {
        "DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "10",
        "DASK_DISTRIBUTED__ADMIN__LOG_LENGTH": "10",
    }
    here, there = [], []
    with (
        cluster(tmp_path / "cluster", [Machine()] * 2, **short) as made,
        made.client() as client,
    ):
        for n_ran in (2 * n, 0, 0, 0):
            state = flow.run(executor=made.executor(), task_runner_cls=DSTaskRunner)
            assert state.result[doubled].result[n - 1]["a"].tolist() == [2 * (n - 1)]
            assert len(notes.take()) == n_ran
            del state
            here.append(objects_and_mib())
            there.append(client.run_on_scheduler(objects_and_mib))
            assert client.run_on_scheduler(n_tasks) == 0
    print(
        "objects and MiB after each run:", {"client": here, "scheduler": there}
    )  # With -s, for people.
    for after in (here, there):
        for (n_objects, memory_mib), (n_before, before_mib) in itertools.pairwise(
            after[1:]
        ):
            assert n_objects - n_before < n / 2
            assert memory_mib - before_mib < 32


def test_ten_thousand_parts_in_one_checkpoint(tmp_path, no_cache):
    n_parts = 200 * SCALE if SCALE < 10 else 10_000
    handler = DaskDataFrameResultHandler(f"{tmp_path}/data/events")
    frame = dd.from_map(_part, range(n_parts), meta=_part(0).iloc[:0])
    with dask.config.set(scheduler="threads", num_workers=2):
        # Dask keeps the threads that it starts here.
        handler.write(
            dd.from_map(_part, range(4), meta=_part(0).iloc[:0])
        ).value.compute()
        before = Held()
        started = time.perf_counter()
        path = handler.write(frame).location
        print("ms a part written:", (time.perf_counter() - started) / n_parts * 1_000)
        started = time.perf_counter()
        opened = handler.load(path)
        print("ms to open:", (time.perf_counter() - started) * 1_000)
        assert opened.npartitions == n_parts
        assert len(opened) == n_parts
        started = time.perf_counter()
        assert opened["a"].sum().compute() == n_parts * (n_parts - 1) // 2
        print("ms a part read:", (time.perf_counter() - started) / n_parts * 1_000)
    assert sorted(os.listdir(path))[-1] == f"part.{n_parts - 1:05d}.parquet"
    assert handler.verify(path) == []
    del opened, frame
    assert_nothing_leaked(before, memory_mib=512)
    assert os.listdir(tmp_path / "data/.prefect_ds/staging") == []


def _part(number: int) -> pd.DataFrame:
    return pd.DataFrame({"a": [number]})


def test_a_manifest_of_a_hundred_thousand_parts_is_read_and_compared(tmp_path):
    n_parts = 10_000 * SCALE
    handler = DaskDataFrameResultHandler(f"{tmp_path}/events")
    handler.write(dd.from_pandas(_part(0), npartitions=1))
    manifest = handler.manifest(f"{tmp_path}/events")
    [part] = manifest.parts
    parts = [
        part._replace(name=f"part.{number:06d}.parquet") for number in range(n_parts)
    ]
    text = dataclasses.replace(manifest, parts=tuple(parts)).to_json()
    started = time.perf_counter()
    many = Manifest.from_json(text)
    print("s to read:", time.perf_counter() - started)
    assert (len(many.parts), many.n_rows) == (n_parts, n_parts)
    assert Manifest.from_json(many.to_json()) == many
    # Of the parts that it lists one is there.
    [filed] = Path(manifest_folder(f"{tmp_path}/events")).iterdir()
    filed.write_text(text)
    found = handler.look_up(f"{tmp_path}/events")
    assert (found.kind, found.reason) == (
        "damaged",
        "part 'part.000000.parquet' was gone",
    )
