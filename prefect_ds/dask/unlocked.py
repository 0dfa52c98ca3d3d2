"""Keeps two threads of a worker from waiting for each other inside Dask's expressions.

Up to Python 3.11 a ``functools.cached_property`` has one lock for all objects of its
class. Dask's expressions ask each other for such properties in any order, so two tasks
that build frames in two threads of one process can stop each other for ever. Python
3.12 took the lock away, as two threads may well compute the same value.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from typing import Any

_PACKAGES = ("dask._expr", "dask.dataframe.dask_expr")


def cached_properties() -> list[Any]:
    """Return the cached properties of all classes of Dask's expressions."""
    modules = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith(_PACKAGES)
    ]
    classes = {
        kind
        for module in modules
        for kind in list(vars(module).values())
        if isinstance(kind, type) and kind.__module__.startswith(_PACKAGES)
    }
    members = [member for kind in classes for member in vars(kind).values()]
    return [
        member for member in members if isinstance(member, functools.cached_property)
    ]


def unlock() -> None:
    """Take the locks away, as Python 3.12 does."""
    if sys.version_info >= (3, 12):
        return
    for member in cached_properties():
        member.lock = contextlib.nullcontext()
