"""A checkpointed Dask frame computes what plain Dask computes, or is refused before it computes."""

import datetime
import decimal
import operator
import os

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from dask.dataframe.utils import clear_known_categories

from prefect_ds.dask.read_plan import leaf_positions
from prefect_ds.errors import DamagedCheckpointError, PrefectDSError, RoundTripError
from prefect_ds.frames.compare import difference
from tests.support.dask_flows import handler

DECIMAL = decimal.Decimal


@pytest.fixture(autouse=True)
def _here():
    # Dask makes text of objects on entry, unless asked not to.
    with dask.config.set({"scheduler": "sync", "dataframe.convert-string": False}):
        yield


def objects(*values: object) -> pd.Series:
    cells = np.empty(len(values), dtype=object)
    cells[:] = values
    return pd.Series(cells, dtype=object)


def arrow(kind: pa.DataType, *values: object) -> pd.Series:
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.array(values, kind)))


def from_parts(
    parts: list[pd.DataFrame], meta: pd.DataFrame | None = None
) -> dd.DataFrame:
    """A frame whose partitions are as given, whatever its meta says."""
    meta = parts[0].iloc[:0] if meta is None else meta
    return dd.from_map(lambda i: parts[i], range(len(parts)), meta=meta)


def assert_same(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Compare exactly: types of objects, signs of zeros and kinds of missing values too."""
    assert difference(ours, theirs) is None


class TestNames:
    """Columns are found by their places: a name may be the path of another's field."""

    @pytest.mark.parametrize(
        ("name", "cells"),
        [
            ("a.b", [{"b": i} for i in range(10)]),
            ("a.list.element", [[i] for i in range(10)]),
        ],
    )
    def test_a_name_that_is_the_path_of_a_field(self, tmp_path, name, cells):
        frame = pd.DataFrame(
            {name: range(100, 110), "a": objects(*cells), "b": range(10)}
        )
        ours = handler(tmp_path, "f").write(dd.from_pandas(frame, npartitions=1)).value

        assert_same(ours.compute(), frame)
        for columns in ([name], ["b", name], ["a"]):
            assert_same(ours[columns].compute(), frame[columns])
        for value in (100, 107):
            expected = frame[frame[name] > value]
            assert_same(ours[ours[name] > value].compute(), expected)
            assert ours[ours[name] == value]["b"].sum().compute() == value - 100

    def test_the_leaves_of_nested_types_are_counted(self):
        nested = pa.struct(
            [("x", pa.map_(pa.string(), pa.int64())), ("y", pa.list_(pa.int8()))]
        )
        schema = pa.schema(
            [("a", pa.int64()), ("b", nested), ("c", pa.dictionary("i4", pa.string()))]
        )

        assert leaf_positions(schema, 5) == {0: 0, 2: 4}
        assert leaf_positions(schema, 4) == {}

    def test_a_persons_file_with_such_names(self, tmp_path):
        cells = [{"b": None}, {"b": 2}]
        frame = pd.DataFrame({"a": cells, "b": [1, 2], "a.b": [3, 4]})
        (tmp_path / "f").mkdir()
        frame.to_parquet(tmp_path / "f/part.0.parquet")

        ours = handler(tmp_path, "f").read(str(tmp_path / "f")).value

        # A field of the struct has missing values, the column of its name has none.
        assert ours["b"].dtype == ours["a.b"].dtype == "int64"
        assert ours[["a.b", "b"]].compute().to_numpy().tolist() == [[3, 1], [4, 2]]

    def test_large_whole_numbers_beside_missing_ones_in_a_persons_file(self, tmp_path):
        values = pd.array([2**53 + 1, None], "Int64")
        (tmp_path / "f").mkdir()
        pq.write_table(pa.table({"x": values}), tmp_path / "f/part.0.parquet")

        ours = handler(tmp_path, "f").read(str(tmp_path / "f")).value

        assert_same(ours.compute(), pd.DataFrame({"x": values}))

    def test_a_persons_file_whose_labels_are_numbers(self, tmp_path):
        frame = pd.DataFrame([[1, 2.5], [3, 4.5]], columns=[2020, 2021])
        (tmp_path / "f").mkdir()
        frame.to_parquet(tmp_path / "f/part.0.parquet")

        ours = handler(tmp_path, "f").read(str(tmp_path / "f")).value

        assert ours.compute().to_numpy().tolist() == [[1, 2.5], [3, 4.5]]
        assert ours[2021].compute().tolist() == [2.5, 4.5]

    @pytest.mark.parametrize(
        "labels",
        [
            ["x", "x", "y"],
            [None, "a", 1],
            [("t", 1), ("t", 2), ("u", 1)],
            pd.MultiIndex.from_tuples([("b", 0), ("a", 1), ("b", 2)], names=[None, 1]),
        ],
        ids=["twice", "None", "tuples", "levels"],
    )
    def test_labels_that_are_no_plain_text(self, tmp_path, labels):
        frame = pd.DataFrame(np.arange(12).reshape(4, 3))
        frame.columns = (
            labels
            if isinstance(labels, pd.MultiIndex)
            else pd.Index(labels, tupleize_cols=False, dtype=object)
        )
        keep = handler(tmp_path, "f")
        ours = keep.write(dd.from_pandas(frame, npartitions=2)).value

        assert list(ours.optimize(fuse=False)._meta.columns) == list(frame.columns)
        assert_same(ours.compute(), frame)
        doubled = ours.map_partitions(lambda part: part * 2)
        assert_same(doubled.compute(), frame * 2)
        for label in set(frame.columns):
            theirs = frame[label]
            part = ours[label].compute()
            assert part.to_numpy().tolist() == theirs.to_numpy().tolist()
        # What came from a checkpoint can be kept again.
        assert_same(handler(tmp_path, "g").write(ours).value.compute(), frame)


class TestStatistics:
    """Statistics that cannot be read rule nothing out, and say nothing of damage."""

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            (pd.Series(np.arange(9, dtype="float16")), np.float16(3)),
            (arrow(pa.float16(), *np.arange(9, dtype="float16")), 3),
            (
                pd.Series(np.array(["2024-01-01", "-0044-03-15", "NaT"], "M8[us]")),
                pd.Timestamp("2000-01-01"),
            ),
            (pd.Series([2**64 - 1, 0, 2**63], dtype="uint64"), 2**63),
            (arrow(pa.decimal128(9, 2), DECIMAL("1.25"), None, DECIMAL("-3.00")), 0),
            (pd.Series([True, False, True]), False),
        ],
        ids=["float16", "halffloat", "before year 1", "uint64", "decimal", "bool"],
    )
    @pytest.mark.parametrize("sign", [operator.lt, operator.gt, operator.eq])
    def test_a_filter_gives_the_rows_and_leaves_the_folder(
        self, tmp_path, column, value, sign
    ):
        frame = column.to_frame("x")
        keep = handler(tmp_path, "f", write_kwargs={"row_group_size": 2})
        ours = keep.write(dd.from_pandas(frame, npartitions=1)).value

        filtered = ours[sign(ours["x"], value)].compute()

        assert_same(filtered, frame[sign(frame["x"], value)])
        assert os.listdir(tmp_path / "f") == ["part.00000.parquet"]

    @pytest.mark.parametrize(
        ("error", "match"),
        [
            (pa.ArrowMemoryError("malloc failed"), "malloc failed"),
            (pa.ArrowNotImplementedError("a new encoding"), "is as it was written"),
        ],
    )
    def test_whole_bytes_that_cannot_be_read_are_no_damage(
        self, tmp_path, monkeypatch, error, match
    ):
        frame = pd.DataFrame({"x": range(9)})
        ours = handler(tmp_path, "f").write(dd.from_pandas(frame, npartitions=1)).value

        def fails(self, *args, **kwargs):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(pq.ParquetFile, "read_row_groups", fails)
            with pytest.raises((MemoryError, PrefectDSError), match=match) as caught:
                ours.compute()

        assert not isinstance(caught.value, DamagedCheckpointError)
        assert_same(ours.compute(), frame)


