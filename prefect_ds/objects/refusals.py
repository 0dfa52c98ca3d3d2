"""The words for a value that a type of file does not keep: the place, the cure."""

from __future__ import annotations

from typing import Any

from prefect_ds.file_types.advice import frame_handler_for
from prefect_ds.objects.base import ObjectType, UnkeepableError, name_of
from prefect_ds.objects.describe import describe
from prefect_ds.objects.registry import OBJECT_TYPES


def refusal(error: UnkeepableError, kind: ObjectType) -> str:
    """Return the message about a result, or a part of one, that a type does not keep.

    Parameters
    ----------
    error
        Has the place in the result, and the value there.
    kind
        The type of the file.
    """
    why = error.why
    description = describe(error.value)
    others: list[str] = []
    if why == name_of(type(error.value)):
        # Its class is refused, which other types may keep.
        others = _others(error.value, kind)
        if description not in why:
            why = f"{why}, {description}"
    message = (
        f"a file of type {kind.name!r} keeps {kind.keeps}, and not "
        f"result{error.place} ({why})"
    )
    if error.hint:
        message += f"; {error.hint}"
    cures = _cures(others, kind, is_whole=not error.place)
    if cures:
        message += f". {cures}"
    return message


def _cures(others: list[str], kind: ObjectType, *, is_whole: bool) -> str:
    """Return the ways to keep a value that a type of file refuses, as a sentence."""
    part, whole = "this part by itself", "the whole result"
    if is_whole:
        part, whole = "it", "it"
    cures = []
    if others:
        cures.append(f"keep {part} with {' or '.join(others)}")
    # A pickle has refused it already, where the type is one.
    if not kind.needs_its_code:
        cures.append(f"keep {whole} with file type 'pickle'")
    sentence = ", or ".join(cures)
    return sentence[:1].upper() + sentence[1:]


def _others(value: Any, kind: ObjectType) -> list[str]:
    """Return the handlers or file types for a value's class, except pickles."""
    handler = frame_handler_for(type(value))
    # Of a subclass, the handler is the one that refuses it.
    if handler and repr(kind.name) in handler:
        return []
    if handler:
        return [handler]
    return [
        f"file type {name!r}"
        for name, other in OBJECT_TYPES.items()
        if other is not kind
        and not other.needs_its_code
        and type(value) in other.kept_classes()
    ]
