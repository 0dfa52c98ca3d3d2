"""A part of a Dask frame's checkpoint as a value, and the frame's own facts as JSON.

A part's footer holds what the columns of the file do not tell of the partition
(:mod:`prefect_ds.frames.table`), and a digest of its pages. So the checksum of the
footer, which a reader has to read anyway, tells a part from every other, and the pages'
own checksums say that they are sound.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from prefect_ds.errors import RoundTripError
from prefect_ds.frames.base import CellRules, UnkeepableError, array_of, is_object
from prefect_ds.frames.compare import difference
from prefect_ds.frames.table import from_table, to_table
from prefect_ds.storage.manifest import JSONObject, Part

FOOTER_KEY = b"prefect_ds"
"""Key under which a part's footer says what the columns do not."""
_TAIL = 64 * 1024
TEXT_RULES = CellRules(lambda values: False, missing=None)
"""Rules of cells that are all text."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the values of a part decide its file's columns; parts of one frame agree."""

    has_index: bool
    """Whether the index has a column in the file: a range needs none."""
    types: str
    """Arrow types of the columns of objects and categories, see `types_to_text`."""

    @classmethod
    def of(cls, table: pa.Table, has_index: bool, frame: pd.DataFrame) -> Layout:
        """Return the layout of a table that was made of some rows of a frame."""
        # Only these depend on the values; every other dtype has one Arrow type.
        dtypes = [*frame.dtypes, frame.index.dtype] if has_index else [*frame.dtypes]
        return cls(
            has_index,
            types_to_text(
                {
                    position: table.schema.field(position).type
                    for position, dtype in enumerate(dtypes)
                    if is_object(dtype) or isinstance(dtype, pd.CategoricalDtype)
                }
            ),
        )

    @classmethod
    def common(cls, layouts: Iterable[Layout]) -> Layout:
        """Return the layout in which all of these can be written.

        Where the types of a column have nothing in common it is ``large_string``: text,
        as a column of mixed objects is written in any case.
        """
        # Thousands of parts mostly have a handful of layouts.
        kinds: dict[int, set[pa.DataType]] = {}
        different = set(layouts)
        for layout in different:
            for position, kind in types_from_text(layout.types).items():
                kinds.setdefault(position, set()).add(kind)
        return cls(
            any(layout.has_index for layout in different),
            types_to_text(
                {position: _common_type(kinds[position]) for position in sorted(kinds)}
            ),
        )

    def texts(self, table: pa.Table) -> list[int]:
        """Return the positions of columns that a table does not have as text yet."""
        return [
            position
            for position, wanted in types_from_text(self.types).items()
            if _is_text(wanted) and not _is_text_like(table.schema.field(position).type)
        ]

    def apply(self, table: pa.Table) -> tuple[pa.Table, dict[int, pa.DataType]]:
        """Return the table in the types of this layout, and the types of its values.

        Raises
        ------
        RoundTripError
            A value would not come back from the wider type.
        """
        narrower = {}
        for position, wanted in types_from_text(self.types).items():
            column, field = table.column(position), table.schema.field(position)
            own = _without_nulls(field.type, wanted)
            if field.type == wanted:
                continue
            try:
                wide = _cast(column, wanted)
                # There and back: a cast may round, and Arrow says nothing of it.
                is_same = _cast(wide, own).equals(_cast(column, own))
            except pa.ArrowException:
                is_same = False
            if not is_same:
                raise RoundTripError(
                    f"column {field.name!r} holds {field.type} in one partition, and "
                    f"together with the others {wanted}, which does not hold its "
                    "values: cast it with astype, or write it as text"
                )
            table = table.set_column(position, field.with_type(wanted), wide)
            # A reader of the part restores its own type; text needs no such note.
            if own != wanted and not _is_text_like(own):
                narrower[position] = own
        return table, narrower


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
    twin: int = 0
    """Which of the partition's parts in one folder it is: keys may read alike."""
    ends: JSONObject | None = None
    """First and last value of a sorted index, see `ends_to_json`."""
    write_s: float = 0.0
    """Seconds that writing it took."""
    writer: str = ""
    """Names the thread that wrote it."""

    def to_json(self) -> JSONObject:
        """Return a record of the part that JSON can hold."""
        return {**asdict(self), "part": self.part._asdict()}

    @classmethod
    def from_json(cls, record: JSONObject) -> StagedPart:
        """Return the part of a record of `to_json`; TypeError if it is no record."""
        return cls(
            **{
                **record,
                "part": Part(**record["part"]),
                "layout": Layout(**record["layout"]),
            }
        )


