"""Which edits of the user's code count, and in which words the reason names them."""

import contextlib
import functools
import itertools
import logging
import sqlite3
import sys
import textwrap
import types

import pytest

from prefect_ds.checkpoints.bytecode import PYTHON
from prefect_ds.checkpoints.code import CodeWalk
from prefect_ds.storage.identity import Identity

HELPERS = '''
"""Helpers of a project."""
import dataclasses
import enum
import functools
import logging
import sqlite3
import threading

LIMIT = 0.5
NAME = "north"
UNUSED = 1
DEEP = 3
SETTINGS = {"rate": 1, "names": ["a", "b"]}
log = logging.getLogger(__name__)
lock = threading.Lock()
client = sqlite3.connect(":memory:", check_same_thread=False)
calls = 0


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Scaler:
    """Scales."""

    factor = 7

    def __init__(self, by):
        self.by = by

    def scale(self, x):
        """Scale one."""
        return x * self.by * self.factor

    @property
    def half(self):
        return self.by / 2

    @staticmethod
    def shift(x):
        return x + 1

    @classmethod
    def of(cls, by):
        return cls(by)


class Wide(Scaler):
    pass


@dataclasses.dataclass
class Config:
    rate: float = 0.1
    steps: list = dataclasses.field(default_factory=lambda: [1, 2])


def timed(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        result = function(*args, **kwargs)
        return result

    return wrapper


def deepest(x):
    return x - DEEP


def deeper(x):
    return deepest(x)


def clean(x, keep=2):
    """Clean one."""
    lowest, highest = 1, 9
    inner = [y + 1 for y in [x] if lowest < y < highest]
    log.info("cleaned %s", inner)
    return deeper(x) * LIMIT


def unused(x):
    return x


def even(x):
    return x == 0 or odd(x - 1)


def odd(x):
    return x != 0 and even(x - 1)


@timed
def decorated(x):
    return x + 1


@functools.cache
def cached(x):
    return x + 2


@functools.singledispatch
def shown(x):
    return "any"


@shown.register
def _(x: int):
    return "an int"


def counted(x):
    global calls
    calls += 1
    return x


bound = functools.partial(clean, keep=5)
STEPS = {"first": clean, "second": decorated}
SCALER = Scaler(3)


def query(frame):
    low, high = 1, 3
    return frame.query("x > @low")


EXPRESSION = "x > @LIMIT"


def queries(frame):
    return frame.query(EXPRESSION).eval("y = x * @DEEP + UNUSED")


def evaluates(x):
    return eval("x * DEEP")


class Repeated:
    def __init__(self, function, times):
        functools.update_wrapper(self, function)
        self.function = function
        self.times = times

    def __call__(self, x):
        return [self.function(x)] * self.times


@functools.partial(Repeated, times=2)
def repeated(x):
    """Repeat."""
    return x + 8


def documented():
    return documented.__doc__
'''

FLOW = """
import helpers
import helpers as tools
from helpers import (
    LIMIT, NAME, SETTINGS, STEPS, SCALER, Color, Config, Scaler, Wide, bound, cached,
    clean, client, counted, decorated, documented, even, evaluates,
    lock, queries, query, repeated, shown, timed,
)


def {task}
"""

TASKS = {
    "call": "total(x):\n    return clean(x)",
    "module": "total(x):\n    return helpers.clean(x) + tools.LIMIT",
    "constants": "total(x):\n    return (x, LIMIT, NAME, SETTINGS['rate'])",
    "import": "total(x):\n    from helpers import clean\n    return clean(x)",
    "import module": "total(x):\n    import helpers as other\n    return other.clean(x)",
    "class": "total(x):\n    return Scaler(2).scale(x)",
    "subclass": "total(x):\n    return Wide.of(2).half",
    "instance": "total(x):\n    return SCALER.scale(x)",
    "dataclass": "total(x):\n    return Config().rate * x",
    "enum": "total(x):\n    return Color.RED.value",
    "decorated": "total(x):\n    return decorated(x)",
    "cached": "total(x):\n    return cached(x)",
    "dispatch": "total(x):\n    return shown(x)",
    "partial": "total(x):\n    return bound(x)",
    "table": "total(x):\n    return STEPS['first'](x)",
    "default": "total(x, step=clean):\n    return step(x)",
    "inner": "total(x):\n    def inside(y):\n        return clean(y)\n    return inside(x)",
    "lambda": "total(x):\n    return (lambda y: clean(y))(x)",
    "comprehension": "total(x):\n    return [clean(y) for y in x]",
    "cycle": "total(x):\n    return even(x)",
    "state": "total(x):\n    return counted(x)",
    "by name": "total(x):\n    return query(x)",
    "query": "total(x):\n    return queries(x)",
    "eval": "total(x):\n    return evaluates(x)",
    "getattr": "total(x):\n    return getattr(helpers, 'LIMIT')",
    "module in a table": "total(x):\n    return {'first': helpers}['first'].LIMIT",
    "module in a list": "total(x):\n    return MODULES[0].LIMIT\n\n\nMODULES = [helpers]",
    "module handed on": "total(x):\n    return limit_of(helpers)\n\n\ndef limit_of(module):\n    return module.LIMIT",
    "module around": "make():\n    import helpers\n    return lambda x: helpers.clean(x)\n\n\ntotal = make()",
    "decorator object": "total(x):\n    return repeated(x)",
    "doc": "total(x):\n    return documented()",
    "handles": "total(x):\n    with lock:\n        return client.execute('select 1')",
    "timed": "total(x):\n    return clean(x)\n\n\ntotal = timed(total)",
}

