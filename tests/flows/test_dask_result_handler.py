"""Write, read and go on with a stopped write, in this process."""

import errno
import os
import subprocess
from pathlib import Path

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal

from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.dask.resume_key import NotResumableError
from prefect_ds.errors import (
    CheckpointNotFoundError,
    DamagedCheckpointError,
    ResultTypeError,
    RoundTripError,
)
from prefect_ds.storage.store import CheckpointStore
from tests.support import dask_flows
from tests.support.dask_flows import expected, frame, handler, parts


@pytest.fixture(params=["local", "memory"])
def url(request, tmp_path):
    """A folder on disk, and one in an object store."""
    if request.param == "local":
        return str(tmp_path)
    return f"memory://{tmp_path.name}-{os.getpid()}"


def files_in(folder: object) -> list[str]:
    return sorted(
        str(each.relative_to(folder))
        for each in Path(str(folder)).rglob("*")
        if each.is_file()
    )


def staged_in(folder: Path) -> list[str]:
    return (
        sorted(os.listdir(folder / ".prefect_ds/staging"))
        if (folder / ".prefect_ds/staging").exists()
        else []
    )


class TestWriteAndRead:
    def test_what_is_written_is_a_plain_folder_of_parquet_parts(self, tmp_path):
        written = handler(tmp_path, "events").write(frame(12))

        assert sorted(os.listdir(tmp_path / "events")) == [
            f"part.{number:05d}.parquet" for number in range(12)
        ]
        assert written.location == f"{tmp_path}/events"
        assert staged_in(tmp_path) == []
        assert not [
            each
            for each in files_in(tmp_path / ".prefect_ds")
            if each.endswith("parquet")
        ]

    def test_the_same_frame_comes_from_the_write_and_from_the_read(self, url):
        keep = handler(url, "events_{day}")
        held = frame(4)

        written = keep.write(held, day=1)
        read = keep.read(written.location)

        for result in (written.value, read.value):
            assert result.divisions == held.divisions
            assert result.npartitions == 4
            assert_frame_equal(result._meta, held._meta)
            assert_frame_equal(result.compute(), held.compute())

    def test_lineage_is_cut_after_the_write_and_on_a_hit(self, url, notes):
        keep = handler(url, "events")

        written = keep.write(frame(3, notes))
        assert notes.take() == parts(3), "each partition is computed once"
        assert_frame_equal(written.value.compute(), expected(3))
        assert_frame_equal(keep.read(written.location).value.compute(), expected(3))
        assert notes.take() == []

    def test_a_rewrite_with_fewer_partitions_leaves_no_old_part(self, url):
        keep = handler(url, "events")
        keep.write(frame(5))

        written = keep.write(frame(2, offset=7))

        assert written.value.npartitions == 2
        assert_frame_equal(written.value.compute(), expected(2, offset=7))
        assert len(keep.store.files.sizes(written.location)) == 2
        assert keep.verify(written.location) == []

    def test_the_manifest_has_checksum_rows_and_index_range_of_each_part(self, url):
        keep = handler(url, "events")
        written = keep.write(frame(3, n_rows=10))

        manifest = keep.manifest(written.location)

        assert [
            (part.n_rows, part.index_min, part.index_max) for part in manifest.parts
        ] == [
            (10, 0, 9),
            (10, 10, 19),
            (10, 20, 29),
        ]
        status = keep.store.files.status(written.location)
        assert [
            part.sha256 for part in keep.store.read_parts(written.location, status)
        ] == [part.sha256 for part in manifest.parts]
        assert (manifest.n_rows, manifest.n_columns, manifest.kind) == (30, 3, "folder")

    def test_equal_data_have_equal_content_whoever_wrote_them(self, tmp_path):
        first, second = (handler(tmp_path, name) for name in ("first", "second"))

        contents = {
            each.manifest(each.write(frame(2)).location).content
            for each in (first, second)
        }

        assert len(contents) == 1, (
            "what depends on a frame stays valid when it is computed again"
        )

    def test_write_kwargs_reach_the_parquet_writer(self, tmp_path):
        handler(
            tmp_path,
            "events",
            write_kwargs={"compression": "zstd", "row_group_size": 30},
        ).write(frame(1))

        metadata = pq.ParquetFile(tmp_path / "events/part.00000.parquet").metadata
        assert metadata.num_row_groups == 4
        assert metadata.row_group(0).column(0).compression == "ZSTD"

    def test_read_kwargs_reach_the_parquet_reader(self, tmp_path):
        keep = handler(tmp_path, "events", read_kwargs={"buffer_size": 4096})
        assert_frame_equal(keep.write(frame(2)).value.compute(), expected(2))

    @pytest.mark.parametrize(
        "options",
        [
            {"read_kwargs": {"nonesuch": ["x"]}},
            {"write_kwargs": {"unheard_of": "zstd"}},
        ],
    )
    def test_an_unknown_keyword_argument_is_an_error_at_once(self, options):
        with pytest.raises(TypeError, match=r"unheard_of|nonesuch"):
            DaskDataFrameResultHandler("events", **options)

    def test_the_handlers_options_count_in_the_identity(self):
        options = [
            {},
            {"partition_on": "name"},
            {"partition_size": "1MB"},
            {"write_kwargs": {"compression": "zstd"}},
        ]
        assert (
            len(
                {
                    repr(DaskDataFrameResultHandler("events", **each).options)
                    for each in options
                }
            )
            == 4
        )

    def test_a_pandas_frame_is_accepted_and_partitioned(self, url):
        pandas_frame = expected(4)

        written = handler(url, "events", partition_size="5kB").write(pandas_frame)

        assert written.value.npartitions > 1
        assert_frame_equal(
            written.value.compute(),
            dd.from_pandas(pandas_frame, npartitions=1).compute(),
        )

    @pytest.mark.parametrize(
        ("value", "advice"),
        [
            (lambda: frame(1)["id"], "to_frame"),
            (lambda: db.from_sequence([{"a": 1}]), "to_dataframe"),
            (lambda: da.ones(3), "from_dask_array"),
            (lambda: [1, 2], "another handler"),
            (lambda: dask.delayed(1), "from_delayed"),
            (
                lambda: pd.DataFrame(
                    {"x": [1]}, index=pd.MultiIndex.from_tuples([(1, 2)])
                ),
                "reset_index",
            ),
        ],
    )
    def test_another_type_is_refused_with_what_to_do(self, tmp_path, value, advice):
        with pytest.raises(ResultTypeError, match=advice):
            handler(tmp_path, "events").write(value())

    def test_partition_size_splits_and_joins(self, url, notes):
        held = frame(8, notes)

        for size in ("1kB", "20kB"):
            written = handler(url, f"events {size}", partition_size=size).write(held)
            assert notes.take() == parts(8), "the frame is computed once"
            assert written.value.known_divisions
            assert (written.value.npartitions > 8) == (size == "1kB")
            assert (written.value.npartitions < 8) == (size == "20kB")
            assert_frame_equal(written.value.compute(), expected(8))

    def test_partition_size_with_an_index_value_in_two_parts_has_unknown_divisions(
        self, tmp_path
    ):
        held = dd.from_pandas(
            pd.DataFrame({"x": range(100)}, index=[0] * 60 + [1] * 40), npartitions=1
        )

        written = handler(tmp_path, "events", partition_size="300").write(held)

        assert not written.value.known_divisions
        assert_frame_equal(written.value.compute(), held.compute())


