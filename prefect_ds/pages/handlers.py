"""A handler as text, and as a table in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import shorten
from typing import Any

from prefect_ds.pages.rendering import render_table

_MOST_CHARACTERS = 200
"""Of the keyword arguments, in a notebook."""


class Shown:
    """A base of handlers, which show their settings, and read no file for it."""

    location: Any
    file_type: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.location!r}, {self.file_type!r}>"

    def _repr_html_(self) -> str:
        rows: list[tuple[str, str]] = []
        # A handler of several outputs has one for every output.
        outputs: dict[str, Any] = getattr(self, "handlers", {})
        for name, handler in outputs.items():
            rows += [(f"{name}: {word}", value) for word, value in _settings(handler)]
        if not outputs:
            rows += _settings(self)
        return render_table(("setting", "value"), rows, title=type(self).__name__)


def _settings(handler: Any) -> Iterator[tuple[str, str]]:
    """Yield the settings of a handler in words.

    The options of its store are left out: they may be secret. Settings without an
    effect are left out too.
    """
    location = handler.location
    if location is None:
        yield "path", "the task's target"
    elif isinstance(location, str):
        yield "path", location
    else:
        yield "path", f"made by {getattr(location, '__qualname__', 'a function')}"
    yield "file type", handler.file_type
    yield "match", handler.match
    if handler.ignore:
        yield "ignore", ", ".join(handler.ignore)
    if handler.show:
        yield "show", ", ".join(handler.show)
    if handler.max_age is not None:
        yield "max age", str(handler.max_age)
    if handler.durability != "process":
        yield "durability", handler.durability
    if handler.check != "size":
        yield "check", handler.check
    for name in ("read_kwargs", "write_kwargs"):
        value = getattr(handler, name, None)
        if value:
            text = repr(value)
            yield name, shorten(text, _MOST_CHARACTERS, placeholder=" ...")
