"""One column as the cells of a plain file, and the specification that restores it.

The specification, or spec, is JSON: the dtype, the codec of text cells, the tokens of
missing cells, the categories.
"""

import decimal
from collections.abc import Mapping
from typing import Any, Final, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.extensions import ExtensionArray, take

from prefect_ds.frames.base import (
    MAX_CATEGORIES,
    NUMBER_DTYPES,
    Array,
    CellRules,
    JSONObject,
    UnkeepableError,
    array_from,
    array_of,
    is_object,
)
from prefect_ds.frames.codecs import CODECS, codec_name, encode_texts, strings
from prefect_ds.frames.dtypes import dtype_from_json, dtype_to_json
from prefect_ds.frames.missing import (
    MISSING,
    is_token,
    missing_kind,
    missing_kinds,
    tokens_for,
    with_tokens,
)
from prefect_ds.frames.zones import zone_library

_TEXT_ONLY: Final = CellRules(is_native=lambda values: False, missing=None)


def encode_column(values: Array, rules: CellRules) -> tuple[Array, JSONObject]:
    """Return the cells of one column and the spec that restores its values.

    Examples
    --------
    >>> text_only = CellRules(is_native=lambda values: False, missing="")
    >>> cells, spec = encode_column(np.array([0.5, 2.0]), text_only)
    >>> list(cells), spec
    (['0.5', '2.0'], {'dtype': 'float64', 'text': 'number'})
    """
    dtype = values.dtype
    if isinstance(dtype, pd.SparseDtype):
        # No file type has sparse columns.
        cells, spec = encode_column(values.to_dense(), rules)
        fill = array_from([dtype.fill_value], cast(Any, dtype.subtype))
        spec = {**spec, "sparse": array_to_json(fill)}
        # Most fill values are numbers of Python's: `Sparse[int64, 0]`.
        if isinstance(dtype.fill_value, np.generic):
            spec["numpy_fill"] = True
        return cells, spec
    if isinstance(dtype, pd.CategoricalDtype):
        return _encode_categorical(values, rules)
    if not rules.is_native(values):
        return _encode_text(values, rules.missing)
    spec = {"dtype": dtype_to_json(dtype)}
    # A file has one null for None, NaN, NaT and NA: the spec says which it was.
    if is_object(dtype):
        kinds = missing_kinds(np.asarray(values), pd.isna(values))
        if kinds:
            spec["missing"] = [[None, kind] for kind in kinds]
    # The same instants; the spec has the zone that Arrow cannot name.
    if isinstance(dtype, pd.DatetimeTZDtype) and not _has_arrow_zone(values):
        return values.tz_convert("UTC"), spec
    return values, spec


def decode_column(cells: Array, spec: Mapping[str, Any]) -> Array:
    """Return the values of one column from its cells.

    Raises
    ------
    UnkeepableError
        The cells do not fit the spec.
    """
    if "sparse" in spec:
        # As dense values first: the other keys of the spec are theirs.
        of_fill = ("sparse", "numpy_fill")
        dense_spec = {key: value for key, value in spec.items() if key not in of_fill}
        dense = pd.Series(decode_column(cells, dense_spec))
        fill = array_from_json(spec["sparse"])[0]
        if isinstance(fill, np.number | np.bool) and "numpy_fill" not in spec:
            fill = fill.item()
        return array_of(dense.astype(pd.SparseDtype(dense.dtype, fill)))
    if "categories" in spec:
        return _decode_categorical(cells, spec)
    if is_text(spec):
        return _decode_text(cells, spec)
    return _decode_native(cells, spec)


def is_text(spec: Mapping[str, Any]) -> bool:
    """Return whether the cells of a column are text rather than native."""
    return "text" in spec


def native_dtype(spec: Mapping[str, Any]) -> Any:
    """Return the dtype of a column whose cells are native."""
    return dtype_from_json(spec["dtype"])


def array_to_json(values: Array) -> JSONObject:
    """Return an array as JSON: its texts, and the spec that restores it.

    Examples
    --------
    >>> array_to_json(np.array([1, 2]))
    {'dtype': 'int64', 'text': 'number', 'cells': ['1', '2']}
    """
    cells, spec = encode_column(values, _TEXT_ONLY)
    return {**spec, "cells": strings(cells).to_pylist()}


def array_from_json(spec: Mapping[str, Any]) -> Array:
    """Return the array that `array_to_json` turned into this."""
    return decode_column(np.array(spec["cells"], dtype=object), spec)


