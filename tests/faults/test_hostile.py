"""Hostile and odd arguments, files and manifests (P7), end to end: nothing leaves the folder, nothing runs code."""

import base64
import json
import os
import pickle
import unicodedata
from functools import partial
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from prefect import Flow

from prefect_ds import PandasResultHandler, result_handler, task
from prefect_ds.checkpoints.lazy_result import raw_value
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.errors import CollisionError, TemplateError
from prefect_ds.file_types.registry import FILE_TYPES
from prefect_ds.storage.layout import manifest_folder
from prefect_ds.storage.local_files import LocalFiles
from prefect_ds.storage.manifest import FORMAT_VERSION, Identity, Origin, Owner
from prefect_ds.storage.store import CheckpointStore
from tests.support.faulty_files import PRIMITIVES, WatchedFiles
from tests.support.manifests import sealed
from tests.support.scale import SCALE

PARTS = "parts"

VALUES = [
    "../../etc/passwd", "/etc/passwd", "..", ".", "a/../../b", "~", "~root", "C:\\x", "\\\\host\\share",
    "file:///etc/passwd", "memory://x", "a::b", "s3://bucket/key", "nul\0byte", "line\nbreak", "\r", "\t", "", " ",
    " x", "x ", ".x", "x.", "...", "n" * 5_000, "n" * 4_999 + "m", "é" * 5_000, "🦆", "👩\u200d🔬", "e\u0301", "\u00e9",
    "\u212b", "\u00c5", "A\u030a", "\u202egnp", "\ud800", "CON", "nul.csv", "com1", "LPT\u00b9",
    "{x.__class__.__mro__}", "{0}", "{{", "%2F", "%", "%_", "%s", "*", "?", "[ab]", "a*", "[!a]", "a?", "a", "b",
    "$HOME", "`id`", ";rm -rf ~", "|", "<", ">", '"', "'", ".prefect_ds", "a.csv", "a.parquet", "_x", "__x",
    "part.00000.parquet", "year=2024",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _reads_read(no_cache):
    """No value comes from memory."""


def handler_of(folder: object, kind: str):
    if kind == PARTS:
        return DaskDataFrameResultHandler(f"{folder}/{{value}}")
    return PandasResultHandler(f"{folder}/{{value}}.{kind}", kind)


def data_in(folder: Path) -> list[str]:
    """Paths of the checkpoints in a folder, at any depth but inside of checkpoints."""
    return sorted(
        os.fsencode(each).decode(errors="surrogateescape")
        for each in os.listdir(folder)
        if each != ".prefect_ds"
    )


@pytest.mark.parametrize("kind", ["csv", PARTS])
def test_each_hostile_value_gets_one_file_of_its_own_inside_the_folder(
    run_here, tmp_path, kind
):
    folder = tmp_path / "far" / "below" / "data"
    bodies = []

    @task(result=handler_of(folder, kind))
    def make(value):
        bodies.append(value)
        frame = pd.DataFrame({"value": [ascii(value)]})
        return dd.from_pandas(frame, npartitions=1) if kind == PARTS else frame

    @task
    def use(data):
        return (data.compute() if kind == PARTS else data)["value"].iloc[0]

    with Flow("hostile") as flow:
        made = make.map(VALUES)
        used = use.map(made)
    for wanted_bodies in (VALUES, []):
        state = run_here(flow)
        assert state.is_successful(), state.message
        assert bodies == wanted_bodies
        assert state.result[used].result == [ascii(value) for value in VALUES]
        bodies.clear()
    # As any tool finds them, where the reference says.
    paths = [raw_value(child).path for child in state.result[made].map_states]
    for value, path in zip(VALUES, paths, strict=True):
        assert os.path.dirname(path) == str(folder)
        plain = pd.read_csv(path) if kind == "csv" else pd.read_parquet(path)
        assert plain["value"].iloc[0] == ascii(value)
    assert data_in(folder) == sorted(os.path.basename(path) for path in paths)
    # Nor do they meet where a file system takes é and e + accent for one name.
    assert len({unicodedata.normalize("NFC", path) for path in paths}) == len(VALUES)
    assert os.listdir(tmp_path) == ["far"]
    assert os.listdir(tmp_path / "far" / "below") == ["data"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "n_examples"),
    [("plain files", 500 * SCALE), ("checkpoints", 100 * SCALE)],
)
def test_two_distinct_values_never_share_a_file_or_leave_the_folder(
    tmp_path, what, n_examples
):
    folder = tmp_path / "data"
    folder.mkdir()
    handler = handler_of(folder, "csv")

    @settings(
        max_examples=n_examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.lists(
            st.text(max_size=8) | st.text() | st.sampled_from(VALUES),
            min_size=2,
            max_size=2,
            unique=True,
        )
    )
    def check(values):
        paths = [handler.render({"value": value}) for value in values]
        assert paths[0] != paths[1]
        for value, path in zip(values, paths, strict=True):
            if what == "plain files":
                Path(path).write_text(ascii(value))
            else:
                handler.keep(pd.DataFrame({"value": [ascii(value)]}), path)
        for value, path in zip(values, paths, strict=True):
            assert os.path.dirname(os.path.realpath(path)) == str(folder)
            if what == "plain files":
                assert Path(path).read_text() == ascii(value)
            else:
                assert handler.load(path)["value"].iloc[0] == ascii(value)
        assert data_in(folder) == sorted(map(os.path.basename, paths))
        for path in paths:
            os.unlink(path)

    check()
    assert os.listdir(tmp_path) == ["data"]


