"""A dtype as JSON, and back."""

import base64
import functools
import importlib
import sys
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from prefect_ds.frames.base import UnkeepableError
from prefect_ds.frames.zones import zone_from_json, zone_library, zone_to_json

MASKED_DTYPES: Final[tuple[type[Any], ...]] = (
    pd.Int8Dtype,
    pd.Int16Dtype,
    pd.Int32Dtype,
    pd.Int64Dtype,
    pd.UInt8Dtype,
    pd.UInt16Dtype,
    pd.UInt32Dtype,
    pd.UInt64Dtype,
    pd.Float32Dtype,
    pd.Float64Dtype,
    pd.BooleanDtype,
)
"""The dtypes of pandas that keep numbers and a mask of the missing ones."""


def dtype_to_json(dtype: Any) -> Any:
    """Return a dtype as JSON: its name where the name gives it back.

    Examples
    --------
    >>> dtype_to_json(np.dtype("int64"))
    'int64'
    >>> dtype_to_json(pd.StringDtype(na_value=np.nan))
    {'string': 'pyarrow', 'na': 'nan'}

    Raises
    ------
    UnkeepableError
        No name gives the dtype back.
    """
    if isinstance(dtype, pd.StringDtype):
        missing = "NA" if dtype.na_value is pd.NA else "nan"
        return {"string": dtype.storage, "na": missing}
    if isinstance(dtype, pd.ArrowDtype):
        # The name is for people; it does not give every type back.
        schema = pa.schema([("", dtype.pyarrow_dtype)])
        return {
            "arrow": str(dtype.pyarrow_dtype),
            "ipc": base64.b64encode(schema.serialize()).decode(),
        }
    if isinstance(dtype, pd.DatetimeTZDtype):
        # The zones of pytz have a form of their own, as in earlier versions.
        if getattr(dtype.tz, "zone", None) and zone_library(dtype) == "pytz":
            return {"pytz": str(dtype.tz), "unit": dtype.unit}
        zone = zone_to_json(dtype.tz)
        if zone is not None:
            return {"zone": zone, "unit": dtype.unit}
    if isinstance(dtype, np.dtype):
        return _numpy_name(dtype)
    return _checked_name(dtype)


def dtype_from_json(spec: Any) -> Any:
    """Return the dtype that `dtype_to_json` turned into this."""
    if isinstance(spec, str):
        return _dtype_named(spec)
    if "string" in spec:
        missing = pd.NA if spec["na"] == "NA" else np.nan
        # pandas has one text for the storage of all its dtypes. A pickle writes another
        # one twice, and equal frames would give other bytes.
        return pd.StringDtype(sys.intern(spec["string"]), na_value=missing)
    if "pytz" in spec:
        zone = importlib.import_module("pytz").timezone(spec["pytz"])
        return pd.DatetimeTZDtype(spec["unit"], zone)
    if "zone" in spec:
        return pd.DatetimeTZDtype(spec["unit"], zone_from_json(spec["zone"]))
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(spec["ipc"])))
    return pd.ArrowDtype(schema.field(0).type)


def _checked_name(dtype: Any) -> str:
    # A structured dtype of numpy, say, has a name that pandas does not read.
    name = str(dtype)
    try:
        is_same = _dtype_named(name) == dtype
    except (TypeError, ValueError, KeyError):
        is_same = False
    if not is_same:
        raise UnkeepableError(f"no name gives the dtype {name} back")
    return name


# A frame of 2,000 columns has few dtypes, and pandas takes 60 microseconds to find one.
# Only numpy's are looked up by equality: to pandas, time zones of two libraries are
# equal, and the hash of a categorical dtype is as costly as its categories are many.
_numpy_name = functools.lru_cache(maxsize=256)(_checked_name)


@functools.lru_cache(maxsize=256)
def _dtype_named(name: str) -> Any:
    return pd.api.types.pandas_dtype(name)
