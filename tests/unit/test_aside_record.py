"""What the next run says of data that were set aside, and when it says nothing of them."""

import os
import shutil

import pandas as pd
import pytest

from prefect_ds import PandasResultHandler
from prefect_ds.errors import CheckpointNotFoundError, DamagedCheckpointError
from prefect_ds.storage.aside_record import record_file

GONE = "its data were gone, only the manifest was left"


@pytest.fixture(params=["local", "memory"])
def damaged(request, tmp_path):
    """A handler whose file a read has set aside since a bit was flipped."""
    folder = f"{tmp_path}/data" if request.param == "local" else "memory://aside"
    handler = PandasResultHandler(f"{folder}/a.csv")
    handler.write(pd.DataFrame({"a": [1, 2]}))
    files = handler.store.files
    manifest = handler.manifest(handler.location)
    data = files.read_bytes(handler.location).replace(b"1", b"3")
    files.put(handler.location, data)
    status = files.status(handler.location)
    handler.store.adopt(handler.location, manifest, status)
    with pytest.raises(DamagedCheckpointError, match="set aside"):
        handler.load(handler.location)
    yield handler
    files.remove(folder)


def test_a_look_names_the_reason_the_file_and_the_way_back(damaged):
    path = damaged.location
    found = damaged.look_up(path)
    assert (found.kind, found.was_set_aside) == ("missing", True)
    assert "its data had been set aside as '" in found.reason
    assert "another checksum" in found.reason
    assert f"was it an edit of yours? mv {path.rpartition('/')[0]}/" in found.reason
    assert f"then handler.adopt({path!r})" in found.reason
    aside = found.reason.partition("set aside as '")[2].partition("'")[0]
    assert damaged.store.files.status(aside) is not None


def test_a_new_result_ends_the_matter(damaged):
    path = damaged.location
    damaged.write(pd.DataFrame({"a": [1, 2]}))
    damaged.store.files.remove(path)
    assert damaged.look_up(path).reason == GONE


def test_a_file_put_there_by_hand_ends_the_matter(damaged):
    path = damaged.location
    damaged.store.files.put(path, b"a\n5\n")
    damaged.adopt(path)
    damaged.store.files.remove(path)
    assert damaged.look_up(path).reason == GONE


def test_a_file_that_was_taken_away_since_is_not_named(damaged):
    path = damaged.location
    files = damaged.store.files
    files.remove(f"{path.rpartition('/')[0]}/.prefect_ds/set-aside")
    assert damaged.look_up(path).reason == GONE


def test_a_record_that_is_torn_says_nothing(damaged):
    path = damaged.location
    damaged.store.files.put(record_file(path), b'{"name": ')
    assert damaged.look_up(path).reason == GONE


def test_a_folder_that_has_moved_names_the_file_where_it_lies_now(tmp_path):
    handler = PandasResultHandler(tmp_path / "old/a.csv")
    handler.write(pd.DataFrame({"a": [1]}))
    with open(handler.location, "a") as file:
        file.write("9,9,9\n")
    handler.store.set_aside(handler.location, "it was in the way")
    shutil.move(tmp_path / "old", tmp_path / "new")
    reason = (
        PandasResultHandler(tmp_path / "new/a.csv")
        .look_up(f"{tmp_path}/new/a.csv")
        .reason
    )
    assert f"set aside as '{tmp_path}/new/.prefect_ds/set-aside/_a._csv_." in reason


def test_a_file_by_hand_that_cannot_be_read_is_to_be_mended(tmp_path, log_lines):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n3,4,5\n")
    handler = PandasResultHandler(path)
    found = handler.look_up(handler.location)
    handler.set_aside(handler.location, found, then="the task runs")
    [line] = [line for line in log_lines if "set aside as" in line]
    assert "cannot be read as csv" in line
    assert "; the task runs; to use it all the same, mend it, mv " in line
    assert line.endswith(f", then handler.adopt('{path}')")


@pytest.mark.parametrize("kind", ["link to nothing", "empty file"])
def test_nobody_is_asked_whether_nothing_was_an_edit(tmp_path, log_lines, kind):
    handler = PandasResultHandler(tmp_path / "a.csv")
    handler.write(pd.DataFrame({"a": [1]}))
    os.unlink(handler.location)
    if kind == "link to nothing":
        os.symlink(tmp_path / "nowhere", handler.location)
    else:
        open(handler.location, "w").close()
    found = handler.look_up(handler.location)
    assert found.kind == "damaged"
    with pytest.raises(CheckpointNotFoundError) as raised:
        handler.load(handler.location)
    assert "adopt" not in str(raised.value)
    handler.set_aside(handler.location, found, then="the task runs")
    [line] = [line for line in log_lines if "set aside as" in line]
    assert line.endswith("; the task runs")
    assert "edit of yours" not in handler.look_up(handler.location).reason