class CaseBlindFiles(WatchedFiles):
    """A disk that takes names which differ in case for one."""

    def _call(self, name, primitive, *args):
        return super()._call(
            name,
            primitive,
            *(each.lower() if isinstance(each, str) else each for each in args),
        )


def test_values_that_differ_only_in_case_collide_where_a_disk_does_not_tell_them_apart(
    tmp_path, monkeypatch
):
    files = CaseBlindFiles(LocalFiles())
    assert {"status", "place", "names"} <= set(PRIMITIVES)
    monkeypatch.setattr(result_handler, "open_files", lambda *_: files)
    folder = tmp_path / "data"
    handler = handler_of(str(folder).lower(), "csv")

    def keep(index, value):
        path = handler.render({"value": value})
        identity, owner = (
            Identity("make", {"value": value}),
            Owner("flow", "run", "make", index),
        )
        return handler.keep(
            pd.DataFrame({"value": [value]}),
            path,
            origin=Origin(owner=owner, identity=identity),
        )

    keep(0, "straße A")
    with pytest.raises(
        CollisionError, match=r"'make\[0\]' and 'make\[1\]'.*input 'value' changed"
    ):
        keep(1, "Straße a")
    assert handler.look_up(handler.render({"value": "straße A"})).kind == "missing"
    keep(2, "other")


@pytest.mark.parametrize(
    "template",
    [
        "{x.__class__.__mro__}",
        "{x[0].__init__.__globals__}",
        "{id:>9999999999}",
        "{id:{width}}",
        "{}",
        "{id!x}",
    ],
)
@pytest.mark.parametrize(
    "handler",
    [partial(PandasResultHandler, file_type="csv"), DaskDataFrameResultHandler],
)
def test_a_template_that_reaches_into_values_or_explodes_is_refused_before_anything_runs(
    tmp_path, handler, template
):
    with pytest.raises(TemplateError, match="path template"):
        handler(f"{tmp_path}/{template}")
    assert list(tmp_path.iterdir()) == []


class Raises(str):
    __slots__ = ()

    def __format__(self, spec):
        raise RuntimeError("boo")


class Lies(str):
    """Says that it is another text."""

    __slots__ = ()

    def __format__(self, spec):
        return "../../../lies"

    __str__ = __repr__ = lambda self: "../lies"