class TestPartitionOn:
    def test_values_become_folders_and_the_frame_comes_back(self, url):
        held = frame(3).assign(kind=lambda part: (part["id"] % 3).astype("Int8"))

        written = handler(url, "events", partition_on="kind").write(held)

        names = [
            part.name
            for part in handler(url, "events").manifest(written.location).parts
        ]
        assert {name.split("/")[0] for name in names} == {"kind=0", "kind=1", "kind=2"}
        assert written.value.divisions == held.divisions
        assert_frame_equal(written.value.compute(), held.compute())
        assert_series_equal(written.value["kind"].compute(), held["kind"].compute())
        assert_frame_equal(
            written.value[["value", "kind"]].compute(),
            held[["value", "kind"]].compute(),
        )

    def test_missing_and_odd_values(self, tmp_path):
        values = pd.DataFrame(
            {
                "x": range(5),
                "k": pd.array(
                    ["a/b", None, "é=1", "a b", "%"], dtype=pd.StringDtype("pyarrow")
                ),
            }
        )
        held = dd.from_pandas(values, npartitions=1)

        written = handler(tmp_path, "events", partition_on=["k"]).write(held)

        assert_frame_equal(written.value.compute(), held.compute())
        plain = ds.dataset(tmp_path / "events", partitioning="hive").to_table()
        assert set(plain["k"].to_pylist()) == {"a/b", "é=1", "a b", "%", None}

    def test_a_frame_without_rows(self, tmp_path):
        held = frame(2)
        held = held[held["id"] < 0]

        written = handler(tmp_path, "events", partition_on="name").write(held)

        assert_frame_equal(written.value.compute(), held.compute())

    def test_it_does_not_go_with_partition_size(self):
        with pytest.raises(ValueError, match="repartition the frame in the task"):
            DaskDataFrameResultHandler("events", partition_on="a", partition_size="1MB")


