"""The values and small helpers that all modules of this room share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

JSONObject: TypeAlias = dict[str, Any]
"""A dict of str, int, float, bool, None and lists and dicts of those."""

Framed: TypeAlias = "pd.DataFrame | pd.Series[Any]"
"""The values of pandas that a file keeps."""

Array: TypeAlias = Any
"""A one-dimensional numpy array or pandas extension array, as in ``Series.array``."""

MAX_CATEGORIES: Final = 10_000
"""A schema lists no more categories than this; a read finds them in the data."""


NUMBER_DTYPES: Final = frozenset(
    np.dtype(name)
    for name in (
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float32",
        "float64",
    )
)
"""The dtypes of numbers that Arrow and decimal digits both keep."""


class UnkeepableError(ValueError):
    """A frame has no table form, or a table does not fit its schema."""


@dataclass(frozen=True, slots=True)
class CellRules:
    """The rules for the cells of one file type."""

    is_native: Callable[[Array], bool]
    """Whether a file gives the values of an array back; the schema has the dtype."""
    missing: str | None
    """The text of a missing cell, unless another cell has that text.

    ``None``: the file type has a null of its own.
    """
    identifiers: bool = False
    """Whether labels must be identifiers of at most 32 characters."""
    native_dtypes: frozenset[Any] = frozenset()
    """Dtypes of numbers and text of which all arrays are native: none is looked at."""


def is_object(dtype: Any) -> bool:
    """Return whether cells of a dtype are any Python objects."""
    return isinstance(dtype, np.dtype) and dtype.kind == "O"


def array_of(values: "pd.Series[Any] | pd.Index[Any]") -> Array:
    """Return the values of a series or index.

    They are a numpy array where pandas has no array of its own for the dtype.
    """
    is_numpy = isinstance(values.dtype, np.dtype) and values.dtype.kind not in "mM"
    if is_numpy:
        return values.to_numpy()
    return values.array


def array_from(values: Any, dtype: Any) -> Array:
    """Return values as an array of a dtype."""
    return array_of(pd.Series(values, dtype=dtype, copy=False))
