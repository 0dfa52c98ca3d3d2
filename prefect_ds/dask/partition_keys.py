"""The values of ``partition_on``: the rows that share them, and their folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from prefect_ds.dask.foreign_parquet import MISSING_KEY
from prefect_ds.errors import RoundTripError
from prefect_ds.frames.base import Array, array_of, is_object

_MAX_NAME_BYTES = 255
"""Of a file or folder, on the file systems of Linux."""


@dataclass(frozen=True, slots=True)
class KeyGroup:
    """Rows of a partition that have the same keys, in every respect."""

    folder: str
    """Where their part belongs, such as ``year=2024/``."""
    twin: int
    """How many earlier groups have the same folder: 1 and ``"1"`` have one text."""
    rows: pd.DataFrame


def check_partition_on(meta: pd.DataFrame, partition_on: Sequence[str]) -> None:
    """Raise an error where the columns of ``partition_on`` cannot name folders.

    Raises
    ------
    RoundTripError
        The frame has not exactly one such column, no other column, or values that have
        no equality.
    """
    for key in partition_on:
        n_columns = sum(bool(label == key) for label in meta.columns)
        if n_columns != 1 or list(partition_on).count(key) != 1:
            raise RoundTripError(
                f"partition_on needs one column {key!r}, and the frame has the columns "
                f"{list(meta.columns)}: rename its columns, or give another "
                "partition_on"
            )
        column = meta[key]
        # Refused now, not by a worker after hours: an empty column can be grouped too.
        try:
            column.groupby(column, observed=True).ngroups  # noqa: B018
        except (TypeError, NotImplementedError) as error:
            raise RoundTripError(
                f"column {key!r} of partition_on is of {column.dtype}, which pandas "
                f"cannot group by ({error}): give another partition_on"
            ) from error
        # The values of other columns are not known yet.
        if isinstance(column.dtype, pd.CategoricalDtype):
            for category in column.dtype.categories:
                _folder_name(key, category)
    if partition_on and len(partition_on) == meta.shape[1]:
        raise RoundTripError(
            f"partition_on names all columns of the frame, {list(partition_on)}, so "
            "that the files would have none: leave one out"
        )


def key_groups(
    frame: pd.DataFrame, partition_on: Sequence[str], partition: int
) -> Iterator[KeyGroup]:
    """Yield the rows of a partition, grouped by their keys.

    pandas groups by equality: 0.0 with -0.0, 1 with True, None with NaN. Values that
    are equal but not the same are kept apart here, since all rows of a part come back
    with the same keys.
    """
    keys = [frame[key] for key in partition_on]
    kinds = [codes for key in keys if (codes := _kinds(array_of(key))) is not None]
    try:
        groups = _grouped(frame, [*keys, *kinds])
    except (TypeError, NotImplementedError) as error:
        raise RoundTripError(
            f"partition {partition}: a column of partition_on, {list(partition_on)}, "
            f"has values that name no folder ({error}): give another partition_on"
        ) from error
    n_groups: Counter[str] = Counter()
    for _, rows in groups:
        # By the values in its rows: a group's own key has the codes of the kinds too.
        folder = "".join(
            f"{_folder_name(key, rows[key].iloc[0])}/" for key in partition_on
        )
        yield KeyGroup(folder, n_groups[folder], rows)
        n_groups[folder] += 1


def _grouped(frame: pd.DataFrame, keys: list[Any]) -> Any:
    """Return the groups of a frame, sorted by their keys where these have an order."""
    try:
        groups = frame.groupby(keys, observed=True, dropna=False)
        groups.ngroups  # noqa: B018 - finds the groups, which is where it can fail
    except (TypeError, NotImplementedError):
        # Values of several types, 1 and "a", have no order.
        groups = frame.groupby(keys, observed=True, dropna=False, sort=False)
        groups.ngroups  # noqa: B018
    return groups


def _kinds(values: Array) -> np.ndarray | None:
    """Return codes for values that are equal and not the same; None: there are none."""
    dtype = values.dtype
    if isinstance(dtype, pd.SparseDtype):
        return _kinds(array_of(pd.Series(values.to_dense())))
    if is_object(dtype):
        # The common case, and equal texts are the same.
        if {type(value) for value in values} <= {str}:
            return None
        return _codes([f"{type(value)} {value!r}" for value in values])
    # Zeros and NaN are inside of such a value.
    if isinstance(dtype, pd.IntervalDtype) or dtype.kind == "c":
        return _codes([repr(value) for value in values])
    if isinstance(dtype, pd.CategoricalDtype) or dtype.kind != "f":
        return None
    # Bits for the sign (-0.0 equals 0.0), for NaN, and for NA, which is no NaN.
    is_missing = np.asarray(pd.isna(values))
    numbers = np.asarray(pd.Series(values).astype("float64").array, dtype="float64")
    codes: np.ndarray = np.signbit(numbers) + 2 * np.isnan(numbers) + 4 * is_missing
    return codes


def _codes(texts: Sequence[str]) -> np.ndarray:
    return pd.factorize(np.array(texts, dtype=object))[0]


def _folder_name(key: Any, value: Any) -> str:
    name = f"{quote(str(key), safe=' :')}={_text(value)}"
    if len(name.encode()) > _MAX_NAME_BYTES:
        raise RoundTripError(
            f"column {key!r} of partition_on has a value of {len(str(value)):,} "
            "characters, too long for the name of a folder: give another partition_on"
        )
    return name


def _text(value: Any) -> str:
    if pd.isna(value):
        return MISSING_KEY
    text = quote(str(value), safe=" :")
    # A text that is this very word: escaped, or readers take it for a missing value.
    if text == MISSING_KEY:
        return text.replace("_", "%5F")
    return text
