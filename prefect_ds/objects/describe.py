"""A value in a few words, for messages: ``dict of 5``, ``float64 array of 3 x 4``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from prefect_ds.objects.picture import Picture

_SIZED = (dict, list, tuple, set, frozenset)


def describe(value: Any) -> str:
    """Return a few words on a value: its kind and size, and nothing of its content.

    Examples
    --------
    >>> describe({"a": 1}), describe("text"), describe(np.zeros((3, 4)))
    ('dict of 1', 'text of 4 characters', 'float64 array of 3 x 4')
    >>> describe(0.5), describe(b""), describe(object())
    ('float', 'bytes', 'object')
    """
    kind = type(value)
    if kind is str:
        noun = "character" if len(value) == 1 else "characters"
        return f"text of {len(value):,} {noun}"
    if kind in _SIZED:
        return f"{kind.__name__} of {len(value):,}"
    if isinstance(value, np.ndarray):
        shape = " x ".join(f"{length:,}" for length in value.shape)
        return f"{value.dtype} array of {shape or 'no dimensions'}"
    if isinstance(value, Picture):
        return value.description
    if isinstance(value, pd.DataFrame | pd.Series):
        return f"{kind.__name__} of {' x '.join(f'{n:,}' for n in value.shape)}"
    if kind.__module__.startswith("polars."):
        # The rows of a lazy frame are not known.
        size = " x ".join(f"{length:,}" for length in getattr(value, "shape", ()))
        words = f"polars {kind.__name__}"
        return f"{words} of {size}" if size else words
    return kind.__qualname__
