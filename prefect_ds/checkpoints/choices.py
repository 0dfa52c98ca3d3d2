"""The options of a handler that are one of a few words."""

from __future__ import annotations

import difflib
from typing import Any, Literal, NamedTuple, cast, get_args

import prefect

from prefect_ds.storage.identity import Match
from prefect_ds.storage.lookup import Check

Durability = Literal["process", "power"]
"""What a finished checkpoint outlives: the death of every process, or a power cut."""


class Choices(NamedTuple):
    """Options that are one of a few words, checked."""

    match: Match
    durability: Durability
    check: Check


def checked_choices(
    match: Match | None, durability: Durability, check: Check
) -> Choices:
    """Return the options of a handler, with the default of ``match`` filled in.

    Raises
    ------
    ValueError
        One of them is no word that it may be.
    """
    name_of_match = "match"
    if not match:
        # An error says where to look: the user did not write it at the handler.
        name_of_match = "prefect_ds.match in Prefect's config"
        match = _default_match()
    _check_choice(name_of_match, match, get_args(Match))
    _check_choice("durability", durability, get_args(Durability))
    _check_choice("check", check, get_args(Check))
    return Choices(match, durability, check)


def _check_choice(name: str, choice: object, choices: tuple[str, ...]) -> None:
    if choice in choices:
        return
    close = difflib.get_close_matches(str(choice), choices, n=1)
    hint = ""
    if close:
        hint = f"; did you mean {close[0]!r}?"
    listed = ", ".join(map(repr, choices))
    raise ValueError(f"{name}={choice!r}: give one of {listed}{hint}")


def _default_match() -> Match:
    settings: Any = prefect.config.get("prefect_ds") or {}  # type: ignore[no-untyped-call]
    return cast(Match, settings.get("match", "code"))