def _decode_native(cells: Array, spec: Mapping[str, Any]) -> Array:
    dtype = native_dtype(spec)
    if isinstance(cells, pa.ChunkedArray):
        if is_object(dtype):
            values = np.fromiter(cells.to_pylist(), dtype=object, count=len(cells))
            # One kind at most: a column with several kinds is not native.
            for _, kind in spec.get("missing", []):
                values[np.asarray(cells.is_null())] = MISSING[kind]
            return array_from(values, object)
        if isinstance(dtype, pd.Float32Dtype | pd.Float64Dtype):
            # pandas would take NaN for NA.
            absent = np.asarray(cells.is_null())
            return pd.arrays.FloatingArray(cells.fill_null(0).to_numpy(), absent)
        if hasattr(dtype, "__from_arrow__"):
            return dtype.__from_arrow__(cells)
        # Without a copy, which most columns of a parquet file allow.
        if dtype in NUMBER_DTYPES:
            values = cells.to_numpy()
            # Nulls would have made floats of integers.
            if values.dtype == dtype:
                return values
        return array_of(cells.to_pandas().astype(dtype))
    series = pd.Series(cells, copy=False)
    if isinstance(dtype, pd.DatetimeTZDtype) and zone_library(dtype):
        # By UTC: a cast keeps the zone of that name in ``zoneinfo``, which is the same
        # one to pandas.
        in_utc = series.astype(cast(Any, f"datetime64[{dtype.unit}, UTC]"))
        return in_utc.dt.tz_convert(dtype.tz).array
    if series.dtype == dtype:
        return array_of(series)
    return array_of(series.astype(dtype))


def _has_arrow_zone(values: Array) -> bool:
    """Return whether Arrow can name the time zone of an array."""
    # The dtype decides, so that no values are needed.
    try:
        pa.array(pd.Series(values[:0]))
    except Exception:  # noqa: BLE001 - pyarrow raises whatever a zone's methods raise
        return False
    return True


# --- text -----------------------------------------------------------------------------


def _encode_text(values: Array, missing: str | None) -> tuple[Array, JSONObject]:
    """Return the cells of one column as text, missing ones as tokens.

    A token is a text that no other cell has, one for every kind of missing value. The
    texts of the present values and then the tokens make one list, from which every row
    takes its cell. For the objects ``["a", None, "b", nan, "a"]``:

    =========================  =========================
    row to present             0, -, 1, -, 2
    texts, then tokens         a, b, a, "", <NA>
    row to place in that list  0, 3, 1, 4, 2
    cells                      a, "", b, <NA>, a
    ``missing`` in the spec    ["", none], ["<NA>", nan]
    =========================  =========================
    """
    # Codecs see present values only, so that none needs to know the kinds of missing
    # ones. Most columns have none of those: no copy is made then.
    absent = pd.isna(values)
    has_absent = absent.any()
    present: Array = values[~absent] if has_absent else values
    codec = codec_name(present)
    texts = encode_texts(present, codec)
    spec: JSONObject = {"dtype": dtype_to_json(values.dtype), "text": codec}
    if not has_absent:
        return _text_array(texts), spec
    # Only objects have several kinds; for other dtypes the kind is in the dtype.
    kinds = ["nan"]
    if is_object(values.dtype):
        kinds = missing_kinds(np.asarray(values), absent)
    tokens = tokens_for(texts, kinds, missing)
    places = np.cumsum(~absent) - 1
    places[absent] = len(texts)
    # One by one, which only a column of objects with several kinds needs.
    if len(kinds) > 1:
        places[absent] += [kinds.index(missing_kind(value)) for value in values[absent]]
    cells = _text_array(with_tokens(texts, tokens).take(places))
    pairs = [list(pair) for pair in zip(tokens, kinds, strict=True)]
    return cells, {**spec, "missing": pairs}


def _decode_text(cells: Array, spec: Mapping[str, Any]) -> Array:
    """Return the values of text cells: decode the present ones, then fill the gaps."""
    dtype = dtype_from_json(spec["dtype"])
    try:
        texts = strings(cells)
        absent = np.zeros(len(texts), dtype=bool)
        gaps = []
        for token, kind in spec.get("missing", []):
            gap = is_token(texts, token)
            gaps.append((gap, kind))
            absent = absent | gap
        present = texts.filter(~absent) if absent.any() else texts
        # A null that no token explains: the file was changed.
        if present.null_count:
            raise ValueError("it is empty")
        values = CODECS[spec["text"]].decode(present, dtype)
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
    # The number of present values before a row is the position of its own; -1 makes
    # `take` put the dtype's own missing value there.
    row_to_present = np.where(absent, -1, np.cumsum(~absent) - 1)
    values = take(values, row_to_present, allow_fill=True)
    if is_object(dtype):
        for gap, kind in gaps:
            values[gap] = MISSING[kind]
    return values


def _text_array(texts: pa.Array) -> ExtensionArray:
    # The dtype that pandas 3 calls `str`.
    dtype: Any = pd.StringDtype(na_value=np.nan)
    return cast(ExtensionArray, dtype.__from_arrow__(texts))


