"""Encodings of the values of Python's own types: numbers, text, dates, containers."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import hashlib
import pathlib
import re
import types
import uuid
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from prefect_ds.checkpoints.digests.walk import (
    ATOMS,
    Encoder,
    UndigestibleError,
    Walk,
    atom,
    pack,
    pack_all,
)

_FEW: Final = 100
"""So many items are written as they are, more are hashed in chunks."""
_CHUNK: Final = 2**13


def _list(value: Any, walk: Walk) -> bytes:
    return pack("list", encode_items(value, walk))


def _tuple(value: Any, walk: Walk) -> bytes:
    return pack("tuple", encode_items(value, walk))


def encode_items(items: Any, walk: Walk) -> bytes:
    """Return the encoding of a list, a tuple or an array of objects, in order."""
    if len(items) > _FEW:
        encoding = _encode_many_texts(items) or _encode_many_atoms(items)
        if encoding is not None:
            return encoding
    elif set(map(type, items)) <= ATOMS:
        try:
            return b"=" + ascii(tuple(items)).encode()
        except ValueError:  # A number of too many digits.
            pass
    return pack_all(
        "items", [walk.encode_at(item, f"[{i}]") for i, item in enumerate(items)]
    )


def _chunks(items: Any) -> Iterator[list[Any]]:
    """Give items in lists that are short enough for the processor's cache."""
    for start in range(0, len(items), _CHUNK):
        chunk = items[start : start + _CHUNK]
        yield chunk.tolist() if isinstance(chunk, np.ndarray) else list(chunk)


def _encode_many_texts(items: Any) -> bytes | None:
    """Return the encoding of items that are all text, ``None`` for others."""
    hasher = hashlib.sha256()
    for chunk in _chunks(items):
        if set(map(type, chunk)) != {str}:
            return None
        # Joined at once, which takes a fifth of the time of `ascii`.
        joined = "\0".join([*chunk, ""]).encode("utf-8", "surrogatepass")
        # A text with a NUL in it would look like two texts.
        if joined.count(b"\0") != len(chunk):
            return None
        hasher.update(joined)
    return pack("texts", b"%d" % len(items), hasher.digest())


def _encode_many_atoms(items: Any) -> bytes | None:
    """Return the encoding of items that are all plain, ``None`` for others."""
    hasher = hashlib.sha256()
    for chunk in _chunks(items):
        if not set(map(type, chunk)) <= ATOMS:
            return None
        try:
            hasher.update(ascii(chunk).encode())
        except ValueError:  # A number of too many digits.
            return None
    return pack("atoms", b"%d" % len(items), hasher.digest())


def _dict(value: Any, walk: Walk) -> bytes:
    return pack("dict", encode_pairs(value, walk))


def encode_pairs(pairs: Mapping[Any, Any], walk: Walk) -> bytes:
    """Return the encoding of a dict; its order counts.

    The order of a frame's columns may depend on it.
    """
    kinds = set(map(type, pairs))
    kinds.update(map(type, pairs.values()))
    if kinds <= ATOMS:
        try:
            return b"=" + ascii(_as_dict(pairs)).encode()
        except ValueError:  # A number of too many digits.
            pass
    parts = []
    for key, item in pairs.items():
        parts.append(walk.encode_at(key, f"[{short(key)}]"))
        parts.append(walk.encode_at(item, f"[{short(key)}]"))
    return pack_all("pairs", parts)


def _as_dict(pairs: Mapping[Any, Any]) -> dict[Any, Any]:
    return pairs if type(pairs) is dict else dict(pairs)


def short(key: object) -> str:
    """Return a key as an error names it."""
    if isinstance(key, str | int | float | bytes | None):
        text = repr(key)
        return text if len(text) <= 40 else f"{text[:37]}..."
    return f"a {type(key).__name__}"


def encode_set(value: Iterable[Any], walk: Walk) -> bytes:
    """Return the encoding of a set: its order differs from process to process."""
    # Sorted by their encodings: items of several types have no order of their own.
    encoded = []
    for item in value:
        try:
            encoded.append(walk.encode_apart(item))
        except UndigestibleError as error:
            raise error.below("{...}") from error.__cause__
    return pack_all("items", sorted(encoded))


def _set(value: Any, walk: Walk) -> bytes:
    return pack("set", encode_set(value, walk))


def _frozenset(value: Any, walk: Walk) -> bytes:
    return pack("frozenset", encode_set(value, walk))


def _dict_view(value: Any, walk: Walk) -> bytes:
    return pack(type(value).__name__, encode_items(list(value), walk))


def _mapping_proxy(value: Any, walk: Walk) -> bytes:
    return pack("mappingproxy", encode_pairs(value, walk))


def _ordered_dict(value: Any, walk: Walk) -> bytes:
    return pack("OrderedDict", encode_pairs(value, walk), _attributes(value, walk))


def _counter(value: Any, walk: Walk) -> bytes:
    return pack("Counter", encode_pairs(value, walk), _attributes(value, walk))


def _default_dict(value: Any, walk: Walk) -> bytes:
    factory = walk.encode_at(value.default_factory, ".default_factory")
    return pack("defaultdict", factory, encode_pairs(value, walk))