class TestPartitionOn:
    """All rows come back with their own keys, also where keys are equal or read alike."""

    @pytest.mark.parametrize(
        "keys",
        [
            pd.Series([0.0, -0.0, np.nan, 1.0]),
            objects(1, "1", True, "True", 1.0),
            objects(DECIMAL("1.0"), DECIMAL("1.00"), DECIMAL("1")),
            objects(None, np.nan, pd.NA, pd.NaT, "x", "nan"),
            objects("__HIVE_DEFAULT_PARTITION__", None, "a/b", "a=b", "..", "", "é"),
            objects(datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1)),
            objects(b"a", 1, None),
            pd.Series(
                pd.arrays.FloatingArray(
                    np.array([np.nan, 1.0, 2.0, -0.0, 0.0]),
                    np.array([False, False, True, False, False]),
                )
            ),
            arrow(pa.float64(), 0.0, -0.0, None, 1.0),
            arrow(pa.float16(), np.float16(0), None),
            pd.Series([1j, -0.0 + 1j, 2j]),
            pd.Series(pd.arrays.SparseArray([0.0, -0.0, 1.5])),
            pd.Series(pd.Categorical(["b", None, "a"], ["b", "unused", "a"])),
            pd.Series(pd.array([1, None, 3], "Int64")),
        ],
        ids=str,
    )
    def test_every_row_has_its_own_key(self, tmp_path, keys):
        frame = pd.DataFrame({"k": keys, "v": range(len(keys))})
        plain = dd.from_pandas(frame, npartitions=1, sort=False)
        keep = handler(tmp_path, "f", partition_on="k")

        written = keep.write(plain)

        for ours in (written.value, keep.read(written.location).value):
            assert_same(ours.compute().sort_index(), frame)
            assert_same(ours[["k"]].compute().sort_index(), frame[["k"]])
        # pandas and Dask do not read missing keys, not even of their own folders.
        plainly = pa.dataset.dataset(tmp_path / "f", partitioning="hive")
        assert plainly.count_rows() == len(frame)

    def test_a_name_with_marks_of_its_own(self, tmp_path):
        frame = pd.DataFrame({"k/=?": [1, 2, 1], "v": range(3), "k": range(3)})
        plain = dd.from_pandas(frame.rename_axis(index="k"), npartitions=1, sort=False)
        keep = handler(tmp_path, "f", partition_on=["k/=?", "k"])

        ours = keep.write(plain).value

        assert_same(ours.compute().sort_index(), frame.rename_axis(index="k"))
        assert sorted(os.listdir(tmp_path / "f")) == ["k%2F%3D%3F=1", "k%2F%3D%3F=2"]

    def test_filters_on_keys(self, tmp_path):
        frame = pd.DataFrame({"k": [0.0, -0.0, 1.0, 2.0], "v": range(4)})
        plain = dd.from_pandas(frame, npartitions=2, sort=False)
        ours = handler(tmp_path, "f", partition_on="k").write(plain).value

        for value in (-1.0, 0.0, 1.0):
            for sign in (operator.lt, operator.ge, operator.eq):
                filtered = ours[sign(ours["k"], value)].compute().sort_index()
                assert_same(filtered, frame[sign(frame["k"], value)])

    @pytest.mark.parametrize(
        ("meta", "partition_on", "match"),
        [
            (pd.DataFrame({"k": [1], "v": [1]}), "n", "needs one column 'n'"),
            (pd.DataFrame({"k": [1], "v": [1]}), ["k", "k"], "needs one column 'k'"),
            (pd.DataFrame({"k": [1], "v": [1]}), ["k", "v"], "all columns"),
            (pd.DataFrame([[1, 2]], columns=["k", "k"]), "k", "needs one column 'k'"),
            (
                pd.DataFrame({"k": arrow(pa.list_(pa.int8()), [1]), "v": 1}),
                "k",
                "'k' of partition_on is of list",
            ),
            (
                pd.DataFrame({"k": pd.Categorical(["a" * 300]), "v": 1}),
                "k",
                "'k' of partition_on has a value of 300 characters",
            ),
        ],
    )
    def test_keys_that_name_no_folder_are_refused_before_the_computing(
        self, tmp_path, meta, partition_on, match
    ):
        computed = []
        plain = dd.from_map(computed.append, range(2), meta=meta.iloc[:0])

        with pytest.raises(RoundTripError, match=match):
            handler(tmp_path, "f", partition_on=partition_on).write(plain)

        assert computed == []

    @pytest.mark.parametrize(
        ("keys", "match"),
        [
            (objects([1], [2]), "has values that name no folder"),
            (objects("a" * 256, "b"), "'k' of partition_on has a value of 256"),
        ],
        ids=["lists", "long"],
    )
    def test_values_that_name_no_folder_are_refused(self, tmp_path, keys, match):
        frame = pd.DataFrame({"k": keys, "v": range(2)})
        plain = dd.from_pandas(frame, npartitions=1, sort=False)

        with pytest.raises(RoundTripError, match=match):
            handler(tmp_path, "f", partition_on="k").write(plain)

        assert not (tmp_path / "f").exists()


