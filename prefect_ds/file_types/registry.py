"""The table of file types: what the cells of each hold, how its files are laid out, and how they are read."""

import csv
import datetime
import functools
import importlib
import importlib.util
import inspect
import io
import json
import pickle
import shutil
import tempfile
import threading
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, Final, TypeAlias
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather
import pyarrow.json
import pyarrow.orc
import pyarrow.parquet as pq
from pandas.io.common import get_handle, infer_compression

from prefect_ds.errors import FileTypeError
from prefect_ds.frames.base import Array, CellRules, JSONObject, array_of, is_object
from prefect_ds.frames.cells import is_text, native_dtype
from prefect_ds.frames.codecs import joined, number_texts, strings
from prefect_ds.frames.table import column_specs, n_index_columns, with_index

__all__ = [
    "FILE_TYPES",
    "FileType",
    "Kwargs",
    "file_type_named",
    "parameters",
    "read_plainly",
    "without",
    "write_plainly",
]

Kwargs: TypeAlias = Mapping[str, Any]

_pandas: Any = pd
"""For calls with ``**kwargs``, which no overload in pandas' stubs fits."""


@dataclass(frozen=True, slots=True)
class FileType:
    """A type of file that pandas both writes to and reads from a path."""

    name: str
    """As in ``DataFrame.to_<name>`` and ``pandas.read_<name>``."""
    rules: CellRules | None
    """What its cells hold; ``None`` where the file holds frames as they are."""
    write: Callable[[pd.DataFrame, JSONObject, BinaryIO, Kwargs], None]
    """Writes a table; gets the table, its schema, the file and the writer's keyword arguments."""
    read: Callable[[bytes, JSONObject, Kwargs], list[Array]]
    """Reads the columns of a table; gets the file's bytes, the schema and the reader's keyword arguments."""
    write_syntax: frozenset[str] = frozenset()
    """The writer's keyword arguments that change how a file is laid out, not what it says."""
    read_syntax: frozenset[str] = frozenset()
    """The reader's keyword arguments of that kind; any other means that the plain reader's answer is wanted."""
    mirrored: frozenset[str] = frozenset()
    """The writer's keyword arguments that the reader needs as well."""
    requires: Mapping[str, str] = field(default_factory=dict)
    """Import name to pip name of the packages it needs besides pandas and pyarrow."""
    more_write_kwargs: tuple[str, ...] = ()
    """``module:function`` that take the writer's ``**kwargs``."""
    more_read_kwargs: tuple[str, ...] = ()
    """``module:function`` that take the reader's ``**kwargs``."""
    complete: Callable[[dict[str, Any], dict[str, Any], str], None] = (
        lambda write, read, path: None
    )
    """Adds to the writer's and reader's keyword arguments what a path says."""
    index_kwarg: str | None = None
    """Tells a writer that adds a column for even a default index not to."""
    is_certain: Callable[[Any], bool] = lambda dtype: False
    """Whether the type is known to keep every value of a dtype, so that no read has to prove it."""


def without(kwargs: Kwargs, *names: str) -> dict[str, Any]:
    """Return keyword arguments but for those of some names."""
    return {name: value for name, value in kwargs.items() if name not in names}


@functools.cache
def parameters(target: str) -> frozenset[str]:
    """Return the names of the parameters of ``module:function``."""
    module, _, name = target.partition(":")
    function: Any = functools.reduce(
        getattr, name.split("."), importlib.import_module(module)
    )
    parameters = inspect.signature(function).parameters.values()
    return frozenset(
        parameter.name
        for parameter in parameters
        if parameter.kind is not parameter.VAR_KEYWORD
    )


# ----------------------------------------------------------------------------------------------------------------
# cells

_LARGEST: Final = float(np.finfo("float64").max)


def _is_number(values: Array) -> bool:
    return (
        isinstance(values.dtype, np.dtype)
        and values.dtype.kind in "biuf"
        and values.dtype.itemsize <= 8
    )


def _is_number_in(values: Array, largest: int, finite_below: float) -> bool:
    """Return whether an array holds numbers of which a file type keeps each."""
    if not _is_number(values):
        return False
    numbers = np.asarray(values)
    if numbers.dtype.kind == "b" or len(numbers) == 0:
        return True
    if numbers.dtype.kind == "f":
        return not (np.abs(numbers) > finite_below).any()
    return bool(-largest <= int(numbers.min()) and int(numbers.max()) <= largest)


