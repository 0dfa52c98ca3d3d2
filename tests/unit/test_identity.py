"""What makes two runs of a task the same: digests that hold in every process, and none where none would."""

import collections
import datetime
import functools
import json
import os
import pathlib
import socket
import sqlite3
import subprocess
import sys
import threading
import uuid
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import prefect_ds
from prefect_ds.checkpoints import digests
from prefect_ds.checkpoints.bytecode import PYTHON
from prefect_ds.checkpoints.identity import identify_run, identify_task
from prefect_ds.checkpoints.own_code import code_digest
from prefect_ds.checkpoints.reference import CheckpointReference
from prefect_ds.storage.identity import Code, Identity

TASK = identify_task("t")


def digest(value):
    """Return the digest of a value, None for one that has none."""
    try:
        return digests.digest(value)
    except digests.UndigestibleError:
        return None


VALUES = """
import dataclasses, datetime, decimal, enum, pathlib, uuid
import numpy as np, pandas as pd

class Color(enum.Enum):
    RED = 1

@dataclasses.dataclass(frozen=True)
class Settings:
    rate: float
    names: frozenset

VALUES = {
    "text": "é\\ud800", "bytes": b"ab", "number": 7, "float": 0.1, "none": None, "decimal": decimal.Decimal("1.50"),
    "date": datetime.date(2024, 2, 29),
    "path": pathlib.PurePosixPath("a/b"), "uuid": uuid.UUID(int=5), "enum":
    Color.RED,
    "list": [1, "a", [2.5, None]],
    "dict": {"b": 1, "a": {"c": {"x", "y", "z"}}}, "set": {"a", "b", "c", "d", "e", 1, 2},
    "frozenset": frozenset("abcdef"), "dataclass": Settings(0.1, frozenset(["p", "q", "r"])),
    "array": np.arange(6.0).reshape(2, 3), "objects": np.array(["a", None, 1], dtype=object),
    "frame": pd.DataFrame({"x": [1.5, None], "s": ["a", None], "c": pd.Categorical(["u", "v"])}, index=["k", "l"]),
    "series": pd.Series([1, 2], name="n"), "timestamp": pd.Timestamp("2024-01-01", tz="Europe/Berlin"),
    "lambda": lambda x, k=3: [y for y in x if y in {"p", "q", k}], "class": dict, "function": len, "slice": slice(1, 2),
}
"""
CHILD = f"""
import json
{VALUES}
from prefect_ds.checkpoints.own_code import code_digest
from prefect_ds.checkpoints.digests import digest

def make(bound):
    def task(x, names=("a", "b"), *, k={{"p": 1, "q": 2}}):
        # a comment
        return [y for y in x if y in {{"u", "v", "w", bound}} and y != k]
    return task

found = {{name: digest(value) for name, value in VALUES.items()}}
found["code"] = code_digest(make(frozenset(["s", "t", "r"])))
print(json.dumps(found))
"""


def in_child(seed):
    environment = {
        **os.environ,
        "PYTHONHASHSEED": str(seed),
        "PYTHONPATH": os.path.dirname(os.path.dirname(prefect_ds.__file__)),
    }
    command = [sys.executable, "-P", "-W", "ignore", "-c", CHILD]
    return json.loads(
        subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout
    )


def test_digests_are_the_same_in_every_process():
    first, second = in_child(1), in_child(2)
    assert {name for name in first if first[name] != second[name]} == set()
    assert {name for name in first if first[name] is None} == set()


