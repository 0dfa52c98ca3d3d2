"""Values as readable text, and back: one codec for every kind of value.

A codec gets no missing values: `cells` leaves them out before.
"""

import datetime
import decimal
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from prefect_ds.frames.base import (
    Array,
    UnkeepableError,
    array_from,
    array_of,
    is_object,
)
from prefect_ds.frames.dtypes import MASKED_DTYPES

STRING: Final = pa.large_string()
"""Large, as an array of ``pa.string()`` holds at most 2 GiB of text."""

_UNITS: Final = ("D", "s", "ms", "us", "ns")
"""From coarse to fine."""

_UTC_SUFFIX: Final = "+00:00"

_FIRST_DAY: Final = np.datetime64("0001-01-01")
_LAST_DAY: Final = np.datetime64("9999-12-30")
"""Between these two, years have four digits, as Arrow needs them."""


@dataclass(frozen=True, slots=True)
class Codec:
    """How values become text and come back; missing values are left out before."""

    encode: Callable[[Array], Any]
    """Array without missing values to an array or list of str."""
    decode: Callable[[pa.Array, Any], Array]
    """Arrow array of str, and the dtype, to an array of that dtype."""


def codec_name(values: Array) -> str:
    """Return the name of the codec for an array without missing values.

    Examples
    --------
    >>> codec_name(pd.array([1.5], dtype="float64")), codec_name(pd.array(["a"]))
    ('number', 'string')
    """
    dtype = values.dtype
    if isinstance(dtype, pd.StringDtype):
        return "string"
    if isinstance(dtype, pd.ArrowDtype):
        is_nested = pa.types.is_nested(dtype.pyarrow_dtype)
        return "nested arrow" if is_nested else "arrow"
    if isinstance(dtype, pd.PeriodDtype):
        return "period"
    if isinstance(dtype, pd.IntervalDtype):
        return "interval"
    if dtype.kind == "M":
        return "datetime"
    if dtype.kind == "m":
        return "timedelta"
    if dtype.kind == "c":
        return "complex"
    if dtype.kind in "biuf":
        return "number"
    if is_object(dtype):
        # By type, not by isinstance: a subclass would come back as its base.
        types = {type(value) for value in values}
        if len(types) == 1:
            return _OBJECT_CODECS.get(types.pop(), "json")
        return "json"
    raise UnkeepableError(f"values of dtype {dtype} have no text form")


def encode_texts(values: Array, codec: str) -> pa.Array:
    """Return the texts of an array without missing values.

    Raises
    ------
    UnkeepableError
        The codec has no text for one of them.
    """
    try:
        return strings(CODECS[codec].encode(values))
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise UnkeepableError(f"its values have no text form: {error}") from error


