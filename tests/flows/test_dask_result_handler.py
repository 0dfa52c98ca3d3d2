"""Write, read and go on with a stopped write, in this process."""

import os
import subprocess
from pathlib import Path

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal

from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.errors import (
    CheckpointNotFoundError,
    DamagedCheckpointError,
    ResultTypeError,
    RoundTripError,
)
from prefect_ds.storage.store import CheckpointStore
from tests.support.dask_flows import expected, frame, handler, parts, staged_in


def files_in(folder: object) -> list[str]:
    return sorted(
        str(each.relative_to(folder))
        for each in Path(str(folder)).rglob("*")
        if each.is_file()
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
            part.checksum for part in keep.store.read_parts(written.location, status)
        ] == [part.checksum for part in manifest.parts]
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
            (lambda: frame(1).index, "to_frame"),
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
