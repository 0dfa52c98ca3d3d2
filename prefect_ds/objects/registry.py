"""The types of file for objects, one line a type."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

from prefect_ds.errors import FileTypeError
from prefect_ds.file_types.base import compression_ending_of, ending_of, require
from prefect_ds.file_types.registry import FILE_TYPES, file_type_of
from prefect_ds.objects.arrays import NPY, NPZ
from prefect_ds.objects.base import ObjectType
from prefect_ds.objects.figures import PDF, PNG, SVG
from prefect_ds.objects.geopandas import GEOPANDAS
from prefect_ds.objects.json import JSON
from prefect_ds.objects.pickles import JOBLIB, PICKLE
from prefect_ds.objects.plain import BIN, TEXT
from prefect_ds.objects.polars import POLARS

__all__ = ["OBJECT_TYPES", "object_type"]

OBJECT_TYPES: Final[Mapping[str, ObjectType]] = {
    object_type.name: object_type
    for object_type in (
        JSON,
        NPY,
        NPZ,
        PICKLE,
        JOBLIB,
        TEXT,
        BIN,
        PNG,
        SVG,
        PDF,
        POLARS,
        GEOPANDAS,
    )
}

_BY_ENDING: Final = {
    ending: kind for kind in OBJECT_TYPES.values() for ending in kind.endings
}

REGISTERED: Final[dict[str, ObjectType]] = {}
"""Types that a user has added in this process."""

_FRAMES: Final = "keep a frame with PandasResultHandler"


def object_type(name: str | None, path: str) -> ObjectType:
    """Return the type of a name, or the one that the ending of a path means.

    Parameters
    ----------
    name
        A key of `OBJECT_TYPES` in any case; ``None``: the ending says it.
    path
        A path, or the template of one; empty where it is not known.

    Raises
    ------
    FileTypeError
        There is no such type, the path means another, or a package is missing.
    """
    if name is None:
        kind = _of_ending(path)
    else:
        kind = _named(name)
    require(kind.name, kind.requires)
    if not kind.takes_any_ending:
        _check_ending(kind, path)
    if compression_ending_of(path):
        raise FileTypeError(
            f"the path {path!r} ends in {compression_ending_of(path)!r}, and files of "
            f"type {kind.name!r} are not compressed as a whole: leave the ending out"
        )
    return kind


def _named(name: str) -> ObjectType:
    # A user's own name counts as it is written.
    if name in REGISTERED:
        return REGISTERED[name]
    lowered = str(name).lower().removeprefix(".")
    if lowered in OBJECT_TYPES:
        return OBJECT_TYPES[lowered]
    for kind in OBJECT_TYPES.values():
        if lowered in kind.other_names:
            return kind
    raise FileTypeError(
        f"file type {name!r} cannot be used for an object{_meant(lowered)}. "
        f"Use one of: {', '.join(OBJECT_TYPES)}"
    )


def _meant(name: str) -> str:
    """Return the type that a wrong name may mean, as a clause; empty for none."""
    if name in FILE_TYPES or file_type_of(f"x.{name}"):
        return f": {_FRAMES}"
    close = difflib.get_close_matches(name, OBJECT_TYPES, n=1)
    if not close:
        return ""
    return f": did you mean {close[0]!r}?"


def _of_ending(path: str) -> ObjectType:
    ending = ending_of(path)
    if ending in _BY_ENDING:
        return _BY_ENDING[ending]
    for kind in REGISTERED.values():
        if ending in kind.endings:
            return kind
    names = ", ".join(OBJECT_TYPES)
    # `.csv` and the like, which PandasResultHandler keeps.
    if file_type_of(path):
        raise FileTypeError(
            f"a path that ends as {path!r} does is of a frame: {_FRAMES}, or give "
            f"another ending or file_type, one of {names}"
        )
    # Endings are short: with difflib's usual cutoff many would look alike.
    close = difflib.get_close_matches(ending, _BY_ENDING, n=1, cutoff=0.75)
    hint = f", did you mean {close[0]!r}?" if close else ""
    raise FileTypeError(
        f"the ending of {path!r} means no file type for objects{hint}: "
        f"give file_type, one of {names}"
    )


def _check_ending(kind: ObjectType, path: str) -> None:
    """Raise `FileTypeError` where the ending of a path means another type."""
    meant = _BY_ENDING.get(ending_of(path))
    if meant is kind:
        return
    other = file_type_of(path)
    if meant is not None:
        other = meant.name
    if other:
        raise FileTypeError(
            f"the path {path!r} ends as a file of type {other!r} does, "
            f"and the file type is {kind.name!r}: leave the file type out, "
            "or give the path another ending"
        )
