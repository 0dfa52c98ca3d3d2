"""The commit of a folder, under every fault: what is there afterwards is whole, and a good copy is never lost."""

import contextlib
import itertools
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_ds.dask.staging import Staging
from prefect_ds.errors import CheckpointNotFoundError
from prefect_ds.storage import local_files
from prefect_ds.storage.checksum import checksum_of
from prefect_ds.storage.filesystem import FileSystem
from prefect_ds.storage.layout import manifest_folder
from prefect_ds.storage.local_files import LocalFiles
from prefect_ds.storage.manifest import Identity, Manifest
from prefect_ds.storage.opening import open_files
from prefect_ds.storage.part import Part
from prefect_ds.storage.store import CheckpointStore
from tests.support.faulty_files import FaultyFiles, Killed, WatchedFiles


def manifest_of(path: str, data: dict[str, bytes], value: str) -> Manifest:
    parts = tuple(
        Part(name, len(each), checksum_of(each), 1)
        for name, each in sorted(data.items())
    )
    identity = Identity("task", {"value": value})
    return Manifest(
        path, uuid.uuid4().hex, "folder", "parquet", parts, 1, "now", identity=identity
    )


def write(files: FileSystem, path: str, value: str, n_parts: int = 3) -> Manifest:
    """Commit a folder of parts, as a handler does it."""
    store = CheckpointStore(files)
    unique = "" if files.renames_folders else f"-{uuid.uuid4().hex[:8]}"
    with Staging(files, path, "key").folder() as folder:
        data = {}
        for number in range(n_parts):
            with files.writing(f"{folder}/{number}.staged") as file:
                Path(file).write_bytes(f"{value} {number}".encode())
            data[f"kind=a/part.{number}{unique}.parquet"] = f"{value} {number}".encode()
        with files.writing(f"{folder}/lost-attempt.staged") as file:
            Path(file).write_bytes(b"of a worker that died")
        names = dict(
            zip([f"{number}.staged" for number in range(n_parts)], data, strict=True)
        )
        return store.commit(
            path, files.finish_folder(folder, names), manifest_of(path, data, value)
        )


def value_at(files: FileSystem, path: str) -> str | None:
    """Return the value of the whole checkpoint at the path, ``None`` where there is none; never part of one."""
    store = CheckpointStore(files)
    found = store.look_up(path)
    if found.manifest is None:
        return None
    assert [
        each for each in store.verify(path) if "is not in the manifest" not in each
    ] == []
    [value] = {
        files.read_bytes(f"{path}/{part.name}").split()[0]
        for part in found.manifest.parts
    }
    return value.decode()


@pytest.fixture(params=["exchange", "two renames", "object store"])
def real(request, tmp_path, monkeypatch) -> Iterator[tuple[FileSystem, str]]:
    """File systems of three kinds, and a folder on each."""
    if request.param == "object store":
        yield open_files("memory://x"), f"memory://{uuid.uuid4().hex}"
        return
    if request.param == "two renames":
        monkeypatch.setattr(local_files, "_exchange", lambda one, other: False)
    yield LocalFiles(), str(tmp_path)


def test_first_write_then_a_smaller_one(real):
    files, folder = real
    write(files, f"{folder}/a", "old", 3)
    write(files, f"{folder}/a", "new", 2)

    assert value_at(files, f"{folder}/a") == "new"
    assert len(files.sizes(f"{folder}/a")) == 2
    assert CheckpointStore(files).verify(f"{folder}/a") == []
    assert files.names(f"{folder}/.prefect_ds/staging") == []
    assert len(files.names(manifest_folder(f"{folder}/a"))) == 1


