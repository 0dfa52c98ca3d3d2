"""json: dicts, lists, numbers and text, in a file that any editor opens."""

from __future__ import annotations

import datetime
import json
import types
from decimal import Decimal
from typing import Any, BinaryIO, Final

import numpy as np
import pandas as pd

from prefect_ds.objects.base import Marks, ObjectType
from prefect_ds.objects.json_marks import from_plain, is_plain, to_plain

INDENTED_BELOW: Final = 2**18
"""Characters of a text that is written again with an indent: that is ten times slower.
"""

_CLASSES: Final = (
    dict,
    list,
    tuple,
    set,
    frozenset,
    str,
    int,
    float,
    bool,
    types.NoneType,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    Decimal,
    np.generic,
    pd.Timestamp,
    pd.Timedelta,
    type(pd.NaT),
    type(pd.NA),
)


def _classes() -> tuple[type, ...]:
    return _CLASSES


def _write(value: Any, file: BinaryIO) -> Marks | None:
    try:
        # Most values are plain already, and this look is ten times as fast as the walk.
        plain, marks = value, None
        if not is_plain(value):
            plain, marks = to_plain(value)
        data = _encoded(plain)
    except ValueError:
        # NaN, or half a character, or a refusal: a slower walk knows the place.
        plain, marks = to_plain(value, checks=True)
        data = _encoded(plain)
    file.write(data)
    file.write(b"\n")
    return marks


def _encoded(plain: Any) -> bytes:
    # The compact text first: its length is not known before.
    text = _COMPACT.encode(plain)
    if len(text) < INDENTED_BELOW:
        text = _INDENTED.encode(plain)
    return text.encode()


# The walk has seen to it that nothing holds itself.
_COMPACT: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False
)
_INDENTED: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, indent=2
)


def _read(file: BinaryIO, marks: Marks | None) -> Any:
    return _read_data(memoryview(file.read()), marks)


def _read_data(data: memoryview, marks: Marks | None) -> Any:
    encoding = json.detect_encoding(bytes(data[:4]))
    # As `json.loads` decodes bytes; of a view it would want a copy.
    text = str(data, encoding, "surrogatepass")
    return from_plain(json.loads(text), marks)


JSON: Final = ObjectType(
    name="json",
    keeps="dicts, lists, tuples, sets, numbers, text, dates",
    kept_classes=_classes,
    write=_write,
    read=_read,
    read_data=_read_data,
    endings=(".json",),
)
