"""A function's bytecode as text that says what the function does, and nothing else.

Comments, docstrings, line numbers, formatting and the names of local variables leave no
trace in it. Each version of Python compiles to other bytecode.
"""

from __future__ import annotations

import dis
import functools
import inspect
import itertools
import re
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

PYTHON: Final = f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]}"
"""Listings of two versions of Python do not compare."""

_SKIPPED: Final = {
    # Part of the next instruction, or room for the interpreter's own notes.
    *("EXTENDED_ARG", "CACHE", "NOP", "RESUME", "PRECALL"),
    # Which variables are shared with inner functions shows where these use them.
    *("MAKE_CELL", "COPY_FREE_VARS", "LOAD_CLOSURE"),
}
_JUMPS: Final = {*dis.hasjrel, *dis.hasjabs}
_VARIABLES: Final = {*dis.haslocal, *dis.hasfree}
_FLAGS: Final = (
    inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
    | inspect.CO_ITERABLE_COROUTINE
    | inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
)

READ_VARIABLES_BY_NAME: Final = frozenset(
    ["locals", "vars", "dir", "eval", "exec", "query", "evaluate", "sql"]
    + ["_getframe", "currentframe"]
)
"""What may read a local variable by its name: ``frame.query("x > @limit")``."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a function's code does, and the names through which it reaches further."""

    text: str
    names: tuple[str, ...]
    """Globals and attributes that it names, in order."""
    globals: tuple[str, ...]
    """Globals that it reads. One that it assigns is its own state, and no setting."""
    imports: tuple[tuple[str, int, tuple[str, ...]], ...]
    """Imports in it: module, level, and the names taken from it."""
    enclosed: Mapping[str, str]
    """The variables of a closure, by their name: the label that the text has."""
    texts: tuple[str, ...]
    """The text in the code, without docstrings of functions."""


@functools.lru_cache(maxsize=4096)
def listing(code: types.CodeType) -> Listing:
    """Return the listing of a function's code, with that of the functions in it."""
    names = dict.fromkeys(_names(code))
    # Their text may name any variable, so a new name is a change then.
    by_name = not READ_VARIABLES_BY_NAME.isdisjoint(names)
    labels = _Labels({}, by_name=by_name)
    text = _text(code, labels)
    enclosed = {name: labels.of(name) for name in code.co_freevars}
    texts = tuple(_texts(code))
    # `getattr(helpers, "clean")` reaches what only a text in the code names.
    if not _READ_ATTRIBUTES_BY_NAME.isdisjoint(names):
        names |= dict.fromkeys(filter(str.isidentifier, texts))
    return Listing(
        text, tuple(names), _globals(code), tuple(_imports(code)), enclosed, texts
    )


_READ_ATTRIBUTES_BY_NAME: Final = frozenset(["getattr", "vars", "attrgetter"])
_READ_GLOBALS_BY_NAME: Final = frozenset(["globals", "vars", "exec", "sql"])


def names_in_text(known: Listing, texts: Iterable[str]) -> list[str]:
    """Return what a function may read as globals by the names in some text.

    ``frame.query("x > @LIMIT")`` reads a global that the bytecode does not name.
    """
    if "eval" in known.globals or not _READ_GLOBALS_BY_NAME.isdisjoint(known.names):
        pattern = r"[^\W\d]\w*"
    elif not {"query", "eval"}.isdisjoint(known.names):
        # Without `@` a name in the text is a column of the frame.
        pattern = r"@([^\W\d]\w*)"
    else:
        return []
    return [name for text in texts for name in re.findall(pattern, text)]


class _Labels:
    """The numbers of local variables, in the order of appearance."""

    def __init__(self, outer: Mapping[str, str], *, by_name: bool) -> None:
        self._labels = dict(outer)
        self._by_name = by_name

    def name(self, names: tuple[str, ...]) -> None:
        """Keep the names of parameters: callers pass arguments by them."""
        self._labels.update(zip(names, names, strict=True))

    def of(self, name: str) -> str:
        """Return the number of a variable."""
        if self._by_name:
            return name
        return self._labels.setdefault(name, f"#{len(self._labels)}")

    def inside(self, code: types.CodeType) -> _Labels:
        """Return the labels of an inner function, which shares some variables."""
        shared = {name: self.of(name) for name in code.co_freevars}
        return _Labels(shared, by_name=self._by_name)


