"""Faults of the file system while a handler keeps and loads, and what other people do meanwhile."""

import errno
import os
import re
import subprocess
import sys

import pandas as pd
import pytest

import prefect_ds
from prefect_ds.checkpoints import memory_cache as cache
from prefect_ds.pandas_result_handler import PandasResultHandler
from prefect_ds.storage.local_files import LocalFiles
from prefect_ds.storage.manifest import Origin, Owner
from prefect_ds.storage.opening import open_files
from prefect_ds.storage.store import CheckpointStore
from tests.support.faulty_files import FaultyFiles, Killed, WatchedFiles
from tests.support.stores import (
    identity,
    in_force,
)

pytestmark = pytest.mark.usefixtures("no_cache", "no_waiting")


class FaultyHandler(PandasResultHandler):
    """Keeps its frames on a file system of the test's."""

    def __init__(self, path, file_type, files=None, **kwargs):
        super().__init__(path, file_type, **kwargs)
        self.files = files

    @property
    def store(self):
        return super().store if self.files is None else CheckpointStore(self.files)


FRAMES = {
    inputs: pd.DataFrame({"x": [number, 2], "s": ["a", inputs]})
    for number, inputs in enumerate("012")
}
FAULTS = {
    "killed before": (Killed, "before", 1),
    "killed after": (Killed, "after", 1),
    "killed halfway": (Killed, "halfway", 1),
    "disk full": (
        lambda: OSError(errno.ENOSPC, "No space left on device"),
        "halfway",
        None,
    ),
    "EIO once": (lambda: OSError(errno.EIO, "Input/output error"), "before", 1),
    "EIO once after": (lambda: OSError(errno.EIO, "Input/output error"), "after", 1),
    "EIO for good": (lambda: OSError(errno.EIO, "Input/output error"), "before", None),
}


def keep(handler, path, inputs, run):
    return handler.keep(
        FRAMES[inputs],
        path,
        origin=Origin(owner=Owner("f", run, "t"), identity=identity(inputs)),
    )


def whole(handler, path):
    """Give which frame a fresh handler finds, ``None`` for none; anything else fails."""
    found = handler.look_up(path)
    if found.manifest is None:
        assert found.kind in ("missing", "damaged"), found
        return None
    assert not found.manifest.adopted
    frame = handler.load(path)
    inputs = next(inputs for inputs, each in FRAMES.items() if each.equals(frame))
    assert found.manifest.identity == identity(inputs)
    return inputs


def side_files(folder):
    return sorted(
        os.path.relpath(os.path.join(at, name), folder)
        for at, _, names in os.walk(folder)
        for name in names
    )


def check_after_fault(path, file_type, first, folder):
    fresh = PandasResultHandler(path, file_type)
    there = whole(fresh, path)
    assert there in ({None, "1"} if first else {"0", "1"}), there
    keep(fresh, path, "2", "later")
    assert whole(fresh, path) == "2"
    store = fresh.store
    store.clean(folder, older_than_s=-10)
    kept = [name for name in side_files(folder) if "set-aside" not in name]
    assert kept == sorted(
        [os.path.basename(path), os.path.relpath(in_force(store, path), folder)]
    )
    assert whole(fresh, path) == "2"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("first", [True, False], ids=["first", "rewrite"])
@pytest.mark.parametrize("file_type", ["csv", "parquet"])
@pytest.mark.parametrize(
    "durability", ["process", pytest.param("power", marks=pytest.mark.slow)]
)
def test_a_fault_at_any_call_leaves_the_old_checkpoint_or_the_new_one(
    tmp_path, file_type, first, fault, durability
):
    make, when, n_times = FAULTS[fault]
    for fatal_call in range(1, 60):
        folder = f"{tmp_path}/{fatal_call}"
        path = f"{folder}/a.{file_type}"
        if not first:
            keep(PandasResultHandler(path, file_type), path, "0", "before")
        files = FaultyFiles(
            LocalFiles(), fatal_call, make(), when=when, n_times=n_times
        )
        handler = FaultyHandler(path, file_type, files, durability=durability)
        try:
            keep(handler, path, "1", "now")
        except (Killed, OSError):
            assert files.happened
        else:
            # A success means kept.
            assert whole(PandasResultHandler(path, file_type), path) == "1"
        check_after_fault(path, file_type, first, folder)
        if not files.happened:
            break
    assert 4 < fatal_call < 59


@pytest.mark.parametrize("fault", ["killed before", "killed after", "EIO for good"])
def test_a_fault_while_a_persons_file_is_found_never_costs_the_file(tmp_path, fault):
    make, when, n_times = FAULTS[fault]
    for fatal_call in range(1, 20):
        path = f"{tmp_path}/{fatal_call}/a.csv"
        os.makedirs(os.path.dirname(path))
        FRAMES["0"].to_csv(path, index=False)
        files = FaultyFiles(
            LocalFiles(), fatal_call, make(), when=when, n_times=n_times
        )
        try:
            found = FaultyHandler(path, "csv", files).look_up(path)
        except (Killed, OSError):
            pass
        else:
            assert found.kind == "committed"
        found = PandasResultHandler(path, "csv").look_up(path)
        assert (found.kind, found.reason) in (
            ("committed", ""),
            ("committed", "it had no manifest"),
        )
        assert found.manifest.adopted
        if not files.happened:
            break
    assert 3 < fatal_call < 19


