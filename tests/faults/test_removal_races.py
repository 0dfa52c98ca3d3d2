"""A removal beside writers and readers: the data of others stay, nothing passes for a person's, a kill loses nothing."""

import os
import threading

import pandas as pd
import pytest
from prefect import Flow

from prefect_ds import DSTaskRunner, PandasResultHandler, prune, task
from prefect_ds.storage.removal import remove_checkpoint
from prefect_ds.storage.store import CheckpointStore
from tests.support.faulty_files import FaultyFiles, Killed, WatchedFiles
from tests.support.scale import SCALE
from tests.support.stores import (
    NEW,
    OLD,
    LocalStoreCase,
    MemoryStoreCase,
    manifests_of,
    read,
    write,
)

N_CALLS = 12


class Meanwhile(WatchedFiles):
    """Lets another process act just before the n-th call of a primitive."""

    def __init__(self, files, n, act):
        super().__init__(files)
        self.n, self.act = n, act

    def before(self, name, args):
        if len(self.calls) == self.n:
            self.act()


def removed(files, path, manifest):
    return remove_checkpoint(files, path, manifest)


class RemovalCase:
    """The removal of one checkpoint, whatever else happens at any of its steps."""

    @pytest.mark.parametrize("n", range(1, N_CALLS))
    def test_a_writer_at_any_step_keeps_its_result(self, store, path, n):
        manifest = write(store, path, OLD)

        def write_another():
            write(store, path, NEW, inputs="2")

        files = Meanwhile(store.files, n, write_another)
        is_gone = removed(files, path, manifest)
        if len(files.calls) < n:
            assert is_gone
            assert store.look_up(path).kind == "missing"
            assert not manifests_of(store, path)
            return
        if is_gone and store.look_up(path).kind == "missing":
            pytest.fail("the writer's result is lost")
        assert read(store, path) == NEW
        assert store.look_up(path).manifest.identity.inputs == {"x": "2"}

    @pytest.mark.parametrize("n", range(1, N_CALLS))
    def test_a_reader_at_any_step_finds_all_or_nothing(self, store, path, n):
        manifest = write(store, path, OLD)
        kinds = []
        files = Meanwhile(
            store.files, n, lambda: kinds.append(store.look_up(path).kind)
        )
        is_gone = removed(files, path, manifest)
        assert set(kinds) <= {"committed", "missing"}
        found = store.look_up(path)
        assert found.kind == ("missing" if is_gone else "committed")
        if not is_gone:
            assert read(store, path) == OLD

    @pytest.mark.parametrize("when", ["before", "after"])
    @pytest.mark.parametrize("n", range(1, N_CALLS))
    def test_a_kill_at_any_step_leaves_all_or_nothing(self, store, path, n, when):
        manifest = write(store, path, OLD)
        files = FaultyFiles(store.files, n, Killed(), when=when)
        try:
            removed(files, path, manifest)
        except Killed:
            pass
        else:
            assert not files.happened
        found = CheckpointStore(store.files).look_up(path)
        assert found.kind in ("committed", "missing")
        if found.kind == "committed":
            assert read(store, path) == OLD
        # What the next run writes counts, and what is left over goes.
        write(store, path, NEW, inputs="2")
        assert read(store, path) == NEW

    def test_a_person_is_never_robbed(self, store, path, put):
        manifest = write(store, path, OLD)
        put(path, b"a,b\n7,7\n")
        assert not removed(store.files, path, manifest)
        assert store.files.read_bytes(path) == b"a,b\n7,7\n"


class TestOnADisk(LocalStoreCase, RemovalCase):
    def test_data_that_a_person_moved_behind_a_link_stay(self, store, path, tmp_path):
        manifest = write(store, path, OLD)
        os.rename(path, tmp_path / "elsewhere.csv")
        os.symlink("../elsewhere.csv", path)
        assert store.look_up(path).kind == "committed"
        assert not removed(store.files, path, manifest)
        assert read(store, path) == OLD
        assert not prune(os.path.dirname(path), older_than="0s").items


class TestInAStore(MemoryStoreCase, RemovalCase):
    @pytest.mark.parametrize("n", range(1, N_CALLS))
    def test_a_writer_at_any_step_keeps_its_result(self, store, path, n):
        """But for the last step: a store cannot remove an object only if it is ours. Then it is computed again."""
        manifest = write(store, path, OLD)
        files = Meanwhile(store.files, n, lambda: write(store, path, NEW, inputs="2"))
        removed(files, path, manifest)
        found = store.look_up(path)
        if found.kind == "committed":
            assert read(store, path) == NEW
            return
        assert found.kind == "missing"
        was_last = len(files.calls) < n or files.calls[n - 1][0] == "remove"
        assert was_last, files.calls


def test_flows_beside_prunes_give_right_results_or_compute_again(tmp_path, no_cache):
    """A run may lose a checkpoint that it is about to read, and never gets a wrong one."""

    @task(name="make", result=PandasResultHandler(f"{tmp_path}/{{i}}.csv"))
    def make(i):
        return pd.DataFrame({"i": [i] * 3})

    @task(name="use", result=PandasResultHandler(f"{tmp_path}/used/{{i}}.parquet"))
    def use(i, frame):
        return frame * 10

    with Flow("beside") as flow:
        used = use.map(list(range(4)), make.map(list(range(4))))
    is_over = threading.Event()
    n_removed = []

    def prune_on():
        while not is_over.is_set():
            pruned = prune(tmp_path, older_than="0s", dry_run=False, progress=False)
            n_removed.append(len(pruned.items))

    tmp_path.joinpath("used").mkdir()
    pruner = threading.Thread(target=prune_on)
    pruner.start()
    try:
        for _ in range(5 * SCALE):
            state = flow.run(task_runner_cls=DSTaskRunner)
            for i, child in enumerate(state.result[used].map_states):
                if not child.is_successful():
                    assert (
                        "no checkpoint at" in child.message or "gone" in child.message
                    )
                    continue
                try:
                    frame = child.result
                except FileNotFoundError:
                    continue
                assert frame["i"].tolist() == [i * 10] * 3
    finally:
        is_over.set()
        pruner.join(60)
    assert sum(n_removed) > 0
    assert flow.run(task_runner_cls=DSTaskRunner).is_successful()
