"""What the walk over the user's code asks about one object, and the words for it."""

from __future__ import annotations

import contextlib
import enum
import functools
import importlib
import io
import logging
import os
import types
from collections.abc import Iterable, Iterator
from typing import Any, Final

import cloudpickle

from prefect_ds.checkpoints.bytecode import listing, names_in_text
from prefect_ds.checkpoints.libraries import is_library_name

# Which code is the user's


def is_library(obj: Any) -> bool:
    """Return whether a module, class or function belongs to an installed package.

    A decorator of a library makes functions that bear the name of the user's module:
    what counts is where their code is.
    """
    if isinstance(obj, types.ModuleType):
        return is_library_name(obj.__name__)
    obj = unbound(obj)
    module = getattr(obj, "__globals__", {}).get("__name__")
    return is_library_name(module or getattr(obj, "__module__", None) or "builtins")


def is_code(value: Any) -> bool:
    """Return whether a value is a function, a method or a class."""
    return isinstance(value, types.FunctionType | types.MethodType | type)


def is_own_code(value: Any) -> bool:
    """Return whether a value is code of the user's, not of a library."""
    return is_code(value) and not is_library(value)


def unbound(function: Any) -> Any:
    """Return the function behind a method, and anything else as it is."""
    return getattr(function, "__func__", function)


def library_name(obj: Any) -> str:
    """Return the name of a library's object, by its package: libraries move theirs."""
    module = getattr(obj, "__module__", None) or "builtins"
    name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", "")
    return f"{module.partition('.')[0]}.{name}"


# What a function names


def own_text(function: Any) -> str:
    """Return the text of a function's code, or a name where it has no code."""
    code = getattr(unbound(function), "__code__", None)
    return library_name(function) if code is None else listing(code).text


def globals_read(function: types.FunctionType) -> list[str]:
    """Return the globals that a function reads, also in text: ``"x > @LIMIT"``."""
    known, scope = listing(function.__code__), function.__globals__
    values = [scope.get(name) for name in known.globals]
    texts = [*known.texts, *(value for value in values if isinstance(value, str))]
    names = [*known.globals, *names_in_text(known, texts)]
    return [name for name in dict.fromkeys(names) if name in scope]


def code_named_in(function: types.FunctionType) -> list[Any]:
    """Return the functions and classes among the globals that a function names."""
    names = listing(function.__code__).globals
    values = [function.__globals__.get(name) for name in names]
    return [value for value in values if is_code(value)]


def import_submodules(package: types.ModuleType, names: Iterable[str]) -> None:
    """Import the modules that ``from package import name`` imports."""
    for name in names:
        if not hasattr(package, name):
            with contextlib.suppress(ImportError):
                importlib.import_module(f"{package.__name__}.{name}")


# Members of classes

DESCRIPTORS: Final = (
    property,
    staticmethod,
    classmethod,
    functools.cached_property,
    functools.partialmethod,
)
_FIELDS: Final = ("__attrs_attrs__", "__pydantic_fields__", "__slots__")
"""Members with double underscores that say what a class of data has."""


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield what a class has of its own and what shapes its instances, by name."""
    if issubclass(kind, enum.Enum):
        for name, member in kind.__members__.items():
            yield name, member.value
    for name, value in sorted(vars(kind).items()):
        if isinstance(value, _MADE_BY_PYTHON) or name.startswith(("_abc_", "_member")):
            continue
        if issubclass(kind, enum.Enum) and name in kind.__members__:
            continue
        # attrs makes methods with numbers that differ from process to process. What
        # they are made of is among its fields.
        code = getattr(value, "__code__", None)
        if code is not None and code.co_filename.startswith("<attrs generated"):
            continue
        is_special = name.startswith("__") and name.endswith("__")
        is_method = isinstance(value, (*DESCRIPTORS, types.FunctionType))
        if not is_special or is_method or name in _FIELDS:
            yield name, value


_MADE_BY_PYTHON: Final = (
    types.MemberDescriptorType,
    types.GetSetDescriptorType,
    types.WrapperDescriptorType,
    types.BuiltinFunctionType,
    enum.property,
)


def annotation_text(hint: Any) -> str:
    """Return a type hint as text, a class by its name."""
    return hint.__qualname__ if isinstance(hint, type) else str(hint)


# Values

_NO_SETTINGS: Final = (
    *("_thread", "threading", "concurrent", "asyncio", "contextvars", "weakref"),
    "typing",
)


def is_silent(value: Any) -> bool:
    """Return whether a value shapes no result: a logger, a library, a lock."""
    if isinstance(value, types.ModuleType):
        return is_library(value)
    if isinstance(value, logging.Logger | logging.LoggerAdapter):
        return True
    kind = type(value)
    return kind is type(os.environ) or kind.__module__.partition(".")[0] in _NO_SETTINGS


_DATA: Final = frozenset(["numpy", "pandas", "pyarrow", "polars", "datetime"])
"""Packages whose objects hold no code of the user's."""
_ATOMS: Final = {type(None), bool, int, float, complex, str, bytes}


def is_plain(value: Any) -> bool:
    """Return whether a container has nothing in it but numbers and text."""
    items: Iterable[Any] = value
    if type(value) is dict:
        items = [*value, *value.values()]
    return all(type(item) in _ATOMS for item in items)


def is_filled(cell: types.CellType) -> bool:
    """Return whether a closure's variable has a value yet."""
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def fact_bytes(fact: Any) -> bytes:
    """Return a fact of a walk as bytes to be hashed."""
    return repr(fact).encode("utf-8", "surrogatepass")


def code_inside(value: Any) -> list[Any]:
    """Return the user's functions and classes inside an object, however deep."""
    kind = type(value)
    if kind in _ATOMS or kind.__module__.partition(".")[0] in _DATA:
        return []
    if kind in (list, tuple, dict):
        return []  # Plain: the rest is walked piece by piece.
    try:
        met = CodeInside(value).met
    except Exception:  # noqa: BLE001 - it has a digest all the same: its own token
        return []
    # The order of a set differs from process to process.
    return sorted(met, key=lambda obj: obj.__qualname__)


class CodeInside(cloudpickle.Pickler):  # type: ignore[misc]
    """A pickler that keeps no bytes: its walk meets every function inside an object."""

    def __init__(self, value: Any) -> None:
        # Protocol 5 hands large data over as buffers, which are not copied here.
        super().__init__(_Sink(), protocol=5, buffer_callback=lambda buffer: None)
        self.met: list[Any] = []
        self.dump(value)

    def reducer_override(self, obj: Any) -> Any:
        """Note a function or class of the user's, and do not look into it."""
        if is_own_code(obj):
            self.met.append(unbound(obj))
            return str, ()
        return super().reducer_override(obj)


class _Sink(io.RawIOBase):
    def write(self, data: Any) -> int:
        return memoryview(data).nbytes
