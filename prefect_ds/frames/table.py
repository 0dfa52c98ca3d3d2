"""A frame as a flat table that a plain file can hold, and the schema that turns the table back into the frame.

The table has unique string labels and no index of its own: index levels stand as its
first columns. A cell is either *native*, as the file type holds it, or readable text:
ISO dates, decimal numbers, JSON for nested objects. Frames are rebuilt by position, so
a file type is free to alter labels.
"""

import base64
import datetime
import decimal
import importlib
import itertools
import json
import re
import uuid
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.api.extensions import ExtensionArray, take
from pandas.tseries.frequencies import to_offset

JSONObject: TypeAlias = dict[str, Any]
"""A dict of str, int, float, bool, None and lists and dicts of those."""
Array: TypeAlias = Any
"""A one-dimensional numpy array or pandas extension array: what ``Series.array`` and ``Index.array`` stand for."""

MAX_CATEGORIES: Final = 10_000
"""More categories than this are not listed in a schema; they are found again in the data."""

_UNITS: Final = ("D", "s", "ms", "us", "ns")
_UTC_SUFFIX: Final = "+00:00"


class UnkeepableError(ValueError):
    """A frame has no table form, or a table does not fit its schema."""


@dataclass(frozen=True, slots=True)
class CellRules:
    """What the cells of one file type hold."""

    is_native: Callable[[Array], bool]
    """Whether the file type gives an array back with its values intact; the dtype is restored by the schema."""
    missing: str | None
    """How a missing cell of text is written where no cell says the same; ``None``: as the file type's own null."""
    identifiers: bool = False
    """Whether labels must be identifiers of at most 32 characters."""


# --------------------------------------------------------------------------------------------------------------
# frames


def to_table(
    frame: pd.DataFrame, rules: CellRules, *, with_default_index: bool = False
) -> tuple[pd.DataFrame, JSONObject]:
    """Return the table form of a frame and its schema.

    Parameters
    ----------
    frame
        Any frame; it is not changed.
    rules
        What the cells of the file type hold.
    with_default_index
        Whether a default ``RangeIndex`` becomes a column like any other index.

    Returns
    -------
    table : pandas.DataFrame
        Index levels, then columns; a default ``RangeIndex`` is left out unless asked
        for, or the table would be empty. Its columns have a native dtype or ``str``.
    schema : dict
        JSON-serialisable; `from_table` needs it.

    Raises
    ------
    UnkeepableError
        A value has no readable text from which it could be restored.
    """
    index_cells, index = _encode_row_index(
        frame.index, rules, with_default=with_default_index or frame.shape[1] == 0
    )
    encoded = [_encode(array_of(column), rules) for _, column in frame.items()]
    column_labels = _labels(frame.columns, rules, taken=())
    index_labels = _labels(
        ["index" if name is None and frame.index.nlevels == 1 else f"level_{i}" if name is None else name
         for i, name in enumerate(frame.index.names)][: len(index_cells)],
        rules,
        taken=column_labels,
    )  # fmt: skip
    cells = [*index_cells, *(cell for cell, _ in encoded)]
    table = _frame_of(cells, pd.RangeIndex(len(frame)))
    table.columns = pd.Index([*index_labels, *column_labels], dtype="str")
    schema = {
        "n_rows": len(frame),
        "index": index,
        "columns": [spec for _, spec in encoded],
        "labels": index_to_json(frame.columns),
    }
    if not frame.flags.allows_duplicate_labels:
        schema["allows_duplicate_labels"] = False
    if frame.attrs:
        schema["attrs"] = _checked_json(frame.attrs, "the frame's attrs")
    return table, schema


def with_index(table: pd.DataFrame, schema: Mapping[str, Any]) -> pd.DataFrame:
    """Return a table with its index as an index, which Parquet marks as such for other readers."""
    if (n_index := n_index_columns(schema)) == 0:
        return table
    labels = list(table.columns[:n_index])
    names = [
        None if name is None else label
        for name, label in zip(schema["index"]["names"], labels, strict=True)
    ]
    if n_index > 1:
        return table.set_index(labels).rename_axis(names)
    cells = table.iloc[
        :, 0
    ].array  # Not by set_index, which looks at all values for a range.
    return table.iloc[:, 1:].set_axis(
        pd.Index(cells, dtype=cells.dtype, name=names[0], copy=False)
    )


def is_object(dtype: Any) -> bool:
    """Return whether cells of a dtype are any Python objects."""
    return isinstance(dtype, np.dtype) and dtype.kind == "O"


def array_of(values: "pd.Series[Any] | pd.Index[Any]") -> Array:
    """Return the values of a series or index: a numpy array where pandas has no own kind of array for the dtype."""
    is_numpy = isinstance(values.dtype, np.dtype) and values.dtype.kind not in "mM"
    return values.to_numpy() if is_numpy else values.array


def _array(values: Any, dtype: Any) -> Array:
    return array_of(pd.Series(values, dtype=dtype, copy=False))


def is_default_index(index: pd.Index) -> bool:
    """Return whether an index is the one that pandas makes by itself."""
    return isinstance(index, pd.RangeIndex) and (
        index.start,
        index.step,
        index.name,
    ) == (0, 1, None)


