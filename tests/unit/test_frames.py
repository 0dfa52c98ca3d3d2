import doctest
import importlib
import io
import json
import pkgutil

import numpy as np
import pandas as pd
import pytest
import pytz
from hypothesis import HealthCheck, given, settings

from prefect_ds import frames as room
from prefect_ds.file_types.frame_format import FILE_TYPES, frame_format
from prefect_ds.frames import table as table_module
from prefect_ds.frames.base import CellRules, UnkeepableError
from prefect_ds.frames.compare import difference
from prefect_ds.frames.table import from_table, to_table
from tests.support.frame_strategies import NAMED_FRAMES, frames
from tests.support.scale import SCALE

TEXT_ONLY = CellRules(is_native=lambda values: False, missing="")
NUMBERS = CellRules(
    is_native=lambda values: values.dtype in ("int64", "float64"), missing=None
)
IDENTIFIERS = CellRules(is_native=lambda values: False, missing="", identifiers=True)


LEVELS = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])
ZONE = pd.DatetimeIndex(["2024-01-01", "2024-01-02"]).tz_localize(
    pytz.timezone("Europe/Paris")
)


def cells_of(table):
    return [table.iloc[:, i].array for i in range(table.shape[1])]


def through_table(frame, rules):
    table, schema = to_table(frame, rules)
    return from_table(cells_of(table), json.loads(json.dumps(schema, allow_nan=False)))


def check_property(rules, frame):
    try:
        back = through_table(frame, rules)
    except UnkeepableError:
        return
    if difference(frame, back) is None:
        pd.testing.assert_frame_equal(frame, back, check_exact=True)


PROPERTY = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
ALL_RULES = pytest.mark.parametrize(
    "rules", [TEXT_ONLY, NUMBERS, IDENTIFIERS], ids=["text", "numbers", "identifiers"]
)


@ALL_RULES
@settings(PROPERTY, max_examples=15)
@given(frame=frames())
def test_a_table_gives_its_frame_back_or_the_proof_says_how_it_differs(rules, frame):
    check_property(rules, frame)


@pytest.mark.slow
@ALL_RULES
@settings(PROPERTY, max_examples=50 * SCALE)
@given(frame=frames(max_rows=8, max_columns=6))
def test_a_table_gives_its_frame_back_or_the_proof_says_how_it_differs_in_the_long_run(
    rules, frame
):
    check_property(rules, frame)


@pytest.mark.parametrize("rules", [TEXT_ONLY, IDENTIFIERS], ids=["text", "identifiers"])
def test_a_table_of_text_holds_strings_only_under_unique_labels(rules):
    for make in NAMED_FRAMES.values():
        try:
            table, _ = to_table(make(), rules)
        except UnkeepableError:
            continue
        assert table.columns.is_unique
        assert set(table.dtypes) == {pd.StringDtype(na_value=np.nan)}
        assert not table.isna().any(axis=None)


def test_text_is_readable():
    frame = pd.DataFrame(
        {
            "day": pd.to_datetime(["2024-02-29", None]),
            "instant": pd.to_datetime(
                ["2024-02-29 12:00:00.5", "2024-03-01"], format="ISO8601"
            ).tz_localize("UTC"),
            "span": pd.to_timedelta([90, 60], unit="s"),
            "number": [1.0, 0.1 + 0.2],
            "group": pd.Categorical(["a", None]),
            "list": [[1, "x"], []],
            "bytes": [b"\x00\xff", b""],
        }
    )
    table, _ = to_table(frame, TEXT_ONLY)
    assert table.to_dict("list") == {
        "day": ["2024-02-29", ""],
        "instant": ["2024-02-29T12:00:00.500+00:00", "2024-03-01T00:00:00.000+00:00"],
        "span": ["90 s", "60 s"],
        "number": ["1.0", "0.30000000000000004"],
        "group": ["a", ""],
        "list": ['[1, "x"]', "[]"],
        "bytes": ["00ff", ""],
    }


def test_a_missing_cell_differs_from_every_text_and_from_other_kinds_of_missing():
    frame = pd.DataFrame(
        {"x": pd.Series(["", "<NA>", "NaN", None, np.nan, pd.NA], dtype=object)}
    )
    table, schema = to_table(frame, TEXT_ONLY)
    assert table["x"].tolist() == ["", "<NA>", "NaN", "None", "NULL", "missing"]
    assert schema["columns"][0]["missing"] == [
        ["None", "none"],
        ["NULL", "nan"],
        ["missing", "NA"],
    ]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        ([1, "1"], ["1", "1_1"]),
        (["a", "a", "a_1"], ["a", "a_1", "a_1_1"]),
        (pd.MultiIndex.from_tuples([("x", 1), ("x", 2)]), ["x_1", "x_2"]),
    ],
)
def test_labels_become_unique_strings(labels, expected):
    frame = pd.DataFrame([range(len(labels))], columns=labels)
    assert to_table(frame, TEXT_ONLY)[0].columns.tolist() == expected