DIFFERENT = {
    "int and bool": (1, True),
    "int and float": (1, 1.0),
    "int and str": (1, "1"),
    "None and str": (None, "None"),
    "str and bytes": ("a", b"a"),
    "str and path": ("a", pathlib.Path("a")),
    "list and tuple": ([1], (1,)),
    "set and frozenset": ({1}, frozenset({1})),
    "nested otherwise": ([[1], 2], [1, [2]]),
    "order of a list": ([1, 2], [2, 1]),
    "order of a dict": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "signed zero": (0.0, -0.0),
    "datetime and Timestamp": (
        datetime.datetime(2024, 1, 1),
        pd.Timestamp("2024-01-01"),
    ),
    "time zone": (pd.Timestamp("2024-01-01", tz="UTC"), pd.Timestamp("2024-01-01")),
    "shape": (np.zeros((2, 3)), np.zeros((3, 2))),
    "dtype": (np.zeros(2, "int64"), np.zeros(2, "float64")),
    "lambda": (lambda x: x + 1, lambda x: x + 2),
    "partial": (functools.partial(max, 1), functools.partial(max, 2)),
    "column order": (
        pd.DataFrame({"a": [1], "b": [2]}),
        pd.DataFrame({"b": [2], "a": [1]}),
    ),
    "row order": (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [1, 2]}).iloc[::-1]),
    "index": (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1]}, index=[5])),
    "index name": (
        pd.DataFrame({"a": [1]}),
        pd.DataFrame({"a": [1]}, index=pd.Index([0], name="i")),
    ),
    "series name": (pd.Series([1], name="a"), pd.Series([1], name="b")),
    "nullable": (pd.Series([1], dtype="Int64"), pd.Series([1], dtype="int64")),
    "unit": (
        pd.Series(pd.to_datetime(["2024"])).dt.as_unit("s"),
        pd.Series(pd.to_datetime(["2024"])).dt.as_unit("ns"),
    ),
    "category order": (
        pd.Categorical(["a"], ["a", "b"]),
        pd.Categorical(["a"], ["b", "a"]),
    ),
    "ordered categories": (
        pd.Categorical(["a"], ["a"], ordered=True),
        pd.Categorical(["a"], ["a"]),
    ),
    "text and object": (pd.Series(["a"]), pd.Series(["a"], dtype=object)),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_has_another_digest(name):
    one, other = DIFFERENT[name]
    assert digest(one) is not None
    assert digest(one) != digest(other)


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"a", "b", "c"},
        lambda: pd.DataFrame({"x": [1.0, np.nan], "s": ["a", None]}),
        lambda: np.arange(5)[::2],
        lambda: collections.OrderedDict(a=1, b=[2]),
        lambda: uuid.UUID(int=3),
        lambda: datetime.timedelta(1),
    ],
)
def test_equal_values_have_one_digest(make):
    assert digest(make()) == digest(make()) is not None


def test_a_big_input_changes_its_digest_with_one_cell():
    frame = pd.DataFrame({"x": np.arange(200_000.0)})
    before = digest(frame)
    frame.loc[123_456, "x"] += 1e-9
    assert digest(frame) != before


def unstable_values():
    yield "socket", socket.socket()
    yield "connection", sqlite3.connect(":memory:")
    yield "lock", threading.Lock()
    yield "generator", (i for i in ())
    yield "thread", threading.Thread()
    yield "in a list", [1, threading.Lock()]
    yield "in a dict", {"a": {"b": threading.Lock()}}
    yield "in an object", SimpleNamespace(lock=threading.Lock())


def test_what_cannot_be_told_apart_later_has_no_digest_and_is_listed():
    for name, value in unstable_values():
        assert digest(value) is None, name
        run = identify_run(TASK, {"b": value, "a": 1, "c": value})
        identity = run.identity
        assert [remark.partition(" (")[0] for remark in run.remarks] == [
            "input 'b'",
            "input 'c'",
        ]
        assert all(remark.endswith(" was not compared") for remark in run.remarks)
        assert "a" in identity.inputs
        assert identity.unstable_inputs == ("b", "c")
        for each in value.values() if isinstance(value, dict) else [value]:
            if hasattr(each, "close") and not isinstance(each, dict):
                each.close()


def test_a_value_that_is_nested_without_end_has_no_digest():
    deep = []
    for _ in range(50_000):
        deep = [deep]
    try:
        assert digest(deep) is None
    finally:
        while deep:  # Else its end takes a stack as deep.
            deep = deep.pop()