def test_the_same_result_by_another_writer_stands(real):
    files, folder = real
    first = write(files, f"{folder}/a", "same")
    assert write(files, f"{folder}/a", "same").attempt == first.attempt


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("scene", ["first", "over", "over a person's", "over damage"])
def test_a_kill_at_every_step(real, scene, when):
    files, root = real
    for fatal_call in itertools.count(1):
        path = f"{root}/{fatal_call}/a"
        if scene in ("over", "over damage"):
            write(files, path, "old")
        if scene == "over damage":
            files.remove(f"{path}/{sorted(files.sizes(path))[0]}")
            if files.renames_folders:
                os.utime(
                    path
                )  # What goes from a folder below does not show in the stamp, but when it is read.
        if scene == "over a person's":
            with files.writing(f"{path}/theirs.parquet") as file:
                Path(file).write_bytes(b"theirs")
        faulty = FaultyFiles(files, fatal_call, Killed(), when=when, n_times=None)
        with contextlib.suppress(Killed):
            write(faulty, path, "new")
        value = value_at(files, path)
        assert value in {"first": (None, "new"), "over": ("old", "new")}.get(
            scene, (None, "new")
        ), fatal_call
        write(files, path, "next")
        assert value_at(files, path) == "next"
        CheckpointStore(files).clean(f"{root}/{fatal_call}", older_than_s=-10)
        assert value_at(files, path) == "next"
        assert files.names(f"{root}/{fatal_call}/.prefect_ds/staging") == []
        if not faulty.happened:
            assert value == "new"
            return


@pytest.mark.parametrize("fatal_rename", [1, 2])
def test_a_kill_between_two_renames_loses_nothing(tmp_path, monkeypatch, fatal_rename):
    """Where a disk cannot exchange, nothing lies at the path for a moment: what looks then puts the old copy back."""
    monkeypatch.setattr(local_files, "_exchange", lambda one, other: False)
    files, path = LocalFiles(), f"{tmp_path}/a"
    write(files, path, "old")
    rename, calls = os.rename, itertools.count(1)

    def faulty(source, target):
        if next(calls) >= fatal_rename:
            raise Killed
        rename(source, target)

    monkeypatch.setattr(os, "rename", faulty)
    with pytest.raises(Killed):
        write(files, path, "new")
    was_there = os.path.exists(path)
    monkeypatch.setattr(os, "rename", rename)

    assert value_at(files, path) == "old"
    assert was_there == (fatal_rename == 1), "the old folder, the new one"


def test_clean_keeps_a_copy_that_waits_to_be_put_back(tmp_path, monkeypatch):
    monkeypatch.setattr(local_files, "_exchange", lambda one, other: False)
    files, path = LocalFiles(), f"{tmp_path}/a"
    write(files, path, "old")
    os.rename(path, f"{tmp_path}/.prefect_ds/staging/0.replaced")

    manifests = files.names(manifest_folder(f"{tmp_path}/a"))
    assert (
        CheckpointStore(files).clean(str(tmp_path), older_than_s=-10, dry_run=True)
        == []
    )
    assert not os.path.exists(path), "a dry run moves nothing"
    assert CheckpointStore(files).clean(str(tmp_path), older_than_s=-10) == []

    assert os.path.exists(path)
    assert files.names(manifest_folder(f"{tmp_path}/a")) == manifests
    assert value_at(files, path) == "old"


def test_a_kill_while_a_store_copies_parts(monkeypatch):
    files, root = open_files("memory://x"), f"memory://{uuid.uuid4().hex}"
    copy = type(files.fs).cp_file
    for fatal_copy in range(1, 4):
        path, calls = f"{root}/{fatal_copy}/a", itertools.count(1)
        write(files, path, "old")

        def faulty(
            self, source, target, *, calls=calls, fatal_copy=fatal_copy, **kwargs
        ):
            if next(calls) >= fatal_copy:
                raise Killed
            return copy(self, source, target, **kwargs)

        monkeypatch.setattr(type(files.fs), "cp_file", faulty)
        with pytest.raises(Killed):
            write(files, path, "new")
        monkeypatch.setattr(type(files.fs), "cp_file", copy)
        assert value_at(files, path) == "old"


def test_a_writer_that_comes_late_spoils_nothing(real):
    """Two writers of other inputs: the folder is one's or the other's, whole."""
    files, folder = real
    path = f"{folder}/a"

    class Meanwhile(FaultyFiles):
        def before(self, name, args):
            self.n_calls += 1
            if self.n_calls == self.fatal_call:
                write(files, path, "other")

    for fatal_call in itertools.count(1):
        path = f"{folder}/{fatal_call}/a"
        write(files, path, "old")
        late = Meanwhile(files, fatal_call, Killed())
        write(late, path, "late")
        assert value_at(files, path) in ("late", "other")
        if not late.happened:
            return


