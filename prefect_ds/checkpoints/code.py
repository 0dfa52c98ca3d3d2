"""All of the user's code that a function reaches, and the values that this code reads.

The functions and classes of the user's own modules count, wherever they are reached
from: calls, globals, closures, defaults, decorators, partials, methods, imports inside
a function. Libraries and loggers do not count, and neither does a value that cannot be
compared between processes; such a value is named.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import threading
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from prefect_ds.checkpoints.bytecode import PYTHON, listing
from prefect_ds.checkpoints.code_copies import Mark, without_copies
from prefect_ds.checkpoints.code_modules import (
    import_members,
    module_members,
    whole_module,
)
from prefect_ds.checkpoints.code_notes import CodeNotes
from prefect_ds.checkpoints.code_objects import (
    DESCRIPTORS,
    CodeInside,
    annotation_text,
    code_inside,
    code_named_in,
    fact_bytes,
    globals_read,
    is_code,
    is_filled,
    is_library,
    is_own_code,
    is_plain,
    is_silent,
    library_name,
    members,
    own_text,
    unbound,
)
from prefect_ds.checkpoints.digests import UndigestibleError, digest
from prefect_ds.checkpoints.own_code import code_digest
from prefect_ds.storage.identity import Code

_MAX_DEPTH: Final = 100

StandIn = Callable[[Any], Any]
"""Returns what is walked in place of a value; the value itself for most."""


class CodeWalk:
    """One walk over the user's code that is reached from some objects.

    The functions and classes are numbered in the order in which the walk meets them, so
    that neither the place of a file nor the name of a module counts.

    Parameters
    ----------
    *roots
        Where the walk begins. A function given here counts even if it is a library's.
    module
        The module whose functions and globals are named without their module.
    given
        Names of arguments of the roots whose defaults count elsewhere.
    ignore
        Names of globals that do not count.
    inside
        Objects in which only the code is looked for: they count elsewhere. One that
        cannot be pickled is an error.
    stand_in
        See :data:`StandIn`.

    Attributes
    ----------
    notes
        What a reason can say of the code and of the values that it reads.
    globals
        The names of the globals that are read.
    """

    def __init__(
        self,
        *roots: Any,
        module: str = "",
        given: Iterable[str] = (),
        ignore: Iterable[str] = (),
        inside: Iterable[Any] = (),
        stand_in: StandIn = lambda value: value,
    ) -> None:
        self.notes = CodeNotes(module)
        self.globals: set[str] = set()
        self._given = frozenset(given)
        self._ignore = frozenset(ignore)
        self._stand_in = stand_in
        self._numbers: dict[int, int] = {}
        # What was met stays alive: no later object may get its id.
        self._met: list[Any] = []
        self._pending: deque[Any] = deque()
        self._facts: list[Any] = []
        """What the walk begins with: its roots."""
        self._facts_of_met: list[Any] = []
        """What is known of the functions and classes, by their numbers."""
        self._open: set[int] = set()
        """The ids of the values whose inside is being walked."""
        self._roots = roots
        # The digest of a function inside a value asks whether a walk is under way.
        outer = getattr(_active, "walk", None)
        _active.walk = self
        try:
            self._walk(roots, inside)
        finally:
            _active.walk = outer

    def _walk(self, roots: Iterable[Any], inside: Iterable[Any]) -> None:
        for root in roots:
            # Otherwise only the name of a library's function would count.
            if is_code(root) and is_library(root):
                self._facts.append(own_text(root))
            self._facts.append(self._reference(root))
        for value in inside:
            self._facts.append([self._number(obj) for obj in CodeInside(value).met])
        # In the order in which they were met, and without recursion: calls may lead
        # through more functions than Python's stack holds.
        while self._pending:
            obj = self._pending.popleft()
            if isinstance(obj, type):
                self._facts_of_met.append(self._class(obj))
            else:
                self._facts_of_met.append(self._function(obj))

    @functools.cached_property
    def digest(self) -> str:
        """The digest of all that was met."""
        facts = without_copies(self._facts, self._facts_of_met, self._met)
        return hashlib.sha256(fact_bytes(facts)).hexdigest()

    @property
    def classes(self) -> list[type]:
        """The user's classes that were met."""
        return [obj for obj in self._met if isinstance(obj, type)]

    def code(self) -> Code:
        """Return what a manifest keeps of the walk."""
        return Code(
            self.digest, PYTHON, dict(self.notes.functions), dict(self.notes.values)
        )

    def _number(self, obj: Any) -> Mark:
        """Return the mark of a function or class, which is walked later."""
        if id(obj) not in self._numbers:
            self._numbers[id(obj)] = len(self._met)
            self._met.append(obj)
            self._pending.append(obj)
        return Mark(f"@{self._numbers[id(obj)]}")

    # Functions

    def _function(self, function: types.FunctionType) -> list[Any]:
        known = listing(function.__code__)
        label = self.notes.label(function)
        facts: list[Any] = [known.text]
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            try:
                value = cell.cell_contents
            except ValueError:
                continue  # Not filled yet.
            where = f"variable {name!r} around {label}"
            if isinstance(value, types.ModuleType):
                fact = self._named_module(value, known.names)
            else:
                fact = self._read(where, value)
            # By its number in the text: the name of a local variable does not count.
            facts.append((known.enclosed[name], fact))
        facts += self._defaults(function, label)
        for name in globals_read(function):
            value = function.__globals__[name]
            if isinstance(value, types.ModuleType):
                fact = self._named_module(value, known.names)
            else:
                fact = self._read_global(name, function.__module__, value)
            facts.append((name, fact))
        # `clean.limit = 3`: what was set on the function, if its code names it.
        for name in known.names:
            if name in vars(function):
                where = f"attribute {name!r} of {label}"
                facts.append((name, self._read(where, vars(function)[name])))
        for imported, level, taken in known.imports:
            package = function.__globals__.get("__package__") or ""
            facts.append(
                import_members(
                    imported, level, package, taken, known.names, self._read_global
                )
            )
        # A docstring counts only where code reads it, its own or that of a function
        # that it names.
        if "__doc__" in known.names:
            for obj in [function, *code_named_in(function)]:
                facts.append(("doc", str(getattr(obj, "__doc__", None))))
        # `functools.wraps` leaves the function there that a decorator was put around.
        if hasattr(function, "__wrapped__"):
            facts.append(self._reference(function.__wrapped__))
        self.notes.function(label, facts[0])
        return facts

    def _defaults(self, function: types.FunctionType, label: str) -> Iterator[Any]:
        code = function.__code__
        names = code.co_varnames[: code.co_argcount]
        defaults = function.__defaults__ or ()
        pairs = [
            *zip(names[len(names) - len(defaults) :], defaults, strict=True),
            *(function.__kwdefaults__ or {}).items(),
        ]
        is_root = any(function is unbound(root) for root in self._roots)
        for name, value in pairs:
            # Those of the task itself count as inputs.
            if is_root and name in self._given:
                continue
            yield name, self._read(f"default {name!r} of {label}", value)

    def _read_global(self, name: str, module: str | None, value: Any) -> Any:
        self.globals.add(name)
        if name in self._ignore:
            return "left out"
        return self._read(self.notes.global_label(name, module), value)

    def _named_module(self, module: types.ModuleType, names: tuple[str, ...]) -> Any:
        """Return what a module counts as in code that has a name for it."""
        if vars(module).keys().isdisjoint(names):
            # It is handed on as a value, or asked by `__getattr__`.
            return self._reference(module)
        return module_members(module, names, self._read_global)

    # Classes

    def _class(self, kind: type) -> list[Any]:
        label = self.notes.label(kind)
        parents = [self._reference(base) for base in (*kind.__bases__, type(kind))]
        # Their order is that of a dataclass's arguments.
        annotations = vars(kind).get("__annotations__") or {}
        hints = [(name, annotation_text(hint)) for name, hint in annotations.items()]
        own = []
        for name, value in members(kind):
            if isinstance(value, DESCRIPTORS) or is_code(value):
                own.append((name, self._reference(value)))
            else:
                where = f"{name!r} of {label}"
                own.append((name, self._read(where, value)))
        self.notes.function(label, [hints, [name for name, _ in own]])
        return [parents, hints, own]

    # Values

    def _read(self, label: str, value: Any) -> Any:
        """Return what a value counts as, and note it for the words of a reason."""
        value = self._stand_in(value)
        if is_silent(value):
            return "left out"
        try:
            fact = self._reference(value)
        except UndigestibleError as error:
            self.notes.not_compared[label] = error.what
            return "not compared"
        if not is_code(value):
            self.notes.value(label, value, fact)
        return fact

    def _reference(self, value: Any) -> Any:
        """Return what a value counts as: code by its number, the rest by its digest."""
        stand_in = self._stand_in(value)
        if stand_in is not value:
            return self._inside(value, lambda: self._reference(stand_in))
        if isinstance(value, types.FunctionType | type):
            return self._code_reference(value)
        if isinstance(value, types.MethodType):
            owner = self._reference(value.__self__)
            return ("method", owner, self._reference(value.__func__))
        if isinstance(value, functools.partial | functools.partialmethod):
            bound = {"args": value.args, "keywords": value.keywords}
            return ("partial", self._reference(value.func), self._reference(bound))
        if isinstance(value, property):
            parts = (value.fget, value.fset, value.fdel)
            return ("property", [self._reference(part) for part in parts])
        if isinstance(value, staticmethod | classmethod):
            return (type(value).__name__, self._reference(value.__func__))
        if isinstance(value, functools.cached_property):
            return ("cached property", self._reference(value.func))
        if isinstance(value, types.BuiltinFunctionType):
            owner = value.__self__
            if owner is None or isinstance(owner, types.ModuleType):
                return library_name(value)
        if isinstance(value, types.ModuleType):
            return self._inside(value, lambda: whole_module(value, self._read_global))
        if is_silent(value):
            return "left out"
        wrapped = inspect.getattr_static(value, "__wrapped__", None)
        if isinstance(wrapped, types.FunctionType):
            # `functools.cache`, and other objects that wrap a function.
            return self._inside(value, lambda: self._wrapper(value, wrapped))
        if type(value) in (list, tuple, dict) and not is_plain(value):
            return self._inside(value, lambda: self._container(value))
        # The digest first: of a value without one nothing is walked.
        fact = digest(value)
        inside = [self._number(obj) for obj in code_inside(value)]
        if not inside:
            return fact
        return (fact, inside)

    def _code_reference(self, value: Any) -> Any:
        if not is_library(value):
            return self._number(value)
        name = library_name(value)
        wrapped = getattr(value, "__wrapped__", None)
        if wrapped is not None:
            # A library's decorator around the user's function. `singledispatch` has
            # others in its registry, by the class of their argument.
            registry = getattr(value, "registry", None) or {}
            others = sorted(
                [
                    (library_name(kind), self._reference(function))
                    for kind, function in registry.items()
                ]
            )
            return (name, self._reference(wrapped), others)
        # What a factory of a library made of the user's functions, as a decorator
        # without `functools.wraps` does.
        enclosed = [
            self._reference(cell.cell_contents)
            for cell in getattr(value, "__closure__", None) or ()
            if is_filled(cell) and is_own_code(cell.cell_contents)
        ]
        if not enclosed:
            return name
        return (name, enclosed)

    def _wrapper(self, value: Any, wrapped: types.FunctionType) -> Any:
        """Return what an object around a function counts as, such as a decorator's."""
        kind = type(value)
        facts = [self._code_reference(kind), self._reference(wrapped)]
        if not is_library(kind):
            label = self.notes.label(kind)
            for name, item in sorted(getattr(value, "__dict__", {}).items()):
                # The rest is copied from the function, with its docstring and module.
                if name not in (*functools.WRAPPER_ASSIGNMENTS, "__wrapped__"):
                    facts.append((name, self._read(f"{name!r} of {label}", item)))
        return facts

    def _container(self, value: Any) -> Any:
        kind = type(value).__name__
        if type(value) is not dict:
            return (kind, [self._reference(item) for item in value])
        pairs = [
            (self._reference(key), self._reference(item)) for key, item in value.items()
        ]
        return (kind, pairs)

    def _inside(self, value: Any, refer: Callable[[], Any]) -> Any:
        """Return what the inside of a value counts as; a value in itself ends."""
        if id(value) in self._open:
            return "itself"
        if len(self._open) == _MAX_DEPTH:
            raise UndigestibleError(type(value).__name__, why="it is nested too deep")
        self._open.add(id(value))
        try:
            return refer()
        finally:
            self._open.discard(id(value))


# By thread: a walk in another thread is not around this one.
_active = threading.local()


def digest_of_function(function: Callable[..., Any]) -> str:
    """Return a digest of a function inside a value, with all that it calls and reads.

    Inside a walk its own code is enough: the walk goes on to what the function calls.
    A walk for every function in every value would take as long as there are ways
    through the code.
    """
    if getattr(_active, "walk", None) is not None:
        return code_digest(function)
    return CodeWalk(function).digest
