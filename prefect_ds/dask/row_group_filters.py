"""Filters as conditions that the statistics of a parquet file can rule out."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import numpy as np
import pandas as pd

from prefect_ds.dask._internals import EQ, GE, GT, LE, LT, And, Expr, Or, Projection

Condition = tuple[str, Any, Any]
"""``(">", column, value)`` and the like, or ``("&" | "|", condition, condition)``."""

_COMPARISONS: Final[dict[type[Expr], str]] = {
    LT: "<",
    LE: "<=",
    GT: ">",
    GE: ">=",
    EQ: "==",
}
"""Not ``!=``: a group that it rules out has one value only, which is rare."""

_FLIPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}
"""``3 < x`` is ``x > 3``."""

# Compared by pandas, which rounds a value to a column's type, or a column to the
# value's, before it compares.
_MAY_HOLD: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": lambda ends, value: (ends < value).iloc[0],
    "<=": lambda ends, value: (ends <= value).iloc[0],
    ">": lambda ends, value: (ends > value).iloc[1],
    ">=": lambda ends, value: (ends >= value).iloc[1],
    "==": lambda ends, value: (ends <= value).iloc[0] and (ends >= value).iloc[1],
}
_SCALARS: Final = (bool, int, float, str, np.number, datetime, np.datetime64)


def condition_of(predicate: Expr, is_frame: Callable[[Expr], bool]) -> Condition | None:
    """Return a predicate as a condition on columns of a frame; ``None``: it is none.

    Parameters
    ----------
    predicate
        Dask's expression of a boolean series.
    is_frame
        Whether an expression is the frame, or some of its columns.
    """
    if isinstance(predicate, And | Or):
        sides = [
            condition_of(side, is_frame) for side in (predicate.left, predicate.right)
        ]
        known = [side for side in sides if side is not None]
        is_and = isinstance(predicate, And)
        if len(known) == 2:
            return "&" if is_and else "|", known[0], known[1]
        # Of `and`, one condition alone rules out fewer rows, and none that is wanted.
        # Of `or`, it would rule out rows that meet the other condition.
        if known and is_and:
            return known[0]
        return None
    # By type: a subclass of Dask's comparisons may mean something else.
    if type(predicate) not in _COMPARISONS:
        return None
    sign, left, right = _COMPARISONS[type(predicate)], predicate.left, predicate.right
    if isinstance(right, Expr):
        left, right, sign = right, left, _FLIPPED[sign]
    is_column = isinstance(left, Projection) and left.ndim == 1 and is_frame(left.frame)
    # A value unlike itself is none that statistics could be compared with.
    if not is_column or not isinstance(right, _SCALARS) or right != right:
        return None
    return sign, left.columns[0], right


def may_hold(
    condition: Condition, range_of: Callable[[Any], pd.Series[Any] | None]
) -> bool:
    """Return whether there may be a row for which a condition holds.

    Parameters
    ----------
    condition
        As `condition_of` gave it.
    range_of
        Gives a series of the smallest and the largest value of a column, in its dtype,
        ``None`` where they are not known. Missing values do not count: no comparison
        holds for them.
    """
    sign, left, right = condition
    if sign in ("&", "|"):
        combine = operator.and_ if sign == "&" else operator.or_
        return bool(combine(may_hold(left, range_of), may_hold(right, range_of)))
    ends = range_of(left)
    if ends is None:
        return True
    try:
        return bool(_MAY_HOLD[sign](ends, right))
    except (TypeError, ValueError):
        # Unlike types: the filter runs later, and pandas says what that means.
        return True


def has_order(dtype: Any) -> bool:
    """Return whether pandas orders values of a dtype as parquet's statistics do."""
    types = pd.api.types
    # Complex numbers are numeric to pandas, and have no order.
    if types.is_complex_dtype(dtype):
        return False
    if types.is_numeric_dtype(dtype) or types.is_datetime64_dtype(dtype):
        return True
    return isinstance(dtype, pd.StringDtype | pd.DatetimeTZDtype)