def test_a_value_that_fails_to_say_what_it_is_has_no_digest():
    class Rude:
        def __dask_tokenize__(self):
            raise RuntimeError("not now")

    assert digest(Rude()) is None


def reference(content, *, path="/a", read_kwargs=None):
    return CheckpointReference(
        handler=SimpleNamespace(read_kwargs=read_kwargs or {}), path=path, content=content, n_rows=1, n_columns=1,
        size_bytes=1, written_at="2024", owner="t", asked="x", is_loaded=False, compute_s=None, write_s=None,
    )  # fmt: skip


def test_a_checkpoint_counts_by_its_content_alone():
    one, same = reference("c1", path="/a"), reference("c1", path="/b")
    other = reference("c2", path="/a")
    assert digest(one) == digest(same) is not None
    assert digest(one) != digest(other)
    assert digest([{"x": one}]) == digest([{"x": same}]) != digest([{"x": other}])
    assert (
        identify_run(TASK, {"x": one}).identity.inputs
        == identify_run(TASK, {"x": same}).identity.inputs
        == {"x": "checkpoint:c1"}
    )


def test_one_file_read_otherwise_is_another_input(tmp_path):
    """The options of the reader decide what a downstream task gets, so its checkpoint is another."""
    from prefect_ds import PandasResultHandler
    from prefect_ds.storage.manifest import Origin

    path = f"{tmp_path}/a.csv"
    pd.DataFrame({"x": [1], "y": [2]}).to_csv(path, index=False)
    digests = set()
    for columns in (["x"], ["x", "y"]):
        handler = PandasResultHandler(path, "csv", read_kwargs={"usecols": columns})
        manifest = handler.look_up(path).manifest
        digests.add(
            digest(handler.refer(path, manifest, origin=Origin(), is_loaded=True))
        )
    assert len(digests) == 2


def test_options_without_a_digest_are_not_shown_to_be_equal():
    one, other = (
        identify_task("t", options={"f": threading.Lock()}).common for _ in range(2)
    )
    assert one.difference(other) != ""


CODE = Code(
    "c",
    PYTHON,
    {"clean() in helpers": "1", "total()": "1"},
    {"global 'LIMIT'": "=0.5", "global 'TEXT'": "1"},
)
BASE = Identity(
    "clean", {"a": "1", "b": "1", "self.sql": "1"}, ("client",), "o", CODE, "v2"
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"task": "load"}, "it was written by task 'load'"),
        ({"inputs": {"self.sql": "1", "a": "2", "b": "1"}}, "input 'a' changed"),
        ({"inputs": {"self.sql": "1", "a": "2", "b": "2"}}, "inputs 'a', 'b' changed"),
        ({"inputs": {"self.sql": "1", "a": "1"}}, "input 'b' came new"),
        ({"inputs": {}}, "inputs 'a', 'b' and setting 'sql' came new"),
        ({"inputs": {"a": "1", "b": "1", "self.sql": "2"}}, "setting 'sql' changed"),
        ({"scheme": ""},
         "its inputs cannot be compared, as another version of prefect_ds made their digests"),
        ({"inputs": {"self.sql": "1", "a": "1", "b": "1", "z": "1"}}, "input 'z' went away"),
        ({"unstable_inputs": ()}, "input 'client' came new"),
        ({"unstable_inputs": ("client", "pool")}, "input 'pool' went away"),
        ({"inputs": {"self.sql": "1", "a": "1"}, "unstable_inputs": ("b", "client")}, "input 'b' cannot be compared"),
        ({"inputs": {"self.sql": "1", "a": "1", "b": "1", "client": "1"}, "unstable_inputs": ()}, "input 'client' cannot be compared"),
        ({"options": "p"}, "the handler's options changed"),
        ({"inputs": {"self.sql": "1", "a": "2", "z": "1"}, "options": "p"},
         "input 'a' changed, input 'b' came new, input 'z' went away, the handler's options changed"),
    ],
)  # fmt: skip
def test_the_difference_is_said_in_words(change, words):
    earlier = BASE._replace(**change)
    assert BASE.difference(earlier) == words
    assert BASE.difference(earlier, "path") == ""