def n_index_columns(schema: Mapping[str, Any]) -> int:
    """Return how many leading columns of the table hold the index."""
    return len(schema["index"]["levels"])


def column_specs(schema: Mapping[str, Any]) -> list[JSONObject]:
    """Return the specification of each column of the table, index levels first."""
    return [*schema["index"]["levels"], *schema["columns"]]


def is_text(spec: Mapping[str, Any]) -> bool:
    """Return whether the cells of a column are text rather than native."""
    return "text" in spec


def native_dtype(spec: Mapping[str, Any]) -> Any:
    """Return the dtype of a column whose cells are native."""
    return _dtype_from_json(spec["dtype"])


def from_table(cells: Sequence[Array], schema: Mapping[str, Any]) -> pd.DataFrame:
    """Return the frame that a table and its schema stand for.

    Parameters
    ----------
    cells
        The columns of the table as they were read; text columns as any array of
        strings, in which a null stands where the rules had ``missing=None``.
    schema
        As `to_table` made it.

    Raises
    ------
    UnkeepableError
        The table does not fit the schema.
    """
    n_rows, specs = schema["n_rows"], column_specs(schema)
    if len(cells) != len(specs) or any(len(column) != n_rows for column in cells):
        found = (
            f"{len(cells)} columns of {sorted({len(column) for column in cells})} rows"
        )
        raise UnkeepableError(
            f"the file holds {found}, not the {len(specs)} columns of {n_rows} rows written"
        )
    arrays = [_decode(column, spec) for column, spec in zip(cells, specs, strict=True)]
    n_index = n_index_columns(schema)
    index = _decode_row_index(arrays[:n_index], schema["index"], n_rows)
    frame = _frame_of(map(_writable, arrays[n_index:]), index)
    frame.columns = _decode_index(schema["labels"])
    frame.attrs.update(schema.get("attrs", {}))
    cast(Any, frame).flags.allows_duplicate_labels = schema.get(
        "allows_duplicate_labels", True
    )
    return frame


def _frame_of(arrays: Iterable[Array], index: pd.Index) -> pd.DataFrame:
    # By series, because pandas would guess another dtype for an array of objects.
    series = {
        i: pd.Series(array, index=index, dtype=array.dtype, copy=False)
        for i, array in enumerate(arrays)
    }
    return pd.DataFrame(series, index=index, copy=False)


def _writable(array: Array) -> Array:
    """Return an array around which a frame can be changed in place; what pandas and pyarrow give often cannot."""
    below = [
        getattr(array, name, None)
        for name in ("_ndarray", "_data", "_mask", "_left", "_right")
    ]
    is_writable = all(
        each.flags.writeable for each in (array, *below) if isinstance(each, np.ndarray)
    )
    return array if is_writable else array.copy()


def difference(left: pd.DataFrame, right: pd.DataFrame) -> str | None:
    """Return in a few words how two frames differ, or ``None`` where they are the same in every respect.

    Stricter than `pandas.testing.assert_frame_equal`: exact floats, the sign of zero,
    attrs, and the types and reprs of objects count as well.
    """
    if type(left) is not type(right):
        return f"a {type(left).__name__} comes back as a {type(right).__name__}"
    if left.shape != right.shape:
        return f"{left.shape[0]} rows and {left.shape[1]} columns come back as {right.shape[0]} and {right.shape[1]}"
    if left.attrs != right.attrs:
        return "its attrs change"
    if left.flags != right.flags:
        return "its flags change"
    for labels, other, what in (
        (left.columns, right.columns, "the column labels"),
        (left.index, right.index, "the index"),
    ):
        if (change := _index_difference(labels, other)) is not None:
            return f"{what}: {change}"
    for i, label in enumerate(left.columns):
        if (
            change := _array_difference(
                array_of(left.iloc[:, i]), array_of(right.iloc[:, i])
            )
        ) is not None:
            return f"column {label!r}: {change}"
    return None


def _index_difference(left: pd.Index, right: pd.Index) -> str | None:
    if list(map(repr, left.names)) != list(map(repr, right.names)):
        return f"the names {list(left.names)} come back as {list(right.names)}"
    if left.nlevels != right.nlevels:
        return f"{left.nlevels} levels come back as {right.nlevels}"
    if getattr(left, "freq", None) != getattr(right, "freq", None):
        return "the freq is lost"
    for level in range(left.nlevels):
        change = _array_difference(
            array_of(left.get_level_values(level)),
            array_of(right.get_level_values(level)),
        )
        if change is not None:
            return change
    if isinstance(left, pd.MultiIndex) and isinstance(right, pd.MultiIndex):
        for ours, theirs in zip(_known_levels(left), _known_levels(right), strict=True):
            if len(ours) != len(theirs) or _index_difference(ours, theirs) is not None:
                return "its levels change"
    try:
        pd.testing.assert_index_equal(left, right, exact="equiv")
    except (AssertionError, ValueError, TypeError):
        return "its levels change"
    return None


