"""Reads the parts of a committed checkpoint, on the workers that need them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from prefect_ds.dask.foreign_parquet import fit_foreign, hive_keys
from prefect_ds.dask.parts import FOOTER_KEY, StagedPart, frame_from_json, measure
from prefect_ds.dask.row_group_filters import Condition, has_order, may_hold
from prefect_ds.errors import CheckpointNotFoundError, DamagedCheckpointError
from prefect_ds.frames.table import (
    UnkeepableError,
    column_specs,
    from_table,
    index_to_json,
    is_text,
)
from prefect_ds.storage.lookup import Found
from prefect_ds.storage.manifest import JSONObject, Part
from prefect_ds.storage.opening import open_files
from prefect_ds.storage.store import CheckpointStore


@dataclass(frozen=True, slots=True)
class PartReader:
    """Reads parts of one committed checkpoint and no other; goes to the workers that need them."""

    path: str
    content: str
    """Digest of the checkpoint's content."""
    storage_options: Mapping[str, Any]
    meta: pd.DataFrame
    read_kwargs: Mapping[str, Any] = field(default_factory=dict)
    sorts: bool = False
    """Whether the rows of a partition, which several parts hold, are in the order of the index."""

    def __dask_tokenize__(self) -> tuple[str, str, str]:
        return ("prefect_ds-checkpoint", self.path, self.content)

    def __call__(
        self,
        parts: Sequence[Part],
        columns: Sequence[int] | None = None,
        where: Condition | None = None,
    ) -> pd.DataFrame:
        """Return one partition: the rows of its parts, with the columns at these positions.

        Parameters
        ----------
        parts
            They make up the partition.
        columns
            Their positions; ``None``: all.
        where
            Rows that do not meet it may be left out.

        Raises
        ------
        CheckpointNotFoundError
            The checkpoint was removed, or replaced, since the lazy frame was made.
        DamagedCheckpointError
            A part is not as it was written. The checkpoint was set aside.
        """
        if not parts:
            return self.meta if columns is None else self.meta.iloc[:, list(columns)]
        frames = [self.read(part, columns, where) for part in parts]
        frames = [each for each in frames if len(each)] or frames[:1]
        frame = frames[0] if len(frames) == 1 else pd.concat(frames)
        return frame.sort_index(kind="stable") if self.sorts else frame

    def read(
        self,
        part: Part,
        columns: Sequence[int] | None = None,
        where: Condition | None = None,
    ) -> pd.DataFrame:
        """Return the rows of one part."""
        seen = None
        while True:
            try:
                return self._read(part, columns, where)
            except _UnreadableError as error:
                now = self._look_up(part)
                if now == seen:
                    raise self._set_aside(part, now, str(error)) from error
                seen = now  # Somebody may have mended it since: what is damaged is so between two equal looks.

    def _read(
        self, part: Part, columns: Sequence[int] | None, where: Condition | None
    ) -> pd.DataFrame:
        try:
            stream = open_files(self.path, self.storage_options).open(
                f"{self.path}/{part.name}"
            )
        except FileNotFoundError:
            raise _UnreadableError("it is gone") from None
        with stream:
            size, footer_sha256 = measure(stream)
            if (size, footer_sha256) != (part.size_bytes, part.footer_sha256):
                raise _UnreadableError("its size or its footer is another")
            try:
                options = {"page_checksum_verification": True, **self.read_kwargs}
                parquet = pq.ParquetFile(stream, **options)
                footer = (parquet.metadata.metadata or {}).get(FOOTER_KEY)
                if footer is None:
                    return self._foreign(parquet, part, columns)
                return self._ours(parquet, json.loads(footer), columns, where)
            except OSError as error:
                if error.errno is not None:
                    raise
                raise _UnreadableError(str(error)) from error
            except (pa.ArrowException, UnkeepableError) as error:
                raise _UnreadableError(str(error)) from error

    def _ours(
        self,
        parquet: pq.ParquetFile,
        footer: JSONObject,
        columns: Sequence[int] | None,
        where: Condition | None,
    ) -> pd.DataFrame:
        schema, keys = footer["schema"], footer.get("partition_on")
        row = frame_from_json(keys) if keys else pd.DataFrame()
        wanted = list(range(self.meta.shape[1]) if columns is None else columns)
        in_file = [
            position
            for position, label in enumerate(self.meta.columns)
            if label not in row.columns
        ]
        picked = [in_file.index(position) for position in wanted if position in in_file]
        names, n_columns = parquet.schema_arrow.names, len(in_file)
        groups, dtypes = list(range(parquet.num_row_groups)), list(self.meta.dtypes)
        if where is not None:
            ordered = {
                self.meta.columns[position]: (names[i], dtypes[position])
                for i, (position, spec) in enumerate(
                    zip(in_file, schema["columns"], strict=True)
                )
                if spec.keys() == {"dtype"} and has_order(dtypes[position])
            }
            groups = _groups(parquet, where, ordered, row)
        table = parquet.read_row_groups(
            groups, columns=[names[i] for i in picked] + names[n_columns:]
        )
        index, n_rows = table.columns[len(picked) :], schema["n_rows"]
        if where is not None:
            n_rows = _n_rows(parquet, groups)
        if "range" in schema["index"]:
            n_before = _n_rows(parquet, range(min(groups, default=0)))
            span = range(*schema["index"]["range"])[n_before : n_before + n_rows]
            schema["index"]["range"] = [span.start, span.stop, span.step]
            index = index or [np.arange(span.start, span.stop, span.step)]
        cells = [*index, *table.columns[: len(picked)]]
        # Labels are the frame's, whatever a file can hold as a name.
        labels = index_to_json(pd.RangeIndex(len(picked)))
        schema |= {
            "n_rows": n_rows,
            "columns": [schema["columns"][i] for i in picked],
            "labels": labels,
        }
        specs = column_specs(schema)
        frame = from_table(
            [
                _undictionaried(cell, spec)
                for cell, spec in zip(cells, specs, strict=True)
            ],
            schema,
        )
        frame.columns = (
            self.meta.columns
            if len(picked) == self.meta.shape[1]
            else self.meta.columns[[in_file[i] for i in picked]]
        )
        if not keys:
            return frame
        for position, label in (
            (position, self.meta.columns[position]) for position in wanted
        ):
            if label in row.columns:
                values = (
                    row[label]
                    .take(np.zeros(len(frame), dtype=int))
                    .set_axis(frame.index)
                )
                frame.insert(wanted.index(position), label, values)
        return frame

    def _foreign(
        self, parquet: pq.ParquetFile, part: Part, columns: Sequence[int] | None
    ) -> pd.DataFrame:
        labels = (
            self.meta.columns if columns is None else self.meta.columns[list(columns)]
        )
        in_file = set(parquet.schema_arrow.names)
        frame = parquet.read(
            columns=[label for label in labels if label in in_file],
            use_pandas_metadata=True,
        ).to_pandas()
        return fit_foreign(frame, self.meta[list(labels)], hive_keys(part.name))

    def _look_up(self, part: Part) -> Found:
        """Say what is at the path; raise an error where it is no longer what the frame was made over."""
        found = CheckpointStore(open_files(self.path, self.storage_options)).look_up(
            self.path
        )
        there = found.manifest
        # In an object store each write has part names of its own, also one of equal
        # data.
        if found.kind in ("missing", "foreign") or (
            there
            and (
                there.content != self.content
                or part.name not in {each.name for each in there.parts}
            )
        ):
            raise self._not_found(part, found.reason or "it was replaced since")
        return found

    def _not_found(self, part: Part, why: str) -> CheckpointNotFoundError:
        return CheckpointNotFoundError(
            f"part {part.name!r} of the checkpoint at {self.path!r} cannot be read: {why}"
        )

    def _set_aside(
        self, part: Part, found: Found, what: str
    ) -> CheckpointNotFoundError | DamagedCheckpointError:
        """Set aside what was found, and return the error that says so."""
        stamp = found.manifest.stamp if found.manifest else found.stamp
        store = CheckpointStore(open_files(self.path, self.storage_options))
        aside = store.set_aside(
            self.path, f"part {part.name!r} is damaged: {what}", stamp
        )
        if aside == self.path:
            return self._not_found(part, "it was replaced since")
        return DamagedCheckpointError(
            f"the checkpoint at {self.path!r} is damaged: part {part.name!r}: {what}; it was set aside as {aside!r}, "
            "and the next run computes it again"
        )


