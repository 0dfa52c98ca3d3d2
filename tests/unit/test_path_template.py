"""What a path template promises: safe, readable and distinct paths, the same in every process."""

import doctest
import itertools
import os
import pickle
import posixpath
import subprocess
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path, PurePosixPath, PureWindowsPath
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from prefect_ds import path_template
from prefect_ds.errors import TemplateError
from prefect_ds.path_template import Field, PathTemplate, decode_text, encode_text
from prefect_ds.paths import encoding, fields

# Characters that mean something to a file system, a shell, fsspec, Unicode or this
# encoding; lone surrogates, too.
NASTY = "/\\.:%~_*?[]{}<>|\"'$&;!# \0\n\x7f\u202e\u200d\u0301\ud800\udc00é\u1100\u1161\uac00ﬁ²٣😀aAbBconulCOM1"
TEXTS = st.one_of(
    st.text(st.characters()),
    st.text(st.sampled_from(NASTY), max_size=12),
    st.text(st.sampled_from(["a", "é", "/", "\0", "😀"]), min_size=100, max_size=400),
)
property_test = settings(
    derandomize=True, deadline=None, max_examples=300, database=None
)


class Plain(Enum):
    RED = object()


class Name(StrEnum):
    RED = "crimson"


class Number(IntEnum):
    ONE = 1


class LazyValues(Mapping[str, object]):
    """Values that are costly to load, and a record of those that were."""

    def __init__(self, **values: object) -> None:
        self.values_by_name = values
        self.loaded: list[str] = []

    def __getitem__(self, name: str) -> object:
        self.loaded.append(name)
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)


def render(value: object, field: str = "x") -> str:
    return PathTemplate(f"{{{field}}}").render({"x": value})


class TestTheTemplate:
    def test_it_tells_its_fields_once_each_in_order(self):
        template = PathTemplate("d/{b}/{params[lr][0]!r:>8}_{day:%Y-%m}/{b}.csv")
        assert template.fields == (
            Field("b", (), "", "", "b"),
            Field("params", ("lr", "0"), "r", ">8", "params[lr][0]!r:>8"),
            Field("day", (), "", "%Y-%m", "day:%Y-%m"),
        )
        assert template.names == {"b", "params", "day"}

    @pytest.mark.parametrize(
        ("template", "root"),
        [
            ("data/raw/x_{id}.csv", "data/raw"),
            ("data/{id}/x.csv", "data"),
            ("../data/./{id}", "../data/."),
            ("x_{id}.csv", ""),
            ("{id}", ""),
            ("/{id}", "/"),
            ("/data/{id}", "/data"),
            ("C:/{id}", "C:/"),
            ("s3://bucket/day/{id}", "s3://bucket/day"),
            ("memory://{id}", "memory://"),
            ("data/all.csv", "data"),
            ("all.csv", ""),
        ],
    )
    def test_its_root_is_the_literal_folder_above_the_first_field(self, template, root):
        assert PathTemplate(template).root == root

    @pytest.mark.parametrize(
        "path", [Path("data/{day:%d}.csv"), PureWindowsPath(r"data\{day:%d}.csv")]
    )
    def test_it_may_be_given_as_a_path(self, path):
        assert PathTemplate(path) == PathTemplate("data/{day:%d}.csv")

    def test_copies_are_equal_hash_alike_and_pickle_as_their_text(self):
        template = PathTemplate("s3://bucket/{day:%Y}/{params[lr]}.parquet")
        copy = pickle.loads(pickle.dumps(template))
        assert copy == template
        assert hash(copy) == hash(template)
        assert copy.fields == template.fields
        assert len(pickle.dumps(template)) < 200

    @pytest.mark.parametrize(
        ("template", "problem"),
        [
            ("", "not empty"),
            ("a\0{x}", "no NUL"),
            ("{", "written twice"),
            ("a}", "written twice"),
            ("{x", "written twice"),
            ("{x[}", "written twice"),
            ("{x!}", "written twice"),
            ("{}", "fields have names"),
            ("{0}", "fields have names"),
            ("{!r}", "fields have names"),
            ("{[a]}", "fields have names"),
            ("{x[]}", "fields have names"),
            ("{x[a]b}", "fields have names"),
            ("{x]}", "fields have names"),
            ("{x.y}", r"attributes can't be reached.*argument of its own.*\{day:%Y\}"),
            ("{x.__init__.__globals__[SECRET]}", "attributes can't be reached"),
            ("{x[a].b}", "attributes can't be reached"),
            ("{x!q}", "unknown conversion"),
            ("{x:{width}}", "field within its format spec"),
            ("{x:>9999999999}", "3 digits in a row"),
            ("{x:.١٢٣٤f}", "3 digits in a row"),  # noqa: RUF001 - other scripts have digits too
            ("{x:" + "%Y" * 33 + "}", "over 64 characters"),
            ("{x}/../y", r"'\.\.' comes before the first field"),
            ("d/{x}/..", r"'\.\.' comes before the first field"),
            (".prefect_ds/{x}", "kept for the manifests"),
            ("{x}/.Prefect_DS/y", "kept for the manifests"),
            ("{x}/" + "é" * 128, "256 bytes"),
            ("{protocol}://bucket/x", "'::' and ':/' come before"),
            ("{drive}:/x", "'::' and ':/' come before"),
            ("{x}::s3:", "'::' and ':/' come before"),
            (PurePosixPath("s3://bucket/{x}"), "drops a slash"),
            (3, "a str or a Path, not a int"),
        ],
    )
    def test_a_malformed_or_unsafe_one_fails_when_it_is_made(self, template, problem):
        with pytest.raises(TemplateError, match=f"^path template .*{problem}"):
            PathTemplate(template)

    @pytest.mark.parametrize(
        ("template", "path"),
        [
            ("a{{b}}/{x}", "a{b}/1"),
            ("~/sp ace/%41/*.{x}", "~/sp ace/%41/*.1"),
            (".{x}.", ".1."),
            ("./a//{x}/", "./a//1/"),
            ("..{x}..", "..1.."),
            ("simplecache::s3://b/{x}", "simplecache::s3://b/1"),
            ("no/field.csv", "no/field.csv"),
        ],
    )
    def test_its_own_text_is_never_altered(self, template, path):
        assert PathTemplate(template).render({"x": 1}) == path
        assert PathTemplate(template).match(path) == (
            {"x": "1"} if "{x}" in template else {}
        )


