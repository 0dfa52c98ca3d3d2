"""Which partitions of a frame may be joined, where Dask ran some steps more than once.

A worker that dies, and a write that is stopped and goes on in a later run, leave some
partitions of one computation and some of another. That is right as long as both put the
same rows in every partition. A shuffle between workers gives the rows of a partition in
the order in which they arrive, and a function of the user's may read a table that
changes. If what such a step gives is then spread over several partitions, a row may be
in two of them, or in none.
"""

from __future__ import annotations

import enum
import functools
import types
from collections.abc import Iterable
from typing import Any

from dask.delayed import Delayed
from distributed import Future

from prefect_ds.dask._internals import (
    AssignPartitioningIndex,
    Blockwise,
    BlockwiseMerge,
    Concat,
    DiskShuffle,
    Elemwise,
    Expr,
    Filter,
    FromMap,
    FromPandas,
    HashJoinP2P,
    P2PShuffle,
    Partitions,
    ReadParquet,
    RepartitionToFewer,
    ResetIndex,
    StackPartition,
    TaskShuffle,
    _DelayedExpr,
)
from prefect_ds.dask.expressions import ReadCheckpoint

# Each row goes to the partition that its values name, whatever its place.
_BY_ROW = (AssignPartitioningIndex, BlockwiseMerge, Elemwise, Filter)
_UNORDERED = (DiskShuffle, HashJoinP2P, P2PShuffle)
_SHUFFLES = (*_UNORDERED, TaskShuffle)
_MOVES = (Concat, Partitions, RepartitionToFewer, StackPartition)
_SOURCES = (FromPandas, ReadCheckpoint, ReadParquet)


class Sameness(enum.IntEnum):
    """How alike a partition is every time that it is computed."""

    UNKNOWN = 0
    ROWS = 1
    """The same rows, in any order."""
    BYTES = 2


def why_not_separable(expr: Expr, *, trusts_functions: bool) -> str:
    """Return why partitions of two computations must not be joined; empty: they may.

    Parameters
    ----------
    expr
        The frame, lowered.
    trusts_functions
        Whether the user's functions give the same for the same, as Dask itself expects
        of them within one computation. Between two runs, what they read may change.
    """
    if expr.npartitions == 1:
        return ""  # Whatever went into it came from one computation.
    judge = _Judge(trusts_functions)
    if judge.sameness(expr) >= Sameness.ROWS:
        return ""
    return judge.first_spread(expr)


