"""A key of what a Dask frame computes.

Under it a later run finds the parts that an earlier run finished.

Dask's own names do not do: two computations can share one, and one computation has
another name in every process where a file system is in it. So the key is made of what
the frame computes: its data, the files that it reads with size and time of change, and
the code of the functions that it calls.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import importlib.metadata
import itertools
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import dask
import fsspec
import pyarrow.fs
from dask.delayed import Delayed
from distributed import Future
from fsspec.core import OpenFile

from prefect_ds.checkpoints.code import CodeWalk
from prefect_ds.checkpoints.code_objects import is_library
from prefect_ds.checkpoints.digests import UndigestibleError, digest
from prefect_ds.checkpoints.own_code import code_digest
from prefect_ds.dask._internals import (
    Alias,
    DataNode,
    Expr,
    FromGraph,
    GraphNode,
    ReadParquet,
    Task,
    TaskRef,
    convert_legacy_graph,
    execute_subgraph,
)
from prefect_ds.dask.determinism import why_not_separable
from prefect_ds.dask.expressions import FrameSource


class NotResumableError(Exception):
    """A stopped write of a frame cannot go on; says why."""


def resume_key(expr: Expr, *more: object) -> str:
    """Return a digest of all that decides what a frame's partitions hold.

    Parameters
    ----------
    expr
        The expression of the frame, lowered.
    *more
        What else decides what is written; compared by ``repr``.

    Raises
    ------
    NotResumableError
        No digest would hold in a later run, or partitions of two runs may not be
        joined.
    """
    why_not = why_not_separable(expr, trusts_functions=False)
    if why_not:
        raise NotResumableError(why_not)
    try:
        described = _Description().of(expr)
    except RecursionError:
        raise NotResumableError("its graph is too deep") from None
    facts = (described, expr.npartitions, _versions(), more)
    # 128 bits: the key is a part of a folder's name.
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


@functools.cache
def _versions() -> list[str]:
    # Another version may make other partitions of the same graph.
    libraries = ("dask", "numpy", "pandas", "pyarrow")
    return [sys.version, *map(importlib.metadata.version, libraries)]


_CACHES = {"_dataset_info_cache", "_pq_length_stats", "_pd_length_stats", "filesystem"}
"""Operands of a reader that hold what Dask has read already.

