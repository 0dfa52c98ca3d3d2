"""What the programs of Dask chains need beside the kit; every script has a copy."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask.dataframe.utils import UNKNOWN_CATEGORIES

from tests.differential.kit import Notes, canonical


def part_of(number: int, seed: int, n_rows: int, notes: Notes | None) -> pd.DataFrame:
    """Return a partition of the first frame, and note that it was computed.

    Sums of its numbers are exact in any order.
    """
    if notes is not None:
        notes.took("part", number)
    chance = random.Random(f"{seed} {number}")

    def some(values: Any) -> list[Any]:
        return [chance.choice(values) for _ in range(n_rows)]

    times = pd.date_range("2024-01-01", periods=40, freq="7h")
    frame = pd.DataFrame(
        {
            "n": np.array(some(range(-20, 100)), dtype="int64"),
            "k": np.array(some(range(4)), dtype="int64"),
            "x": np.array(some([0.5, 2.0, -1.5, np.nan]), dtype="float64"),
            # Dask's own type of text: with pandas' it depends on Dask's optimizer
            # whether a missing text differs from "".
            "w": pd.array(
                some(["a", "b-c", "", "\u00fc", None]), dtype="string[pyarrow]"
            ),
            "c": pd.Categorical(some("zyx"), categories=list("xyzv")),
            "t": pd.DatetimeIndex(some(times)),
            "i": pd.array(some([1, 2**53 + 1, None, -7]), dtype="Int64"),
            "f": np.array(some([True, False]), dtype="bool"),
        }
    )
    frame.index = pd.RangeIndex(number * 100, number * 100 + n_rows)
    return frame


def first_frame(seed: int, n_rows: list[int], notes: Notes, known: bool) -> Any:
    """Return a Dask frame with partitions of so many rows."""
    meta = part_of(0, seed, 2, None).iloc[:0]
    divisions = None
    if known:
        last = (len(n_rows) - 1) * 100 + max(n_rows[-1] - 1, 0)
        divisions = (*(100 * at for at in range(len(n_rows))), last)
    numbers = list(range(len(n_rows)))
    return dd.from_map(
        lambda number, size: part_of(number, seed, size, notes),
        numbers,
        n_rows,
        meta=meta,
        divisions=divisions,
    )


def categories_by_part(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return a partition whose column has only its own categories."""
    return frame.assign(**{column: frame[column].astype("category")})


def in_order(frame: Any) -> Any:
    """Return a frame with sorted categories: Dask's order hangs on the partitions."""
    for column, dtype in frame.dtypes.items():
        if isinstance(dtype, pd.CategoricalDtype) and frame[column].cat.known:
            categories = sorted(dtype.categories)
            ordered = frame[column].cat.reorder_categories(categories)
            frame = frame.assign(**{column: ordered})
    return frame


def nullable(frame: Any, but: str) -> Any:
    """Return a Dask frame whose numbers and flags can be missing, but for a key's."""
    types = {"int64": "Int64", "bool": "boolean"}
    wanted = {
        label: types[str(dtype)]
        for label, dtype in frame.dtypes.items()
        if label != but and str(dtype) in types
    }
    return frame.astype(wanted) if wanted else frame


def unknown_of(frame: Any) -> list[bool]:
    """Return for each column whether it has categories that Dask does not know."""
    return [
        isinstance(dtype, pd.CategoricalDtype)
        and UNKNOWN_CATEGORIES in dtype.categories
        for dtype in frame._meta.dtypes
    ]


def cells_of(frame: pd.DataFrame, unknown: Sequence[bool]) -> list[list[Any]]:
    """Return the columns' cells in canonical form.

    Those of unknown categories are their values, whether categories or not.
    """
    columns = []
    for at in range(len(frame.columns)):
        array = frame.iloc[:, at].array
        cells = [canonical(cell) for cell in array]
        if any(unknown[at : at + 1]):
            if isinstance(array, pd.Categorical):
                categories = [canonical(one) for one in array.categories.array]
                cells = [*categories, "missing"]
                cells = [cells[code] for code in array.codes]
            missing = pd.isna(array)
            cells = [
                "missing" if is_missing else cell
                for is_missing, cell in zip(missing, cells, strict=True)
            ]
        columns.append(cells)
    return columns


def with_values(frame: pd.DataFrame, unknown: Sequence[bool]) -> pd.DataFrame:
    """Return a partition with the text of the values in place of unknown categories.

    Joined as they are, such columns would become of a type that hangs on the others.
    """
    frame = frame.copy(deep=False)
    columns = cells_of(frame, unknown)
    for at, is_unknown in enumerate(unknown):
        if is_unknown:
            frame.isetitem(at, np.array(columns[at], dtype=object))
    return frame


def rows_of(
    frame: pd.DataFrame, unknown: Sequence[bool] = (), *, with_index: bool = False
) -> list[str]:
    """Return the rows as text, sorted."""
    return sorted(rows_in_order(frame, unknown, with_index=with_index))


def rows_in_order(
    frame: pd.DataFrame, unknown: Sequence[bool], *, with_index: bool = True
) -> list[str]:
    """Return the rows as text."""
    columns = cells_of(frame, unknown)
    if with_index:
        columns.append([canonical(cell) for cell in frame.index.array])
    return [repr(list(row)) for row in zip(*columns, strict=True)]


def dtypes_of(frame: pd.DataFrame) -> list[Any]:
    """Return a frame's dtypes as text, the index's last."""
    arrays = [frame.iloc[:, at].array for at in range(len(frame.columns))]
    return [canonical(array[:0])[0] for array in (*arrays, frame.index.array)]


def of_values(dtype: Any) -> Any:
    """Return the dtype, as text, of what a column holds, be it categories or not."""
    if dtype[0] != "category":
        return dtype
    _, [_, _, [of_categories, _], _], _ = dtype
    return of_categories


def observed_frame(frame: Any) -> dict[str, Any]:
    """Return all that is compared of a Dask frame."""
    lowered = frame.optimize(fuse=False)
    parts = dask.compute(*lowered.to_delayed(optimize_graph=False))
    unknown = unknown_of(frame)
    whole = pd.concat([with_values(part, unknown) for part in parts])
    return {
        "labels": canonical(frame.columns),
        "meta": dtypes_of(frame._meta),
        "index": repr(frame._meta.index.name),
        "n_partitions": lowered.npartitions,
        "divisions": list(map(canonical_number, lowered.divisions)),
        "len": len(frame),
        "unknown": unknown,
        "dtypes": [dtypes_of(part) for part in parts if len(part)],
        "parts": [rows_in_order(part, unknown) for part in parts],
        "rows": rows_of(whole),
        "rows_and_index": rows_of(whole, with_index=True),
    }


def canonical_number(value: Any) -> str:
    """Return a division as text, alike for Python's and numpy's numbers."""
    return repr(value.item() if isinstance(value, np.generic) else value)


def read(result: Any, unknown: Sequence[bool] | None = None) -> list[Any]:
    """Return what a last task makes of its lazy result: types, and rows in any order.

    Parameters
    ----------
    result
        The computed result.
    unknown
        For each column whether it may be categories or their values, by the partitions.
    """
    if not isinstance(result, pd.DataFrame):
        return [canonical(result)]
    dtypes = dtypes_of(result)[:-1]
    unknown = unknown or [False] * len(dtypes)
    for at, is_unknown in enumerate(unknown):
        if is_unknown:
            dtypes[at] = of_values(dtypes[at])
    # Dask makes types of its own where no partition has a row.
    dtypes = dtypes if len(result) else []
    return [canonical(result.columns), dtypes, rows_of(result, unknown)]
