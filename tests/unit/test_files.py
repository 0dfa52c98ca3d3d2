"""What both kinds of file system answer, and what their atomic steps promise."""

import errno
import os
import re
import threading
import uuid

import pytest

from prefect_ds.storage import local_files
from prefect_ds.storage.local_files import LocalFiles
from prefect_ds.storage.object_files import ObjectFiles
from prefect_ds.storage.opening import open_files
from tests.support.faulty_files import WatchedFiles


def stage(files, path, data):
    """Place nothing yet: give a staged file that outlives its staging, and its staging."""
    staging = files.staging(path)
    file = staging.__enter__()
    file.write(data)
    return files.finish(file), staging


def put(files, path, data):
    with files.staging(path) as file:
        file.write(data)
        files.place(files.finish(file), path)


class FilesContract:
    """What :mod:`prefect_ds.storage.store` asks of every file system."""

    def test_nothing_has_no_status_no_names_and_is_removed_in_peace(
        self, files, folder
    ):
        assert files.status(f"{folder}/none.csv") is None
        assert files.names(f"{folder}/none") == []
        files.remove(f"{folder}/none.csv")
        with pytest.raises(FileNotFoundError):
            files.read_bytes(f"{folder}/none.csv")
        with pytest.raises(FileNotFoundError):
            files.move(f"{folder}/none.csv", f"{folder}/other.csv")

    def test_a_created_file_is_there_once(self, files, folder):
        files.create(f"{folder}/deep/er/a.json", b"first")
        with pytest.raises(FileExistsError):
            files.create(f"{folder}/deep/er/a.json", b"second")
        assert files.read_bytes(f"{folder}/deep/er/a.json") == b"first"
        assert files.names(f"{folder}/deep/er") == ["a.json"]
        assert files.modified(f"{folder}/deep/er/a.json") > 1.7e9

    def test_an_empty_file_is_created_once_too(self, files, folder):
        files.create(f"{folder}/a.json", b"")
        with pytest.raises(FileExistsError):
            files.create(f"{folder}/a.json", b"second")
        assert files.read_bytes(f"{folder}/a.json") == b""

    def test_staged_data_are_nowhere_until_they_are_placed_and_gone_after(
        self, files, folder
    ):
        with files.staging(f"{folder}/a.csv") as file:
            file.write(b"x" * 100_000)
            file.seek(0)
            assert len(file.read()) == 100_000
            assert files.status(f"{folder}/a.csv") is None
            staged = files.finish(file)
            files.place(staged, f"{folder}/a.csv")
        assert files.read_bytes(f"{folder}/a.csv") == b"x" * 100_000
        assert not os.path.exists(staged.path)

    def test_staged_data_are_gone_where_they_were_not_placed(self, files, folder):
        with files.staging(f"{folder}/a.csv") as file:
            file.write(b"half")
        assert not os.path.exists(file.name)
        assert files.status(f"{folder}/a.csv") is None

    def test_placing_refuses_what_is_there(self, files, folder):
        put(files, f"{folder}/a.csv", b"first")
        with pytest.raises(FileExistsError):
            put(files, f"{folder}/a.csv", b"second")
        assert files.read_bytes(f"{folder}/a.csv") == b"first"

    def test_replacing_changes_bytes_and_stamp(self, files, folder):
        put(files, f"{folder}/a.csv", b"first")
        before = files.status(f"{folder}/a.csv")
        with files.staging(f"{folder}/a.csv") as file:
            file.write(b"other")
            files.replace(files.finish(file), f"{folder}/a.csv")
        after = files.status(f"{folder}/a.csv")
        assert files.read_bytes(f"{folder}/a.csv") == b"other"
        assert before.size_bytes == after.size_bytes == 5
        assert before.stamp != after.stamp

    def test_a_staged_stamp_is_the_one_that_the_file_has_in_place(self, files, folder):
        with files.staging(f"{folder}/a.csv") as file:
            file.write(b"data")
            staged = files.finish(file)
            files.place(staged, f"{folder}/a.csv")
        assert staged.stamp in (None, files.status(f"{folder}/a.csv").stamp)

    def test_moving_and_removing_take_one_file_and_no_other(self, files, folder):
        for name in ("a[1].csv", "a1.csv", "b*.csv", "bc.csv", "d?.csv", "de.csv"):
            put(files, f"{folder}/{name}", name.encode())
        for name in ("a[1].csv", "b*.csv", "d?.csv"):
            files.move(f"{folder}/{name}", f"{folder}/aside/{name}.x")
            assert files.read_bytes(f"{folder}/aside/{name}.x") == name.encode()
            files.remove(f"{folder}/aside/{name}.x")
            assert files.status(f"{folder}/aside/{name}.x") is None
        assert {name for name in files.names(folder) if name.endswith(".csv")} == {
            "a1.csv",
            "bc.csv",
            "de.csv",
        }

    def test_removing_takes_a_folder_with_all_that_is_in_it(self, files, folder):
        files.create(f"{folder}/f/a", b"1")
        files.create(f"{folder}/f/g/b", b"2")
        files.remove(f"{folder}/f")
        assert files.status(f"{folder}/f") is None


