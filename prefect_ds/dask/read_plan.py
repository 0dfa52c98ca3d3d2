"""The columns and row groups that a read takes from a part's file; no file is read.

Two kinds of position meet here. A *frame position* counts the columns of the Dask
frame. A *file position* counts the columns of the part's file, which has none for the
keys of ``partition_on`` and has the levels of the index after all others. Names are
never taken for positions: a name such as ``a.b`` is also the path of the field ``b`` of
a struct.

With the columns ``x, year, y`` and ``partition_on="year"``, the file has ``x, y,
index``: ``y`` has the frame position 2 and the file position 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from prefect_ds.dask.frame_json import frame_from_json
from prefect_ds.dask.layouts import types_from_text
from prefect_ds.dask.row_group_filters import Condition, has_order, may_hold
from prefect_ds.frames.index import index_to_json
from prefect_ds.storage.manifest import JSONObject


@dataclass(frozen=True, slots=True)
class Footer:
    """The facts of a part that Parquet's own footer has no place for."""

    schema: JSONObject
    """Of the table in the file, see :func:`prefect_ds.frames.table.to_table`."""
    keys: pd.DataFrame
    """One row: the values of ``partition_on``, which all rows share; or no column."""
    types: Mapping[int, pa.DataType]
    """File position to the type of the values, where the file has a wider one."""

    @classmethod
    def from_json(cls, document: JSONObject) -> Footer:
        """Return the footer that the writer made the JSON of."""
        # Most parts have neither: the writer leaves both out where they say nothing.
        keys, types = pd.DataFrame(), dict[int, pa.DataType]()
        if document.get("partition_on") is not None:
            keys = frame_from_json(document["partition_on"])
        if document.get("types") is not None:
            types = types_from_text(document["types"])
        return cls(document["schema"], keys, types)


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """Where the columns of a frame that is read come from."""

    from_file: tuple[int, ...]
    """File positions, in the order of the frame that is read."""
    labels: pd.Index
    """Labels of those columns."""
    from_keys: tuple[tuple[int, int], ...]
    """Pairs of a position in the frame that is read and of a column of the keys."""

    @classmethod
    def of(
        cls, labels: pd.Index, keys: pd.Index, wanted: Sequence[int] | None
    ) -> ColumnPlan:
        """Return the plan for some columns of a frame.

        Parameters
        ----------
        labels
            Of the whole frame.
        keys
            Labels of the columns that are no columns of the file.
        wanted
            Frame positions; ``None``: all.
        """
        if wanted is None:
            wanted = range(len(labels))
        files = file_positions(labels, keys)
        in_file = [place for place in wanted if place in files]
        # A key's label is unique in the frame, so that `get_loc` gives one place.
        from_keys = tuple(
            (i, cast(int, keys.get_loc(labels[place])))
            for i, place in enumerate(wanted)
            if place not in files
        )
        return cls(
            tuple(files[place] for place in in_file), labels.take(in_file), from_keys
        )


@dataclass(frozen=True, slots=True)
class RowPlan:
    """The row groups that are read: neighbours, so that a range index stays a range."""

    groups: tuple[int, ...]
    n_before: int
    """Rows of the part that come before them."""
    n_rows: int

    @classmethod
    def of(
        cls,
        metadata: pq.FileMetaData,
        n_rows: int,
        may_hold_group: Callable[[int], bool],
    ) -> RowPlan:
        """Return the plan for the groups from the first to the last that is wanted."""
        n_groups = metadata.num_row_groups
        wanted = [group for group in range(n_groups) if may_hold_group(group)]
        if len(wanted) == n_groups:
            # Parquet does not count the rows of a frame without columns.
            return cls(tuple(wanted), 0, n_rows)
        if not wanted:
            return cls((), 0, 0)
        # Those in between too: the filter drops their rows later, as it has to anyway.
        groups = tuple(range(wanted[0], wanted[-1] + 1))
        sizes = [metadata.row_group(group).num_rows for group in range(n_groups)]
        n_before = sum(sizes[: groups[0]])
        return cls(groups, n_before, sum(sizes[group] for group in groups))