def _array_difference(left: Array, right: Array) -> str | None:
    if left.dtype != right.dtype:
        return f"{left.dtype} comes back as {right.dtype}"
    if isinstance(left.dtype, pd.DatetimeTZDtype) and _is_pytz(left.dtype) != _is_pytz(
        right.dtype
    ):
        return "its time zone comes back as one of another library"
    if isinstance(left.dtype, pd.CategoricalDtype):
        categories = _array_difference(
            array_of(left.categories), array_of(right.categories)
        )
        if categories is not None or left.dtype.ordered != right.dtype.ordered:
            return "other categories come back"
        return (
            None
            if np.array_equal(left.codes, right.codes)
            else "other values come back"
        )
    if isinstance(left.dtype, np.dtype) and not is_object(left.dtype):
        return _number_difference(np.asarray(left), np.asarray(right))
    if isinstance(left.dtype, pd.StringDtype):
        return None if left.equals(right) else "other values come back"
    try:
        ours, theirs = (
            pd.Series(values, dtype=left.dtype, copy=False) for values in (left, right)
        )
        pd.testing.assert_series_equal(ours, theirs, check_exact=True)
    except (
        AssertionError,
        ValueError,
        TypeError,
    ):  # the last two: cells without a plain ``==``
        return "other values come back"
    if is_object(left.dtype):
        # repr tells 1 from True, -0.0 from 0.0, a list from a tuple, at any depth.
        same = (
            type(a) is type(b) and repr(a) == repr(b)
            for a, b in zip(left, right, strict=True)
        )
        return None if all(same) else "other objects come back"
    return None


def _number_difference(left: np.ndarray, right: np.ndarray) -> str | None:
    """Compare two arrays of one dtype of numbers or times."""
    if left.dtype.kind not in "fc":
        ours, theirs = (
            values.view("i8") if values.dtype.kind in "mM" else values
            for values in (left, right)
        )
        return None if np.array_equal(ours, theirs) else "other values come back"
    if left.dtype.kind == "c":
        left, right = (np.stack([values.real, values.imag]) for values in (left, right))
    if not np.array_equal(left, right, equal_nan=True):
        return "other values come back"
    is_number = ~np.isnan(left)
    if not np.array_equal(np.signbit(left) & is_number, np.signbit(right) & is_number):
        return "a zero loses its sign"
    return None


# --------------------------------------------------------------------------------------------------
# labels and indexes


def _labels(
    labels: Iterable[Hashable], rules: CellRules, taken: Iterable[str]
) -> list[str]:
    """Return unique strings for labels: as they are where they already are."""
    used = set(taken)
    result = []
    for label in labels:
        plain = "_".join(map(str, label)) if isinstance(label, tuple) else str(label)
        if rules.identifiers:
            plain = re.sub(r"\W|^(?=\d)|^$", "_", plain, flags=re.ASCII)[:32]
        unique, n = plain, 1
        while unique in used:
            unique, n = f"{plain[:24] if rules.identifiers else plain}_{n}", n + 1
        used.add(unique)
        result.append(unique)
    return result


def _encode_row_index(
    index: pd.Index, rules: CellRules, with_default: bool
) -> tuple[list[Array], JSONObject]:
    schema: JSONObject = {
        "names": [_encode_name(name) for name in index.names],
        "levels": [],
    }
    if isinstance(index, pd.RangeIndex):
        schema["range"] = [index.start, index.stop, index.step]
        if is_default_index(index) and not with_default:
            return [], schema
    elif (freq := getattr(index, "freq", None)) is not None and not isinstance(
        index, pd.PeriodIndex
    ):
        schema["freq"] = freq.freqstr
    if isinstance(index, pd.MultiIndex):
        schema["multi"] = _levels_to_json(index)
    encoded = [
        _encode(array_of(index.get_level_values(i)), rules)
        for i in range(index.nlevels)
    ]
    schema["levels"] = [spec for _, spec in encoded]
    return [cells for cells, _ in encoded], schema


def _decode_row_index(
    arrays: list[Array], schema: Mapping[str, Any], n_rows: int
) -> pd.Index:
    names = [_decode_name(name) for name in schema["names"]]
    if "range" in schema:
        start, stop, step = schema["range"]
        index: pd.Index = pd.RangeIndex(start, stop, step, name=names[0])
        if len(index) != n_rows:
            raise UnkeepableError(
                f"the schema has an index of {len(index)} rows for {n_rows} rows"
            )
        return index
    return _build_index(arrays, names, schema)


def index_to_json(index: pd.Index) -> JSONObject:
    """Return an index as JSON, its values included."""
    schema: JSONObject = {"names": [_encode_name(name) for name in index.names]}
    if isinstance(index, pd.RangeIndex):
        return {**schema, "range": [index.start, index.stop, index.step]}
    if (freq := getattr(index, "freq", None)) is not None and not isinstance(
        index, pd.PeriodIndex
    ):
        schema["freq"] = freq.freqstr
    if isinstance(index, pd.MultiIndex):
        schema["multi"] = _levels_to_json(index)
    return {
        **schema,
        "levels": [
            _encode_to_json(array_of(index.get_level_values(i)))
            for i in range(index.nlevels)
        ],
    }