@pytest.mark.parametrize("kind", ["csv", PARTS])
def test_a_value_that_raises_or_lies_when_it_is_formatted_stays_inside(
    run_here, tmp_path, kind
):
    bodies = []

    handler = handler_of(tmp_path / "data", kind)
    handler.location = handler.location.replace("{value}", "{value:s}")

    @task(result=handler)
    def make(value):
        bodies.append(str.__str__(value))
        return pd.DataFrame({"a": [1]})

    with Flow("formats") as flow:
        made = make.map([Raises("x"), Lies("y")])
    state = run_here(flow)
    raised, lied = state.result[made].map_states
    assert "TemplateError" in raised.message
    assert "RuntimeError: boo" in raised.message
    assert bodies == ["y"]
    assert lied.is_successful()
    assert os.listdir(tmp_path) == ["data"]
    assert len(data_in(tmp_path / "data")) == 1


@pytest.mark.parametrize("kind", ["csv", PARTS])
def test_glob_characters_in_a_folder_and_in_a_template_are_characters(
    run_here, tmp_path, kind
):
    """A reader that expanded them would read the siblings too."""
    folder = tmp_path / "[ab]*?{1..3}"
    for sibling in ("a", "axx1", "b"):
        (tmp_path / sibling).mkdir()
    suffix = "" if kind == PARTS else f".{kind}"
    written = str(folder).replace("{", "{{").replace("}", "}}")
    template = f"{written}/x_*[12]?_{{value}}{suffix}"
    made_by = (
        DaskDataFrameResultHandler(template)
        if kind == PARTS
        else PandasResultHandler(template, kind)
    )

    @task(result=made_by)
    def make(value):
        return (
            dd.from_pandas(pd.DataFrame({"value": [value] * 4}), npartitions=2)
            if kind == PARTS
            else pd.DataFrame({"value": [value] * 4})
        )

    with Flow("glob") as flow:
        made = make.map([1, 2, 12])
    for _ in range(2):
        state = run_here(flow)
        for value, found in zip([1, 2, 12], state.result[made].result, strict=True):
            found = found.compute() if kind == PARTS else found
            assert found["value"].tolist() == [value] * 4
    assert len(data_in(folder)) == 3
    for sibling in ("a", "axx1", "b"):
        assert os.listdir(tmp_path / sibling) == []


# Links


@pytest.mark.parametrize("kind", ["parquet", PARTS])
def test_what_a_link_points_to_outside_is_neither_written_nor_removed(
    run_here, tmp_path, kind
):
    outside, folder = tmp_path / "outside", tmp_path / "data"
    outside.mkdir()
    folder.mkdir()
    (outside / "secret").write_bytes(b"secret")
    handler = handler_of(folder, kind)
    path = Path(handler.render({"value": "x"}))
    path.symlink_to(outside if kind == PARTS else outside / "secret")

    @task(result=handler)
    def make(value, turn):
        return pd.DataFrame({"a": [turn]})

    for turn in (1, 2):
        with Flow("links") as flow:
            make("x", turn)
        assert run_here(flow).is_successful()
        assert not path.is_symlink()
    [aside] = (folder / ".prefect_ds/set-aside").iterdir()
    assert aside.is_symlink()
    old = folder / ".prefect_ds/staging/old.staged"
    old.symlink_to(outside)
    assert CheckpointStore(LocalFiles()).clean(str(folder), older_than_s=-1) == [
        str(old)
    ]
    assert not old.is_symlink()
    assert (outside / "secret").read_bytes() == b"secret"
    assert os.listdir(outside) == ["secret"]


def test_a_part_that_became_a_link_to_other_data_is_damage(tmp_path):
    handler = handler_of(tmp_path, PARTS)
    handler.write(
        dd.from_pandas(pd.DataFrame({"a": range(4)}), npartitions=2), value="x"
    )
    handler.write(
        dd.from_pandas(pd.DataFrame({"a": range(4, 8)}), npartitions=2), value="secret"
    )
    part = tmp_path / "x/part.00001.parquet"
    part.unlink()
    part.symlink_to(tmp_path / "secret/part.00001.parquet")
    assert handler.look_up(f"{tmp_path}/x").kind == "damaged"


# Manifests


