"""Frames of polars and GeoPandas come back with class and schema, or are refused with words."""

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from prefect import Flow

from prefect_ds import DSTaskRunner, ObjectResultHandler, PandasResultHandler, task
from prefect_ds.errors import FileTypeError, ResultTypeError, RoundTripError
from prefect_ds.report import outcome_of
from tests.support.flows import frame_of

ARROW_KEEPS_ATTRS = int(pa.__version__.partition(".")[0]) >= 22
NOON = datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.UTC)


def kept(folder, value, file_type):
    """Return what a later process reads."""
    handler = ObjectResultHandler(folder / "x.parquet", file_type)
    written = handler.write(value)
    return handler.read(written.location).value


class TestPolars:
    pl = pytest.importorskip("polars")

    def frames(self):
        pl = self.pl
        plain = pl.DataFrame(
            {
                "i": [1, None],
                "f": [float("nan"), -0.0],
                "s": ["é", None],
                "day": [datetime.date(2024, 2, 29), None],
                "at": [NOON, None],
                "for": [datetime.timedelta(1), None],
                "list": [[1], []],
                "struct": [{"a": 1}, {"a": None}],
                "bytes": [b"\x00", None],
            }
        )
        own = plain.select(
            pl.Series("category", ["x", "y"], dtype=pl.Categorical),
            pl.Series("enum", ["x", "y"], dtype=pl.Enum(["y", "x"])),
            pl.Series("price", ["1.50", "2"]).cast(pl.Decimal(10, 2)),
            pl.Series("pair", [[1, 2], [3, 4]], dtype=pl.Array(pl.Int8, 2)),
            pl.Series("none", [None, None], dtype=pl.Null),
            pl.Series("u8", [1, None], dtype=pl.UInt8),
        )
        no_rows = plain.clear()
        return [plain, own, no_rows, pl.DataFrame()]

    def test_a_frame_comes_back_with_its_schema(self, tmp_path):
        for frame in self.frames():
            back = kept(tmp_path, frame, "polars")
            assert type(back) is self.pl.DataFrame
            assert back.schema == frame.schema
            assert back.equals(frame)

    def test_the_file_is_plain_parquet(self, tmp_path):
        kept(tmp_path, self.pl.DataFrame({"a": [1, 2]}), "polars")
        assert pd.read_parquet(tmp_path / "x.parquet")["a"].tolist() == [1, 2]

    def test_a_lazy_frame_is_computed_once_and_comes_back_as_one(self, tmp_path):
        computed = []

        def count(values):
            computed.append(1)
            return values + 1

        lazy = self.pl.LazyFrame({"a": [1, 2]}).select(
            self.pl.col("a").map_batches(count, return_dtype=self.pl.Int64)
        )
        handler = ObjectResultHandler(tmp_path / "x.parquet", "polars")
        written = handler.write(lazy)
        n_computed = len(computed)
        again = handler.read(written.location).value
        (tmp_path / "x.parquet").unlink()
        for frame in (written.value, again):
            assert type(frame) is self.pl.LazyFrame
            assert frame.filter(self.pl.col("a") > 2).collect()["a"].to_list() == [3]
        assert len(computed) == n_computed

    def test_a_lazy_frame_over_other_bytes_is_no_result(self, tmp_path):
        handler = ObjectResultHandler(tmp_path / "x.parquet", "polars")
        path = handler.write(self.pl.LazyFrame({"a": [1]})).location
        (tmp_path / "x.parquet").write_bytes(b"no parquet")
        assert handler.look_up(path).kind == "damaged"
        with pytest.raises(Exception, match=r"parquet|PAR1"):
            handler.adopt(path)

    def test_what_does_not_come_back_is_refused(self, tmp_path):
        objects = self.pl.DataFrame({"ok": [1], "o": [object()]})
        with pytest.raises(RoundTripError, match="column 'o' holds Python objects"):
            kept(tmp_path, objects, "polars")
        with pytest.raises(ResultTypeError, match="DataFrames and LazyFrames"):
            kept(tmp_path, self.pl.Series([1]), "polars")
        with pytest.raises(ResultTypeError, match="PandasResultHandler"):
            kept(tmp_path, frame_of(1), "polars")

        class Own(self.pl.DataFrame):
            pass

        with pytest.raises(RoundTripError) as refused:
            kept(tmp_path, Own({"a": [1]}), "polars")
        assert "ObjectResultHandler" not in str(refused.value)
        assert not (tmp_path / "x.parquet").exists()

    def test_the_handler_for_pandas_names_this_one(self, tmp_path):
        with pytest.raises(FileTypeError, match=r"ObjectResultHandler\(path, 'polars'"):
            PandasResultHandler(tmp_path / "x.parquet", "polars")
        with pytest.raises(
            ResultTypeError, match=r"ObjectResultHandler\('x.parquet', "
        ):
            PandasResultHandler(tmp_path / "x.csv").write(self.pl.DataFrame())
        with pytest.raises(ResultTypeError, match="'polars'"):
            ObjectResultHandler(tmp_path / "x.json").write(self.pl.LazyFrame())


