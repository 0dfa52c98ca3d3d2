"""The key of a computation: equal in another process when the computation is the same, another one when it is not."""

import functools
import importlib
import sys
import textwrap
import threading
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

from prefect_ds.dask.resume_key import computation_key
from tests.support.dask_flows import frame, handler


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
            "from prefect_ds.dask.resume_key import computation_key\n"
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


def locked(part, lock=threading.Lock()):  # noqa: B008
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
    monkeypatch.setattr(
        "prefect_ds.dask.resume_key.code_digest",
        lambda function: looked_at.append(function) or "",
    )
    computation_key(held.groupby("x").agg("sum").reset_index().merge(held, on="x"))
    assert looked_at == []