def _decode_index(schema: Mapping[str, Any]) -> pd.Index:
    names = [_decode_name(name) for name in schema["names"]]
    if "range" in schema:
        start, stop, step = schema["range"]
        return pd.RangeIndex(start, stop, step, name=names[0])
    return _build_index(
        [_decode_from_json(level) for level in schema["levels"]], names, schema
    )


def _build_index(
    arrays: list[Array], names: list[Hashable], schema: Mapping[str, Any]
) -> pd.Index:
    if "multi" in schema:
        # Earlier versions listed no levels.
        listed = [None] * len(arrays) if schema["multi"] is True else schema["multi"]
        levels, codes = zip(*map(_build_level, arrays, listed), strict=True)
        return pd.MultiIndex(levels=levels, codes=codes, names=names)
    return _with_freq(
        pd.Index(arrays[0], dtype=arrays[0].dtype, name=names[0], copy=False), schema
    )


def _levels_to_json(index: pd.MultiIndex) -> list[JSONObject | None]:
    """Return for each level the values that it knows, in its order; ``None`` where its cells tell: sorted, all used.

    ``unstack``, slices and ``groupby`` go by a level's own order, and by values that no
    row has.
    """
    listed: list[JSONObject | None] = []
    for i, level in enumerate(_known_levels(index)):
        codes = index.codes[i]
        is_told = (
            np.count_nonzero(np.bincount(codes[codes >= 0])) == len(level)
            and level.is_monotonic_increasing
            and level.dtype == index.get_level_values(i).dtype
            and not isinstance(level.dtype, pd.CategoricalDtype)
            and getattr(level, "freq", None) is None
        )
        if is_told or len(level) <= MAX_CATEGORIES:
            listed.append(None if is_told else index_to_json(level.rename(None)))
        else:
            listed.append(
                {
                    name: each
                    for name, each in index_to_json(level[:0]).items()
                    if name == "freq"
                }
                or None
            )
    return listed


def _known_levels(index: pd.MultiIndex) -> list[pd.Index]:
    """Return the levels of an index, without what no row has where there is too much of it to keep."""
    if all(len(level) <= MAX_CATEGORIES for level in index.levels):
        return list(index.levels)
    used = index.remove_unused_levels().levels
    return [
        few if len(level) > MAX_CATEGORIES else level
        for level, few in zip(index.levels, used, strict=True)
    ]


def _build_level(
    array: Array, listed: Mapping[str, Any] | None
) -> tuple[pd.Index, np.ndarray]:
    """Return a level of a MultiIndex and where each cell stands in it."""
    # By factors, because ``from_arrays`` would guess the dtype of objects.
    values = pd.Index(array, dtype=array.dtype, copy=False)
    if listed is None or "levels" not in listed:
        try:
            codes, level = pd.factorize(values, sort=True)
        except TypeError:
            codes, level = pd.factorize(values)
        return _with_freq(level, listed or {}), codes
    level = _decode_index(listed)
    codes, found = pd.factorize(values)
    positions = level.get_indexer(found)
    if (positions < 0).any():
        raise UnkeepableError(
            f"the file holds {found[positions < 0][0]!r}, which its level of the index does not have"
        )
    return level, np.append(positions, -1)[codes]


def _with_freq(index: Any, schema: Mapping[str, Any]) -> pd.Index:
    if "freq" in schema:
        index.freq = to_offset(schema["freq"])
    return cast("pd.Index[Any]", index)


def _encode_name(name: Hashable) -> Any:
    """Return the name of an index or of its level as JSON: plain values as they are, others as a list of one cell."""
    if name is None or type(name) in (str, int, bool):
        return name
    values = np.empty(1, dtype=object)
    values[0] = list(name) if type(name) is tuple else name
    return {
        "tuple" if type(name) is tuple else "name": _encode_to_json(
            _array(values, dtype=object)
        )
    }


def _decode_name(name: Any) -> Hashable:
    if not isinstance(name, dict):
        return cast(Hashable, name)
    ((kind, spec),) = name.items()
    value = _decode_from_json(spec)[0]
    return tuple(value) if kind == "tuple" else cast(Hashable, value)


def _checked_json(value: Any, what: str) -> Any:
    """Return a JSON-serialisable copy of a value that JSON gives back as it is."""
    try:
        copy = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UnkeepableError(f"{what} cannot be kept as JSON: {error}") from error
    if repr(copy) != repr(value):
        raise UnkeepableError(f"{what} would change in JSON")
    return copy


# --------------------------------------------------------------------------------------------------------------
# dtypes


def _dtype_to_json(dtype: Any) -> Any:
    if isinstance(dtype, pd.StringDtype):
        return {
            "string": dtype.storage,
            "na": "NA" if dtype.na_value is pd.NA else "nan",
        }
    if isinstance(dtype, pd.ArrowDtype):
        schema = pa.schema([("", dtype.pyarrow_dtype)])
        return {
            "arrow": str(dtype.pyarrow_dtype),
            "ipc": base64.b64encode(schema.serialize()).decode(),
        }
    name = str(dtype)
    if isinstance(dtype, pd.DatetimeTZDtype) and _is_pytz(dtype):
        return {"pytz": str(dtype.tz), "unit": dtype.unit}
    try:
        same = pd.api.types.pandas_dtype(name) == dtype
    except (TypeError, ValueError, KeyError):
        same = False
    if not same:
        raise UnkeepableError(f"no name gives the dtype {name} back")
    return name


