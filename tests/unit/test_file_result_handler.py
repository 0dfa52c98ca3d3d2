"""Files and folders that a task wrote by itself: what is kept, what is refused, and where the task's own file is then."""

import errno
import itertools
import os
import re
import shutil
import socket
import time
from pathlib import Path

import pytest

from prefect_ds import FileResultHandler
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.errors import (
    CheckpointAccessError,
    CheckpointNotFoundError,
    CollisionError,
    DamagedCheckpointError,
    ResultTypeError,
)
from prefect_ds.storage import trees
from prefect_ds.storage.manifest import Identity, Origin, Owner


@pytest.fixture
def handler(tmp_path):
    return FileResultHandler(tmp_path / "data/{n}")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data/1"


def wrote(path, content="x"):
    """Write what a tool writes: a text is a file, a dict a folder; ``None`` is an empty folder."""
    path = Path(path)
    if isinstance(content, str):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path
    path.mkdir(parents=True, exist_ok=True)
    for name, below in (content or {}).items():
        wrote(path / name, below)
    return path


def tree(path):
    """Return a file or folder as ``wrote`` takes it."""
    if path.is_file():
        return path.read_text()
    return {each.name: tree(each) for each in path.iterdir()} or None


def keep(handler, value, inputs=1, *, run="run", task="make", compute_s=60.0, **about):
    """Keep what a task returned as the runner does."""
    origin = Origin(
        owner=Owner("flow", run, task),
        identity=Identity("make", {"n": str(inputs)}),
        compute_s=compute_s,
        **about,
    )
    return handler.keep(value, handler.render({"n": 1}), origin=origin)


def long_ago(*paths):
    """Return a number of seconds in which a task has run that began after these were written."""
    time.sleep(0.02)
    newest = max(path.stat().st_ctime for path in paths)
    return time.time() - newest - 0.01


NESTED = {
    "zarr.json": "{}",
    "temperature": {"c": {"0": {"0": "ab", "1": "cd"}}, "zarr.json": "[]"},
    "empty.bin": "",
    "no files": None,
    "ä b.txt": "é",
}


@pytest.mark.parametrize("content", ["text", "", NESTED, {"one": "1"}], ids=repr)
def test_a_file_or_folder_is_moved_to_its_path_whole(handler, path, tmp_path, content):
    source = wrote(tmp_path / "scratch", content)
    first = (
        source
        if isinstance(content, str)
        else min(source.rglob("*.json"), default=source / "one")
    )
    inode = first.stat().st_ino
    kept = keep(handler, source)
    assert kept.value == path
    assert isinstance(kept.value, Path)
    assert tree(path) == content
    assert not source.exists()
    assert (path / first.relative_to(source)).stat().st_ino == inode, (
        "no byte is copied"
    )
    assert handler.load(str(path)) == path
    assert handler.verify(path) == []
    assert os.listdir(tmp_path / "data/.prefect_ds/staging") == []


def test_the_manifest_names_all_files_and_the_message_counts_them(
    handler, path, tmp_path
):
    kept = keep(handler, wrote(tmp_path / "scratch", NESTED))
    manifest = handler.manifest(path)
    assert [part.name for part in manifest.parts] == [
        "empty.bin",
        "temperature/c/0/0",
        "temperature/c/0/1",
        "temperature/zarr.json",
        "zarr.json",
        "ä b.txt",
    ]
    assert manifest.schema["empty_folders"] == ["no files"]
    assert manifest.kind == "folder"
    assert str(kept.reference).startswith("6 files, 10 bytes at ")
    one = keep(handler, wrote(tmp_path / "scratch", "text"), 2)
    assert str(one.reference).startswith("1 file, 4 bytes at ")
    assert handler.manifest(path).kind == "file"


@pytest.mark.parametrize("as_text", [True, False])
def test_a_relative_path_counts_from_the_working_folder(
    handler, path, tmp_path, monkeypatch, as_text
):
    monkeypatch.chdir(tmp_path)
    wrote("out/scratch")
    keep(handler, "out/scratch" if as_text else Path("out/scratch"))
    assert path.read_text() == "x"


