"""json: a list of records, one a line, with exact numbers."""

import io
import json
from typing import Any, BinaryIO, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from prefect_ds.file_types.base import (
    LARGEST_FLOAT,
    FileType,
    Kwargs,
    any_pandas,
    arrays_of,
    complete_compression,
    decompressed,
    ending_of,
    is_number_within,
    without,
    write_compressed,
)
from prefect_ds.frames.base import Array, CellRules, JSONObject, array_of
from prefect_ds.frames.cells import is_text, native_dtype
from prefect_ds.frames.codecs import joined, number_texts, strings
from prefect_ds.frames.table import column_specs
from prefect_ds.storage.checksum import Data

_MARK, _ESCAPED_MARK = "\x1a\x1b", "\\u001a\\u001b"
"""Around a number among texts; in no text of a table as these two characters."""


def _is_native(values: Array) -> bool:
    if values.dtype.name == "float16":
        return False
    if not is_number_within(values, largest=2**63 - 1, finite_below=LARGEST_FLOAT):
        return False
    if values.dtype.kind != "f":
        return True
    # pandas' parser calls numbers below the normal ones a range error.
    is_tiny = (values != 0) & (np.abs(values) < np.finfo("float64").tiny)
    return not is_tiny.any()


# --- writing --------------------------------------------------------------------------


def _write(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    # Only this layout is written here; all others are left to pandas.
    usual = {"orient": "records", "force_ascii": False}
    options = {**usual, "lines": False, **without(kwargs, "compression")}
    if without(options, "lines") == usual:
        content = _records(table, lines=options["lines"])
    else:
        content = _by_pandas(table, options)
    write_compressed(content, file, kwargs)


def _records(table: pd.DataFrame, *, lines: bool) -> bytes:
    """Return a JSON object for every row, on a line of its own.

    Arrow joins the columns of all rows at once, which is many times as fast as pandas.
    """
    if len(table) == 0:
        return b"" if lines else b"[]"
    names = (json.dumps(label, ensure_ascii=False) for label in table.columns)
    parts: list[Any] = []
    for name, values in zip(names, arrays_of(table), strict=True):
        parts += [f",{name}:", _cells(values)]
    # An object begins with a bracket in place of the first comma.
    parts[0] = "{" + parts[0][1:]
    parts.append("}\n" if lines else "},\n")
    rows = joined(*parts)
    # The texts of an Arrow array follow one another in memory: they are the content of
    # the file.
    _, offsets, content = rows.buffers()
    size = np.frombuffer(offsets, dtype="i8")[len(rows)]
    if lines:
        return bytes(content[:size])
    # Without the comma and the line end of the last object.
    return b"[" + memoryview(content)[: size - 2] + b"]"


def _cells(values: Array) -> pa.Array:
    """Return numbers or text as JSON."""
    if isinstance(values.dtype, np.dtype):
        texts = number_texts(values)
        return pc.if_else(pc.equal(texts, "nan"), pa.scalar("null", texts.type), texts)
    texts = strings(values)
    # Few texts have a character that JSON escapes: only those go through Python.
    is_special = pc.match_substring_regex(texts, r'[\x00-\x1f"\\]').fill_null(False)
    if pc.any(is_special).as_py():
        escaped = [
            json.dumps(text, ensure_ascii=False)[1:-1]
            for text in texts.filter(is_special).to_pylist()
        ]
        texts = pc.replace_with_mask(texts, is_special, pa.array(escaped, texts.type))
    return joined('"', texts, '"').fill_null("null")


def _by_pandas(table: pd.DataFrame, options: Kwargs) -> bytes:
    # pandas writes 15 digits of a float. It gets them as text, between marks that take
    # the quotes away again.
    exact = table.copy(deep=False)
    for i, dtype in enumerate(table.dtypes):
        if dtype.kind == "f":
            column = table.iloc[:, i]
            marked = joined(_MARK, number_texts(array_of(column)), _MARK)
            texts = pd.Series(marked.to_numpy(zero_copy_only=False), dtype=object)
            exact.isetitem(i, texts.where(column.notna(), None).to_numpy())
    text: str = any_pandas.DataFrame.to_json(exact, **options)
    text = text.replace(f'"{_ESCAPED_MARK}', "").replace(f'{_ESCAPED_MARK}"', "")
    return text.encode()


# --- reading --------------------------------------------------------------------------


def _read(data: Data, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    options = {"orient": "records", **kwargs, "precise_float": True}
    has_encoding = "encoding" in kwargs or "encoding_errors" in kwargs
    if options["orient"] == "records" and not has_encoding:
        # A copy of the bytes, which is changed below.
        text = np.frombuffer(bytearray(decompressed(data, kwargs)), dtype="u1")
        ends = np.flatnonzero(text == ord("\n"))
        if options.get("lines"):
            return _read_lines(text, ends, schema)
        # One object a line, as `_records` writes them: without the brackets and commas
        # these are JSON lines.
        if len(ends) == schema["n_rows"] - 1:
            text[ends - 1] = text[[0, -1]] = ord(" ")
            return _read_lines(text, ends, schema)
    frame = any_pandas.read_json(
        io.BytesIO(data),
        dtype=False,
        convert_dates=False,
        convert_axes=False,
        **options,
    )
    return arrays_of(frame)


def _read_lines(text: np.ndarray, ends: np.ndarray, schema: JSONObject) -> list[Array]:
    """Return the columns of JSON objects, one a line.

    Parameters
    ----------
    text
        The bytes.
    ends
        Where their lines end.
    schema
        Of the table.
    """
    first_line = text
    if len(ends):
        first_line = text[: ends[0]]
    # The labels in the file, which Arrow needs for the types of their columns.
    names = json.loads(first_line.tobytes())
    types = map(_arrow_type, column_specs(schema))
    longest = int(np.diff(ends, prepend=0, append=len(text)).max())
    # A block holds at least one object.
    block_size = max(2**20, 2 * longest)
    table = pyarrow.json.read_json(
        pa.BufferReader(pa.py_buffer(text)),
        pyarrow.json.ReadOptions(block_size=block_size),
        pyarrow.json.ParseOptions(
            explicit_schema=pa.schema(list(zip(names, types, strict=True))),
            unexpected_field_behavior="error",
        ),
    )
    return list(table.columns)


def _arrow_type(spec: JSONObject) -> pa.DataType:
    """Return the type in which a column is read."""
    if is_text(spec):
        return pa.large_string()
    return pa.from_numpy_dtype(native_dtype(spec))


def _complete(write: dict[str, Any], read: dict[str, Any], path: str) -> None:
    complete_compression(write, read, path)
    are_records = write.get("orient", "records") == "records"
    if ending_of(path) in _OBJECT_A_LINE and are_records and "lines" not in write:
        write["lines"] = True
        read.setdefault("lines", True)


_OBJECT_A_LINE: Final = (".jsonl", ".ndjson")

JSON: Final = FileType(
    name="json",
    endings=(".json", *_OBJECT_A_LINE),
    rules=CellRules(_is_native, missing=None),
    write=_write,
    read=_read,
    write_syntax=frozenset({"orient", "lines", "force_ascii", "indent", "compression"}),
    read_syntax=frozenset(
        {
            "orient",
            "lines",
            "encoding",
            "encoding_errors",
            "compression",
            "precise_float",
        }
    ),
    mirrored=frozenset({"orient", "lines"}),
    complete=_complete,
    is_compressible=True,
)