class TestJoinedCategories:
    """``partition_size`` joins categories as Dask does, and leaves apart what Dask does not join."""

    def joined(self, tmp_path, parts: list[pd.Categorical], **options) -> dd.DataFrame:
        frames = [pd.DataFrame({"c": part}) for part in parts]
        meta = clear_known_categories(frames[0].iloc[:0])
        keep = handler(tmp_path, "f", partition_size="1MB")
        return keep.write(from_parts(frames, meta)).value

    def test_numbers_stay_whole(self, tmp_path):
        parts = [pd.Categorical([2**53 + 1 + 2 * i, None]) for i in range(3)]

        ours = self.joined(tmp_path, parts)

        assert ours.npartitions == 1
        column = ours.compute()["c"]
        assert [int(value) for value in column.dropna()] == [
            2**53 + 1 + 2 * i for i in range(3)
        ]
        assert column.cat.categories.dtype == "int64"

    def test_unused_categories_and_their_order_stay(self, tmp_path):
        parts = [pd.Categorical(["b"], ["b", "x", "a"]), pd.Categorical(["c"])]

        [column] = self.joined(tmp_path, parts).compute().to_dict("series").values()

        assert list(column.cat.categories) == ["b", "x", "a", "c"]

    def test_ordered_categories_that_differ_stay_apart(self, tmp_path):
        sizes = [["S", "M"], ["S", "M", "L"], ["S", "M", "L"]]
        parts = [pd.Categorical(each, each, ordered=True) for each in sizes]

        ours = self.joined(tmp_path, parts)

        assert ours.npartitions == 2
        dtypes = [ours.partitions[i].compute()["c"].dtype for i in range(2)]
        assert dtypes == [parts[0].dtype, parts[1].dtype]

    def test_categories_of_different_types_stay_apart(self, tmp_path):
        parts = [pd.Categorical([1, 2]), pd.Categorical([True]), pd.Categorical(["a"])]

        ours = self.joined(tmp_path, parts)

        columns = [ours.partitions[i].compute()["c"] for i in range(ours.npartitions)]
        assert [column.tolist() for column in columns] == [[1, 2], [True], ["a"]]

    def test_an_index_of_categories(self, tmp_path):
        index = [pd.CategoricalIndex(["a", "b"]), pd.CategoricalIndex(["c"])]
        parts = [pd.DataFrame({"x": range(len(each))}, index=each) for each in index]
        meta = clear_known_categories(parts[0].iloc[:0])
        meta.index = clear_known_categories(meta.index)

        keep = handler(tmp_path, "f", partition_size="1MB")
        ours = keep.write(from_parts(parts, meta)).value.compute()

        assert isinstance(ours.index, pd.CategoricalIndex)
        assert ours.index.tolist() == ["a", "b", "c"]