class _UnreadableError(Exception):
    """A part is not as its manifest says."""


def check_part(
    staged: StagedPart, source: str, target: str, storage_options: Mapping[str, Any]
) -> StagedPart | None:
    """Give a finished part of an earlier write a place in another staging folder, if it is as it was written.

    Parameters
    ----------
    staged
        What its record says of it.
    source, target
        The staging folders.
    storage_options
        Of their file system.
    """
    files = open_files(source, storage_options)
    try:
        # First its own name here: nobody who clears the other folder can take it away
        # after the check.
        files.link(f"{source}/{staged.file}", f"{target}/{staged.file}")
        with files.open(f"{target}/{staged.file}") as stream:
            sha256 = hashlib.file_digest(cast(Any, stream), "sha256").hexdigest()
    except FileNotFoundError:
        return None
    return staged if sha256 == staged.part.sha256 else None


def _groups(
    parquet: pq.ParquetFile,
    where: Condition,
    names: Mapping[Any, tuple[str, Any]],
    keys: pd.DataFrame,
) -> list[int]:
    """Return the row groups from the first to the last that may have rows which meet a condition.

    Parameters
    ----------
    parquet
        The file.
    where
        The condition.
    names
        Column labels to names in the file, and dtypes.
    keys
        One row with the values that all rows of the file have in further columns, or an
        empty frame.
    """
    metadata = parquet.metadata
    in_file = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}

    def may(group: int) -> bool:
        def range_of(label: Any) -> pd.Series[Any] | None:
            ends: pd.Series[Any]
            if label in keys.columns:
                ends = keys[label].take([0, 0])
                return None if not has_order(ends.dtype) or ends.isna().any() else ends
            name, dtype = names.get(label, ("", None))
            found = (
                metadata.row_group(group).column(in_file[name]).statistics
                if name in in_file
                else None
            )
            if found is None or not found.has_min_max:
                return None
            ends = pd.Series([found.min, found.max], dtype=dtype)
            return ends

        return may_hold(where, range_of)

    wanted = [group for group in range(metadata.num_row_groups) if may(group)]
    return list(range(wanted[0], wanted[-1] + 1)) if wanted else []


def _n_rows(parquet: pq.ParquetFile, groups: Iterable[int]) -> int:
    return sum(parquet.metadata.row_group(group).num_rows for group in groups)


def _undictionaried(cells: Any, spec: Mapping[str, Any]) -> Any:
    if is_text(spec) and pa.types.is_dictionary(cells.type):
        return cells.cast(cells.type.value_type)
    return cells
