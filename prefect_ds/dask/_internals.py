"""Every name of Dask and distributed that this package uses and that neither documents.

Dask may rename them in any release. They are imported here and nowhere else, so that
one place says what we depend on and why, and one test names what has gone.
"""

from __future__ import annotations

from typing import Any, Final

from dask._task_spec import (
    Alias,
    DataNode,
    GraphNode,
    Task,
    TaskRef,
    convert_legacy_graph,
)
from dask._task_spec import (
    _execute_subgraph as execute_subgraph,
)
from dask.base import (
    get_scheduler,
)
from dask.dataframe._pyarrow import (
    to_pyarrow_string,
)
from dask.dataframe.dask_expr import (
    new_collection,
)
from dask.dataframe.dask_expr._concat import (
    Concat,
    StackPartition,
)
from dask.dataframe.dask_expr._expr import (
    EQ,
    GE,
    GT,
    LE,
    LT,
    And,
    Assign,
    Between,
    Binop,
    Blockwise,
    Elemwise,
    Expr,
    Filter,
    Index,
    Isin,
    IsNa,
    Lengths,
    Literal,
    NotNull,
    Or,
    Partitions,
    PartitionsFiltered,
    Projection,
    ResetIndex,
    Unaryop,
    _DelayedExpr,
    determine_column_projection,
    is_filter_pushdown_available,
)
from dask.dataframe.dask_expr._merge import (
    BlockwiseMerge,
    HashJoinP2P,
)
from dask.dataframe.dask_expr._reductions import (
    Len,
)
from dask.dataframe.dask_expr._repartition import (
    RepartitionToFewer,
)
from dask.dataframe.dask_expr._shuffle import (
    AssignPartitioningIndex,
    DiskShuffle,
    P2PShuffle,
    ShuffleBase,
    TaskShuffle,
)
from dask.dataframe.dask_expr.io import (
    BlockwiseIO,
    FromMap,
    FromPandas,
    ReadParquet,
)
from dask.dataframe.dask_expr.io.io import (
    FromGraph,
)
from dask.dataframe.utils import (
    UNKNOWN_CATEGORIES,
    clear_known_categories,
    pyarrow_strings_enabled,
)

# `dask._expr.Expr`, which is in another module before Dask 2025.4.
AnyExpr: Final[Any] = Expr.__mro__[-2]

__all__ = [
    "EQ",
    "GE",
    "GT",
    "LE",
    "LT",
    "UNKNOWN_CATEGORIES",
    "Alias",
    "And",
    "AnyExpr",
    "Assign",
    "AssignPartitioningIndex",
    "Between",
    "Binop",
    "Blockwise",
    "BlockwiseIO",
    "BlockwiseMerge",
    "Concat",
    "DataNode",
    "DiskShuffle",
    "Elemwise",
    "Expr",
    "Filter",
    "FromGraph",
    "FromMap",
    "FromPandas",
    "GraphNode",
    "HashJoinP2P",
    "Index",
    "IsNa",
    "Isin",
    "Len",
    "Lengths",
    "Literal",
    "NotNull",
    "Or",
    "P2PShuffle",
    "Partitions",
    "PartitionsFiltered",
    "Projection",
    "ReadParquet",
    "RepartitionToFewer",
    "ResetIndex",
    "ShuffleBase",
    "StackPartition",
    "Task",
    "TaskRef",
    "TaskShuffle",
    "Unaryop",
    "_DelayedExpr",
    "clear_known_categories",
    "convert_legacy_graph",
    "determine_column_projection",
    "execute_subgraph",
    "get_scheduler",
    "is_filter_pushdown_available",
    "new_collection",
    "pyarrow_strings_enabled",
    "to_pyarrow_string",
]

WHY: Final = {
    "AnyExpr": "base of the expressions of all collections, whose locks are taken out",
    "Alias": "a key of a graph that means another",
    "And": "joins conditions of a filter",
    "Assign": "adds columns: a frame of as many rows",
    "AssignPartitioningIndex": "says which partition a row goes to",
    "Between": "a step of a filter that looks at one row",
    "Binop": "a step of a filter that looks at one row",
    "Blockwise": "base of a step with one task for every partition, as ours are",
    "BlockwiseIO": "base of a reader, as ours is",
    "BlockwiseMerge": "a merge of partitions that lie side by side",
    "Concat": "frames one below the other, not lowered",
    "DataNode": "a value in a graph",
    "DiskShuffle": "a shuffle through one process's disk",
    "EQ": "a comparison of a filter",
    "Elemwise": "base of a step whose rows stay in place",
    "Expr": "base of all expressions",
    "Filter": "a filter, which reading a checkpoint may know",
    "FromGraph": "a frame made of a graph, or persisted",
    "FromMap": "a frame made by a function",
    "FromPandas": "a frame made of data in memory",
    "GE": "a comparison of a filter",
    "GT": "a comparison of a filter",
    "GraphNode": "base of all that a graph holds",
    "HashJoinP2P": "a merge with its shuffles, between workers",
    "Index": "the index of a frame, whose length a manifest has",
    "IsNa": "a step of a filter that looks at one row",
    "Isin": "a step of a filter that looks at one row",
    "LE": "a comparison of a filter",
    "LT": "a comparison of a filter",
    "Len": "asks for the rows of a frame, which a manifest has",
    "Lengths": "asks for the rows of every partition, which a manifest has",
    "Literal": "answers such a question",
    "NotNull": "a step of a filter that looks at one row",
    "Or": "joins conditions of a filter",
    "P2PShuffle": "a shuffle between workers",
    "Partitions": "picks partitions of a frame",
    "PartitionsFiltered": "base of a reader whose partitions can be picked",
    "Projection": "picks columns, which reading a checkpoint may know",
    "ReadParquet": "base of the readers of parquet",
    "RepartitionToFewer": "joins whole partitions",
    "ResetIndex": "the one step in place that counts rows",
    "ShuffleBase": "base of all shuffles",
    "StackPartition": "frames one below the other, lowered",
    "Task": "a call in a graph; our expressions make them",
    "TaskRef": "what refers to another task of a graph",
    "TaskShuffle": "a shuffle made of tasks",
    "UNKNOWN_CATEGORIES": "the one category of a meta that knows none",
    "Unaryop": "a step of a filter that looks at one row",
    "_DelayedExpr": "wraps the values of isin",
    "clear_known_categories": "makes a meta that knows none",
    "convert_legacy_graph": "gives older graphs of tuples the form of these classes",
    "determine_column_projection": "says which columns the steps above need",
    "execute_subgraph": "runs a few tasks that were made one",
    "get_scheduler": "names the scheduler; on a worker, it makes the client",
    "is_filter_pushdown_available": "says whether a filter may move to the reader",
    "new_collection": "makes a frame of an expression of ours",
    "pyarrow_strings_enabled": "says whether Dask changes text to Arrow's",
    "to_pyarrow_string": "gives text the type that Dask gives it",
}
"""Name to what it is used for."""

OF_OBJECTS: Final = {
    "dd.DataFrame._meta": "the empty frame that has the dtypes",
    "Expr._name": "two expressions with one name are one to Dask",
    "Expr._parameters": "the names of an expression's operands",
    "Expr._funcname": "the name of a step, for messages",
    "Client.id": "has the number of the process that made the client",
    "ReadParquet._dataset_info": "the files that a reader of parquet reads",
}
"""Attributes that are not documented either."""