def test_labels_become_identifiers_where_they_must():
    frame = pd.DataFrame([range(4)], columns=["1 a", "", "x" * 40, "x" * 41])
    assert to_table(frame, IDENTIFIERS)[0].columns.tolist() == [
        "_1_a",
        "_",
        "x" * 32,
        "x" * 24 + "_1",
    ]


def test_only_an_index_that_says_something_becomes_a_column():
    frame = pd.DataFrame({"x": [1, 2]})
    assert to_table(frame, NUMBERS)[0].columns.tolist() == ["x"]
    assert to_table(frame, NUMBERS, with_default_index=True)[0].columns.tolist() == [
        "index",
        "x",
    ]
    assert to_table(frame.set_axis([5, 7]), NUMBERS)[0].columns.tolist() == [
        "index",
        "x",
    ]
    assert to_table(frame[[]], NUMBERS)[0].columns.tolist() == ["index"]


@pytest.mark.parametrize("rules", [TEXT_ONLY, NUMBERS])
def test_the_list_of_categories_keeps_its_name(rules):
    categories = pd.Index(["b", "a"], name="w")
    frame = pd.DataFrame({"x": pd.Categorical(["a", None, "b"], categories)})
    table, schema = to_table(frame, rules)
    back = from_table(cells_of(table), schema)
    assert difference(frame, back) is None
    assert back["x"].cat.categories.name == "w"


class TestManyCategories:
    values = tuple(f"{i:06d}" for i in range(10_001))

    def test_are_found_again_in_the_data_where_they_are_sorted_and_used(self):
        frame = pd.DataFrame({"x": pd.Categorical(self.values[::-1])})
        table, schema = to_table(frame, TEXT_ONLY)
        assert len(json.dumps(schema)) < 1_000
        assert difference(frame, from_table(cells_of(table), schema)) is None

    @pytest.mark.parametrize(
        "categories", [values[::-1], [*values, "z"]], ids=["unsorted", "unused"]
    )
    def test_are_refused_otherwise(self, categories):
        frame = pd.DataFrame({"x": pd.Categorical(self.values, categories=categories)})
        with pytest.raises(UnkeepableError, match=r"10,00\d categories are too many"):
            to_table(frame, TEXT_ONLY)


def test_a_schema_of_an_earlier_version_has_no_levels():
    frame = pd.DataFrame(
        {"x": [1, 2, 3]},
        index=pd.MultiIndex.from_tuples([("b", 2), ("a", 1), ("b", 1)]),
    )
    table, schema = to_table(frame, TEXT_ONLY)
    schema["index"]["multi"] = True
    assert difference(frame, from_table(cells_of(table), schema)) is None


def test_a_part_of_a_concatenation_with_keys_keeps_the_ranges_in_its_index():
    two = pd.DataFrame({"a": [1, 2, 3]})
    many = pd.DataFrame({"a": range(10_002)})
    for part in (
        pd.concat([two, two], keys=[1, 2]).query("a < 3"),
        pd.concat([two, two], keys=[1, 2]).loc[[2]],
        pd.concat([many, many], keys=[1, 2]).query("a in (5, 10_000)"),
        pd.concat([two, two], keys=[1, 2]).query("a < 3").T,
    ):
        labels = part.index if part.index.nlevels == 2 else part.columns
        assert any(isinstance(level, pd.RangeIndex) for level in labels.levels)
        for rules in (TEXT_ONLY, NUMBERS, IDENTIFIERS):
            back = through_table(part, rules)
            assert difference(part, back) is None
        if labels is part.index:
            pd.testing.assert_frame_equal(part.unstack(0), back.unstack(0))