class TestKinds:
    """A partition keeps its kind of values whatever the meta says."""

    @pytest.mark.parametrize(
        ("values", "dtype"),
        [
            (pd.Series([0, 1]), "str"),
            (pd.Series([0.5]), "str"),
            (pd.Series([1, 0]), "bool"),
            (pd.Series([True]), "int64"),
            (pd.Series(["1", "2"]), "int64"),
            (pd.Series([7]), "M8[ns]"),
            (pd.Series(pd.to_datetime(["2024-01-01"])), "int64"),
            (pd.Series(pd.to_datetime(["2024-01-01"])), "datetime64[us, UTC]"),
            (
                pd.Series(pd.to_datetime(["2024-01-01"]).tz_localize("UTC")),
                "datetime64[us, Asia/Tokyo]",
            ),
            (pd.Series(pd.to_timedelta(["1s"])), "int64"),
            (objects(1, "a"), "str"),
            (objects(datetime.date(2024, 1, 1)), "M8[us]"),
            (objects(DECIMAL("1.5")), "float64"),
            (objects(b"a"), "str"),
            (pd.Series([2**53 + 1]), "float64"),
            (pd.Series([-0.0]), "int64"),
            (pd.Series([0.1]), "float32"),
            (pd.Series([1.5]), "Int64"),
            (pd.Series([300]), "int8"),
        ],
    )
    def test_values_of_another_kind_are_refused(self, tmp_path, values, dtype):
        meta = pd.DataFrame({"x": pd.Series([], dtype=dtype)})
        frame = values.to_frame("x")

        with pytest.raises(RoundTripError, match=r"partition 1 .* column 'x'.*astype"):
            handler(tmp_path, "f").write(from_parts([meta, frame], meta))

        indexed = [part.assign(v=1).set_index("x") for part in (meta, frame)]
        plain = from_parts(indexed, indexed[0])
        # Dask makes int64 of other whole numbers in an index.
        if plain._meta.index.dtype == dtype:
            with pytest.raises(RoundTripError, match=r"partition 1 .* its index"):
                handler(tmp_path, "g").write(plain)

    @pytest.mark.parametrize(
        ("values", "dtype"),
        [
            (pd.Series([1, 2]), "float64"),
            (pd.Series([1.0, np.nan]), "Int64"),
            (pd.Series([1, 2]), "int64[pyarrow]"),
            (pd.Series([1, 2]), "object"),
            (objects("a", None), "str"),
            (objects("a", None), pd.CategoricalDtype(["b", "a"])),
            (pd.Series(["a", None]), "string"),
            (objects(True, None), "boolean"),
            (pd.Series(pd.to_datetime(["2024-01-01"]).as_unit("s")), "M8[ns]"),
            (pd.Series([np.nan, np.nan]), "M8[ns]"),
            (pd.Series([np.nan, np.nan]), "str"),
            (objects(None, None), "Float64"),
        ],
    )
    def test_values_of_the_same_kind_get_the_metas_dtype(self, tmp_path, values, dtype):
        meta = pd.DataFrame({"x": pd.Series([], dtype=dtype)})
        plain = from_parts([values.to_frame("x")], meta)

        column = handler(tmp_path, "f").write(plain).value.compute()["x"]

        assert column.dtype == meta["x"].dtype
        assert column.isna().tolist() == values.isna().tolist()
        assert column.dropna().tolist() == values.dropna().tolist()