class TestLocalFiles(FilesContract):
    @pytest.fixture
    def folder(self, tmp_path):
        return str(tmp_path)

    @pytest.fixture
    def files(self):
        return LocalFiles()

    def test_no_two_attempts_have_one_stamp(self, files, folder):
        path = f"{folder}/a"
        open(path, "wb").close()
        assert len({files.stamped(path).stamp for _ in range(2_000)}) > 1_990

    def test_of_many_threads_one_creates_and_one_places(self, files, folder):
        winners = []

        def race(number):
            staged, staging = stage(files, f"{folder}/a.csv", b"%d" % number)
            barrier.wait()
            try:
                files.place(staged, f"{folder}/a.csv")
                winners.append(number)
            except FileExistsError:
                pass
            staging.__exit__(None, None, None)

        barrier = threading.Barrier(8)
        threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert files.read_bytes(f"{folder}/a.csv") == b"%d" % winners[0]
        assert len(winners) == 1

    def test_bytes_reach_the_disk_before_they_replace_a_good_copy(
        self, files, folder, monkeypatch
    ):
        put(files, f"{folder}/a.csv", b"old")
        steps = []
        fsync, replace = os.fsync, os.replace
        monkeypatch.setattr(
            os,
            "fsync",
            lambda handle: (steps.append(os.fstat(handle).st_ino), fsync(handle)),
        )
        monkeypatch.setattr(
            os, "replace", lambda *paths: (steps.append("replace"), replace(*paths))
        )
        staged, staging = stage(files, f"{folder}/a.csv", b"new")
        inode = os.stat(staged.path).st_ino
        files.replace(staged, f"{folder}/a.csv")
        staging.__exit__(None, None, None)
        assert steps == [inode, "replace"]

    @pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
    def test_a_disk_without_links_places_by_rename(
        self, files, folder, monkeypatch, code
    ):
        def no_link(*paths):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "link", no_link)
        put(files, f"{folder}/a.csv", b"first")
        with pytest.raises(FileExistsError):
            put(files, f"{folder}/a.csv", b"second")
        assert files.read_bytes(f"{folder}/a.csv") == b"first"

    def test_a_link_that_fails_for_another_reason_is_an_error(
        self, files, folder, monkeypatch
    ):
        def full(*paths):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "link", full)
        with pytest.raises(OSError, match=re.escape(os.strerror(errno.ENOSPC))):
            put(files, f"{folder}/a.csv", b"first")
        assert files.status(f"{folder}/a.csv") is None
        assert files.names(f"{folder}/.prefect_ds/staging") == []

    def test_a_file_cannot_take_the_place_of_a_parent_that_is_a_file(
        self, files, folder
    ):
        put(files, f"{folder}/a", b"1")
        assert files.status(f"{folder}/a/b.csv") is None
        assert files.names(f"{folder}/a") == []
        with pytest.raises(NotADirectoryError):
            files.names(f"{folder}/a/b")
        with pytest.raises((NotADirectoryError, FileExistsError)):
            put(files, f"{folder}/a/b.csv", b"2")

    def test_a_manifest_that_could_not_be_written_whole_is_not_left_torn(
        self, files, folder, monkeypatch
    ):
        class FullDisk:
            def __init__(self, stream):
                self.stream = stream

            def __enter__(self):
                return self

            def __exit__(self, *error):
                self.stream.close()

            def write(self, data):
                self.stream.write(data[:3])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        fdopen, builtin_open = os.fdopen, open
        monkeypatch.setattr(
            os, "fdopen", lambda *args, **kwargs: FullDisk(fdopen(*args, **kwargs))
        )
        monkeypatch.setattr(
            local_files,
            "open",
            lambda *args, **kwargs: FullDisk(builtin_open(*args, **kwargs)),
            raising=False,
        )
        with pytest.raises(OSError, match=re.escape(os.strerror(errno.ENOSPC))):
            files.create(f"{folder}/m/a.json", b"manifest")
        monkeypatch.undo()
        assert files.names(f"{folder}/m") == []

    def test_a_broken_link_at_the_path_is_something(self, files, folder):
        os.symlink(f"{folder}/nowhere", f"{folder}/a.csv")
        assert files.status(f"{folder}/a.csv") is not None


class TestObjectFiles(FilesContract):
    @pytest.fixture
    def folder(self):
        return f"memory://{uuid.uuid4().hex}"

    @pytest.fixture
    def files(self):
        return open_files("memory://x")

    def test_an_interrupted_write_publishes_nothing(self, files, folder):
        put(files, f"{folder}/a.csv", b"old")
        staging = files.staging(f"{folder}/a.csv")
        staging.__enter__().write(b"half of the n")
        assert not staging.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
        assert files.read_bytes(f"{folder}/a.csv") == b"old"


def test_a_path_and_a_file_url_open_the_local_disk_and_any_other_url_a_store():
    assert isinstance(open_files("data/a.csv"), LocalFiles)
    assert isinstance(open_files("/data/a.csv"), LocalFiles)
    assert isinstance(open_files("file:///data/a.csv"), LocalFiles)
    assert isinstance(open_files("memory://data/a.csv"), ObjectFiles)


def test_one_store_serves_all_handlers_with_equal_options():
    assert open_files("memory://a") is open_files("memory://b", {})


def test_options_that_are_no_json_still_open_the_store():
    assert isinstance(open_files("memory://a", {"credentials": object()}), ObjectFiles)


def test_watched_files_see_each_call(tmp_path):
    files = WatchedFiles(LocalFiles())
    put(files, f"{tmp_path}/a.csv", b"1")
    assert [name for name, _ in files.calls] == ["finish", "place"]