@pytest.mark.parametrize(
    ("functions", "values", "words"),
    [
        ({}, {}, "the task's code changed"),
        ({"total()": "2"}, {}, "code changed: total()"),
        ({"total()": "2", "clean() in helpers": "2"}, {}, "code changed: clean() in helpers, total()"),
        ({}, {"global 'LIMIT'": "=0.6"}, "global 'LIMIT' 0.6 -> 0.5"),
        ({}, {"global 'TEXT'": "2"}, "global 'TEXT' changed"),
        ({"total()": "2"}, {"global 'LIMIT'": "=1"}, "code changed: total(), global 'LIMIT' 1 -> 0.5"),
        ({"more()": "1"}, {}, "code changed: more()"),
    ],
)  # fmt: skip
def test_the_code_counts_where_it_is_asked_for_and_what_changed_is_named(
    functions, values, words
):
    code = Code("d", PYTHON, {**CODE.functions, **functions}, {**CODE.values, **values})
    earlier = BASE._replace(code=code)
    assert BASE.difference(earlier) == BASE.difference(earlier, "inputs") == ""
    assert BASE.difference(earlier, "code") == words
    assert BASE.remark_on_code(earlier, "code") == ""
    for match in ("inputs", "path"):
        remark = BASE.remark_on_code(earlier, match)
        assert remark.startswith(f"its code has changed since ({words})")
        assert f"match={match!r}" in remark
        assert 'match="code"' in remark


@pytest.mark.parametrize("match", ["code", "inputs", "path"])
def test_code_of_another_python_does_not_compare_and_counts_with_a_remark(match):
    earlier = BASE._replace(code=CODE._replace(digest="d", python="cpython 3.99"))
    assert BASE.difference(earlier, match) == ""
    remark = BASE.remark_on_code(earlier, match)
    assert remark.startswith("its code could not be compared: cpython 3.99 ran it then")
    assert BASE.remark_on_code(BASE, match) == ""


def test_the_same_code_has_no_remark():
    for match in ("code", "inputs", "path"):
        assert BASE.remark_on_code(BASE, match) == ""


def test_an_input_that_is_ignored_now_counts_in_no_earlier_identity():
    earlier = BASE._replace(unstable_inputs=("client", "pool"))
    assert BASE.difference(earlier, ignore=["pool"]) == ""
    earlier = BASE._replace(inputs={**BASE.inputs, "pool": "1", "self.pool": "1"})
    assert BASE.difference(earlier, ignore=["pool"]) == ""
    assert BASE.difference(earlier) == "input 'pool' and setting 'pool' went away"


def test_an_ignored_input_has_neither_a_digest_nor_a_remark():
    task = identify_task(
        "t", settings={"log": threading.Lock()}, ignore=["conn", "log"]
    )
    run = identify_run(task, {"conn": threading.Lock(), "x": 1})
    assert set(run.identity.inputs) == {"x"}
    assert run.identity.unstable_inputs == ()
    assert run.remarks == ()


def test_a_default_counts_as_if_it_were_given():
    task = identify_task("t", defaults={"factor": 2, "lock": threading.Lock()})
    left_out = identify_run(task, {"x": 1})
    given = identify_run(task, {"x": 1, "factor": 2, "lock": 1})
    assert left_out.identity.inputs["factor"] == given.identity.inputs["factor"]
    assert left_out.remarks == ("input 'lock' (a lock) was not compared",)
    assert given.remarks == ()


