"""What stopped writes leave: gone on with, or removed, and left alone while it is in use."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_ds.dask.staging import Staging
from prefect_ds.storage.opening import open_files


def staging(
    folder: object, key: str | None = "k" * 32, name: str = "events"
) -> Staging:
    return Staging(open_files(str(folder)), f"{folder}/{name}", key)


def fails(there: Staging) -> None:
    with there.folder() as folder:
        there.files.put(f"{folder}/0.json", b"{}")
        raise ValueError("stopped")


def test_a_folder_goes_with_its_write(tmp_path):
    there = staging(tmp_path)
    with there.folder() as folder:
        assert Path(folder).is_dir()
        assert there.stopped() == []
    assert there.same() == []
    assert not Path(folder).exists()


def test_after_an_error_it_stays_for_the_next_write_of_the_same(tmp_path):
    there = staging(tmp_path)
    with pytest.raises(ValueError, match="stopped"):
        fails(there)

    [folder] = there.same()
    assert there.stopped() == [folder]
    assert there.n_records(folder) == 1
    assert staging(tmp_path, "other" * 6).same() == []
    assert staging(tmp_path, name="other").stopped() == []
    there.remove_stopped()
    assert there.stopped() == []


def test_what_has_no_key_does_not_stay(tmp_path):
    there = staging(tmp_path, None)
    with pytest.raises(ValueError, match="stopped"):
        fails(there)
    assert there.stopped() == []


@pytest.mark.parametrize("key", [None, "k" * 32])
@pytest.mark.parametrize("is_stopped", [True, False])
def test_a_folder_in_which_a_worker_still_writes_hides_no_error_and_makes_none(
    tmp_path, monkeypatch, key, is_stopped
):
    there = staging(tmp_path, key)

    def is_busy(path: str, kind: object = None) -> None:
        raise OSError(errno.ENOTEMPTY, "Directory not empty", path)

    monkeypatch.setattr(there.files, "remove", is_busy)
    if is_stopped:
        with pytest.raises(ValueError, match="stopped"):
            fails(there)
    else:
        with there.folder():
            pass
    monkeypatch.undo()
    (left,) = there.stopped()
    assert Path(left).is_dir()


def test_a_folder_of_a_process_that_lives_is_left_alone(tmp_path):
    code = (
        "import sys\n"
        "from tests.unit.test_staging import staging\n"
        f"with staging({str(tmp_path)!r}).folder() as folder:\n"
        "    print(folder, flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        folder = process.stdout.readline().strip()
        there = staging(tmp_path)
        assert there.same() == [folder]
        assert there.stopped() == []
        process.kill()
        process.wait()
        assert there.stopped() == [folder]


def test_a_folder_of_another_machine_is_left_alone(tmp_path):
    there = staging(tmp_path)
    with pytest.raises(ValueError, match="stopped"):
        fails(there)
    [folder] = there.same()
    owner = {"machine": ["elsewhere"], "pid": 1, "process": "1 since 5"}
    Path(folder, "owner").write_text(json.dumps(owner))
    assert there.stopped() == []
    Path(folder, "owner").write_text("{")
    assert there.stopped() == []