def _is_pytz(dtype: pd.DatetimeTZDtype) -> bool:
    """Return whether a zone is one of pytz, which pandas takes to be equal to that of ``zoneinfo`` of its name."""
    return (
        type(dtype.tz).__module__.partition(".")[0] == "pytz"
        and getattr(dtype.tz, "zone", None) is not None
    )


def _dtype_from_json(spec: Any) -> Any:
    if isinstance(spec, str):
        return pd.api.types.pandas_dtype(spec)
    if "string" in spec:
        return pd.StringDtype(
            spec["string"], na_value=pd.NA if spec["na"] == "NA" else np.nan
        )
    if "pytz" in spec:
        return pd.DatetimeTZDtype(
            spec["unit"], importlib.import_module("pytz").timezone(spec["pytz"])
        )
    return pd.ArrowDtype(
        pa.ipc.read_schema(pa.py_buffer(base64.b64decode(spec["ipc"]))).field(0).type
    )


# -------------------------------------------------------------------------------------------------------------
# columns


def _encode(values: Array, rules: CellRules) -> tuple[Array, JSONObject]:
    """Return the cells of one column and what restores its values from them."""
    dtype = values.dtype
    if isinstance(dtype, pd.SparseDtype):
        cells, spec = _encode(values.to_dense(), rules)
        fill = _encode_to_json(
            _array([dtype.fill_value], dtype=cast(Any, dtype.subtype))
        )
        return cells, {**spec, "sparse": fill}
    if isinstance(dtype, pd.CategoricalDtype):
        return _encode_categorical(values, rules)
    if rules.is_native(values):
        spec = {"dtype": _dtype_to_json(dtype)}
        if is_object(dtype) and (
            kinds := _missing_kinds(np.asarray(values), pd.isna(values))
        ):
            spec["missing"] = [[None, kind] for kind in kinds]
        return values, spec
    return _encode_text(values, rules.missing)


def _decode(cells: Array, spec: Mapping[str, Any]) -> Array:
    """Return the values of one column."""
    if "sparse" in spec:
        dense = pd.Series(
            _decode(
                cells, {key: value for key, value in spec.items() if key != "sparse"}
            )
        )
        fill = _decode_from_json(spec["sparse"])[0]
        return array_of(dense.astype(pd.SparseDtype(dense.dtype, fill)))
    if "categories" in spec:
        return _decode_categorical(cells, spec)
    if is_text(spec):
        return _decode_text(cells, spec)
    return _decode_native(cells, spec)


def _decode_native(cells: Array, spec: Mapping[str, Any]) -> Array:
    dtype = native_dtype(spec)
    if isinstance(cells, pa.ChunkedArray):
        if is_object(dtype):
            values = np.fromiter(cells.to_pylist(), dtype=object, count=len(cells))
            for _, kind in spec.get("missing", []):
                values[np.asarray(cells.is_null())] = _MISSING[kind]
            return _array(values, dtype=object)
        if hasattr(dtype, "__from_arrow__"):
            return dtype.__from_arrow__(cells)
        return array_of(cells.to_pandas().astype(dtype))
    series = pd.Series(cells, copy=False)
    if isinstance(dtype, pd.DatetimeTZDtype) and _is_pytz(dtype):
        return (
            series.astype(cast(Any, f"datetime64[{dtype.unit}, UTC]"))
            .dt.tz_convert(dtype.tz)
            .array
        )
    return array_of(series if series.dtype == dtype else series.astype(dtype))


def _encode_categorical(values: Any, rules: CellRules) -> tuple[Array, JSONObject]:
    categories = values.categories
    listed = _encode_to_json(array_of(categories))
    spec: JSONObject = {"ordered": bool(values.ordered), "categories": listed}
    if len(categories) > MAX_CATEGORIES:
        if not (
            categories.is_monotonic_increasing
            and len(np.unique(values.codes[values.codes >= 0])) == len(categories)
        ):
            raise UnkeepableError(
                f"{len(categories):,} categories are too many for the schema unless they are sorted and all are used"
            )
        del listed["cells"]
    if rules.is_native(values):
        return values, spec
    codec = _codec(array_of(categories))
    texts = _encode_present(array_of(categories), codec)
    [token] = (
        _tokens(texts, ["nan"], rules.missing) if (values.codes < 0).any() else [None]
    )
    codes = np.where(values.codes < 0, len(texts), values.codes)
    return _text_array(_with_tokens(texts, [token]).take(codes)), {
        **spec,
        "text": True,
        "missing": token,
    }


