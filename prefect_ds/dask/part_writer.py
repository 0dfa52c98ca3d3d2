"""Writes partitions of a Dask frame as parts, on the workers that have them."""

from __future__ import annotations

import json
import math
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from prefect_ds.dask.frame_json import (
    divisions_to_json,
    ends_to_json,
    frame_to_json,
    index_range,
)
from prefect_ds.dask.layouts import Layout, types_to_text
from prefect_ds.dask.part_reader import PartReader
from prefect_ds.dask.part_table import part_table
from prefect_ds.dask.partition_dtypes import concatenated, conform, fits, joinable_runs
from prefect_ds.dask.partition_keys import KeyGroup, check_partition_on, key_groups
from prefect_ds.dask.parts import FOOTER_KEY, StagedPart, measure
from prefect_ds.errors import RoundTripError
from prefect_ds.frames.base import UnkeepableError
from prefect_ds.storage.checksum import Checksum
from prefect_ds.storage.manifest import JSONObject
from prefect_ds.storage.opening import open_files
from prefect_ds.storage.part import Part
from prefect_ds.storage.part_names import PartNames


@dataclass(frozen=True, slots=True)
class PartWriter:
    """Writes partitions into a staging folder, on the workers that have them."""

    folder: str
    storage_options: Mapping[str, Any]
    meta: pd.DataFrame
    names: PartNames
    """Of the parts in place."""
    partition_on: tuple[str, ...] = ()
    partition_bytes: int | None = None
    """Bytes in memory above which a partition becomes several parts."""
    write_kwargs: Mapping[str, Any] = field(default_factory=dict)
    layout: Layout | None = None
    """What all parts agree on, where they did not at first."""

    def __call__(self, frame: pd.DataFrame, partition: int) -> pd.Series[Any]:
        """Write one partition and its record; return its staged parts as a series."""
        staged = self.write(frame, partition)
        record = json.dumps(
            {"partition": partition, "parts": [part.to_json() for part in staged]}
        )
        # After the parts, so that a record is proof that they are whole. Its name is
        # unique, as a lost worker may still write one for the same partition.
        files = open_files(self.folder, self.storage_options)
        files.put(f"{self.folder}/{partition}.{uuid.uuid4().hex}.json", record.encode())
        return pd.Series(staged, dtype=object)

    def write(self, frame: pd.DataFrame, partition: int) -> list[StagedPart]:
        """Write one partition and return its parts.

        There is one, or one for every value of ``partition_on``, or as many as
        ``partition_bytes`` asks for.

        Raises
        ------
        RoundTripError
            The partition is not what the frame's meta says, or would not come back from
            the file.
        """
        groups = self._groups(conform(frame, self.meta, partition), partition)
        staged = [
            self._stage(group.rows, partition, number, group.folder, group.twin)
            for number, group in enumerate(groups)
        ]
        # Grouping and cutting are pandas' work: no row may be lost in it.
        n_rows = sum(part.part.n_rows for part in staged)
        if n_rows != len(frame):
            raise RoundTripError(
                f"partition {partition} has {len(frame):,} rows, and its parts hold "
                f"{n_rows:,}"
            )
        return staged

    def named(self, staged: StagedPart, partition: int) -> StagedPart:
        """Return a staged part under this writer's name for a partition."""
        below, slash, _ = staged.part.name.rpartition("/")
        name = below + slash + self.names.of(partition, staged.twin)
        return replace(
            staged, partition=partition, part=staged.part._replace(name=name)
        )

    def rewrite(self, staged: StagedPart) -> StagedPart:
        """Write a staged part again, in the layout of this writer."""
        below, slash, _ = staged.part.name.rpartition("/")
        return self._stage(
            self._read(staged),
            staged.partition,
            staged.number,
            below + slash,
            staged.twin,
        )

    def join(self, parts: Sequence[StagedPart], partition: int) -> list[StagedPart]:
        """Write staged parts as one, or as few as their categories allow."""
        joined: list[StagedPart] = []
        for run in joinable_runs([self._read(part) for part in parts]):
            # Nothing to join it with: its file stays as it is.
            if len(run) == 1:
                joined.append(parts[run[0]])
                continue
            frame = concatenated([self._read(parts[i]) for i in run])
            joined.append(self._stage(frame, partition, len(joined), "", 0))
        return joined

    def check(self, divisions: Sequence[Any]) -> None:
        """Write the frame's meta to memory and read it, before anything is computed.

        Parameters
        ----------
        divisions
            Of the frame; they are kept too, unless there will be others.

        Raises
        ------
        RoundTripError
            A parquet file does not keep the frame, or ``partition_on`` does not fit it.
        TypeError, ValueError
            pyarrow does not take the keyword arguments.
        """
        check_partition_on(self.meta, self.partition_on)
        # For its errors only: the commit writes both when all is computed.
        frame_to_json(self.meta)
        if self.partition_bytes is None:
            divisions_to_json(divisions)
        meta = self.meta.drop(columns=list(self.partition_on))
        try:
            back = self._through_parquet(meta)
        except (
            UnkeepableError,
            pa.ArrowNotImplementedError,
            pa.ArrowTypeError,
        ) as error:
            raise RoundTripError(
                f"the Dask frame cannot be kept in parquet files: {error}"
            ) from error
        for label, dtype, kept in zip(
            meta.columns, meta.dtypes, back.dtypes, strict=True
        ):
            if not fits(kept, dtype):
                raise RoundTripError(
                    f"column {label!r} of {dtype} would come back from parquet "
                    f"files as {kept}: cast it with astype"
                )

    def _through_parquet(self, meta: pd.DataFrame) -> pd.DataFrame:
        """Return the meta as a reader gets it back from a file in memory."""
        kept = part_table(meta, None)
        sink = pa.BufferOutputStream()
        options = self._options(kept.table)
        # An argument of the write, not of the writer.
        row_group_size = options.pop("row_group_size", None)
        with pq.ParquetWriter(sink, kept.table.schema, **options) as writer:
            writer.write_table(kept.table, row_group_size=row_group_size)
        parquet = pq.ParquetFile(pa.BufferReader(sink.getvalue()))
        reader = PartReader("", "", {}, meta)
        return reader.frame_of(parquet, {"schema": kept.schema}, None, None)

    def _options(self, table: pa.Table) -> dict[str, Any]:
        """Return the keyword arguments of pyarrow's writer."""
        return {
            # A reader checks the pages that it reads, and not the whole file.
            "write_page_checksum": True,
            "use_dictionary": _repeating(table),
            # Last, so that the user has the last word.
            **self.write_kwargs,
        }

    def _read(self, staged: StagedPart) -> pd.DataFrame:
        reader = PartReader(self.folder, "", self.storage_options, self.meta)
        return reader.read(staged.part._replace(name=staged.file))

    def _groups(self, frame: pd.DataFrame, partition: int) -> Iterator[KeyGroup]:
        """Yield the rows of every part of a partition."""
        if self.partition_on:
            yield from key_groups(frame, self.partition_on, partition)
            return
        n_parts = 1
        if self.partition_bytes:
            size_bytes = self._memory_bytes(frame)
            n_parts = max(1, math.ceil(size_bytes / self.partition_bytes))
        n_rows = max(1, math.ceil(len(frame) / n_parts))
        # An empty partition has one part, too: it holds the types.
        for start in range(0, max(1, len(frame)), n_rows):
            yield KeyGroup("", 0, frame.iloc[start : start + n_rows])

    def _memory_bytes(self, frame: pd.DataFrame) -> int:
        if self.partition_bytes is None:
            return 0
        return int(frame.memory_usage(deep=True).sum())

    def _stage(
        self, frame: pd.DataFrame, partition: int, number: int, below: str, twin: int
    ) -> StagedPart:
        """Write the rows of one part into the staging folder."""
        files = open_files(self.folder, self.storage_options)
        started = time.perf_counter()
        # Dask runs a task again where it lost its worker, which may still be at work:
        # every run has names of its own.
        file = f"{partition}.{number}.{uuid.uuid4().hex}.staged"
        name = below + self.names.of(partition, twin)
        with files.writing(f"{self.folder}/{file}") as path:
            part, layout = self._write_file(frame, path, name, partition)
        size_bytes = self._memory_bytes(frame)
        # Only joined parts need ends: the divisions of others are those of the frame.
        ends = None
        if self.partition_bytes is not None:
            ends = ends_to_json(frame.index)
        return StagedPart(
            partition,
            number,
            size_bytes,
            file,
            part,
            layout,
            twin,
            ends,
            write_s=time.perf_counter() - started,
            writer=f"{platform.node()} {os.getpid()} {threading.get_ident()}",
        )

    def _write_file(
        self, frame: pd.DataFrame, path: str, name: str, partition: int
    ) -> tuple[Part, Layout]:
        smallest, largest = index_range(frame.index)
        n_rows = len(frame)
        footer = JSONObject()
        try:
            if self.partition_on:
                keys = list(self.partition_on)
                # A folder's name gives other tools the value, but neither its type nor
                # which kind of missing value it is.
                first = frame[keys].iloc[[0]].reset_index(drop=True)
                footer["partition_on"] = frame_to_json(first)
                frame = frame.drop(columns=keys)
            kept = part_table(frame, self.layout)
        except (UnkeepableError, RoundTripError, pa.ArrowException) as error:
            raise RoundTripError(
                f"partition {partition} cannot be kept in a parquet file: {error}"
            ) from error
        footer["schema"] = kept.schema
        if kept.types:
            footer["types"] = types_to_text(kept.types)
        options = self._options(kept.table)
        row_group_size = options.pop("row_group_size", None)
        # Arrow writes the file itself: through a file of Python's, all bytes would be
        # copied on their way to it.
        with (
            pa.OSFile(os.fsencode(path), "wb") as sink,
            open(path, "rb") as written,
            pq.ParquetWriter(sink, kept.table.schema, **options) as writer,
        ):
            writer.write_table(kept.table, row_group_size=row_group_size)
            # The pages first, as the footer has their digest; then the same digest
            # goes on over the footer, and is that of the whole file.
            checksum = Checksum()
            checksum.update_from(written)
            footer["pages"] = checksum.text()
            writer.add_key_value_metadata({FOOTER_KEY: json.dumps(footer).encode()})
            writer.close()
            checksum.update_from(written)
            size_bytes, footer_sha256 = measure(written)
        part = Part(
            name,
            size_bytes,
            checksum.text(),
            n_rows,
            smallest,
            largest,
            footer_sha256,
        )
        return part, Layout.of(kept.table, kept.has_index, frame)


def _repeating(table: pa.Table) -> list[str] | bool:
    """Return the columns of text: a dictionary of numbers costs more than it saves."""
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary)
    names = [
        field.name
        for field in table.schema
        if any(is_kind(field.type) for is_kind in kinds)
    ]
    # `False` is the documented way to say that no column gets one.
    return names or False
