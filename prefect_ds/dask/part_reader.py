"""Reads the parts of a committed checkpoint, on the workers that need them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from prefect_ds.dask.foreign_parquet import fit_foreign, hive_keys
from prefect_ds.dask.parts import FOOTER_KEY, StagedPart, measure
from prefect_ds.dask.read_plan import (
    ColumnPlan,
    Footer,
    RowPlan,
    group_filter,
    read_schema,
)
from prefect_ds.dask.row_group_filters import Condition
from prefect_ds.errors import (
    CheckpointNotFoundError,
    DamagedCheckpointError,
    PrefectDSError,
)
from prefect_ds.frames.base import UnkeepableError
from prefect_ds.frames.cells import is_text
from prefect_ds.frames.dtypes import MASKED_DTYPES
from prefect_ds.frames.table import column_specs, from_table
from prefect_ds.storage.checksum import checksum_of_file, kind_of
from prefect_ds.storage.lookup import Found
from prefect_ds.storage.manifest import JSONObject, Manifest
from prefect_ds.storage.opening import open_files
from prefect_ds.storage.part import Part
from prefect_ds.storage.store import CheckpointStore


@dataclass(frozen=True, slots=True)
class PartReader:
    """Reads parts of one committed checkpoint, on the workers that need them."""

    path: str
    content: str
    """Digest of the checkpoint's content."""
    storage_options: Mapping[str, Any]
    meta: pd.DataFrame
    read_kwargs: Mapping[str, Any] = field(default_factory=dict)
    sorts: bool = False
    """Whether the rows of several parts are put in the order of the index."""

    def __dask_tokenize__(self) -> tuple[str, str, str]:
        # With the content, so that a read after a new commit is another one to Dask.
        return ("prefect_ds-checkpoint", self.path, self.content)

    def __call__(
        self,
        parts: Sequence[Part],
        columns: Sequence[int] | None = None,
        where: Condition | None = None,
    ) -> pd.DataFrame:
        """Return one partition: the rows of its parts, with some columns.

        Parameters
        ----------
        parts
            All parts of the partition.
        columns
            Positions of the columns to read; ``None``: all.
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
            if columns is None:
                return self.meta
            return self.meta.iloc[:, list(columns)]
        frames = [self.read(part, columns, where) for part in parts]
        # Frames without rows must not change the dtypes of those that have some.
        frames = [frame for frame in frames if len(frame)] or frames[:1]
        frame = frames[0] if len(frames) == 1 else pd.concat(frames)
        if not self.sorts:
            return frame
        # Stable: rows with one index value stay in the order of the parts.
        return frame.sort_index(kind="stable")

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
                # Another writer may have mended the part since it was read. It is
                # damaged if nothing has changed between two reads.
                if now == seen:
                    raise self._set_aside(part, now, str(error)) from error
                seen = now

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
            # The footer has a digest of the pages, so this tells the part from every
            # other without reading all of it.
            size, footer_sha256 = measure(stream)
            if (size, footer_sha256) != (part.size_bytes, part.footer_sha256):
                raise _UnreadableError("its size or its footer is another")
            try:
                options = {"page_checksum_verification": True, **self.read_kwargs}
                parquet = pq.ParquetFile(stream, **options)
                footer = (parquet.metadata.metadata or {}).get(FOOTER_KEY)
                # A file that a person put there has no such entry.
                if footer is None:
                    return self._foreign(parquet, part, columns)
                return self.frame_of(parquet, json.loads(footer), columns, where)
            except MemoryError:
                # Arrow's is an ArrowException too, and says nothing of the bytes.
                raise
            except (pa.ArrowException, UnkeepableError, OSError) as error:
                # Arrow raises an OSError without a number for bytes that make no
                # sense; one with a number is the file system's, and no damage.
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                # The bytes decide: pyarrow may refuse a part that is sound.
                stream.seek(0)
                kind = kind_of(part.checksum)
                if checksum_of_file(stream, kind) != part.checksum:
                    raise _UnreadableError(str(error)) from error
                raise PrefectDSError(
                    f"part {part.name!r} of the checkpoint at {self.path!r} is as it "
                    f"was written, but pyarrow {pa.__version__} cannot read it with "
                    f"read_kwargs={dict(self.read_kwargs)}: {error}. Read it with the "
                    "versions that wrote it, or move it away: the next run computes it"
                ) from error

    def frame_of(
        self,
        parquet: pq.ParquetFile,
        document: JSONObject,
        wanted: Sequence[int] | None,
        where: Condition | None,
    ) -> pd.DataFrame:
        """Return rows and columns of a `PartWriter`'s file, by its footer."""
        footer = Footer.from_json(document)
        columns = ColumnPlan.of(self.meta.columns, footer.keys.columns, wanted)
        may_hold_group = group_filter(parquet, footer, self.meta, where)
        n_rows = footer.schema["n_rows"]
        rows = RowPlan.of(parquet.metadata, n_rows, may_hold_group)
        schema, span = read_schema(footer, columns, rows)
        names = parquet.schema_arrow.names
        # In the file the levels of the index come last, in the table form first.
        levels = range(len(footer.schema["columns"]), len(names))
        positions = [*levels, *columns.from_file]
        # A name may be the path of another column's field too, which is then read as
        # well: so the columns are taken out by their names, not by their order.
        asked = [names[position] for position in (*columns.from_file, *levels)]
        table = parquet.read_row_groups(list(rows.groups), columns=asked)
        cells = []
        # A range index has no column in the file: it is made of the schema.
        if span is not None and not levels:
            cells.append(np.arange(span.start, span.stop, span.step))
        for position in positions:
            column = table.column(names[position])
            # The file may have a wider type, which all parts of the folder share.
            kind = footer.types.get(position)
            if kind is not None:
                column = column.cast(kind)
            cells.append(column)
        specs = column_specs(schema)
        frame = from_table(list(map(_plain, cells, specs)), schema)
        # The schema numbers the columns, see `read_schema`.
        frame.columns = columns.labels
        return _with_keys(frame, footer.keys, columns)

    def _foreign(
        self, parquet: pq.ParquetFile, part: Part, columns: Sequence[int] | None
    ) -> pd.DataFrame:
        labels = self.meta.columns
        if columns is not None:
            labels = labels[list(columns)]
        # Files of one folder may differ in their columns: a missing one is filled up.
        in_file = set(parquet.schema_arrow.names)
        # A file's names are text, its metadata say which labels they stand for.
        names = [str(label) for label in labels if str(label) in in_file]
        table = parquet.read(columns=names, use_pandas_metadata=True)
        frame = table.to_pandas()
        for label, dtype in self.meta.dtypes.items():
            # By way of floats, as pandas goes, whole numbers above 2**53 would change.
            is_masked = isinstance(dtype, MASKED_DTYPES)
            if is_masked and label in frame.columns and str(label) in names:
                frame[label] = dtype.__from_arrow__(table.column(str(label)))
        return fit_foreign(frame, self.meta[list(labels)], hive_keys(part.name))

    def _look_up(self, part: Part) -> Found:
        """Return the checkpoint at the path; raise an error if it was replaced."""
        store = CheckpointStore(open_files(self.path, self.storage_options))
        at_path = store.look_up(self.path)
        is_gone = at_path.kind in ("missing", "foreign")
        if is_gone or self._is_other(at_path.manifest, part):
            raise self._not_found(part, at_path.reason or "it was replaced since")
        return at_path

    def _is_other(self, manifest: Manifest | None, part: Part) -> bool:
        """Return whether a manifest is of another checkpoint than the one to read.

        ``None`` is none: the data may be damaged so that no manifest counts.
        """
        if manifest is None:
            return False
        # In an object store every write has part names of its own, also one of equal
        # data.
        names = {other.name for other in manifest.parts}
        return manifest.content != self.content or part.name not in names

    def _not_found(self, part: Part, why: str) -> CheckpointNotFoundError:
        return CheckpointNotFoundError(
            f"part {part.name!r} of the checkpoint at {self.path!r} "
            f"cannot be read: {why}"
        )

    def _set_aside(
        self, part: Part, at_path: Found, what: str
    ) -> CheckpointNotFoundError | DamagedCheckpointError:
        """Set the folder aside, and return the error that says so."""
        stamp = at_path.stamp
        if at_path.manifest is not None:
            stamp = at_path.manifest.stamp
        store = CheckpointStore(open_files(self.path, self.storage_options))
        aside = store.set_aside(
            self.path, f"part {part.name!r} is damaged: {what}", stamp
        )
        # It did not move: by now the stamp is another, of a copy that is good.
        if aside == self.path:
            return self._not_found(part, "it was replaced since")
        return DamagedCheckpointError(
            f"the checkpoint at {self.path!r} is damaged: part {part.name!r}: "
            f"{what}; it was set aside as {aside!r}, and the next run computes it again"
        )


