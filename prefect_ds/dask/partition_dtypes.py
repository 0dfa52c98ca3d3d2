"""Whether a partition is what its frame's meta says, and how it becomes that where nothing is lost."""

from __future__ import annotations

from typing import Any

import pandas as pd
from dask.dataframe.utils import UNKNOWN_CATEGORIES

from prefect_ds.errors import RoundTripError


def conform(frame: pd.DataFrame, meta: pd.DataFrame, partition: int) -> pd.DataFrame:
    """Return a partition with the dtypes of the frame's meta.

    Raises
    ------
    RoundTripError
        It has other columns, or values that the dtypes do not hold.
    """
    told = f"partition {partition} is not what the frame's meta says"
    if list(frame.columns) != list(meta.columns):
        raise RoundTripError(
            f"{told}: it has the columns {list(frame.columns)}, not {list(meta.columns)}"
        )
    if list(frame.index.names) != list(meta.index.names):
        raise RoundTripError(
            f"{told}: its index is named {list(frame.index.names)}, not {list(meta.index.names)}"
        )
    frame = frame.copy(deep=False)
    for i, (dtype, wanted) in enumerate(zip(frame.dtypes, meta.dtypes, strict=True)):
        if not fits(dtype, wanted):
            frame.isetitem(
                i,
                _cast(
                    frame.iloc[:, i], wanted, f"{told}: column {meta.columns[i]!r}"
                ).array,
            )
    if meta.index.nlevels == 1 and not fits(frame.index.dtype, meta.index.dtype):
        frame.index = pd.Index(
            _cast(frame.index.to_series(), meta.index.dtype, f"{told}: its index"),
            name=meta.index.name,
        )
    return frame


def _cast(column: pd.Series[Any], dtype: Any, told: str) -> pd.Series[Any]:
    wanted: Any = (
        "category"
        if isinstance(dtype, pd.CategoricalDtype) and not _known(dtype)
        else dtype
    )
    try:
        cast = column.astype(wanted)
        same = bool((cast.isna() == column.isna()).all()) and bool(
            (cast.astype(column.dtype) == column)[column.notna()].all()
        )
    except (TypeError, ValueError, OverflowError):
        same = False
    if not same:
        raise RoundTripError(
            f"{told} is of {column.dtype}, not {dtype}: cast it with astype, or say so with meta="
        )
    return cast


def fits(dtype: Any, wanted: Any) -> bool:
    """Return whether values of a dtype are what the meta's dtype stands for."""
    # The categories of a partition are its own where the frame's are not known; an
    # equal set in another order is not.
    if (
        isinstance(wanted, pd.CategoricalDtype)
        and isinstance(dtype, pd.CategoricalDtype)
        and not _known(wanted)
    ):
        return True
    return bool(dtype == wanted)


def _known(dtype: pd.CategoricalDtype) -> bool:
    return UNKNOWN_CATEGORIES not in dtype.categories