def _deque(value: Any, walk: Walk) -> bytes:
    return pack("deque", encode_items(list(value), walk), atom(value.maxlen))


def _attributes(value: Any, walk: Walk) -> bytes:
    # OrderedDict and Counter are written in Python, and take attributes of one's own.
    return walk.encode(getattr(value, "__dict__", None) or None)


def _slice(value: Any, walk: Walk) -> bytes:
    return pack("slice", encode_items([value.start, value.stop, value.step], walk))


def _range(value: Any, walk: Walk) -> bytes:
    return pack("range", encode_range(value))


def encode_range(value: range) -> bytes:
    """Return the encoding of a range: equal where Python calls ranges equal."""
    if len(value) == 0:
        return b"empty"
    # `range(0, 1, 5)` and `range(1)` are equal.
    step = value.step if len(value) > 1 else 1
    return b"%d %d %d" % (value[0], len(value), step)


def _complex(value: Any, walk: Walk) -> bytes:
    return pack("complex", atom(value.real), atom(value.imag))


def _bytearray(value: Any, walk: Walk) -> bytes:
    return pack("bytearray", bytes(value))


def _decimal(value: Any, walk: Walk) -> bytes:
    # 1.50 is not 1.5: a table shows the one or the other.
    return pack("Decimal", str(value).encode())


def _fraction(value: Any, walk: Walk) -> bytes:
    return pack("Fraction", atom(value.numerator), atom(value.denominator))


def _uuid(value: Any, walk: Walk) -> bytes:
    return pack("UUID", value.bytes)


def _path(value: Any, walk: Walk) -> bytes:
    text = str(value).encode("utf-8", "surrogatepass")
    return pack("path", type(value).__name__.encode(), text)


def _pattern(value: Any, walk: Walk) -> bytes:
    return pack("Pattern", atom(value.pattern), atom(value.flags))


def _constant(value: Any, walk: Walk) -> bytes:
    return pack("constant", repr(value).encode())


def _date(value: Any, walk: Walk) -> bytes:
    return pack("date", encode_date(value))


def _time(value: Any, walk: Walk) -> bytes:
    return pack("time", encode_time(value, walk))


def _datetime(value: Any, walk: Walk) -> bytes:
    return pack("datetime", encode_date(value), encode_time(value, walk))


def _timedelta(value: Any, walk: Walk) -> bytes:
    return pack("timedelta", encode_timedelta(value))


def encode_date(value: datetime.date) -> bytes:
    """Return the encoding of the day."""
    return b"%d-%d-%d" % (value.year, value.month, value.day)


def encode_time(value: datetime.time | datetime.datetime, walk: Walk) -> bytes:
    """Return the encoding of the time of day, its zone and its fold."""
    clock = b"%d:%d:%d.%d" % (
        value.hour,
        value.minute,
        value.second,
        value.microsecond,
    )
    zone = walk.encode_at(value.tzinfo, ".tzinfo")
    return pack("clock", clock, zone, atom(value.fold))


def encode_timedelta(value: datetime.timedelta) -> bytes:
    """Return the encoding of a duration."""
    return b"%d %d %d" % (value.days, value.seconds, value.microseconds)


def _timezone(value: Any, walk: Walk) -> bytes:
    offset, name = value.utcoffset(None), value.tzname(None)
    return pack("timezone", encode_timedelta(offset), atom(name))


def _zone_info(value: Any, walk: Walk) -> bytes:
    # The key names the same zone everywhere; the rules themselves are not compared.
    if value.key is None:
        raise UndigestibleError("ZoneInfo", why="it was read from a file without a key")
    return pack("ZoneInfo", atom(value.key))


LEAVES: Final[dict[type, Encoder]] = {
    slice: _slice,
    range: _range,
    complex: _complex,
    bytearray: _bytearray,
    decimal.Decimal: _decimal,
    fractions.Fraction: _fraction,
    uuid.UUID: _uuid,
    pathlib.PurePosixPath: _path,
    pathlib.PureWindowsPath: _path,
    pathlib.PosixPath: _path,
    pathlib.WindowsPath: _path,
    re.Pattern: _pattern,
    type(Ellipsis): _constant,
    type(NotImplemented): _constant,
    datetime.date: _date,
    datetime.time: _time,
    datetime.datetime: _datetime,
    datetime.timedelta: _timedelta,
    datetime.timezone: _timezone,
    zoneinfo.ZoneInfo: _zone_info,
}
"""Encoders of objects that are walked every time they are met."""

NODES: Final[dict[type, Encoder]] = {
    list: _list,
    tuple: _tuple,
    dict: _dict,
    set: _set,
    frozenset: _frozenset,
    type({}.keys()): _dict_view,
    type({}.values()): _dict_view,
    type({}.items()): _dict_view,
    types.MappingProxyType: _mapping_proxy,
    collections.OrderedDict: _ordered_dict,
    collections.Counter: _counter,
    collections.defaultdict: _default_dict,
    collections.deque: _deque,
}
"""Encoders of objects that may be held many times, or hold themselves."""
