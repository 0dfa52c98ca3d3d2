"""What a walk over code leaves for the words of a reason: names, and short digests."""

from __future__ import annotations

import hashlib
from typing import Any

from prefect_ds.checkpoints.code_objects import fact_bytes
from prefect_ds.checkpoints.readable import readable
from prefect_ds.storage.identity import VALUE


class CodeNotes:
    """What a reason can say of the code that a walk met.

    Parameters
    ----------
    module
        The module whose functions and globals are named without their module.

    Attributes
    ----------
    functions
        ``clean() in helpers``, to a short digest of the function or class.
    values
        ``global 'LIMIT'``, to a readable value or a short digest.
    not_compared
        The values without a digest: what it is, to its type in words.
    """

    def __init__(self, module: str) -> None:
        self.functions: dict[str, str] = {}
        self.values: dict[str, str] = {}
        self.not_compared: dict[str, str] = {}
        self._module = module

    def label(self, obj: Any) -> str:
        """Return how a reason names a function or class."""
        # To a reader, `make.<locals>.clean` is `clean`.
        name = obj.__qualname__.rpartition("<locals>.")[2]
        call = "()"
        if isinstance(obj, type):
            call = ""
        return f"{name}{call}{self._place(obj.__module__)}"

    def global_label(self, name: str, module: str | None) -> str:
        """Return how a reason names a global of a module."""
        return f"global {name!r}{self._place(module)}"

    def _place(self, module: str | None) -> str:
        # The module of the task is where the reader looks first.
        if module == self._module:
            return ""
        return f" in {module}"

    def function(self, label: str, fact: Any) -> None:
        """Note what a function or class is."""
        _note(self.functions, label, _short(fact))

    def value(self, label: str, value: Any, fact: Any) -> None:
        """Note a value, itself if a reason may show it."""
        shown = readable(value)
        text = f"{VALUE}{shown}" if shown else _short(_without_numbers(fact))
        _note(self.values, label, text)


def _note(notes: dict[str, str], label: str, text: str) -> None:
    """Note a text; two functions may have one name."""
    number, unique = 1, label
    while unique in notes and notes[unique] != text:
        number += 1
        unique = f"{label}#{number}"
    notes[unique] = text


def _short(fact: Any) -> str:
    return hashlib.sha256(fact_bytes(fact)).hexdigest()[:16]


def _without_numbers(fact: Any) -> Any:
    """Return a fact without the numbers of functions, which a new function shifts."""
    if isinstance(fact, str):
        if fact.startswith("@"):
            return "code"
        return fact
    if isinstance(fact, list | tuple):
        return [_without_numbers(part) for part in fact]
    return fact
