"""Every file type gives frames back as they were, or refuses them with words."""

import datetime
import io
import json
import pickle
import zoneinfo

import dateutil.tz
import numpy as np
import pandas as pd
import pendulum
import pytest
import pytz
from hypothesis import HealthCheck, given, settings

from prefect_ds import PandasResultHandler
from prefect_ds.errors import (
    DamagedCheckpointError,
    ResultTypeError,
    RoundTripError,
)
from prefect_ds.file_types import frame_format as formats
from prefect_ds.file_types.frame_format import frame_format
from prefect_ds.frames.compare import difference
from tests.support.formats import (
    DATES,
    PATHS,
    encode,
    format_of,
)
from tests.support.frame_strategies import NAMED_FRAMES, frames
from tests.support.scale import SCALE, some

# Beside these, every file type keeps every named frame.
REFUSED_BY_ALL_BUT_PICKLE = {
    "numpy arrays",
    "own objects",
    "labels own objects",
    "DatetimeIndex, own freq",
}
REFUSED = {
    "csv": {"str nul"} if pd.__version__.startswith("3.0.") else set(),  # its parser ends a text there
    "json": set(),
    "parquet": set(),
    "feather": set(),
    "orc": set(),
    "excel": {"str control characters", "str nul"},
    "ods": {"str control characters", "str nul", "str carriage returns", "str like NA"},
    "hdf": {"str nul"},
    "html": {
        "str newlines and tabs", "str carriage returns", "str blanks", "str nul",
        # a row of nothing but empty text
        "str empty and missing", "category like NA", "category of empty text",
        "bytes", "object of str", "one empty cell",
    },
    "xml": {"str control characters", "str nul"},
    "stata": {"str nul"},
}  # fmt: skip


def through_file(frame, frame_format):
    """Return the frame that a later process reads."""
    encoded, data = encode(frame, frame_format)
    schema = encoded.schema and json.loads(json.dumps(encoded.schema, allow_nan=False))
    return pickle.loads(pickle.dumps(frame_format)).decode(data, schema)


def outcome(make_frame, name):
    """Return "kept", "refused", or how the frame that a later process reads differs."""
    frame = make_frame()
    try:
        back = through_file(frame, format_of(name))
    except RoundTripError as error:
        return "refused" if "does not keep" in str(error) else str(error)
    pd.testing.assert_frame_equal(
        make_frame(), back, check_exact=True, obj=f"the frame from {name}"
    )
    return difference(frame, back) or "kept"


class TestNamedFrames:
    # All file types in one test: a test of its own for each of a thousand pairs costs
    # as much as what it does.
    @pytest.mark.parametrize("frame_name", NAMED_FRAMES)
    def test_comes_back_or_is_refused_as_the_table_says(self, frame_name):
        is_large = frame_name == "MultiIndex of many"
        names = some(list(REFUSED), 4) if is_large else list(REFUSED)
        outcomes = {name: outcome(NAMED_FRAMES[frame_name], name) for name in names}
        assert outcomes == {
            name: "refused"
            if frame_name in REFUSED_BY_ALL_BUT_PICKLE | refused
            else "kept"
            for name, refused in REFUSED.items()
            if name in names
        }

    @pytest.mark.parametrize("frame_name", NAMED_FRAMES)
    def test_comes_back_from_a_pickle(self, frame_name):
        frame = NAMED_FRAMES[frame_name]()
        encoded, data = encode(frame, format_of("pickle"))
        assert encoded.schema is None
        if "own objects" not in frame_name:  # each is equal only to itself
            assert encoded.frame is frame
            pd.testing.assert_frame_equal(
                frame, format_of("pickle").decode(data, None), check_exact=True
            )


def check_property(name, frame):
    copy = frame.copy(deep=True)
    frame_format = format_of(name)
    try:
        encoded, data = encode(frame, frame_format)
    except RoundTripError:
        return
    assert difference(copy, frame) is None, "the frame was changed"
    back = frame_format.decode(data, encoded.schema)
    pd.testing.assert_frame_equal(encoded.frame, back, check_exact=True)
    assert encoded.frame is frame


