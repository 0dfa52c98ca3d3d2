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

_BY_ROW = (AssignPartitioningIndex, BlockwiseMerge, Elemwise, Filter)
"""Steps in which the result for a row does not depend on the row's place."""

_UNORDERED = (DiskShuffle, HashJoinP2P, P2PShuffle)
"""Shuffles that give the rows of a partition in the order in which they arrive."""

_SHUFFLES = (*_UNORDERED, TaskShuffle)
"""Steps that send every row to the partition that its values name."""

_MOVES = (Concat, Partitions, RepartitionToFewer, StackPartition)
"""Steps that pick or join whole partitions."""

_SOURCES = (FromPandas, ReadCheckpoint, ReadParquet)
"""Readers that give the same bytes for the same data, which are in the key."""


class Sameness(enum.IntEnum):
    """How alike a partition is every time that it is computed."""

    UNKNOWN = 0
    ROWS = 1
    """The same rows, in any order."""
    BYTES = 2
    """The same rows in the same order."""


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
    # Whatever went into a single partition came from one computation.
    if expr.npartitions == 1:
        return ""
    judge = _Judge(trusts_functions)
    if judge.sameness(expr) >= Sameness.ROWS:
        return ""
    return judge.first_spread(expr)


class _Judge:
    """Judges the steps of one frame, and every step once."""

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
        # A lost partition is computed again by a graph that is not seen here: it may
        # shuffle.
        if _holds_futures(node):
            return Sameness.UNKNOWN
        dependencies = node.dependencies()
        if not dependencies:
            return self._of_source(node)
        # A step is at most as certain as the least certain of its inputs.
        least = min(map(self.sameness, dependencies))
        if least == Sameness.BYTES:
            is_unordered = isinstance(node, _UNORDERED)
            return Sameness.ROWS if is_unordered else Sameness.BYTES
        if least == Sameness.ROWS:
            keeps_rows = isinstance(node, (*_BY_ROW, *_SHUFFLES, *_MOVES))
            # A new index counts rows in the order in which they lie, though Dask
            # calls the step Elemwise.
            if keeps_rows and not isinstance(node, ResetIndex):
                return Sameness.ROWS
        # `head` or `cumsum`, say: other rows, or other values, in another order.
        return Sameness.UNKNOWN

    def _of_source(self, node: Expr) -> Sameness:
        if isinstance(node, (*_SOURCES, _DelayedExpr)):
            return Sameness.BYTES
        if isinstance(node, FromMap) and _reads_text(node.func):
            return Sameness.BYTES
        # Within one computation a function gives the same twice, by Dask's own rules.
        if self._trusts_functions:
            return Sameness.BYTES
        return Sameness.UNKNOWN

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
            # Reached by two ways, its rows end up in two places, and those may come
            # from two computations.
            if reached.setdefault(node._name, moves) != moves:
                return f"{_name(node)} goes to several partitions"
            # All rows are the same below, so nothing there can be joined wrongly.
            if self.sameness(node) == Sameness.ROWS:
                continue
            for number, dependency in enumerate(node.dependencies()):
                is_spread = self._is_spread(node, dependency)
                if is_spread and self.sameness(dependency) < Sameness.BYTES:
                    return f"{_name(node)} spreads what {self._uncertain(dependency)}"
                # Only a move changes where rows end up.
                further = moves
                if isinstance(node, _MOVES):
                    further = (*moves, node._name, number)
                pending.append((dependency, further))
        return ""

    def _is_spread(self, node: Expr, dependency: Expr) -> bool:
        if isinstance(node, _MOVES):
            return False
        # A step of a kind that is not known here may do anything.
        if not isinstance(node, Blockwise):
            return True
        return int(dependency.npartitions) != int(node.npartitions)

    def _uncertain(self, node: Expr) -> str:
        """Return in words which step makes the rows of an expression uncertain."""
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
        values = [operand]
        # A persisted frame has its futures in a graph: key to future.
        if isinstance(operand, dict):
            values = list(operand.values())
        if any(isinstance(value, Future) for value in values):
            return True
    return False


def has_user_code(node: Any) -> bool:
    """Return whether an expression holds a function or object of no known library."""
    # Its inputs are judged by themselves.
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
        return any(map(_is_user_code, value))
    if isinstance(value, Expr):
        return any(map(has_user_code, value.walk()))
    function = getattr(value, "func", None)
    # A task of a graph.
    if callable(function):
        parts = (function, *getattr(value, "args", ()))
        return any(map(_is_user_code, parts))
    if isinstance(value, types.MethodType):
        return _is_user_code(value.__func__) or _is_user_code(value.__self__)
    # By module: plain values are of builtins, and count as a library's.
    module = getattr(value, "__module__", None) or type(value).__module__
    return str(module).partition(".")[0] not in _LIBRARIES


_LIBRARIES = {
    *("_operator", "builtins", "dask", "datetime", "decimal", "distributed", "fsspec"),
    *("numpy", "operator", "pandas", "pathlib", "prefect_ds", "pyarrow", "re", "uuid"),
}
"""Packages whose functions give the same for the same, in every run."""


def _reads_text(function: Any) -> bool:
    """Return whether a source's function is Dask's own reader of csv and the like.

    The files that it reads are in the key.
    """
    # Dask wraps it in a partial, with the user's arguments.
    function = getattr(function, "func", function)
    return str(getattr(function, "__module__", "")).startswith("dask.dataframe.io.csv")


def _name(node: Expr) -> str:
    return str(node._funcname)
