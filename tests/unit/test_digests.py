"""Equal values have equal digests and unequal ones do not, in this process and in others."""

import json
import pathlib
import pickle
import socket
import sqlite3
import sys
import threading
from types import SimpleNamespace

import cloudpickle
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from prefect.engine import signals

from prefect_ds.checkpoints.digests import SCHEME, UndigestibleError, digest
from prefect_ds.checkpoints.digests.registry import digest_of_pickled
from tests.support import digest_values
from tests.support.digest_pairs import EQUAL, UNEQUAL, VALUES, is_sent

GOLDEN = pathlib.Path(digest_values.__file__).with_name("golden_digests.json")


def test_the_table_is_large():
    assert len(UNEQUAL) + len(EQUAL) >= 450


@pytest.mark.parametrize("name", UNEQUAL)
def test_values_that_look_alike_have_two_digests(name):
    one, other = UNEQUAL[name]
    assert digest(one()) != digest(other())


COUNTED = {"shared and copied lists", "shared objects", "property that was read"}
"""Equal for a task that takes them, and more than that in a pickle."""


def test_the_digest_of_what_is_in_a_pickle_says_as_much_as_the_pickle():
    pairs = {name: UNEQUAL[name] for name in UNEQUAL}
    pairs |= {name: EQUAL[name] for name in COUNTED}
    alike, without = [], []
    for name, (one, other) in pairs.items():
        digests = digest_of_pickled(one()), digest_of_pickled(other())
        if not all(digests):
            without.append(name)
        elif digests[0] == digests[1]:
            alike.append(name)
    assert alike == []
    assert len(without) < 10


@pytest.mark.parametrize("name", [name for name in EQUAL if name not in COUNTED])
def test_the_digest_of_what_is_in_a_pickle_forgets_how_it_was_made(name):
    one, other = EQUAL[name]
    assert digest_of_pickled(one()) == digest_of_pickled(other())


def test_the_digest_of_what_is_in_a_pickle_counts_which_objects_are_one():
    inner, other = [1], [1]
    frame = pd.DataFrame({"a": [1]})
    values = [
        [inner, inner],
        [inner, other],
        ([inner, inner], [inner]),
        ([inner, inner], [other]),
        ([inner, other], [inner]),
        ([inner, other], [other]),
        [(inner,), (inner,)],
        [(inner,), (other,)],
        [frame, frame],
        [frame, frame.copy()],
        [data := bytearray(b"x"), data],
        [data, bytearray(b"x")],
        {"a": (array := np.zeros(2)), "b": array},
        {"a": array, "b": array.copy()},
    ]
    assert len(set(map(digest_of_pickled, values))) == len(values)
    one, two = (1, "a"), (1, *"a")
    assert digest_of_pickled([one, one]) == digest_of_pickled([one, two])


@pytest.mark.parametrize(
    "value",
    [
        {"a": np.zeros(2**18)},
        ["x" * 2**21],
        [[number] for number in range(20_001)],
        [lambda: 1],
    ],
)
def test_what_is_in_a_pickle_counts_by_its_bytes_where_it_is_large_or_code(value):
    assert digest_of_pickled(value) == ""


def test_a_large_frame_in_a_pickle_has_a_digest():
    assert digest_of_pickled(pd.DataFrame({"a": np.zeros(2**18)}), counts_bytes=False)


@pytest.mark.parametrize("name", EQUAL)
def test_equal_values_made_differently_have_one_digest(name):
    one, other = EQUAL[name]
    assert digest(one()) == digest(other())


def test_no_two_values_of_the_table_share_a_digest_but_the_equal_ones():
    names = {}
    for name, (one, other) in UNEQUAL.items():
        for value in (one(), other()):
            names.setdefault(digest(value), {}).setdefault(repr(type(value)), name)
    assert {found: kinds for found, kinds in names.items() if len(kinds) > 1} == {}


OTHER_PROCESS = """
import json, pickle, sys, warnings
warnings.simplefilter("ignore")
from prefect_ds.checkpoints.digests import digest
from tests.support.digest_pairs import VALUES

with open(sys.argv[1] if len(sys.argv) > 1 else "sent", "rb") as file:
    sent = pickle.load(file)
made = {name: digest(make()) for name, make in VALUES.items()}
unpickled = {name: digest(pickle.loads(data)) for name, data in sent.items()}
print(json.dumps([made, unpickled]))
"""