@pytest.mark.parametrize(
    "name",
    [
        "../outside.parquet",
        "/outside.parquet",
        "a/../../outside.parquet",
        "..\\outside.parquet",
    ],
)
def test_a_sealed_manifest_whose_parts_lie_outside_is_refused_and_nothing_there_is_read(
    tmp_path, name, run_here, log_lines
):
    folder = tmp_path / "data"
    handler = handler_of(folder, PARTS)

    @task(result=handler)
    def make(value):
        return dd.from_pandas(pd.DataFrame({"a": [1, 2]}), npartitions=1)

    with Flow("outside") as flow:
        made = make("x")
    run_here(flow)
    # It can be opened only to be read: a named pipe that nobody writes to would block
    # the reader.
    outside = folder / "outside.parquet"
    os.mkfifo(outside)
    [manifest] = Path(manifest_folder(f"{folder}/x")).iterdir()
    body = json.loads(manifest.read_bytes())["manifest"]
    body["parts"][0]["name"] = (
        name.replace("/outside", f"{folder}/outside") if name[0] == "/" else name
    )
    manifest.write_text(sealed(body))

    state = run_here(flow)
    assert state.result[made].result.compute()["a"].tolist() == [1, 2]
    assert any(
        f"the manifest does not have the form of format {FORMAT_VERSION}" in line
        and "set aside" in line
        for line in log_lines
    )


def test_a_sealed_manifest_of_huge_numbers_is_no_hit_that_hangs(tmp_path):
    handler = handler_of(tmp_path, PARTS)
    handler.write(dd.from_pandas(pd.DataFrame({"a": [1, 2]}), npartitions=1), value="x")
    [manifest] = Path(manifest_folder(f"{tmp_path}/x")).iterdir()
    for change in ({"size_bytes": 2**62}, {"n_rows": 10**40}, {"size_bytes": -1}):
        body = json.loads(manifest.read_bytes())["manifest"]
        body["parts"][0].update(change)
        manifest.write_text(sealed(body))
        assert handler.look_up(f"{tmp_path}/x").kind == "damaged"


# Pickles


class Evil:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: object) -> None:
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


NO_PICKLES = """
import sys, warnings
warnings.simplefilter("ignore")
import dask, dask.dataframe as dd, pandas as pd
dask.config.set(scheduler="synchronous")
from prefect_ds import PandasResultHandler
from prefect_ds.checkpoints import memory_cache as cache
from prefect_ds.dask import DaskDataFrameResultHandler
from tests.support.flows import frame_of

cache.resize(0)
armed, seen = False, []

def hook(event, args):
    if armed and event == "pickle.find_class":
        seen.append(".".join(args))

sys.addaudithook(hook)
for kind in kinds:
    if kind == "parts":
        handler = DaskDataFrameResultHandler(f"{folder}/parts")
    else:
        handler = PandasResultHandler(f"{folder}/a.{'xlsx' if kind == 'excel' else kind}", kind)
    path = handler.render({})
    frame = frame_of(1)
    handler.keep(dd.from_pandas(frame, npartitions=2) if kind == "parts" else frame, path)
    armed = True
    found = handler.look_up(path)
    value = handler.load(path, handler.content_of(found.manifest))
    if kind == "parts":
        source = value.expr.operand("source")  # Dask pickles what it has in memory; what is in the files counts here.
        value = source.reader([part for parts in source.partitions for part in parts])
    assert len(value) == 3
    assert handler.verify(path) == []
    armed = False
    print(kind, sorted(set(seen)))
    seen.clear()
"""


def test_no_hit_and_no_read_loads_a_class_from_a_pickle_unless_the_file_type_is_pickle(
    tmp_path, in_child_process
):
    kinds = [*FILE_TYPES, PARTS]
    done = in_child_process(
        f"folder, kinds = {str(tmp_path)!r}, {kinds!r}\n{NO_PICKLES}"
    )
    assert done.returncode == 0, done.stderr
    seen = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert seen.keys() == set(kinds)
    assert seen.pop("pickle") != "[]"  # The hook sees them.
    # Dask pickles the lazy frame that it holds, to name it; no file has a part in that.
    assert seen.pop(PARTS) in ("[]", "['prefect_ds.dask.expressions.ReadCheckpoint']")
    assert set(seen.values()) == {"[]"}, seen


