"""What a Dask frame computes, as a key under which a later run finds the parts that an earlier one finished.

Dask's names tell two computations apart, but for a function that can be imported they
hold only where it stands. So the key has the code of the user's functions in it too,
with all that they call and the globals that they read.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import io
import logging
import sys
import sysconfig
import types
from collections.abc import Callable
from typing import Any

import cloudpickle
import dask.dataframe as dd

from prefect_ds.checkpoints.identity import code_digest, digest

logger = logging.getLogger("prefect.prefect_ds.dask")

_LIBRARIES = tuple(
    {
        sysconfig.get_path(name)
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
    }
)


def computation_key(frame: dd.DataFrame, *more: object) -> str | None:
    """Return a digest of all that decides what a frame's partitions hold, ``None`` where no digest would hold later.

    Parameters
    ----------
    frame
        The lazy frame, optimised. Data that it has in it (``dd.from_pandas``) count by
        Dask's token.
    *more
        What else decides what is written; compared by ``repr``.
    """
    try:
        code = _Code(frame.expr)
    except Exception as error:  # noqa: BLE001 - whatever cannot be named or pickled: no key is never wrong
        logger.debug("no part of a stopped write will be found again: %r", error)
        return None
    facts = (frame._name, frame.npartitions, sorted(code.facts), _versions(), more)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


@functools.cache
def _versions() -> list[str]:
    return [
        sys.version,
        *(
            importlib.metadata.version(each)
            for each in ("dask", "numpy", "pandas", "pyarrow")
        ),
    ]


class _UnstableError(Exception):
    """Something has no digest that holds in another process."""


class _Code:
    """The code of the user's that is reached from an object: functions and classes, what they call and read."""

    def __init__(self, root: object) -> None:
        self.facts: set[str] = set()
        self._seen: set[int] = set()
        self._alive: list[object] = []  # What was seen: no later object may get its id.
        self._pending = [root]
        while self._pending:
            _Walk(self.note).dump(self._pending.pop())

    def note(self, obj: Any) -> None:
        """Note a function or class; anything else passes."""
        obj = getattr(obj, "__func__", obj)
        if (
            not isinstance(obj, types.FunctionType | type)
            or id(obj) in self._seen
            or _is_library(obj)
        ):
            return
        self._seen.add(id(obj))
        self._alive.append(obj)
        if isinstance(obj, type):
            self._note_class(obj)
        else:
            self._note_function(obj)

    def _note_class(self, obj: type) -> None:
        for base in obj.__mro__[1:]:
            self.note(base)
        for name, value in sorted(vars(obj).items()):
            if isinstance(value, property):
                for each in (value.fget, value.fset):
                    self.note(each)
            elif isinstance(
                value, types.FunctionType | staticmethod | classmethod | type
            ):
                self.note(value)
            elif not name.startswith("__"):
                self._note_value(f"{obj.__qualname__}.{name}", value)

    def _note_function(self, obj: types.FunctionType) -> None:
        where = f"{obj.__module__}.{obj.__qualname__}"
        self.facts.add(f"{where} {code_digest(obj)}")
        cells = zip(obj.__code__.co_freevars, obj.__closure__ or (), strict=True)
        for name, cell in cells:
            self._note_value(f"{where} {name}", cell.cell_contents)
        for value in (*(obj.__defaults__ or ()), *(obj.__kwdefaults__ or {}).values()):
            self._note_value(f"{where} default", value)
        names = sorted(_names(obj.__code__))
        for name in names:
            if name not in obj.__globals__:
                continue
            value = obj.__globals__[name]
            if not isinstance(value, types.ModuleType):
                self._note_value(f"{where} {name}", value)
            elif not _is_library(value):
                for attribute in names:
                    if hasattr(value, attribute):
                        self._note_value(
                            f"{where} {name}.{attribute}", getattr(value, attribute)
                        )

    def _note_value(self, where: str, value: Any) -> None:
        """Note a value that a function reads: by its code, or by its digest and the code in it."""
        if isinstance(value, types.FunctionType | types.MethodType | type):
            self.note(value)
        elif not isinstance(value, types.ModuleType | types.BuiltinFunctionType):
            found = digest(value)
            if found is None:
                raise _UnstableError(where)
            self.facts.add(f"{where} {found}")
            if id(value) not in self._seen:
                self._seen.add(id(value))
                self._alive.append(value)
                self._pending.append(value)


class _Walk(cloudpickle.Pickler):  # type: ignore[misc]
    """A pickler that keeps no bytes: its walk reaches every function and class in an object, however deep."""

    def __init__(self, note: Callable[[Any], None]) -> None:
        # Protocol 5 hands large data over as buffers, which are not copied here.
        super().__init__(_Sink(), protocol=5, buffer_callback=lambda buffer: None)
        self._note = note

    def reducer_override(self, obj: Any) -> Any:
        """Note what is pickled, and pickle it as ever."""
        self._note(obj)
        return super().reducer_override(obj)


class _Sink(io.RawIOBase):
    def write(self, data: Any) -> int:
        return memoryview(data).nbytes


def _is_library(obj: Callable[..., Any] | type | types.ModuleType) -> bool:
    """Return whether an object is of the standard library or an installed package, which the versions stand for."""
    name = obj.__name__ if isinstance(obj, types.ModuleType) else obj.__module__
    if name in sys.builtin_module_names or name.partition(".")[0] == "prefect_ds":
        return True
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and file.startswith(_LIBRARIES)


def _names(code: types.CodeType) -> set[str]:
    """Return the global names and attributes that a function's code, and the functions in it, name."""
    inner = (
        _names(each) for each in code.co_consts if isinstance(each, types.CodeType)
    )
    return set(code.co_names).union(*inner)
