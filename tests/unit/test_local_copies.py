"""Copies of files of an object store that readers of a machine share, and their end."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import prefect_ds
from prefect_ds import FileResultHandler
from prefect_ds.errors import CheckpointNotFoundError, DamagedCheckpointError
from prefect_ds.storage import local_copies
from prefect_ds.storage.manifest import Identity, Origin


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for copies, of this test alone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(local_copies, "_of_this_process", None)
    yield folder
    if local_copies._of_this_process is not None:
        local_copies._of_this_process.close()


def handler_in(tmp_path, name="{n}.bin"):
    return FileResultHandler(f"memory://{tmp_path.name}/{name}")


def keep(handler, tmp_path, content="abc", n=1, run=1):
    path = tmp_path / "scratch"
    path.unlink(missing_ok=True)
    path.write_text(content)
    origin = Origin(identity=Identity("make", {"x": f"{content} {run}"}))
    return handler.keep(path, handler.render({"n": n}), origin=origin)


def copies(temporary):
    """Return the paths of all copies."""
    folder = temporary / f"prefect_ds-copies-{os.getuid()}"
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*"))


def test_readers_of_a_process_share_a_copy_that_goes_at_its_end(temporary, tmp_path):
    handler = handler_in(tmp_path)
    reference = keep(handler, tmp_path).reference
    assert copies(temporary) == [], "nobody has asked for it"
    one, other = reference.load(), reference.load()
    assert one == other
    assert one.name == "1.bin", "readers go by the ending"
    assert one.read_text() == "abc"
    assert len(copies(temporary)) == 1
    assert one.parents[1].stat().st_mode & 0o777 == 0o700
    local_copies._copies().close()
    assert copies(temporary) == []
    assert reference.load().read_text() == "abc"


def test_a_copy_that_a_task_changed_is_made_again(temporary, tmp_path):
    reference = keep(handler_in(tmp_path), tmp_path).reference
    copy = reference.load()
    with open(copy, "r+") as still_read:
        copy.write_text("other")
        assert reference.load().read_text() == "abc"
        assert still_read.read() == "other", "a reader keeps what it has open"
    local_copies._copies().close()
    assert list(copy.parents[1].iterdir()) == []


def test_the_copy_of_a_replaced_file_is_another(temporary, tmp_path):
    handler = handler_in(tmp_path)
    old = keep(handler, tmp_path, "old").reference
    copy = old.load()
    new = keep(handler, tmp_path, "new").reference
    assert new.load().read_text() == "new"
    assert copy.read_text() == "old"
    with pytest.raises(CheckpointNotFoundError, match="is not the one referred to"):
        old.load()


def test_bytes_that_are_others_are_never_handed_on(temporary, tmp_path):
    handler = handler_in(tmp_path)
    reference = keep(handler, tmp_path).reference
    files = handler.store.files
    stamp = files.status(reference.path)
    files.fs.store[files.fs._strip_protocol(reference.path)].seek(0)
    # Without a trace: the store says the same of it.
    files.fs.store[files.fs._strip_protocol(reference.path)].write(b"x")
    assert files.status(reference.path) == stamp
    assert handler.look_up(reference.path).kind == "committed"
    with pytest.raises(DamagedCheckpointError, match="set aside, and the next run"):
        reference.load()
    assert copies(temporary) == []
    assert handler.look_up(reference.path).kind == "missing"


READER = """
import json, sys, types
from multiprocessing import Process

# Prefect, which the package itself imports, takes seconds.
package = types.ModuleType("prefect_ds")
package.__path__ = ["PACKAGE"]
sys.modules["prefect_ds"] = package
from prefect_ds.storage.local_copies import local_copy
from prefect_ds.storage.manifest import Manifest
from prefect_ds.storage.local_files import LocalFiles

n_reads = 0
class Counted(LocalFiles):
    def open(self, path):
        global n_reads
        n_reads += 1
        return super().open(path)

def read(path, manifest):
    print(json.dumps([local_copy(Counted(), path, Manifest.from_json(manifest)), n_reads]), flush=True)
    sys.stdin.readline()

if __name__ == "__main__":
    path, manifest = json.loads(sys.stdin.readline())
    if sys.argv[1:] == ["child"]:
        process = Process(target=read, args=(path, manifest))
        process.start()
        process.join()
    else:
        read(path, manifest)
"""


@pytest.fixture
def reader(temporary, tmp_path):
    """Starts processes that ask for a copy, and wait."""
    handler = FileResultHandler(tmp_path / "data/{n}.bin")
    kept = keep(handler, tmp_path)
    manifest = handler.manifest(kept.reference.path).to_json()
    (tmp_path / "reader.py").write_text(
        READER.replace("PACKAGE", str(Path(prefect_ds.__file__).parent))
    )
    started = []

    def start(*args):
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "reader.py"), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        process.stdin.write(json.dumps([kept.reference.path, manifest]) + "\n")
        process.stdin.flush()
        path, n_reads = json.loads(process.stdout.readline())
        return process, Path(path), n_reads

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_processes_of_a_machine_share_a_copy_that_the_last_one_removes(
    reader, temporary
):
    one, path, n_reads = reader()
    other, same, n_more = reader()
    assert path == same
    assert (n_reads, n_more) == (1, 0)
    one.communicate("\n")
    assert path.read_text() == "abc", "the other one uses it"
    other.communicate("\n")
    assert list(path.parents[1].iterdir()) == []


def test_the_copies_of_killed_processes_go_with_the_next_one(reader, temporary):
    one, path, _ = reader()
    one.send_signal(signal.SIGKILL)
    one.wait()
    assert path.exists()
    other, _, n_reads = reader("child")
    assert n_reads == 1
    other.communicate("\n")
    assert list(path.parents[1].iterdir()) == [], "also at the end of a child"


def test_another_users_folder_is_not_used(temporary, tmp_path):
    folder = temporary / f"prefect_ds-copies-{os.getuid()}"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    copy = keep(handler_in(tmp_path), tmp_path).reference.load()
    assert copy.read_text() == "abc"
    assert list(folder.iterdir()) == []
    assert copy.parents[1].stat().st_mode & 0o777 == 0o700