def file_positions(labels: pd.Index, keys: pd.Index) -> dict[int, int]:
    """Return frame position to file position, for the columns that the file has."""
    if len(keys) == 0:
        return {place: place for place in range(len(labels))}
    in_file = [place for place, label in enumerate(labels) if label not in keys]
    return {place: position for position, place in enumerate(in_file)}


def read_schema(
    footer: Footer, columns: ColumnPlan, rows: RowPlan
) -> tuple[JSONObject, range | None]:
    """Return the schema of what a plan reads, and its range where the index is one."""
    schema = footer.schema
    index, span = schema["index"], None
    if "range" in index:
        whole = range(*index["range"])
        # A slice of a range is a range: rows that were left out leave no gap, as the
        # groups that are read are neighbours.
        span = whole[rows.n_before : rows.n_before + rows.n_rows]
        index = {**index, "range": [span.start, span.stop, span.step]}
    return {
        **schema,
        "index": index,
        "n_rows": rows.n_rows,
        "columns": [schema["columns"][position] for position in columns.from_file],
        # The frame's labels are put in later, whatever JSON can hold as a label.
        "labels": index_to_json(pd.RangeIndex(len(columns.from_file))),
    }, span


def group_filter(
    parquet: pq.ParquetFile, footer: Footer, meta: pd.DataFrame, where: Condition | None
) -> Callable[[int], bool]:
    """Return whether a row group may have rows that meet a condition, as a function.

    Statistics that are missing, or that cannot be read, say nothing: the group may have
    such rows. Python's times know no year 0, for one, and float16 has no order in
    every version of Parquet.
    """
    if where is None:
        return lambda group: True
    positions = file_positions(meta.columns, footer.keys.columns)
    leaves = _leaf_positions(parquet)

    def statistics(label: Hashable, group: int) -> pd.Series[Any] | None:
        """Return the smallest and the largest value of a column in a row group."""
        # A key is the same in all rows, and no column of the file.
        if label in footer.keys.columns:
            ends: pd.Series[Any] = footer.keys[label].take([0, 0])
            if has_order(ends.dtype) and ends.notna().all():
                return ends
            return None
        place = meta.columns.get_loc(label)
        # A slice or a mask: several columns have this label.
        if not isinstance(place, int) or not has_order(meta.dtypes.iloc[place]):
            return None
        # Other columns hold texts of their values, which have an order of their own.
        is_native = footer.schema["columns"][positions[place]].keys() == {"dtype"}
        leaf = leaves.get(positions[place])
        if not is_native or leaf is None:
            return None
        statistics = parquet.metadata.row_group(group).column(leaf).statistics
        if statistics is None or not statistics.has_min_max:
            return None
        return _ends(statistics, meta.dtypes.iloc[place])

    def may_hold_group(group: int) -> bool:
        def ends(label: Hashable) -> pd.Series[Any] | None:
            # A filter only saves work: no error of it may fail the read.
            try:
                return statistics(label, group)
            except Exception:  # noqa: BLE001 - pyarrow raises many kinds of error here
                return None

        return may_hold(where, ends)

    return may_hold_group


def leaf_positions(schema: pa.Schema, n_leaves: int) -> dict[int, int]:
    """Return top-level position to position among Parquet's own columns, its leaves.

    Columns that have several leaves, or one below a list, are left out. So is every
    column where Arrow's types and Parquet's do not count the same.
    """
    counts = [_n_leaves(field.type) for field in schema]
    # Better no statistics than those of another column.
    if sum(counts) != n_leaves:
        return {}
    firsts = itertools.accumulate(counts, initial=0)
    return {
        position: first
        for position, (field, first) in enumerate(zip(schema, firsts, strict=False))
        if not pa.types.is_nested(field.type)
    }


def _ends(statistics: pq.Statistics, dtype: Any) -> pd.Series[Any]:
    ends: pd.Series[Any] = pd.Series([statistics.min, statistics.max], dtype=dtype)
    return ends


def _leaf_positions(parquet: pq.ParquetFile) -> dict[int, int]:
    return leaf_positions(parquet.schema_arrow, parquet.metadata.num_columns)


def _n_leaves(kind: pa.DataType) -> int:
    # Parquet knows no extension types: it has their storage.
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if not pa.types.is_nested(kind):
        return 1
    return sum(_n_leaves(kind.field(i).type) for i in range(kind.num_fields))
