"""Single values that JSON has no form for, as text or a number with a mark, and back.

A mark is the name of a type, or a dict of the name (``is``) and of what its text leaves
out: the unit, the time zone.
"""

from __future__ import annotations

import datetime
import json
import math
import re
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pandas as pd

from prefect_ds.objects.base import Marks, UnkeepableError, name_of

_NOT_FINITE: Final = ("NaN", "Infinity", "-Infinity")


def to_scalar(value: Any) -> tuple[Any, Marks]:
    """Return a value as JSON, and the mark that brings it back.

    Raises
    ------
    UnkeepableError
        It is of no type that is known here, or its text does not give it back.
    """
    plain, mark = _plain(value)
    # The types have corners, such as the second 2 o'clock of the night in October.
    try:
        is_kept = _is_same(value, from_scalar(plain, mark))
    except (ValueError, TypeError, OverflowError, KeyError):
        is_kept = False
    if not is_kept:
        hint = ""
        if getattr(value, "tzinfo", None) is not None:
            hint = "convert it first, as by .astimezone(datetime.UTC)"
        why = f"the text of this {name_of(type(value))} does not give it back"
        raise UnkeepableError(why, value, hint)
    return plain, mark


def _plain(value: Any) -> tuple[Any, Marks]:
    kind = type(value)
    if kind is float:
        return _float(value), "float"
    # `NaT` and `<NA>`, as pandas shows them.
    if value is pd.NaT or value is pd.NA:
        return None, str(value).removeprefix("<").removesuffix(">")
    if kind in _TEXTS:
        return str(value), kind.__name__
    if kind is datetime.date or kind is datetime.time:
        return value.isoformat(), kind.__name__
    if kind is datetime.datetime:
        # ISO 8601 has the offset, not the zone.
        if type(value.tzinfo) is zoneinfo.ZoneInfo:
            return value.isoformat(), {"is": "datetime", "zone": value.tzinfo.key}
        return value.isoformat(), "datetime"
    if kind is pd.Timestamp:
        mark = {"is": "Timestamp", "unit": value.unit}
        if type(value.tzinfo) is zoneinfo.ZoneInfo:
            mark["zone"] = value.tzinfo.key
        return value.isoformat(), mark
    if kind is pd.Timedelta:
        return value.isoformat(), {"is": "Timedelta", "unit": value.unit}
    if isinstance(value, np.generic) and value.dtype.kind in "biufMmU":
        return _numpy_plain(value), f"numpy.{_dtype_name(value)}"
    raise UnkeepableError(f"{name_of(kind)}", value)


def _float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return json.dumps(value)


def _dtype_name(value: np.generic) -> str:
    # Without the length, as in "str96".
    if value.dtype.kind == "U":
        return "str"
    return value.dtype.name


def _numpy_plain(value: Any) -> Any:
    kind = value.dtype.kind
    if kind == "f":
        if not np.isfinite(value):
            return json.dumps(float(value))
        # The shortest text reads best: 0.1, not 0.10000000149011612.
        shortest = float(str(value))
        if value.dtype.type(shortest) == value:
            return shortest
        return float(value)
    if kind == "M":
        return str(value)
    if kind == "m":
        # A count of the unit that the dtype names.
        return "NaT" if np.isnat(value) else int(value.astype("int64"))
    return value.item()


def from_scalar(plain: Any, mark: Marks) -> Any:
    """Return the value that `to_scalar` turned into this.

    Raises
    ------
    ValueError
        A person has changed the file, and the mark does not fit any more.
    """
    name, more = mark, {}
    if not isinstance(mark, str):
        name, more = mark["is"], mark
    if name in ("NaT", "NA"):
        if plain is not None:
            raise ValueError(f"{plain!r} is not null")
        return getattr(pd, name)
    if name == "float":
        # The mark of a list counts for all of its floats, of which some are finite.
        return plain if type(plain) is float else _not_finite(_text(plain))
    if name.startswith("numpy."):
        return _numpy_value(plain, name.removeprefix("numpy."))
    value = _FROM_TEXT[name](_text(plain))
    if name in ("Timestamp", "Timedelta"):
        value = value.as_unit(more["unit"])
    zone = more.get("zone")
    if zone is not None:
        if value.tzinfo is None:
            raise ValueError(f"{plain!r} has no time zone")
        value = value.astimezone(zoneinfo.ZoneInfo(zone))
    return value


def _not_finite(text: str) -> float:
    if text not in _NOT_FINITE:
        raise ValueError(f"{text!r} is no number")
    # A new object: a set may hold several that are no number.
    return float(text)


def _numpy_value(plain: Any, name: str) -> Any:
    if name == "str":
        return np.str_(_text(plain))
    dtype = np.dtype(name)
    if dtype.kind == "f" and type(plain) is str:
        plain = _not_finite(plain)
    if dtype.kind in "Mm":
        return dtype.type(plain, np.datetime_data(dtype))
    expected = {"b": bool, "f": float}.get(dtype.kind, int)
    if type(plain) is not expected:
        raise ValueError(f"{plain!r} is no {name}")
    return dtype.type(plain)


def _text(plain: Any) -> str:
    if type(plain) is not str:
        raise ValueError(f"{plain!r} is no text")
    return plain


_DURATION: Final = re.compile(
    r"(?:(?P<days>-?\d+) days?, )?"
    r"(?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d)(?:\.(?P<microseconds>\d{6}))?"
)


def _duration(text: str) -> datetime.timedelta:
    """Return the duration whose text this is: ``1 day, 2:03:04.000005``."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration, as '1 day, 2:03:04' is")
    parts = {name: int(number or 0) for name, number in match.groupdict().items()}
    return datetime.timedelta(**parts)


_TEXTS: Final = (Decimal, datetime.timedelta)
"""Types whose ``str`` says all."""

_FROM_TEXT: Final[dict[str, Callable[[str], Any]]] = {
    "Decimal": Decimal,
    "timedelta": _duration,
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "datetime": datetime.datetime.fromisoformat,
    "Timestamp": pd.Timestamp,
    "Timedelta": pd.Timedelta,
}


def _is_same(left: Any, right: Any) -> bool:
    """Return whether two scalars are the same: the repr leaves out a few things."""
    if type(left) is not type(right) or repr(left) != repr(right):
        return False
    for name in ("dtype", "unit", "fold"):
        if getattr(left, name, None) != getattr(right, name, None):
            return False
    zones = [type(getattr(value, "tzinfo", None)) for value in (left, right)]
    return zones[0] is zones[1]