def strings(values: Any) -> pa.Array:
    """Return an array or a list of str as an Arrow array; missing cells are nulls."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        texts = values
    else:
        texts = pa.array(values, from_pandas=True)
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    return texts.cast(STRING)


def joined(*parts: Any) -> pa.Array:
    """Return texts concatenated row by row; a plain str counts for every row.

    Examples
    --------
    >>> joined("<", pa.array(["a", "b"], STRING), ">").to_pylist()
    ['<a>', '<b>']
    """
    columns = [
        pa.scalar(part, STRING) if isinstance(part, str) else part for part in parts
    ]
    separator = pa.scalar("", STRING)
    return pc.binary_join_element_wise(*columns, separator)


def number_texts(values: Array) -> pa.Array:
    """Return the shortest decimal texts that give numbers back; NaN is "nan".

    Examples
    --------
    >>> number_texts(np.array([1.0, 0.1, np.nan])).to_pylist()
    ['1.0', '0.1', 'nan']
    """
    if isinstance(values.dtype, MASKED_DTYPES):
        array = pa.array(values.to_numpy(values.dtype.numpy_dtype))
    else:
        array = pa.array(np.asarray(values))
    texts = array.cast(STRING)
    if pa.types.is_floating(array.type):
        # Arrow writes 1.0 as "1", which other tools would take for an integer.
        whole = pc.match_substring_regex(texts, r"^-?\d+$")
        texts = pc.if_else(whole, joined(texts, ".0"), texts)
    return texts


def _text_to_number(texts: pa.Array, dtype: Any) -> Array:
    plain = dtype
    if isinstance(dtype, MASKED_DTYPES):
        plain = dtype.numpy_dtype
    numbers = texts.cast(pa.from_numpy_dtype(plain)).to_numpy(zero_copy_only=False)
    if isinstance(dtype, pd.Float32Dtype | pd.Float64Dtype):
        # pandas would take NaN for NA, which was left out before.
        return pd.arrays.FloatingArray(numbers, np.zeros(len(numbers), dtype=bool))
    return array_from(numbers, dtype)


def _complex_to_text(values: Array) -> Any:
    return np.asarray(values).astype(str)


def _text_to_complex(texts: pa.Array, dtype: Any) -> Array:
    numbers = list(map(complex, texts.to_pylist()))
    return array_from(np.array(numbers, dtype=dtype), dtype)


def _datetime_to_text(values: Any) -> Any:
    has_zone = isinstance(values.dtype, pd.DatetimeTZDtype)
    if has_zone:
        # In UTC; the schema has the zone.
        values = values.tz_convert(None)
    ticks = np.asarray(values)
    # 2024-01-01 for a day, not 2024-01-01T00:00:00.000000000: for people to read.
    ticks = ticks.astype(f"M8[{_coarsest_unit(ticks)}]")
    if ((ticks >= _FIRST_DAY) & (ticks <= _LAST_DAY)).all():
        texts = pa.array(ticks).cast(STRING)
        texts = pc.replace_substring(texts, " ", "T", max_replacements=1)
    else:
        # numpy is slower, and knows years of any length.
        texts = strings(np.datetime_as_string(ticks))
    if has_zone:
        return joined(texts, _UTC_SUFFIX)
    return texts


def _text_to_datetime(texts: pa.Array, dtype: Any) -> Array:
    has_zone = isinstance(dtype, pd.DatetimeTZDtype)
    if has_zone:
        texts = pc.replace_substring(texts, _UTC_SUFFIX, "")
        unit = dtype.unit
    else:
        unit, _ = np.datetime_data(dtype)
    try:
        ticks = texts.cast(pa.timestamp(unit)).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        # Arrow knows years of four digits only.
        ticks = np.array(texts.to_pylist(), dtype=f"M8[{unit}]")
    if not has_zone:
        return array_from(ticks, dtype)
    # By UTC: local times are ambiguous where clocks go back.
    return pd.DatetimeIndex(ticks).tz_localize("UTC").tz_convert(dtype.tz).array


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
    # One unit for the column, `90 s`: a count and a unit give a duration back exactly.
    unit = _coarsest_unit(ticks)
    counts = ticks.astype(f"m8[{unit}]").astype("int64")
    return joined(number_texts(counts), f" {unit}")


def _text_to_timedelta(texts: pa.Array, dtype: Any) -> Array:
    if len(texts) == 0:
        return array_from([], dtype)
    # All texts of a column have one unit.
    unit = texts[0].as_py().partition(" ")[2]
    counts = pc.replace_substring(texts, f" {unit}", "").cast(pa.int64()).to_numpy()
    return array_from(counts.astype(f"m8[{unit}]").astype(dtype), dtype)


def _period_to_text(values: Any) -> Any:
    return values.astype(str)


def _text_to_period(texts: pa.Array, dtype: Any) -> Array:
    return pd.PeriodIndex(texts.to_pylist(), dtype=dtype).array


def _interval_to_text(values: Any) -> Any:
    left, right = array_of(values.left), array_of(values.right)
    # `(0, 1]`, as in mathematics.
    opening = "[" if values.closed in ("left", "both") else "("
    closing = "]" if values.closed in ("right", "both") else ")"
    return joined(
        opening,
        encode_texts(left, codec_name(left)),
        ", ",
        encode_texts(right, codec_name(right)),
        closing,
    )


def _text_to_interval(texts: pa.Array, dtype: Any) -> Array:
    # Numbers and times have no comma in their texts.
    pairs = [text[1:-1].split(", ") for text in texts.to_pylist()]
    sides = np.array(pairs, dtype=object).reshape(-1, 2).T
    codec = CODECS[codec_name(array_from([], dtype.subtype))]
    left, right = (
        pd.Index(codec.decode(strings(side), dtype.subtype)) for side in sides
    )
    return pd.arrays.IntervalArray.from_arrays(
        left, right, closed=dtype.closed, dtype=dtype
    )


def _string_to_text(values: Any) -> Any:
    return values


def _text_to_string(texts: pa.Array, dtype: Any) -> Array:
    return dtype.__from_arrow__(texts)


def _arrow_to_text(values: Any) -> Any:
    cells = pa.chunked_array(values.__arrow_array__())
    ticks = _ticks_of(cells.type)
    if ticks is not None:
        cells = cells.cast(ticks)
    return cells


def _text_to_arrow(texts: pa.Array, dtype: Any) -> Array:
    wanted = dtype.pyarrow_dtype
    if len(texts) == 0:
        return dtype.__from_arrow__(pa.array([], wanted))
    ticks = _ticks_of(wanted)
    if ticks is not None:
        texts = texts.cast(ticks)
    return dtype.__from_arrow__(texts.cast(wanted))


def _ticks_of(kind: pa.DataType) -> pa.DataType | None:
    """Return the integers for a type that Arrow does not read from text, or ``None``.

    Such a type counts ticks: a duration of 90 s is the text "90".
    """
    if pa.types.is_time32(kind):
        return pa.int32()
    if pa.types.is_time64(kind) or pa.types.is_duration(kind):
        return pa.int64()
    return None


def _nested_to_text(values: Any) -> Any:
    nested = pa.chunked_array(values.__arrow_array__()).to_pylist()
    return list(map(_json_text, nested))


def _text_to_nested(texts: pa.Array, dtype: Any) -> Array:
    nested = map(json.loads, texts.to_pylist())
    return dtype.__from_arrow__(pa.array(nested, dtype.pyarrow_dtype))


def _json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _text_to_tuple(text: str) -> tuple[Any, ...]:
    return tuple(json.loads(text))


def _cell_by_cell(encode: Callable[[Any], str], decode: Callable[[str], Any]) -> Codec:
    """Return the codec of an object column whose cells are encoded one by one."""

    def encode_all(values: Array) -> list[str]:
        return list(map(encode, values))

    def decode_all(texts: pa.Array, dtype: Any) -> Array:
        # Not `np.array`: it would make a table of tuples that are equally long.
        cells = map(decode, texts.to_pylist())
        return array_from(np.fromiter(cells, dtype=object, count=len(texts)), object)

    return Codec(encode_all, decode_all)


CODECS: Final[dict[str, Codec]] = {
    "string": Codec(_string_to_text, _text_to_string),
    "number": Codec(number_texts, _text_to_number),
    "complex": Codec(_complex_to_text, _text_to_complex),
    "datetime": Codec(_datetime_to_text, _text_to_datetime),
    "timedelta": Codec(_timedelta_to_text, _text_to_timedelta),
    "period": Codec(_period_to_text, _text_to_period),
    "interval": Codec(_interval_to_text, _text_to_interval),
    "arrow": Codec(_arrow_to_text, _text_to_arrow),
    "nested arrow": Codec(_nested_to_text, _text_to_nested),
    "str": _cell_by_cell(str, str),
    "bytes": _cell_by_cell(bytes.hex, bytes.fromhex),
    "decimal": _cell_by_cell(str, decimal.Decimal),
    "date": _cell_by_cell(datetime.date.isoformat, datetime.date.fromisoformat),
    "time": _cell_by_cell(datetime.time.isoformat, datetime.time.fromisoformat),
    "python datetime": _cell_by_cell(
        datetime.datetime.isoformat, datetime.datetime.fromisoformat
    ),
    "uuid": _cell_by_cell(str, uuid.UUID),
    "tuple": _cell_by_cell(json.dumps, _text_to_tuple),
    "json": _cell_by_cell(_json_text, json.loads),
}
"""By the name that a schema has for them: none of these names may ever change."""

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
"""The codec of a column of objects that are all of one type."""