# Task, old text, new text (of the helpers, or else of the flow), the reason; an edit
# without a reason does not count.
EDITS = [
    # Functions that are called
    ("call", "return deeper(x) * LIMIT", "return deeper(x) + LIMIT", "code changed: clean() in helpers"),
    ("call", "return deepest(x)", "return deepest(x) + 1", "code changed: deeper() in helpers"),
    ("call", "return x - DEEP", "return x + DEEP", "code changed: deepest() in helpers"),
    ("call", "y + 1 for y", "y + 2 for y", "code changed: clean() in helpers"),
    ("call", "keep=2", "keep=3", "default 'keep' of clean() in helpers 2 -> 3"),
    ("call", "def clean(x, keep=2)", "def clean(x, *, keep=2)", "code changed: clean() in helpers"),
    ("call", "def clean(x, keep=2)", "def clean(x, kept=2)", "code changed: clean() in helpers"),
    ("call", "lowest, highest = 1, 9", "lowest, highest = 1, 10", "code changed: clean() in helpers"),
    ("call", "lowest < y < highest", "lowest < y <= highest", "code changed: clean() in helpers"),
    ("call", "lowest < y < highest", "highest < y < lowest", "code changed: clean() in helpers"),
    ("module", "return deeper(x) * LIMIT", "return deeper(x) + LIMIT", "code changed: clean() in helpers"),
    ("import", "return x - DEEP", "return x + DEEP", "code changed: deepest() in helpers"),
    ("import module", "return x - DEEP", "return x + DEEP", "code changed: deepest() in helpers"),
    ("inner", "return x - DEEP", "return x + DEEP", "code changed: deepest() in helpers"),
    ("lambda", "return x - DEEP", "return x + DEEP", "code changed: deepest() in helpers"),
    ("comprehension", "return x - DEEP", "return x + DEEP", "code changed: deepest() in helpers"),
    ("default", "return x - DEEP", "return x + DEEP", "code changed: deepest() in helpers"),
    ("partial", "return x - DEEP", "return x + DEEP", "code changed: deepest() in helpers"),
    ("partial", "keep=5", "keep=6", "global 'bound' changed"),
    ("table", "return x - DEEP", "return x + DEEP", "code changed: deepest() in helpers"),
    ("table", '"first": clean, "second"', '"first": unused, "second"', "code changed: "),
    ("timed", "return x - DEEP", "return x + DEEP", "code changed: deepest() in helpers"),
    ("timed", "return result", "return result or 0", "code changed: total()"),
    ("decorated", "return x + 1\n\n\n@functools.cache", "return x + 3\n\n\n@functools.cache", "code changed: decorated() in helpers"),
    ("decorated", "return result", "return result or 0", "code changed: decorated() in helpers"),
    ("cached", "return x + 2", "return x + 3", "code changed: cached() in helpers"),
    ("dispatch", '"an int"', '"int"', "code changed: _() in helpers"),
    ("dispatch", '"any"', '"all"', "code changed: shown() in helpers"),
    ("cycle", "x == 0 or", "x == 1 or", "code changed: even() in helpers"),
    ("cycle", "x != 0 and", "x != 1 and", "code changed: odd() in helpers"),
    # Values that are read
    ("call", "LIMIT = 0.5", "LIMIT = 0.6", "global 'LIMIT' in helpers 0.5 -> 0.6"),
    ("call", "DEEP = 3", "DEEP = 4", "global 'DEEP' in helpers 3 -> 4"),
    ("call", "DEEP = 3", "DEEP = True", "global 'DEEP' in helpers 3 -> True"),
    ("module", "LIMIT = 0.5", "LIMIT = 1", "global 'LIMIT' in helpers 0.5 -> 1"),
    ("constants", "LIMIT = 0.5", "LIMIT = 0.6", "global 'LIMIT' 0.5 -> 0.6"),
    ("constants", 'NAME = "north"', 'NAME = "south"', "global 'NAME' changed"),
    ("constants", '"rate": 1', '"rate": 2', "global 'SETTINGS' changed"),
    ("constants", '"a", "b"', '"b", "a"', "global 'SETTINGS' changed"),
    ("query", "LIMIT = 0.5", "LIMIT = 0.6", "global 'LIMIT' in helpers 0.5 -> 0.6"),
    ("query", "DEEP = 3", "DEEP = 4", "global 'DEEP' in helpers 3 -> 4"),
    ("query", "UNUSED = 1", "UNUSED = 2", ""),
    ("eval", "DEEP = 3", "DEEP = 4", "global 'DEEP' in helpers 3 -> 4"),
    ("getattr", "LIMIT = 0.5", "LIMIT = 0.6", "global 'LIMIT' in helpers 0.5 -> 0.6"),
    ("module in a table", "LIMIT = 0.5", "LIMIT = 0.6", "global 'LIMIT' in helpers 0.5 -> 0.6"),
    ("module in a list", "LIMIT = 0.5", "LIMIT = 0.6", "global 'LIMIT' in helpers 0.5 -> 0.6"),
    ("module in a list", "return x - DEEP", "return x + DEEP", "code changed: deepest() in helpers"),
    ("module around", "LIMIT = 0.5", "LIMIT = 0.6", "global 'LIMIT' in helpers 0.5 -> 0.6"),
    ("module around", "return x - DEEP", "return x + DEEP", "code changed: deepest() in helpers"),
    ("module around", "UNUSED = 1", "UNUSED = 2", ""),
    ("module handed on", "LIMIT = 0.5", "LIMIT = 0.6", "global 'LIMIT' in helpers 0.5 -> 0.6"),
    # Classes
    ("decorator object", "] * self.times", "] + self.times", "code changed: Repeated.__call__() in helpers"),
    ("decorator object", "times=2", "times=3", "'times' of Repeated in helpers 2 -> 3"),
    ("decorator object", "return x + 8", "return x + 9", "code changed: repeated() in helpers"),
    ("decorator object", '"""Repeat."""', '"""Repeat it."""', ""),
    ("class", "self.by * self.factor", "self.by + self.factor", "code changed: Scaler.scale() in helpers"),
    ("class", "factor = 7", "factor = 8", "'factor' of Scaler in helpers 7 -> 8"),
    ("class", "self.by = by", "self.by = by + 1", "code changed: Scaler.__init__() in helpers"),
    ("class", "def shift(x):\n        return x + 1", "def shift(x):\n        return x + 2", "code changed: Scaler.shift() in helpers"),
    ("subclass", "self.by / 2", "self.by / 3", "code changed: Scaler.half() in helpers"),
    ("subclass", "return cls(by)", "return cls(by + 1)", "code changed: Scaler.of() in helpers"),
    ("subclass", "class Wide(Scaler):\n    pass", "class Wide(Scaler):\n    factor = 9", "code changed: Wide in helpers"),
    ("subclass", "class Wide(Scaler)", "class Wide(object)", "code changed: Scaler in helpers, Scaler.__init__() in helpers"),
    ("instance", "SCALER = Scaler(3)", "SCALER = Scaler(4)", "global 'SCALER' changed"),
    ("instance", "self.by * self.factor", "self.by + self.factor", "code changed: Scaler.scale() in helpers"),
    ("dataclass", "rate: float = 0.1", "rate: float = 0.2", "'rate' of Config in helpers 0.1 -> 0.2"),
    ("dataclass", "rate: float", "rate: int", "code changed: Config in helpers"),
    ("dataclass", "[1, 2])", "[1, 3])", "code changed: Config.<lambda>() in helpers"),
    ("enum", "RED = 1", "RED = 3", "'RED' of Color in helpers 1 -> 3"),
    # The task itself
    ("call", "return clean(x)", "return clean(x) + 1", "code changed: total()"),
    ("call", "total(x)", "total(y, x=1)", "code changed: total()"),
    ("call", "return clean(x)", "return max(x)", "code changed: total()"),
    ("by name", "low, high = 1, 3", "high, low = 1, 3", "code changed: query() in helpers"),
    ("doc", "def documented():\n", "def documented():\n    'Words.'\n", "the task's code changed"),
    # What does not count
    ("call", '"""Clean one."""', '"""Clean one of them."""', ""),
    ("call", '    """Clean one."""\n', "", ""),
    ("call", '"""Helpers of a project."""', '"""Helpers."""\n\n\n# A comment.\n', ""),
    ("call", "def clean(x", "# A comment.\n\n\ndef clean(x", ""),
    ("call", "    lowest, highest = 1, 9\n", "    # Why.\n\n    lowest, highest = (\n        1,\n        9,\n    )\n", ""),
    ("call", "lowest", "least", ""),
    ("call", "highest", "a_first_name", ""),
    ("call", "[y + 1 for y in [x] if lowest < y < highest]", "[z + 1 for z in [x] if lowest < z < highest]", ""),
    ("call", "def clean(x, keep=2)", "def clean(x: float, keep: int = 2) -> float", ""),
    ("call", "UNUSED = 1", "UNUSED = 2", ""),
    ("call", "def unused(x):\n    return x", "def unused(x):\n    return x + 1", ""),
    ("call", "    factor = 7", "    factor = 8", ""),
    ("call", "logging.getLogger(__name__)", 'logging.getLogger("other")', ""),
    ("call", "def even(x)", "def between():\n    pass\n\n\ndef even(x)", ""),
    ("class", '    """Scales."""\n', '    """Scales all."""\n', ""),
    ("class", '        """Scale one."""\n', "", ""),
    ("state", "calls = 0", "calls = 5", ""),
    ("handles", "lock = threading.Lock()", "lock = threading.RLock()", ""),
    ("handles", 'connect(":memory:", check', 'connect("file::memory:", check', ""),
    ("call", "def total", "\n\n\n# Moved down.\ndef total", ""),
    ("call", "    return clean(x)", "    '''What it does.'''\n    return (\n        clean(x)\n    )", ""),
    ("inner", "inside", "within", ""),
    ("inner", "def inside(y):\n        return clean(y)", "def inside(y):\n        '''Words.'''\n        return clean(y)", ""),
    ("decorated", "result", "outcome", ""),
]  # fmt: skip