They differ from process to process.
"""

_PLAIN = (type(None), bool, int, float, complex, str, bytes, slice, range)
"""Types whose ``repr`` tells a value from every other."""


class _Description:
    """Digests of expressions, graphs and values in them, made once for every object."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}
        # No later object may get the id of a known one.
        self._alive: list[object] = []

    def of(self, value: Any) -> str:
        """Return a digest of a value, or of what an expression or a graph computes."""
        if type(value) in _PLAIN:
            return repr(value)
        if id(value) not in self._known:
            text = repr(self._facts(value))
            self._known[id(value)] = hashlib.sha256(text.encode()).hexdigest()
            self._alive.append(value)
        return self._known[id(value)]

    def _facts(self, value: Any) -> object:
        """Return texts and digests of its content that tell a value from others."""
        self._refuse_future(value)
        if isinstance(value, Expr):
            return self._of_expression(value)
        # Before the collections: a Delayed is one, and its key is a single one.
        if isinstance(value, Delayed):
            return self._of_graph(value.__dask_graph__(), [value.key])
        if dask.is_dask_collection(value):
            if isinstance(getattr(value, "expr", None), Expr):
                return self.of(value.expr)
            # Bags and arrays have a graph, and no expression.
            return self._of_graph(value.__dask_graph__(), value.__dask_keys__())
        if isinstance(value, GraphNode):
            return _Scope(self.of, {}).of_node(value)
        if isinstance(value, FrameSource):
            # The content of the checkpoint is in its token; how it is read is not.
            read_kwargs = self.of(value.reader.read_kwargs)
            return ("checkpoint", value.__dask_tokenize__(), read_kwargs)
        if isinstance(value, enum.Enum):
            return ("enum", _place(type(value)), value.name, self.of(value.value))
        # By type, not by isinstance: a subclass may hold more than its items.
        if type(value) in (list, tuple):
            return (type(value).__name__, [self.of(item) for item in value])
        if type(value) in (set, frozenset):
            # A set of texts has another order in every process.
            return (type(value).__name__, sorted(map(self.of, value)))
        if type(value) is dict:
            # Not sorted: the order of columns may depend on that of a dict.
            items = value.items()
            return ("dict", [(self.of(key), self.of(item)) for key, item in items])
        if isinstance(value, fsspec.AbstractFileSystem):
            # Not by its own token, which has the number of the process in it.
            storage = (list(value.storage_args), dict(value.storage_options))
            return ("file system", value.protocol, self.of(storage))
        if isinstance(value, pyarrow.fs.FileSystem):
            return ("file system", value.type_name)
        if isinstance(value, OpenFile):
            return (
                self.of(value.fs),
                *_version_of_file(value.fs, value.path),
                (value.mode, value.compression, value.encoding),
            )
        if isinstance(value, functools.partial):
            return ("partial", *map(self.of, (value.func, value.args, value.keywords)))
        if _is_of_dask(value):
            return (_place(type(value)), self.of(_state(value)))
        return self._of_object(value)

    def _refuse_future(self, value: Any) -> None:
        if isinstance(value, Future):
            raise NotResumableError("it has data that were persisted on a cluster")

    def _of_expression(self, node: Expr) -> object:
        if isinstance(node, FromGraph):
            layer = node.operand("layer")
            for task in layer.values():
                self._refuse_future(task)
            graph = self._of_graph(layer, node.operand("keys"))
            return (graph, self.of(node.operand("_meta")), self.of(node.divisions))
        operands = [
            (parameter, self.of(operand))
            for parameter, operand in _operands(node)
            if parameter not in _CACHES
        ]
        files: list[object] = []
        # Its operands have the paths that the user gave, not what is in the files.
        if isinstance(node, ReadParquet):
            files = _files_of(node)
        return (_place(type(node)), operands, files)

    def _of_graph(self, graph: Mapping[Any, Any], keys: Any) -> object:
        """Return what a graph computes for its keys, whatever its tasks are called."""
        scope = _Scope(self.of, convert_legacy_graph(dict(graph)))
        return [scope.of_key(key) for key in _flat(keys)]

    def _of_object(self, value: Any) -> object:
        """Return the facts on data, a function, a class, or an object of one."""
        if isinstance(value, types.BuiltinFunctionType | type):
            name = _place(value)
        elif isinstance(value, types.FunctionType) and is_library(value):
            name = _place(value)
            # `<lambda>` or `<locals>`: several functions may have this name.
            if "<" in name:
                name = f"{name} {code_digest(value)}"
        elif isinstance(value, types.MethodType):
            name = f"a method of {self.of(value.__self__)}"
        elif isinstance(value, types.FunctionType):
            # A user's: its code tells it from others, see below.
            name = "a function"
        else:
            try:
                name = digest(value)
            except UndigestibleError as error:
                kind = error.what
                raise NotResumableError(f"it has {kind}, which has no digest") from None
        try:
            code = CodeWalk(inside=[value])
        except Exception as error:
            kind = _place(type(value))
            raise NotResumableError(f"a {kind} cannot be pickled: {error}") from error
        # The first one is enough: such a value may have changed between two runs.
        for read, kind in code.notes.not_compared.items():
            raise NotResumableError(f"its code reads {read}, {kind}")
        return (name, code.digest)