@pytest.mark.parametrize(
    "code", [errno.EIO, errno.EAGAIN, errno.ESTALE, errno.ETIMEDOUT]
)
@pytest.mark.parametrize("n_times", [1, 3])
def test_what_may_pass_is_tried_again(tmp_path, code, n_times):
    path = f"{tmp_path}/a.csv"
    error = OSError(code, os.strerror(code))
    keep(
        FaultyHandler(
            path, "csv", FaultyFiles(LocalFiles(), 1, error, n_times=n_times)
        ),
        path,
        "1",
        "r",
    )
    faulty = FaultyHandler(
        path, "csv", FaultyFiles(LocalFiles(), 1, error, n_times=n_times)
    )
    assert faulty.look_up(path).kind == "committed"
    faulty.files.n_calls = 0
    assert faulty.load(path).equals(FRAMES["1"])


@pytest.mark.parametrize(
    "error",
    [TimeoutError("no answer"), ConnectionResetError("reset"), ConnectionError("lost")],
)
def test_a_lost_connection_without_a_number_is_tried_again(tmp_path, error):
    path = f"{tmp_path}/a.csv"
    files = FaultyFiles(LocalFiles(), 3, error)
    keep(FaultyHandler(path, "csv", files), path, "1", "r")
    assert files.happened
    assert whole(PandasResultHandler(path, "csv"), path) == "1"


LASTING = [
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOENT,
]


@pytest.mark.parametrize("code", LASTING)
@pytest.mark.parametrize("primitive", ["status", "create"])
def test_what_lasts_is_not_tried_again(tmp_path, code, primitive):
    path = f"{tmp_path}/a.csv"
    files = FaultyFiles(
        LocalFiles(),
        1,
        OSError(code, os.strerror(code)),
        n_times=None,
        only=[primitive],
    )
    handler = FaultyHandler(path, "csv", files)
    with pytest.raises(OSError, match=re.escape(os.strerror(code))):
        keep(handler, path, "1", "r") if primitive == "create" else handler.look_up(
            path
        )
    assert files.n_calls == 1


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES])
def test_a_persons_file_that_cannot_be_read_now_is_not_called_damaged(tmp_path, code):
    path = f"{tmp_path}/a.csv"
    FRAMES["1"].to_csv(path, index=False)
    files = FaultyFiles(
        LocalFiles(),
        1,
        OSError(code, os.strerror(code)),
        n_times=None,
        only=["read_bytes"],
    )
    # The first read is of a manifest that is not there.
    files.before = lambda name, args: (
        name == "read_bytes" and args[0] == path and files._fail()
    )
    with pytest.raises(OSError, match=re.escape(os.strerror(code))):
        FaultyHandler(path, "csv", files).look_up(path)


def test_a_persons_file_that_is_no_frame_is_damaged_with_the_reason(tmp_path):
    path = f"{tmp_path}/a.parquet"
    with open(path, "wb") as file:
        file.write(b"PAR1 and nothing more")
    found = PandasResultHandler(path, "parquet").look_up(path)
    assert found.kind == "damaged"
    assert "it has no manifest and cannot be read as parquet" in found.reason


def test_a_persons_file_that_changes_while_it_is_adopted_stays_theirs(tmp_path):
    path = f"{tmp_path}/a.csv"
    FRAMES["0"].to_csv(path, index=False)
    files = WatchedFiles(LocalFiles())
    reads = []

    def change(name, args):
        if name == "read_bytes" and args[0] == path and not reads:
            reads.append(path)
            FRAMES["1"].assign(s="longer than before").to_csv(path, index=False)

    files.after = change
    FaultyHandler(path, "csv", files).look_up(path)
    handler = PandasResultHandler(path, "csv")
    assert handler.look_up(path).kind == "committed"
    assert handler.load(path)["s"].tolist() == ["longer than before"] * 2


def test_two_handlers_that_read_one_file_otherwise_do_not_share_what_is_cached(
    tmp_path,
):
    cache.resize(10_000_000)
    path = f"{tmp_path}/a.csv"
    FRAMES["0"].to_csv(path, index=False)
    some, every = (
        PandasResultHandler(path, "csv", read_kwargs={"usecols": ["x"]}),
        PandasResultHandler(path, "csv"),
    )
    references = [
        handler.refer(
            path,
            handler.look_up(path).manifest,
            origin=Origin(),
            is_loaded=True,
        )
        for handler in (some, every)
    ]
    assert [list(reference.load().columns) for reference in references] == [
        ["x"],
        ["x", "s"],
    ]
    assert [list(reference.load().columns) for reference in references] == [
        ["x"],
        ["x", "s"],
    ]


