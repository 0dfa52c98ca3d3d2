"""What comes back is what Dask held: dtypes, index, divisions, names, whatever lies in the partitions."""

import datetime
import decimal

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask.dataframe.utils import has_known_categories
from pandas.testing import assert_frame_equal, assert_index_equal, assert_series_equal

from prefect_ds.errors import RoundTripError
from tests.support.dask_flows import handler
from tests.support.frame_strategies import NAMED_FRAMES


def of(values: object, dtype: object = None, index: object = None) -> pd.DataFrame:
    return pd.DataFrame({"x": pd.Series(values, dtype=dtype, index=index)})


def check(folder, held: dd.DataFrame) -> dd.DataFrame:
    """Write and read a frame, and compare both results with what Dask holds."""
    keep = handler(folder, "frame")
    written = keep.write(held)
    for result in (written.value, keep.read(written.location).value):
        assert result.npartitions == held.npartitions
        assert result.divisions == held.divisions
        assert_frame_equal(result._meta, held._meta.iloc[:0])
        assert len(result) == len(held)
        for number in range(held.npartitions):
            ours, theirs = (
                each.partitions[number].compute() for each in (result, held)
            )
            assert_frame_equal(ours, theirs, check_exact=True)
            assert_index_equal(
                ours.index, theirs.index, exact="equiv", check_exact=True
            )
    return written.value


COLUMNS = {
    "categories known": lambda: of(
        pd.Categorical(
            ["b", "a", None, "b"] * 5, categories=["b", "unused", "a"], ordered=True
        )
    ),
    "categories of int": lambda: of(
        pd.Categorical([3, 1, None, 3] * 5, categories=[3, 2, 1])
    ),
    "string[pyarrow]": lambda: of(["a", None, "", "é"] * 5, pd.StringDtype("pyarrow")),
    "string[python]": lambda: of(["a", None, "", "é"] * 5, pd.StringDtype("python")),
    "Int64": lambda: of([1, None, 2**63 - 1, 0] * 5, "Int64"),
    "boolean": lambda: of([True, None, False, True] * 5, "boolean"),
    "Float32": lambda: of([0.5, None, 1.25, 0.0] * 5, "Float32"),
    "int8": lambda: of([1, -128, 127, 0] * 5, "int8"),
    "uint64": lambda: of([0, 2**64 - 1] * 10, "uint64"),
    "float16": lambda: of([0.5, np.nan] * 10, "float16"),
    "complex": lambda: of([1 + 2j, -1j] * 10, "complex128"),
    "zone": lambda: of(
        pd.date_range("2024-03-30", periods=20, freq="h", tz="Europe/Paris")
    ),
    "datetime64[s]": lambda: of(np.array(["0001-01-01", "NaT"] * 10, "M8[s]")),
    "datetime64[ns]": lambda: of(
        np.array(["2024-01-01T00:00:00.123456789", "NaT"] * 10, "M8[ns]")
    ),
    "timedelta64[us]": lambda: of(np.array([1, "NaT"] * 10, "m8[us]")),
    "period": lambda: of(pd.period_range("2024-01", periods=20, freq="M")),
    "date objects": lambda: of([datetime.date(2024, 1, 1), None] * 10, object),
    "decimals": lambda: of([decimal.Decimal("1.10"), None] * 10, object),
    "lists": lambda: of([[1, 2], [], None, [3]] * 5, object),
    "dicts": lambda: of([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}] * 10, object),
    "bytes": lambda: of([b"\x00\xff", None] * 10, object),
    "all missing": lambda: of([None] * 20, object),
    "decimal[pyarrow]": lambda: NAMED_FRAMES["decimal[pyarrow]"](),
    "list[pyarrow]": lambda: NAMED_FRAMES["list[pyarrow]"](),
    "a float that is -0.0": lambda: of([-0.0, np.inf, np.nan, 5e-324] * 5),
}