def test_an_hdf5_file_that_a_person_put_there_runs_no_code(run_here, tmp_path):
    """PyTables unpickles attributes and arrays of objects as soon as it opens a file."""
    tables = pytest.importorskip("tables")
    path, mark = tmp_path / "x.hdf", tmp_path / "mark"
    pd.DataFrame({"a": [1.0]}).to_hdf(path, key="data")
    with tables.open_file(path, "a") as file:
        file.set_node_attr("/data", "evil", Evil(mark))
    pd.read_hdf(path)
    assert mark.exists()  # That is what pandas does.
    mark.rmdir()
    bodies = []

    @task(result=handler_of(tmp_path, "hdf"))
    def make(value):
        bodies.append(value)
        return pd.DataFrame({"a": [2.0]})

    with Flow("hdf") as flow:
        made = make("x")
    state = run_here(flow)
    assert bodies == ["x"]
    assert (
        "cannot be read as hdf (it holds a pickled posix.mkdir, and only file type pickle loads such)"
        in (state.result[made].message)
    )
    assert not mark.exists()
    assert len(list((tmp_path / ".prefect_ds/set-aside").iterdir())) == 1


def test_an_hdf5_array_of_objects_runs_no_code(tmp_path):
    tables = pytest.importorskip("tables")
    path, mark = tmp_path / "x.hdf", tmp_path / "mark"
    pd.DataFrame({"a": ["text"]}).to_hdf(path, key="data")
    with tables.open_file(path, "a") as file:
        file.remove_node("/data/block0_values")
        array = file.create_vlarray("/data", "block0_values", tables.ObjectAtom())
        array.append(Evil(mark))
        array.attrs.value_type, array.attrs.transposed = "str", True
    found = handler_of(tmp_path, "hdf").look_up(str(path))
    assert found.kind == "damaged"
    assert "pickled posix.mkdir" in found.reason
    assert not mark.exists()


@pytest.mark.parametrize("layout", ["fixed", "table"])
def test_an_hdf5_file_of_values_that_a_person_put_there_is_read(tmp_path, layout):
    pytest.importorskip("tables")
    frame = pd.DataFrame(
        {
            "text": ["x", None],
            "number": [1.5, 2.5],
            "at": pd.date_range("2024-01-01", periods=2, tz="Europe/Berlin"),
        },
        index=pd.date_range("2024-01-01", periods=2, freq="B", name="day"),
    )
    frame.to_hdf(tmp_path / "x.hdf", key="data", format=layout)
    handler = handler_of(tmp_path, "hdf")
    assert handler.look_up(f"{tmp_path}/x.hdf").kind == "committed"
    assert_frame_equal(
        handler.load(f"{tmp_path}/x.hdf"), pd.read_hdf(tmp_path / "x.hdf")
    )


@pytest.mark.parametrize("kind", ["parquet", PARTS])
def test_a_parquet_file_with_a_pickled_type_runs_no_code(tmp_path, kind):
    mark = tmp_path / "mark"
    hostile = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Evil(mark), 0).decode(),
    }
    table = pa.table(
        [pa.array([1, 2])],
        schema=pa.schema([pa.field("a", pa.int64(), metadata=hostile)]),
    )
    handler = handler_of(tmp_path, kind)
    path = Path(handler.render({"value": "x"}))
    file = path / "part.0.parquet" if kind == PARTS else path
    file.parent.mkdir(exist_ok=True)
    pq.write_table(table, file)
    assert handler.look_up(str(path)).kind == "committed"
    value = handler.load(str(path))
    assert (value.compute() if kind == PARTS else value)["a"].tolist() == [1, 2]
    assert not mark.exists()
    assert b"py_extension_type" in base64.b64decode(
        pq.read_metadata(file).metadata[b"ARROW:schema"]
    )