PROPERTY = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("name", PATHS)
@settings(PROPERTY, max_examples=6)
@given(frame=frames())
def test_any_frame_comes_back_or_is_refused(name, frame):
    check_property(name, frame)


@pytest.mark.slow
@pytest.mark.parametrize("name", PATHS)
@settings(PROPERTY, max_examples=50 * SCALE)
@given(frame=frames(max_rows=8, max_columns=6))
def test_any_frame_comes_back_or_is_refused_in_the_long_run(name, frame):
    check_property(name, frame)


@pytest.mark.parametrize("name", ["csv", "json"])
def test_a_large_frame_comes_back(name):
    """More rows than a reader takes at once, and a row longer than most."""
    rows = 60_000
    frame = pd.DataFrame(
        {
            "i": np.arange(rows) - 2**62,
            "x": np.where(np.arange(rows) % 7, np.arange(rows) / 3, np.nan),
            "s": pd.Series(
                ["007", "", None, 'a "b",\n', "x" * 3_000_000] + ["7"] * (rows - 5),
                dtype="str",
            ),
            "day": pd.Series(np.arange(rows).astype("M8[D]").astype("M8[us]")).where(
                np.arange(rows) > 9
            ),
            "instant": pd.date_range(
                "2024-01-01", periods=rows, freq="h", tz="Europe/Paris", unit="ns"
            ),
            "few": pd.Categorical.from_codes(np.arange(rows) % 4 - 1, ["1", "", "é"]),
            "many": pd.Categorical([f"{i % 15_000:05}" for i in range(rows)]),
        }
    )
    assert outcome(lambda: frame, name) == "kept"


class TestWhatIsWritten:
    frame = pd.DataFrame({"id": [1, 2], "x": [0.1 + 0.2, np.nan], "s": ["a,b", None]})

    def test_csv_is_what_a_person_would_write(self):
        assert (
            encode(self.frame, format_of("csv"))[1]
            == b'id,x,s\n1,0.30000000000000004,"a,b"\n2,,\n'
        )

    def test_json_is_a_list_of_records_with_exact_numbers(self):
        data = encode(self.frame, format_of("json"))[1]
        assert data.split(b"\n")[0] == b'[{"id":1,"x":0.30000000000000004,"s":"a,b"},'
        assert json.loads(data) == self.frame.astype(object).where(
            self.frame.notna(), None
        ).to_dict("records")

    @pytest.mark.parametrize(
        "name",
        ["csv", "json", "parquet", "feather", "orc", "xml", "stata", "excel", "ods"],
    )
    def test_plain_pandas_reads_the_same_numbers(self, name):
        data = encode(self.frame[["id", "x"]], format_of(name))[1]
        read = getattr(pd, f"read_{'excel' if name == 'ods' else name}")
        options = {"precise_float": True} if name == "json" else {}
        pd.testing.assert_frame_equal(
            read(io.BytesIO(data), **options),
            self.frame[["id", "x"]],
            check_dtype=False,
        )

    def test_plain_pandas_finds_the_index_of_a_parquet_file(self):
        frame = self.frame.set_index(
            pd.DatetimeIndex(["2024-01-01", "2024-01-02"], name="day")
        )
        data = encode(frame, format_of("parquet"))[1]
        pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(data)), frame)

    def test_text_that_looks_like_a_formula_stays_text_in_excel(self):
        from openpyxl import load_workbook

        data = encode(pd.DataFrame({"x": ["=1+1"]}), format_of("excel"))[1]
        assert load_workbook(io.BytesIO(data)).active["A2"].data_type == "s"

    @pytest.mark.parametrize("name", sorted(PATHS.keys() - {"excel", "ods"}))
    def test_equal_frames_give_equal_bytes(self, name):
        assert (
            encode(self.frame, format_of(name))[1]
            == encode(self.frame.copy(), format_of(name))[1]
        )

    @pytest.mark.parametrize(
        ("name", "ending"),
        [("csv", "csv"), ("json", "json"), ("pickle", "pkl"), ("stata", "dta")],
    )
    def test_two_files_of_one_frame_have_the_same_bytes(self, name, ending, tmp_path):
        path = f"{tmp_path}/{{number}}.{ending}.gz"
        handler = PandasResultHandler(path, name)
        for number in (1, 2):
            handler.write(DATES, number=number)

        contents = {
            handler.manifest(f"{tmp_path}/{number}.{ending}.gz").content
            for number in (1, 2)
        }
        assert len(contents) == 1

    @pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zst", ".zip"])
    @pytest.mark.parametrize("name", ["csv", "json", "xml", "stata", "pickle"])
    def test_the_path_says_how_it_is_compressed(self, name, ending, tmp_path):
        frame_format_ = frame_format(name, f"{{day}}.{name}{ending}")
        path = tmp_path / f"x.{name}{ending}"
        with path.open("w+b") as file:
            schema = frame_format_.encode(self.frame, file).schema
        pd.testing.assert_frame_equal(
            frame_format_.decode(path.read_bytes(), schema), self.frame
        )
        assert len(getattr(pd, f"read_{name}")(path)) == 2

    def test_a_certain_parquet_write_is_not_read_back(self, monkeypatch):
        monkeypatch.setattr(formats, "_content", None)
        encode(self.frame, format_of("parquet"))
        with pytest.raises(TypeError):
            encode(self.frame.assign(x=[[1], [2]]), format_of("parquet"))


