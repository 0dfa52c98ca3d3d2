"""Odd things in the place of files and folders, and folders that users share."""

import contextlib
import logging
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from prefect import Flow

from prefect_ds import PandasResultHandler, task
from prefect_ds.storage.layout import manifest_folder


def make_file(path):
    path.write_text("mine")


def make_link(path):
    path.symlink_to(path.with_name("nothing"))


def flow_in(folder, notes):
    """Give a flow of one task that keeps a frame in the folder."""

    @task(name="make", result=PandasResultHandler(f"{folder}/a.csv", "csv"))
    def make():
        notes("ran")
        return pd.DataFrame({"a": [1]})

    with Flow("odd") as flow:
        make()
    return flow


@pytest.mark.parametrize("make", [make_file, make_link, os.mkfifo])
@pytest.mark.parametrize("place", ["", "/staging", "/manifests"])
def test_something_in_the_place_of_the_side_folder_is_named_with_the_remedy(
    tmp_path, notes, run_here, caplog, make, place
):
    folder = tmp_path / "data"
    odd = Path(f"{folder}/.prefect_ds{place}")
    odd.parent.mkdir(parents=True)
    make(odd)
    flow = flow_in(folder, notes)
    state = run_here(flow)
    message = state.result[flow.get_tasks("make")[0]].message
    assert f"{str(odd)!r} is no folder: move it away, then run again" in message
    assert_said_in_one_line(caplog)
    assert not (folder / "a.csv").exists()
    odd.rename(tmp_path / "moved")
    assert run_here(flow).is_successful()


def test_a_file_in_the_place_of_the_side_folder_is_said_before_the_task_runs(
    tmp_path, notes, run_here
):
    (tmp_path / "data").mkdir()
    make_file(tmp_path / "data/.prefect_ds")
    assert run_here(flow_in(tmp_path / "data", notes)).is_failed()
    assert notes.take() == []


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "a named pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
        (os.mkdir, "a folder"),
    ],
)
def test_a_pipe_device_or_folder_at_the_path_is_named_and_never_read(
    tmp_path, notes, run_here, caplog, make, kind
):
    path = tmp_path / "a.csv"
    make(path)
    flow = flow_in(tmp_path, notes)
    message = run_here(flow).result[flow.get_tasks("make")[0]].message
    assert f"{kind} is in the place of a file: move it away, then run again" in message
    assert str(path) in message
    assert_said_in_one_line(caplog)
    assert notes.take() == []
    assert os.path.lexists(path)


def assert_said_in_one_line(caplog):
    """The user gets the words, and no traceback of ours."""
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert line.exc_info is None
    assert line.getMessage().startswith("Task 'make': CheckpointAccessError: ")
    assert "Unexpected" not in caplog.text


@pytest.mark.parametrize("has_manifest", [True, False])
def test_a_link_to_nothing_is_set_aside_and_the_task_runs(
    tmp_path, notes, run_here, has_manifest
):
    path = tmp_path / "a.csv"
    flow = flow_in(tmp_path, notes)
    if has_manifest:
        run_here(flow)
        notes.take()
        path.unlink()
    path.symlink_to(tmp_path / "unmounted/a.csv")
    state = run_here(flow)
    assert "it was a link to nothing" in state.result[flow.get_tasks()[0]].message
    assert notes.take() == ["ran"]
    [aside] = (tmp_path / ".prefect_ds/set-aside").iterdir()
    assert os.readlink(aside) == str(tmp_path / "unmounted/a.csv")


def test_a_pipe_in_the_place_of_a_manifest_does_not_hold_the_run_up(
    tmp_path, notes, run_here
):
    flow = flow_in(tmp_path, notes)
    run_here(flow)
    [filed] = Path(manifest_folder(f"{tmp_path}/a.csv")).iterdir()
    filed.unlink()
    os.mkfifo(filed)
    assert run_here(flow).is_successful()
    assert notes.take() == ["ran", "ran"]


@pytest.mark.parametrize("mode", [0o2775, 0o700, 0o755])
def test_the_side_folder_takes_the_mode_and_group_of_its_parent(tmp_path, mode):
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(mode)
    PandasResultHandler(f"{folder}/a.csv", "csv").write(pd.DataFrame({"a": [1]}))
    side = folder / ".prefect_ds"
    filed = Path(manifest_folder(f"{folder}/a.csv"))
    for made in (side, side / "staging", filed.parent, filed):
        assert stat.S_IMODE(made.stat().st_mode) == mode
        assert made.stat().st_gid == folder.stat().st_gid


@contextlib.contextmanager
def as_user(user, group):
    """Be another user of this machine for a while."""
    groups, umask = os.getgroups(), os.umask(0o022)
    os.setgroups([group])
    os.setegid(user)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
        os.umask(umask)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be two other users")
def test_a_second_user_of_a_shared_folder_writes_and_replaces(tmp_path):
    frame = pd.DataFrame({"by": ["root"]})
    PandasResultHandler(f"{tmp_path}/warm.csv", "csv").write(frame)
    shared = tempfile.mkdtemp()
    try:
        os.chown(shared, -1, 12345)
        os.chmod(shared, 0o2775)
        for user in (23456, 34567):
            frame = pd.DataFrame({"by": [f"user {user}"]})
            for name in ("a.csv", "b.csv"):
                handler = PandasResultHandler(f"{shared}/{name}", "csv")
                with as_user(user, 12345):
                    handler.write(frame)
                    assert_frame_equal(handler.load(handler.location), frame)
                assert os.stat(handler.location).st_uid == user
    finally:
        shutil.rmtree(shared)
