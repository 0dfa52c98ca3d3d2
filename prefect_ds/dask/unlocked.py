"""Keeps two threads of a worker from a deadlock inside Dask's expressions.

Up to Python 3.11 a ``functools.cached_property`` has one lock for all objects of its
class. Dask's expressions ask one another for such properties in any order, so two tasks
that build frames in two threads of one process can deadlock. Python 3.12 took the lock
away: it does no harm if two threads compute the same value.

Dask imports some of its expressions only when they are first used, and users may write
their own. So a class that comes later loses its locks when it is made.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterator
from typing import Any

from prefect_ds.dask._internals import AnyExpr


def cached_properties(kind: type = AnyExpr) -> Iterator[Any]:
    """Yield the cached properties of a class and of all classes below it."""
    yield from _own(kind)
    subclasses: list[type] = kind.__subclasses__()
    for subclass in subclasses:
        yield from cached_properties(subclass)


def unlock() -> None:
    """Take the locks away, as Python 3.12 does."""
    if sys.version_info >= (3, 12):
        return
    for member in cached_properties():
        _unlock(member)
    AnyExpr.__init_subclass__ = classmethod(_unlock_class)


def _own(kind: type) -> Iterator[Any]:
    for member in vars(kind).values():
        if isinstance(member, functools.cached_property):
            yield member


def _unlock(member: Any) -> None:
    # `cached_property.__get__` enters `self.lock` on the first access.
    member.lock = contextlib.nullcontext()


def _unlock_class(kind: Any, /, **kwargs: Any) -> None:
    """Take the locks of a new class away."""
    # In place of a method, without a class body: so `super()` needs its arguments.
    super(AnyExpr, kind).__init_subclass__(**kwargs)
    for member in _own(kind):
        _unlock(member)
