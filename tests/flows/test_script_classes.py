"""Objects of classes that the user's script defines come back as objects of these."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

from prefect_ds import pickling

SCRIPT = """
import dataclasses, enum, functools, json, sys, typing
import pandas as pd
from prefect import Flow, task
from prefect.executors import DaskExecutor, LocalDaskExecutor, LocalExecutor
from prefect_ds import DSTaskRunner, ObjectResultHandler, PandasResultHandler

class Color(enum.Enum):
    RED = 1

@dataclasses.dataclass
class Settings:
    rate: float
    color: Color = Color.RED

class Point(typing.NamedTuple):
    x: int

@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: int

class Slots:
    __slots__ = ("x",)

    def __init__(self, x):
        self.x = x

class Model:
    class Options:
        pass

    def __init__(self):
        self.options = Model.Options()

    def scaled(self):
        return SCALE

    @functools.cached_property
    def doubled(self):
        return SCALE * 2

class Other:
    class Options:
        pass

SCALE = 2

@task(result=ObjectResultHandler("model.pkl"))
def model():
    return {"color": Color.RED, "settings": Settings(0.5), "point": Point(1), "model": Model(), "class": Settings, "frozen": Frozen(1), "slots": Slots(2)}

@task(result=PandasResultHandler("frame.pkl"))
def frame():
    return pd.DataFrame({"color": [Color.RED], "settings": [Settings(0.5)]})

@task
def is_own(found):
    return [
        found["color"] is Color.RED,
        found["settings"] == Settings(0.5),
        isinstance(found["point"], Point),
        found["class"] is Settings,
        found["frozen"] == Frozen(1),
        type(found["slots"]) is Slots and found["slots"].x == 2,
    ]

@task
def is_nested(found):
    made = found["model"]
    is_own = [type(made) is Model, type(made.options) is EXPECTED_OPTIONS]
    return [*is_own, made.scaled(), made.doubled]

EXPECTED_OPTIONS = Model.Options

@task
def names_only_the_other(found):
    return type(found["model"].options) is Other.Options

@task
def cells_are_own(frame):
    return [frame["color"][0] is Color.RED, frame["settings"][0] == Settings(0.5)]

def make():
    class Local(enum.Enum):
        A = 1

    @task(result=ObjectResultHandler("local.pkl"))
    def local():
        return [Local.A]

    @task
    def is_local(found):
        return found[0] is Local.A

    return is_local(local())

with Flow("script") as flow:
    asked = {"own": is_own(model()), "cells": cells_are_own(frame()), "local": make()}
    asked |= {"nested": is_nested(model()), "other": names_only_the_other(model())}

if __name__ == "__main__":
    kind = sys.argv[1] if len(sys.argv) > 1 else "local"
    executor = LocalExecutor()
    if kind == "threads":
        executor = LocalDaskExecutor("threads")
    elif kind != "local":
        executor = DaskExecutor(address=kind, watch_worker_status=False)
    scaled = Model.scaled
    state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)
    seen = {name: state.result[task].result for name, task in asked.items()}
    seen["client"] = is_own.run(model.result.read("model.pkl").value)
    seen["untouched"] = Model.scaled is scaled
    seen["flow"] = type(state).__name__
    print(json.dumps(seen))
"""
SEEN = {
    "own": [True] * 6,
    "cells": [True] * 2,
    "local": True,
    "nested": [True, True, 2, 4],
    "other": False,
    "client": [True] * 6,
    "untouched": True,
    "flow": "Success",
}


@pytest.fixture
def run_script(
    in_child_process: Callable[..., subprocess.CompletedProcess[str]],
) -> Callable[..., dict[str, object]]:
    """Runs the script in a process of its own, and returns what it saw."""

    def run_script(kind: str) -> dict[str, object]:
        code = f"import sys; sys.argv = ['script', {kind!r}]\n{SCRIPT}"
        ended = in_child_process(code)
        assert ended.returncode == 0, ended.stderr
        seen: dict[str, object] = json.loads(ended.stdout.splitlines()[-1])
        return seen

    return run_script


@pytest.mark.parametrize("kind", ["local", "threads"])
def test_a_later_process_has_objects_of_its_own_classes(run_script, kind):
    assert [run_script(kind) for _ in range(2)] == [SEEN, SEEN]


def test_a_worker_without_the_script_has_objects_of_the_classes_of_its_task(
    run_script, cluster_address
):
    kinds = [cluster_address, cluster_address, "local"]
    assert [run_script(kind) for kind in kinds] == [SEEN] * 3


def test_a_pickle_of_this_process_leaves_its_classes_alone():
    class Counted:
        n = 0

        def count(self) -> int:
            Counted.n += 1
            return Counted.n

    data = pickling.dumps(Counted(), 5)
    count = Counted.count
    Counted.n = 7
    loaded = pickling.loads(data)
    assert type(loaded) is Counted
    assert Counted.count is count
    assert loaded.count() == 8


def test_of_two_classes_of_one_name_neither_is_taken():
    def make() -> type:
        class Made:
            pass

        return Made

    one, other = make(), make()
    data = pickling.dumps(one(), 5)
    with pickling.naming(lambda: [one, other]):
        assert type(pickling.loads(data)) is one
    pickling._by_pickle_id.clear()
    with pickling.naming(lambda: [one, other]):
        assert type(pickling.loads(data)) not in (one, other)
    with pickling.naming(lambda: [other]):
        assert type(pickling.loads(data)) is other


def test_classes_that_name_one_another_have_an_end():
    made = [type("A", (), {}), type("B", (), {})]
    for kind in made:
        kind.A, kind.B = made
    back = pickling.loads(pickling.dumps([kind() for kind in made], 5))
    assert [type(one).__name__ for one in back] == ["A", "B"]


ENUM = """
import enum, sys
from prefect_ds import ObjectResultHandler

class Level(enum.Enum):
    {member} = {value!r}

handler = ObjectResultHandler("level.pkl")
if sys.argv[1:] == ["write"]:
    handler.write(Level.{member})
level = handler.read("level.pkl").value
print(level, level.value, type(level) is Level)
"""


def test_a_reader_whose_class_cannot_hold_the_value_gets_that_of_the_pickle(
    in_child_process, tmp_path
):
    def said(member: str, value: object, *arguments: str) -> str:
        code = ENUM.format(member=member, value=value)
        ended = in_child_process(
            f"import sys; sys.argv[1:] = {list(arguments)}\n{code}"
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()

    assert said("LOW", 1, "write") == "Level.LOW 1 True"
    assert said("TOP", "top") == "Level.LOW 1 False"
    assert said("LOW", 1) == "Level.LOW 1 True"


ATTRS = """
import attrs
from prefect_ds.checkpoints.code import CodeWalk

@attrs.frozen
class Point:
    x: int

def made():
    return Point(1)

print(CodeWalk(made).digest)
"""


def test_a_class_of_attrs_is_the_same_code_in_every_process(in_child_process):
    seen = {in_child_process(ATTRS, PYTHONHASHSEED=seed).stdout for seed in "123"}
    assert len(seen) == 1
    other = ATTRS.replace("x: int", "x: float")
    assert in_child_process(other, PYTHONHASHSEED="1").stdout not in seen
