"""Values as a reason shows them: ``lr 0.1 -> 0.2``."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
from typing import Any

import numpy as np
import pandas as pd

_NUMBERS = (bool, int, float, complex, type(None))
_SHOWN_AS_TEXT = (
    decimal.Decimal,
    fractions.Fraction,
    datetime.date,
    datetime.datetime,
    datetime.time,
    datetime.timedelta,
    pd.Timestamp,
    pd.Timedelta,
)
_MOST_CHARACTERS = 40


def readable(value: Any, *, text: bool = False) -> str:
    """Return a value in words if a reason may show it; else nothing.

    Numbers, booleans, dates and enums are shown. Text is not, as it may be secret.

    Parameters
    ----------
    value
        Any value.
    text
        Whether text is shown too: the user asked for it.
    """
    shown = ""
    # Python may refuse to write so many digits.
    if type(value) is int and value.bit_length() > 4 * _MOST_CHARACTERS:
        return ""
    # Exactly these types: a class of a user's own may print anything, secrets too.
    if type(value) in _NUMBERS or (text and type(value) is str):
        shown = repr(value)
    elif isinstance(value, enum.Enum):
        shown = f"{type(value).__name__}.{value.name}"
    elif type(value) in _SHOWN_AS_TEXT or _is_number_of_numpy(value):
        shown = str(value)
    if len(shown) > _MOST_CHARACTERS:
        return ""
    return shown


def _is_number_of_numpy(value: Any) -> bool:
    # Its kinds of booleans, numbers and times; not of text, bytes and objects.
    return isinstance(value, np.generic) and value.dtype.kind in "biufcmM"