def _decode_categorical(cells: Any, spec: Mapping[str, Any]) -> Any:
    listed = spec["categories"]
    if not is_text(spec):
        found = pd.Categorical(
            cells.to_pandas() if isinstance(cells, pa.ChunkedArray) else cells
        )
        if "cells" in listed:
            categories = pd.Index(_decode_from_json(listed), copy=False)
        else:
            used = found.remove_unused_categories().categories
            categories = used.astype(_dtype_from_json(listed["dtype"])).sort_values()
        return found.set_categories(categories, ordered=spec["ordered"])
    encoded = (
        pa.array(cells, from_pandas=True)
        if isinstance(cells, pd.Categorical)
        else strings(cells)
    )
    encoded = encoded.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy()
    texts = encoded.dictionary.to_numpy(zero_copy_only=False)
    is_category = texts != spec["missing"]
    listed = (
        listed if "cells" in listed else {**listed, "cells": list(texts[is_category])}
    )
    categories = pd.Index(_decode_from_json(listed), copy=False)
    positions = pd.Index(listed["cells"], dtype=object).get_indexer(
        pd.Index(texts, dtype=object)
    )
    if (unknown := is_category & (positions < 0)).any():
        raise UnkeepableError(
            f"the file holds {texts[unknown][0]!r}, which is no category"
        )
    if "cells" not in spec["categories"]:
        order = categories.argsort()
        categories, positions = categories.take(order), np.argsort(order)[positions]
    return pd.Categorical.from_codes(
        np.append(positions, -1)[codes],
        dtype=pd.CategoricalDtype(categories, ordered=spec["ordered"]),
    )


def _encode_to_json(values: Array) -> JSONObject:
    """Return an array as JSON: its texts and what restores them."""
    cells, spec = _encode(values, _TEXT_ONLY)
    return {**spec, "cells": strings(cells).to_pylist()}


def _decode_from_json(spec: Mapping[str, Any]) -> Array:
    return _decode(np.array(spec["cells"], dtype=object), spec)


# ----------------------------------------------------------------------------------------------------------------
# text

_MISSING: Final[dict[str, Any]] = {
    "none": None,
    "nan": np.nan,
    "NaT": pd.NaT,
    "NA": pd.NA,
}
_STRING: Final = pa.large_string()
_MISSING_TOKENS: Final = ("<NA>", "NaN", "None", "NULL", "missing")

_TEXT_ONLY: Final = CellRules(is_native=lambda values: False, missing=None)


def _encode_text(values: Array, missing: str | None) -> tuple[Array, JSONObject]:
    """Return the cells of one column as text, with one token for each kind of missing value among them."""
    absent = pd.isna(values)
    present: Array = values if not absent.any() else values[~absent]
    codec = _codec(present)
    texts = _encode_present(present, codec)
    spec: JSONObject = {"dtype": _dtype_to_json(values.dtype), "text": codec}
    if not absent.any():
        return _text_array(texts), spec
    kinds = (
        _missing_kinds(np.asarray(values), absent)
        if is_object(values.dtype)
        else ["nan"]
    )
    tokens = _tokens(texts, kinds, missing)
    places = np.cumsum(~absent) - 1
    places[absent] = len(texts)
    if len(kinds) > 1:
        places[absent] += [
            kinds.index(_missing_kind(value)) for value in values[absent]
        ]
    cells = _text_array(_with_tokens(texts, tokens).take(places))
    return cells, {
        **spec,
        "missing": [list(pair) for pair in zip(tokens, kinds, strict=True)],
    }


def _decode_text(cells: Array, spec: Mapping[str, Any]) -> Array:
    dtype = _dtype_from_json(spec["dtype"])
    try:
        texts = strings(cells)
        gaps = [
            (_is_token(texts, token), kind) for token, kind in spec.get("missing", [])
        ]
        absent = (
            np.logical_or.reduce([gap for gap, _ in gaps])
            if gaps
            else np.zeros(len(texts), dtype=bool)
        )
        present = texts.filter(~absent) if absent.any() else texts
        if present.null_count:
            raise ValueError("it is empty")
        values = _CODECS[spec["text"]].decode(present, dtype)
    except (
        TypeError,
        ValueError,
        pa.ArrowException,
        decimal.InvalidOperation,
    ) as error:
        raise UnkeepableError(
            f"a cell does not hold what the schema says: {error}"
        ) from error
    if not absent.any():
        return values
    values = take(values, np.where(absent, -1, np.cumsum(~absent) - 1), allow_fill=True)
    if is_object(dtype):
        for gap, kind in gaps:
            values[gap] = _MISSING[kind]
    return values


def _encode_present(values: Array, codec: str) -> pa.Array:
    """Return the texts of an array without missing values."""
    try:
        return strings(_CODECS[codec].encode(values))
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise UnkeepableError(f"its values have no text form: {error}") from error


def strings(values: Any) -> pa.Array:
    """Return an array or a list of str as an Arrow array, with nulls where cells are missing."""
    strings = (
        values
        if isinstance(values, pa.Array | pa.ChunkedArray)
        else pa.array(values, from_pandas=True)
    )
    if isinstance(strings, pa.ChunkedArray):
        strings = strings.combine_chunks()
    return strings.cast(_STRING)


def _text_array(texts: pa.Array) -> ExtensionArray:
    return cast(
        ExtensionArray, cast(Any, pd.StringDtype(na_value=np.nan)).__from_arrow__(texts)
    )


def _tokens(texts: pa.Array, kinds: list[str], missing: str | None) -> list[str | None]:
    """Return a text for each kind of missing value that no other cell has."""
    more = (
        token
        for i in itertools.count()
        for token in (_MISSING_TOKENS if i == 0 else (f"<NA {i}>",))
    )
    candidates = itertools.chain(
        [missing], (token for token in more if token != missing)
    )
    free = (
        token
        for token in candidates
        if token is None or not _is_token(texts, token).any()
    )
    return list(itertools.islice(free, len(kinds)))


