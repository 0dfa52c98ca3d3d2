"""How much of a long sweep a slow test does: a seeded sample, ten times of it with PREFECT_DS_TEST_SCALE=10."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TypeVar

import pytest

SCALE = int(os.environ.get("PREFECT_DS_TEST_SCALE", "1"))

at_full_scale = pytest.mark.skipif(
    SCALE == 1, reason="PREFECT_DS_TEST_SCALE=10 does this one"
)

Case = TypeVar("Case")

sweep = pytest.mark.timeout(600 * SCALE)
"""Marks a sweep: its limit grows with its length."""


def some(cases: Sequence[Case], n_cases: int) -> list[Case]:
    """Return so many of the cases, the same each time and in their order; all of them at full scale."""
    if SCALE >= 10 or n_cases >= len(cases):
        return list(cases)
    numbers = random.Random(len(cases)).sample(range(len(cases)), n_cases)
    return [cases[number] for number in sorted(numbers)]