def test_attrs_are_kept_as_json_or_refused():
    frame = pd.DataFrame({"x": [1]})
    frame.attrs["source"] = {"url": "x", "rows": [1, None]}
    assert through_table(frame, TEXT_ONLY).attrs == frame.attrs
    frame.attrs["source"] = (1, 2)
    with pytest.raises(
        UnkeepableError, match=r"attrs\['source'\] would change in JSON"
    ):
        to_table(frame, TEXT_ONLY)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([["1", "2"]], "1 columns of"),
        ([["1"], ["2"]], "2 columns of \\[1\\] rows, not the 2 columns of 2 rows"),
        ([["1", "x"], ["a", "b"]], "does not hold what the schema says"),
        ([["1", "2"], ["a", "other"]], "'other', which is no category"),
    ],
)
def test_a_table_that_does_not_fit_its_schema_is_refused(cells, message):
    frame = pd.DataFrame({"x": [1, 2], "y": pd.Categorical(["a", "b"])})
    _, schema = to_table(frame, TEXT_ONLY)
    with pytest.raises(UnkeepableError, match=message):
        from_table([np.array(column, dtype=object) for column in cells], schema)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([1], [1.0], "column 'x': int64 comes back as float64"),
        ([0.0], [-0.0], "column 'x': a zero loses its sign"),
        ([0j], [-0j], "column 'x': a zero loses its sign"),
        ([1.0], [1.0 + 2**-52], "column 'x': other values come back"),
        ([None, "a"], [np.nan, "a"], "column 'x': other"),
        ([[1], 1], [(1,), 1], "column 'x': other"),
        ([1, "a"], [True, "a"], "column 'x': other objects come back"),
        ([1], [1, 2], "1 rows and 1 columns come back as 2 and 1"),
    ],
)
def test_a_difference_is_seen_where_pandas_would_not_see_it(left, right, expected):
    def frame(values):
        plain = all(isinstance(value, int | float | complex) for value in values)
        return pd.DataFrame({"x": pd.Series(values, dtype=None if plain else object)})

    assert difference(frame(left), frame(left)) is None
    assert difference(frame(left), frame(right)).startswith(expected)


@pytest.mark.parametrize(
    ("index", "other", "expected"),
    [
        (pd.Index([1, 2], name="a"), pd.Index([1, 2]), "the index: the names"),
        (pd.RangeIndex(2), pd.MultiIndex.from_arrays([[0, 1], [0, 1]]), "the index: the names"),
        (pd.date_range("2024", periods=2), pd.DatetimeIndex(["2024-01-01", "2024-01-02"]), "the index: the freq"),
        (pd.Index(["a", "b"]), pd.Index(["a", "b"], dtype=object), "the index: str comes back as object"),
        (LEVELS, LEVELS.set_levels(["a", "b", "c"], level=0), "the index: its levels"),
        (LEVELS, pd.MultiIndex(levels=[["b", "a"], [1, 2]], codes=[[1, 0], [0, 1]]), "the index: its levels"),
        (ZONE, ZONE.tz_convert("Europe/Paris"), "the index: its time zone"),
    ],
)  # fmt: skip
def test_a_difference_of_indexes_is_seen(index, other, expected):
    frame = pd.DataFrame({"x": [1, 2]})
    assert difference(frame.set_axis(index), frame.set_axis(other)).startswith(expected)


@pytest.mark.parametrize(
    "name", [module.name for module in pkgutil.iter_modules(room.__path__)]
)
def test_the_examples_in_the_docstrings_run(name):
    module = importlib.import_module(f"{room.__name__}.{name}")
    results = doctest.testmod(module)
    assert results.failed == 0
    assert results.attempted > 0 or name == "base"


class TestManyColumns:
    """Each of 2,000 columns costs pandas 60 microseconds for every look at it."""

    frame = pd.DataFrame({f"x{i}": [1.5, np.nan] for i in range(200)})

    def test_of_numbers_are_written_without_a_look_at_each(self, monkeypatch):
        monkeypatch.setattr(table_module, "encode_column", None)
        for name in ("parquet", "feather", "csv", "hdf"):
            rules = FILE_TYPES[name].rules
            table, schema = to_table(self.frame, rules)
            assert table.shape == (2, 200)
            assert schema["columns"] == [{"dtype": "float64"}] * 200
        with pytest.raises(TypeError):
            to_table(self.frame.astype("float16"), rules)

    def test_lie_together_in_memory_that_can_be_written(self):
        file = io.BytesIO()
        encoded = frame_format("parquet", "x.parquet").encode(self.frame, file)
        back = frame_format("parquet", "x.parquet").decode(
            file.getvalue(), encoded.schema
        )
        values = back.to_numpy()  # a view, as all columns are one block
        assert values.base is not None
        assert np.shares_memory(values, back["x7"].to_numpy())
        back.loc[0, "x7"] = 2.5
        assert back["x7"].tolist() == [2.5, pytest.approx(np.nan, nan_ok=True)]