def _is_token(texts: pa.Array, token: str | None) -> np.ndarray:
    """Return where texts are the token of a missing value."""
    found = (
        texts.is_null() if token is None else pc.equal(texts, token).fill_null(False)
    )
    return cast(np.ndarray, found.to_numpy(zero_copy_only=False))


def _with_tokens(texts: pa.Array, tokens: list[str | None]) -> pa.Array:
    return pa.concat_arrays([texts, pa.array(tokens, _STRING)])


def _missing_kind(value: Any) -> str:
    for kind, example in _MISSING.items():
        if value is example or (kind == "nan" and type(value) is float):
            return kind
    raise UnkeepableError(f"it holds a missing value of type {type(value).__name__}")


def _missing_kinds(values: np.ndarray, absent: Any) -> list[str]:
    return list(dict.fromkeys(_missing_kind(value) for value in values[absent]))


@dataclass(frozen=True, slots=True)
class _Codec:
    """How values become text and come back; missing values are left out before."""

    encode: Callable[[Array], Any]
    """Array without missing values to an array or list of str."""
    decode: Callable[[pa.Array, Any], Array]
    """Arrow array of str, and the dtype, to an array of that dtype."""


def _codec(values: Array) -> str:
    """Return the name of the codec for an array without missing values."""
    dtype = values.dtype
    if isinstance(dtype, pd.StringDtype):
        return "string"
    if isinstance(dtype, pd.ArrowDtype):
        return "nested arrow" if pa.types.is_nested(dtype.pyarrow_dtype) else "arrow"
    if isinstance(dtype, pd.PeriodDtype):
        return "period"
    if isinstance(dtype, pd.IntervalDtype):
        return "interval"
    if dtype.kind in "Mm":
        return "datetime" if dtype.kind == "M" else "timedelta"
    if dtype.kind in "biufc":
        return "complex" if dtype.kind == "c" else "number"
    if is_object(dtype):
        types = {type(value) for value in values}
        return _OBJECT_CODECS.get(types.pop(), "json") if len(types) == 1 else "json"
    raise UnkeepableError(f"values of dtype {dtype} have no text form")


def number_texts(values: Array) -> pa.Array:
    """Return numbers as the shortest decimal texts that give them back, "nan" among them."""
    array = pa.array(
        values.to_numpy(values.dtype.numpy_dtype)
        if isinstance(values.dtype, _MASKED)
        else np.asarray(values)
    )
    texts = array.cast(_STRING)
    if pa.types.is_floating(array.type):
        # Arrow writes 1.0 as "1", which other tools would take for an integer.
        whole = pc.match_substring_regex(texts, r"^-?\d+$")
        texts = pc.if_else(whole, joined(texts, ".0"), texts)
    return texts


def _text_to_number(texts: pa.Array, dtype: Any) -> Array:
    plain = dtype.numpy_dtype if isinstance(dtype, _MASKED) else dtype
    return _array(
        texts.cast(pa.from_numpy_dtype(plain)).to_numpy(zero_copy_only=False),
        dtype=dtype,
    )


def joined(*parts: Any) -> pa.Array:
    """Return the concatenation of texts, row by row; a plain str stands for a column of it."""
    return pc.binary_join_element_wise(
        *(
            pa.scalar(part, _STRING) if isinstance(part, str) else part
            for part in (*parts, "")
        )
    )


def _datetime_to_text(values: Any) -> Any:
    has_zone = isinstance(values.dtype, pd.DatetimeTZDtype)
    ticks = np.asarray(values.tz_convert(None) if has_zone else values)
    ticks = ticks.astype(f"M8[{_coarsest_unit(ticks)}]")
    if ((ticks >= _FIRST_DAY) & (ticks <= _LAST_DAY)).all():
        texts = pc.replace_substring(
            pa.array(ticks).cast(_STRING), " ", "T", max_replacements=1
        )
    else:
        texts = strings(np.datetime_as_string(ticks))
    return joined(texts, _UTC_SUFFIX) if has_zone else texts


def _text_to_datetime(texts: pa.Array, dtype: Any) -> Array:
    has_zone = isinstance(dtype, pd.DatetimeTZDtype)
    if has_zone:
        texts = pc.replace_substring(texts, _UTC_SUFFIX, "")
    unit = dtype.unit if has_zone else np.datetime_data(dtype)[0]
    try:
        ticks = texts.cast(pa.timestamp(unit)).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # Arrow knows years of four digits only
        ticks = np.array(texts.to_pylist(), dtype=f"M8[{unit}]")
    if not has_zone:
        return _array(ticks, dtype=dtype)
    return pd.DatetimeIndex(ticks).tz_localize("UTC").tz_convert(dtype.tz).array


_FIRST_DAY: Final = np.datetime64("0001-01-01")
_LAST_DAY: Final = np.datetime64("9999-12-30")


