"""File types and keyword arguments for pandas: what they do, and which are refused."""

import pandas as pd
import pytest

from prefect_ds.errors import (
    FileTypeError,
    RoundTripError,
)
from prefect_ds.file_types.frame_format import FILE_TYPES, frame_format
from tests.support.formats import (
    DATES,
    encode,
    format_of,
)


class TestKeywordArguments:
    @pytest.mark.parametrize(
        ("name", "write", "read"),
        [
            ("csv", {"sep": ";", "decimal": ","}, {}),
            ("csv", {"sep": "\t", "encoding": "utf-16"}, {}),
            ("csv", {"quotechar": "'", "lineterminator": "\r\n"}, {}),
            ("csv", {"quoting": 1}, {"engine": "python"}),
            ("csv", {"quoting": 3, "escapechar": "\\"}, {}),
            ("csv", {"compression": "gzip"}, {}),
            ("csv", {"na_rep": "NULL", "index": False}, {}),
            ("csv", {"sep": "|"}, {"delimiter": "|"}),
            ("csv", {"index": True}, {}),
            ("json", {"orient": "split"}, {}),
            ("json", {"orient": "columns", "indent": 2}, {}),
            ("json", {"orient": "index"}, {}),
            ("json", {"orient": "values", "force_ascii": True}, {}),
            ("json", {"orient": "records", "lines": True}, {}),
            (
                "parquet",
                {"compression": "zstd", "row_group_size": 1, "use_dictionary": True},
                {},
            ),
            ("parquet", {"engine": "pyarrow", "index": True}, {"engine": "pyarrow"}),
            ("feather", {"compression": "uncompressed"}, {"use_threads": False}),
            ("orc", {"engine_kwargs": {"compression": "zstd"}}, {}),
            ("excel", {"sheet_name": "data", "freeze_panes": (1, 0)}, {}),
            ("hdf", {"key": "mine", "complevel": 5}, {}),
            ("html", {"classes": "wide", "border": 0}, {}),
            ("xml", {"root_name": "days", "row_name": "day", "parser": "etree"}, {}),
            ("stata", {"version": 119}, {}),
        ],
    )
    def test_about_syntax_keep_everything(self, name, write, read):
        frame_format = format_of(name, write_kwargs=write, read_kwargs=read)
        encoded, data = encode(DATES, frame_format)
        assert (encoded.frame is DATES, encoded.note) == (True, "")
        pd.testing.assert_frame_equal(frame_format.decode(data, encoded.schema), DATES)

    def test_show_in_the_file(self):
        assert (
            encode(DATES, format_of("csv", write_kwargs={"sep": ";", "decimal": ","}))[
                1
            ].split()[1]
            == b"2024-01-01;0,123;007"
        )
        assert (
            encode(DATES, format_of("csv", write_kwargs={"na_rep": "NULL"}))[1].split()[
                2
            ]
            == b"2024-01-02,7.0,NULL"
        )
        assert (
            encode(DATES, format_of("csv", write_kwargs={"index": True}))[1].split()[0]
            == b"index,day,x,s"
        )

    @pytest.mark.parametrize(
        ("name", "write", "read", "note"),
        [
            (
                "csv",
                {},
                {"usecols": ["x"]},
                "2 rows and 3 columns come back as 2 and 1",
            ),
            (
                "csv",
                {},
                {"dtype": {"x": str}},
                "column 'day': datetime64[us] comes back as str",
            ),
            (
                "csv",
                {},
                {"index_col": 0},
                "column 'day': datetime64[us] comes back as str",
            ),
            (
                "csv",
                {"float_format": "%.1f"},
                {"parse_dates": ["day"], "dtype": {"s": str}},
                "column 'x': other values",
            ),
            (
                "csv",
                {"columns": ["x"]},
                {},
                "2 rows and 3 columns come back as 2 and 1",
            ),
            ("csv", {"header": False}, {"header": None}, "the column labels:"),
            (
                "csv",
                {"date_format": "%d.%m.%Y"},
                {},
                "column 'day': datetime64[us] comes back as str",
            ),
            ("json", {"orient": "table"}, {}, ""),
            (
                "json",
                {"double_precision": 1},
                {"dtype": {"s": str}, "convert_dates": ["day"]},
                "",
            ),
            (
                "parquet",
                {},
                {"columns": ["s"]},
                "2 rows and 3 columns come back as 2 and 1",
            ),
            (
                "parquet",
                {"coerce_timestamps": "ms"},
                {},
                "column 'day': datetime64[us] comes back as datetime64[ms]",
            ),
            ("excel", {"startrow": 2}, {"skiprows": 2, "dtype": {"s": str}}, ""),
            (
                "html",
                {},
                {"converters": {"s": str}},
                "column 'day': datetime64[us] comes back as str",
            ),
        ],
    )
    def test_about_content_make_the_plain_readers_answer_the_result(
        self, name, write, read, note
    ):
        frame_format = format_of(name, write_kwargs=write, read_kwargs=read)
        encoded, data = encode(DATES, frame_format)
        assert encoded.schema is None
        assert note in encoded.note
        pd.testing.assert_frame_equal(frame_format.decode(data, None), encoded.frame)

    def test_that_change_nothing_leave_the_frame(self):
        encoded, _ = encode(
            DATES,
            format_of("csv", read_kwargs={"parse_dates": ["day"], "dtype": {"s": str}}),
        )
        assert (encoded.frame is DATES, encoded.schema, encoded.note) == (
            True,
            None,
            "",
        )

    def test_that_leave_out_an_index_are_obeyed(self):
        frame = DATES[["x"]].set_axis(["a", "b"])
        encoded, data = encode(frame, format_of("csv", write_kwargs={"index": False}))
        assert data == b"x\n0.123\n7.0\n"
        assert encoded.note.startswith("the index:")
        pd.testing.assert_frame_equal(encoded.frame, DATES[["x"]])

    @pytest.mark.parametrize(
        ("name", "write", "read", "message"),
        [
            ("csv", {"sepp": ";"}, {}, "'sepp', which pandas.DataFrame.to_csv does not take; did you mean 'sep'"),
            ("csv", {"path_or_buf": "x"}, {}, "write_kwargs may not have 'path_or_buf'"),
            ("csv", {}, {"chunksize": 5}, "read_kwargs may not have 'chunksize'"),
            ("parquet", {"partition_cols": ["x"]}, {}, "write_kwargs may not have 'partition_cols'"),
            ("parquet", {"row_groupsize": 5}, {}, "did you mean 'row_group_size'"),
            ("csv", {"seperator": ";"}, {}, "did you mean 'sep'"),
            ("csv", {}, {"Separator": ";"}, "did you mean 'sep'"),
            ("csv", {"delimeter": ";"}, {}, "did you mean 'sep'"),
            ("csv", {}, {"delimeter": ";"}, "did you mean 'delimiter'"),
            ("csv", {"line_terminator": "\n"}, {}, "did you mean 'lineterminator'"),
            ("csv", {}, {"null_values": ["-"]}, "did you mean 'na_values'"),
            ("csv", {}, {"dtypes": {}}, "did you mean 'dtype'"),
            ("excel", {"sheet": "x"}, {}, "did you mean 'sheet_name'"),
            ("json", {}, {"typ": "series"}, "read_kwargs may not have 'typ'"),
            ("hdf", {"mode": "a"}, {}, "write_kwargs may not have 'mode'"),
        ],
    )  # fmt: skip
    def test_that_pandas_does_not_take_are_refused_at_once(
        self, name, write, read, message
    ):
        with pytest.raises(TypeError, match=message):
            format_of(name, write_kwargs=write, read_kwargs=read)

    @pytest.mark.parametrize(
        ("name", "write", "read"),
        [
            ("csv", {"sep": "long"}, {}),
            ("csv", {"sep": ";"}, {"sep": "|", "quoting": 3}),
            ("csv", {"encoding": "no-such"}, {}),
            ("parquet", {"compression": "no-such"}, {}),
            ("json", {"orient": "no-such"}, {}),
            ("json", {"lines": True, "orient": "split"}, {}),
        ],
    )
    def test_with_impossible_values_are_refused_at_once(self, name, write, read):
        with pytest.raises(
            ValueError, match=f"file type '{name}' does not work with write_kwargs="
        ):
            format_of(name, write_kwargs=write, read_kwargs=read)

    def test_that_name_no_column_of_the_frame_are_named(self):
        with pytest.raises(
            RoundTripError, match=r"write_kwargs={'columns': \['y'\]}.*KeyError"
        ):
            encode(DATES, format_of("csv", write_kwargs={"columns": ["y"]}))


