"""A stopped write of a Dask frame goes on where it was."""

import errno
import os
from pathlib import Path

import dask
import dask.dataframe as dd
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.dask.resume_key import NotResumableError
from prefect_ds.storage.store import CheckpointStore
from tests.support import dask_flows
from tests.support.dask_flows import expected, frame, handler, parts, staged_in


class TestResume:
    def test_a_stopped_write_goes_on_where_it_was(self, url, notes):
        done = self.failing_once(url, notes)
        assert 0 < len(done) < 5

        written = handler(url, "events").write(self.flaky(notes))

        assert sorted(done + notes.take()) == parts(6)
        assert_frame_equal(written.value.compute(), expected(6))
        assert handler(url, "events").verify(written.location) == []

    @pytest.mark.parametrize("step", ["create", "place"])
    def test_an_error_in_the_last_steps_costs_no_partition(
        self, url, notes, step, monkeypatch
    ):
        """All parts are written, and have got their names: the manifest, or the folder, does not get to its place."""

        def full(*args):
            raise OSError(errno.ENOSPC, "full")

        keep = handler(url, "events")
        with monkeypatch.context() as patch:
            patch.setattr(type(keep.store.files), step, full)
            with pytest.raises(OSError, match="full"):
                keep.write(self.flaky(notes))
        assert notes.take() == parts(6)

        written = handler(url, "events").write(self.flaky(notes))

        assert notes.take() == []
        assert_frame_equal(written.value.compute(), expected(6))

    def flaky(self, notes):
        return dd.from_map(
            fails_while_told, range(6), path=notes.path, meta=expected(1).iloc[:0]
        )

    def failing_once(self, url, notes):
        flag = Path(f"{notes.path}.fails")
        flag.touch()
        with (
            dask.config.set(scheduler="synchronous"),
            pytest.raises(OSError, match="not now"),
        ):
            handler(url, "events").write(self.flaky(notes))
        flag.unlink()
        return [each for each in notes.take() if each != "partition 3"]

    def test_other_options_are_another_computation(self, url, notes):
        self.failing_once(url, notes)

        handler(url, "events", write_kwargs={"compression": "zstd"}).write(
            self.flaky(notes)
        )

        assert notes.take() == parts(6)

    def test_another_graph_is_another_computation(self, url, notes):
        self.failing_once(url, notes)

        handler(url, "events").write(
            self.flaky(notes).assign(id=lambda part: part["id"] + 1)
        )

        assert notes.take() == parts(6)

    def test_code_that_changed_is_another_computation(self, url, notes, monkeypatch):
        self.failing_once(url, notes)
        monkeypatch.setattr(dask_flows, "SCALE", 2)

        written = handler(url, "events").write(self.flaky(notes))

        assert notes.take() == parts(6), (
            "a global that a function called by the partition function reads"
        )
        assert written.value["value"].compute().iloc[-1] == 599.0

    def test_parts_of_no_use_are_said_and_removed_once_all_is_committed(
        self, tmp_path, notes, log_lines
    ):
        n_done = len(self.failing_once(str(tmp_path), notes))

        written = handler(tmp_path, "events").write(
            self.flaky(notes).assign(id=lambda part: part["id"] + 1)
        )

        assert_frame_equal(
            written.value.compute(), expected(6).assign(id=lambda all: all["id"] + 1)
        )
        said = [line for line in log_lines if f"{tmp_path}/events: " in line]
        assert (
            f"{n_done} finished partitions of a stopped write are not used" in said[0]
        )
        assert "another computation" in said[0]
        assert "removed" in said[1]
        assert staged_in(tmp_path) == []

    def test_why_a_stopped_write_cannot_go_on_is_said(self, tmp_path, notes, log_lines):
        self.failing_once(str(tmp_path), notes)
        handler(tmp_path, "events").write(self.flaky(notes).shuffle("id"))
        [said] = [line for line in log_lines if "are not used" in line]
        assert "a function of yours" in said
        assert len(notes.take()) == 6

    def test_parts_of_other_rows_with_the_same_look_are_not_used(
        self, tmp_path, notes, in_child_process
    ):
        """Slices of one frame of text, which have one token in Dask."""
        flag = Path(f"{notes.path}.fails")
        flag.touch()
        stopped = in_child_process(
            "import dask\n"
            "from tests.flows.test_dask_resume import batch\n"
            "with dask.config.set(scheduler='synchronous'):\n"
            f"    batch({str(tmp_path)!r}, 0, {notes.path!r})\n"
        )
        assert "not now" in stopped.stderr
        assert len(staged_in(tmp_path)) == 1
        flag.unlink()

        written = batch(str(tmp_path), 3, notes.path)

        assert list(written.value["name"].compute()) == ["r3", "r4", "r5"]
        assert staged_in(tmp_path) == []

    def test_a_finished_part_that_was_damaged_is_computed_again(self, tmp_path, notes):
        done = self.failing_once(str(tmp_path), notes)
        [staging] = (tmp_path / ".prefect_ds/staging").iterdir()
        [part] = staging.glob(f"{done[0].removeprefix('partition ')}.0.*.staged")
        data = bytearray(part.read_bytes())
        data[100] ^= 1
        part.write_bytes(data)

        written = handler(tmp_path, "events").write(self.flaky(notes))

        assert sorted(done[1:] + notes.take()) == parts(6)
        assert_frame_equal(written.value.compute(), expected(6))

    def test_leftovers_are_cleared_by_clean(self, tmp_path, notes):
        self.failing_once(str(tmp_path), notes)
        store = CheckpointStore.open(str(tmp_path))

        assert store.clean(str(tmp_path)) == [], "young ones stay"
        [gone] = store.clean(str(tmp_path), older_than_s=-1)
        assert gone.endswith(".staged")
        assert staged_in(tmp_path) == []

    def test_what_cannot_be_named_leaves_nothing(self, tmp_path, notes, monkeypatch):
        def no_key(*args):
            raise NotResumableError("there is none")

        monkeypatch.setattr("prefect_ds.dask.result_handler.resume_key", no_key)
        self.failing_once(str(tmp_path), notes)
        assert staged_in(tmp_path) == []

    def test_two_writes_of_one_computation_do_not_spoil_each_other(
        self, tmp_path, notes
    ):
        """The second starts while the first is at work, and finds its finished parts."""
        keep = handler(tmp_path, "events")
        seconds = []

        def meanwhile(part):
            if not seconds:
                seconds.append(None)
                seconds[0] = handler(tmp_path, "events").write(held).value
            return part

        held = frame(3).map_partitions(meanwhile, meta=frame(1)._meta)
        with dask.config.set(scheduler="synchronous"):
            first = keep.write(held).value
        assert_frame_equal(first.compute(), expected(3))
        assert_frame_equal(keep.load(f"{tmp_path}/events").compute(), expected(3))
        assert keep.verify(f"{tmp_path}/events") == []


def fails_while_told(number: int, path: str) -> pd.DataFrame:
    with open(path, "a") as file:
        file.write(f"partition {number}\n")
    if number == 3 and os.path.exists(f"{path}.fails"):
        raise OSError(13, "not now")
    return dask_flows.partition(number)


def passes_while_not_told(part: pd.DataFrame, path: str) -> pd.DataFrame:
    if os.path.exists(f"{path}.fails") and "r2" in set(part["name"]):
        raise OSError(13, "not now")
    return part


def batch(folder: str, start: int, path: str) -> DaskDataFrameResultHandler:
    text = pd.DataFrame({"name": [f"r{number}" for number in range(6)]})
    piece = text.iloc[start : start + 3].reset_index(drop=True)
    held = dd.from_pandas(piece, npartitions=3).map_partitions(
        passes_while_not_told, path, meta=piece.iloc[:0]
    )
    return handler(folder, "batch").write(held)