class TestValues:
    @pytest.mark.parametrize(
        ("field", "value", "text"),
        [
            ("x", "a b", "a b"),
            ("x", True, "True"),
            ("x", 7, "7"),
            ("x:05d", 7, "00007"),
            ("x", 0.1, "0.1"),
            ("x:.2e", 0.1, "1.00e-01"),
            ("x", Decimal("1.50"), "1.50"),
            ("x", date(2024, 5, 1), "2024-05-01"),
            ("x:%Y-%m", date(2024, 5, 1), "2024-05"),
            ("x", datetime(2024, 5, 1, 12), "2024-05-01T12:00:00"),
            ("x!s:.7", datetime(2024, 5, 1, tzinfo=UTC), "2024-05"),
            ("x:%H%M", time(9, 30), "0930"),
            ("x", time(9, 30), "09:30:00"),
            ("x", timedelta(days=1, hours=2, microseconds=500), "P1DT2H0M0.0005S"),
            ("x", -timedelta(seconds=1), "P-1DT23H59M59S"),
            ("x", Path("a/b"), "a/b"),
            ("x", PureWindowsPath(r"a\b"), "a/b"),
            ("x", UUID(int=1), "00000000-0000-0000-0000-000000000001"),
            ("x:.8", UUID(int=1), "00000000"),
            ("x", Plain.RED, "RED"),
            ("x", Name.RED, "crimson"),
            ("x:03d", Number.ONE, "001"),
            ("x", np.bool_(True), "True"),
            ("x:03d", np.int8(7), "007"),
            ("x", np.uint64(2**64 - 1), str(2**64 - 1)),
            ("x", np.float32(0.1), "0.1"),
            ("x!r", np.float64(0.1), "0.1"),
            ("x", np.longdouble(0.5), "0.5"),
            ("x", np.str_("a"), "a"),
            ("x", np.datetime64("2024-05-01"), "2024-05-01"),
            ("x:%Y", np.datetime64("2024-05-01T00", "ns"), "2024"),
            ("x", np.datetime64("2024-05-01T00", "ns"), "2024-05-01T00:00:00"),
            (
                "x",
                np.datetime64("2024-05-01T00:00:00.000000001"),
                "2024-05-01T00:00:00.000000001",
            ),
            ("x", np.datetime64(10**12, "ps"), "1970-01-01T00:00:01"),
            ("x", np.datetime64("20000-01-01T00", "s"), "20000-01-01T00:00:00"),
            ("x", np.timedelta64(90, "m"), "P0DT1H30M0S"),
            ("x", np.timedelta64(1, "ns"), "P0DT0H0M0.000000001S"),
            ("x", pd.Timestamp("2024-05-01"), "2024-05-01T00:00:00"),
            ("x:%Y-%m-%d", pd.Timestamp("2024-05-01"), "2024-05-01"),
            ("x", pd.Period("2024-05"), "2024-05"),
            ("x:%Y", pd.Period("2024-05"), "2024"),
            ("x!r", "é", "'é'"),
            ("x!a", "é", r"'\xe9'"),
            ("x!s:>4", 7, "   7"),
            ("x[a][b]", {"a": {"b": 1}}, "1"),
            ("x[1]", {1: "int", "1": "str"}, "str"),
            ("x[1]", {1: "int"}, "int"),
            ("x[1][0]", [0, (5,)], "5"),
            ("x[a.b:c!d]", {"a.b:c!d": 1}, "1"),
        ],
    )
    def test_what_names_things_is_accepted_and_written_plainly(
        self, field, value, text
    ):
        template = PathTemplate(f"{{{field}}}")
        assert template.render_fields({"x": value}) == {field: text}
        assert template.render({"x": value}) == encode_text(text)

    @pytest.mark.parametrize(
        "seconds", [0, 1, 59, 3601, 86_400, 1_000_000, -1, -100_000, 0.000_001, 12.5]
    )
    def test_durations_of_the_library_and_of_pandas_are_written_alike(self, seconds):
        duration = timedelta(seconds=seconds)
        assert (
            render(duration)
            == render(pd.Timedelta(duration))
            == encode_text(pd.Timedelta(duration).isoformat())
        )

    @pytest.mark.parametrize(
        "value",
        [
            *(None, pd.NaT, pd.NA, np.datetime64("NaT"), np.timedelta64("NaT")),
            *(
                [1],
                (1,),
                {1},
                {"a": 1},
                b"a",
                1j,
                object(),
                len,
                int,
                np.zeros(1),
                np.complex64(1),
                np.bytes_(b"a"),
            ),
            *(pd.DataFrame(), pd.Series(dtype=float), pd.Interval(0, 1)),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_what_names_nothing_is_refused_by_template_field_task_and_type(self, value):
        kind = type(value).__name__
        problem = rf"path template 'd/\{{x\[0\]\}}', field \{{x\[0\]\}}, task 'load': a {kind} can't name a file; .*str, bool"
        with pytest.raises(TemplateError, match=problem):
            PathTemplate("d/{x[0]}").render({"x": [value]}, task="load")

    @pytest.mark.parametrize(
        ("field", "value", "cause"),
        [
            ("x:05d", "seven", ValueError),
            ("x:05d", 0.5, ValueError),
            ("x:>8", timedelta(1), TypeError),
            pytest.param("x", 10**5000, ValueError, id="int of 5001 digits"),
            ("x", np.timedelta64(1, "M"), ValueError),
        ],
    )
    def test_a_value_that_does_not_fit_its_spec_is_refused_from_the_cause(
        self, field, value, cause
    ):
        with pytest.raises(
            TemplateError,
            match=rf"\{{{field}\}}: a \w+ can't be written.*{cause.__name__}",
        ) as caught:
            render(value, field)
        assert isinstance(caught.value.__cause__, cause)

    @pytest.mark.parametrize(
        ("field", "problem"),
        [
            ("idd", r"no 'idd', did you mean 'id'\? There are: id, params, rows"),
            ("zzzzz", r"no 'zzzzz'\. There are: id"),
            ("params[l]", r"no 'l', did you mean 'lr'\? There are: 7, lr"),
            ("params[8]", r"no '8'\. There are: 7, lr"),
            (
                "params[lr][a]",
                r"\[a\] looks into mappings, lists and tuples, not into a float",
            ),
            ("id[0]", r"\[0\] looks into mappings, lists and tuples, not into a str"),
            ("rows[2]", r"no position '2' in a list of 2"),
            ("rows[-1]", r"no position '-1' in a list of 2"),
        ],
    )
    def test_a_missing_value_is_named_with_what_there_is(self, field, problem):
        values = {"id": "x", "params": {"lr": 0.1, 7: 1}, "rows": [1, 2]}
        with pytest.raises(
            TemplateError, match=rf"field \{{.*\}}, task 'load': .*{problem}"
        ):
            PathTemplate(f"d/{{{field}}}").render(values, task="load")

    def test_with_no_values_at_all_the_error_says_so(self):
        with pytest.raises(TemplateError, match="There are: none"):
            PathTemplate("{x}").render({})

    def test_a_missing_key_is_not_added_to_a_defaultdict(self):
        params: defaultdict[str, int] = defaultdict(int)
        with pytest.raises(TemplateError, match="no 'lr'"):
            PathTemplate("{params[lr]}").render({"params": params})
        assert not params

    def test_only_the_names_in_the_template_are_loaded(self):
        values = LazyValues(id=3, frame=pd.DataFrame(), idd=None)
        assert PathTemplate("{id}/{id}.csv").render(values) == "3/3.csv"
        assert values.loaded == ["id"]
        with pytest.raises(TemplateError, match="There are: frame, id, idd"):
            PathTemplate("{ide}").render(values)
        assert values.loaded == ["id", "ide"]

    def test_an_error_while_a_value_is_loaded_passes_as_it_is(self):
        class Broken(LazyValues):
            def __getitem__(self, name: str) -> object:
                raise OSError("disk gone")

        with pytest.raises(OSError, match="disk gone"):
            PathTemplate("{id}").render(Broken())


class TestEncoding:
    @pytest.mark.parametrize(
        ("text", "encoded"),
        [
            ("Aa0_-.,=+@()z", "Aa0_-.,=+@()z"),
            ("a b", "a b"),
            ("größe 東京 ٣", "größe 東京 ٣"),
            ("e\u0301", "e%CC%81"),
            ("é e\u0301", "%C3%A9 e%CC%81"),
            ("", "%_"),
            ("%_", "%25_"),
            ("a/b\\c", "a%2Fb%5Cc"),
            ("%:*?[]{}", "%25%3A%2A%3F%5B%5D%7B%7D"),
            ("<>|\"'~$&;!#", "%3C%3E%7C%22%27%7E%24%26%3B%21%23"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("...", "%2E.%2E"),
            (".a.", "%2Ea%2E"),
            (" a ", "%20a%20"),
            ("a\n", "a%0A"),
            ("a\0\x7f", "a%00%7F"),
            ("\u202ea\u200d", "%E2%80%AEa%E2%80%8D"),
            ("\ud800", "%ED%A0%80"),
            ("\ud83d\ude00", "%ED%A0%BD%ED%B8%80"),
            ("😀", "%F0%9F%98%80"),
            ("CON", "%43ON"),
            ("nul.tar.gz", "%6Eul.tar.gz"),
            ("com1 .x", "%63om1 .x"),
            ("lpt²", "%6Cpt²"),
            ("con.", "%63on%2E"),
            ("console", "console"),
            ("com10", "com10"),
            ("a" * 120, "a" * 120),
            ("a" * 121, "a" * 86 + "%~e9615320128cc7a3d6078e9af0560318"),
        ],
    )
    def test_a_text_is_encoded_as_the_format_says(self, text, encoded):
        assert encode_text(text) == encoded

    @pytest.mark.parametrize("character", ["é", "東", "😀", "%", "ab", "a東"])
    def test_a_long_text_keeps_a_readable_start_and_a_hash_of_the_whole(
        self, character
    ):
        long, other = encode_text(character * 200), encode_text(character * 200 + "x")
        start, mark, digest = long.rpartition("%~")
        assert 80 <= len(start.encode()) <= 86
        assert len(digest) == 32
        assert decode_text(long) == long != other
        assert other.startswith(start + mark)

    @property_test
    @given(TEXTS)
    def test_an_encoded_text_is_one_safe_name(self, text):
        encoded = encode_text(text)
        assert 0 < len(encoded.encode()) <= 120
        assert not set(encoded) & set("/\\:*?[]{}<>|\"'$&;!#\0")
        assert "~" not in encoded.replace("%~", "")
        assert encoded[0] not in ". "
        assert encoded[-1] not in ". "
        assert encoded.isprintable()
        assert unicodedata.is_normalized("NFC", encoded)

    @property_test
    @given(TEXTS)
    def test_a_text_that_is_not_shortened_comes_back(self, text):
        encoded = encode_text(text)
        assert decode_text(encoded) == (encoded if "%~" in encoded else text)

    @property_test
    @given(TEXTS, TEXTS)
    @example("é", "e\u0301")
    @example("\ud83d\ude00", "😀")
    @example("", "%_")
    @example("x" * 86 + "%~" + "0" * 32, "x" * 200)
    def test_two_texts_never_meet_not_even_where_names_are_normalised(self, one, other):
        assume(one != other)
        assert unicodedata.normalize("NFC", render(one)) != unicodedata.normalize(
            "NFC", render(other)
        )

    def test_all_short_texts_of_troublesome_characters_stay_apart(self):
        texts = [
            "".join(letters)
            for n in range(4)
            for letters in itertools.product("./%_~ aé\u0301\ud800", repeat=n)
        ]
        assert len({encode_text(text) for text in texts}) == len(texts)

    def test_long_texts_that_differ_in_one_place_stay_apart(self):
        text = "/data/é" * 60
        texts = {text[:i] + "x" + text[i:] for i in range(len(text))} | {
            text * n for n in range(1, 20)
        }
        assert len({encode_text(text) for text in texts}) == len(texts)

    @pytest.mark.parametrize(
        "encoded",
        [
            "a/b",
            ".",
            " a",
            "%2f",
            "%41",
            "%FF",
            "%",
            "a%_",
            "%~12",
            "con",
            "e%CC",
            "%C3%A9",
        ],
    )
    def test_what_no_text_is_encoded_to_is_not_decoded(self, encoded):
        assert decode_text(encoded) is None
        assert PathTemplate("{x}").match(encoded) is None


class TestPaths:
    @property_test
    @given(TEXTS, TEXTS)
    @example("..", "/etc/passwd")
    @example("", "")
    @example("prefect_ds", ".prefect_ds")
    def test_no_value_leads_out_of_the_root(self, one, other):
        for template in map(
            PathTemplate,
            [
                "/r/data/{a}/{b}.csv",
                "/r/data/.{a}{b}",
                "/r/data/a.{a}/b/{b}",
                "/r/data/..{a}/{b}.",
            ],
        ):
            try:
                path = template.render({"a": one, "b": other})
            except TemplateError as error:
                assert "kept for the manifests" in str(error)  # noqa: PT017 - the other values do render
                continue
            assert path == posixpath.normpath(path)
            assert path.startswith("/r/data/")
            assert path.count("/") == template.template.count("/")
            os.fsencode(path)

    @property_test
    @given(TEXTS, TEXTS)
    def test_match_gives_the_texts_of_a_rendered_path_back(self, one, other):
        template = PathTemplate("s3://b/{a}/x_{b}.{a}/{b}.csv")
        path = template.render({"a": one, "b": other})
        texts = {name: encode_text(text) for name, text in (("a", one), ("b", other))}
        expected = {
            name: e if "%~" in e else {"a": one, "b": other}[name]
            for name, e in texts.items()
        }
        assert template.match(path) == expected

    @property_test
    @given(
        st.text(st.sampled_from("ab_. /%"), max_size=8),
        st.text(st.sampled_from("ab_. /%"), max_size=8),
    )
    def test_match_reads_an_ambiguous_path_in_a_way_that_renders_it(self, one, other):
        template = PathTemplate("{a}_{b}.{a}{b}")
        path = template.render({"a": one, "b": other})
        read = template.match(path)
        assert read is not None
        assert template.render(read) == path

    @pytest.mark.parametrize(
        ("template", "path", "texts"),
        [
            ("d/{id}.csv", "d/3.csv", {"id": "3"}),
            ("d/{id:05d}.csv", "d/00003.csv", {"id:05d": "00003"}),
            ("{a}_{b}", "x_y_z", {"a": "x", "b": "y_z"}),
            ("{a}.{b}", "a. b.c", {"a": "a. b", "b": "c"}),
            ("{a}_{a}", "x_x_x_x", {"a": "x_x"}),
            ("{a[b]}/{c!r}", "1/%272%27", {"a[b]": "1", "c!r": "'2'"}),
            ("all.csv", "all.csv", {}),
            ("d/{id}.csv", "d/3.parquet", None),
            ("d/{id}.csv", "d/3xcsv", None),
            ("d/{id}.csv", "d/.csv", None),
            ("d/{id}.csv", "d/a/b.csv", None),
            ("d/{id}.csv", "e/3.csv", None),
            ("d/{id}.csv", "d/%zz.csv", None),
            ("d/{id}.csv", "d/a:b.csv", None),
            ("{id}", "", None),
            ("{id}/{id}", "1/2", None),
            (".{id}", ".prefect_ds", None),
            ("{a}{b}{c}", "a" * 256, None),
            ("all.csv", "all.csv/", None),
        ],
    )
    def test_match_tells_the_paths_of_a_template_from_others(
        self, template, path, texts
    ):
        assert PathTemplate(template).match(path) == texts

    def test_a_name_that_is_kept_for_manifests_is_refused(self):
        with pytest.raises(
            TemplateError,
            match=r"task 'load': the name '.prefect_DS' is kept .* from \{x\}",
        ):
            PathTemplate("d/.{x}/{y}").render({"x": "prefect_DS", "y": 1}, task="load")

    def test_a_name_that_is_too_long_is_refused_with_its_length_and_fields(self):
        template = PathTemplate("{d}/{a}_{b}_{c}/{d}")
        with pytest.raises(
            TemplateError,
            match=r"'aaa.*\.\.\. is 302 bytes long, more than the 255 .* \{a\}, \{b\}, \{c\}$",
        ):
            template.render({"a": "a" * 100, "b": "b" * 100, "c": "é" * 50, "d": 1})
        assert (
            len(
                template.render({"a": "a" * 100, "b": "b" * 100, "c": "c" * 53, "d": 1})
            )
            == len("1//1") + 255
        )

    def test_another_process_renders_the_same_path(self):
        values = (
            "{'a': 'é/😀' * 40, 'b': 0.1, 'c': __import__('datetime').date(2024, 5, 1)}"
        )
        code = f"from prefect_ds.path_template import *; print(ascii(PathTemplate('{{a}}/{{b}}_{{c}}').render({values})))"
        here = ascii(PathTemplate("{a}/{b}_{c}").render(eval(values)))
        for seed in "12":
            environment = {**os.environ, "PYTHONHASHSEED": seed}
            there = subprocess.run(
                [sys.executable, "-c", code],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            assert there.stdout.strip() == here


def test_the_module_loads_neither_pandas_nor_numpy_nor_prefect():
    code = (
        "import sys, prefect_ds; before = set(sys.modules); import prefect_ds.path_template as module;"
        "module.PathTemplate('{x}').render({'x': 1});"
        "print({'pandas', 'numpy', 'prefect'} & (set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("module", "n_examples"), [(path_template, 4), (encoding, 4), (fields, 2)]
)
def test_the_examples_in_the_docstrings_run(module, n_examples):
    results = doctest.testmod(module)
    assert results.attempted >= n_examples
    assert results.failed == 0


@pytest.mark.parametrize(
    ("template", "values", "hint"),
    [
        ("{task_loop_count}", {"task_name": "x"}, "a loop has one path, .*leave the field out"),
        ("{idd}", {"id": 1, "today": "x"}, "did you mean 'id'"),
        ("{id}", {"id": None}, "a NoneType can't .*Give the argument or parameter a value"),
        ("{p[a]}", {"p": {"a": None}}, "a NoneType can't .*Give the"),
    ],
)  # fmt: skip
def test_a_hint_says_what_helps(template, values, hint):
    with pytest.raises(TemplateError, match=hint):
        PathTemplate(template).render(values)