def test_every_digest_is_the_same_in_another_process_and_after_a_pickle(
    in_child_process, tmp_path
):
    here = {name: digest(make()) for name, make in VALUES.items()}
    sent = {name: make() for name, make in VALUES.items() if is_sent(name)}
    pickled = {name: cloudpickle.dumps(value) for name, value in sent.items()}
    (tmp_path / "sent").write_bytes(pickle.dumps(pickled))
    child = in_child_process(OTHER_PROCESS, PYTHONHASHSEED="7")
    assert child.returncode == 0, child.stderr
    made, unpickled = json.loads(child.stdout)
    assert {name for name in here if made[name] != here[name]} == set()
    assert {name for name in unpickled if unpickled[name] != here[name]} == set()
    assert len(unpickled) > 2 * 440


MAIN = """
import dataclasses, enum, json, typing, warnings
warnings.simplefilter("ignore")
import cloudpickle
import pandas as pd
from prefect_ds.checkpoints.digests import digest

RATE = 0.5

class Config:
    stop = {"a", "bb", "ccc"}
    def __init__(self, rate): self.rate = rate
    def scaled(self): return self.rate * RATE

@dataclasses.dataclass
class Settings:
    names: frozenset
    config: Config

class Color(enum.Enum):
    RED = 1

class Point(typing.NamedTuple):
    x: int

class Node:
    def __init__(self): self.other = None

def clean(frame, names=("a", "b")):
    return frame[frame.name.isin({"x", "y", "z"})]

node = Node()
node.other = Node()
node.other.other = node
VALUES = {
    "instance": Config(0.1),
    "class": Config,
    "dataclass": Settings(frozenset("abc"), Config(0.1)),
    "enum": [Color.RED, Color],
    "tuple": Point(1),
    "function": clean,
    "method": Config(0.1).scaled,
    "cycle": node,
    "cells": pd.DataFrame({"tags": [{"a", "bb", "ccc"}], "config": [Config(0.2)]}),
}
"""


def test_classes_and_functions_of_a_script_count_by_their_code_in_every_process(
    in_child_process, tmp_path
):
    say = "print(json.dumps({name: digest(value) for name, value in VALUES.items()}))\n"
    keep = "open('values', 'wb').write(cloudpickle.dumps(VALUES))\n"
    load = "import json, pickle\nfrom prefect_ds.checkpoints.digests import digest\n"
    load += "VALUES = pickle.load(open('values', 'rb'))\n"
    edited = MAIN.replace("self.rate * RATE", "self.rate + RATE")
    assert edited != MAIN
    said = []
    for seed, code in enumerate([MAIN + keep, load, edited]):
        child = in_child_process(code + say, PYTHONHASHSEED=str(seed))
        assert child.returncode == 0, child.stderr
        said.append(json.loads(child.stdout))
    assert said[0] == said[1]
    changed = {name for name in said[0] if said[0][name] != said[2][name]}
    assert changed == {"instance", "class", "dataclass", "method", "cells"}


def test_digests_that_were_stored_are_made_again():
    stored = json.loads(GOLDEN.read_text())
    assert len(stored) > 100
    short = {"np": np, "pd": pd, "pa": pa, "pl": pl}
    names = {**sys.modules, **short, **vars(digest_values)}
    made = {text: digest(eval(text, dict(names))) for text in stored}
    assert made == stored


def test_a_digest_says_how_it_was_made():
    assert digest(1).startswith(f"{SCHEME}:")


class Connection:
    def __init__(self):
        self.lock = threading.Lock()


def generator():
    yield


UNDIGESTIBLE = {
    "lock": (threading.Lock, "lock", ""),
    "generator": (generator, "generator", ""),
    "iterator": (lambda: iter([1]), "list_iterator", ""),
    "map": (lambda: map(str, [1]), "map", ""),
    "file": (lambda: open(__file__), "TextIOWrapper", ""),  # noqa: SIM115
    "socket": (socket.socket, "socket", ""),
    "database": (lambda: sqlite3.connect(":memory:"), "Connection", ""),
    "module": (lambda: json, "module", ""),
    "in a list": (lambda: [1, [threading.Lock()]], "lock", "[1][0]"),
    "in a dict": (lambda: {"a": {"b": threading.Lock()}}, "lock", "['a']['b']"),
    "in a set": (lambda: {threading.Lock()}, "lock", "{...}"),
    "in an object": (Connection, "lock", ".lock"),
    "in a namespace": (
        lambda: SimpleNamespace(conn=Connection()),
        "lock",
        ".conn.lock",
    ),
    "in attrs": (lambda: with_attrs(threading.Lock()), "lock", ".attrs['lock']"),
    "in a column": (
        lambda: pd.DataFrame({"a": [1], "b": [threading.Lock()]}),
        "lock",
        "['b'][0]",
    ),
    "in an array": (lambda: digest_values.cells(1, threading.Lock()), "lock", "[1]"),
    "new ufunc": (lambda: np.frompyfunc(len, 1, 1), "ufunc", ""),
}