def test_content_is_that_of_bytes_and_names_not_of_paths(handler, tmp_path):
    inputs = itertools.count()

    def content(*written, to=handler):
        return [
            keep(to, wrote(tmp_path / "scratch", each), next(inputs)).reference.content
            for each in written
        ]

    one, same, other = content("a", "a", "b")
    assert one == same != other
    elsewhere = FileResultHandler(tmp_path / "elsewhere/{n}")
    assert content("a", to=elsewhere) == [one]
    folders = content(
        {"a": "1", "b": "2"},
        {"a": "2", "b": "1"},
        {"a": "1", "c": "2"},
        {"a": "1", "b": "2", "e": None},
        {"a": "1", "b": "2"},
    )
    assert len(set(folders)) == 4
    assert folders[0] == folders[-1]
    assert content({"a": "1"}) != content("1")


KINDS = {"file": "old", "folder": {"a": "old", "b": "old"}}


@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("old", KINDS)
@pytest.mark.parametrize("root", ["disk", "memory"])
def test_a_new_result_replaces_the_old_one_whatever_kind_they_are(
    tmp_path, root, old, new
):
    url = tmp_path / "data" if root == "disk" else f"memory://{tmp_path.name}"
    handler = FileResultHandler(f"{url}/{{n}}")
    keep(handler, wrote(tmp_path / "one", KINDS[old]))
    replaced = handler.load(handler.render({"n": 1}))
    content = "new" if new == "file" else {"a": "new", "c": {"d": "1"}}
    kept = keep(handler, wrote(tmp_path / "two", content), 2, run="next")
    location = handler.render({"n": 1})
    there = kept.reference.load()
    assert tree(there) == content
    assert handler.verify(location) == []
    if root == "memory":
        assert tree(replaced) == KINDS[old], "a copy that is in use stays"
    handler.clean(older_than_s=-60)
    manifest = handler.manifest(location)
    assert manifest.kind == new
    names = {
        name
        for name in handler.store.files.sizes(str(url))
        if not name.startswith(".prefect_ds")
    }
    assert names == (
        {"1"} if new == "file" else {f"1/{part.name}" for part in manifest.parts}
    )
    filed = [
        name
        for name in handler.store.files.sizes(f"{url}/.prefect_ds")
        if name.startswith("manifests/")
    ]
    assert len(filed) == 1


# ------------------------------------------------------------------------------------------------
# refused, with words: the file stays


