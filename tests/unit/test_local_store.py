"""A store on a disk: clocks, links, power cuts, and kills in the middle of a file."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from prefect_ds.errors import (
    DamagedCheckpointError,
)
from prefect_ds.storage.describe import describe_file
from prefect_ds.storage.filesystem import Staged
from prefect_ds.storage.layout import manifest_file, manifest_folder
from prefect_ds.storage.local_files import LocalFiles
from prefect_ds.storage.store import CheckpointStore
from tests.support.faulty_files import Turns, WatchedFiles
from tests.support.stores import (
    NEW,
    OLD,
    OTHER,
    LocalStoreCase,
    described,
    identity,
    in_force,
    manifests_of,
    read,
    set_aside,
    write,
)

pytestmark = pytest.mark.usefixtures("no_cache", "no_waiting")


# The system kills who writes more of a file than the limit, after it has written as
# much.
KILLED_IN_A_FILE = """
import resource, signal, sys
from prefect_ds.storage.local_files import LocalFiles

signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
LocalFiles().create(sys.argv[1], sys.stdin.buffer.read())
"""


class TestLocalStore(LocalStoreCase):
    def test_a_copied_tree_still_counts(self, store, path, tmp_path):
        write(store, path, NEW)
        shutil.copytree(
            tmp_path / "data", tmp_path / "copy", copy_function=shutil.copyfile
        )
        os.utime(tmp_path / "copy" / "a.csv", ns=(1, 1))
        assert store.look_up(f"{tmp_path}/copy/a.csv").kind == "committed"

    @pytest.mark.parametrize("position", range(len(NEW)))
    def test_a_bit_flipped_on_the_disk_behind_the_clock_is_seen_by_reading(
        self, store, path, position
    ):
        written = write(store, path, NEW)
        status = os.stat(path)
        flipped = bytearray(NEW)
        flipped[position] ^= 1 << position % 8
        with open(path, "r+b") as file:
            file.write(flipped)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert store.look_up(path).manifest == written
        assert store.verify(path) == ["a.csv: its checksum is another"]
        with pytest.raises(
            DamagedCheckpointError,
            match=r"set aside as .* and the next run computes it again",
        ):
            store.read_data(path, written.parts[0])
        assert store.look_up(path).kind == "missing"

    def test_the_longest_name_of_any_alphabet_can_be_set_aside(self, store, path, put):
        path = f"{path.rpartition('/')[0]}/{'日' * 83}.csv"
        write(store, path, NEW)
        put(path, OTHER)
        write(store, path, NEW)
        assert set_aside(store, path) == [OTHER]

    def test_a_broken_link_at_the_path_does_not_hang_a_commit(
        self, store, path, tmp_path
    ):
        os.symlink(tmp_path / "nowhere", path)
        turns = Turns([])
        outcomes, _ = turns.run(
            lambda: write(CheckpointStore(turns.files(0, store.files)), path, NEW)
        )
        assert not isinstance(outcomes[0], AssertionError)
        assert read(store, path) == NEW

    def test_a_manifest_that_is_a_link_to_nothing_does_not_hang_a_look(
        self, store, path
    ):
        """As in a tree kept by git-annex whose contents are elsewhere."""
        write(store, path, NEW)
        filed = in_force(store, path)
        os.unlink(filed)
        os.symlink("/nowhere/at/all", filed)
        found = store.look_up(path)
        assert (found.kind, found.reason) == (
            "damaged",
            "its manifest was a link to nothing",
        )
        write(store, path, OTHER, inputs="2")
        assert read(store, path) == OTHER

    def test_manifest_and_data_reach_the_disk_before_a_good_copy_goes(
        self, store, path
    ):
        write(store, path, OLD, inputs="1")
        synced, fsync = [], os.fsync

        def watched_fsync(handle):
            synced.append(os.readlink(f"/proc/self/fd/{handle}"))
            fsync(handle)

        replaced_after = []
        os_replace = os.replace

        def watched_replace(source, target):
            replaced_after.extend([os.path.realpath(source), *synced])
            os_replace(source, target)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", watched_fsync)
            patch.setattr(os, "replace", watched_replace)
            write(store, path, NEW, inputs="2")
        staged, *before = replaced_after
        assert staged in before
        assert os.path.realpath(in_force(store, path)) in before

    def test_a_durable_commit_syncs_all_that_it_needs(self, store, path):
        watched = WatchedFiles(store.files)
        mine = CheckpointStore(watched)
        with mine.staging(path) as file:
            file.write(NEW)
            staged = mine.files.finish(file)
            mine.commit(path, staged, described(path, NEW), durable=True)
        steps = [name for name, _ in watched.calls]
        of_data, first_sync = steps.index("sync_tree"), steps.index("sync")
        assert (
            max(of_data, first_sync)
            < steps.index("place")
            < len(steps) - 1 - steps[::-1].index("sync")
        )
        assert watched.calls[of_data][1] == (staged.path,)
        assert in_force(store, path) in watched.calls[first_sync][1]

    def test_a_durable_commit_syncs_no_other_checkpoint(self, store, path, monkeypatch):
        for number in range(20):
            write(store, f"{path.rpartition('/')[0]}/{number}.csv", OLD)
        synced, fsync = [], os.fsync
        monkeypatch.setattr(
            os,
            "fsync",
            lambda handle: (
                synced.append(os.readlink(f"/proc/self/fd/{handle}")),
                fsync(handle),
            ),
        )
        with store.staging(path) as file:
            file.write(NEW)
            store.commit(
                path, store.files.finish(file), described(path, NEW), durable=True
            )
        assert 3 <= len(synced) <= 8

    def test_after_a_power_cut_a_short_file_is_no_persons_file(self, store, path):
        """Neither the manifest nor the end of the data had reached the disk, only their names."""
        write(store, path, OTHER)
        with open(in_force(store, path), "wb"):
            pass
        os.truncate(path, len(OTHER) - 4)
        assert store.look_up(path).kind == "damaged"

    @pytest.mark.parametrize("tick_ns", [1_000_000_000, 2_000_000_000])
    def test_a_disk_that_keeps_whole_seconds_never_takes_one_result_for_another(
        self, path, tick_ns
    ):
        class CoarseFiles(LocalFiles):
            def stamped(self, path):
                super().stamped(path)
                tick = os.stat(path).st_mtime_ns // tick_ns * tick_ns
                os.utime(path, ns=(tick, tick))
                staged = self.status(path)
                return Staged(path, staged.stamp)

            def finish(self, file):
                file.close()
                return self.stamped(file.name)

        store = CheckpointStore(CoarseFiles())
        for inputs, data in [("1", OLD), ("2", NEW), ("3", b"a,b\n8,9\n")]:
            # Said aloud, and worth another try when the clock has moved on.
            with contextlib.suppress(OSError):
                write(store, path, data, inputs=inputs)
            found = store.look_up(path)
            assert found.kind == "committed"
            assert not found.manifest.adopted
            there = store.files.read_bytes(path)
            assert found.manifest.identity == identity(
                {OLD: "1", NEW: "2"}.get(there, "3")
            )
            assert (
                found.manifest.parts[0].checksum
                == describe_file(path, there, 1).checksum
            )

    def test_a_writer_killed_in_the_middle_of_its_manifest_says_nothing_of_a_persons_file(
        self, store, path, put
    ):
        put(path, OLD)
        filed = manifest_file(path, "killed")
        child = [sys.executable, "-W", "ignore", "-c", KILLED_IN_A_FILE, filed]
        killed = subprocess.run(
            child, input=described(path, NEW).to_json().encode(), check=False
        )
        assert killed.returncode == -signal.SIGXFSZ
        assert [
            os.path.getsize(f"{manifest_folder(path)}/{each}")
            for each in manifests_of(store, path)
        ] == [100]
        found = store.look_up(path)
        assert (found.kind, found.reason) == ("foreign", "it had no manifest")
        store.adopt(path, described(path, OLD))
        assert read(store, path) == OLD

    def test_a_file_in_place_of_the_manifests_is_an_error_and_nothing_is_placed(
        self, store, path
    ):
        os.makedirs(os.path.dirname(manifest_folder(path)))
        with open(manifest_folder(path), "w"):
            pass
        with pytest.raises(OSError, match=r"File exists|Not a directory"):
            write(store, path, NEW)
        assert not os.path.exists(path)

    def test_a_thousand_leftovers_go_by_age(self, store, path, tmp_path):
        write(store, path, NEW)
        staging = tmp_path / "data" / ".prefect_ds" / "staging"
        old = time.time() - 90_000
        for number in range(1_000):
            (staging / f"{number}.staged").write_bytes(b"")
            if number % 2:
                os.utime(staging / f"{number}.staged", (old, old))
        assert len(store.clean(str(tmp_path / "data"))) == 500
        assert len(list(staging.iterdir())) == 500
        assert read(store, path) == NEW


def test_no_file_in_a_folder_is_younger_than_its_stamp(tmp_path):
    # Else every look would read its bytes.
    for i in range(300):
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / "part").write_text("a")
        LocalFiles().stamped(str(folder))
        assert (folder / "part").stat().st_mtime_ns <= folder.stat().st_mtime_ns