class Holder:
    """Settings with a lock beside them."""

    def __init__(self, rate):
        self.rate = rate
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Holder(1), Holder(2)),
        ({"a": 1, "lock": threading.Lock()}, {"a": 2, "lock": threading.Lock()}),
        ([threading.Lock(), 1], [threading.Lock(), 2]),
        ({"deep": [Holder(1)]}, {"deep": [Holder(2)]}),
    ],
    ids=["object", "dict", "list", "nested"],
)
def test_a_value_with_one_part_that_has_no_digest_is_compared_by_the_rest(one, other):
    first, same, second = (
        identify_run(TASK, {"x": value}) for value in (one, one, other)
    )
    assert first.identity.difference(same.identity) == ""
    assert first.identity.difference(second.identity) == "input 'x' changed"
    (remark,) = first.remarks
    assert remark.startswith("input 'x' (a lock at ")


def function(source, **names):
    """Compile the one function in a source."""
    namespace = dict(names)
    exec(source, namespace)
    return namespace["f"]


PLAIN = "def f(x, k=1):\n    return [y + 1 for y in x if y in {'a', 'b', 'c'}]"


@pytest.mark.parametrize(
    "source",
    [
        "\n\n\n# comment\n" + PLAIN,
        PLAIN.replace(":\n", ":  # comment\n\n    # another\n\n", 1),
        PLAIN.replace("y", "each"),
        PLAIN.replace("'a', 'b', 'c'", "'c', 'b', 'a'"),
        PLAIN.replace("x, k=1", "x: list, k: int = 1"),
    ],
    ids=["line", "comments", "local names", "order in a set", "annotations"],
)
def test_code_that_does_the_same_has_one_digest(source):
    assert code_digest(function(source)) == code_digest(function(PLAIN))


@pytest.mark.parametrize(
    ("old", "new"),
    [("+ 1", "+ 2"), ("+ 1", "- 1"), ("+ 1", "+ True"), ("+ 1", "+ 1.0"), ("'c'", "'d'"), ("k=1", "k=2"),
     ("k=1", "*, k=1"), ("y + 1", "abs(y)"), ("[y", "[lambda: y")],
)  # fmt: skip
def test_code_that_does_something_else_has_another_digest(old, new):
    assert old in PLAIN
    assert code_digest(function(PLAIN.replace(old, new))) != code_digest(
        function(PLAIN)
    )


def test_names_called_constants_inside_and_keyword_defaults_count():
    assert code_digest(function("def f(x): return min(x)")) != code_digest(
        function("def f(x): return max(x)")
    )
    inner = "def f(x):\n    def g(y):\n        return y * {}\n    return g(x)"
    assert code_digest(function(inner.format(2))) != code_digest(
        function(inner.format(3))
    )
    assert code_digest(function("def f(*, k=1): return k")) != code_digest(
        function("def f(*, k=2): return k")
    )


def test_values_of_a_closure_count():
    def make(bound, lock=None):
        return lambda x: (x < bound, lock)

    assert code_digest(make(1)) == code_digest(make(1))
    assert code_digest(make(1)) != code_digest(make(2))
    assert code_digest(make(pd.DataFrame({"x": [1]}))) != code_digest(
        make(pd.DataFrame({"x": [2]}))
    )
    lock = threading.Lock()
    assert code_digest(make(1, lock)) != code_digest(make(2, lock)), (
        "also beside a value without a digest"
    )


def test_a_closure_that_is_not_filled_yet_is_no_error():
    def make():
        def f():
            return later

        digest = code_digest(f)
        later = 1
        return digest

    assert len(make()) == 64


def test_what_has_no_code_of_its_own_has_an_empty_digest():
    assert code_digest(len) == ""


def test_a_method_counts_as_its_function():
    class Task:
        def run(self, x):
            return x + 1

    assert code_digest(Task().run) == code_digest(Task.run) != ""


def test_what_a_partial_binds_counts():
    def f(x, k):
        return x + k

    assert code_digest(functools.partial(f, k=1)) != code_digest(
        functools.partial(f, k=2)
    )