class TestTypesOfOneFamily:
    """Columns of objects whose Arrow types differ from partition to partition."""

    @pytest.mark.parametrize(
        ("parts", "kind"),
        [
            (
                [objects(DECIMAL("1.10")), objects(DECIMAL("123456.789"))],
                pa.decimal128(9, 3),
            ),
            ([objects([], []), objects(["a"], None)], pa.list_(pa.string())),
            ([objects([1]), objects([1.5])], pa.list_(pa.float64())),
            ([objects(1, None), objects(2.5)], pa.float64()),
            (
                [
                    objects({"a": 1}),
                    objects({"a": None, "b": "x"}),
                    objects({"b": "y"}),
                ],
                None,
            ),
            ([objects([[]]), objects([[1]], None), objects(None)], None),
            ([objects(DECIMAL("1e-30")), objects(DECIMAL(10**30))], None),
            ([objects("a"), objects(b"a"), objects("")], pa.large_string()),
            ([objects("a"), objects(1, 2), objects(None)], pa.large_string()),
            ([objects(True), objects(2), objects("2")], pa.large_string()),
        ],
        ids=lambda value: str(value)[:30],
    )
    def test_the_values_come_back_and_the_folder_has_one_schema(
        self, tmp_path, parts, kind
    ):
        frames = [part.to_frame("v") for part in parts]
        keep = handler(tmp_path, "f")

        written = keep.write(from_parts(frames))

        for ours in (written.value, keep.read(written.location).value):
            for i, frame in enumerate(frames):
                assert_same(ours.partitions[i].compute(), frame)
        files = sorted((tmp_path / "f").iterdir())
        kinds = {pq.read_schema(file).field("v").type for file in files}
        assert len(kinds) == 1
        # Parquet has a name of its own for what is in a list.
        assert kind is None or str(kinds.pop()).replace("element", "item") == str(kind)

    def test_an_index_of_objects(self, tmp_path):
        index = [pd.Index([], dtype=object), pd.Index([DECIMAL("1.0")], dtype=object)]
        frames = [pd.DataFrame({"x": range(len(each))}, index=each) for each in index]

        handler(tmp_path, "f").write(from_parts(frames))

        files = sorted((tmp_path / "f").iterdir())
        assert len({pq.read_schema(file).remove_metadata() for file in files}) == 1

    def test_values_that_no_common_type_holds_are_refused(self, tmp_path):
        frames = [objects(2**53 + 1).to_frame("v"), objects(0.5).to_frame("v")]

        with pytest.raises(RoundTripError, match="column 'v' holds int64"):
            handler(tmp_path, "f").write(from_parts(frames))

    def test_text_that_would_not_give_the_values_back_is_refused(self, tmp_path):
        frame = objects((1, 2), "a").to_frame("v")

        with pytest.raises(RoundTripError, match="column 'v' of object"):
            handler(tmp_path, "f").write(from_parts([frame]))

    def test_arrow_types_of_any_kind(self, tmp_path):
        kinds = [
            *(pa.duration(unit) for unit in ("s", "ms", "us", "ns")),
            *(
                pa.timestamp(unit, zone)
                for unit in ("s", "ns")
                for zone in (None, "UTC")
            ),
            *(pa.time32("s"), pa.time64("us"), pa.date32(), pa.date64()),
            *(pa.binary(), pa.large_string(), pa.decimal256(50, 3), pa.null()),
            pa.dictionary(pa.int32(), pa.string()),
        ]
        columns = {str(kind): arrow(kind, None, None) for kind in kinds}
        columns |= {
            f"values of {kind}": arrow(kind, 86_400_000, None)
            for kind in kinds
            if pa.types.is_temporal(kind)
            and not (pa.types.is_time32(kind) or pa.types.is_date32(kind))
        }
        frame = pd.DataFrame(columns)
        plain = dd.from_pandas(frame, npartitions=1)

        assert_same(handler(tmp_path, "f").write(plain).value.compute(), frame)
        keyed = frame[["values of duration[us]", "values of date64[ms]", "null"]]
        keep = handler(tmp_path, "g", partition_on=list(keyed.columns[:2]))
        ours = keep.write(dd.from_pandas(keyed, npartitions=1)).value.compute()
        assert_same(ours.sort_index(), keyed)

    def test_nan_beside_na(self, tmp_path):
        array = pd.arrays.FloatingArray(
            np.array([np.nan, 1.0, 2.0]), np.array([False, False, True])
        )
        frame = pd.DataFrame({"x": array})
        ours = handler(tmp_path, "f").write(dd.from_pandas(frame, npartitions=1)).value

        assert_same(ours.compute(), frame)


