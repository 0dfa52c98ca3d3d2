"""Encodings of objects of any class: by class and by whole state, as pickle sees it."""

from __future__ import annotations

import copyreg
import datetime
import enum
import functools
import inspect
import itertools
import logging
from collections.abc import Iterator
from typing import Any, Final

from prefect_ds.checkpoints.digests.code import encode_class
from prefect_ds.checkpoints.digests.plain import (
    encode_date,
    encode_set,
    encode_time,
    encode_timedelta,
    short,
)
from prefect_ds.checkpoints.digests.walk import (
    Encoder,
    UndigestibleError,
    Walk,
    atom,
    pack,
    pack_all,
)

_logger = logging.getLogger("prefect.prefect_ds.checkpoints.digests")

# Their tokens hold arrays that dask has hashed already, by their order in memory.
_TOKENS_NOT_TRUSTED: Final = ("xarray",)
_GETSTATE: Final[object] = object.__getstate__
_READ_ONCE: Final = frozenset(["builtins", "itertools", "_csv", "_io"])


def encode_object(value: Any, walk: Walk) -> bytes:
    """Return the encoding of an object that has no encoder of its own."""
    kind = type(value)
    has_token = not walk.is_strict and hasattr(kind, "__dask_tokenize__")
    if has_token and _is_trusted(kind):
        # The author of the class says what it is: a connection may be its address.
        token = _asked(value, "__dask_tokenize__")
        return pack("token", encode_class(kind, walk), walk.encode(token))
    if isinstance(value, Iterator) and kind.__module__ in _READ_ONCE:
        raise UndigestibleError(kind.__name__, why="it can be read only once")
    return pack("object", encode_class(kind, walk), encode_state(value, walk))


def _is_trusted(kind: type) -> bool:
    return kind.__module__.partition(".")[0] not in _TOKENS_NOT_TRUSTED


def _asked(value: Any, method: str, *args: object) -> Any:
    """Call a method that anybody may have written."""
    try:
        return getattr(value, method)(*args)
    except RecursionError:
        # It says how deep the value is, not that its method fails.
        raise
    except Exception as error:
        name = type(value).__name__
        _logger.debug("no digest of a %s: %r", name, error)
        raise UndigestibleError(name, why=f"{error}") from error


def encode_state(value: Any, walk: Walk) -> bytes:
    """Return the encoding of all that pickle would take of an object."""
    reducer = copyreg.dispatch_table.get(type(value))
    if reducer is None:
        reduced = _asked(value, "__reduce_ex__", 2)
    else:
        reduced = reducer(value)
    if isinstance(reduced, str):
        return pack("global", reduced.encode("utf-8", "surrogatepass"))
    # `__reduce_ex__` gives two to six parts; pickle takes those that are left out for
    # None.
    make, args, state, items, pairs = itertools.islice(
        itertools.chain(reduced, itertools.repeat(None)), 5
    )
    parts = [walk.encode(make)]
    parts += [walk.encode_at(arg, f".<argument {i}>") for i, arg in enumerate(args)]
    parts.append(_encode_attributes(value, state, walk))
    for i, item in enumerate(items or ()):
        parts.append(walk.encode_at(item, f"[{i}]"))
    for key, item in pairs or ():
        step = f"[{short(key)}]"
        parts.append(
            pack("pair", walk.encode_at(key, step), walk.encode_at(item, step))
        )
    return pack_all("state", parts)


def _encode_attributes(value: Any, state: Any, walk: Walk) -> bytes:
    kind = type(value)
    if getattr(kind, "__getstate__", None) is not _GETSTATE:
        return walk.encode_at(state, ".__getstate__()")
    # As Python makes it: the attributes, and those in slots beside them.
    parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    if not all(part is None or isinstance(part, dict) for part in parts):
        return walk.encode_at(state, ".__reduce__()")
    attributes = {name: item for part in parts if part for name, item in part.items()}
    return encode_named(attributes, kind, walk)


def encode_named(attributes: dict[Any, Any], kind: type, walk: Walk) -> bytes:
    """Return the encoding of an object's attributes; their order does not count."""
    parts = []
    for name in sorted(attributes, key=str):
        if not walk.is_strict and _is_derived(kind, name):
            continue
        step = f".{name}"
        parts.append(walk.encode_at(name, step))
        parts.append(walk.encode_at(attributes[name], step))
    return pack_all("attributes", parts)


def _is_derived(kind: type, name: Any) -> bool:
    # A property that was read once is kept beside the attributes it comes from.
    member = inspect.getattr_static(kind, name, None) if type(name) is str else None
    return isinstance(member, functools.cached_property)


def encode_own_attributes(value: Any, walk: Walk) -> bytes:
    """Return the encoding of what was set on an instance of a subclass."""
    state = object.__getstate__(value)
    parts = state if isinstance(state, tuple) else (state,)
    attributes = {
        name: item
        for part in parts
        if isinstance(part, dict)
        for name, item in part.items()
    }
    return encode_named(attributes, type(value), walk)


def _enum(value: Any, walk: Walk) -> bytes:
    # Versions of Python differ in the name of a flag of several members.
    kind = type(value)
    name = value._name_ if value._name_ in kind.__members__ else None
    extra = {key: item for key, item in vars(value).items() if key[:1] != "_"}
    return pack(
        "enum",
        encode_class(kind, walk),
        atom(name),
        walk.encode_at(value._value_, ".value"),
        encode_named(extra, kind, walk),
    )


def _set(value: Any, walk: Walk) -> bytes:
    return pack(
        "set of a class",
        encode_class(type(value), walk),
        encode_set(value, walk),
        encode_own_attributes(value, walk),
    )


def _datetime(value: Any, walk: Walk) -> bytes:
    parts = [encode_class(type(value), walk)]
    if isinstance(value, datetime.timedelta):
        parts.append(encode_timedelta(value))
    if isinstance(value, datetime.date):
        parts.append(encode_date(value))
    if isinstance(value, datetime.time | datetime.datetime):
        parts.append(encode_time(value, walk))
    return pack_all("date of a class", [*parts, encode_own_attributes(value, walk)])


BASES: Final[tuple[tuple[type | tuple[type, ...], Encoder], ...]] = (
    (enum.Enum, _enum),
    ((set, frozenset), _set),
    ((datetime.date, datetime.time, datetime.timedelta), _datetime),
)
"""Encoders for subclasses of types that pickle does not see whole, or in no order."""