class TestGeoPandas:
    geopandas = pytest.importorskip("geopandas")

    @property
    def places(self):
        from shapely import Point, Polygon

        points = self.geopandas.GeoSeries([Point(1, 2), None], crs=4326)
        zones = self.geopandas.GeoSeries(
            [Point(1, 2, 3).buffer(1), Polygon()], crs=3857
        )
        frame = self.geopandas.GeoDataFrame(
            {"n": [1, 2], "kind": pd.Categorical(["a", "b"]), "zone": zones},
            geometry=points,
        )
        return frame.set_index(pd.Index([7, 3], name="key"))

    def test_class_crs_and_geometry_columns_come_back(self, tmp_path):
        from geopandas.testing import assert_geodataframe_equal

        for frame in (
            self.places,
            self.places.set_geometry("zone"),
            self.places.rename_geometry("place"),
            self.places.set_crs(None, allow_override=True),
            self.places.drop(columns="kind").iloc[:0],
        ):
            back = kept(tmp_path, frame, "geopandas")
            assert type(back) is self.geopandas.GeoDataFrame
            assert_geodataframe_equal(back, frame, check_crs=True)
            assert back.active_geometry_name == frame.active_geometry_name
            assert (back.crs, back["zone"].crs) == (frame.crs, frame["zone"].crs)

    @pytest.mark.parametrize("what", ["attrs", "attrs that are no JSON", "text index"])
    def test_what_pandas_adds_comes_back_or_is_refused(self, tmp_path, what):
        places = self.places
        if what == "text index":
            places = places.set_axis(["x", "y"])
        else:
            places.attrs = {"source": [1, 2] if what == "attrs" else {1: (2, 3)}}
        try:
            back = kept(tmp_path, places, "geopandas")
        except RoundTripError:
            # Newer versions of pyarrow keep more.
            assert what != "attrs" or not ARROW_KEEPS_ATTRS
            return
        assert repr(back.attrs) == repr(places.attrs)
        assert back.index.equals(places.index)
        assert back.index.dtype == places.index.dtype

    def test_what_does_not_come_back_is_refused(self, tmp_path):
        from shapely import GeometryCollection, LinearRing

        places = self.places
        for frame, words in (
            (places.assign(o=[object(), 1]), "cannot write it"),
            (places.iloc[:0], "column 'kind': other categories"),
            (places.rename(columns={"n": 1}), "string column names"),
            (self.geopandas.GeoDataFrame({"a": [1]}), "cannot write it"),
        ):
            with pytest.raises(RoundTripError, match=words):
                kept(tmp_path, frame, "geopandas")
        ring = LinearRing([(0, 0), (1, 0), (1, 1)])
        for shape in (ring, GeometryCollection([GeometryCollection([ring])])):
            frame = self.geopandas.GeoDataFrame(geometry=[None, shape])
            with pytest.raises(RoundTripError, match="'geometry': a ring"):
                kept(tmp_path, frame, "geopandas")
        with pytest.raises(ResultTypeError, match=r"series\.to_frame\('geometry'\)"):
            kept(tmp_path, places.geometry, "geopandas")
        assert not (tmp_path / "x.parquet").exists()

    def test_the_handler_for_pandas_names_this_one(self, tmp_path):
        with pytest.raises(
            RoundTripError, match=r"or keep it with ObjectResultHandler"
        ):
            PandasResultHandler(tmp_path / "x.parquet").write(self.places)


def test_a_damaged_file_and_one_of_another_type_are_no_results(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_text("no parquet")
    for file_type in ("polars", "geopandas"):
        pytest.importorskip(file_type)
        handler = ObjectResultHandler(path, file_type)
        assert handler.look_up(str(path), only_looks=True).kind == "foreign"
        assert handler.look_up(str(path)).kind == "damaged"


def test_they_go_from_task_to_task(tmp_path):
    pl, geopandas = map(pytest.importorskip, ("polars", "geopandas"))

    @task(result=ObjectResultHandler(tmp_path / "sales.parquet", "polars"))
    def sales() -> pl.LazyFrame:
        return pl.LazyFrame({"x": [0.0, 1.0], "n": [1, 2]})

    @task(result=ObjectResultHandler(tmp_path / "map.parquet", "geopandas"))
    def places(sales) -> geopandas.GeoDataFrame:
        frame = sales.collect().to_pandas()
        points = geopandas.points_from_xy(frame["x"], frame["x"], crs=4326)
        return geopandas.GeoDataFrame(frame, geometry=points)

    with Flow("shops") as flow:
        lazy = sales()
        shops = places(lazy)
    for outcome in ("ran", "loaded"):
        state = flow.run(task_runner_cls=DSTaskRunner)
        assert {outcome_of(state.result[step]) for step in (lazy, shops)} == {outcome}
        assert state.result[lazy].result.collect()["n"].sum() == 3
        assert np.array_equal(state.result[shops].result.geometry.x, [0.0, 1.0])
        assert "polars LazyFrame" in state.result[lazy].message