class TestErrors:
    def test_name_the_column_the_file_type_and_those_that_keep_it(self):
        frame = pd.DataFrame({"a": ["x"], "b": ["\x01"]})
        with pytest.raises(
            RoundTripError,
            match=r"type 'excel' does not keep column 'b' \(dtype str\) .*keep it: parquet, feather, json, csv, pickle",
        ):
            encode(frame, format_of("excel"))

    def test_name_the_index_or_the_labels(self):
        with pytest.raises(RoundTripError, match="does not keep the index"):
            encode(pd.DataFrame({"a": [1]}, index=["\x00"]), format_of("stata"))
        with pytest.raises(RoundTripError, match="does not keep the column labels"):
            encode(pd.DataFrame([[1]], columns=[object()]), format_of("csv"))

    @pytest.mark.parametrize(
        ("value", "hint"),
        [
            ([1], r"builtins.list: keep it with ObjectResultHandler\('x.json'\)"),
            (None, "NoneType: keep it with MarkerResultHandler"),
            (object(), r"builtins.object: keep it with ObjectResultHandler\('x.pkl'\)"),
        ],
    )
    def test_say_what_to_return_instead(self, value, hint):
        with pytest.raises(ResultTypeError, match=hint):
            encode(value, format_of("csv"))

    def test_refuse_a_subclass_that_would_come_back_as_a_plain_frame(self):
        class Table(pd.DataFrame):
            pass

        with pytest.raises(RoundTripError, match="a Table comes back as a DataFrame"):
            encode(Table({"x": [1]}), format_of("parquet"))

    def test_name_the_class_and_not_a_column_with_what_to_do(self):
        with pytest.raises(
            RoundTripError,
            match=r"keep the class Table \(a Table comes back as a DataFrame\); return "
            r"pandas.DataFrame\(frame\) .*keep it: pickle",
        ):
            encode(Table({"x": [1], "s": ["a"]}), format_of("csv"))

    def test_of_the_file_itself_stay_what_they_are(self):
        class Full(io.BytesIO):
            def write(self, data):
                raise OSError(28, "No space left on device")

        for name in (
            "csv",
            "json",
            "parquet",
            "feather",
            "orc",
            "excel",
            "hdf",
            "html",
            "xml",
            "pickle",
        ):
            with pytest.raises(OSError, match="No space left"):
                format_of(name).encode(DATES, Full())