def socket_at(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


REFUSED = {
    "no path": (lambda folder: 7, "the task returned a int, and FileResultHandler keeps what lies at a path"),
    "nothing there": (lambda folder: folder / "none", "the task returned the path '.*none', and nothing is there"),
    "a link to nothing": (lambda folder: os.symlink("none", folder / "a") or folder / "a", "nothing is there"),
    "a URL": (lambda folder: "s3://bucket/a", "the URL 's3://bucket/a': return the path of a file"),
    "empty": (lambda folder: "", "'', which is not a path"),
    "an empty folder": (lambda folder: wrote(folder / "a", {"b": None}), "has no files in it"),
    "a link in a folder": (
        lambda folder: (wrote(folder / "a", {"b": "1"}), os.symlink("b", folder / "a/link"))[0],
        "'.*a/link' is a link, and the link would be lost",
    ),
    "a linked folder in a folder": (
        lambda folder: (wrote(folder / "a", {"b": {"c": "1"}}), os.symlink("b", folder / "a/link"))[0],
        "'.*a/link' is a link",
    ),
    "a pipe": (lambda folder: os.mkfifo(folder / "a") or folder / "a", "is a named pipe"),
    "a pipe in a folder": (lambda folder: (wrote(folder / "a", {"b": "1"}), os.mkfifo(folder / "a/p"))[0], "'.*a/p' is a named pipe"),
    "a socket in a folder": (lambda folder: (wrote(folder / "a", {"b": "1"}), socket_at(folder / "a/s"))[0], "'.*a/s' is a socket"),
    "a device": (lambda folder: "/dev/null", "'/dev/null' is a device"),
    "a name with a backslash": (lambda folder: wrote(folder / "a", {"b\\c": "1"}), "has a name that cannot be kept"),
    "a name that is no text": (lambda folder: wrote(folder / "a", {os.fsdecode(b"\xff"): "1"}), "has a name that cannot be kept"),
    "what holds the path": (lambda folder: folder, "its checkpoint would be inside of it"),
    "what is inside of the path": (lambda folder: wrote(folder / "data/1/a"), "is inside of '.*data/1', the path of its checkpoint"),
    "in the side folder": (lambda folder: wrote(folder / "data/.prefect_ds/staging/a"), "lies among the files of prefect_ds"),
    "with checkpoints in it": (lambda folder: wrote(folder / "a", {"b": "1", ".prefect_ds": {"c": "1"}}), "has checkpoints of its own"),
    "a database that is open": (lambda folder: (wrote(folder / "a.db.wal"), wrote(folder / "a.db"))[1], r"'.*a\.db\.wal' with changes that are not in the file yet"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_kept_is_refused_with_words_and_stays(
    handler, path, tmp_path, case
):
    make, words = REFUSED[case]
    value = make(tmp_path)
    there = sorted(str(each) for each in tmp_path.rglob("*"))
    with pytest.raises(ResultTypeError, match=words):
        keep(handler, value)
    assert sorted(str(each) for each in tmp_path.rglob("*")) == there
    assert handler.look_up(str(path)).manifest is None


def test_a_database_that_is_open_is_not_kept_without_its_last_changes(
    handler, tmp_path
):
    duckdb = pytest.importorskip("duckdb")
    file = str(tmp_path / "a.duckdb")
    connection = duckdb.connect(file)
    connection.execute("create table t as select 7 as x")
    connection.execute("insert into t values (8)")
    with pytest.raises(ResultTypeError, match="close the connection"):
        keep(handler, file)
    connection.close()
    kept = keep(handler, file)
    with duckdb.connect(str(kept.value), read_only=True) as connection:
        assert connection.execute("select sum(x) from t").fetchall() == [(15,)]


# ------------------------------------------------------------------------------------------------
# copied: the file is not the task's alone


def copied(handler, value, source, **about):
    kept = keep(handler, value, **about)
    assert source.exists()
    assert tree(kept.value) == tree(source)
    assert all(
        file.stat().st_nlink == 1
        for file in [kept.value, *kept.value.rglob("*")]
        if file.is_file()
    )


def test_what_a_link_points_to_is_copied(handler, tmp_path):
    target = wrote(tmp_path / "target", {"a": {"b": "1"}})
    (tmp_path / "link").symlink_to(target)
    copied(handler, tmp_path / "link", target)


def test_a_file_of_before_the_task_is_copied(handler, tmp_path):
    source = wrote(tmp_path / "theirs", {"a": "1"})
    seconds = long_ago(source / "a")
    copied(handler, source, source, compute_s=seconds - 2)


def test_a_file_with_a_second_name_is_copied(handler, tmp_path):
    source = wrote(tmp_path / "one")
    os.link(source, tmp_path / "two")
    kept = keep(handler, source)
    assert source.exists()
    source.write_text("changed")
    assert kept.reference.load().read_text() == "x"


def test_the_working_folder_is_copied(handler, tmp_path, monkeypatch):
    source = wrote(tmp_path / "here", {"a": "1"})
    monkeypatch.chdir(source)
    copied(handler, ".", source)


@pytest.mark.parametrize("inside", ["", "a"])
def test_the_checkpoint_of_another_task_is_copied(handler, tmp_path, inside):
    other = FileResultHandler(tmp_path / "upstream/{n}")
    upstream = keep(other, wrote(tmp_path / "scratch", {"a": "1"})).value
    copied(handler, upstream / inside, upstream / inside)
    assert other.verify(upstream) == []


def test_a_local_copy_of_anothers_checkpoint_is_copied(handler, tmp_path):
    other = FileResultHandler(f"memory://{tmp_path.name}/{{n}}")
    upstream = keep(other, wrote(tmp_path / "scratch", {"a": "1"})).reference.load()
    copied(handler, upstream, upstream)


def test_a_file_of_another_disk_is_copied_and_stays(handler, tmp_path):
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second disk")
    source = wrote(shared / f"prefect_ds-{os.getpid()}", {"a": {"b": "1"}, "e": None})
    (source / "a/b").chmod(0o750)
    try:
        copied(handler, source, source)
        assert (tmp_path / "data/1/a/b").stat().st_mode & 0o777 == 0o750
    finally:
        shutil.rmtree(source)


def test_a_disk_without_links_copies(handler, path, tmp_path, monkeypatch):
    def no_link(source, target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    source = wrote(tmp_path / "scratch", {"a": "1", "b": {"c": "2"}})
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", no_link)
        keep(handler, source)
    assert tree(path) == {"a": "1", "b": {"c": "2"}}
    assert handler.verify(path) == []


# ------------------------------------------------------------------------------------------------
# the task wrote straight to the path


@pytest.mark.parametrize("content", ["x", {"a": {"b": "1"}}], ids=repr)
def test_a_task_may_write_straight_to_the_path(handler, path, content):
    wrote(path, content)
    assert keep(handler, path).value == path
    assert tree(path) == content
    assert handler.look_up(str(path)).manifest.owner.task == "make"
    assert handler.verify(path) == []
    assert not (path.parent / ".prefect_ds/set-aside").exists()
    wrote(path, "y" if content == "x" else {"a": {"b": "2"}})
    keep(
        handler,
        path,
        2,
        run="next",
        refused=handler.store.look_up(str(path)).manifest and "x",
        compute_s=0.01,
    )
    assert handler.manifest(path).identity == Identity("make", {"n": "2"})
    assert handler.verify(path) == []


@pytest.mark.parametrize("content", ["x", {"a": {"b": "1"}}], ids=repr)
def test_a_stopped_write_straight_to_the_path_is_no_checkpoint(handler, path, content):
    wrote(path, content)
    found = handler.look_up(str(path))
    assert found.kind == "damaged"
    assert "nothing says that it is whole" in found.reason
    assert handler.look_up(str(path), only_looks=True) == found
    handler.adopt(path)
    assert handler.look_up(str(path)).manifest.adopted
    assert handler.load(str(path)) == path


@pytest.mark.parametrize("content", ["x", {"a": {"b": "1"}}], ids=repr)
def test_an_earlier_result_that_the_task_did_not_write_is_refused(
    handler, path, tmp_path, content
):
    """``if not os.path.exists(path): write(path)``: what is there may be of other inputs."""
    keep(handler, wrote(tmp_path / "scratch", content))
    time.sleep(0.1)
    with pytest.raises(ResultTypeError, match="is of an earlier result"):
        keep(handler, path, 2, run="next", compute_s=0.001)
    assert tree(path) == content


def test_a_folder_with_an_earlier_result_in_it_is_refused(handler, path, tmp_path):
    keep(handler, wrote(tmp_path / "scratch", {"old": "1"}))
    time.sleep(0.1)
    wrote(path / "new")
    with pytest.raises(ResultTypeError, match=r"'.*/old' is of an earlier result"):
        keep(handler, path, 2, run="next", compute_s=0.001)


# ------------------------------------------------------------------------------------------------
# what is done to a checkpoint


def test_a_file_that_is_written_after_its_commit_is_damaged(handler, path, tmp_path):
    source = wrote(tmp_path / "scratch")
    with open(source, "a") as still_open:
        kept = keep(handler, source)
        still_open.write("more")
    with pytest.raises(
        DamagedCheckpointError, match="set aside, and the next run computes it again"
    ):
        kept.reference.load()
    assert handler.look_up(str(path)).reason.startswith("its data had been set aside")


def test_a_file_that_changes_while_it_is_kept_is_refused(
    handler, path, tmp_path, monkeypatch
):
    source = wrote(tmp_path / "scratch", {"a": "1"})
    checksum_of_file = trees.checksum_of_file

    def slow(file):
        with open(source / "a", "w") as still_open:
            still_open.write("2")
        return checksum_of_file(file)

    monkeypatch.setattr(trees, "checksum_of_file", slow)
    with pytest.raises(
        ResultTypeError,
        match=f"'a' changed while it was kept.*what the task wrote is still at {str(source)!r}",
    ):
        keep(handler, source)
    assert tree(source) == {"a": "2"}
    assert not path.exists()


def same_size_in_place(path):
    with open(path / "a/b", "r+b") as file:
        file.write(b"2")


FOLDER_DAMAGES = {
    "changed in place": (
        same_size_in_place,
        "its bytes were not those that were written",
    ),
    "cut": (
        lambda path: (path / "a/b").write_text(""),
        "part 'a/b' had 0 bytes, was written with 1",
    ),
    "gone": (lambda path: (path / "a/b").unlink(), "part 'a/b' was gone"),
    "another file": (lambda path: wrote(path / "a/c"), ""),
    "another file at the top": (
        lambda path: wrote(path / "c"),
        "its bytes were not those that were written",
    ),
}


@pytest.mark.parametrize("damage", FOLDER_DAMAGES)
def test_damage_in_a_folder_is_seen_before_its_path_is_handed_on(
    handler, path, tmp_path, damage
):
    kept = keep(handler, wrote(tmp_path / "scratch", {"a": {"b": "1"}, "d": "1"}))
    do, reason = FOLDER_DAMAGES[damage]
    do(path)
    if not reason:
        assert handler.verify(path) == ["a/c: is not in the manifest"]
        assert (
            FileResultHandler(tmp_path / "data/{n}", check="checksum")
            .look_up(str(path))
            .kind
            == "damaged"
        )
        return
    assert (handler.look_up(str(path)).kind, handler.look_up(str(path)).reason) == (
        "damaged",
        reason,
    )
    with pytest.raises(DamagedCheckpointError, match=re.escape(reason)):
        kept.reference.load()
    with pytest.raises(CheckpointNotFoundError, match="set aside"):
        kept.reference.load()


def test_damage_without_a_trace_is_seen_with_checksums(tmp_path, path):
    handler = FileResultHandler(tmp_path / "data/{n}", check="checksum")
    kept = keep(handler, wrote(tmp_path / "scratch", {"a": {"b": "1"}}))
    status = (path / "a/b").stat()
    same_size_in_place(path)
    os.utime(path / "a/b", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (
        FileResultHandler(tmp_path / "data/{n}").look_up(str(path)).kind == "committed"
    )
    with pytest.raises(DamagedCheckpointError, match="its bytes were not those"):
        kept.reference.load()


def test_a_copied_checkpoint_counts_by_its_bytes(handler, path, tmp_path):
    kept = keep(handler, wrote(tmp_path / "scratch", NESTED))
    shutil.copytree(tmp_path / "data", tmp_path / "copy", copy_function=shutil.copyfile)
    copy = FileResultHandler(tmp_path / "copy/{n}")
    found = copy.look_up(str(tmp_path / "copy/1"))
    assert found.manifest.content == kept.reference.content


# ------------------------------------------------------------------------------------------------
# errors and rivals: nothing is lost


@pytest.mark.parametrize("content", ["x", {"a": {"b": "1"}}], ids=repr)
def test_after_an_error_the_file_is_where_the_task_wrote_it(
    handler, path, tmp_path, content
):
    source = wrote(tmp_path / "scratch", content)
    wrote(tmp_path / "data/.prefect_ds/manifests", "in the way")
    with pytest.raises(
        CheckpointAccessError, match=f"is no folder.*still at {str(source)!r}"
    ):
        keep(handler, source)
    assert tree(source) == content
    os.unlink(tmp_path / "data/.prefect_ds/manifests")
    keep(handler, source)
    assert tree(path) == content


@pytest.mark.parametrize("content", ["x", {"a": {"b": "1"}}], ids=repr)
def test_of_two_writers_with_the_same_inputs_the_first_counts_and_the_others_file_stays(
    handler, path, tmp_path, content
):
    other = "y" if content == "x" else {"a": {"b": "2"}}
    keep(handler, wrote(tmp_path / "one", content), run="one")
    kept = keep(handler, wrote(tmp_path / "two", other), run="two")
    assert "another run was first" in kept.note
    assert tree(kept.value) == content
    assert tree(tmp_path / "two") == other


def test_children_of_a_run_at_one_path_collide_and_nothing_is_lost(
    handler, path, tmp_path
):
    keep(handler, wrote(tmp_path / "one", "1"), 1, task="make[0]")
    with pytest.raises(CollisionError, match=f"both write.*still at '{tmp_path}/two'"):
        keep(handler, wrote(tmp_path / "two", "2"), 2, task="make[1]")
    assert not path.exists()
    [aside] = (tmp_path / "data/.prefect_ds/set-aside").iterdir()
    assert (aside.read_text(), (tmp_path / "two").read_text()) == ("1", "2")


@pytest.mark.parametrize("kind", ["folder of a task", "Dask frame"])
def test_a_durable_folder_is_on_the_disk_with_all_its_files(
    tmp_path, path, monkeypatch, kind
):
    synced, fsync = [], os.fsync

    def watched(handle):
        synced.append(os.fstat(handle).st_ino)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    if kind == "Dask frame":
        import dask.dataframe as dd
        import pandas as pd

        frame = dd.from_pandas(
            pd.DataFrame({"x": range(6), "y": [1, 2] * 3}), npartitions=2
        )
        DaskDataFrameResultHandler(path, partition_on="y", durability="power").write(
            frame
        )
    else:
        handler = FileResultHandler(tmp_path / "data/{n}", durability="power")
        keep(handler, wrote(tmp_path / "scratch", {"a": {"b": "1"}, "c": "2"}))
    there = {each.stat().st_ino for each in [path, *path.rglob("*")]}
    assert there <= set(synced)
    assert len(there) >= 4
