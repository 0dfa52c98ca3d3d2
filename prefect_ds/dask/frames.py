"""Dask's side of a checkpoint: the expression that reads one, the one that writes a frame, and divisions as JSON."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import dask.dataframe as dd
import pandas as pd
from dask._task_spec import Task, TaskRef
from dask.dataframe.dask_expr import new_collection
from dask.dataframe.dask_expr._expr import Blockwise, Lengths, Literal, PartitionsFiltered, Projection
from dask.dataframe.dask_expr._reductions import Len
from dask.dataframe.dask_expr.io import BlockwiseIO
from dask.typing import Key

from prefect_ds.dask.parts import PartReader, PartWriter, StagedPart, frame_from_json, frame_to_json
from prefect_ds.manifest import JSONObject, Part


@dataclass(frozen=True, slots=True, eq=False)
class FrameSource:
    """A committed checkpoint as a lazy frame sees it."""

    reader: PartReader
    partitions: tuple[tuple[Part, ...], ...]
    """The parts of each partition; none of one that is empty."""
    divisions: tuple[Any, ...]

    @property
    def meta(self) -> pd.DataFrame:
        """The empty frame that Dask held when it was written."""
        return self.reader.meta

    def __dask_tokenize__(self) -> tuple[object, ...]:
        # Names too: Dask keeps one expression per token, and in an object store equal data have parts of other names.
        return (*self.reader.__dask_tokenize__(), [[part.name for part in parts] for parts in self.partitions])


class ReadCheckpoint(PartitionsFiltered, BlockwiseIO):
    """Dask's expression of a frame over a checkpoint: columns reach the files, lengths come from the manifest."""

    _parameters = ["source", "columns", "_partitions", "_series"]  # noqa: RUF012 - as Dask declares it
    _defaults = {"columns": None, "_partitions": None, "_series": False}  # noqa: RUF012
    _absorb_projections = True

    @functools.cached_property
    def _name(self) -> str:
        return f"read-checkpoint-{self.deterministic_token}"

    @property
    def columns(self) -> list[Any]:
        """Labels of the columns that are read."""
        columns = self.operand("columns")
        return list(self.source.meta.columns) if columns is None else list(columns)

    @functools.cached_property
    def _meta(self) -> Any:
        meta = self.source.meta[self.columns]
        return meta[self.columns[0]] if self._series else meta

    def _divisions(self) -> tuple[Any, ...]:
        divisions: tuple[Any, ...] = self.source.divisions
        return divisions

    def _filtered_task(self, name: Key, index: int) -> Task:
        wanted = None
        if self.operand("columns") is not None:
            wanted = tuple(int(each) for each in self.source.meta.columns.get_indexer(self.columns))
        parts = self.source.partitions[index]
        task = Task(name, self.source.reader, parts, wanted, _data_producer=True)
        return Task(name, operator.getitem, task, self.columns[0]) if self._series else task

    def _simplify_up(self, parent: Any, dependents: Any) -> Any:
        if isinstance(parent, Lengths):
            return Literal(self._lengths)
        if isinstance(parent, Len):
            return Literal(sum(self._lengths))
        if isinstance(parent, Projection):
            return super()._simplify_up(parent, dependents)
        return None

    @property
    def _lengths(self) -> tuple[int, ...]:
        return tuple(sum(part.n_rows for part in self.source.partitions[index]) for index in self._partitions)


class WriteParts(Blockwise):
    """Dask's expression that writes each partition of a frame where it is, and gives what was staged."""

    _parameters = ["frame", "writer", "partitions"]  # noqa: RUF012

    @functools.cached_property
    def _meta(self) -> Any:
        return pd.Series([], dtype=object)

    def _divisions(self) -> tuple[None, ...]:
        return (None,) * (int(self.frame.npartitions) + 1)

    def _task(self, name: Key, index: int) -> Task:
        return Task(name, self.writer, TaskRef((self.frame._name, index)), self.partitions[index])


def open_frame(source: FrameSource) -> dd.DataFrame:
    """Return the lazy frame over a checkpoint; no file is looked at."""
    return cast(dd.DataFrame, new_collection(ReadCheckpoint(source)))


def write_parts(
    frame: dd.DataFrame, writer: PartWriter, partitions: Sequence[int], scheduler: str | None
) -> list[StagedPart]:
    """Write some partitions of a frame, on the cluster that computes; return what was staged."""
    some = frame if len(partitions) == frame.npartitions else frame.partitions[list(partitions)]
    written = new_collection(WriteParts(some.expr, writer, tuple(partitions)))
    return list(written.compute(scheduler=scheduler))


def divisions_to_json(divisions: Sequence[Any]) -> JSONObject | None:
    """Return known divisions as JSON, ``None`` for unknown ones."""
    return None if divisions[0] is None else frame_to_json(pd.DataFrame({"divisions": pd.Index(list(divisions))}))


def divisions_from_json(document: JSONObject | None, n_partitions: int) -> tuple[Any, ...]:
    """Return the divisions that `divisions_to_json` made the JSON of."""
    return (None,) * (n_partitions + 1) if document is None else tuple(frame_from_json(document)["divisions"])
