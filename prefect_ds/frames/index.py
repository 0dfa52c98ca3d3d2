"""An index as columns of a table and JSON, and back.

The values of a row index are columns of the table; its names, its freq and the levels
of a MultiIndex are in the schema. Column labels are in the schema altogether.
"""

from collections.abc import Hashable, Mapping
from typing import Any, cast

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from prefect_ds.frames.base import (
    MAX_CATEGORIES,
    Array,
    CellRules,
    JSONObject,
    UnkeepableError,
    array_from,
    array_of,
)
from prefect_ds.frames.cells import array_from_json, array_to_json, encode_column


def is_default_index(index: pd.Index) -> bool:
    """Return whether an index is the one that pandas makes by itself."""
    if not isinstance(index, pd.RangeIndex):
        return False
    return (index.start, index.step, index.name) == (0, 1, None)


def encode_row_index(
    index: pd.Index, rules: CellRules, with_default: bool
) -> tuple[list[Array], JSONObject]:
    """Return the columns of a row index and the schema that restores it.

    Examples
    --------
    >>> text_only = CellRules(is_native=lambda values: False, missing="")
    >>> cells, schema = encode_row_index(pd.RangeIndex(2, 8, 3), text_only, False)
    >>> [list(column) for column in cells], schema["range"]
    ([['2', '5']], [2, 8, 3])
    >>> encode_row_index(pd.RangeIndex(2), text_only, with_default=False)
    ([], {'names': [None], 'levels': [], 'range': [0, 2, 1]})
    """
    schema = _names_to_json(index)
    schema["levels"] = []
    schema.update(_kind_to_json(index))
    # A file of a person has no column of row numbers either.
    if is_default_index(index) and not with_default:
        return [], schema
    encoded = [
        encode_column(array_of(index.get_level_values(i)), rules)
        for i in range(index.nlevels)
    ]
    schema["levels"] = [spec for _, spec in encoded]
    return [cells for cells, _ in encoded], schema


def decode_row_index(
    arrays: list[Array], schema: Mapping[str, Any], n_rows: int
) -> pd.Index:
    """Return the row index of decoded columns and its schema."""
    if "range" not in schema:
        return _build_index(arrays, schema)
    # Not from its column, which may be in the file for other readers.
    index = _range_from_json(schema)
    if len(index) != n_rows:
        raise UnkeepableError(
            f"the schema has an index of {len(index)} rows for {n_rows} rows"
        )
    return index


def index_to_json(index: pd.Index) -> JSONObject:
    """Return an index as JSON, its values included.

    Examples
    --------
    >>> index_to_json(pd.Index([1, 2], name="n"))["levels"]
    [{'dtype': 'int64', 'text': 'number', 'cells': ['1', '2']}]
    """
    schema = {**_names_to_json(index), **_kind_to_json(index)}
    if "range" in schema:
        return schema
    schema["levels"] = [
        array_to_json(array_of(index.get_level_values(i))) for i in range(index.nlevels)
    ]
    return schema


def index_from_json(schema: Mapping[str, Any]) -> pd.Index:
    """Return the index that `index_to_json` turned into this."""
    if "range" in schema:
        return _range_from_json(schema)
    return _build_index(list(map(array_from_json, schema["levels"])), schema)


def known_levels(index: pd.MultiIndex) -> list[pd.Index]:
    """Return the levels of an index.

    From a level of many values, those that no row has are left out: they are too many
    to keep.
    """
    if all(map(_can_be_listed, index.levels)):
        return list(index.levels)
    used = index.remove_unused_levels().levels
    return [
        level if _can_be_listed(level) else few
        for level, few in zip(index.levels, used, strict=True)
    ]


def _can_be_listed(level: pd.Index) -> bool:
    """Return whether a schema has room for the values of a level, as for any range."""
    return isinstance(level, pd.RangeIndex) or len(level) <= MAX_CATEGORIES


def _kind_to_json(index: pd.Index) -> JSONObject:
    """Return the schema that restores the kind of an index: range, freq, levels."""
    if isinstance(index, pd.RangeIndex):
        return {"range": [index.start, index.stop, index.step]}
    schema: JSONObject = {}
    freq = getattr(index, "freq", None)
    # The freq of periods is in their dtype.
    if freq is not None and not isinstance(index, pd.PeriodIndex):
        schema["freq"] = freq.freqstr
    if isinstance(index, pd.MultiIndex):
        schema["multi"] = _levels_to_json(index)
    return schema


def _range_from_json(schema: Mapping[str, Any]) -> pd.RangeIndex:
    start, stop, step = schema["range"]
    return pd.RangeIndex(start, stop, step, name=name_from_json(schema["names"][0]))


