"""The key of a computation: equal in another process when the computation is the same, another one when it is not."""

import functools
import importlib
import os
import sys
import textwrap
from pathlib import Path

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client

from prefect_ds.dask.resume_key import NotResumableError, resume_key
from tests.support.dask_flows import frame, handler


def computation_key(frame: dd.DataFrame, *more: object) -> str | None:
    """Return the key of a frame, None where it has none."""
    try:
        return resume_key(frame.optimize(fuse=False).expr, *more)
    except NotResumableError:
        return None


@pytest.fixture
def key_of(tmp_path, monkeypatch):
    """Imports a variant of a user's modules anew, and returns the key of the frame that they make."""

    def key_of(modules: dict[str, str]) -> str | None:
        # In the same place: Dask's token of a lambda has its file in it.
        folder = written(tmp_path / "modules", modules)
        with monkeypatch.context() as context:
            context.setattr(sys, "dont_write_bytecode", True)
            context.syspath_prepend(folder)
            for name in modules:
                context.delitem(sys.modules, name, raising=False)
            return computation_key(importlib.import_module("flow").made())

    return key_of


def written(folder: Path, modules: dict[str, str]) -> str:
    folder.mkdir(exist_ok=True)
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(source))
    return str(folder)


FLOW = """
    import dask.dataframe as dd, pandas as pd
    import helpers
    from helpers import Scaler, rate
    FACTOR = 2
    SIDES = {"left", "right", "top", "bottom"}
    def inner(x):
        return x * FACTOR
    def part(number, scaler=Scaler(3)):
        assert "left" in SIDES
        return pd.DataFrame({"x": [inner(number) + rate() + helpers.more() + scaler.scale(1)]})
    def made():
        return dd.from_map(part, range(3), meta=pd.DataFrame({"x": [1]})).map_partitions(lambda each: each + 1)
"""
HELPERS = """
    import threading
    def rate():
        return 1
    def more():
        return 1
    def unused():
        return 1
    class Scaler:
        limit = 7
        def __init__(self, by):
            self.by = by
        def scale(self, x):
            return x * self.by
"""


SAME = {"flow": FLOW, "helpers": HELPERS}


def test_the_key_holds_in_other_processes(tmp_path, in_child_process):
    folder = written(tmp_path / "flow", SAME)
    keys = []
    for seed in "12":
        code = (
            f"import sys; sys.path.insert(0, {folder!r})\n"
            "from tests.unit.test_resume_key import computation_key\n"
            "import flow\n"
            "print(computation_key(flow.made()))\n"
        )
        ran = in_child_process(code, PYTHONHASHSEED=seed)
        assert ran.returncode == 0, ran.stderr
        keys.append(ran.stdout.strip())
    assert keys[0] == keys[1]
    assert len(keys[0]) == 32


def test_comments_and_what_is_not_used_do_not_count(key_of):
    other_words = {
        "flow": FLOW + "    # a comment\n",
        "helpers": HELPERS.replace("def unused", "def unused_"),
    }
    assert key_of(SAME) == key_of(SAME) == key_of(other_words)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("flow", "number) +", "number) -"),
        ("flow", "x * FACTOR", "x + FACTOR"),
        ("flow", "FACTOR = 2", "FACTOR = 3"),
        ("flow", "each + 1", "each + 2"),
        ("flow", "range(3)", "range(4)"),
        ("flow", '"top", ', ""),
        ("flow", "Scaler(3)", "Scaler(4)"),
        ("helpers", "def rate():\n        return 1", "def rate():\n        return 2"),
        ("helpers", "def more():\n        return 1", "def more():\n        return 2"),
        ("helpers", "x * self.by", "x - self.by"),
        ("helpers", "limit = 7", "limit = 8"),
    ],
)
def test_each_change_gives_another_key(key_of, module, old, new):
    assert old in SAME[module]
    keys = [key_of(SAME), key_of({**SAME, module: SAME[module].replace(old, new)})]
    assert None not in keys
    assert keys[0] != keys[1]


def test_data_in_the_graph_count():
    data = pd.DataFrame({"x": np.arange(10)})
    keys = {
        computation_key(dd.from_pandas(each, npartitions=2))
        for each in (data, data.copy(), data + 1)
    }
    assert len(keys) == 2


def test_what_else_decides_counts():
    assert computation_key(frame(2), "a") != computation_key(frame(2), "b")


def locked(part, numbers=(number for number in range(3))):
    return part


def test_what_has_no_digest_has_no_key():
    assert computation_key(frame(2).map_partitions(locked, meta=frame(2)._meta)) is None


def test_a_frame_without_a_key_is_written_all_the_same(tmp_path):
    held = frame(2).map_partitions(locked, meta=frame(2)._meta)
    assert (
        len(handler(tmp_path, "events").write(held).value.compute(scheduler="threads"))
        == 200
    )
    assert not list((tmp_path / ".prefect_ds/staging").iterdir())


def calls_itself(part, depth=2):
    return calls_itself(part, depth - 1) if depth else part