def test_a_write_in_a_folder_that_was_replaced_hurts_nobody(tmp_path):
    """A worker that was declared dead goes on writing into its staging folder, whose parts are in place by then."""
    files, path = LocalFiles(), f"{tmp_path}/a"
    staging: list[Path] = []
    store = CheckpointStore(files)
    with Staging(files, path, "key").folder() as folder:
        with files.writing(f"{folder}/0.staged") as file:
            Path(file).write_bytes(b"new 0")
        manifest = manifest_of(path, {"part.0.parquet": b"new 0"}, "new")
        store.commit(
            path, files.finish_folder(folder, {"0.staged": "part.0.parquet"}), manifest
        )
        staging.append(Path(folder))
    with files.writing(f"{staging[0]}/0.late.staged") as file:
        Path(file).write_bytes(b"zombie")

    assert value_at(files, path) == "new"
    assert store.verify(path) == []


def test_two_renames_and_exchange_change_places_of_anything(tmp_path):
    for kind in ("folder", "file"):
        path = tmp_path / kind
        (path.mkdir if kind == "folder" else path.touch)()
        with Staging(LocalFiles(), str(path), None).folder() as folder:
            with LocalFiles().writing(f"{folder}/0.staged") as file:
                Path(file).write_bytes(b"x")
            staged = LocalFiles().finish_folder(folder, {"0.staged": "part.0.parquet"})
            LocalFiles().replace(staged, str(path))
        assert LocalFiles().status(str(path)).stamp == staged.stamp, (
            "the stamp goes with the folder"
        )
        assert os.listdir(path) == ["part.0.parquet"]


def test_a_folder_that_was_copied_or_touched_still_counts(tmp_path):
    files, path = LocalFiles(), f"{tmp_path}/a"
    write(files, path, "old")
    os.utime(path)
    assert value_at(files, path) == "old"
    (tmp_path / "a/kind=a/extra.parquet").write_bytes(b"x")
    os.utime(path)
    assert CheckpointStore(files).look_up(path).kind == "damaged"


@pytest.mark.parametrize("when", ["before", "halfway", "after"])
def test_freeing_that_is_killed_at_any_step_keeps_the_data_or_their_proof(real, when):
    files, root = real
    store = CheckpointStore(files)
    for fatal_call in itertools.count(1):
        path = f"{root}/{fatal_call}/a"
        written = write(files, path, "old")
        faulty = FaultyFiles(files, fatal_call, Killed(), when=when, n_times=None)
        with contextlib.suppress(Killed):
            CheckpointStore(faulty).free(path)
        for _ in range(2):
            found = store.look_up(path)
            if found.manifest is None:
                assert found.freed is not None, found
                assert found.freed.content == written.content
            else:
                assert value_at(files, path) == "old"
            store.clean(f"{root}/{fatal_call}", older_than_s=-10)
        is_there = found.manifest is not None
        assert len(files.sizes(path)) == (3 if is_there else 0)
        write(files, path, "new")
        assert value_at(files, path) == "new"
        assert store.verify(path) == []
        if not faulty.happened:
            assert not is_there
            assert fatal_call > 4
            return


def test_freeing_spares_what_another_writer_put_there_meanwhile(tmp_path):
    """Its folder goes back, or aside where a third one is there by then."""
    path = f"{tmp_path}/a"
    files = WatchedFiles(LocalFiles())
    write(LocalFiles(), path, "old")
    n_writers = iter(["second", "third"])

    def replace_it(name, args):
        is_before = name == "move" and args[0] == path
        is_between = name == "place" and args[1] == path
        if is_before or is_between:
            write(LocalFiles(), path, next(n_writers))

    files.before = replace_it
    with pytest.raises(CheckpointNotFoundError, match="was replaced meanwhile"):
        CheckpointStore(files).free(path)
    assert value_at(LocalFiles(), path) == "third"
    [aside] = (tmp_path / ".prefect_ds/set-aside").iterdir()
    assert aside.is_dir()
