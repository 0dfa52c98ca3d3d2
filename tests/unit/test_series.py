"""A Series comes back from every file type as a Series, whatever its name and index."""

import datetime
import io
import json
import pickle
from pathlib import Path

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from pandas.testing import assert_frame_equal, assert_series_equal
from prefect import Flow
from prefect.executors import DaskExecutor

from prefect_ds import DSTaskRunner, Outputs, PandasResultHandler, task
from prefect_ds.checkpoints import memory_cache as cache
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.errors import (
    ResultTypeError,
    RoundTripError,
    UndecodableCheckpointError,
)
from prefect_ds.file_types.series import decode, encode
from prefect_ds.frames.compare import difference
from prefect_ds.report import outcome_of
from tests.support.formats import PATHS, format_of
from tests.support.frame_strategies import frames
from tests.support.scale import SCALE

DAYS = pd.date_range("2024-01-01", periods=3, name="day")
PAIRS = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", None])
NAMES = (
    None, "", "x", 0, 7, True, 1.5, float("nan"), np.int64(3), ("a", 1), (None, 2.5),
    pd.Timestamp("2024-02-29 12:00"), pd.Timedelta("1h"), datetime.date(2024, 2, 29),
)  # fmt: skip


def with_attrs(series):
    series.attrs = {"unit": "mm", "of": [1, 2]}
    return series.set_flags(allows_duplicate_labels=False)


SERIES = {
    "numbers": lambda: pd.Series([1, 2], name="x"),
    "missing": lambda: pd.Series([0.1, None, -0.0]),
    "text": lambda: pd.Series(["007", None, "é"], name="zip"),
    "empty": lambda: pd.Series([], dtype="float32", name="e"),
    "empty objects": lambda: pd.Series([], dtype=object),
    "empty with levels": lambda: pd.Series([1, 2], index=PAIRS)[:0],
    "categories": lambda: pd.Series(pd.Categorical(["b", "a", "b"], list("abc"))),
    "one value for all": lambda: pd.Series(7, index=[3, 1], dtype="int8"),
    "levels, named as one": lambda: pd.Series([1.5, 2.5], index=PAIRS, name="x"),
    "index of its name": lambda: pd.Series(
        [1, 2], index=pd.Index([4, 5], name="n"), name="n"
    ),
    "days with freq": lambda: pd.Series([1, 2, 3], index=DAYS, name=("rain", 2024)),
    "zone": lambda: pd.Series(DAYS.tz_localize("Europe/Paris"), name=0),
    "objects": lambda: pd.Series([[1], {"a": 2}]),
    "attrs": lambda: with_attrs(pd.Series([1, 2], name="x")),
    "nullable": lambda: pd.Series([1, None], dtype="Int16", index=["b", "a"]),
}


def through_file(series, form):
    """Return what a later process reads, and the schema in its manifest."""
    file = io.BytesIO()
    encoded = encode(form, series, file)
    assert encoded.frame is series
    schema = encoded.schema and json.loads(json.dumps(encoded.schema, allow_nan=False))
    return decode(form, file.getvalue(), schema), schema


@pytest.mark.parametrize("kind", SERIES)
def test_it_comes_back_from_every_file_type(kind):
    for file_type in PATHS:
        series = SERIES[kind]()
        back, _ = through_file(series, format_of(file_type))
        assert difference(SERIES[kind](), back) is None, file_type
        assert_series_equal(SERIES[kind](), back, check_exact=True, obj=file_type)


@pytest.mark.parametrize("file_type", ["csv", "parquet", "xml", "pickle"])
def test_its_name_comes_back_type_for_type(file_type):
    for name in NAMES:
        back, _ = through_file(pd.Series([1], name=name), format_of(file_type))
        assert (type(back.name), repr(back.name)) == (type(name), repr(name))


