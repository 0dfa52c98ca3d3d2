"""How old a checkpoint may be: ``max_age="1d"``."""

from __future__ import annotations

import datetime
import re

from prefect_ds.checkpoints.reference import count
from prefect_ds.storage.manifest import Manifest

_UNITS = {
    "s": "seconds",
    "min": "minutes",
    "h": "hours",
    "d": "days",
    "w": "weeks",
}
# "1d", "1.5 h", and one after another in "1h 30min".
_NUMBER_AND_UNIT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)


def as_duration(
    max_age: datetime.timedelta | str | None, option: str = "max_age"
) -> datetime.timedelta | None:
    """Return an age as a duration; ``None`` for no limit.

    ``option`` is what errors call it.

    Raises
    ------
    TypeError
        It is neither a timedelta nor text.
    ValueError
        It is negative, or text of another form.

    Examples
    --------
    >>> as_duration("1d 12h")
    datetime.timedelta(days=1, seconds=43200)
    """
    if isinstance(max_age, str):
        max_age = _parsed(max_age, option)
    if max_age is None:
        return None
    if not isinstance(max_age, datetime.timedelta):
        raise TypeError(
            f"{option}={max_age!r}: give a datetime.timedelta, or text such as '1d', "
            "'12h' or '30min'"
        )
    if max_age < datetime.timedelta(0):
        raise ValueError(f"{option}={max_age!r} is negative: give a duration")
    return max_age


def _parsed(text: str, option: str) -> datetime.timedelta:
    total = datetime.timedelta(0)
    position = 0
    # What cannot be read ends the loop early, and the text is refused below.
    while position < len(text.rstrip()):
        token = _NUMBER_AND_UNIT.match(text, position)
        if token is None or token[2].lower() not in _UNITS:
            break
        try:
            total += datetime.timedelta(**{_UNITS[token[2].lower()]: float(token[1])})
        except OverflowError:
            # More days than a timedelta holds.
            break
        position = token.end()
    if position == 0 or position < len(text.rstrip()):
        units = ", ".join(f"{unit} ({name})" for unit, name in _UNITS.items())
        raise ValueError(
            f"{option}={text!r}: give numbers with units, such as '1d' or '1h 30min'; "
            f"the units are {units}"
        )
    return total


def too_old(manifest: Manifest, max_age: datetime.timedelta | None) -> str:
    """Return in words that a checkpoint is too old; empty if it is not.

    For example ``it is 3 days old, and max_age is 1 day``. What a person put there
    counts, whatever its age is.
    """
    if max_age is None or manifest.adopted:
        return ""
    try:
        written_at = datetime.datetime.fromisoformat(manifest.written_at)
        age = datetime.datetime.now(datetime.UTC) - written_at
    except (ValueError, TypeError):
        # A time of another form, or one without a zone, which has no difference to
        # ours.
        return f"its age is not known, and max_age is {in_words(max_age)}"
    if age <= max_age:
        return ""
    return f"it is {in_words(age)} old, and max_age is {in_words(max_age)}"


_SECONDS = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}


def in_words(duration: datetime.timedelta) -> str:
    """Return a duration in its largest unit and the next: ``1 day 12 hours``."""
    rest = int(duration.total_seconds())
    words: list[str] = []
    for unit, seconds in _SECONDS.items():
        number, rest = divmod(rest, seconds)
        # Two units at most, even if the second is zero: "1 day", not "1 day 5 seconds".
        is_next = len(words) == 1
        if number:
            words.append(count(number, unit))
        if is_next:
            break
    return " ".join(words) or "0 seconds"
