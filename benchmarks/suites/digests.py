"""The cost of the digest of an input, beside that of Dask's token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from dask.base import tokenize

from benchmarks.support import common
from prefect_ds.checkpoints.digests import digest

DIGESTS: dict[str, Callable[[Any], str]] = {
    "prefect_ds": digest,
    "dask.tokenize": tokenize,
}


def _text(n_rows: int) -> pd.DataFrame:
    names = [f"name {number % 1_000}" for number in range(n_rows)]
    return pd.DataFrame({"name": pd.Series(names, dtype="str")})


VALUES: dict[str, Callable[[int], Any]] = {
    "numbers": common.numbers,
    "text": _text,
    "text and None": lambda n_rows: (
        _text(n_rows).astype(object).replace("name 7", None)
    ),
    "six types": common.frame,
    "settings": lambda n_rows: {"lr": 0.1, "layers": [64, 8], "name": "a", "seed": 7},
}


class Digest:
    """Digest a frame of a million rows, and a dict of settings."""

    params = (list(DIGESTS), list(VALUES), [1_000, 1_000_000])
    param_names = ("by", "of", "n_rows")
    number, repeat, warmup_time = 1, (3, 10, 20.0), 0

    def setup(self, by: str, of: str, n_rows: int) -> None:
        """Make the value."""
        self.value = VALUES[of](n_rows)

    def time_digest(self, by: str, of: str, n_rows: int) -> None:
        """Time the digest."""
        DIGESTS[by](self.value)
