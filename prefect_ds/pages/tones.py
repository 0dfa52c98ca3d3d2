"""The words for the ends and the plans of task runs, their order and their colors."""

from __future__ import annotations

ORDER = (
    "failed",
    "ran",
    "run",
    "maybe",
    "loaded (maybe)",
    "unknown",
    "other",
    "not needed",
    "loaded",
    "load",
)
"""In the order in which a reader should see them."""

_TONES = {
    "failed": "failed",
    "ran": "ran",
    "run": "ran",
    "maybe": "maybe",
    "loaded (maybe)": "maybe",
    "unknown": "other",
    "other": "other",
    "not needed": "idle",
    "loaded": "loaded",
    "load": "loaded",
    # States of checkpoints in a listing.
    "valid": "loaded",
    "adopted": "ran",
    "stale": "maybe",
    "orphan": "maybe",
    "damaged": "failed",
    "missing": "idle",
    "freed": "idle",
}


def tone_of(how: str) -> str:
    """Return the name of the color, which is a class in the style sheet."""
    # A later version's word, in a file of events, has a color too.
    return _TONES.get(how, "other")
