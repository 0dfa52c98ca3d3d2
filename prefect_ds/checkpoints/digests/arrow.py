"""Encodings of Arrow's tables and arrays, and of polars frames by way of them.

Where an array is cut into chunks, where a chunk starts in its buffers, and what lies
there below a null do not count.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prefect_ds.checkpoints.digests.arrays import update
from prefect_ds.checkpoints.digests.plain import encode_items
from prefect_ds.checkpoints.digests.walk import (
    Encoder,
    UndigestibleError,
    Walk,
    atom,
    pack,
    pack_all,
)

_PIECE: Final = 2**14

_MANY: Final = 255
"""A length from here on is written beside the one byte that others take."""


# types


def encode_type(data_type: Any, walk: Walk) -> bytes:
    """Return the encoding of a data type, with the names and types of what is in it."""
    if isinstance(data_type, pa.BaseExtensionType):
        stored = encode_type(data_type.storage_type, walk)
        name = data_type.extension_name
        made = _serialized(data_type)
        return pack("extension", atom(name), stored, made)
    if pa.types.is_dictionary(data_type):
        return pack(
            "dictionary",
            encode_type(data_type.index_type, walk),
            encode_type(data_type.value_type, walk),
            atom(data_type.ordered),
        )
    if not data_type.num_fields:
        return pack("type", str(data_type).encode())
    fields = [data_type.field(i) for i in range(data_type.num_fields)]
    if pa.types.is_struct(data_type) or pa.types.is_union(data_type):
        codes = str(getattr(data_type, "type_codes", "")).encode()
        parts = [_field(field, walk) for field in fields]
        return pack("nested", _kind(data_type), codes, *parts)
    # The names of the fields in lists and maps are a matter of who wrote them.
    size = str(getattr(data_type, "list_size", "")).encode()
    is_sorted = atom(getattr(data_type, "keys_sorted", None))
    parts = [encode_type(field.type, walk) for field in fields]
    return pack("nested", _kind(data_type), size, is_sorted, *parts)


def _kind(data_type: Any) -> bytes:
    return type(data_type).__name__.encode() + b" " + atom(data_type.id)


def _serialized(data_type: Any) -> bytes:
    try:
        return bytes(data_type.__arrow_ext_serialize__())
    except (AttributeError, NotImplementedError):
        return str(data_type).encode()


def _field(field: Any, walk: Walk) -> bytes:
    return pack(
        "field",
        atom(field.name),
        encode_type(field.type, walk),
        atom(field.nullable),
        _metadata(field.metadata),
    )


def _schema(schema: Any, walk: Walk) -> bytes:
    fields = [_field(field, walk) for field in schema]
    return pack("schema", _metadata(schema.metadata), *fields)


def _metadata(metadata: dict[bytes, bytes] | None) -> bytes:
    if not metadata:
        return b""
    parts = []
    # The order of the keys is that in which they were set.
    for key in sorted(metadata):
        value = metadata[key]
        if key == b"pandas":
            value = _without_versions(value)
        parts += [key, value]
    return pack_all("metadata", parts)


def _without_versions(text: bytes) -> bytes:
    """Return pandas' notes on a table without the versions of who wrote them."""
    try:
        notes = json.loads(text)
        notes.pop("creator", None)
        notes.pop("pandas_version", None)
    except (ValueError, AttributeError):
        return text
    return json.dumps(notes, sort_keys=True).encode()


# values


def encode_arrow(values: Any, walk: Walk) -> bytes:
    """Return the encoding of the cells of an array or chunked array."""
    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    return _encode_chunks(values.type, chunks, walk)


def encode_text(values: Any) -> bytes:
    """Return the encoding of the cells of strings or bytes."""
    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    return _text(chunks)


def _encode_chunks(data_type: Any, chunks: list[Any], walk: Walk) -> bytes:
    types = pa.types
    if isinstance(data_type, pa.BaseExtensionType):
        stored = [chunk.storage for chunk in chunks]
        return _encode_chunks(data_type.storage_type, stored, walk)
    if types.is_null(data_type):
        return pack("null", atom(sum(map(len, chunks))))
    if types.is_dictionary(data_type):
        return _dictionary(data_type, chunks, walk)
    if types.is_run_end_encoded(data_type):
        decoded = [pc.run_end_decode(chunk) for chunk in chunks]
        return _encode_chunks(data_type.value_type, decoded, walk)
    if _is_view(data_type):
        large = pa.large_binary() if "binary" in str(data_type) else pa.large_string()
        return _text([chunk.cast(large) for chunk in chunks])
    if _is_text(data_type):
        return _text(chunks)
    if types.is_boolean(data_type):
        return _booleans(chunks)
    if types.is_struct(data_type):
        return _struct(data_type, chunks, walk)
    if types.is_fixed_size_list(data_type) or _is_list(data_type):
        return _lists(data_type, chunks, walk)
    if not data_type.num_fields and data_type.bit_width % 8 == 0:
        return _fixed(data_type, chunks, walk)
    return _one_by_one(chunks, walk)