class _UnreadableError(Exception):
    """A part is not as its manifest says."""


def check_part(
    staged: StagedPart, source: str, target: str, storage_options: Mapping[str, Any]
) -> StagedPart | None:
    """Link a finished part of an earlier write into another folder, if it is whole.

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
        # Linked before it is checked: another process may clear the source folder at
        # any time, and then this name keeps the file.
        files.link(f"{source}/{staged.file}", f"{target}/{staged.file}")
        with files.open(f"{target}/{staged.file}") as stream:
            kind = kind_of(staged.part.checksum)
            checksum = checksum_of_file(stream, kind)
    except FileNotFoundError:
        return None
    return staged if checksum == staged.part.checksum else None


def _with_keys(
    frame: pd.DataFrame, keys: pd.DataFrame, columns: ColumnPlan
) -> pd.DataFrame:
    """Return the frame with the columns of its keys, which the footer has once."""
    # The one row of the keys, as often as the frame has rows.
    first = np.zeros(len(frame), dtype=int)
    for place, key in columns.from_keys:
        values = keys.iloc[:, key].take(first).set_axis(frame.index)
        frame.insert(place, keys.columns[key], values, allow_duplicates=True)
    return frame


def _plain(cells: Any, spec: Mapping[str, Any]) -> Any:
    """Return cells of text without the dictionary that other partitions asked for."""
    is_dictionary = isinstance(cells, pa.ChunkedArray) and pa.types.is_dictionary(
        cells.type
    )
    if is_text(spec) and is_dictionary:
        return cells.cast(cells.type.value_type)
    return cells