class _Scope:
    """A graph, and what its keys compute.

    Keys themselves say nothing: Dask makes them of tokens that change from process to
    process. So a key is described by the task behind it.
    """

    def __init__(
        self,
        describe: Callable[[Any], str],
        nodes: Mapping[Any, Any],
        known: Mapping[Any, str] = MappingProxyType({}),
    ) -> None:
        self._describe = describe
        self._nodes = nodes
        self._known: dict[Any, str] = dict(known)

    def of_key(self, key: Any) -> str:
        """Return a digest of what a key means."""
        if key not in self._known:
            if key not in self._nodes:
                raise NotResumableError(f"its graph has no {key!r}")
            self._known[key] = self._describe(repr(self.of_node(self._nodes[key])))
        return self._known[key]

    def of_node(self, node: Any) -> object:
        """Return what tells a task, or an argument of one, from others."""
        if isinstance(node, Alias):
            return self.of_key(node.target)
        if isinstance(node, TaskRef):
            return self.of_key(node.key)
        if isinstance(node, DataNode):
            return self._describe(node.value)
        if isinstance(node, Task):
            if node.func is execute_subgraph:
                return self._of_fused(*node.args)
            arguments = [self.of_node(argument) for argument in node.args]
            named = [(key, self.of_node(item)) for key, item in node.kwargs.items()]
            return (_place(type(node)), self._describe(node.func), arguments, named)
        if isinstance(node, GraphNode):
            raise NotResumableError(f"its graph has a {type(node).__name__}")
        if type(node) in (list, tuple):
            return (type(node).__name__, [self.of_node(item) for item in node])
        if type(node) is dict:
            items = node.items()
            return [(self._describe(key), self.of_node(item)) for key, item in items]
        return self._describe(node)

    def _of_fused(self, tasks: Any, key: Any, names: Any, *given: Any) -> str:
        """Return what a few tasks, which Dask has made one, compute."""
        # The values that they are given come from tasks of this graph.
        known = {
            name: self._describe(repr(self.of_node(node)))
            for name, node in zip(names, given, strict=True)
        }
        scope = _Scope(self._describe, tasks, known)
        return scope.of_key(key)


def _place(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _operands(node: Expr) -> Iterator[tuple[str, Any]]:
    """Yield the operands of an expression with their names.

    Operands beyond its parameters have none.
    """
    names = itertools.chain(type(node)._parameters, itertools.repeat(""))
    # Not strict: the names have no end.
    yield from zip(names, node.operands, strict=False)


def _is_of_dask(value: Any) -> bool:
    """Return whether a value is an object of one of Dask's classes.

    Such an object is what it holds.
    """
    module = type(value).__module__
    return module.partition(".")[0] == "dask" and not isinstance(value, type)


def _state(value: Any) -> dict[str, Any]:
    # Dask's classes have slots, a `__dict__`, or both.
    slots = [
        slot for kind in type(value).__mro__ for slot in vars(kind).get("__slots__", ())
    ]
    state = {slot: getattr(value, slot) for slot in slots if hasattr(value, slot)}
    state |= getattr(value, "__dict__", {})
    # Left out: values that an object computes of itself on demand.
    return {
        name: item
        for name, item in state.items()
        if name not in ("_division_info", "_token")
    }


def _files_of(node: Any) -> list[object]:
    """Return the files that a reader of parquet reads, with sizes, times or tags."""
    info = node._dataset_info
    # Dask's reader by fsspec; the other one is by pyarrow's own file systems.
    if "ds" in info:
        return [_version_of_file(info["fs"], path) for path in info["ds"].files]
    paths = [fragment.fragment.path for fragment in info["fragments"]]
    files = node.fs.get_file_info(paths)
    return [(file.path, file.size, file.mtime_ns) for file in files]


def _version_of_file(fs: fsspec.AbstractFileSystem, path: str) -> tuple[object, ...]:
    """Return a file's path, size, and time of change or tag."""
    info = fs.info(path)
    # Every file system has names of its own for them.
    tags = (
        "size",
        "mtime",
        "ETag",
        "etag",
        "LastModified",
        "last_modified",
        "generation",
    )
    return (path, [str(info[tag]) for tag in tags if tag in info])


def _flat(keys: Any) -> Iterator[Any]:
    # A collection of several dimensions nests its keys in lists.
    if isinstance(keys, list):
        for key in keys:
            yield from _flat(key)
    else:
        yield keys