class TestLaziness:
    def test_opening_and_its_lengths_read_no_part(self, tmp_path):
        keep = handler(tmp_path, "events")
        keep.write(frame(4))
        for part in (tmp_path / "events").iterdir():
            part.chmod(0)
            stamp = (tmp_path / "events").stat()
            part.write_bytes(
                bytes(part.stat().st_size)
            )  # As root reads whatever the mode says.
            os.utime(tmp_path / "events", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

        opened = keep.load(f"{tmp_path}/events")

        assert (len(opened), opened.npartitions, opened.divisions[-1]) == (400, 4, 399)
        assert (
            len(opened.partitions[1:3]) == len(opened.partitions[[0, 3]].index) == 200
        )
        assert list(opened.map_partitions(len).divisions) == [0, 100, 200, 300, 399]

    def test_only_the_columns_asked_for_are_read(self, tmp_path, monkeypatch):
        opened = handler(tmp_path, "events").write(frame(2)).value
        read: list[list[str]] = []
        original = pq.ParquetFile.read_row_groups

        def spy(self, groups, columns=None, **kwargs):
            read.append(columns)
            return original(self, groups, columns=columns, **kwargs)

        monkeypatch.setattr(pq.ParquetFile, "read_row_groups", spy)

        assert opened["value"].sum().compute() == expected(2)["value"].sum()
        assert read == [["value", "row"]] * 2
        read.clear()
        assert_frame_equal(
            opened[opened["id"] > 5][["name"]].compute(),
            expected(2).query("id > 5")[["name"]],
        )
        assert read == [["id", "name", "row"]] * 2

    def test_loc_reads_only_the_partitions_with_the_rows(self, tmp_path):
        keep = handler(tmp_path, "events")
        opened = keep.write(frame(4)).value
        (tmp_path / "events/part.00003.parquet").write_bytes(b"")

        assert_frame_equal(opened.loc[50:120].compute(), expected(2).loc[50:120])


class TestDamage:
    def test_a_flipped_bit_anywhere_is_seen(self, tmp_path):
        keep = handler(tmp_path, "events", write_kwargs={"compression": "none"})
        keep.write(frame(1))
        part = tmp_path / "events/part.00000.parquet"
        sound = part.read_bytes()
        seen = 0
        for position in range(4, len(sound), 61):
            damaged = bytearray(sound)
            damaged[position] ^= 4
            status = part.parent.stat()
            part.write_bytes(damaged)
            os.utime(part.parent, ns=(status.st_atime_ns, status.st_mtime_ns))
            opened = keep.load(f"{tmp_path}/events")
            try:
                assert_frame_equal(
                    opened.compute(), expected(1)
                )  # A bit that says nothing of the data.
            except DamagedCheckpointError as error:
                seen += 1
                [aside] = (tmp_path / ".prefect_ds/set-aside").iterdir()
                assert str(aside) in str(error)  # noqa: PT017 - most bits raise, some change nothing
                aside.rename(tmp_path / "events")
        assert seen > 50

    def test_damage_fails_the_read_and_is_set_aside(self, url):
        keep = handler(url, "events")
        opened = keep.write(frame(2)).value
        store = keep.store
        store.files.remove(
            f"{url}/events/{keep.manifest(f'{url}/events').parts[1].name}"
        )

        with pytest.raises(
            (DamagedCheckpointError, CheckpointNotFoundError), match="events"
        ):
            opened.compute()
        assert keep.look_up(f"{url}/events").kind != "committed"

    def test_a_reader_of_damage_that_was_mended_meanwhile_gets_the_new_copy(
        self, tmp_path, monkeypatch
    ):
        keep = handler(tmp_path, "events")
        opened = keep.write(frame(1)).value
        (tmp_path / "events/part.00000.parquet").unlink()
        look_up = CheckpointStore.look_up

        def mended_first(*args):
            monkeypatch.setattr(CheckpointStore, "look_up", look_up)
            keep.write(frame(1))
            return look_up(*args)

        monkeypatch.setattr(CheckpointStore, "look_up", mended_first)
        assert_frame_equal(opened.compute(scheduler="sync"), expected(1))
        assert keep.verify(f"{tmp_path}/events") == []
        assert len(list((tmp_path / ".prefect_ds/set-aside").iterdir())) == 1

    def test_a_lazy_frame_never_mixes_two_generations(self, url):
        keep = handler(url, "events")
        first = keep.write(frame(3)).value
        keep.write(frame(3, offset=1))

        with pytest.raises(CheckpointNotFoundError, match="replaced"):
            first.compute()
        assert_frame_equal(keep.load(f"{url}/events").compute(), expected(3, offset=1))

    def test_a_frame_whose_checkpoint_is_gone_says_so(self, tmp_path):
        keep = handler(tmp_path, "events")
        opened = keep.write(frame(2)).value
        keep.store.files.remove(f"{tmp_path}/events")

        with pytest.raises(CheckpointNotFoundError, match="events"):
            opened.compute()

    def test_parts_that_differ_only_inside_have_other_footers(self, tmp_path):
        """Their statistics are equal: what is told apart is the digest of the pages."""
        footers = []
        for name, values in (("one", [0, 1, 2, 9]), ("two", [0, 2, 1, 9])):
            keep = handler(tmp_path, name, write_kwargs={"compression": "none"})
            written = keep.write(
                dd.from_pandas(pd.DataFrame({"x": values}), npartitions=1)
            )
            [part] = keep.manifest(written.location).parts
            footers.append(part.footer_sha256)
        assert footers[0] != footers[1]


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
            "from tests.flows.test_dask_result_handler import batch\n"
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


def pandas_rows(folder: str) -> int:
    return len(pd.read_parquet(folder))


def dask_rows(folder: str) -> int:
    return len(dd.read_parquet(folder).compute())


def dataset_rows(folder: str) -> int:
    return ds.dataset(folder).to_table().num_rows


def duckdb_rows(folder: str) -> int:
    [(n_rows,)] = duckdb.sql(f"select count(*) from '{folder}/*.parquet'").fetchall()
    return n_rows


def polars_rows(folder: str) -> int:
    return len(pl.read_parquet(folder))


READERS = [pandas_rows, dask_rows, dataset_rows, duckdb_rows, polars_rows]


class TestOthersReadIt:
    @pytest.fixture
    def folder(self, tmp_path):
        return handler(tmp_path, "events").write(frame(12)).location

    def test_pandas_and_dask_give_the_same_frame(self, folder):
        held = expected(12)
        assert_frame_equal(
            pd.read_parquet(folder).astype({"name": "str"}),
            held.astype({"name": "str"}),
        )
        assert_frame_equal(dd.read_parquet(folder).compute(), held, check_dtype=False)

    def test_pyarrow_duckdb_and_polars_give_the_same_rows_in_order(self, folder):
        held = expected(12).reset_index()
        ids = held["id"].tolist()
        assert ds.dataset(folder).to_table()["id"].to_pylist() == ids
        assert pl.read_parquet(folder)["id"].to_list() == ids
        parts = (
            f"read_parquet('{folder}/*.parquet', filename=true, file_row_number=true)"
        )
        assert (
            duckdb.sql(f"select id from {parts} order by filename, file_row_number")
            .df()["id"]
            .tolist()
            == ids
        )
        assert (
            pl.read_parquet(folder).to_pandas()["name"].tolist()
            == held["name"].tolist()
        )

    def test_hive_folders(self, tmp_path):
        held = frame(3).assign(kind=lambda part: part["id"] % 3)
        folder = handler(tmp_path, "events", partition_on="kind").write(held).location
        ids = sorted(expected(3)["id"])
        assert sorted(pd.read_parquet(folder)["id"]) == ids
        assert sorted(dd.read_parquet(folder)["id"].compute()) == ids
        assert (
            sorted(
                pl.read_parquet(
                    f"{folder}/**/*.parquet", hive_partitioning=True
                ).filter(pl.col("kind") < 3)["id"]
            )
            == ids
        )
        rows = duckdb.sql(
            f"select kind, count(*) from read_parquet('{folder}/**/*.parquet', hive_partitioning=true) group by kind"
        )
        assert sorted(rows.fetchall()) == [(0, 100), (1, 100), (2, 100)]

    @pytest.mark.parametrize("rows_in", READERS)
    def test_an_index_that_counts_the_rows_is_no_column(self, tmp_path, rows_in):
        held = dd.from_pandas(pd.DataFrame({"x": range(30)}), npartitions=3)
        folder = handler(tmp_path, "events").write(held).location
        assert rows_in(folder) == 30
        assert pl.read_parquet(folder).columns == ["x"]
        assert_frame_equal(pd.read_parquet(folder), pd.DataFrame({"x": range(30)}))

    @pytest.mark.parametrize("rows_in", READERS)
    def test_they_see_the_old_folder_or_none_while_a_write_goes_on(
        self, tmp_path, rows_in
    ):
        keep = handler(tmp_path, "events")
        seen = []

        def look(part):
            for name in ("events", "new"):
                folder = tmp_path / name
                seen.append(rows_in(str(folder)) if folder.exists() else None)
            return part

        keep.write(frame(2))
        with dask.config.set(scheduler="synchronous"):
            for each in (keep, handler(tmp_path, "new")):
                each.write(frame(3, offset=1).map_partitions(look, meta=frame(1)._meta))
        assert seen == [200, None] * 3 + [300, None] * 3

    def test_after_a_killed_first_write_there_is_nothing(
        self, tmp_path, in_child_process
    ):
        died = in_child_process(
            "import dask\n"
            "from tests.support.dask_flows import frame, handler\n"
            "from tests.support.flows import Notes\n"
            "dask.config.set(scheduler='synchronous')\n"
            f"handler({str(tmp_path)!r}, 'events').write(frame(5, Notes({str(tmp_path / 'n')!r}), die_at=3))\n"
        )
        assert died.returncode == 9, died.stderr
        assert not (tmp_path / "events").exists()
        assert not list(tmp_path.rglob("*.parquet"))


class TestOthersWroteIt:
    def loaded(self, tmp_path, name="events"):
        keep = handler(tmp_path, name)
        found = keep.look_up(f"{tmp_path}/{name}")
        assert found.kind == "committed", found.reason
        assert found.manifest.adopted
        assert keep.verify(f"{tmp_path}/{name}") == []
        return keep.load(f"{tmp_path}/{name}")

    def test_dask(self, tmp_path):
        held = frame(4)
        held.to_parquet(tmp_path / "events")

        assert_frame_equal(
            self.loaded(tmp_path).compute(), held.compute(), check_dtype=False
        )

    def test_pandas_with_partition_columns(self, tmp_path):
        written = (
            expected(2)
            .reset_index(drop=True)
            .assign(year=[2023] * 100 + [2024] * 100, part="a")
        )
        written.to_parquet(tmp_path / "events", partition_cols=["year", "part"])

        loaded = self.loaded(tmp_path)

        assert loaded["id"].compute().tolist() == written["id"].tolist()
        assert loaded["year"].compute().astype(int).tolist() == written["year"].tolist()
        assert loaded["year"].cat.known
        assert len(loaded) == 200

    def test_spark(self, tmp_path):
        folder = tmp_path / "events"
        folder.mkdir()
        for number in range(3):
            table = pa.Table.from_pandas(
                dask_flows.partition(number), preserve_index=False
            ).replace_schema_metadata()
            name = f"part-{number:05d}-3f1c-c000.snappy.parquet"
            pq.write_table(table, folder / name, compression="snappy")
            (folder / f".{name}.crc").write_bytes(b"crc")
        (folder / "_SUCCESS").touch()

        loaded = self.loaded(tmp_path)

        assert loaded.npartitions == 3
        assert loaded["id"].compute().tolist() == expected(3)["id"].tolist()
        assert_series_equal(
            loaded["name"].compute().reset_index(drop=True),
            expected(3)["name"].reset_index(drop=True),
            check_dtype=False,
        )

    def test_a_range_index_with_a_name(self, tmp_path):
        """Dask 2026.8 fails on these: KeyError: '[nan] not in index'."""
        (tmp_path / "events").mkdir()
        written = pd.DataFrame({"x": range(5)}, index=pd.RangeIndex(5, name="row"))
        written.to_parquet(tmp_path / "events/a.parquet")
        assert_frame_equal(self.loaded(tmp_path).compute(), written)

    def test_categories_and_columns_that_only_some_files_have(self, tmp_path):
        (tmp_path / "events").mkdir()
        pd.DataFrame({"c": pd.Categorical(["a", "b"]), "x": [1, 2]}).to_parquet(
            tmp_path / "events/a.parquet"
        )
        pd.DataFrame({"c": pd.Categorical(["z"]), "y": [0.5]}).to_parquet(
            tmp_path / "events/b.parquet"
        )

        loaded = self.loaded(tmp_path).compute()

        assert loaded["c"].tolist() == ["a", "b", "z"]
        assert loaded["y"].tolist()[2] == 0.5
        assert loaded["x"].isna().tolist() == [False, False, True]

    def test_a_later_hit_reads_no_data(self, tmp_path):
        frame(2).to_parquet(tmp_path / "events")
        self.loaded(tmp_path)
        stamp = (tmp_path / "events").stat()
        for part in (tmp_path / "events").iterdir():
            part.write_bytes(bytes(part.stat().st_size))
        os.utime(tmp_path / "events", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

        assert len(handler(tmp_path, "events").load(f"{tmp_path}/events")) == 200

    def test_a_folder_of_something_else_does_not_count(self, tmp_path):
        (tmp_path / "events").mkdir()
        (tmp_path / "events/a.csv").write_text("a\n1\n")

        assert (
            handler(tmp_path, "events").look_up(f"{tmp_path}/events").kind == "damaged"
        )


def test_the_same_in_a_fresh_process(tmp_path, in_child_process):
    handler(tmp_path, "events").write(frame(3))
    read: subprocess.CompletedProcess[str] = in_child_process(
        "from tests.support.dask_flows import handler\n"
        f"print(int(handler({str(tmp_path)!r}, 'events').load({str(tmp_path / 'events')!r})['id'].sum().compute()))\n"
    )
    assert read.stdout.strip() == str(expected(3)["id"].sum()), read.stderr


def test_partitions_unlike_the_meta_are_refused(tmp_path):
    held = frame(2)

    def with_(**columns):
        return held.map_partitions(
            lambda part: part.assign(**columns), meta=held._meta, enforce_metadata=False
        )

    keep = handler(tmp_path, "events")
    with pytest.raises(RoundTripError, match="columns"):
        keep.write(with_(extra=1))
    with pytest.raises(RoundTripError, match=r"'id' is of float64, not int64.*astype"):
        keep.write(with_(id=0.5))
    with pytest.raises(RoundTripError, match="'id'"):
        keep.write(with_(id=np.nan))
    # What the dtype holds is cast.
    assert_frame_equal(
        keep.write(with_(id=1.0)).value.compute(), expected(2).assign(id=1)
    )
