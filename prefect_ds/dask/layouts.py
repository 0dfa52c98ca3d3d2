"""The Arrow types on which all files of one frame agree, though its values differ."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from prefect_ds.errors import RoundTripError
from prefect_ds.frames.base import is_object


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
        # In the order of the file: the index comes after the columns.
        dtypes = [*frame.dtypes]
        if has_index:
            dtypes.append(frame.index.dtype)
        # Only these depend on the values; every other dtype has one Arrow type.
        types = {
            position: table.schema.field(position).type
            for position, dtype in enumerate(dtypes)
            if is_object(dtype) or isinstance(dtype, pd.CategoricalDtype)
        }
        return cls(has_index, types_to_text(types))

    @classmethod
    def common(cls, layouts: Iterable[Layout]) -> Layout:
        """Return the layout in which all of these can be written.

        Where the types of a column have nothing in common it is ``large_string``: text,
        as a column of mixed objects is written in any case.
        """
        # Thousands of parts mostly have a handful of layouts.
        different = set(layouts)
        kinds: dict[int, set[pa.DataType]] = {}
        for layout in different:
            for position, kind in types_from_text(layout.types).items():
                kinds.setdefault(position, set()).add(kind)
        # Sorted, so that equal layouts have equal texts.
        types = {position: _common_type(kinds[position]) for position in sorted(kinds)}
        # A range can be written as a column too, another index cannot be left out.
        has_index = any(layout.has_index for layout in different)
        return cls(has_index, types_to_text(types))

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
                # Arrow refuses some casts that would lose a value, such as an overflow.
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
    if not kinds:
        return pa.null()
    if len(kinds) == 1:
        return kinds.pop()
    if all(_is_text_like(kind) for kind in kinds):
        dictionaries = [kind for kind in kinds if pa.types.is_dictionary(kind)]
        # A column of `string` holds at most 2 GiB, one of `large_string` more.
        if not dictionaries:
            return pa.large_string()
        # One partition without an order is enough for the whole to have none.
        is_ordered = all(kind.ordered for kind in dictionaries)
        return pa.dictionary(pa.int32(), pa.large_string(), is_ordered)
    # Text beside numbers, say: the numbers are written as text as well.
    if any(_is_text_like(kind) for kind in kinds):
        return pa.large_string()
    schemas = [pa.schema([("", kind)]) for kind in kinds]
    try:
        # Numbers and decimals get a wider type; in lists and structs their items do.
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