def frame_to_json(frame: pd.DataFrame) -> JSONObject:
    """Return a small frame, or an empty one that shows its dtypes, as JSON.

    Raises
    ------
    RoundTripError
        It has values, labels or dtypes that JSON cannot hold.
    """
    try:
        return _to_json(frame)
    except (UnkeepableError, NotImplementedError) as error:
        what = culprit(frame, _to_json)
        raise RoundTripError(
            f"the Dask frame cannot be kept: {what}: {error}"
        ) from error


def _to_json(frame: pd.DataFrame) -> JSONObject:
    cells, schema = to_table(frame, TEXT_RULES)
    document = {
        "schema": schema,
        "cells": [
            [None if pd.isna(cell) else cell for cell in cells[label]]
            for label in cells
        ],
    }
    # Verified now, as every later run trusts what is written here.
    change = difference(frame, frame_from_json(document))
    if change is not None:
        raise UnkeepableError(change)
    return document


def frame_from_json(document: JSONObject) -> pd.DataFrame:
    """Return the frame that `frame_to_json` made the JSON of."""
    return from_table(
        [np.array(cells, dtype=object) for cells in document["cells"]],
        document["schema"],
    )


def culprit(frame: pd.DataFrame, keep: Callable[[pd.DataFrame], object]) -> str:
    """Return which part of a frame cannot be kept, in words for an error.

    ``keep`` raises an error for what cannot.
    """
    parts = []
    for i, (label, dtype) in enumerate(zip(frame.columns, frame.dtypes, strict=True)):
        column = pd.Series(array_of(frame.iloc[:, i]), dtype=dtype, name="x")
        parts.append((f"column {label!r} of {dtype}", column.to_frame()))
    labels = pd.DataFrame(columns=frame.columns, dtype="float64")
    parts.append((f"the column labels {list(frame.columns)}", labels))
    index = pd.DataFrame(index=frame.index)
    parts.append((f"the index of {frame.index.dtype}", index))
    # The first that fails by itself is the one to name.
    for what, part in parts:
        try:
            keep(part)
        except (UnkeepableError, NotImplementedError):
            return what
    return "the frame as a whole"


def divisions_to_json(divisions: Sequence[Any]) -> JSONObject | None:
    """Return known divisions as JSON, ``None`` for unknown ones."""
    if divisions[0] is None:
        return None
    values = [
        value.item() if isinstance(value, np.number) else value for value in divisions
    ]
    # pandas makes one type of numbers of several, 1 and 2.5.
    is_mixed = {type(value) for value in values} == {int, float}
    index = pd.Index(values, dtype=object if is_mixed else None)
    return frame_to_json(pd.DataFrame({"divisions": index}))


def divisions_from_json(
    document: JSONObject | None, n_partitions: int
) -> tuple[Any, ...]:
    """Return the divisions that `divisions_to_json` made the JSON of."""
    if document is None:
        return (None,) * (n_partitions + 1)
    return tuple(frame_from_json(document)["divisions"])


def ends_to_json(index: pd.Index) -> JSONObject | None:
    """Return the first and the last value of a sorted index as JSON, with their type.

    ``None`` where they bound nothing, or where JSON does not hold them.
    """
    if not _is_sorted(index):
        return None
    try:
        return frame_to_json(pd.DataFrame({"ends": index[[0, -1]]}))
    except RoundTripError:
        return None


def ends_from_json(document: JSONObject) -> tuple[Any, Any]:
    """Return the two values that `ends_to_json` made the JSON of."""
    first, last = frame_from_json(document)["ends"]
    return first, last


