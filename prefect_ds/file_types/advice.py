"""The handler that keeps values of a class, for messages."""

from __future__ import annotations

import datetime
import os
import types
from typing import Final

import numpy as np
import pandas as pd

# In order: the first that fits counts.
_BY_CLASS: Final[tuple[tuple[tuple[type, ...], str], ...]] = (
    ((types.NoneType,), "MarkerResultHandler"),
    ((os.PathLike,), "FileResultHandler"),
    ((np.ndarray,), "ObjectResultHandler('x.npy')"),
    ((str,), "ObjectResultHandler('x.txt')"),
    ((bytes,), "ObjectResultHandler('x.bin')"),
    (
        (dict, list, tuple, set, frozenset, int, float, datetime.date, np.generic),
        "ObjectResultHandler('x.json')",
    ),
)
_BY_NAME: Final = {
    "dask.DataFrame": "prefect_ds.dask.DaskDataFrameResultHandler",
    "dask.Series": "prefect_ds.dask.DaskDataFrameResultHandler",
    "geopandas.GeoDataFrame": "ObjectResultHandler('x.parquet', 'geopandas')",
    # No type for it but a pickle, though it is a Series.
    "geopandas.GeoSeries": "",
    "matplotlib.Figure": "ObjectResultHandler('x.png')",
    "polars.DataFrame": "ObjectResultHandler('x.parquet', 'polars')",
    "polars.LazyFrame": "ObjectResultHandler('x.parquet', 'polars')",
}
"""By package and class, for libraries that need not be installed."""


def handler_for(cls: type) -> str:
    """Return the call that makes a handler for values of a class.

    Examples
    --------
    >>> handler_for(pd.Series), handler_for(dict)
    ('PandasResultHandler', "ObjectResultHandler('x.json')")
    """
    handler = frame_handler_for(cls)
    if handler:
        return handler
    for classes, handler in _BY_CLASS:
        if issubclass(cls, classes):
            return handler
    return "ObjectResultHandler('x.pkl')"


def frame_handler_for(cls: type) -> str:
    """Return the handler for frames, series and figures of a class; empty for others.

    Examples
    --------
    >>> frame_handler_for(pd.Series), frame_handler_for(dict)
    ('PandasResultHandler', '')
    """
    # The bases too: a user may have a class of their own.
    for base in cls.__mro__:
        package = base.__module__.partition(".")[0]
        name = f"{package}.{base.__name__}"
        if name in _BY_NAME:
            return _BY_NAME[name]
    # Last, as a GeoDataFrame is a DataFrame.
    if issubclass(cls, pd.DataFrame | pd.Series):
        return "PandasResultHandler"
    return ""