class TestBeforeTheComputing:
    """Errors that the meta tells come before the first partition is computed."""

    @pytest.mark.parametrize(
        ("meta", "options", "match"),
        [
            (
                pd.DataFrame({"x": arrow(pa.struct([]), {})}),
                {},
                "cannot be kept in parquet files: .*'x'",
            ),
            (
                pd.DataFrame({"x": np.array([1], dtype=">i8")}),
                {},
                "column 'x' of >i8",
            ),
            (pd.DataFrame({object(): [1]}), {}, "the column labels"),
            (
                pd.DataFrame({"x": [1]}),
                {"write_kwargs": {"version": "9"}},
                "Parquet format version",
            ),
        ],
    )
    def test_nothing_is_computed(self, tmp_path, meta, options, match):
        computed = []
        plain = dd.from_map(computed.append, range(2), meta=meta.iloc[:0])

        with pytest.raises((RoundTripError, ValueError), match=match):
            handler(tmp_path, "f", **options).write(plain)

        assert computed == []


class TestDivisions:
    """Divisions are values of the index, of its own type."""

    @pytest.mark.parametrize(
        "index",
        [
            [datetime.date(2024, 1, 1) + datetime.timedelta(i) for i in range(48)],
            [b"%03d" % i for i in range(48)],
            [DECIMAL(i) / 4 for i in range(48)],
            pd.date_range("2024-03-30", periods=48, freq="h", tz="Europe/Paris"),
            pd.timedelta_range("0h", periods=48, freq="7min"),
            pd.period_range("2024", periods=48, freq="M"),
            [i / 7 for i in range(48)],
        ],
        ids=lambda index: str(type(index[0]).__name__),
    )
    def test_partitions_of_another_size_have_true_divisions(self, tmp_path, index):
        index = index if isinstance(index, pd.Index) else pd.Index(index, dtype=object)
        if isinstance(index[0], float):
            index = index.astype("float64")
        frame = pd.DataFrame({"v": range(48)}, index=index)
        plain = dd.from_pandas(frame, npartitions=6)

        ours = handler(tmp_path, "f", partition_size="900B").write(plain).value

        assert ours.known_divisions
        assert ours.npartitions != plain.npartitions
        for i in range(ours.npartitions):
            first = ours.partitions[i].compute().index[0]
            division = ours.divisions[i]
            assert division == first
            assert type(division) is type(plain.divisions[0])
        assert_same(
            ours.loc[index[3] : index[20]].compute().reset_index(drop=True),
            frame.loc[index[3] : index[20]].reset_index(drop=True),
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"partition_size": "100 potatoes"},
            "partition_size='100 potatoes': give a number of bytes, or text like",
        ),
        (
            {"partition_size": "1 MB", "partition_on": "x"},
            "do not go together: repartition the frame in the task",
        ),
    ],
)
def test_options_that_cannot_work_are_refused_with_words(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        handler(tmp_path, "f", **options)


@pytest.mark.parametrize("name", ["x", None, 3, ("a", 1), ("x",)])
def test_the_divisions_of_a_series_come_back_whatever_its_name(tmp_path, name):
    series = dd.from_pandas(pd.Series([1, 2, 3], name=name), npartitions=2)
    kept = handler(tmp_path, "s")
    path = kept.write(series).location
    loaded = kept.load(path)
    assert loaded.divisions == series.divisions == (0, 2, 2)
    pd.testing.assert_series_equal(loaded.compute(), series.compute())