class TestFileTypes:
    def test_are_those_that_pandas_writes_to_and_reads_from_a_path(self):
        no_path = {"clipboard", "sql", "iceberg"}
        pairs = {
            name[3:]
            for name in dir(pd.DataFrame)
            if name.startswith("to_") and hasattr(pd, f"read_{name[3:]}")
        }
        assert set(FILE_TYPES) == pairs - no_path

    def test_are_named_in_any_case(self):
        assert frame_format("Parquet", "x").file_type == "parquet"

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("sql", "no file at a path"), ("clipboard", "no file at a path"), ("iceberg", "no file at a path"),
            ("gbq", "since version 3"), ("fwf", "only reads"), ("sas", "only reads"), ("spss", "only reads"),
            ("latex", "only writes"), ("markdown", "only writes"), ("xls", "cannot write it"),
            ("xlsx", "called 'excel'"), ("tsv", "'sep'"), ("nonsense", "does not both write"),
            ("", "does not both write"),
        ],
    )  # fmt: skip
    def test_that_cannot_work_are_refused_with_a_reason_and_the_ones_that_work(
        self, name, why
    ):
        with pytest.raises(
            FileTypeError, match=f"{why}.* Use one of: csv, json, parquet, .*, pickle"
        ):
            frame_format(name, "x")

    @pytest.mark.parametrize("path", ["x.xls", "x.csv", "x"])
    def test_excel_needs_an_ending_that_pandas_can_write(self, path):
        with pytest.raises(FileTypeError, match=r"use one of: \.xlsx, \.xlsm, \.ods"):
            frame_format("excel", path)

    @pytest.mark.parametrize(
        ("name", "path", "package"),
        [
            ("excel", "x.xlsx", "openpyxl"),
            ("excel", "x.ods", "odfpy"),
            ("hdf", "x.h5", "tables"),
            ("xml", "x.xml", "lxml"),
        ],
    )
    def test_a_missing_package_is_named(self, name, path, package, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
        with pytest.raises(
            FileTypeError,
            match=f"'{name}' needs a missing package: pip install {package}",
        ):
            frame_format(name, path)

    @pytest.mark.parametrize(
        ("name", "hint"),
        [("parqet", "did you mean 'parquet'\\? Use one of: csv"), ("pkl", "called 'pickle'"), (".h5", "called 'hdf'")],
    )  # fmt: skip
    def test_that_nearly_are_there_are_named(self, name, hint):
        with pytest.raises(FileTypeError, match=hint):
            frame_format(name, "x")
