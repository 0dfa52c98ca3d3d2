"""polars: frames of polars as parquet files, which every tool reads."""

from __future__ import annotations

import importlib
import sys
from typing import Any, BinaryIO, Final

from prefect_ds.objects.base import (
    Marks,
    ObjectType,
    UnkeepableError,
    name_of,
    refusing,
)

_LAZY: Final = {"is": "LazyFrame"}


def _classes() -> tuple[type, ...]:
    # A task that returns such a frame has imported polars.
    polars = sys.modules.get("polars")
    if polars is None:
        return ()
    return (polars.DataFrame, polars.LazyFrame)


def _prepare(value: Any) -> Any:
    """Return the frame that is kept: a lazy one is computed once, not once a task."""
    if type(value) not in _classes():
        hint = ""
        if isinstance(value, _classes()):
            hint = "return a polars.DataFrame(value), without its class"
        raise UnkeepableError(name_of(type(value)), value, hint)
    # Lazy again, as the tasks that follow expect it.
    if hasattr(value, "collect"):
        return value.collect().lazy()
    return value


def _write(value: Any, file: BinaryIO) -> Marks | None:
    polars = importlib.import_module("polars")
    is_lazy = isinstance(value, polars.LazyFrame)
    frame = value
    if is_lazy:
        frame = value.collect()
    for name, dtype in frame.schema.items():
        if dtype == polars.Object:
            why = f"its column {name!r} holds Python objects"
            raise UnkeepableError(why, value, "give it a dtype of polars")
    with refusing("polars", value):
        frame.write_parquet(file)
        file.seek(0)
        back = polars.read_parquet(file)
    if back.schema != frame.schema:
        why = "its columns change"
        for name, dtype in frame.schema.items():
            if back.schema.get(name) != dtype:
                why = f"column {name!r}: {dtype} comes back as {back.schema.get(name)}"
                break
        raise UnkeepableError(why, value)
    if not back.equals(frame):
        raise UnkeepableError("other values come back", value)
    return _LAZY if is_lazy else None


def _read(file: BinaryIO, marks: Marks | None) -> Any:
    polars = importlib.import_module("polars")
    if marks == _LAZY:
        # Over the bytes that were compared with their checksum: the file itself may
        # be replaced before the frame is used.
        lazy = polars.scan_parquet(file)
        # Bytes that are no parquet are an error here, not where the frame is used.
        lazy.collect_schema()
        return lazy
    return polars.read_parquet(file)


POLARS: Final = ObjectType(
    name="polars",
    keeps="DataFrames and LazyFrames of polars",
    kept_classes=_classes,
    write=_write,
    read=_read,
    takes_any_ending=True,
    requires={"polars": "polars"},
    prepare=_prepare,
)