def _coarsest_unit(ticks: np.ndarray) -> str:
    """Return the largest unit that holds all of the datetimes or timedeltas exactly."""
    kind = ticks.dtype.kind
    return next(
        unit
        for unit in _UNITS
        if (ticks.astype(f"{kind}8[{unit}]").astype(ticks.dtype) == ticks).all()
    )


def _timedelta_to_text(values: Any) -> Any:
    ticks = np.asarray(values)
    unit = _coarsest_unit(ticks)
    return joined(number_texts(ticks.astype(f"m8[{unit}]").astype("int64")), f" {unit}")


def _text_to_timedelta(texts: pa.Array, dtype: Any) -> Array:
    if len(texts) == 0:
        return _array([], dtype=dtype)
    unit = texts[0].as_py().partition(" ")[2]
    count = pc.replace_substring(texts, f" {unit}", "").cast(pa.int64()).to_numpy()
    return _array(count.astype(f"m8[{unit}]").astype(dtype), dtype=dtype)


def _interval_to_text(values: Any) -> Any:
    left, right = (
        _encode_present(array_of(side), _codec(array_of(side)))
        for side in (values.left, values.right)
    )
    opening, closing = (
        ("[" if values.closed in ("left", "both") else "("),
        ("]" if values.closed in ("right", "both") else ")"),
    )
    return joined(opening, left, ", ", right, closing)


def _text_to_interval(texts: pa.Array, dtype: Any) -> Array:
    sides = (
        np.array([text[1:-1].split(", ") for text in texts.to_pylist()], dtype=object)
        .reshape(-1, 2)
        .T
    )
    codec = _CODECS[_codec(_array([], dtype=dtype.subtype))]
    left, right = (
        pd.Index(codec.decode(strings(side), dtype.subtype)) for side in sides
    )
    return pd.arrays.IntervalArray.from_arrays(
        left, right, closed=dtype.closed, dtype=dtype
    )


def _nested_to_text(values: Any) -> Any:
    return [
        json.dumps(value, ensure_ascii=False)
        for value in pa.chunked_array(values.__arrow_array__()).to_pylist()
    ]


def _text_to_nested(texts: pa.Array, dtype: Any) -> Array:
    return dtype.__from_arrow__(
        pa.array(map(json.loads, texts.to_pylist()), dtype.pyarrow_dtype)
    )


def _per_cell(encode: Callable[[Any], str], decode: Callable[[str], Any]) -> _Codec:
    """Return the codec of an object column whose cells are encoded one by one."""

    def decode_all(texts: pa.Array, dtype: Any) -> Array:
        return _array(
            np.fromiter(map(decode, texts.to_pylist()), dtype=object, count=len(texts)),
            dtype=object,
        )

    return _Codec(lambda values: list(map(encode, values)), decode_all)


_MASKED: Final = (
    *(getattr(pd, f"{sign}Int{bits}Dtype") for sign in ("", "U") for bits in (8, 16, 32, 64)),
    pd.Float32Dtype, pd.Float64Dtype, pd.BooleanDtype,
)  # fmt: skip

_CODECS: Final[dict[str, _Codec]] = {
    "string": _Codec(
        lambda values: values, lambda texts, dtype: dtype.__from_arrow__(texts)
    ),
    "number": _Codec(number_texts, _text_to_number),
    "complex": _Codec(
        lambda values: np.asarray(values).astype(str),
        lambda texts, dtype: _array(
            np.array(list(map(complex, texts.to_pylist())), dtype=dtype), dtype=dtype
        ),
    ),
    "datetime": _Codec(_datetime_to_text, _text_to_datetime),
    "timedelta": _Codec(_timedelta_to_text, _text_to_timedelta),
    "period": _Codec(
        lambda values: values.astype(str),
        lambda texts, dtype: pd.PeriodIndex(texts.to_pylist(), dtype=dtype).array,
    ),
    "interval": _Codec(_interval_to_text, _text_to_interval),
    "arrow": _Codec(
        lambda values: pa.chunked_array(values.__arrow_array__()),
        lambda texts, dtype: dtype.__from_arrow__(texts.cast(dtype.pyarrow_dtype)),
    ),
    "nested arrow": _Codec(_nested_to_text, _text_to_nested),
    "str": _per_cell(str, str),
    "bytes": _per_cell(bytes.hex, bytes.fromhex),
    "decimal": _per_cell(str, decimal.Decimal),
    "date": _per_cell(datetime.date.isoformat, datetime.date.fromisoformat),
    "time": _per_cell(datetime.time.isoformat, datetime.time.fromisoformat),
    "python datetime": _per_cell(
        datetime.datetime.isoformat, datetime.datetime.fromisoformat
    ),
    "uuid": _per_cell(str, uuid.UUID),
    "tuple": _per_cell(json.dumps, lambda text: tuple(json.loads(text))),
    "json": _per_cell(lambda value: json.dumps(value, ensure_ascii=False), json.loads),
}

_OBJECT_CODECS: Final[dict[type, str]] = {
    str: "str",
    bytes: "bytes",
    decimal.Decimal: "decimal",
    datetime.date: "date",
    datetime.time: "time",
    datetime.datetime: "python datetime",
    uuid.UUID: "uuid",
    tuple: "tuple",
}