class Table(pd.DataFrame):
    @property
    def _constructor(self):
        return Table


class Unpicklable:
    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        raise TypeError("not this one")


class Uncopyable:
    def __deepcopy__(self, memo):
        raise TypeError("there is one of it")


class TestAttrs:
    def frame(self, **attrs):
        frame = pd.DataFrame({"x": [[1], [2]], "y": [1.5, np.nan]})
        frame.attrs.update(source={"url": "x", "rows": [1, None]}, **attrs)
        return frame

    @pytest.mark.parametrize("name", PATHS)
    def test_that_are_json_are_kept_by_every_type(self, name):
        frame = self.frame()
        encoded, data = encode(frame, format_of(name))
        assert encoded.note == ""
        assert format_of(name).decode(data, encoded.schema).attrs == frame.attrs

    @pytest.mark.parametrize(
        "value",
        [np.arange(3), pd.Timestamp("2024"), (1, 2), pd.DataFrame({"a": [1]}), {3: 4}],
        ids=["array", "time", "tuple", "frame", "key"],
    )
    def test_that_are_no_json_are_named_by_all_but_pickle(self, value):
        frame = self.frame(weights=value)
        for name in sorted(PATHS.keys() - {"pickle"}):
            with pytest.raises(
                RoundTripError,
                match=r"keep attrs\['weights'\] \((cannot be kept as|would change in) "
                r"JSON.*frame.attrs.*keep it: pickle",
            ):
                encode(frame, format_of(name))
        encoded, data = encode(frame, format_of("pickle"))
        assert encoded.frame is frame
        assert encoded.note == ""
        assert difference(frame, format_of("pickle").decode(data, None)) is None

    def test_that_cannot_be_copied_or_pickled_are_named_by_every_type(self):
        for name in PATHS:
            with pytest.raises(RoundTripError, match=r"attrs\['lock'\].*be copied"):
                encode(self.frame(lock=Uncopyable()), format_of(name))
        with pytest.raises(RoundTripError, match=r"attrs\['make'\] is at fault"):
            encode(self.frame(make=Unpicklable()), format_of("pickle"))
        encoded, _ = encode(self.frame(make=lambda: 7), format_of("pickle"))
        assert encoded.frame.attrs["make"]() == 7

    def test_are_named_where_pandas_writes_as_the_user_says(self):
        columns = {"read_kwargs": {"columns": ["y"]}}
        with pytest.raises(RoundTripError, match=r"attrs\['weights'\] is at fault"):
            encode(self.frame(weights=np.arange(3)), format_of("parquet", **columns))
        encoded, _ = encode(self.frame(), format_of("parquet", **columns))
        assert encoded.frame.attrs == self.frame().attrs

    def test_that_change_are_seen(self):
        frame, other = self.frame(weights=np.arange(3)), self.frame(weights=[0, 1, 2])
        assert difference(frame, other) == "attrs['weights'] changes"
        assert difference(frame, self.frame()) == "its attrs change"
        assert difference(frame, self.frame(weights=np.arange(3))) is None
        other = self.frame(weights=np.arange(3.0))
        assert difference(frame, other) == "attrs['weights'] changes"


def zones():
    hour = datetime.timedelta(hours=1)
    return {
        "pendulum UTC": pendulum.now("UTC").tzinfo,
        "pendulum Paris": pendulum.timezone("Europe/Paris"),
        "pendulum offset": pendulum.parse("2024-01-01T00:00:00+02:00").tzinfo,
        "dateutil UTC": dateutil.tz.tzutc(),
        "dateutil Paris": dateutil.tz.gettz("Europe/Paris"),
        "dateutil offset": dateutil.tz.tzoffset("X", 3600),
        "dateutil offset without a name": dateutil.tz.tzoffset(None, 5400),
        "datetime offset": datetime.timezone(hour),
        "datetime offset with a name": datetime.timezone(hour, "CET"),
        "datetime offset of seconds": datetime.timezone(datetime.timedelta(seconds=61)),
        "pytz offset": pytz.FixedOffset(60),
        "pytz Paris": pytz.timezone("Europe/Paris"),
        "Python's Paris": zoneinfo.ZoneInfo("Europe/Paris"),
    }


