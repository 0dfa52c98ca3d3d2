"""Encodings of Dask collections, by what they compute.

Dask's own names do not serve: they come from tokens that unequal data may share, and
those of ``delayed`` are drawn at random.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Final

from prefect_ds.checkpoints.digests.code import encode_class
from prefect_ds.checkpoints.digests.plain import encode_items
from prefect_ds.checkpoints.digests.walk import (
    Encoder,
    UndigestibleError,
    Walk,
    atom,
    pack,
    pack_all,
)

_CACHES: Final = ("_dataset_info_cache", "_pq_length_stats", "_pd_length_stats")
"""Operands in which Dask remembers what it has read of a file."""


def dask_encoder(kind: type) -> Encoder | None:
    """Return the encoder of a class of Dask's, ``None`` for all others."""
    if hasattr(kind, "__dask_graph__"):
        if _has_base(kind, "FrameBase"):
            return _frame
        if _has_base(kind, "Expr"):
            return _expression
        return _collection
    if kind.__name__ == "OpenFile" and kind.__module__ == "fsspec.core":
        return _file
    if _has_base(kind, "_BackendData"):
        return _data
    if _has_base(kind, "Expr"):
        return _expression
    return None


def _has_base(kind: type, name: str) -> bool:
    return any(
        base.__name__ == name and base.__module__.startswith("dask.")
        for base in kind.__mro__
    )


# frames


def _frame(frame: Any, walk: Walk) -> bytes:
    kind = type(frame).__name__.encode()
    return pack("dask frame", kind, walk.encode(frame.expr))


def _expression(expr: Any, walk: Walk) -> bytes:
    names = [*expr._parameters, *[""] * len(expr.operands)]
    parts = [encode_class(type(expr), walk)]
    if _has_base(type(expr), "ReadParquet"):
        # The files' sizes and times are in no operand.
        parts.append(walk.encode_at(expr.checksum, ".checksum"))
    for name, operand in zip(names, expr.operands, strict=False):
        if name not in _CACHES:
            parts += [atom(name), walk.encode_at(operand, f".{name or 'operand'}")]
    return pack_all("expression", parts)


def _data(data: Any, walk: Walk) -> bytes:
    return pack("data", walk.encode(data._data))


def _file(file: Any, walk: Walk) -> bytes:
    # What `dd.read_csv` and `bag.read_text` have in their graphs. The size and time of
    # the file count, as they do in `dd.read_parquet`.
    return pack(
        "file",
        encode_class(type(file.fs), walk),
        encode_items([file.path, file.mode, file.compression, file.encoding], walk),
        atom(str(file.fs.ukey(file.path))),
    )


# all other collections


def _collection(collection: Any, walk: Walk) -> bytes:
    from dask._task_spec import convert_legacy_graph

    graph = convert_legacy_graph(dict(collection.__dask_graph__()))
    names: dict[Hashable, bytes] = {}
    try:
        for key in _in_order(graph):
            names[key] = _part(graph[key], names, walk)
        finish, args = collection.__dask_postcompute__()
        return pack(
            "dask",
            encode_class(type(collection), walk),
            _part(list(_flat(collection.__dask_keys__())), names, walk),
            walk.encode(finish),
            encode_items(args, walk),
        )
    except UndigestibleError as error:
        raise error.below(".__dask_graph__()") from error.__cause__


def _flat(keys: Any) -> Iterator[Any]:
    from dask._task_spec import TaskRef

    for key in keys:
        if isinstance(key, list):
            yield from _flat(key)
        else:
            yield TaskRef(key)


def _in_order(graph: Mapping[Any, Any]) -> Iterator[Any]:
    """Give the keys of a graph so that a key comes after those it depends on."""
    # Without recursion: a graph may be deeper than Python's stack.
    done: set[Any] = set()
    for start in graph:
        waiting = [start]
        while waiting:
            key = waiting[-1]
            missing = [
                other
                for other in graph[key].dependencies
                if other not in done and other in graph
            ]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if key not in done:
                done.add(key)
                yield key


def _part(part: Any, names: Mapping[Hashable, bytes], walk: Walk) -> bytes:
    """Return the encoding of a task, with its dependencies in place of their keys."""
    from dask._task_spec import Alias, DataNode, Task, TaskRef

    kind = type(part)
    if isinstance(part, Alias):
        return _reference(part.target, names)
    if isinstance(part, TaskRef):
        return _reference(part.key, names)
    # Data in the graph, which no task has to make.
    if isinstance(part, DataNode):
        return walk.encode(part.value)
    if isinstance(part, Task):
        inner = [_part(arg, names, walk) for arg in part.args]
        inner.append(_part(dict(part.kwargs or {}), names, walk))
        return pack("task", kind.__name__.encode(), walk.encode(part.func), *inner)
    if kind in (list, tuple):
        return pack_all(kind.__name__, [_part(item, names, walk) for item in part])
    if kind is dict:
        pairs = [_part(item, names, walk) for pair in part.items() for item in pair]
        return pack_all("dict", pairs)
    return walk.encode(part)


def _reference(key: Hashable, names: Mapping[Hashable, bytes]) -> bytes:
    if key not in names:
        raise UndigestibleError("Task", why="what it depends on is not in the graph")
    return pack("result", names[key])
