"""The figures of a run as its tables and pictures read them."""

from __future__ import annotations

from typing import Any

Figures = dict[str, Any]
"""Name of a section to its rows, as JSON keeps them."""


def in_seconds(value: float | None) -> str:
    """Return a duration in ms or s, with three digits; empty for ``None``."""
    if value is None:
        return ""
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} s"


def costs_by_size(figures: Figures) -> dict[str, list[tuple[int, float]]]:
    """Return pairs of a size and its seconds, by what was measured."""
    growth: dict[str, list[tuple[int, float]]] = {}
    for case in figures["growth"]:
        growth.setdefault(case["what"], []).append((case["size"], case["seconds"]))
    return growth