def _text(code: types.CodeType, labels: _Labels) -> str:
    n_named = code.co_argcount + code.co_kwonlyargcount
    has_args = bool(code.co_flags & inspect.CO_VARARGS)
    has_kwargs = bool(code.co_flags & inspect.CO_VARKEYWORDS)
    parameters = code.co_varnames[: n_named + has_args + has_kwargs]
    labels.name(parameters)
    head = (
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags & _FLAGS,
        parameters,
    )
    instructions = list(dis.get_instructions(code))
    dropped = _dropped(instructions)
    # Jumps go to the next instruction that is kept.
    places: dict[int, int] = {}
    kept: list[dis.Instruction] = []
    for instruction in instructions:
        places[instruction.offset] = len(kept)
        if instruction.offset not in dropped:
            kept.append(instruction)
    lines = []
    for instruction in kept:
        if instruction.opcode in _JUMPS:
            lines.append(_jump(instruction, kept, places))
        else:
            lines.append(f"{instruction.opname} {_operand(instruction, labels)}")
    handlers = []
    for entry in getattr(dis.Bytecode(code), "exception_entries", ()):
        ends = places.get(entry.end, len(kept))
        place = (places[entry.start], ends, places[entry.target])
        # A handler around dropped instructions alone guards nothing.
        if place[0] != place[1]:
            handlers.append((*place, entry.depth, entry.lasti))
    return f"{head}\n{chr(10).join(lines)}\n{handlers}"


def _dropped(instructions: list[dis.Instruction]) -> set[int]:
    """Return the offsets of instructions that change nothing of what the code does."""
    dropped = {step.offset for step in instructions if step.opname in _SKIPPED}
    kept = [step for step in instructions if step.offset not in dropped]
    for load, store in itertools.pairwise(kept):
        # Of the body of a class.
        is_noted = store.opname == "STORE_NAME" and store.argval in _NOTES
        if is_noted and load.opname == "LOAD_CONST":
            dropped |= {load.offset, store.offset}
    return dropped


_NOTES: Final = ("__doc__", "__firstlineno__", "__static_attributes__")


def _jump(
    jump: dis.Instruction, kept: list[dis.Instruction], places: Mapping[int, int]
) -> str:
    """Return a jump as it would be with every statement on a line of its own.

    The compiler shortens jumps to jumps, but only within a line.
    """
    name, place = _undirected(jump.opname), places[jump.argval]
    passed = {place}
    while place < len(kept) and _undirected(kept[place].opname) == "JUMP":
        place = places[kept[place].argval]
        # `while True: pass` jumps to itself.
        if place in passed:
            break
        passed.add(place)
    if (
        name in _OPPOSITE
        and place < len(kept)
        and kept[place].opname == _OPPOSITE[name]
    ):
        # In `a and b or c` a false `a` leads to the test whether `a and b` is true.
        return f"POP_{name.removesuffix('_OR_POP')} {place + 1}"
    return f"{name} {place}"


def _undirected(name: str) -> str:
    return name.replace("_FORWARD", "").replace("_BACKWARD", "")


_OPPOSITE: Final = {
    "JUMP_IF_FALSE_OR_POP": "JUMP_IF_TRUE_OR_POP",
    "JUMP_IF_TRUE_OR_POP": "JUMP_IF_FALSE_OR_POP",
}


def _operand(instruction: dis.Instruction, labels: _Labels) -> str:
    opcode, value = instruction.opcode, instruction.argval
    if opcode in dis.hasconst:
        return _constant(value, labels)
    if opcode in _VARIABLES:
        if isinstance(value, tuple):
            return " ".join(map(labels.of, value))
        return labels.of(value)
    if opcode in dis.hasname or opcode in dis.hascompare:
        return str(value)
    return "" if instruction.arg is None else str(instruction.arg)


def _constant(value: Any, labels: _Labels) -> str:
    if isinstance(value, types.CodeType):
        return f"code {_text(value, labels.inside(value))}\nend"
    if isinstance(value, frozenset):
        # The order of a set of texts differs from process to process.
        return f"set {sorted(_constant(item, labels) for item in value)}"
    if isinstance(value, tuple):
        return f"tuple {[_constant(item, labels) for item in value]}"
    if type(value) is int:
        # Python writes no decimal number of more than some thousand digits.
        return hex(value)
    return ascii(value)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield the code and that of the functions and classes in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _texts(code: types.CodeType) -> Iterator[str]:
    for inner in _codes(code):
        for instruction in dis.get_instructions(inner):
            if instruction.opcode in dis.hasconst:
                yield from _texts_in(instruction.argval)


def _texts_in(constant: Any) -> Iterator[str]:
    if isinstance(constant, str):
        yield constant
    elif isinstance(constant, tuple):
        for item in constant:
            yield from _texts_in(item)


def _names(code: types.CodeType) -> Iterator[str]:
    for inner in _codes(code):
        yield from inner.co_names


def _globals(code: types.CodeType) -> tuple[str, ...]:
    read: dict[str, None] = {}
    assigned = set()
    for inner in _codes(code):
        for instruction in dis.get_instructions(inner):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                read[instruction.argval] = None
            elif instruction.opname == "STORE_GLOBAL":
                assigned.add(instruction.argval)
    return tuple(name for name in read if name not in assigned)


def _imports(code: types.CodeType) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    for inner in _codes(code):
        constants: list[Any] = []
        for instruction in dis.get_instructions(inner):
            if instruction.opcode in dis.hasconst:
                constants.append(instruction.argval)
            elif instruction.opname == "IMPORT_NAME":
                # The compiler loads both right before it imports.
                level, taken = constants[-2:]
                yield instruction.argval, level, tuple(taken or ())
