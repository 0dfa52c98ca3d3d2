"""Other tools read our folders, and we read theirs."""

import os

import dask
import dask.dataframe as dd
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal, assert_series_equal

from tests.support import dask_flows
from tests.support.dask_flows import expected, frame, handler


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
