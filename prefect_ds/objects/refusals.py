"""The words for a value that a type of file does not keep: the place, the cure.

A cure is tried before it is named, unless the value is large.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO, Final, cast

import cloudpickle

from prefect_ds.file_types.advice import frame_handler_for, handler_for
from prefect_ds.objects.base import ObjectType, UnkeepableError, name_of
from prefect_ds.objects.describe import describe
from prefect_ds.objects.pickles import PICKLE
from prefect_ds.objects.registry import OBJECT_TYPES

_MOST_TRIED_BYTES: Final = 64 * 2**20
"""Of larger values a type is named by their class alone."""


def refusal(error: UnkeepableError, kind: ObjectType, result: Any) -> str:
    """Return the message about a result, or a part of one, that a type does not keep.

    Parameters
    ----------
    error
        Has the place in the result, and the value there.
    kind
        The type of the file.
    result
        The whole result.
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
    part, whole = "this part by itself", "the whole result"
    if not error.place:
        part, whole = "it", "it"
    cures = []
    if others:
        cures.append(f"keep {part} with {' or '.join(others)}")
    unpicklable = None if kind is PICKLE else _refused_by_pickle(result)
    if kind is not PICKLE and unpicklable is None:
        cures.append(f"keep {whole} with file type 'pickle'")
    if cures:
        sentence = ", or ".join(cures)
        return f"{message}. {sentence[:1].upper()}{sentence[1:]}"
    if unpicklable is not None and not kind.is_pickle and not error.hint:
        message += f". No file type keeps result{unpicklable.place} ({unpicklable.why})"
        if unpicklable.hint:
            message += f"; {unpicklable.hint}"
    return message


def advice(value: Any) -> str:
    """Return what to do with a result that its handler is not for, as a clause.

    Examples
    --------
    >>> advice([1, 2])
    "keep it with ObjectResultHandler('x.json')"
    >>> advice([1, object()])
    "keep it with ObjectResultHandler('x.pkl')"
    """
    named = handler_for(type(value))
    if frame_handler_for(type(value)) or not named.startswith("ObjectResult"):
        return f"keep it with {named}"
    if (_pickled_bytes(value) or 0) > _MOST_TRIED_BYTES:
        return f"keep it with {named}"
    calls = {
        f"ObjectResultHandler('x{kind.endings[0]}')": kind
        for kind in OBJECT_TYPES.values()
        if not kind.needs_its_code and type(value) in kind.kept_classes()
    }
    # The usual type for the class first: text is also kept as json.
    for call in sorted(calls, key=lambda call: call != named):
        if _keeps(calls[call], value):
            return f"keep it with {call}"
    unpicklable = _refused_by_pickle(value)
    if unpicklable is None:
        return "keep it with ObjectResultHandler('x.pkl')"
    words = f"no handler keeps result{unpicklable.place} ({unpicklable.why})"
    return f"{words}; {unpicklable.hint}" if unpicklable.hint else words


class _Nowhere:
    """Counts the bytes that are written to it."""

    def __init__(self) -> None:
        self.n_bytes = 0

    def write(self, data: Any) -> int:
        n_bytes = memoryview(data).nbytes
        self.n_bytes += n_bytes
        return n_bytes


def _pickled_bytes(value: Any) -> int | None:
    """Return the size of a value's pickle; ``None`` if it has none."""
    file = _Nowhere()
    try:
        cloudpickle.dump(value, cast(BinaryIO, file))
    except Exception:  # noqa: BLE001 - the methods of any class
        return None
    return file.n_bytes


def _refused_by_pickle(result: Any) -> UnkeepableError | None:
    """Return the error of a pickle about a value; ``None`` if it is kept."""
    if (_pickled_bytes(result) or 0) > _MOST_TRIED_BYTES:
        return None
    try:
        PICKLE.write(result, io.BytesIO())
    except UnkeepableError as error:
        return error
    return None


def _keeps(kind: ObjectType, value: Any) -> bool:
    try:
        kind.write(value, io.BytesIO())
    except Exception:  # noqa: BLE001 - of libraries, of any class
        return False
    return True


def _others(value: Any, kind: ObjectType) -> list[str]:
    """Return the handlers or file types that keep a value, except pickles."""
    handler = frame_handler_for(type(value))
    # Of a subclass, the handler is the one that refuses it.
    if handler and repr(kind.name) in handler:
        return []
    if handler:
        return [handler]
    pickled_bytes = _pickled_bytes(value)
    # Whatever they keep can be pickled too.
    if pickled_bytes is None:
        return []
    is_large = pickled_bytes > _MOST_TRIED_BYTES
    return [
        f"file type {name!r}"
        for name, other in OBJECT_TYPES.items()
        if other is not kind
        and not other.needs_its_code
        and type(value) in other.kept_classes()
        and (is_large or _keeps(other, value))
    ]
