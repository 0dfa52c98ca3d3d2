"""One part of a Dask frame's checkpoint: a partition becomes a parquet file, on the worker that has it, and comes back.

A part's footer holds what the columns of the file do not tell of the partition
(:mod:`prefect_ds.frames.table`), and a digest of its pages. So the checksum of the
footer, which a reader has to read anyway, tells a part from every other, and the pages'
own checksums say that they are sound.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, BinaryIO, cast
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from prefect_ds.dask.foreign_parquet import MISSING_KEY, fit_foreign, hive_keys
from prefect_ds.dask.partition_dtypes import conform
from prefect_ds.dask.row_group_filters import Condition, has_order, may_hold
from prefect_ds.errors import (
    CheckpointNotFoundError,
    DamagedCheckpointError,
    RoundTripError,
)
from prefect_ds.file_types.frame_format import FILE_TYPES
from prefect_ds.frames.table import (
    CellRules,
    UnkeepableError,
    column_specs,
    difference,
    from_table,
    index_to_json,
    is_object,
    is_text,
    to_table,
    with_index,
)
from prefect_ds.storage.files import open_files
from prefect_ds.storage.manifest import JSONObject, Part
from prefect_ds.storage.store import CheckpointStore, Found

_FOOTER = b"prefect_ds"
_TAIL = 64 * 1024
_TEXT = CellRules(lambda values: False, missing=None)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a part lies in its file, as far as values decide it and not the frame's meta. Parts of one frame agree."""

    has_index: bool
    """Whether the index stands in the file: a range is told in the footer."""
    types: str
    """Types of the columns of objects and categories: an Arrow schema, serialised, in base64."""

    @classmethod
    def of(cls, table: pa.Table, has_index: bool, meta: pd.DataFrame) -> Layout:
        """Return the layout of a table that stands for a partition of a frame with this meta."""
        fields = [
            table.schema.field(i).remove_metadata()
            for i, dtype in enumerate(meta.dtypes)
            if is_object(dtype) or isinstance(dtype, pd.CategoricalDtype)
        ]
        return cls(has_index, _schema_to_text(pa.schema(fields)))

    @classmethod
    def common(cls, layouts: Iterable[Layout]) -> Layout:
        """Return the layout in which all of these can be written.

        Raises
        ------
        RoundTripError
            A column of objects has values of different types in different partitions.
        """
        different = set(layouts)
        schemas = [_schema_from_text(each.types) for each in different]
        fields = []
        for name in schemas[0].names:
            types = {schema.field(name).type for schema in schemas} - {pa.null()}
            # Categories of text are a dictionary, those of an empty partition are of no
            # type.
            dictionaries = {each for each in types if pa.types.is_dictionary(each)}
            if dictionaries and types - dictionaries <= {
                each.value_type for each in dictionaries
            }:
                types = dictionaries
            if len(types) > 1:
                raise RoundTripError(
                    f"column {name!r} holds {' and '.join(sorted(map(str, types)))} in different partitions, and a "
                    "parquet folder one type: cast it with astype, or write it as text"
                )
            fields.append(pa.field(name, types.pop() if types else pa.null()))
        return cls(
            any(each.has_index for each in different),
            _schema_to_text(pa.schema(fields)),
        )

    def apply(self, table: pa.Table) -> pa.Table:
        """Return the table with its columns in the types of this layout."""
        schema = table.schema
        for wanted in _schema_from_text(self.types):
            position = schema.get_field_index(wanted.name)
            schema = schema.set(position, schema.field(position).with_type(wanted.type))
        return table.cast(schema)


@dataclass(frozen=True, slots=True)
class StagedPart:
    """A part in a staging folder, as its writer left it."""

    partition: int
    """Number of the partition that it holds, or of which it holds some rows."""
    number: int
    """Which of the partition's parts it is."""
    memory_bytes: int
    """What its rows took in memory; 0 where no ``partition_bytes`` asks."""
    file: str
    """Its name in the staging folder; no other attempt has it."""
    part: Part
    """What the manifest will say of it."""
    layout: Layout

    def to_json(self) -> JSONObject:
        """Return a record of the part that JSON can hold."""
        return {**asdict(self), "part": self.part._asdict()}

    @classmethod
    def from_json(cls, record: JSONObject) -> StagedPart:
        """Return the part that :meth:`to_json` made the record of; TypeError where it is none."""
        return cls(
            **{
                **record,
                "part": Part(**record["part"]),
                "layout": Layout(**record["layout"]),
            }
        )


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
            writer.add_key_value_metadata({_FOOTER: json.dumps(footer).encode()})
            writer.close()
            sha256.update(written.read())
            size_bytes, footer_sha256 = _measure(written)
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
            size, footer_sha256 = _measure(stream)
            if (size, footer_sha256) != (part.size_bytes, part.footer_sha256):
                raise _UnreadableError("its size or its footer is another")
            try:
                options = {"page_checksum_verification": True, **self.read_kwargs}
                parquet = pq.ParquetFile(stream, **options)
                footer = (parquet.metadata.metadata or {}).get(_FOOTER)
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


def frame_to_json(frame: pd.DataFrame) -> JSONObject:
    """Return a small frame, or an empty one that stands for its dtypes, as JSON.

    Raises
    ------
    RoundTripError
        It has values, labels or dtypes that JSON cannot hold.
    """
    try:
        cells, schema = to_table(frame, _TEXT)
        document = {
            "schema": schema,
            "cells": [
                [None if pd.isna(cell) else cell for cell in cells[label]]
                for label in cells
            ],
        }
        change = difference(frame, frame_from_json(document))
    except UnkeepableError as error:
        change = str(error)
    if change is not None:
        raise RoundTripError(
            f"a frame with the columns {list(frame.columns)} cannot be kept: {change}"
        )
    return document


def frame_from_json(document: JSONObject) -> pd.DataFrame:
    """Return the frame that `frame_to_json` made the JSON of."""
    return from_table(
        [np.array(cells, dtype=object) for cells in document["cells"]],
        document["schema"],
    )


def footer_of(stream: BinaryIO) -> tuple[str | None, pq.FileMetaData]:
    """Return the checksum of a parquet file's footer, and what it says."""
    return _measure(stream)[1], pq.ParquetFile(stream).metadata


def _rules() -> CellRules:
    rules = FILE_TYPES["parquet"].rules
    assert rules is not None
    return rules


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


def _undictionaried(cells: Any, spec: Mapping[str, Any]) -> Any:
    if is_text(spec) and pa.types.is_dictionary(cells.type):
        return cells.cast(cells.type.value_type)
    return cells


def _repeating(table: pa.Table) -> list[str] | bool:
    """Return the columns that a dictionary makes smaller; one of numbers costs more time than it saves space."""
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary)
    return [
        each.name
        for each in table.schema
        if any(is_kind(each.type) for is_kind in kinds)
    ] or False


def _schema_to_text(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize()).decode()


def _schema_from_text(text: str) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


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


def _measure(stream: BinaryIO) -> tuple[int, str | None]:
    """Return the size of a parquet file and the checksum of its footer; None where it has none."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - _TAIL))
    tail = stream.read()
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if tail[-4:] != b"PAR1" or length > size:
        return size, None
    if length > len(tail):
        stream.seek(size - length)
        tail = stream.read()
    stream.seek(0)
    return size, hashlib.sha256(tail[-length:]).hexdigest()
