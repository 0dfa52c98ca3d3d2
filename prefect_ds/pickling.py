"""Pickles that come back with the classes of this process.

A class of the user's script cannot be imported by other processes, so cloudpickle puts
its code into the pickle. Loaded as it is, it would be another class: ``isinstance``
would be false, a dataclass unequal, and the member of an enum another object. Here it
is the class that the script has, or the one that the task names which takes the value.

Runs where a value is written or loaded.
"""

from __future__ import annotations

import contextlib
import functools
import io
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, BinaryIO, Final
from weakref import WeakSet, WeakValueDictionary

from cloudpickle import cloudpickle

Classes = Callable[[], Iterable[type]]
"""Returns the user's classes that the code of a task names."""

_named: ContextVar[Classes] = ContextVar("prefect_ds_named_classes", default=tuple)

_copies: WeakSet[type] = WeakSet()
"""Classes that were made from a pickle in this process."""

_by_pickle_id: Final[WeakValueDictionary[str, Any]] = getattr(
    cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_ID", WeakValueDictionary()
)
"""Classes of this process that cloudpickle has met, by their ids in pickles."""

_make_class: Final[Any] = getattr(cloudpickle, "_make_skeleton_class", None)


@contextlib.contextmanager
def naming(classes: Classes) -> Iterator[None]:
    """Load pickles for a task whose code names some classes."""
    token = _named.set(classes)
    try:
        yield
    finally:
        _named.reset(token)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Writes the code of the script's classes, with their full names and their slots.

    Parameters
    ----------
    file, protocol
        As for ``pickle.Pickler``.
    by_name
        Leave out the code of a class that this process knows by its name, as pickle
        does. On a worker that has no such script the code is written.
    """

    def __init__(self, file: BinaryIO, protocol: int, *, by_name: bool = False) -> None:
        super().__init__(file, protocol=protocol)
        self._by_name = by_name

    def reducer_override(self, obj: Any) -> Any:
        """Return how to pickle an object; ``NotImplemented``: as pickle does."""
        if (
            self._by_name
            and isinstance(obj, type)
            and _in_module(obj.__module__, obj.__qualname__) is obj
        ):
            return NotImplemented
        if type(obj) is functools.cached_property:
            # Before Python 3.12 it has a lock.
            return functools.cached_property, (obj.func,), {"attrname": obj.attrname}
        reduced = super().reducer_override(obj)
        if isinstance(reduced, tuple) and reduced[0] is _make_class:
            make, arguments, *rest = reduced
            kind, name, bases, options, *more = arguments
            options = {**options, "__qualname__": _full_name(obj)}
            # Set later, as cloudpickle does it, they would be an attribute like others.
            if _has_slots(obj):
                options["__slots__"] = vars(obj)["__slots__"]
            return make, (kind, name, bases, options, *more), *rest
        return reduced


class Unpickler(pickle.Unpickler):
    """Loads a pickle with the classes of this process.

    The code in the pickle counts only where there is no such class.

    Parameters
    ----------
    file
        The pickle.
    written_here
        Whether it was written just now, of objects that are still there: its classes
        are theirs.
    by_code
        Make the classes from the code in the pickle, whatever classes there are.
    """

    def __init__(
        self, file: Any, *, written_here: bool = False, by_code: bool = False
    ) -> None:
        super().__init__(file)
        self._written_here = written_here
        self._by_code = by_code
        self._found: set[type] = set()

    @property
    def has_replaced(self) -> bool:
        """Whether classes of this process are in the place of those of the pickle."""
        return bool(self._found)

    def find_class(self, module: str, name: str) -> Any:
        """Return what the pickle names."""
        # A worker may have imported the script: those classes are not the task's.
        if module == "__main__" and not self._written_here:
            kind = _named_by_task(module, name, True)
            kind = kind or _named_by_task(module, name, False)
            if kind is not None:
                return kind
        target = super().find_class(module, name)
        if not module.startswith("cloudpickle."):
            return target
        if target is _make_class:
            return self._class
        if name == "_make_skeleton_enum":
            return functools.partial(self._enum, target)
        if name == "_class_setstate":
            return functools.partial(self._with_state, target)
        return target

    def _class(
        self,
        metaclass: type,
        name: str,
        bases: Any,
        options: dict[str, Any],
        pickle_id: str,
        *more: Any,
    ) -> type:
        full_name = options.get("__qualname__", name)
        module, has_slots = options.get("__module__", ""), "__slots__" in options
        known = self._known(module, full_name, pickle_id, has_slots)
        if known is not None:
            return known
        return _copy(_make_class(metaclass, name, bases, options, pickle_id, *more))

    def _enum(
        self,
        make: Callable[..., type],
        bases: Any,
        name: str,
        full_name: str,
        members: Any,
        module: str,
        pickle_id: str,
        *more: Any,
    ) -> type:
        known = self._known(module, full_name, pickle_id)
        if known is not None:
            return known
        return _copy(make(bases, name, full_name, members, module, pickle_id, *more))

    def _with_state(self, set_state: Callable[..., Any], kind: type, state: Any) -> Any:
        # Methods from the pickle would take the place of those that the script has, and
        # read globals of their own.
        if kind in self._found:
            return kind
        return set_state(kind, state)

    def _known(
        self, module: str, full_name: str, pickle_id: str, has_slots: bool = False
    ) -> type | None:
        """Return the class of this process, if there is one."""
        met: type | None = _by_pickle_id.get(pickle_id)
        if met is not None and met in _copies:
            met = None
        if self._by_code:
            return None
        kind = met
        if met is None or not self._written_here:
            kind = _named_by_task(module, full_name, has_slots)
            kind = kind or _in_module(module, full_name) or met
        if kind is not None:
            self._found.add(kind)
        return kind


def load(file: BinaryIO) -> Any:
    """Return the value in a pickle.

    Where the classes of this process cannot hold it, such as an enum that has lost a
    member, its classes are made from their code in the pickle.
    """
    start = file.tell() if file.seekable() else None
    unpickler = Unpickler(file)
    try:
        return unpickler.load()
    except Exception:
        # It is raised unless the code in the pickle may do better.
        if start is None or not unpickler.has_replaced:
            raise
    file.seek(start)
    return Unpickler(file, by_code=True).load()


def loads(data: Any, *, written_here: bool = False) -> Any:
    """Return the value in a pickle, see :class:`Unpickler`."""
    return Unpickler(io.BytesIO(data), written_here=written_here).load()


def dumps(value: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> bytes:
    """Return the pickle of a value, see :class:`Pickler`."""
    file = io.BytesIO()
    Pickler(file, protocol).dump(value)
    return file.getvalue()


def _copy(kind: type) -> type:
    _copies.add(kind)
    return kind


def _named_by_task(module: str, full_name: str, has_slots: bool) -> type | None:
    """Return the class of a name that the code of the task has, if it is one."""
    alike = {
        kind
        for kind in _named.get()()
        if (kind.__module__, _full_name(kind)) == (module, full_name)
        # The methods of a dataclass with slots name the one without, too.
        and _has_slots(kind) == has_slots
    }
    # Two calls of a function have made two: nothing says which it is.
    return alike.pop() if len(alike) == 1 else None


def _has_slots(kind: type) -> bool:
    """Return whether a class has slots of its own. A named tuple has none of them."""
    slots = vars(kind).get("__slots__")
    return isinstance(slots, str | tuple | list | dict) and bool(slots)


def _full_name(kind: type) -> str:
    """Return the name of a class with those of the classes that it is inside of.

    cloudpickle forgets these: what it brings to a worker is called by its last name.
    """
    full_name = kind.__qualname__
    seen = [kind]
    while "." not in seen[-1].__qualname__:
        outer = _outer(seen[-1])
        # A class may be an attribute of itself.
        if outer is None or outer in seen:
            break
        seen.append(outer)
        full_name = f"{outer.__qualname__}.{full_name}"
    return full_name


def _outer(kind: type) -> type | None:
    """Return the class that another is inside of, if cloudpickle has met it."""
    # Not by `values()`: another thread may add to them.
    for outer in [alive() for alive in _by_pickle_id.valuerefs()]:
        is_outer = (
            isinstance(outer, type)
            and vars(outer).get(kind.__name__) is kind
            and outer.__module__ == kind.__module__
        )
        if is_outer:
            return outer
    return None


def _in_module(module: str, full_name: str) -> type | None:
    """Return the class that has a name in a module."""
    kind: Any = sys.modules.get(module)
    for name in full_name.split("."):
        kind = getattr(kind, name, None)
    if isinstance(kind, type) and kind.__module__ == module:
        return kind
    return None
