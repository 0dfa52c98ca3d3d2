"""The missing values of a column: their kinds, and the texts of their cells.

pandas has four kinds of missing values, and a cell of objects may hold any of them. In
a file whose cells are text, every kind gets a *token*: a text that no other cell of the
column has.
"""

import itertools
from typing import Any, Final, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from prefect_ds.frames.base import UnkeepableError
from prefect_ds.frames.codecs import STRING

MISSING: Final[dict[str, Any]] = {
    "none": None,
    "nan": np.nan,
    "NaT": pd.NaT,
    "NA": pd.NA,
}
"""The missing values that a cell of objects may hold, by their names in a spec."""

_MORE_TOKENS: Final = ("<NA>", "NaN", "None", "NULL", "missing")
"""Tokens that other tools know as missing, tried in this order."""


def tokens_for(
    texts: pa.Array, kinds: list[str], missing: str | None
) -> list[str | None]:
    """Return a text for every kind of missing value that no other cell has.

    Examples
    --------
    >>> tokens_for(pa.array(["a", ""], STRING), ["none", "nan"], missing="")
    ['<NA>', 'NaN']
    """
    numbered = (f"<NA {i}>" for i in itertools.count(1))
    others = itertools.chain(_MORE_TOKENS, numbered)
    # The rule's own token is what other tools take for missing, so it comes first.
    candidates = itertools.chain(
        [missing], (text for text in others if text != missing)
    )
    free = (
        token
        for token in candidates
        if token is None or not is_token(texts, token).any()
    )
    return list(itertools.islice(free, len(kinds)))


def is_token(texts: pa.Array, token: str | None) -> np.ndarray:
    """Return where texts are the token of a missing value."""
    if token is None:
        matches = texts.is_null()
    else:
        matches = pc.equal(texts, token).fill_null(False)
    return cast(np.ndarray, matches.to_numpy(zero_copy_only=False))


def with_tokens(texts: pa.Array, tokens: list[str | None]) -> pa.Array:
    """Return texts with some tokens behind the last one."""
    return pa.concat_arrays([texts, pa.array(tokens, STRING)])


def missing_kind(value: Any) -> str:
    """Return the name of a missing value, such as ``none`` or ``NaT``."""
    # By identity: NaN equals nothing, and NA == NA is no boolean. Of NaN there may be
    # many objects.
    for kind, example in MISSING.items():
        if value is example or (kind == "nan" and type(value) is float):
            return kind
    raise UnkeepableError(f"it holds a missing value of type {type(value).__name__}")


def missing_kinds(values: np.ndarray, absent: Any) -> list[str]:
    """Return the kinds of the absent values, in the order in which they occur."""
    return list(dict.fromkeys(missing_kind(value) for value in values[absent]))
