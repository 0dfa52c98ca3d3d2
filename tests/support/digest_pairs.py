"""The pairs of values whose digests are compared.

Each value is a function, so that every process makes its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.equal_pairs import EQUAL
from tests.support.unequal_pairs import UNEQUAL

VALUES: dict[str, Callable[[], Any]] = {
    f"{kind}: {name} ({number})": make
    for kind, pairs in (("unequal", UNEQUAL), ("equal", EQUAL))
    for name, pair in pairs.items()
    for number, make in enumerate(pair)
}
"""All values, by the name of their pair and their number in it."""

CHANGED_BY_PICKLE = {
    "unequal: arrow rows",  # A table without columns loses its number of rows,
    "equal: subclass",  # an array of a class what was set on it.
    "unequal: hard mask",  # A masked array forgets it.
    "unequal: edited value",  # Another process cannot import it,
    "unequal: busdaycalendar",  # nor is this one ever pickled.
}
"""Pairs that are other values after they were pickled, or cannot be."""


def is_sent(name: str) -> bool:
    """Return whether a value of `VALUES` comes out of a pickle as it was."""
    return name.rpartition(" (")[0] not in CHANGED_BY_PICKLE