def _is_view(data_type: Any) -> bool:
    types = pa.types
    return bool(types.is_string_view(data_type) or types.is_binary_view(data_type))


def _is_text(data_type: Any) -> bool:
    types = pa.types
    is_text = types.is_string(data_type) or types.is_large_string(data_type)
    return bool(
        is_text or types.is_binary(data_type) or types.is_large_binary(data_type)
    )


def _is_list(data_type: Any) -> bool:
    types = pa.types
    return bool(types.is_list(data_type) or types.is_large_list(data_type))


def _valid(chunk: Any) -> np.ndarray:
    """Return which cells hold a value, from the bits of the chunk's validity."""
    validity = chunk.buffers()[0] if chunk.null_count else None
    if validity is None:
        return np.ones(len(chunk), np.bool_)
    first, start = divmod(chunk.offset, 8)
    last = (chunk.offset + len(chunk) + 7) // 8
    stored = np.frombuffer(validity, np.uint8)[first:last]
    bits = np.unpackbits(stored, bitorder="little")
    return bits[start : start + len(chunk)].view(np.bool_)


def _nulls(chunks: list[Any]) -> bytes:
    """Return the encoding of where nulls are, and of the number of cells."""
    return _encode_validity(chunks, [_valid(chunk) for chunk in chunks])


def _encode_validity(chunks: list[Any], validities: list[np.ndarray]) -> bytes:
    n_cells = atom(sum(map(len, chunks)))
    if not any(chunk.null_count for chunk in chunks):
        return pack("nulls", n_cells, b"")
    # Packed again, whatever the chunks: eight cells to a byte.
    packed = np.packbits(np.concatenate(validities), bitorder="little")
    return pack("nulls", n_cells, hashlib.sha256(packed.data).digest())


def _text(chunks: list[Any]) -> bytes:
    data, short, long = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    validities = [_valid(chunk) for chunk in chunks]
    for chunk, valid in zip(chunks, validities, strict=True):
        if not len(chunk):
            continue
        offsets = _offsets(chunk)
        if chunk.null_count and _has_text_below_nulls(offsets, valid):
            chunk = pc.fill_null(chunk, "" if "string" in str(chunk.type) else b"")
            offsets = _offsets(chunk)
        # In pieces that stay in the processor's cache.
        for start in range(0, len(chunk), _PIECE):
            lengths = np.diff(offsets[start : start + _PIECE + 1])
            # A byte a length; the few that are longer follow in full.
            short.update(np.minimum(lengths, _MANY).astype(np.uint8).data)
            if lengths.max() >= _MANY:
                long.update(lengths[lengths >= _MANY].astype("<i8").data)
        if offsets[-1] > offsets[0]:
            data.update(memoryview(chunk.buffers()[2])[offsets[0] : offsets[-1]])
    parts = [data.digest(), short.digest(), long.digest()]
    return pack("text", _encode_validity(chunks, validities), *parts)


def _has_text_below_nulls(offsets: np.ndarray, valid: np.ndarray) -> bool:
    """Return whether the buffer has text for a null, which is no part of the data."""
    for start in range(0, len(valid), _PIECE):
        lengths = np.diff(offsets[start : start + _PIECE + 1])
        if (lengths * ~valid[start : start + _PIECE]).any():
            return True
    return False


def _offsets(chunk: Any) -> np.ndarray:
    """Return where in the buffer the cells start, and where the last one ends."""
    is_large = str(chunk.type).startswith("large")
    offsets = np.frombuffer(chunk.buffers()[1], "<i8" if is_large else "<i4")
    return offsets[chunk.offset : chunk.offset + len(chunk) + 1]


def _booleans(chunks: list[Any]) -> bytes:
    hasher = hashlib.sha256()
    for chunk in chunks:
        filled = pc.fill_null(chunk, False) if chunk.null_count else chunk
        hasher.update(filled.to_numpy(zero_copy_only=False).data)
    return pack("booleans", _nulls(chunks), hasher.digest())


def _fixed(data_type: Any, chunks: list[Any], walk: Walk) -> bytes:
    width = data_type.bit_width // 8
    is_float = pa.types.is_floating(data_type)
    cells = np.dtype(f"<f{width}" if is_float else f"V{width}") if width else None
    hashed = []
    for chunk in chunks:
        if not len(chunk) or cells is None:
            continue
        values = np.frombuffer(chunk.buffers()[1], cells)
        values = values[chunk.offset : chunk.offset + len(chunk)]
        # What the buffer has below a null is no part of the data.
        if chunk.null_count:
            values = np.where(_valid(chunk), values, np.zeros(1, cells))
        hashed.append(values)
    return pack("fixed", _nulls(chunks), _hash_all(hashed))


def _hash_all(arrays: list[np.ndarray]) -> bytes:
    hasher = hashlib.sha256()
    for values in arrays:
        update(hasher, values)
    return hasher.digest()


