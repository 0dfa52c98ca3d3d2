"""The description of a type of file for objects, and the parts that types share."""

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeAlias

Marks: TypeAlias = Any
"""JSON that says what a file does not: how its plain values turn into the result."""


class UnkeepableError(ValueError):
    """A type of file does not keep a value.

    Parameters
    ----------
    why
        What the value is, or what its type does not keep.
    value
        The value that is refused, or the one that it is a part of.
    hint
        What to do; empty where only another file type helps.
    """

    def __init__(self, why: str, value: Any = None, hint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.value = value
        self.hint = hint
        self.place = ""
        """The way to the value from the result, such as ``["by"][3]``."""

    def below(self, step: str) -> UnkeepableError:
        """Return the error, seen from a collection with the value in it."""
        self.place = step + self.place
        return self


@contextlib.contextmanager
def refusing(writer: str, value: Any) -> Iterator[None]:
    """Turn what a library, or a user's function, raises while it writes a value.

    Raises
    ------
    UnkeepableError
        It cannot write the value and read it back. Errors of the disk and of memory
        stay as they are.
    """
    try:
        yield
    except (OSError, MemoryError, UnkeepableError):
        raise
    except Exception as error:
        # Libraries have errors of their own, which the caller need not know.
        why = f"{writer} cannot write it and read it back: {error!r}"
        raise UnkeepableError(why, value) from error


def key_step(key: Any) -> str:
    """Return the step from a dict to one of its values.

    Examples
    --------
    >>> key_step("by"), key_step(3)
    ('["by"]', '[3]')
    """
    # As a person would write it in code; other keys as Python shows them.
    if type(key) is str and "\\" not in repr(key) and '"' not in key:
        return f'["{key}"]'
    return f"[{shortened(key)}]"


def shortened(value: Any) -> str:
    """Return the repr of a value, cut where it is long."""
    return reprlib.repr(value)


def _same_value(value: Any) -> Any:
    return value


def _same_place(value: Any, path: str) -> Any:
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectType:
    """A type of file that keeps one value.

    Every type has a module of its own, and one line in `registry`.
    """

    name: str
    keeps: str
    """The values that it keeps, in words: "numpy arrays"."""
    kept_classes: Callable[[], tuple[type, ...]]
    """Returns the classes of the values that it keeps."""
    write: Callable[[Any, BinaryIO], Marks | None]
    """Writes a value to an empty file; raises `UnkeepableError` if it is refused."""
    read: Callable[[BinaryIO, Marks | None], Any]
    """Reads the value of a whole file. Without marks a person made the file."""
    read_data: Callable[[memoryview, Marks | None], Any] | None = None
    """Reads it from the bytes in memory instead, where that spares a copy of them."""
    endings: tuple[str, ...] = ()
    """Endings of paths that mean this type."""
    takes_any_ending: bool = False
    """Whether a path may end as files of other types do: text is text."""
    requires: Mapping[str, str] = field(default_factory=dict)
    """Import name to pip name of the packages that it needs."""
    other_names: tuple[str, ...] = ()
    """Other names that people know it by."""
    prepare: Callable[[Any], Any] = _same_value
    """Converts a task's result to the value that is kept, as a figure to a picture."""
    place: Callable[[Any, str], Any] = _same_place
    """Adds the path to a value that knows where it is kept."""
    own_code: tuple[Callable[..., Any], ...] = ()
    """The functions of a user's own that write and read it."""
    needs_its_code: bool = False
    """Whether a read imports the classes of its values, as a pickle does."""
    is_pickle: bool = False
    """Whether equal values may have other bytes, so that the value itself counts."""


def name_of(cls: type) -> str:
    """Return the name of a class with that of its module, unless it is a builtin.

    Examples
    --------
    >>> name_of(dict), name_of(Mapping)
    ('dict', 'collections.abc.Mapping')
    """
    if cls.__module__ == "builtins":
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"