@contextlib.contextmanager
def modules_of(sources, folder="project"):
    """Give modules that were made of sources, importable by their names."""
    made = {}
    for name, source in sources.items():
        module = types.ModuleType(name)
        module.__file__ = f"/{folder}/{name}.py"
        made[name] = sys.modules[name] = module
        exec(compile(source, module.__file__, "exec"), vars(module))
    try:
        yield made
    finally:
        for name in made:
            del sys.modules[name]


def code_of(helpers, flow, **options):
    with modules_of({"helpers": helpers, "flow": flow}, **options) as modules:
        walk = CodeWalk(modules["flow"].total, module="flow")
        modules["helpers"].client.close()
        return walk


def difference(one, other):
    before, now = (Identity("t", {}, code=walk.code()) for walk in (one, other))
    return now.difference(before, "code")


@functools.cache
def original(task):
    return code_of(HELPERS, FLOW.format(task=TASKS[task]))


@pytest.mark.parametrize(("task", "old", "new", "reason"), EDITS)
def test_an_edit_counts_where_it_may_change_the_result(task, old, new, reason):
    flow = FLOW.format(task=TASKS[task])
    assert old in HELPERS or old in flow
    edited = [source.replace(old, new) for source in (HELPERS, flow)]
    if old in HELPERS:
        edited[1] = flow
    said = difference(original(task), code_of(*edited))
    if reason:
        assert said.startswith(reason), said
    else:
        assert said == ""


