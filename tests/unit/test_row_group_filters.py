"""Filters reach the files: row groups without a row that is asked for are not read, and the answer stays the same."""

import datetime
import operator

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from prefect_ds.dask.row_group_filters import may_hold
from tests.support.dask_flows import handler


@pytest.fixture(autouse=True)
def _here():
    with dask.config.set(scheduler="sync"):
        yield


@pytest.fixture
def groups_read(monkeypatch) -> list[int]:
    """How many row groups each part gave."""
    read: list[int] = []
    original = pq.ParquetFile.read_row_groups

    def spy(self, groups, **kwargs):
        read.append(len(groups))
        return original(self, groups, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", spy)
    return read


def numbers(index: pd.Index | None = None) -> pd.DataFrame:
    rows = np.arange(400)
    frame = pd.DataFrame(
        {
            "id": rows,
            "half": np.where(rows % 10 == 0, np.nan, rows / 2),
            "maybe": pd.array(np.where(rows % 7 == 0, None, rows), "Int64"),
            "name": [f"name {row:03d}" for row in rows],
            "at": pd.date_range("2024-01-01", periods=400, freq="h"),
            "there": pd.date_range(
                "2024-01-01", periods=400, freq="h", tz="Europe/Paris"
            ),
            "kind": pd.Categorical(
                np.where(rows < 200, "b", "a"), categories=["b", "a"], ordered=True
            ),
        },
        index=index,
    )
    return dd.from_pandas(
        frame, npartitions=1, sort=False
    ).compute()  # Dask has strings of its own.


def opened(
    folder, frame: pd.DataFrame, n_partitions: int = 4, **options
) -> dd.DataFrame:
    held = dd.from_pandas(frame, npartitions=n_partitions, sort=False)
    return handler(folder, "frame", **options).write(held).value


FILTERS = {
    "one side": (lambda f: f["id"] > 350, 1),
    "the other way round": (lambda f: operator.lt(350, f["id"]), 1),
    "equal": (lambda f: f["id"] == 150, 1),
    "both": (lambda f: (f["id"] >= 90) & (f["id"] <= 110), 2),
    "either": (lambda f: (f["id"] < 10) | (f["half"] > 195.0), 2),
    "one that is known and one that is not": (
        lambda f: (f["id"] < 10) & ~f["name"].isin(["name 003"]),
        1,
    ),
    "text": (lambda f: f["name"] == "name 250", 1),
    "time": (lambda f: f["at"] < pd.Timestamp("2024-01-02"), 1),
    "time of the standard library": (
        lambda f: f["at"] < datetime.datetime(2024, 1, 2),
        1,
    ),
    "time with a zone": (
        lambda f: f["there"] < pd.Timestamp("2024-01-02", tz="Asia/Tokyo"),
        1,
    ),
    "missing values": (lambda f: f["maybe"] > 395, 1),
    "nothing": (lambda f: f["id"] > 1000, 0),
    "not equal": (lambda f: f["id"] != 5, 4),
    "nan": (lambda f: f["half"] == np.nan, 4),
    "one that is not known": (
        lambda f: (f["id"] < 10) | f["name"].isin(["name 399"]),
        4,
    ),
    "of another column": (lambda f: f["half"] > f["id"], 4),
    "of the whole": (lambda f: f["id"] > f["id"].mean(), 4),
    "ordered categories": (lambda f: f["kind"] > "b", 4),
}


@pytest.mark.parametrize(
    "index", [None, pd.Index(range(1000, 1400), name="row"), pd.RangeIndex(0, 4000, 10)]
)
@pytest.mark.parametrize(("condition", "n_groups"), FILTERS.values(), ids=FILTERS)
def test_a_filter_reads_only_the_parts_with_rows_it_may_give(
    tmp_path, groups_read, condition, n_groups, index
):
    frame = numbers(index)
    ours = opened(tmp_path, frame)
    groups_read.clear()  # The write has tried the frame's types in memory.

    assert_frame_equal(ours[condition(ours)].compute(), frame[condition(frame)])
    # The column of the predicate and those of the result may be read one after the
    # other.
    assert sum(groups_read) in {n_groups * n_reads for n_reads in (1, 2, 3)}


@pytest.mark.parametrize(
    "condition", [each for each, _ in FILTERS.values()], ids=FILTERS
)
def test_what_goes_on_with_a_filtered_frame(tmp_path, condition):
    frame = numbers()
    ours = opened(tmp_path, frame)
    some, theirs = ours[condition(ours)], frame[condition(frame)]

    assert len(some) == len(theirs)
    assert list(some.index.compute()) == list(theirs.index)
    assert_frame_equal(some[["half", "kind"]].compute(), theirs[["half", "kind"]])
    assert some["id"].sum().compute() == theirs["id"].sum()
    assert_frame_equal(some[some["half"] < 100].compute(), theirs[theirs["half"] < 100])
    assert_frame_equal(
        some.partitions[[1, 2]].compute(),
        theirs[(theirs["id"] >= 100) & (theirs["id"] < 300)],
    )
    assert (ours["id"].sum() - some["id"].sum()).compute() == frame[
        "id"
    ].sum() - theirs["id"].sum()
    assert_frame_equal(dd.concat([ours, some]).compute(), pd.concat([frame, theirs]))


def test_row_groups_of_one_part_are_left_out(tmp_path, groups_read):
    for index in (None, pd.date_range("2024", periods=400, freq="D")):
        frame = numbers(index)
        ours = opened(tmp_path, frame, 1, write_kwargs={"row_group_size": 50})
        groups_read.clear()
        some = ours[(ours["id"] > 120) & (ours["id"] < 210)]
        assert_frame_equal(
            some.compute(), frame[(frame["id"] > 120) & (frame["id"] < 210)]
        )
        assert set(groups_read) == {3}
        outer = (ours["id"] < 10) | (ours["id"] > 395)
        assert_frame_equal(
            ours[outer].compute(), frame[(frame["id"] < 10) | (frame["id"] > 395)]
        )


def test_folders_of_values_are_left_out(tmp_path, groups_read):
    frame = numbers().assign(year=np.repeat([2021.0, 2022.0, np.nan, 2024.0], 100))
    ours = opened(tmp_path, frame, 2, partition_on="year")
    groups_read.clear()
    assert_frame_equal(ours[ours["year"] > 2021].compute(), frame[frame["year"] > 2021])
    assert (
        sum(groups_read) <= 2 * 3
    )  # Those of the missing year cannot be told from the file's name.


def test_an_unfiltered_use_of_the_same_frame_reads_all_of_it(tmp_path):
    frame = numbers()
    ours = opened(tmp_path, frame)
    both = ours.merge(
        ours[ours["id"] > 380][["id", "half"]], on="id", how="left", suffixes=("", "_r")
    )
    theirs = frame.merge(
        frame[frame["id"] > 380][["id", "half"]],
        on="id",
        how="left",
        suffixes=("", "_r"),
    )
    result = both.compute().sort_values("id").reset_index(drop=True)
    assert_frame_equal(
        result[["id", "half", "half_r"]], theirs[["id", "half", "half_r"]]
    )


VALUES = st.one_of(
    st.none(),
    st.integers(-5, 5),
    st.sampled_from([float("nan"), float("inf"), -0.0, 0.5, 0.1]),
)
SIGNS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    values=st.lists(VALUES, min_size=1, max_size=24),
    dtype=st.sampled_from(["float64", "Float64", "float32"]),
    conditions=st.lists(
        st.tuples(
            st.sampled_from(list(SIGNS)), VALUES.filter(lambda each: each is not None)
        )
    ),
    combine=st.sampled_from([operator.and_, operator.or_]),
)
def test_any_filter_gives_what_pandas_gives(
    tmp_path_factory, values, dtype, conditions, combine
):
    frame = pd.DataFrame(
        {
            "x": pd.array(values, "Float64")
            .to_numpy("float64", na_value=np.nan)
            .astype(dtype.lower())
        }
    )
    frame["x"] = frame["x"].astype(dtype)

    def predicate(of):
        mask = of["x"] == of["x"]
        for sign, value in conditions:
            mask = combine(mask, SIGNS[sign](of["x"], value))
        return mask

    def simple(of):
        mask = SIGNS[conditions[0][0]](of["x"], conditions[0][1])
        for sign, value in conditions[1:]:
            mask = combine(mask, SIGNS[sign](of["x"], value))
        return mask

    ours = opened(
        tmp_path_factory.mktemp("any"), frame, 1, write_kwargs={"row_group_size": 3}
    )
    for mask in (predicate, simple) if conditions else (predicate,):
        assert_frame_equal(ours[mask(ours)].compute(), frame[mask(frame)])


@pytest.mark.parametrize(
    ("dtype", "values", "value"),
    [("float32", [0.1], 0.1), ("int64", [2**53 + 1], 2.0**53)],
)
def test_a_value_is_rounded_as_pandas_rounds_it(tmp_path, dtype, values, value):
    frame = pd.DataFrame({"x": np.array(values, dtype)})
    ours = opened(tmp_path, frame, 1)
    for sign in SIGNS.values():
        assert_frame_equal(
            ours[sign(ours["x"], value)].compute(), frame[sign(frame["x"], value)]
        )


@pytest.mark.parametrize("sign", SIGNS)
def test_unlike_types_are_for_pandas_to_judge(sign):
    assert may_hold((sign, "x", "text"), lambda label: pd.Series([1, 2]))
    ends = pd.Series([datetime.datetime(2023, 1, 1)] * 2)
    assert may_hold((sign, "x", pd.Timestamp("2024", tz="UTC")), lambda label: ends)