def with_attrs(lock):
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["lock"] = lock
    return frame


@pytest.mark.parametrize("name", UNDIGESTIBLE)
def test_what_has_no_digest_is_named_with_the_way_to_it(name):
    make, type_name, where = UNDIGESTIBLE[name]
    value = make()
    with pytest.raises(UndigestibleError, match=type_name) as caught:
        digest(value)
    assert (caught.value.type_name, caught.value.where) == (type_name, where)
    assert pickle.loads(pickle.dumps(caught.value)).where == where
    if hasattr(value, "close") and name != "generator":
        value.close()


def test_what_a_class_says_of_itself_is_believed():
    class Client:
        def __init__(self, address):
            self.address, self.lock = address, threading.Lock()

        def __dask_tokenize__(self):
            return self.address

    assert digest(Client("a")) == digest(Client("a"))
    assert digest(Client("a")) != digest(Client("b"))


def test_a_class_that_fails_to_say_what_it_is_has_no_digest():
    class Rude:
        def __reduce_ex__(self, protocol):
            raise RuntimeError("not now")

    with pytest.raises(UndigestibleError, match="not now"):
        digest([Rude()])


@pytest.mark.timeout(120)
def test_a_value_that_shares_its_parts_many_times_over_is_walked_once():
    value = [1.5, "x"]
    for _ in range(90):
        value = [value, value]
    assert digest(value) == digest(pickle.loads(pickle.dumps(value)))


@pytest.mark.timeout(120)
def test_objects_that_all_know_each_other_come_to_an_end():
    def crowd(n):
        nodes = [digest_values.Node(str(i)) for i in range(n)]
        for node in nodes:
            node.edges = nodes
        return nodes[0]

    assert digest(crowd(60)) == digest(pickle.loads(pickle.dumps(crowd(60))))
    assert digest(crowd(60)) != digest(crowd(61))


class Fresh:
    """Has a state that is made when it is asked for."""

    def __init__(self, number):
        self.number = number

    def __getstate__(self):
        return [[self.number]]


def test_temporary_objects_do_not_lend_their_encoding():
    objects = [Fresh(number) for number in range(50)]
    others = [Fresh(min(number, 1)) for number in range(50)]
    assert digest(objects) != digest(others)
    assert len({digest(made) for made in objects}) == 50


def test_a_value_that_holds_itself_by_way_of_a_set_has_no_digest():
    node = digest_values.Node("a")
    node.edges = {node}
    with pytest.raises(UndigestibleError, match="by way of a set"):
        digest(node)


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def test_the_depth_that_has_a_digest_does_not_hang_on_the_caller():
    def deeper(calls, value):
        return digest(value) if calls == 0 else deeper(calls - 1, value)

    assert deeper(300, nested(90)) == digest(nested(90))
    for calls in (0, 300):
        with pytest.raises(UndigestibleError, match="too deep"):
            deeper(calls, nested(110))


def test_a_frame_of_many_rows_changes_its_digest_with_any_cell():
    frame = pd.DataFrame({"x": np.arange(200_000.0), "t": ["ab"] * 200_000})
    digests = {digest(frame)}
    for row in (0, 32_767, 32_768, 123_456, 199_999):
        for label, cell in (("x", -1.0), ("t", "ac")):
            other = frame.copy()
            other.loc[row, label] = cell
            digests.add(digest(other))
    assert len(digests) == 11


@pytest.mark.parametrize("kind", [signals.FAIL, signals.SKIP, signals.TRIGGERFAIL])
def test_a_signal_counts_by_its_message_and_result_wherever_it_has_been(kind):
    signal = kind("no")
    sent = cloudpickle.loads(cloudpickle.dumps(signal))
    noted = kind("no")
    noted.state.context["seconds"] = 0.1

    assert digest(signal) == digest(sent) == digest(noted)
    others = [kind("never"), kind("no", result=1), signals.RETRY("no")]
    assert digest(signal) not in map(digest, others)


@pytest.mark.skipif(
    np.recarray.__module__ == "numpy", reason="numpy 1 names a module that is there"
)
def test_a_class_of_a_library_is_one_whether_its_module_was_imported_or_not(
    monkeypatch,
):
    records = np.zeros(1, [("a", "i4")]).view(np.recarray)
    monkeypatch.delitem(sys.modules, "numpy.rec", raising=False)
    without = digest(records)
    monkeypatch.setitem(sys.modules, "numpy.rec", np.rec)
    assert digest(records) == without