class _Judge:
    def __init__(self, trusts_functions: bool) -> None:
        self._trusts_functions = trusts_functions
        self._known: dict[str, Sameness] = {}

    def sameness(self, node: Expr) -> Sameness:
        """Return how alike the partitions of an expression are every time."""
        if node._name not in self._known:
            self._known[node._name] = self._judged(node)
        return self._known[node._name]

    def _judged(self, node: Expr) -> Sameness:
        if has_user_code(node) and not self._trusts_functions:
            return Sameness.UNKNOWN
        # A lost one is computed again by a graph that is not seen here: it may shuffle.
        if _holds_futures(node):
            return Sameness.UNKNOWN
        dependencies = node.dependencies()
        if not dependencies:
            return self._of_source(node)
        least = min(map(self.sameness, dependencies))
        # A shuffle between workers gets rows in the order in which they arrive.
        if least == Sameness.BYTES:
            return Sameness.ROWS if isinstance(node, _UNORDERED) else Sameness.BYTES
        if least == Sameness.ROWS:
            keeps_rows = isinstance(node, (*_BY_ROW, *_SHUFFLES, *_MOVES))
            # A new index counts rows in the order in which they lie.
            if keeps_rows and not isinstance(node, ResetIndex):
                return Sameness.ROWS
        return Sameness.UNKNOWN

    def _of_source(self, node: Expr) -> Sameness:
        if isinstance(node, (*_SOURCES, _DelayedExpr)):
            return Sameness.BYTES
        if isinstance(node, FromMap) and _reads_text(node.func):
            return Sameness.BYTES
        return Sameness.BYTES if self._trusts_functions else Sameness.UNKNOWN

    def first_spread(self, root: Expr) -> str:
        """Return the step that spreads rows, which may differ, over partitions.

        Empty where there is none.
        """
        reached: dict[str, tuple[Any, ...]] = {}
        pending: list[tuple[Expr, tuple[Any, ...]]] = [(root, ())]
        while pending:
            node, moves = pending.pop()
            if self.sameness(node) == Sameness.BYTES:
                continue
            # By two ways its rows end up in two places: one may be of either
            # computation.
            if reached.setdefault(node._name, moves) != moves:
                return f"{_name(node)} goes to several partitions"
            # All rows are the same below, so nothing there can be joined wrongly.
            if self.sameness(node) == Sameness.ROWS:
                continue
            for number, dependency in enumerate(node.dependencies()):
                is_spread = self._is_spread(node, dependency)
                if is_spread and self.sameness(dependency) < Sameness.BYTES:
                    return f"{_name(node)} spreads what {self._uncertain(dependency)}"
                move = (node._name, number) if isinstance(node, _MOVES) else ()
                pending.append((dependency, (*moves, *move)))
        return ""

    def _is_spread(self, node: Expr, dependency: Expr) -> bool:
        if isinstance(node, _MOVES):
            return False
        # A step of a kind that is not known here may do anything.
        if not isinstance(node, Blockwise):
            return True
        return int(dependency.npartitions) != int(node.npartitions)

    def _uncertain(self, node: Expr) -> str:
        for step in node.walk():
            if isinstance(step, _UNORDERED):
                return f"{_name(step)} gives in any order"
            if _holds_futures(step):
                return "was persisted, which may be other rows once a worker is lost"
            if has_user_code(step):
                return "a function of yours gives, which may be other rows every time"
        return f"{_name(node)} gives, which may be other rows every time"


def _holds_futures(node: Any) -> bool:
    """Return whether an expression is over data that lie on a cluster."""
    for operand in node.operands:
        values = operand.values() if isinstance(operand, dict) else [operand]
        if any(isinstance(value, Future) for value in values):
            return True
    return False


def has_user_code(node: Any) -> bool:
    """Return whether an expression holds a function or object of no known library."""
    own = [operand for operand in node.operands if not isinstance(operand, Expr)]
    return any(map(_is_user_code, own))


def _is_user_code(value: Any) -> bool:
    if isinstance(value, functools.partial):
        parts = (value.func, *value.args, *value.keywords.values())
        return any(map(_is_user_code, parts))
    if isinstance(value, Delayed):
        return any(map(_is_user_code, dict(value.__dask_graph__()).values()))
    if isinstance(value, dict):
        return any(map(_is_user_code, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return _any_of(value)
    if isinstance(value, Expr):
        return any(map(has_user_code, value.walk()))
    function = getattr(value, "func", None)
    if callable(function):  # A task of a graph.
        parts = (function, *getattr(value, "args", ()))
        return any(map(_is_user_code, parts))
    if isinstance(value, types.MethodType):
        return _is_user_code(value.__func__) or _is_user_code(value.__self__)
    # By module: plain values are of builtins, and count as a library's.
    module = getattr(value, "__module__", None) or type(value).__module__
    return str(module).partition(".")[0] not in _LIBRARIES


def _any_of(values: Iterable[Any]) -> bool:
    return any(map(_is_user_code, values))


_LIBRARIES = {
    *("_operator", "builtins", "dask", "datetime", "decimal", "distributed", "fsspec"),
    *("numpy", "operator", "pandas", "pathlib", "prefect_ds", "pyarrow", "re", "uuid"),
}


def _reads_text(function: Any) -> bool:
    """Return whether a source's function is Dask's own reader of csv and the like.

    The files that it reads are in the key.
    """
    function = getattr(function, "func", function)
    return str(getattr(function, "__module__", "")).startswith("dask.dataframe.io.csv")


def _name(node: Expr) -> str:
    return str(node._funcname)