class Method:
    def of(self, part):
        return part


@pytest.mark.parametrize(
    "function",
    [
        calls_itself,
        Method().of,
        functools.partial(calls_itself, depth=1),
        lambda part: part.copy(),
        np.abs,
    ],
)
def test_any_kind_of_function_has_a_key(function):
    held = dd.from_pandas(pd.DataFrame({"x": [1, 2, 3]}), npartitions=2)
    key = computation_key(held.map_partitions(function, meta=held._meta))
    assert key is not None
    assert key == computation_key(held.map_partitions(function, meta=held._meta))


def test_the_search_for_code_does_not_look_into_libraries(monkeypatch):
    assert Path(sys.modules["pandas"].__file__).is_file()
    held = dd.from_pandas(pd.DataFrame({"x": [1, 2, 3], "y": [1, 2, 3]}), npartitions=2)
    looked_at = []
    for module in ("code", "code_objects", "own_code"):
        imported = importlib.import_module(f"prefect_ds.checkpoints.{module}")
        monkeypatch.setattr(imported, "listing", looked_at.append)
    computation_key(held.groupby("x").agg("sum").reset_index().merge(held, on="x"))
    assert looked_at == []


def up(part: pd.DataFrame) -> pd.DataFrame:
    return part


DATA = pd.DataFrame({"x": range(10), "k": [i % 3 for i in range(10)]})

# What frames are read from, or made of: a folder with csv and parquet is given.
SOURCES = {
    "isin": lambda folder: held().pipe(lambda frame: frame[frame["x"].isin([1, 2])]),
    "parquet": lambda folder: dd.read_parquet(f"{folder}/parquet"),
    "parquet through fsspec": lambda folder: dd.read_parquet(
        f"{folder}/parquet", filesystem="fsspec"
    ),
    "some of parquet": lambda folder: dd.read_parquet(
        f"{folder}/parquet", filters=[("x", ">", 3)]
    )[["x"]].map_partitions(up),
    "csv": lambda folder: dd.read_csv(f"{folder}/*.csv", blocksize=20),
    "Delayed": lambda folder: dd.from_delayed(
        [dask.delayed(pd.DataFrame)({"x": [i]}) for i in range(3)]
    ),
    "bag": lambda folder: db.from_sequence([{"x": 1}, {"x": 2}]).to_dataframe(
        meta={"x": "int64"}
    ),
    "array": lambda folder: dd.from_dask_array(
        da.ones((10, 2), chunks=(5, 2)), columns=["x", "y"]
    ),
    "shuffle": lambda folder: held().shuffle("k"),
    "merge": lambda folder: held().merge(dd.read_parquet(f"{folder}/parquet"), on="k"),
    "groupby": lambda folder: held().groupby("k").apply(up, meta=DATA.iloc[:0]),
}


def held() -> dd.DataFrame:
    return dd.from_pandas(DATA, npartitions=3)


def print_keys(folder: str) -> None:
    """Print the key of a frame over each source; other processes call this."""
    for name, make in SOURCES.items():
        print(name, computation_key(make(folder)))


@pytest.fixture
def files(tmp_path):
    """A folder with data in two file types."""
    held().to_parquet(tmp_path / "parquet")
    DATA.to_csv(tmp_path / "data.csv", index=False)
    return tmp_path


def test_every_source_has_a_key_that_holds_in_other_processes(files, in_child_process):
    code = (
        "from tests.unit.test_resume_key import print_keys\n"
        f"print_keys({str(files)!r})\n"
    )
    said = []
    for seed in "12":
        ran = in_child_process(code, PYTHONHASHSEED=seed)
        assert ran.returncode == 0, ran.stderr
        said.append(ran.stdout)
    assert said[0] == said[1]
    assert len(said[0].splitlines()) == len(SOURCES)
    assert "None" not in said[0]


@pytest.mark.parametrize("name", ["parquet", "parquet through fsspec", "csv"])
def test_a_file_that_was_written_again_counts_as_another(files, name):
    before = computation_key(SOURCES[name](files))
    for path in [files / "data.csv", *(files / "parquet").iterdir()]:
        os.utime(path, ns=(0, 0))
    assert computation_key(SOURCES[name](files)) != before


def test_slices_of_one_frame_have_keys_of_their_own():
    text = pd.DataFrame({"name": [f"r{i}" for i in range(6)]})
    keys = {
        computation_key(dd.from_pandas(piece.reset_index(drop=True), npartitions=2))
        for piece in (text.iloc[:3], text.iloc[3:])
    }
    assert len(keys) == 2


def test_seeds_count():
    assert computation_key(held().sample(frac=0.5)) != computation_key(
        held().sample(frac=0.5)
    )


def test_data_persisted_on_a_cluster_have_no_key():
    with Client(processes=False, dashboard_address=":0", set_as_default=False) as made:
        persisted = made.persist(held())
        with pytest.raises(NotResumableError, match="persisted"):
            resume_key(persisted.optimize(fuse=False).expr)