@pytest.mark.parametrize("task", TASKS)
def test_the_same_code_in_another_place_is_the_same(task):
    flow = FLOW.format(task=TASKS[task])
    moved = code_of(HELPERS, flow, folder="elsewhere/on/another/disk")
    assert difference(original(task), moved) == ""
    assert moved.code() == original(task).code()


def test_the_name_of_a_module_does_not_count():
    flow = FLOW.format(task=TASKS["call"])
    with modules_of(
        {"tools": HELPERS, "run": flow.replace("helpers", "tools")}
    ) as modules:
        walk = CodeWalk(modules["run"].total, module="run")
        modules["tools"].client.close()
    assert walk.digest == original("call").digest


def test_what_cannot_be_compared_is_named_and_loggers_and_locks_are_not():
    walk = original("handles")
    assert walk.notes.not_compared == {"global 'client'": "a Connection"}
    assert {"client", "lock"} <= walk.globals
    assert original("call").notes.not_compared == {}


def test_a_global_that_is_to_be_ignored_does_not_count():
    flow = FLOW.format(task=TASKS["constants"])
    digests = set()
    for helpers in (HELPERS, HELPERS.replace("LIMIT = 0.5", "LIMIT = 0.6")):
        with modules_of({"helpers": helpers, "flow": flow}) as modules:
            walk = CodeWalk(modules["flow"].total, ignore=["LIMIT"])
            modules["helpers"].client.close()
            digests.add(walk.digest)
    assert len(digests) == 1