# --- categories -----------------------------------------------------------------------


def _encode_categorical(values: Any, rules: CellRules) -> tuple[Array, JSONObject]:
    """Return the cells of a categorical column; the spec lists its categories.

    A code is the position of a row's category in that list, and -1 where it is missing.
    So the texts of the categories, with the token of missing cells behind the last one,
    give every row its cell. For the cells ``["b", None, "b"]`` of the categories
    ``["a", "b"]``:

    ======================  =============
    row to listed (codes)   1, -1, 1
    texts and token         a, b | ""
    cells                   b, "", b
    ======================  =============
    """
    categories = values.categories
    listed = array_to_json(array_of(categories))
    spec: JSONObject = {"ordered": bool(values.ordered), "categories": listed}
    # Names of other kinds are left out: `compare` does not look at them.
    if type(categories.name) in (str, int, bool):
        spec["categories_name"] = categories.name
    # The schema is read on every hit. Sorted and used ones follow from the cells.
    if len(categories) > MAX_CATEGORIES:
        n_used = len(np.unique(values.codes[values.codes >= 0]))
        if not categories.is_monotonic_increasing or n_used < len(categories):
            raise UnkeepableError(
                f"{len(categories):,} categories are too many for the schema "
                "unless they are sorted and all are used"
            )
        del listed["cells"]
    if rules.is_native(values):
        return values, spec
    codec = codec_name(array_of(categories))
    texts = encode_texts(array_of(categories), codec)
    is_missing = values.codes < 0
    token = None
    if is_missing.any():
        [token] = tokens_for(texts, ["nan"], rules.missing)
    # The token is behind the last category.
    places = np.where(is_missing, len(texts), values.codes)
    cells = _text_array(with_tokens(texts, [token]).take(places))
    return cells, {**spec, "text": True, "missing": token}


def _decode_categorical(cells: Any, spec: Mapping[str, Any]) -> Any:
    if is_text(spec):
        values = _decode_text_categorical(cells, spec)
    else:
        values = _decode_native_categorical(cells, spec)
    values.categories.name = spec.get("categories_name")
    return values


def _decode_native_categorical(cells: Any, spec: Mapping[str, Any]) -> Any:
    listed = spec["categories"]
    if isinstance(cells, pa.ChunkedArray):
        cells = cells.to_pandas()
    values = pd.Categorical(cells)
    # Unused categories and their order are in the schema alone.
    if "cells" in listed:
        categories = pd.Index(array_from_json(listed), copy=False)
    else:
        used = values.remove_unused_categories().categories
        categories = used.astype(dtype_from_json(listed["dtype"])).sort_values()
    return values.set_categories(categories, ordered=spec["ordered"])


def _decode_text_categorical(cells: Any, spec: Mapping[str, Any]) -> Any:
    """Return a categorical column from its texts.

    Rows lead to distinct texts, and those to the list of categories. For the cells
    ``b, "", b`` of the example above:

    ============================  ===============
    row to distinct               0, 1, 0
    distinct texts                b, "" (missing)
    distinct to listed [a, b]     1, -1
    row to listed (codes)         1, -1, 1
    ============================  ===============

    Where the schema lists no categories, the distinct texts are the list, sorted.
    """
    if isinstance(cells, pd.Categorical):
        texts = pa.array(cells, from_pandas=True)
    else:
        texts = strings(cells)
    # The distinct texts are few: only they are decoded and looked up.
    encoded = texts.dictionary_encode()
    row_to_distinct = encoded.indices.fill_null(-1).to_numpy()
    distinct = encoded.dictionary.to_numpy(zero_copy_only=False)
    is_category = distinct != spec["missing"]
    listed = spec["categories"]
    is_listed = "cells" in listed
    if not is_listed:
        listed = {**listed, "cells": list(distinct[is_category])}
    categories = pd.Index(array_from_json(listed), copy=False)
    distinct_to_listed = pd.Index(listed["cells"], dtype=object).get_indexer(
        pd.Index(distinct, dtype=object)
    )
    unknown = is_category & (distinct_to_listed < 0)
    if unknown.any():
        raise UnkeepableError(
            f"the file holds {distinct[unknown][0]!r}, which is no category"
        )
    if not is_listed:
        order = categories.argsort()
        categories = categories.take(order)
        # The inverse of an order, which argsort gives, says where a category went.
        distinct_to_listed = np.argsort(order)[distinct_to_listed]
    # The last one is for rows that lead to -1: their cells are null.
    codes = np.append(distinct_to_listed, -1)[row_to_distinct]
    dtype = pd.CategoricalDtype(categories, ordered=spec["ordered"])
    return pd.Categorical.from_codes(codes, dtype=dtype)