def _dictionary(data_type: Any, chunks: list[Any], walk: Walk) -> bytes:
    # The dictionary counts, as pandas makes categories of it.
    whole = pa.chunked_array(chunks, type=data_type).unify_dictionaries()
    if whole.num_chunks == 0:
        dictionary = pa.array([], data_type.value_type)
    else:
        dictionary = whole.chunk(0).dictionary
    indices = [chunk.indices.cast(pa.int64()) for chunk in whole.chunks]
    return pack(
        "dictionary",
        _encode_chunks(data_type.value_type, [dictionary], walk),
        _encode_chunks(pa.int64(), indices, walk),
    )


def _struct(data_type: Any, chunks: list[Any], walk: Walk) -> bytes:
    # Flattened: nulls of the struct are nulls of its fields too.
    flat = [chunk.flatten() for chunk in chunks]
    parts = [_nulls(chunks)]
    for number in range(data_type.num_fields):
        inner = [fields[number] for fields in flat]
        parts.append(_encode_chunks(data_type.field(number).type, inner, walk))
    return pack_all("struct", parts)


def _lists(data_type: Any, chunks: list[Any], walk: Walk) -> bytes:
    hasher = hashlib.sha256()
    # The lengths tell [[1], [2]] from [[1, 2]], whose cells are the same.
    for chunk in chunks:
        lengths = pc.fill_null(pc.list_value_length(chunk), 0).cast(pa.int64())
        hasher.update(lengths.to_numpy(zero_copy_only=False))
    inner = [pc.list_flatten(chunk) for chunk in chunks]
    cells = _encode_chunks(data_type.value_type, inner, walk)
    return pack("lists", _nulls(chunks), hasher.digest(), cells)


def _one_by_one(chunks: list[Any], walk: Walk) -> bytes:
    parts = []
    for chunk in chunks:
        for scalar in chunk:
            # A cell of a union says which of the types it has.
            code = getattr(scalar, "type_code", None)
            parts.append(pack("cell", atom(code), walk.encode(scalar.as_py())))
    return pack_all("cells", parts)


# encoders


def _array(values: Any, walk: Walk) -> bytes:
    name = b"ChunkedArray" if isinstance(values, pa.ChunkedArray) else b"Array"
    kind = encode_type(values.type, walk)
    return pack("arrow", name, kind, encode_arrow(values, walk))


def _table(table: Any, walk: Walk) -> bytes:
    columns = [encode_arrow(column, walk) for column in table.columns]
    return pack(
        "table",
        type(table).__name__.encode(),
        _schema(table.schema, walk),
        atom(table.num_rows),
        *columns,
    )


def _scalar(value: Any, walk: Walk) -> bytes:
    cells = pa.array([value], type=value.type)
    kind = encode_type(value.type, walk)
    return pack("arrow scalar", kind, encode_arrow(cells, walk))


def _buffer(value: Any, walk: Walk) -> bytes:
    return pack("buffer", value.to_pybytes())


BASES: Final[tuple[tuple[type | tuple[type, ...], Encoder], ...]] = (
    ((pa.Table, pa.RecordBatch), _table),
    ((pa.Array, pa.ChunkedArray), _array),
    (pa.Scalar, _scalar),
    (pa.DataType, lambda value, walk: pack("arrow type", encode_type(value, walk))),
    (pa.Field, lambda value, walk: pack("arrow field", _field(value, walk))),
    (pa.Schema, lambda value, walk: pack("arrow schema", _schema(value, walk))),
    (pa.Buffer, _buffer),
)
"""Encoders of families of classes."""


# polars


def polars_encoder(kind: type) -> Encoder | None:
    """Return the encoder of a class of polars, ``None`` for all others."""
    if not kind.__module__.startswith("polars."):
        return None
    return _POLARS.get(kind.__name__)


def _polars_frame(frame: Any, walk: Walk) -> bytes:
    columns = [walk.encode_at(column, f"[{column.name!r}]") for column in frame]
    return pack("polars frame", atom(frame.height), *columns)


def _polars_series(series: Any, walk: Walk) -> bytes:
    dtype = repr(series.dtype).encode()
    if series.dtype.is_nested() or str(series.dtype) != "Object":
        cells = encode_arrow(_polars_arrow(series), walk)
    else:
        cells = encode_items(series.to_list(), walk)
    return pack("polars series", atom(series.name), dtype, cells)


def _polars_arrow(series: Any) -> Any:
    if str(series.dtype).startswith("Categorical"):
        # Its codes depend on other categories that the process has seen.
        return series.cast(str).to_arrow()
    return series.to_arrow()


def _polars_lazy(frame: Any, walk: Walk) -> bytes:
    raise UndigestibleError("LazyFrame", why="it was not computed")


_POLARS: Final[dict[str, Encoder]] = {
    "DataFrame": _polars_frame,
    "Series": _polars_series,
    "LazyFrame": _polars_lazy,
}
