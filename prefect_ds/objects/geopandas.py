"""geopandas: frames with geometries as GeoParquet files, which every GIS reads."""

from __future__ import annotations

import importlib
import sys
from typing import Any, BinaryIO, Final, cast

import numpy as np
import pandas as pd

from prefect_ds.frames import compare
from prefect_ds.objects.base import (
    Marks,
    ObjectType,
    UnkeepableError,
    name_of,
    refusing,
)


def _classes() -> tuple[type, ...]:
    # A task that returns such a frame has imported geopandas.
    geopandas = sys.modules.get("geopandas")
    if geopandas is None:
        return ()
    return (geopandas.GeoDataFrame,)


def _write(value: Any, file: BinaryIO) -> Marks | None:
    if type(value) not in _classes():
        hint = ""
        if isinstance(value, pd.Series):
            hint = "return series.to_frame('geometry')"
        raise UnkeepableError(name_of(type(value)), value, hint)
    geopandas = importlib.import_module("geopandas")
    with refusing("geopandas", value):
        value.to_parquet(file)
        file.seek(0)
        back = geopandas.read_parquet(file)
    change = _difference(value, back)
    if change is not None:
        raise UnkeepableError(change, value)
    return None


def _difference(left: Any, right: Any) -> str | None:
    """Return in a few words how two frames with geometries differ."""
    if left._geometry_column_name != right._geometry_column_name:
        return "another column comes back as its geometry"
    # `compare` knows no geometries: their bytes take their place.
    ours, theirs = _plain(left), _plain(right)
    change = compare.difference(ours, theirs)
    if change is not None:
        return change
    for i, dtype in enumerate(left.dtypes):
        if dtype != "geometry":
            continue
        column = f"column {left.columns[i]!r}"
        if left.iloc[:, i].crs != right.iloc[:, i].crs:
            return f"the CRS of {column} changes"
        # The bytes of a ring are those of a line.
        if not np.array_equal(_types(left.iloc[:, i]), _types(right.iloc[:, i])):
            return f"{column}: a ring comes back as a line"
    return None


def _types(geometries: Any) -> Any:
    """Return the types of geometries, and of those in collections, as numbers."""
    shapely = importlib.import_module("shapely")
    # A collection may hold further collections: level by level.
    level = np.asarray(geometries.array, dtype=object)
    types = [shapely.get_type_id(level)]
    while len(level):
        is_collection = types[-1] == shapely.GeometryType.GEOMETRYCOLLECTION
        level = shapely.get_parts(level[is_collection])
        types.append(shapely.get_type_id(level))
    return np.concatenate(types)


def _plain(frame: Any) -> pd.DataFrame:
    """Return a frame with the bytes of its geometries in their place."""
    plain = pd.DataFrame(frame).copy(deep=False)
    plain.attrs = frame.attrs
    allows_duplicates = frame.flags.allows_duplicate_labels
    cast(Any, plain).flags.allows_duplicate_labels = allows_duplicates
    for i, dtype in enumerate(frame.dtypes):
        if dtype == "geometry":
            cells = frame.iloc[:, i].to_wkb()
            plain.isetitem(i, np.asarray(cells, dtype=object))
    return plain


def _read(file: BinaryIO, marks: Marks | None) -> Any:
    return importlib.import_module("geopandas").read_parquet(file)


GEOPANDAS: Final = ObjectType(
    name="geopandas",
    keeps="GeoDataFrames",
    kept_classes=_classes,
    write=_write,
    read=_read,
    takes_any_ending=True,
    requires={"geopandas": "geopandas"},
    other_names=("geoparquet",),
)
