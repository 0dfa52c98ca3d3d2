"""Copies of one definition, which a walk over code counts as one.

A process that runs tasks from pickles has such copies: a class that came with one task
stays, and its methods go on reading the functions that came with it, while the next
task brings them again. The process that defined the task has a single one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any


class Mark(str):
    """The mark of a function or class in a fact: ``@`` and its number."""

    __slots__ = ()


def without_copies(
    facts: Sequence[Any], of_objects: Sequence[Any], objects: Sequence[Any]
) -> list[Any]:
    """Return the facts as if the walk had met the originals in place of their copies.

    Parameters
    ----------
    facts
        What the walk began with, with marks for functions and classes.
    of_objects
        What is known of the functions and classes, by number.
    objects
        Functions and classes, by number.
    """
    marks = merge_copies(of_objects, objects)
    originals: dict[Mark, Any] = {}
    for mark, known in zip(marks, of_objects, strict=True):
        originals.setdefault(marks[mark], replace_marks(known, marks))
    return [*replace_marks(list(facts), marks), *originals.values()]


def merge_copies(facts: Sequence[Any], objects: Sequence[Any]) -> dict[Mark, Mark]:
    """Return the mark that every object has once its copies are one.

    Copies have one module and qualified name, and no fact about them, or about what
    they lead to, tells them apart. Those that are left keep their order.

    Parameters
    ----------
    facts
        What is known of the objects, with marks for those that they lead to.
    objects
        Functions and classes, by number.
    """
    names = [_name_of(obj, number) for number, obj in enumerate(objects)]
    labels = names
    n_labels = 0
    # Objects that lead to what differs differ, and so do those that lead to them. A
    # round that tells no more of them apart is the last.
    while n_labels < len(set(labels)) < len(objects):
        n_labels = len(set(labels))
        by_mark = {Mark(f"@{number}"): label for number, label in enumerate(labels)}
        labels = [
            _hash(name, replace_marks(fact, by_mark))
            for name, fact in zip(names, facts, strict=True)
        ]
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return {
        Mark(f"@{number}"): Mark(f"@{numbers[label]}")
        for number, label in enumerate(labels)
    }


def _name_of(obj: Any, number: int) -> str:
    """Return the name of a definition; of its own where there may be several of it."""
    name = f"{obj.__module__}:{obj.__qualname__}"
    is_made_in_function = "<" in obj.__qualname__
    if not is_made_in_function:
        return name
    # `<locals>` and `<lambda>`: two of one name may be two definitions.
    return f"{name}:{number}"


def _hash(*facts: Any) -> str:
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).hexdigest()


def replace_marks(fact: Any, marks: Mapping[Mark, str]) -> Any:
    """Return a fact with its marks replaced."""
    if type(fact) is Mark:
        return marks[fact]
    if type(fact) is list:
        return [replace_marks(part, marks) for part in fact]
    if type(fact) is tuple:
        return tuple([replace_marks(part, marks) for part in fact])
    return fact
