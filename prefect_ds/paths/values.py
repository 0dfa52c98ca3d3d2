"""The text of a value in a field, before it is encoded."""

import sys
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum
from pathlib import PurePath
from textwrap import shorten
from typing import Any, Final
from uuid import UUID

from prefect_ds.errors import TemplateError
from prefect_ds.paths.fields import Field

Fail = Callable[[str], TemplateError]
"""Returns the error that names template, field and task beside a problem."""

_ACCEPTED: Final = (
    "str, bool, int, float, Decimal, date, datetime, time, timedelta, Path, UUID, "
    "Enum, and scalars of numpy and pandas"
)
_NO_LOOP_COUNT: Final = (
    "a loop has one path, made before its first turn, when Prefect has no "
    "'task_loop_count' yet: leave the field out; the result of the last turn is kept"
)


def field_text(values: Mapping[str, object], field: Field, fail: Fail) -> str:
    """Return the text of a field, looked up among values by name.

    Raises
    ------
    TemplateError
        The value is missing, cannot name a file or does not fit its format spec.
    """
    try:
        value = values[field.name]
    except KeyError as error:
        raise fail(_absent(field.name, values)) from error
    for key in field.keys:
        value = _item(value, key, fail)
    return _text(value, field, fail)


def _absent(name: str, container: Mapping[Any, object]) -> str:
    """Return the words for a name that is not there, and a hint."""
    if name == "task_loop_count":
        return _NO_LOOP_COUNT
    known = sorted(str(key) for key in container if not _is_ours(key))
    close = get_close_matches(name, known, n=1)
    hint = f", did you mean {close[0]!r}?" if close else "."
    listed = shorten(", ".join(known), 500, placeholder=" ...") or "none"
    return f"there is no {name!r}{hint} There are: {listed}"


def _is_ours(key: object) -> bool:
    """Return whether a name of Prefect's context is there for prefect_ds alone."""
    return isinstance(key, str) and key.startswith("prefect_ds_")


def _item(container: object, key: str, fail: Fail) -> object:
    """Return the value that a container holds at a key of a field."""
    position = int(key) if key.isdecimal() else None
    kind = type(container).__name__
    if isinstance(container, Mapping):
        # Not try and except: a look-up adds the key to a defaultdict.
        if key in container:
            return container[key]
        if position is not None and position in container:
            return container[position]
        raise fail(_absent(key, container))
    if isinstance(container, (list, tuple)):
        if position is not None and position < len(container):
            return container[position]
        raise fail(f"there is no position {key!r} in a {kind} of {len(container)}")
    raise fail(f"[{key}] looks into mappings, lists and tuples, not into a {kind}")


def _text(value: object, field: Field, fail: Fail) -> str:
    """Return the text of a value in a field."""
    kind = type(value).__name__
    try:
        plain = _plain(value)
        if plain is not None:
            return _formatted(plain, field)
    except Exception as error:  # the __format__ of any type
        problem = f"can't be written this way ({type(error).__name__}: {error})"
        raise fail(f"a {kind} {problem}") from error
    hint = ""
    if value is None:
        hint = (
            ". Give the argument or parameter a value, or leave the field out of the "
            "template"
        )
    raise fail(f"a {kind} can't name a file; accepted are {_ACCEPTED}{hint}")


def _formatted(plain: object, field: Field) -> str:
    if field.conversion or not field.spec:
        convert = {"r": repr, "a": ascii}.get(field.conversion, _canonical)
        return format(convert(plain), field.spec)
    if _is_instance(plain, "pandas", "Period"):
        # Before pandas 3.1, `format` leaves the spec out.
        return str(plain.strftime(field.spec))  # type: ignore[attr-defined]
    return format(plain, field.spec)


def _plain(value: object) -> object:
    """Return the value to format in place of this one; ``None``: it names nothing."""
    if isinstance(value, Enum):
        is_value = isinstance(value, (str, int, float))
        return _plain(value.value if is_value else value.name)
    if _is_instance(value, "numpy", "generic"):
        return _plain_numpy(value)
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime) and value != value:
        return None  # pandas.NaT
    if isinstance(value, (str, int, float, Decimal, date, time, timedelta)):
        return value
    return value if _is_instance(value, "pandas", "Period") else None


def _plain_numpy(scalar: Any) -> object:
    kind = scalar.dtype.kind
    if kind in "biuU":
        return scalar.item()
    if kind == "f":
        # item() makes 0.10000000149011612 of a float32 0.1.
        return float(str(scalar))
    if kind not in "mM":
        return None
    plain = scalar.item()
    if not isinstance(plain, int):
        return plain
    # Python has integers for times finer than a microsecond, or beyond the year 9999.
    import pandas as pd

    return pd.Timestamp(scalar) if kind == "M" else pd.Timedelta(scalar)


def _is_instance(value: object, module: str, name: str) -> bool:
    # A module that was never imported has no instances, and importing it takes long.
    cls = getattr(sys.modules.get(module), name, None)
    return cls is not None and isinstance(value, cls)


def _canonical(plain: object) -> str:
    """Return the text of a value without a format spec.

    Not `str`, for dates: pendulum's differs between versions. Durations are written as
    `pandas.Timedelta.isoformat` does, whatever their class.
    """
    if isinstance(plain, timedelta):
        return _duration(plain)
    if isinstance(plain, (date, time)):
        return plain.isoformat()
    return str(plain)


def _duration(span: timedelta) -> str:
    nanoseconds = getattr(span, "nanoseconds", 0)
    span = timedelta(span.days, span.seconds, span.microseconds)
    minutes, seconds = divmod(span.seconds, 60)
    fraction = f".{span.microseconds:06d}{nanoseconds:03d}".rstrip("0").rstrip(".")
    return f"P{span.days}DT{minutes // 60}H{minutes % 60}M{seconds}{fraction}S"