def test_a_kept_frame_that_is_changed_in_place_later_does_not_change_the_checkpoint(
    tmp_path,
):
    cache.resize(10_000_000)
    handler = PandasResultHandler(f"{tmp_path}/a.csv", "csv")
    frame = FRAMES["0"].copy()
    kept = handler.keep(frame, f"{tmp_path}/a.csv", origin=Origin(identity=identity()))
    frame["x"].array[0] = 99
    assert kept.reference.load().equals(FRAMES["0"])


def test_a_writer_that_was_second_hands_on_the_first_ones_frame(tmp_path):
    path = f"{tmp_path}/a.csv"
    handler = PandasResultHandler(path, "csv")
    handler.keep(
        FRAMES["0"],
        path,
        origin=Origin(owner=Owner("f", "r1", "t"), identity=identity()),
    )
    second = handler.keep(
        FRAMES["1"],
        path,
        origin=Origin(owner=Owner("f", "r2", "t"), identity=identity()),
    )
    assert second.value.equals(FRAMES["0"])
    assert "another run was first" in second.note


def test_a_new_result_is_kept_where_the_same_one_is_there_but_damaged(tmp_path):
    path = f"{tmp_path}/a.csv"
    handler = PandasResultHandler(path, "csv")
    keep(handler, path, "1", "r1")
    status = os.stat(path)
    with open(path, "r+b") as file:
        file.write(b"X")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert keep(handler, path, "1", "r2").value.equals(FRAMES["1"])
    assert whole(handler, path) == "1"


CHILD = """
import builtins, os, sys, traceback
import pandas as pd
from prefect_ds.pandas_result_handler import PandasResultHandler
from prefect_ds.storage.manifest import Identity, Origin, Owner
from prefect_ds.checkpoints.versions import versions

versions()  # Looks at many files, once.
folder, file_type, step = sys.argv[1:]
frames = {inputs: pd.DataFrame({"x": [number, 2], "s": ["a", inputs]}) for number, inputs in enumerate("012")}

def keep(path, inputs, run):
    handler = PandasResultHandler(path, file_type)
    handler.keep(frames[inputs], path, origin=Origin(owner=Owner("f", run, "t"), identity=Identity("task", {"x": inputs})))

def die_at(fatal_call, action):
    n_calls = 0
    def dying(function):
        def call(*args, **kwargs):
            nonlocal n_calls
            n_calls += 1
            if n_calls == fatal_call:
                os._exit(9)
            return function(*args, **kwargs)
        return call
    for name in ("link", "replace", "rename", "utime", "open", "unlink", "fsync", "mkdir", "stat", "fdopen"):
        setattr(os, name, dying(getattr(os, name)))
    builtins.open = dying(builtins.open)
    action()
    os._exit(0)

for scene in ("first", "rewrite", "person"):
    for fatal_call in [*range(1, 60, int(step)), 1000]:
        path = f"{folder}/{scene}-{fatal_call}/a.{file_type}"
        pid = os.fork()
        if pid == 0:
            try:
                if scene == "rewrite":
                    keep(path, "0", "before")
                if scene == "person":
                    os.makedirs(os.path.dirname(path))
                    getattr(frames["0"], f"to_{file_type}")(path, index=False)
                    die_at(fatal_call, lambda: PandasResultHandler(path, file_type).look_up(path))
                else:
                    die_at(fatal_call, lambda: keep(path, "1", "now"))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print("ran", scene, fatal_call, code, flush=True)
        if code == 0:
            break
        assert code == 9, code
"""


every = pytest.mark.slow


@pytest.mark.parametrize(
    ("file_type", "step"),
    [
        ("csv", 4),
        pytest.param("csv", 1, marks=every),
        pytest.param("parquet", 1, marks=every),
    ],
)
def test_a_process_that_dies_at_any_call_leaves_the_old_checkpoint_or_the_new_one(
    tmp_path, file_type, step
):
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", CHILD, str(tmp_path), file_type, str(step)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(prefect_ds.__file__))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # Prefect's logger writes to stdout, too.
    runs = [line.split() for line in done.stdout.splitlines() if line[:4] == "ran "]
    assert len(runs) >= 8
    for _, scene, fatal_call, _ in runs:
        folder = f"{tmp_path}/{scene}-{fatal_call}"
        path = f"{folder}/a.{file_type}"
        if scene == "person":
            if os.path.exists(path):
                found = PandasResultHandler(path, file_type).look_up(path)
                assert found.kind == "committed", (scene, fatal_call, found)
                assert found.manifest.adopted
        else:
            check_after_fault(path, file_type, scene == "first", folder)


def test_a_handler_sees_one_store_for_one_url():
    assert PandasResultHandler("memory://x/a.csv", "csv").store.files is open_files(
        "memory://y"
    )
