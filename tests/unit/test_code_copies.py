"""Copies of one definition in a process count as one."""

import json

import pytest

from prefect_ds.checkpoints.code_copies import Mark, merge_copies, replace_marks

SCRIPT = """
import json, pickle
import cloudpickle
from prefect_ds.checkpoints.code import CodeWalk

FACTOR = 2

def scaled(x):
    return x * FACTOR

def added(x):
    return scaled(x) + 1

class Notes:
    def gave(self, x):
        return added(x)

class Cat:
    pass

class Dog:
    pass

def first(x, notes=Notes()):
    return Notes.gave(notes, scaled(x))

def second(x):
    return [Notes().gave(x), added(x)]

def third(x, kinds=[Cat, Dog]):
    return kinds

FUNCTIONS = [first, second, third]
if __name__ == "__main__":
    for number, function in enumerate(FUNCTIONS):
        with open(f"{number}.pkl", "wb") as file:
            cloudpickle.dump(function, file)
    print(json.dumps([CodeWalk(function).digest for function in FUNCTIONS]))
"""

WORKER = """
import json, pickle
from prefect_ds.checkpoints.code import CodeWalk

digests = {}
for number in ORDER:
    with open(f"{number}.pkl", "rb") as file:
        digests[number] = CodeWalk(pickle.load(file)).digest
print(json.dumps([digests[number] for number in range(3)]))
"""


def test_tasks_from_pickles_of_their_own_have_the_digests_they_had(in_child_process):
    script = in_child_process(SCRIPT)
    assert script.returncode == 0, script.stderr
    worker = in_child_process(f"ORDER = (1, 0, 2)\n{WORKER}")
    assert worker.returncode == 0, worker.stderr
    assert json.loads(worker.stdout) == json.loads(script.stdout)


def _named(name, qualname=None):
    def function():
        pass

    function.__qualname__ = qualname or name
    return function


def _merged(objects, *facts):
    marks = merge_copies(facts, objects)
    return {int(mark[1:]): int(to[1:]) for mark, to in marks.items()}


ONE, TWO = Mark("@1"), Mark("@2")


@pytest.mark.parametrize(
    ("names", "facts", "merged"),
    [
        ("a b c", (["x", ONE, TWO], ["y"], ["y"]), [0, 1, 2]),
        ("a b b", (["x", ONE, TWO], ["y"], ["y"]), [0, 1, 1]),
        ("a b b", (["x", ONE, TWO], ["y"], ["z"]), [0, 1, 2]),
        # What they lead to tells them apart, or does not, at any distance.
        (
            "a b b c c",
            (["x", ONE, TWO], [Mark("@3")], [Mark("@4")], ["y"], ["z"]),
            [0, 1, 2, 3, 4],
        ),
        (
            "a b b c c",
            (["x", ONE, TWO], [Mark("@3")], [Mark("@4")], ["y"], ["y"]),
            [0, 1, 1, 2, 2],
        ),
        # In a circle, and nested in other facts.
        ("a a", ([("next", [ONE])], [("next", [Mark("@0")])]), [0, 0]),
        # A text that looks like a mark is none.
        ("a b b", (["x"], ["@1"], ["@2"]), [0, 1, 2]),
    ],
)
def test_copies_are_what_nothing_tells_apart(names, facts, merged):
    objects = [_named(name) for name in names.split()]
    assert _merged(objects, *facts) == dict(enumerate(merged))


def test_what_a_function_makes_twice_may_be_two():
    made = [_named("count", "counter.<locals>.count") for _ in range(2)]
    assert _merged(made, ["x"], ["x"]) == {0: 0, 1: 1}


def test_marks_are_replaced_wherever_they_are():
    fact = ["@1", (ONE, [ONE, {"@1"}]), TWO]
    assert replace_marks(fact, {ONE: Mark("@7"), TWO: Mark("@8")}) == [
        "@1",
        ("@7", ["@7", {"@1"}]),
        "@8",
    ]