def _is_csv_native(values: Array) -> bool:
    return _is_number(values) and values.dtype.name != "float16"


def _is_json_native(values: Array) -> bool:
    if values.dtype.name == "float16" or not _is_number_in(
        values, largest=2**63 - 1, finite_below=_LARGEST
    ):
        return False
    # pandas' parser calls numbers below the normal ones a range error.
    return (
        values.dtype.kind != "f"
        or not ((values != 0) & (np.abs(values) < np.finfo("float64").tiny)).any()
    )


def _is_excel_native(values: Array) -> bool:
    """Numbers that a double holds; datetimes in whole seconds from when Excel's calendar is right."""
    if isinstance(values.dtype, np.dtype) and values.dtype.kind == "M":
        ticks = np.asarray(values)[~pd.isna(values)]
        whole = (ticks.astype("M8[s]").astype(ticks.dtype) == ticks).all()
        return bool(
            whole
            and (ticks >= np.datetime64("1900-03-01")).all()
            and (ticks < np.datetime64("10000-01-01", "s")).all()
        )
    return _is_number_in(values, largest=2**53, finite_below=_LARGEST)


def _is_stata_native(values: Array) -> bool:
    # The largest numbers of each width stand for kinds of missing values.
    largest = 1.7e38 if values.dtype.name == "float32" else 8.9e307
    return values.dtype.name != "float16" and _is_number_in(
        values, largest=2**53, finite_below=largest
    )


def _is_arrow_native(values: Array) -> bool:
    dtype = values.dtype
    if is_object(dtype):
        return _is_arrow_object(values)
    if isinstance(dtype, pd.CategoricalDtype):
        return dtype.categories.dtype == "str"
    if isinstance(dtype, np.dtype):
        return dtype.kind in "biufMm" and dtype.isnative
    return hasattr(dtype, "__from_arrow__")


def _is_orc_native(values: Array) -> bool:
    dtype = values.dtype
    if is_object(dtype):
        return _is_arrow_object(values, _is_orc_type)
    if isinstance(dtype, np.dtype) and dtype.kind == "M":
        # Read back in nanoseconds, of which 64 bits hold 292 years to either side of
        # 1970.
        days = values[~pd.isna(values)].astype("M8[s]")
        return bool(
            (
                (days > pd.Timestamp.min.as_unit("s"))
                & (days < pd.Timestamp.max.as_unit("s"))
            ).all()
        )
    if isinstance(dtype, np.dtype):
        return dtype.kind in "bi" or dtype in ("float32", "float64")
    return isinstance(dtype, pd.StringDtype)


def _is_orc_type(arrow_type: pa.DataType) -> bool:
    is_instant = pa.types.is_temporal(arrow_type) and not pa.types.is_date32(arrow_type)
    return (
        not is_instant
        and not pa.types.is_null(arrow_type)
        and not isinstance(arrow_type, pa.BaseExtensionType)
    )


def _is_arrow_object(
    values: Array, has_type: Callable[[pa.DataType], bool] = lambda arrow_type: True
) -> bool:
    """Return whether Arrow gives Python objects back as they are, but for one kind of missing value among them."""
    absent = pd.isna(values)
    if len({type(value) for value in values[absent]}) > 1:
        return False
    try:
        array = pa.array(values[~absent], from_pandas=True)
        back = array.to_pylist()
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return False
    if not has_type(array.type):
        return False
    return all(
        type(a) is type(b) and repr(a) == repr(b)
        for a, b in zip(values[~absent], back, strict=True)
    )


def _is_arrow_certain(dtype: Any) -> bool:
    """Return whether Arrow's formats are known to keep every value of a dtype."""
    if isinstance(dtype, pd.CategoricalDtype):
        return bool(dtype.categories.dtype == "str")
    if isinstance(dtype, np.dtype):
        return dtype.isnative and (dtype.kind in "biu" or dtype.name in _CERTAIN_DTYPES)
    if isinstance(dtype, pd.DatetimeTZDtype):
        return dtype.unit != "s" and isinstance(
            dtype.tz, zoneinfo.ZoneInfo | datetime.timezone
        )
    return str(dtype) in _CERTAIN_DTYPES