def _is_sorted(index: pd.Index) -> bool:
    """Return whether the ends of an index bound all of its values."""
    return (
        len(index) > 0
        and index.nlevels == 1
        and not isinstance(index.dtype, pd.CategoricalDtype)
        and bool(index.is_monotonic_increasing)
    )


def index_range(index: pd.Index) -> tuple[Any, Any]:
    """Return the smallest and the largest value of a sorted index for people to read.

    They are plain JSON, as the manifest has them; None and None for any other index.
    """
    if not _is_sorted(index):
        return None, None
    return _json_scalar(index[0]), _json_scalar(index[-1])


def _json_scalar(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str | int | float | bool) else str(value)


def footer_of(stream: BinaryIO) -> tuple[str | None, pq.FileMetaData]:
    """Return the checksum of a parquet file's footer, and what it says."""
    return measure(stream)[1], pq.ParquetFile(stream).metadata


def measure(stream: BinaryIO) -> tuple[int, str | None]:
    """Return the size of a parquet file and its footer's checksum, if it has one."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - _TAIL))
    # One read has the footer of most files; its length is in the last eight bytes.
    tail = stream.read()
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if tail[-4:] != b"PAR1" or length > size:
        return size, None
    # A footer of many columns is longer than the tail that was read.
    if length > len(tail):
        stream.seek(size - length)
        tail = stream.read()
    stream.seek(0)
    return size, hashlib.sha256(tail[-length:]).hexdigest()


def types_to_text(types: Mapping[int, pa.DataType]) -> str:
    """Return positions in a file and their types as text."""
    # A schema is Arrow's own way to write types down, nested ones too.
    schema = pa.schema([(str(position), kind) for position, kind in types.items()])
    return base64.b64encode(schema.serialize()).decode()


def types_from_text(text: str) -> dict[int, pa.DataType]:
    """Return the types that `types_to_text` made the text of."""
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
    return {int(field.name): field.type for field in schema}


def _common_type(kinds: set[pa.DataType]) -> pa.DataType:
    # All values of a part may be missing: such a part fits every type.
    kinds = kinds - {pa.null()}
    if len(kinds) < 2:
        return kinds.pop() if kinds else pa.null()
    if all(_is_text_like(kind) for kind in kinds):
        dictionaries = [kind for kind in kinds if pa.types.is_dictionary(kind)]
        # Of large strings a joined file may hold more than 2 GiB.
        if not dictionaries:
            return pa.large_string()
        is_ordered = all(kind.ordered for kind in dictionaries)
        return pa.dictionary(pa.int32(), pa.large_string(), is_ordered)
    if any(_is_text_like(kind) for kind in kinds):
        return pa.large_string()
    schemas = [pa.schema([("", kind)]) for kind in kinds]
    try:
        # Decimals and numbers grow, lists and structs as what is in them.
        unified = pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException:
        return pa.large_string()
    return unified.field(0).type


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    # Arrow has no cast from plain values to a dictionary.
    if pa.types.is_dictionary(kind) and not pa.types.is_dictionary(column.type):
        return column.cast(kind.value_type).dictionary_encode().cast(kind)
    return column.cast(kind)


def _without_nulls(kind: pa.DataType, wider: pa.DataType) -> pa.DataType:
    """Return a type with the types of a wider one in place of null.

    Arrow casts nothing to null.
    """
    if pa.types.is_null(kind):
        return wider
    if pa.types.is_list(kind) and pa.types.is_list(wider):
        return pa.list_(_without_nulls(kind.value_type, wider.value_type))
    if pa.types.is_struct(kind) and pa.types.is_struct(wider):
        return pa.struct(
            [
                (field.name, _without_nulls(field.type, wider.field(field.name).type))
                for field in kind
            ]
        )
    return kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_text_like(kind: pa.DataType) -> bool:
    """Return whether a type is text, or categories of text, or says nothing."""
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return _is_text(kind) or bool(pa.types.is_null(kind))