INDEXES = {
    "range": lambda: pd.RangeIndex(20),
    "range with a name": lambda: pd.RangeIndex(20, name="row"),
    "range by two": lambda: pd.RangeIndex(10, 50, 2),
    "int": lambda: pd.Index(np.arange(20) * 3, name="k"),
    "unsorted int": lambda: pd.Index(np.arange(20)[::-1], name="k"),
    "duplicates": lambda: pd.Index(np.repeat(np.arange(10), 2)),
    "str": lambda: pd.Index([f"{i:02d}" for i in range(20)], name="k"),
    "days": lambda: pd.date_range("2024-03-25", periods=20, name="day"),
    "zone": lambda: pd.date_range(
        "2024-03-30", periods=20, freq="h", tz="Europe/Paris"
    ),
    "float": lambda: pd.Index(np.linspace(0, 1, 20)),
    "timedelta": lambda: pd.timedelta_range("0h", periods=20, freq="30min"),
    "named as a column": lambda: pd.Index(np.arange(20), name="x"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_come_back(tmp_path, name):
    # Without it Dask makes text of objects on entry, whatever they are.
    with dask.config.set({"dataframe.convert-string": name.startswith("string")}):
        check(tmp_path, dd.from_pandas(COLUMNS[name](), npartitions=3, sort=False))


@pytest.mark.parametrize("name", INDEXES)
@pytest.mark.parametrize("sort", [True, False])
def test_an_index_and_its_divisions_come_back(tmp_path, name, sort):
    index = INDEXES[name]()
    frame = pd.DataFrame({"x": np.arange(20) * 0.5}, index=index)

    written = check(tmp_path, dd.from_pandas(frame, npartitions=3, sort=sort))

    assert written.known_divisions == (sort or index.is_monotonic_increasing)


@pytest.mark.parametrize("name", sorted(NAMED_FRAMES))
def test_frames_that_have_caused_trouble_come_back_or_are_refused(tmp_path, name):
    """A frame that cannot be kept is an error that says so, never another frame."""
    try:
        held = dd.from_pandas(NAMED_FRAMES[name](), npartitions=2, sort=False)
        expected = held.compute()
    except Exception as error:  # noqa: BLE001 - whatever Dask says
        pytest.skip(f"Dask does not hold it: {error}")
    keep = handler(tmp_path, "frame")
    try:
        written = keep.write(held)
    except RoundTripError:
        assert not (tmp_path / "frame").exists()
        return
    assert_frame_equal(written.value.compute(), expected, check_exact=True)
    assert_frame_equal(
        keep.read(written.location).value.compute(), expected, check_exact=True
    )


def test_column_labels_of_any_kind(tmp_path):
    frame = pd.DataFrame(np.arange(12).reshape(4, 3), columns=[2020, "a", "2020"])
    held = dd.from_pandas(frame, npartitions=2)

    written = handler(tmp_path, "frame").write(held).value

    assert list(written.columns) == list(frame.columns)
    assert_frame_equal(written.compute(), held.compute())
    assert_series_equal(written[2020].compute(), held[2020].compute())


def test_empty_partitions_and_empty_frames(tmp_path):
    held = dd.from_pandas(COLUMNS["zone"](), npartitions=4)
    noon = pd.Timestamp("2024-03-30 12:00", tz="Europe/Paris")
    check(tmp_path / "some", held[held["x"] > noon])
    check(tmp_path / "all", held[held["x"] < noon - pd.Timedelta("1D")])
    check(
        tmp_path / "one",
        dd.from_pandas(COLUMNS["categories known"]().iloc[:0], npartitions=1),
    )


def test_a_partition_of_nothing_but_missing_values_changes_no_type(tmp_path):
    """Arrow would give such a partition's file another type, and readers of the folder would stumble."""
    values = pd.DataFrame(
        {
            "x": [None, None, [1], [2, 3]],
            "s": [None, None, "a", "b"],
            "d": [None, None, datetime.date(2024, 1, 1), None],
        }
    )
    with dask.config.set({"dataframe.convert-string": False}):
        check(
            tmp_path, dd.from_pandas(values.astype(object), npartitions=2, sort=False)
        )

    assert len(pd.read_parquet(tmp_path / "frame")) == 4


def test_an_index_that_only_some_partitions_can_count(tmp_path):
    held = dd.from_pandas(pd.DataFrame({"x": range(20)}), npartitions=2)

    check(tmp_path, held[(held["x"] < 10) | (held["x"] % 3 == 0)])

    assert len(pd.read_parquet(tmp_path / "frame")) == 13


def test_unknown_categories_stay_unknown(tmp_path):
    held = dd.from_pandas(
        pd.DataFrame({"x": ["a", "b", "c", "d"]}), npartitions=2
    ).astype("category")

    written = check(tmp_path, held)

    assert not has_known_categories(written["x"])
    assert_frame_equal(written.categorize().compute(), held.categorize().compute())


def test_objects_of_different_types_in_different_partitions_become_text(tmp_path):
    """As in one partition: a parquet column has one type, and the footer the values' own."""
    values = [[1], [2], ["a"], ["b"], 1, 2, b"x", b"y", "z", ""]
    with dask.config.set({"dataframe.convert-string": False}):
        column = pd.Series(values, dtype=object)
        held = dd.from_pandas(pd.DataFrame({"x": column}), npartitions=5)
        written = check(tmp_path, held)

    assert written["x"].compute().tolist() == values
    plain = pd.read_parquet(tmp_path / "frame")["x"].tolist()
    assert plain[:5] == ["[1]", "[2]", '["a"]', '["b"]', "1"]


def test_a_frame_made_by_a_groupby_or_a_merge_comes_back(tmp_path):
    held = dd.from_pandas(
        pd.DataFrame({"k": list("abab"), "x": range(4)}), npartitions=2
    )
    keep = handler(tmp_path, "frame_{name}")

    many = dd.from_pandas(
        pd.DataFrame({"k": range(200), "x": range(200)}), npartitions=40
    )
    summary = many.groupby("k").agg({"x": "mean"}).reset_index()
    # What Dask computes has fewer partitions than the frame says.
    written, expected = (
        each.compute().sort_values("k", ignore_index=True)
        for each in (keep.write(summary, name="summary").value, summary)
    )
    assert_frame_equal(written, expected)
    grouped = held.groupby("k").agg({"x": ["sum", "max"]})
    assert_frame_equal(
        keep.write(grouped, name="grouped").value.compute(), grouped.compute()
    )
    merged = held.merge(held, on="k")
    written = keep.write(merged, name="merged").value.compute()
    assert sorted(map(tuple, written.to_numpy().tolist())) == sorted(
        map(tuple, merged.compute().to_numpy().tolist())
    )


def test_a_written_frame_can_be_computed_with_like_any_other(tmp_path):
    held = dd.from_pandas(
        pd.DataFrame({"k": range(100), "x": np.arange(100) / 7}), npartitions=5
    )
    written = handler(tmp_path, "frame").write(held).value

    assert written["x"].mean().compute() == held["x"].mean().compute()
    assert_frame_equal(
        written.groupby("k").sum().compute(), held.groupby("k").sum().compute()
    )
    assert_frame_equal(written.repartition(npartitions=2).compute(), held.compute())
    assert_frame_equal(written.set_index("k").compute(), held.set_index("k").compute())
    merged, expected = (
        each.merge(held, on="k").compute().sort_values("k") for each in (written, held)
    )
    assert_frame_equal(merged.reset_index(drop=True), expected.reset_index(drop=True))
    assert_frame_equal(written.persist().compute(), held.compute())
    assert_frame_equal(written.head(3), held.head(3))
    assert_frame_equal(written.tail(3), held.tail(3))
    assert_series_equal(
        written.index.to_series().compute(), held.index.to_series().compute()
    )
    assert_frame_equal(
        written.partitions[[3, 1]].compute(), held.partitions[[3, 1]].compute()
    )
    assert len(written[["x"]]) == len(written["x"]) == 100
    assert_frame_equal((written + written).compute(), (held + held).compute())
    assert_frame_equal(written[[]].compute(), held[[]].compute())