def test_text_is_never_kept_for_a_reason():
    values = original("constants").notes.values
    assert values["global 'LIMIT'"] == "=0.5"
    assert "north" not in str(values)


def test_a_chain_of_thousands_of_functions_and_a_circle_end():
    lines = ["def f0(x):\n    return f2000(x)"]
    lines += [f"def f{n}(x):\n    return f{n - 1}(x)" for n in range(1, 2_001)]
    with modules_of({"chain": "\n".join(lines)}) as modules:
        walk = CodeWalk(modules["chain"].f2000)
    assert len(walk.notes.functions) == 2_001


def test_objects_whose_classes_all_read_one_another_are_walked_once():
    n_classes = 12
    lines = []
    for i in range(n_classes):
        lines.append(f"class Kind{i}:")
        for j in range(n_classes):
            lines.append(
                f"    def read_{j}(self, x):\n        return ONE_{j}.read_{i}(x)"
            )
        lines.append(f"ONE_{i} = Kind{i}()")
    lines.append("def total(x):\n    return ONE_0.read_1(x)")
    with modules_of({"kinds": "\n".join(lines)}) as modules:
        walk = CodeWalk(modules["kinds"].total)
    n_functions = n_classes * n_classes + 1
    assert len(walk.notes.functions) == n_functions + n_classes


def test_values_that_hold_themselves_or_are_nested_without_end():
    ring = {"a": [1]}
    ring["ring"] = ring
    deep = []
    for _ in range(5_000):
        deep = [deep]

    def reads_ring():
        return ring

    def reads_deep():
        return deep

    try:
        assert CodeWalk(reads_ring).digest == CodeWalk(reads_ring).digest
        walk = CodeWalk(reads_deep, module=__name__)
        assert walk.notes.not_compared == {
            "variable 'deep' around reads_deep()": "a list",
        }
    finally:
        while deep:  # Else its end takes a stack as deep.
            deep = deep.pop()


def test_functions_of_libraries_count_by_name_and_what_they_wrap_by_code():
    def wrapped_by_a_library(times):
        @contextlib.contextmanager
        def opened():
            yield times + 1

        return opened

    one, other = (CodeWalk(wrapped_by_a_library(times)) for times in (1, 2))
    assert one.digest != other.digest
    assert CodeWalk(itertools.chain).digest != CodeWalk(itertools.count).digest
    logger = logging.getLogger("prefect_ds.tests")

    def logs():
        logger.info("words")

    assert CodeWalk(logs).notes.values == {}


def test_code_says_which_python_compiled_it():
    assert original("call").code().python == PYTHON
    assert PYTHON.startswith(sys.implementation.name)


def test_a_bound_method_counts_with_its_object(tmp_path):
    class Model:
        def __init__(self, rate):
            self.rate = rate

        def fit(self):
            return self.rate

    def task_of(method):
        def task():
            return method()

        return task

    walks = [CodeWalk(task_of(Model(rate).fit)).digest for rate in (1, 1, 2)]
    assert walks[0] == walks[1] != walks[2]


def test_a_set_of_functions_is_the_same_in_any_order():
    names = [f"step_{number}" for number in range(8)]
    source = "\n".join(f"def {name}(x):\n    return x, {name!r}" for name in names)
    digests = set()
    for order in (names, names[::-1]):
        steps = f"\nSTEPS = {{{', '.join(order)}}}\ndef total(x):\n    return STEPS"
        with modules_of({"steps": source + steps}) as modules:
            digests.add(CodeWalk(modules["steps"].total).digest)
    assert len(digests) == 1


def test_connections_in_an_object_are_named_with_their_place():
    class Pool:
        def __init__(self):
            self.connections = [connection]

    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        pool = Pool()

        def read():
            return pool

        walk = CodeWalk(read, module=__name__)
    assert walk.notes.not_compared == {
        "variable 'pool' around read()": "a Connection at .connections[0]"
    }


def test_the_source_is_dedented_here():
    # The table relies on it: an edit that is found nowhere would prove nothing.
    assert textwrap.dedent(HELPERS) == HELPERS