_CERTAIN_DTYPES: Final = frozenset(
    {
        "float32",
        "float64",
        "datetime64[ms]",
        "datetime64[us]",
        "datetime64[ns]",
        "str",
        "boolean",
    }
    | {f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
)


# --------------------------------------------------------------------------------------------------
# readers and writers


def _write_csv(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    # The csv module leaves a lone carriage return unquoted, and readers take it for the
    # end of a row.
    texts = (column for _, column in table.items() if column.dtype == "str")
    risky = any(column.str.contains("\r", regex=False).any() for column in texts)
    table.to_csv(
        file,
        index=False,
        **({"quoting": csv.QUOTE_NONNUMERIC} if risky else {}) | dict(kwargs),
    )


def _read_csv(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    specs = column_specs(schema)
    frame = _pandas.read_csv(
        io.BytesIO(data),
        header=0,
        names=range(len(specs)),
        index_col=False,
        dtype={
            i: dtype
            for i, dtype in enumerate(map(_csv_dtype, specs))
            if dtype is not None
        },
        na_values={i: [""] for i, spec in enumerate(specs) if not is_text(spec)},
        keep_default_na=False,
        skip_blank_lines=False,
        float_precision="round_trip",
        engine="c",
        **without(kwargs, *_CSV_ENGINE),
    )
    return _arrays(frame)


def _csv_dtype(spec: JSONObject) -> Any:
    """Return what the parser makes of a column; ``None``: its own guess."""
    if not is_text(spec):
        return native_dtype(spec)
    if spec.get("text") == "datetime":
        return None  # the parser is faster at guessing that a date is text, which it always does, than at being told
    return "category" if "cells" in spec.get("categories", ()) else "str"


_CSV_ENGINE: Final = (
    "engine",
    "low_memory",
    "memory_map",
    "float_precision",
    "cache_dates",
)
_CSV_SYNTAX: Final = (
    "sep",
    "encoding",
    "quotechar",
    "escapechar",
    "doublequote",
    "decimal",
    "compression",
    "quoting",
    "lineterminator",
)


def _write_json(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    options = {
        "orient": "records",
        "force_ascii": False,
        "lines": False,
        **without(kwargs, "compression"),
    }
    if options == {
        "orient": "records",
        "force_ascii": False,
        "lines": options["lines"],
    }:
        content = _json_records(table, lines=options["lines"])
    else:
        content = _json_by_pandas(table, options)
    with get_handle(
        file, "wb", compression=kwargs.get("compression"), is_text=False
    ) as handles:
        handles.handle.write(content)


def _json_records(table: pd.DataFrame, *, lines: bool) -> bytes:
    """Return a JSON object for each row, on a line of its own."""
    if len(table) == 0:
        return b"" if lines else b"[]"
    names = (json.dumps(label, ensure_ascii=False) for label in table.columns)
    pairs = zip(names, map(_json_cells, _arrays(table)), strict=True)
    first, *others = (part for name, cells in pairs for part in (f",{name}:", cells))
    rows = joined("{" + first[1:], *others, "}\n" if lines else "},\n")
    # The texts of an Arrow array follow one another in memory: they are the content of
    # the file.
    _, offsets, content = rows.buffers()
    size = np.frombuffer(offsets, dtype="i8")[len(rows)]
    return (
        bytes(content[:size])
        if lines
        else b"[" + memoryview(content)[: size - 2] + b"]"
    )


def _json_cells(values: Array) -> pa.Array:
    """Return numbers or text as JSON."""
    if isinstance(values.dtype, np.dtype):
        texts = number_texts(values)
        return pc.if_else(pc.equal(texts, "nan"), pa.scalar("null", texts.type), texts)
    texts = strings(values)
    is_special = pc.match_substring_regex(texts, r'[\x00-\x1f"\\]').fill_null(False)
    if pc.any(is_special).as_py():
        escaped = [
            json.dumps(text, ensure_ascii=False)[1:-1]
            for text in texts.filter(is_special).to_pylist()
        ]
        texts = pc.replace_with_mask(texts, is_special, pa.array(escaped, texts.type))
    return joined('"', texts, '"').fill_null("null")


def _json_by_pandas(table: pd.DataFrame, options: Kwargs) -> bytes:
    # pandas writes 15 digits of a float. It gets them as text, between marks that take
    # the quotes away again.
    exact = table.copy(deep=False)
    for i, dtype in enumerate(table.dtypes):
        if dtype.kind == "f":
            column = table.iloc[:, i]
            texts = joined(_MARK, number_texts(array_of(column)), _MARK).to_numpy(
                zero_copy_only=False
            )
            exact.isetitem(
                i, pd.Series(texts, dtype=object).where(column.notna(), None).to_numpy()
            )
    text: str = _pandas.DataFrame.to_json(exact, **options)
    return (
        text.replace(f'"{_ESCAPED_MARK}', "").replace(f'{_ESCAPED_MARK}"', "").encode()
    )


_MARK, _ESCAPED_MARK = "\x1a\x1b", "\\u001a\\u001b"


def _read_json(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    options = {"orient": "records", **kwargs, "precise_float": True}
    if options["orient"] == "records" and not kwargs.keys() & {
        "encoding",
        "encoding_errors",
    }:
        with get_handle(
            io.BytesIO(data), "rb", compression=kwargs.get("compression"), is_text=False
        ) as handles:
            text = np.frombuffer(bytearray(handles.handle.read()), dtype="u1")
        ends = np.flatnonzero(text == ord("\n"))
        if options.get("lines"):
            return _read_json_lines(text, ends, schema)
        if len(ends) == schema["n_rows"] - 1:  # as _json_records wrote it
            text[ends - 1] = text[[0, -1]] = ord(" ")
            return _read_json_lines(text, ends, schema)
    frame = _pandas.read_json(
        io.BytesIO(data),
        dtype=False,
        convert_dates=False,
        convert_axes=False,
        **options,
    )
    return _arrays(frame)


def _read_json_lines(
    text: np.ndarray, ends: np.ndarray, schema: JSONObject
) -> list[Array]:
    """Return the columns of JSON objects, one a line, from the bytes and where their lines end."""
    names = json.loads(text[: ends[0] if len(ends) else None].tobytes())
    types = (
        pa.large_string() if is_text(spec) else pa.from_numpy_dtype(native_dtype(spec))
        for spec in column_specs(schema)
    )
    longest = int(np.diff(ends, prepend=0, append=len(text)).max())
    table = pyarrow.json.read_json(
        pa.BufferReader(pa.py_buffer(text)),
        pyarrow.json.ReadOptions(
            block_size=max(2**20, 2 * longest)
        ),  # a block holds at least one object
        pyarrow.json.ParseOptions(
            explicit_schema=pa.schema(list(zip(names, types, strict=True))),
            unexpected_field_behavior="error",
        ),
    )
    return list(table.columns)


def _write_parquet(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    # A dictionary of numbers costs more time than it saves space.
    repeating = [
        label
        for label, dtype in table.dtypes.items()
        if dtype == "str" or isinstance(dtype, pd.CategoricalDtype)
    ]
    dictionary = (
        {} if "column_encoding" in kwargs else {"use_dictionary": repeating or False}
    )
    options = {"engine": "pyarrow", "write_page_checksum": True, **dictionary, **kwargs}
    with_index(table, schema).to_parquet(
        file, index=n_index_columns(schema) > 0 or None, **options
    )


def _read_parquet(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    # The bytes have a checksum of their own, compared before: no need to compare those
    # of the pages.
    columns = pq.read_table(pa.BufferReader(data), **without(kwargs, "engine")).columns
    n_columns = len(columns) - n_index_columns(schema)
    return [*columns[n_columns:], *columns[:n_columns]]


def _write_feather(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    table.to_feather(file, **kwargs)


def _read_feather(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    return list(
        pyarrow.feather.read_table(
            pa.BufferReader(data), memory_map=False, **kwargs
        ).columns
    )


def _write_orc(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    _write_through_memory(table.to_orc, file, kwargs)


def _read_orc(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    return list(pyarrow.orc.read_table(pa.BufferReader(data)).columns)


def _write_through_memory(
    write: Callable[..., Any], file: BinaryIO, kwargs: Kwargs
) -> None:
    """Write to memory first: for writers that close their file, or end the process when its disk is full."""
    memory = io.BytesIO()
    write(memory, **kwargs)
    file.write(memory.getbuffer())


def _write_excel(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    table = table.copy(deep=False)
    for i, dtype in enumerate(table.dtypes):
        if dtype.kind == "f":
            # Excel has no negative zero, and takes the text for one.
            column = table.iloc[:, i]
            negative_zero = (column == 0) & np.signbit(column)
            if negative_zero.any():
                table.isetitem(
                    i, column.astype(object).mask(negative_zero, "-0.0").to_numpy()
                )
    memory = io.BytesIO()
    options = without(kwargs, "engine", "engine_kwargs")
    with pd.ExcelWriter(
        memory, engine=kwargs["engine"], engine_kwargs=kwargs.get("engine_kwargs")
    ) as writer:
        table.to_excel(writer, index=False, **options)
        if writer.engine == "openpyxl":
            _keep_cells_as_given(writer.book)
    file.write(memory.getbuffer())


def _keep_cells_as_given(book: Any) -> None:
    """Take back what openpyxl makes of cells: 16 digits of a float, formulas and errors of text that looks so."""
    for sheet in book.worksheets:
        for row in sheet.iter_rows():
            for cell in row:
                if type(cell.value) is float:
                    cell._value = repr(
                        cell.value
                    )  # its setter would make it a cell of text
                elif cell.data_type in ("f", "e"):
                    cell.data_type = "s"


def _read_excel(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    frame = _pandas.read_excel(
        io.BytesIO(data), dtype=object, na_filter=False, keep_default_na=False, **kwargs
    )
    # Excel knows no end of a table, so empty rows and columns at its ends are lost.
    specs = column_specs(schema)
    frame = frame.set_axis(range(frame.shape[1]), axis=1)
    frame = frame.reindex(
        index=range(schema["n_rows"]), columns=range(len(specs)), fill_value=""
    )
    for i, spec in enumerate(specs):
        if not is_text(spec):
            frame.isetitem(
                i, frame.iloc[:, i].where(lambda cells: cells != "", None).to_numpy()
            )
    return _arrays(frame)


def _write_hdf(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    # The fixed layout would pickle text, the table layout drops a table without rows.
    layout = "table" if len(table) else "fixed"
    _write_hdf_file(
        table, file, {"key": "data", "format": layout, "index": False, **kwargs}
    )


def _read_hdf(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    frame = _read_hdf_file(data, kwargs)
    # PyTables reads the text "nan" as missing; there are no missing cells in a table.
    specs = column_specs(schema)
    return [
        array.fillna("nan") if is_text(spec) else array
        for array, spec in zip(_arrays(frame), specs, strict=True)
    ]


def _write_hdf_file(frame: pd.DataFrame, file: BinaryIO, kwargs: Kwargs) -> None:
    with tempfile.TemporaryDirectory() as folder, _hdf_lock:
        path = Path(folder, "frame.h5")
        frame.to_hdf(path, **kwargs)
        with path.open("rb") as written:
            shutil.copyfileobj(written, file)


def _read_hdf_file(data: bytes, kwargs: Kwargs) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "frame.h5")
        path.write_bytes(data)
        with _values_only():
            return _pandas.read_hdf(path, **kwargs)


_hdf_lock: Final = threading.RLock()
"""PyTables is not for several threads at once."""


class _ValuesUnpickler(pickle.Unpickler):
    """Loads what pandas pickles into HDF5 files: text, numbers, dates, lists of them, and nothing that runs code."""

    _modules: Final = frozenset(
        {
            "numpy",
            "numpy.core.multiarray",
            "numpy._core.multiarray",
            "datetime",
            "decimal",
        }
    )
    _names: Final = frozenset(
        {
            "ndarray",
            "dtype",
            "scalar",
            "_reconstruct",
            "date",
            "time",
            "datetime",
            "timedelta",
            "timezone",
            "Decimal",
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        offset = (
            getattr(pd.tseries.offsets, name, None)
            if module == "pandas._libs.tslibs.offsets"
            else None
        )
        if offset is not None or (module in self._modules and name in self._names):
            return offset or super().find_class(module, name)
        raise _RefusedError(
            f"it holds a pickled {module}.{name}, and only file type pickle loads such"
        )


class _RefusedError(pickle.UnpicklingError):
    """A pickle holds more than values."""


@contextmanager
def _values_only() -> Iterator[None]:
    """Keep PyTables from running the code of a pickle while this thread reads a file.

    It unpickles attributes and arrays of objects as soon as it opens a file, with no
    way to tell it not to.
    """
    tables, here = importlib.import_module("tables"), threading.get_ident()
    refused: list[_RefusedError] = []

    def loads(data: bytes, **options: Any) -> Any:
        if threading.get_ident() != here:  # The user's own file.
            return pickle.loads(data, **options)
        try:
            return _ValuesUnpickler(io.BytesIO(data), **options).load()
        except _RefusedError as error:
            refused.append(error)  # PyTables goes on with the bytes.
            raise

    with _hdf_lock:
        guarded = SimpleNamespace(**{**vars(pickle), "loads": loads})
        try:
            tables.attributeset.pickle = tables.atom.pickle = guarded
            yield
        finally:
            tables.attributeset.pickle = tables.atom.pickle = pickle
            if refused:
                raise refused[0]


def _write_html(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    # pandas would cut text at the width of its display.
    with pd.option_context("display.max_colwidth", None):
        write_plainly("html", table, file, {"index": False, **kwargs})


def _read_html(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    as_text = dict.fromkeys(range(len(column_specs(schema))), str)
    (frame,) = _pandas.read_html(
        io.BytesIO(data),
        header=0,
        converters=as_text,
        thousands=None,
        keep_default_na=False,
        na_values=[],
        **{"encoding": "utf-8", **kwargs},
    )
    return _arrays(frame)


def _write_xml(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    table.to_xml(file, index=False, **kwargs)


def _read_xml(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    # pandas.read_xml strips blanks and takes "NA" for missing, with no way to tell it
    # not to.
    with get_handle(
        io.BytesIO(data), "rb", compression=kwargs.get("compression"), is_text=False
    ) as handles:
        root = ElementTree.parse(handles.handle).getroot()
    n_columns = len(column_specs(schema))
    cells = np.fromiter((cell.text or "" for row in root for cell in row), dtype=object)
    return list(cells.reshape(-1, n_columns).T)


def _write_stata(
    table: pd.DataFrame, schema: JSONObject, file: BinaryIO, kwargs: Kwargs
) -> None:
    long = [
        label
        for label, dtype in table.dtypes.items()
        if dtype == "str"
        and max(map(len, map(str.encode, table[label])), default=0) > 2045
    ]
    options = {"version": 118, "time_stamp": _EPOCH, "convert_strl": long, **kwargs}
    table.to_stata(file, write_index=False, **options)


_EPOCH: Final = datetime.datetime(1970, 1, 1)


def _read_stata(data: bytes, schema: JSONObject, kwargs: Kwargs) -> list[Array]:
    frame = _pandas.read_stata(
        io.BytesIO(data), convert_dates=False, convert_categoricals=False, **kwargs
    )
    return _arrays(frame)


def _unused(*arguments: Any) -> Any:
    raise NotImplementedError("a pickle holds frames, not tables")


def _arrays(frame: pd.DataFrame) -> list[Array]:
    return [array_of(frame.iloc[:, i]) for i in range(frame.shape[1])]


# --------------------------------------------------------------------------------------------
# plain readers and writers


def write_plainly(
    file_type: str, frame: pd.DataFrame, file: BinaryIO, kwargs: Kwargs
) -> None:
    """Write a frame as its method ``to_<file_type>`` does."""
    if file_type == "hdf":
        _write_hdf_file(frame, file, {"key": "data", **kwargs})
    elif file_type == "html":
        file.write(
            frame.to_html(**without(kwargs, "encoding")).encode(
                kwargs.get("encoding") or "utf-8"
            )
        )
    elif file_type in ("excel", "orc"):
        _write_through_memory(getattr(frame, f"to_{file_type}"), file, kwargs)
    else:
        getattr(frame, f"to_{file_type}")(file, **kwargs)


def read_plainly(file_type: str, data: bytes, kwargs: Kwargs) -> Any:
    """Return what ``pandas.read_<file_type>`` makes of a file's bytes."""
    if file_type == "hdf":
        return _read_hdf_file(data, kwargs)
    if file_type == "parquet":
        kwargs = {"page_checksum_verification": True, **kwargs}
    answer = getattr(_pandas, f"read_{file_type}")(io.BytesIO(data), **kwargs)
    if isinstance(answer, list):
        if len(answer) != 1:
            raise ValueError(
                f"the html file holds {len(answer)} tables; choose one by 'match' or 'attrs' in read_kwargs"
            )
        return answer[0]
    return answer


# ------------------------------------------------------------------------------------------
# completed keyword arguments


def _complete_compression(
    write: dict[str, Any], read: dict[str, Any], path: str
) -> None:
    """Say what pandas infers from a path, which it cannot do for an open file."""
    given = write.get("compression", "infer")
    options = dict(given) if isinstance(given, Mapping) else {"method": given}
    options["method"] = infer_compression(path, options.get("method", "infer"))
    if options["method"] == "gzip":
        options.setdefault(
            "mtime", 1
        )  # the time of writing would make the bytes of equal frames differ
    if options["method"] is None:
        write.pop("compression", None)
    else:
        write["compression"] = options
    if read.get("compression", "infer") == "infer":
        read["compression"] = options["method"]


def _complete_csv(write: dict[str, Any], read: dict[str, Any], path: str) -> None:
    _complete_compression(write, read, path)
    if "delimiter" in read:
        read.pop("sep", None)
    if write.get("quoting") == csv.QUOTE_NONE:
        read.setdefault("quoting", csv.QUOTE_NONE)
    if write.get("lineterminator") not in (None, "\n", "\r", "\r\n"):
        read.setdefault("lineterminator", write["lineterminator"])
    if "errors" in write:
        read.setdefault("encoding_errors", write["errors"])


def _require(file_type: str, packages: Mapping[str, str]) -> None:
    missing = [
        pip_name
        for module, pip_name in packages.items()
        if importlib.util.find_spec(module) is None
    ]
    if missing:
        raise FileTypeError(
            f"file type {file_type!r} needs a missing package: pip install {' '.join(missing)}"
        )


def _complete_excel(write: dict[str, Any], read: dict[str, Any], path: str) -> None:
    """Choose the engines by the ending of a path."""
    ending = Path(path).suffix.lower()
    if path and ending not in _EXCEL_ENGINES:
        raise FileTypeError(
            f"pandas cannot write an Excel file that ends in {ending!r}; use one of: {', '.join(_EXCEL_ENGINES)}"
        )
    engine = _EXCEL_ENGINES.get(ending, "openpyxl")
    _require("excel", {"odf": "odfpy"} if engine == "odf" else {"openpyxl": "openpyxl"})
    # pandas would prefer xlsxwriter, which keeps 16 digits of a float.
    write.setdefault("engine", engine)
    read.setdefault("engine", engine)


_EXCEL_ENGINES: Final = {".xlsx": "openpyxl", ".xlsm": "openpyxl", ".ods": "odf"}


# ----------------------------------------------------------------------------------------------------------------
# table

_PARQUET_WRITER: Final = ("pyarrow.parquet:write_table",)
_PARQUET_READER: Final = ("pyarrow.parquet:read_table",)
_PARQUET_CONTENT: Final = {
    "coerce_timestamps",
    "allow_truncated_timestamps",
    "flavor",
    "use_deprecated_int96_timestamps",
    "columns",
    "filters",
    "schema",
}

FILE_TYPES: Final[Mapping[str, FileType]] = {
    kind.name: kind
    for kind in (
        FileType(
            "csv",
            CellRules(_is_csv_native, missing=""),
            _write_csv,
            _read_csv,
            write_syntax=frozenset({*_CSV_SYNTAX, "errors", "chunksize", "na_rep"}),
            read_syntax=frozenset(
                {*_CSV_SYNTAX, *_CSV_ENGINE, "delimiter", "encoding_errors"}
            ),
            mirrored=frozenset(
                {"sep", "encoding", "quotechar", "escapechar", "doublequote", "decimal"}
            ),
            complete=_complete_csv,
            index_kwarg="index",
        ),
        FileType(
            "json",
            CellRules(_is_json_native, missing=None),
            _write_json,
            _read_json,
            write_syntax=frozenset(
                {"orient", "lines", "force_ascii", "indent", "compression"}
            ),
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
            complete=_complete_compression,
        ),
        FileType(
            "parquet",
            CellRules(_is_arrow_native, missing=None),
            _write_parquet,
            _read_parquet,
            write_syntax=parameters(*_PARQUET_WRITER) - _PARQUET_CONTENT | {"engine"},
            read_syntax=parameters(*_PARQUET_READER) - _PARQUET_CONTENT | {"engine"},
            more_write_kwargs=_PARQUET_WRITER,
            more_read_kwargs=_PARQUET_READER,
            is_certain=_is_arrow_certain,
        ),
        FileType(
            "feather",
            CellRules(_is_arrow_native, missing=None),
            _write_feather,
            _read_feather,
            write_syntax=frozenset(
                {"compression", "compression_level", "chunksize", "version"}
            ),
            read_syntax=frozenset({"use_threads"}),
            more_write_kwargs=("pyarrow.feather:write_feather",),
            is_certain=_is_arrow_certain,
        ),
        FileType(
            "orc",
            CellRules(_is_orc_native, missing=None),
            _write_orc,
            _read_orc,
            write_syntax=frozenset({"engine", "engine_kwargs"}),
        ),
        FileType(
            "excel",
            CellRules(_is_excel_native, missing=""),
            _write_excel,
            _read_excel,
            write_syntax=frozenset(
                {
                    "sheet_name",
                    "na_rep",
                    "freeze_panes",
                    "engine",
                    "engine_kwargs",
                    "merge_cells",
                    "autofilter",
                }
            ),
            read_syntax=frozenset({"sheet_name", "engine", "engine_kwargs"}),
            mirrored=frozenset({"sheet_name"}),
            complete=_complete_excel,
            index_kwarg="index",
        ),
        FileType(
            "hdf",
            CellRules(_is_csv_native, missing=""),
            _write_hdf,
            _read_hdf,
            write_syntax=frozenset(
                {
                    "key",
                    "complevel",
                    "complib",
                    "encoding",
                    "errors",
                    "format",
                    "min_itemsize",
                    "data_columns",
                }
            ),
            read_syntax=frozenset({"key", "errors"}),
            mirrored=frozenset({"key"}),
            requires={"tables": "tables"},
            more_read_kwargs=("pandas:HDFStore",),
        ),
        FileType(
            "html",
            CellRules(lambda values: False, missing="NaN"),
            _write_html,
            _read_html,
            write_syntax=frozenset(
                {
                    "col_space",
                    "na_rep",
                    "justify",
                    "bold_rows",
                    "classes",
                    "notebook",
                    "border",
                    "table_id",
                    "encoding",
                }
            ),
            read_syntax=frozenset({"flavor", "encoding"}),
            mirrored=frozenset({"encoding"}),
            requires={"lxml": "lxml"},
            index_kwarg="index",
        ),
        FileType(
            "xml",
            CellRules(lambda values: False, missing="", identifiers=True),
            _write_xml,
            _read_xml,
            write_syntax=frozenset(
                {
                    "root_name",
                    "row_name",
                    "na_rep",
                    "encoding",
                    "xml_declaration",
                    "pretty_print",
                    "parser",
                    "compression",
                }
            ),
            read_syntax=frozenset({"encoding", "parser", "compression"}),
            mirrored=frozenset({"encoding", "parser"}),
            requires={"lxml": "lxml"},
            complete=_complete_compression,
            index_kwarg="index",
        ),
        FileType(
            "stata",
            CellRules(_is_stata_native, missing="", identifiers=True),
            _write_stata,
            _read_stata,
            write_syntax=frozenset(
                {
                    "byteorder",
                    "time_stamp",
                    "data_label",
                    "version",
                    "convert_strl",
                    "compression",
                }
            ),
            read_syntax=frozenset({"compression"}),
            complete=_complete_compression,
            index_kwarg="write_index",
        ),
        FileType("pickle", None, _unused, _unused, complete=_complete_compression),
    )
}


def file_type_named(name: str) -> FileType:
    """Return an entry of `FILE_TYPES` whose packages are installed."""
    kind = FILE_TYPES.get(name.lower()) if isinstance(name, str) else None
    if kind is None:
        why = _NO_FILE_TYPES.get(
            str(name).lower(),
            "pandas does not both write it to a path and read it from one",
        )
        raise FileTypeError(
            f"file type {name!r} cannot be used: {why}. Use one of: {', '.join(FILE_TYPES)}"
        )
    _require(kind.name, kind.requires)
    return kind


_NO_PATH: Final = "it is no file at a path"
_READ_ONLY: Final = "pandas only reads it"
_WRITE_ONLY: Final = "pandas only writes it"
_NO_FILE_TYPES: Final = {
    **dict.fromkeys(
        ("clipboard", "sql", "sql_query", "sql_table", "iceberg"), _NO_PATH
    ),
    **dict.fromkeys(("fwf", "sas", "spss"), _READ_ONLY),
    "table": "pandas only reads it; csv with write_kwargs={'sep': '\\t'} is the same",
    "tsv": "pandas has no such type; csv with write_kwargs={'sep': '\\t'} is the same",
    "gbq": "pandas has no BigQuery functions since version 3",
    **dict.fromkeys(("latex", "markdown", "string"), _WRITE_ONLY),
    **dict.fromkeys(("dict", "numpy", "records", "xarray"), _NO_PATH),
    **dict.fromkeys(("xlsx", "xlsm", "ods"), "the type is called 'excel'"),
    "xls": "pandas cannot write it since version 2; use the type 'excel' with a path that ends in .xlsx",
}