def _build_index(arrays: list[Array], schema: Mapping[str, Any]) -> pd.Index:
    names = list(map(name_from_json, schema["names"]))
    if "multi" in schema:
        # Earlier versions listed no levels.
        listed = schema["multi"]
        if listed is True:
            listed = [None] * len(arrays)
        levels, codes = zip(*map(_build_level, arrays, listed), strict=True)
        return pd.MultiIndex(levels=levels, codes=codes, names=names)
    values = arrays[0]
    index = pd.Index(values, dtype=values.dtype, name=names[0], copy=False)
    return _with_freq(index, schema)


# --- levels of a MultiIndex -----------------------------------------------------------


def _levels_to_json(index: pd.MultiIndex) -> list[JSONObject | None]:
    """Return for every level the values that it knows, in its order.

    ``unstack``, slices and ``groupby`` go by a level's own order, and by values that no
    row has. A level is ``None`` where its column tells both: it is sorted, and rows
    have all of its values.

    Examples
    --------
    >>> pairs = pd.MultiIndex.from_product([["a", "b"], [1, 2]])
    >>> _levels_to_json(pairs)
    [None, None]
    >>> first, second = _levels_to_json(pairs[:2])  # no row has the "b"
    >>> first["levels"][0]["cells"], second
    (['a', 'b'], None)
    """
    listed: list[JSONObject | None] = []
    for i, level in enumerate(known_levels(index)):
        codes = index.codes[i]
        n_used = np.count_nonzero(np.bincount(codes[codes >= 0]))
        # The column gives its distinct values, sorted; that must be all of the level.
        is_in_column = (
            n_used == len(level)
            and level.is_monotonic_increasing
            and level.dtype == index.get_level_values(i).dtype
            and not isinstance(level.dtype, pd.CategoricalDtype)
            and getattr(level, "freq", None) is None
        )
        if is_in_column:
            listed.append(None)
        elif _can_be_listed(level):
            listed.append(index_to_json(level.rename(None)))
        else:
            # Too long to list: its freq is the one thing that the column lacks.
            empty = index_to_json(level[:0])
            has_freq = "freq" in empty
            listed.append({"freq": empty["freq"]} if has_freq else None)
    return listed


def _build_level(
    array: Array, listed: Mapping[str, Any] | None
) -> tuple[pd.Index, np.ndarray]:
    """Return a level of a MultiIndex, and for every row its position in the level.

    Rows lead to the distinct values of the column, and those to the values listed in
    the schema. For the column ``y, x, y`` and the listed level ``x, y, z``:

    ==================  =======
    row to distinct     0, 1, 0
    distinct            y, x
    distinct to listed  1, 0
    row to listed       1, 0, 1
    ==================  =======

    Where nothing is listed, the sorted distinct values are the level.
    """
    # By factors, because ``from_arrays`` would guess the dtype of objects.
    values = pd.Index(array, dtype=array.dtype, copy=False)
    if listed is None or not ("levels" in listed or "range" in listed):
        try:
            codes, level = pd.factorize(values, sort=True)
        except TypeError:
            # Values without an order stay as they come.
            codes, level = pd.factorize(values)
        return _with_freq(level, listed or {}), codes
    level = index_from_json(listed)
    row_to_distinct, distinct = pd.factorize(values)
    distinct_to_listed = level.get_indexer(distinct)
    unknown = distinct_to_listed < 0
    if unknown.any():
        raise UnkeepableError(
            f"the file holds {distinct[unknown][0]!r}, "
            "which its level of the index does not have"
        )
    # The last one is for missing values, which lead to -1.
    return level, np.append(distinct_to_listed, -1)[row_to_distinct]


def _with_freq(index: Any, schema: Mapping[str, Any]) -> pd.Index:
    if "freq" in schema:
        index.freq = to_offset(schema["freq"])
    return cast("pd.Index[Any]", index)


# --- names ----------------------------------------------------------------------------


def _names_to_json(index: pd.Index) -> JSONObject:
    return {"names": list(map(name_to_json, index.names))}


def name_to_json(name: Hashable) -> Any:
    """Return the name of an index or of a level as JSON.

    Plain values stay as they are, others become the only cell of an array.

    Examples
    --------
    >>> name_to_json("day"), list(name_to_json(("a", 1)))
    ('day', ['tuple'])
    """
    if name is None or type(name) in (str, int, bool):
        return name
    key, cell = "name", cast(Any, name)
    # By type: a named tuple is a name of its own kind.
    if type(name) is tuple:
        # As a list, which JSON has: the key says that it was a tuple.
        key, cell = "tuple", list(name)
    values = np.empty(1, dtype=object)
    values[0] = cell
    return {key: array_to_json(array_from(values, object))}


def name_from_json(name: Any) -> Hashable:
    """Return the name that `name_to_json` turned into this."""
    if not isinstance(name, dict):
        return cast(Hashable, name)
    ((key, spec),) = name.items()
    value = array_from_json(spec)[0]
    if key == "tuple":
        return tuple(value)
    return cast(Hashable, value)
