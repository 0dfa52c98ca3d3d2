"""Writes partitions of a Dask frame as parts, on the workers that have them."""

from __future__ import annotations

import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from prefect_ds.dask.foreign_parquet import MISSING_KEY
from prefect_ds.dask.part_reader import PartReader
from prefect_ds.dask.partition_dtypes import conform
from prefect_ds.dask.parts import (
    FOOTER_KEY,
    Layout,
    StagedPart,
    frame_to_json,
    measure,
)
from prefect_ds.errors import RoundTripError
from prefect_ds.file_types.frame_format import FILE_TYPES
from prefect_ds.frames.table import CellRules, UnkeepableError, to_table, with_index
from prefect_ds.storage.manifest import JSONObject, Part
from prefect_ds.storage.opening import open_files


@dataclass(frozen=True, slots=True)
class PartWriter:
    """Writes the partitions of a frame into a staging folder; goes to the workers that have them."""

    folder: str
    storage_options: Mapping[str, Any]
    meta: pd.DataFrame
    name: str
    """Pattern of a part's name in place, such as ``part.{:05d}.parquet``."""
    partition_on: tuple[str, ...] = ()
    partition_bytes: int | None = None
    """Bytes in memory above which a partition becomes several parts."""
    write_kwargs: Mapping[str, Any] = field(default_factory=dict)
    layout: Layout | None = None
    """What all parts agree on, where they were found not to."""

    def __call__(self, frame: pd.DataFrame, partition: int) -> pd.Series[Any]:
        """Write one partition, and what a later run needs to find it; its staged parts are the cells of the series."""
        staged = self.write(frame, partition)
        record = json.dumps(
            {"partition": partition, "parts": [each.to_json() for each in staged]}
        )
        # After the parts: who finds the record finds them whole.
        files = open_files(self.folder, self.storage_options)
        files.put(f"{self.folder}/{partition}.{uuid.uuid4().hex}.json", record.encode())
        return pd.Series(staged, dtype=object)

    def write(self, frame: pd.DataFrame, partition: int) -> list[StagedPart]:
        """Write one partition; return its parts: one, one for each value of ``partition_on``, or as many as size asks.

        Raises
        ------
        RoundTripError
            The partition is not what the frame's meta says, or would not come back from
            the file.
        """
        files = open_files(self.folder, self.storage_options)
        # Dask runs a task again where it lost its worker, which may still be at work:
        # each run has names of its own.
        attempt = uuid.uuid4().hex
        staged = []
        for number, (below, group) in enumerate(
            self._groups(conform(frame, self.meta, partition))
        ):
            file = f"{partition}.{number}.{attempt}.staged"
            with files.writing(f"{self.folder}/{file}") as path:
                part, layout = self._write_file(
                    group, path, below + self.name.format(partition), partition
                )
            staged.append(
                StagedPart(
                    partition, number, self._memory_bytes(group), file, part, layout
                )
            )
        return staged

    def named(self, staged: StagedPart, partition: int) -> StagedPart:
        """Return a staged part under the name that this writer gives to a partition of this number."""
        below, slash, _ = staged.part.name.rpartition("/")
        name = below + slash + self.name.format(partition)
        return replace(
            staged, partition=partition, part=staged.part._replace(name=name)
        )

    def rewrite(self, parts: Sequence[StagedPart], partition: int) -> list[StagedPart]:
        """Write staged parts again as one partition, as this writer does it."""
        reader = PartReader(self.folder, "", self.storage_options, self.meta)
        return self.write(
            pd.concat(
                [reader.read(each.part._replace(name=each.file)) for each in parts]
            ),
            partition,
        )

    def _groups(self, frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield the rows of each part of a partition, and the folder that they go to."""
        if not self.partition_on:
            n_parts = (
                max(1, math.ceil(self._memory_bytes(frame) / self.partition_bytes))
                if self.partition_bytes
                else 1
            )
            n_rows = math.ceil(len(frame) / n_parts)
            for start in range(0, max(1, len(frame)), max(1, n_rows)):
                yield "", frame.iloc[start : start + max(1, n_rows)]
            return
        keys = list(self.partition_on)
        for values, group in frame.groupby(keys, observed=True, dropna=False):
            yield (
                "".join(
                    f"{key}={_hive_text(value)}/"
                    for key, value in zip(keys, values, strict=True)
                ),
                group,
            )

    def _memory_bytes(self, frame: pd.DataFrame) -> int:
        return (
            0
            if self.partition_bytes is None
            else int(frame.memory_usage(deep=True).sum())
        )

    def _write_file(
        self, frame: pd.DataFrame, path: str, name: str, partition: int
    ) -> tuple[Part, Layout]:
        smallest, largest = _index_range(frame.index)
        n_rows, footer = len(frame), JSONObject()
        try:
            if self.partition_on:
                keys = list(self.partition_on)
                # A folder's name says the value to others, but neither its type nor
                # what kind of missing it is.
                footer["partition_on"] = frame_to_json(
                    frame[keys].iloc[[0]].reset_index(drop=True)
                )
                frame = frame.drop(columns=keys)
            # A range needs no column, unless other partitions have an index that does.
            # Dask cannot read a named one.
            is_range = (
                isinstance(frame.index, pd.RangeIndex) and frame.index.name is None
            )
            has_index = not is_range if self.layout is None else self.layout.has_index
            flat, schema = to_table(frame, _rules(), with_default_index=True)
            freq = schema["index"].get("freq")
            if freq is not None and pd.tseries.frequencies.to_offset(freq) != getattr(
                frame.index, "freq", None
            ):
                del schema["index"][
                    "freq"
                ]  # A name does not tell all of it: the holidays of a calendar, say.
            flat = with_index(flat, schema)
            flat = flat if has_index else flat.set_axis(frame.index)
            # Dask has a thread for each core at work already: Arrow would start more
            # for each part.
            table = _settled(
                pa.Table.from_pandas(flat, preserve_index=has_index or None, nthreads=1)
            )
            table = table if self.layout is None else self.layout.apply(table)
        except (UnkeepableError, pa.ArrowException) as error:
            raise RoundTripError(
                f"partition {partition} cannot be kept in a parquet file: {error}"
            ) from error
        options = {
            "write_page_checksum": True,
            "use_dictionary": _repeating(table),
            **self.write_kwargs,
        }
        row_group_size = options.pop("row_group_size", None)
        # Arrow writes the file itself: through a file of Python's, all bytes would be
        # copied on their way to it.
        with (
            pa.OSFile(os.fsencode(path), "wb") as sink,
            open(path, "rb") as written,
            pq.ParquetWriter(sink, table.schema, **options) as writer,
        ):
            writer.write_table(table, row_group_size=row_group_size)
            sha256 = hashlib.file_digest(cast(Any, written), "sha256")
            footer = {**footer, "schema": schema, "pages": sha256.hexdigest()}
            writer.add_key_value_metadata({FOOTER_KEY: json.dumps(footer).encode()})
            writer.close()
            sha256.update(written.read())
            size_bytes, footer_sha256 = measure(written)
        part = Part(
            name,
            size_bytes,
            sha256.hexdigest(),
            n_rows,
            smallest,
            largest,
            footer_sha256,
        )
        return part, Layout.of(table, has_index, frame)


def _rules() -> CellRules:
    rules = FILE_TYPES["parquet"].rules
    assert rules is not None
    return rules


def _settled(table: pa.Table) -> pa.Table:
    """Return a table in which no type hangs on the number of categories."""
    schema = table.schema
    for i, each in enumerate(schema):
        if pa.types.is_dictionary(each.type):
            schema = schema.set(
                i,
                each.with_type(
                    pa.dictionary(pa.int32(), each.type.value_type, each.type.ordered)
                ),
            )
    return table.cast(schema)


def _repeating(table: pa.Table) -> list[str] | bool:
    """Return the columns that a dictionary makes smaller; one of numbers costs more time than it saves space."""
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary)
    return [
        each.name
        for each in table.schema
        if any(is_kind(each.type) for is_kind in kinds)
    ] or False


def _hive_text(value: Any) -> str:
    if pd.isna(value):
        return MISSING_KEY
    return quote(str(value), safe=" :")


def _index_range(index: pd.Index) -> tuple[Any, Any]:
    """Return the smallest and the largest value of a sorted index, as JSON; None and None for any other."""
    if (
        len(index) == 0
        or index.nlevels > 1
        or isinstance(index.dtype, pd.CategoricalDtype)
        or not index.is_monotonic_increasing
    ):
        return None, None
    return _json_scalar(index[0]), _json_scalar(index[-1])


def _json_scalar(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str | int | float | bool) else str(value)