@pytest.mark.parametrize("name", ["parquet", "feather", "orc", "csv", "json", "excel"])
def test_time_zones_of_every_library_come_back_as_they_are(name):
    for zone in zones().values():
        times = pd.to_datetime(["2024-01-01 12:00", None]).tz_localize(zone)
        frame = pd.DataFrame({"t": times, "c": pd.Categorical(times)}, index=times)
        back = through_file(frame, format_of(name))
        assert difference(frame, back) is None
        dtypes = [back["t"].dtype, back["c"].cat.categories.dtype, back.index.dtype]
        for dtype in dtypes:
            assert (type(dtype.tz), repr(dtype.tz)) == (type(zone), repr(zone))


def test_a_time_zone_without_a_name_is_refused_with_what_to_do():
    class OwnZone(datetime.tzinfo):
        def utcoffset(self, when):
            return datetime.timedelta(hours=1)

        def dst(self, when):
            return datetime.timedelta(0)

    times = pd.to_datetime(["2024-01-01"]).tz_localize(OwnZone())
    with pytest.raises(
        RoundTripError, match=r"column 't' .*convert it first, as by .dt.tz_convert"
    ):
        encode(pd.DataFrame({"t": times}), format_of("parquet"))


class TestDecode:
    @pytest.mark.parametrize("name", sorted(PATHS.keys() - {"pickle"}))
    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: b"",
            lambda data: b"\x00junk",
            lambda data: data[: len(data) // 2],
        ],
    )
    def test_of_other_bytes_says_that_they_do_not_fit(self, name, damage):
        encoded, data = encode(DATES, format_of(name))
        with pytest.raises(
            DamagedCheckpointError,
            match=f"no {'excel' if name == 'ods' else name} file that fits",
        ):
            format_of(name).decode(damage(data), encoded.schema)

    @pytest.mark.parametrize("name", sorted(PATHS))
    def test_without_a_schema_reads_what_a_person_put_there(self, name, tmp_path):
        path = tmp_path / PATHS[name]
        frame = pd.DataFrame({"x": [1, 2]})
        kind = "excel" if name == "ods" else name
        options = (
            {"key": "k"}
            if name == "hdf"
            else {"write_index": False}
            if name == "stata"
            else {}
        )
        options |= (
            {"index": False} if name in ("csv", "excel", "ods", "html", "xml") else {}
        )
        getattr(frame, f"to_{kind}")(
            str(path), **options
        )  # pandas takes a Path for xlsx, whatever its ending
        pd.testing.assert_frame_equal(
            format_of(name).decode(path.read_bytes(), None),
            frame,
            check_dtype=name != "stata",
        )

    def test_of_a_file_that_holds_no_frame_says_so(self):
        with pytest.raises(
            ValueError, match="gives a list, where a DataFrame is needed"
        ):
            format_of("pickle").decode(pickle.dumps([1]), None)
        with pytest.raises(ValueError, match="holds 2 tables; choose one by 'match'"):
            format_of("html").decode(DATES.to_html().encode() * 2, None)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("fill", [0, np.int64(0), 0.5, np.float64(0.5), np.nan, False])
def test_a_sparse_column_comes_back_with_its_fill_value(name, fill):
    cells = pd.arrays.SparseArray([fill, fill], fill_value=fill)
    frame = pd.DataFrame({"x": cells})
    back = through_file(frame, format_of(name))
    assert repr(back["x"].dtype) == repr(frame["x"].dtype)
    assert type(back["x"].dtype.fill_value) is type(fill)