@settings(
    max_examples=30 * SCALE,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(frame=frames(max_columns=2).filter(lambda frame: frame.shape[1] > 0))
def test_any_column_of_a_frame_comes_back_or_is_refused(frame):
    series = frame.iloc[:, 0]
    for file_type in ("csv", "parquet"):
        try:
            back, _ = through_file(series, format_of(file_type))
        except RoundTripError:
            continue
        assert difference(series, back) is None


def test_a_name_that_no_json_holds_is_refused_and_a_pickle_keeps_it():
    series = pd.Series([1], name=frozenset({1}))
    with pytest.raises(RoundTripError, match=r"name of the Series \(frozenset.*pickle"):
        through_file(series, format_of("csv"))
    assert through_file(series, format_of("pickle"))[0].name == frozenset({1})


def test_a_name_with_half_a_character_is_refused():
    for file_type in ("csv", "parquet"):
        with pytest.raises(RoundTripError, match="has half a character"):
            through_file(pd.Series([1], name="\ud800"), format_of(file_type))


class Rain(pd.Series):
    """A series of a user's own class."""


def test_a_class_of_its_own_is_refused_and_a_pickle_keeps_it():
    with pytest.raises(RoundTripError, match="class Rain; return pandas"):
        through_file(Rain([1]), format_of("parquet"))
    assert type(through_file(Rain([1]), format_of("pickle"))[0]) is Rain


def test_attrs_that_cannot_be_copied_are_named():
    series = pd.Series([1])
    series.attrs["lines"] = (line for line in ())
    for file_type in ("csv", "pickle"):
        with pytest.raises(RoundTripError, match=r"attrs\['lines'\] cannot be copied"):
            through_file(series, format_of(file_type))


def test_two_series_that_differ_in_name_or_index_are_not_the_same():
    unnamed = pd.Series([1])
    assert difference(unnamed, pd.Series([1], name=0)) == (
        "its name None comes back as 0"
    )
    assert difference(unnamed, pd.Series([1], index=[5])).startswith("the index")
    assert difference(unnamed, pd.Series([1, 2])) == "1 values come back as 2"
    assert difference(unnamed, unnamed.to_frame()) == (
        "a Series comes back as a DataFrame"
    )


def test_the_file_is_plain_and_a_frame_of_one_column_stays_a_frame(tmp_path):
    handler = PandasResultHandler(tmp_path / "{kind}.csv")
    handler.write(pd.Series([1.5], index=pd.Index(["a"], name="k")), kind="series")
    assert (tmp_path / "series.csv").read_text() == "k,0\na,1.5\n"
    frame = pd.DataFrame({"x": [1.5]})
    written = handler.write(frame, kind="frame")
    assert_frame_equal(handler.read(written.location).value, frame)


# As the first version with series has filed them: such manifests are read for good.
TEXT = {"dtype": {"string": "pyarrow", "na": "nan"}, "text": "string"}
TABLE = {
    "n_rows": 2,
    "index": {"names": ["k"], "levels": [{"dtype": "int64"}]},
    "columns": [{**TEXT, "missing": [["", "nan"]]}],
    "labels": {"names": [None], "levels": [{**TEXT, "cells": ["any"]}]},
}
DAY = {"dtype": "datetime64[us]", "text": "datetime", "cells": ["2024-01-01"]}
FILED = [
    (None, None),
    ("x", "x"),
    (7, 7),
    (
        {"tuple": {"dtype": "object", "text": "json", "cells": ['["a", 1]']}},
        ("a", 1),
    ),
    ({"label": {"names": [None], "levels": [DAY]}}, pd.Timestamp("2024-01-01")),
]


@pytest.mark.parametrize(("filed", "name"), FILED)
def test_a_manifest_that_was_filed_is_read_for_good(filed, name):
    schema = {"series": {"name": filed}, "table": TABLE}
    series = decode(format_of("csv"), b"k,any\n2,007\n1,\n", schema)
    expected = pd.Series(["007", None], index=pd.Index([2, 1], name="k"), name=name)
    assert difference(expected, series) is None


def test_a_schema_of_a_series_is_none_of_a_frame():
    _, schema = through_file(SERIES["numbers"](), format_of("csv"))
    with pytest.raises(UndecodableCheckpointError):
        # As a version before series had them would read it.
        format_of("csv").decode(b"x\n1\n2\n", schema)


class TestKeywordArguments:
    def test_the_content_of_the_file_is_the_result(self, tmp_path):
        handler = PandasResultHandler(
            tmp_path / "a.csv", write_kwargs={"float_format": "%.1f"}
        )
        written = handler.write(pd.Series([0.123], name=("x", 1)))
        for result in (written, handler.read(written.location)):
            assert_series_equal(result.value, pd.Series([0.1], name=("x", 1)))

    def test_more_than_one_column_is_refused(self, tmp_path):
        handler = PandasResultHandler(
            tmp_path / "a.csv", write_kwargs={"float_format": "%.1f"}
        )
        with pytest.raises(RoundTripError, match=r"gives 2 columns.*index_col"):
            handler.write(pd.Series([0.1], index=["a"]))
        handler = PandasResultHandler(
            tmp_path / "a.csv",
            read_kwargs={"index_col": 0},
            write_kwargs={"float_format": "%.1f"},
        )
        written = handler.write(pd.Series([0.1], index=["a"]))
        assert_series_equal(written.value, pd.Series([0.1], index=["a"]))


class TestFilesOfAPerson:
    def test_without_a_manifest_a_file_gives_a_frame(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("x\n1\n2\n")
        value = PandasResultHandler(path).read(str(path)).value
        assert_frame_equal(value, pd.DataFrame({"x": [1, 2]}))

    def test_a_pickle_says_itself_what_it_holds(self, tmp_path):
        path = tmp_path / "a.pkl"
        path.write_bytes(pickle.dumps(pd.Series([1, 2], name="x")))
        value = PandasResultHandler(path).read(str(path)).value
        assert_series_equal(value, pd.Series([1, 2], name="x"))

    def test_an_edited_series_keeps_name_and_types(self, tmp_path):
        handler = PandasResultHandler(tmp_path / "a.csv")
        handler.write(pd.Series(["007", "010"], index=[2, 1], name=("zip", 1)))
        path = Path(handler.location)
        path.write_text(path.read_text().replace("010", "011") + "5,012\n")
        handler.adopt(str(path))
        expected = pd.Series(["007", "011", "012"], index=[2, 1, 5], name=("zip", 1))
        assert_series_equal(handler.load(str(path)), expected)

    def test_an_edit_that_adds_a_column_gives_a_frame(self, tmp_path):
        handler = PandasResultHandler(tmp_path / "a.csv")
        handler.write(pd.Series(["007", "010"], name="zip"))
        Path(handler.location).write_text("zip,n\n007,1\n010,2\n")
        handler.adopt(handler.location)
        expected = pd.DataFrame({"zip": ["007", "010"], "n": [1, 2]})
        assert_frame_equal(handler.load(handler.location), expected)


def test_a_change_of_a_series_reaches_no_other_task():
    series = pd.Series([1, 2], index=["a", "b"], name="x")
    cache.put("series", series)
    series["a"] = 99
    got = cache.get("series")
    got["b"] = 99
    assert_series_equal(
        cache.get("series"), pd.Series([1, 2], index=["a", "b"], name="x")
    )


class TestFlows:
    def test_a_series_goes_from_task_to_task_and_is_loaded(self, tmp_path, caplog):
        @task(result=PandasResultHandler(tmp_path / "rain_{year}.parquet"))
        def rain(year) -> pd.Series:
            return pd.Series(
                [1.5, 2.5], index=DAYS[:2], name=pd.Timestamp("2024-01-01")
            )

        @task(
            result=Outputs(
                mean=PandasResultHandler(tmp_path / "mean.csv"),
                rows=PandasResultHandler(tmp_path / "rows.csv"),
            )
        )
        def split(series):
            assert isinstance(series, pd.Series)
            return {
                "mean": series.groupby(level=0).mean(),
                "rows": series.to_frame("x"),
            }

        with Flow("rain") as flow:
            series = rain(2024)
            out = split(series)
        for n_loaded in (0, 2):
            caplog.clear()
            state = flow.run(task_runner_cls=DSTaskRunner)
            assert state.is_successful()
            assert "Loaded" in state.result[series].message or n_loaded == 0
            assert state.result[series].result.name == pd.Timestamp("2024-01-01")
            assert isinstance(state.result[out].result["mean"], pd.Series)
            assert isinstance(state.result[out].result["rows"], pd.DataFrame)


class TestDask:
    @pytest.mark.parametrize("name", [None, 7, ("a", 1), pd.Timestamp("2024-01-01")])
    def test_a_series_comes_back_as_one(self, tmp_path, name):
        handler = DaskDataFrameResultHandler(tmp_path / "parts_{kind}")
        series = pd.Series(
            pd.Categorical(["b", "a", "b"]), index=[1, 2, 3], name=name
        ).rename_axis("x")
        lazy = dd.from_pandas(series, npartitions=2)
        with dask.config.set(scheduler="sync"):
            for kind, value in (("dask", lazy), ("pandas", series)):
                written = handler.write(value, kind=kind)
                for result in (written.value, handler.read(written.location).value):
                    assert isinstance(result, dd.Series)
                    assert difference(result.compute(), series) is None
        assert len(list((tmp_path / "parts_dask").glob("*.parquet"))) == 2

    def test_a_frame_of_one_column_stays_a_frame(self, tmp_path):
        handler = DaskDataFrameResultHandler(tmp_path / "parts")
        frame = dd.from_pandas(pd.DataFrame({"x": [1, 2]}), npartitions=1)
        with dask.config.set(scheduler="sync"):
            value = handler.read(handler.write(frame).location).value
            assert isinstance(value, dd.DataFrame)

    def test_a_name_that_no_json_holds_is_refused(self, tmp_path):
        handler = DaskDataFrameResultHandler(tmp_path / "parts")
        with pytest.raises(RoundTripError, match="name of the Series cannot be kept"):
            handler.write(pd.Series([1], name=frozenset({1})))

    def test_the_handler_for_pandas_names_this_one(self, tmp_path):
        series = dd.from_pandas(pd.Series([1, 2], name="x"), npartitions=1)
        with pytest.raises(
            ResultTypeError, match=r"DaskDataFrameResultHandler, or return its .compute"
        ):
            PandasResultHandler(tmp_path / "a.csv").write(series)

    def test_it_goes_from_task_to_task_on_a_cluster(self, tmp_path, cluster_address):
        @task(result=DaskDataFrameResultHandler(tmp_path / "lengths"))
        def lengths() -> dd.Series:
            frame = dd.from_pandas(pd.DataFrame({"x": range(8)}), npartitions=4)
            return frame["x"] * 2

        @task(result=PandasResultHandler(tmp_path / "longest.csv"))
        def longest(series):
            return series.nlargest(2).compute()

        with Flow("lengths") as flow:
            series = lengths()
            top = longest(series)
        for outcome in ("ran", "loaded"):
            state = flow.run(
                executor=DaskExecutor(address=cluster_address),
                task_runner_cls=DSTaskRunner,
            )
            assert {outcome_of(state.result[step]) for step in (series, top)} == {
                outcome
            }
            assert state.result[top].result.tolist() == [14, 12]
            assert state.result[top].result.name == "x"
