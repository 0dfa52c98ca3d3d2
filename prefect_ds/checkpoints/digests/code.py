"""Encodings of classes and functions: by name, and the user's own by their code."""

from __future__ import annotations

import functools
import sys
import threading
import types
from collections.abc import Callable
from typing import Any, Final

from prefect_ds.checkpoints.digests.walk import (
    Encoder,
    UndigestibleError,
    Walk,
    atom,
    pack,
    pack_all,
)
from prefect_ds.checkpoints.libraries import is_library_name

# Where a library moves its classes about from version to version, the class's own name
# is enough: no two of its classes share one.
_FLAT_PACKAGES: Final = ("numpy", "pandas", "pyarrow")

_active = threading.local()


def is_library(obj: Any) -> bool:
    """Return whether a class or function can be imported from an installed package.

    Its name says enough then: it is the same in every process.
    """
    module = getattr(obj, "__module__", None)
    if not isinstance(module, str) or not is_library_name(module):
        return False
    if module in sys.builtin_module_names:
        return True
    return "<locals>" not in getattr(obj, "__qualname__", "<locals>")


def encode_class(kind: type, walk: Walk) -> bytes:
    """Return the encoding of a class, be it a value or that of an instance."""
    return walk.encode(kind)


def _class(kind: Any, walk: Walk) -> bytes:
    if not is_library(kind):
        return pack("class", _name(kind), _code_of(kind, walk, _class_parts))
    package = kind.__module__.partition(".")[0]
    if package in _FLAT_PACKAGES:
        return pack("class", f"{package}.{kind.__qualname__}".encode())
    return pack("class", _name(kind))


def _function(function: Any, walk: Walk) -> bytes:
    if is_library(function):
        return pack("function", _name(function))
    return pack("function", _code_of(function, walk, _function_parts))


def _name(obj: Any) -> bytes:
    return f"{obj.__module__}.{obj.__qualname__}".encode("utf-8", "surrogatepass")


def _code_of(obj: Any, walk: Walk, parts: Callable[[Any, Walk], list[bytes]]) -> bytes:
    """Return the encoding of code; a class or function that leads to itself ends."""
    inside: dict[int, object] = _active.__dict__.setdefault("inside", {})
    if id(obj) in inside:
        return b"itself"
    inside[id(obj)] = obj
    try:
        # A walk of its own: code is the same from wherever the walk came to it.
        return walk.begun_again(lambda inner: pack_all("code", parts(obj, inner)))
    finally:
        del inside[id(obj)]


def _function_parts(function: Any, walk: Walk) -> list[bytes]:
    # What it calls and reads counts as well: `lambda x: x > THRESHOLD`. Not on top,
    # as the walk through code takes its digests of values from here.
    from prefect_ds.checkpoints.code import digest_of_function

    return [digest_of_function(function).encode()]


def _class_parts(kind: Any, walk: Walk) -> list[bytes]:
    parts = [walk.encode(base) for base in kind.__bases__]
    for name, value in sorted(vars(kind).items()):
        if name in _MADE_BY_PYTHON:
            continue
        try:
            parts.append(pack("member", name.encode(), _member(value, walk)))
        except UndigestibleError:
            # A lock on a class, or what C code put there: no part of what it does.
            continue
    return parts


def _member(value: Any, walk: Walk) -> bytes:
    if isinstance(value, staticmethod | classmethod):
        return pack(type(value).__name__, walk.encode(value.__func__))
    if isinstance(value, property):
        functions = [value.fget, value.fset, value.fdel]
        return pack_all("property", map(walk.encode, functions))
    if isinstance(value, functools.cached_property):
        return pack("cached_property", walk.encode(value.func))
    return walk.encode(value)


# Where the class is written, its name, and what decorators leave there for themselves.
_MADE_BY_PYTHON: Final = frozenset(
    [
        "__module__",
        "__qualname__",
        "__doc__",
        "__dict__",
        "__weakref__",
        "__annotations__",
        "__firstlineno__",
        "__static_attributes__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__match_args__",
        "__abstractmethods__",
        "_abc_impl",
        "__parameters__",
        "__orig_bases__",
        "__slotnames__",
        "_member_map_",
        "_value2member_map_",
        "_member_names_",
    ]
)


def _builtin(function: Any, walk: Walk) -> bytes:
    owner = function.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return pack("function", _name(function))
    return pack("method", walk.encode(owner), atom(function.__name__))


def _method(method: Any, walk: Walk) -> bytes:
    return pack(
        "method",
        walk.encode_at(method.__self__, ".__self__"),
        walk.encode(method.__func__),
    )


def _descriptor(method: Any, walk: Walk) -> bytes:
    return pack("method", walk.encode(method.__objclass__), atom(method.__name__))


def _cached_function(function: Any, walk: Walk) -> bytes:
    return pack("lru_cache", walk.encode(function.__wrapped__))


NODES: Final[dict[type, Encoder]] = {
    type: _class,
    types.FunctionType: _function,
    types.MethodType: _method,
    types.BuiltinFunctionType: _builtin,
    types.MethodDescriptorType: _descriptor,
    types.WrapperDescriptorType: _descriptor,
    types.ClassMethodDescriptorType: _descriptor,
    type(functools.lru_cache(len)): _cached_function,
}
"""Encoders of classes and functions."""

encode_type = _class
