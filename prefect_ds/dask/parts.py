"""A part of a Dask frame's checkpoint as a value, and the frame's own facts as JSON.

A part's footer holds what the columns of the file do not tell of the partition
(:mod:`prefect_ds.frames.table`), and a digest of its pages. So the checksum of the
footer, which a reader has to read anyway, tells a part from every other, and the pages'
own checksums say that they are sound.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from prefect_ds.errors import RoundTripError
from prefect_ds.frames.table import (
    CellRules,
    UnkeepableError,
    difference,
    from_table,
    is_object,
    to_table,
)
from prefect_ds.storage.manifest import JSONObject, Part

FOOTER_KEY = b"prefect_ds"
"""Key under which a part's footer says what the columns do not."""
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


def divisions_to_json(divisions: Sequence[Any]) -> JSONObject | None:
    """Return known divisions as JSON, ``None`` for unknown ones."""
    return (
        None
        if divisions[0] is None
        else frame_to_json(pd.DataFrame({"divisions": pd.Index(list(divisions))}))
    )


def divisions_from_json(
    document: JSONObject | None, n_partitions: int
) -> tuple[Any, ...]:
    """Return the divisions that `divisions_to_json` made the JSON of."""
    return (
        (None,) * (n_partitions + 1)
        if document is None
        else tuple(frame_from_json(document)["divisions"])
    )


def footer_of(stream: BinaryIO) -> tuple[str | None, pq.FileMetaData]:
    """Return the checksum of a parquet file's footer, and what it says."""
    return measure(stream)[1], pq.ParquetFile(stream).metadata


def measure(stream: BinaryIO) -> tuple[int, str | None]:
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


def _schema_to_text(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize()).decode()


def _schema_from_text(text: str) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
