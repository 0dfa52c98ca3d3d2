"""Dask's expressions that read a checkpoint, and write one."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import dask.dataframe as dd
import pandas as pd
from dask.typing import Key

from prefect_ds.dask._internals import (
    Between,
    Binop,
    Blockwise,
    BlockwiseIO,
    Expr,
    Filter,
    Index,
    Isin,
    IsNa,
    Len,
    Lengths,
    Literal,
    NotNull,
    PartitionsFiltered,
    Projection,
    Task,
    TaskRef,
    Unaryop,
    _DelayedExpr,
    determine_column_projection,
    is_filter_pushdown_available,
    new_collection,
)
from prefect_ds.dask.part_reader import PartReader
from prefect_ds.dask.part_writer import PartWriter
from prefect_ds.dask.parts import StagedPart
from prefect_ds.dask.row_group_filters import condition_of
from prefect_ds.storage.part import Part


# Compared by identity: the reader holds a frame, and `==` of frames is no boolean.
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FrameSource:
    """A committed checkpoint as a lazy frame sees it."""

    reader: PartReader
    partitions: tuple[tuple[Part, ...], ...]
    """The parts of every partition; an empty one may have none."""
    divisions: tuple[Any, ...]

    @property
    def meta(self) -> pd.DataFrame:
        """The empty frame that Dask held when it was written."""
        return self.reader.meta

    def __dask_tokenize__(self) -> tuple[object, ...]:
        # Names too: Dask keeps one expression per token, and in an object store equal
        # data have parts of other names.
        return (
            *self.reader.__dask_tokenize__(),
            [[part.name for part in parts] for parts in self.partitions],
        )

    def __repr__(self) -> str:
        return f"<Checkpoint: {self.reader.path}>"


class ReadCheckpoint(PartitionsFiltered, BlockwiseIO):
    """A frame over a checkpoint: it reads only columns and row groups that are needed.

    The lengths of partitions are in the manifest, so that ``len`` reads no file.
    ``condition`` comes from a filter above: rows that do not meet it may be left out,
    in whole row groups.
    """

    # As Dask declares them.
    _parameters = ["source", "columns", "condition", "_partitions", "_series"]  # noqa: RUF012
    _defaults = {  # noqa: RUF012
        "columns": None,
        "condition": None,
        "_partitions": None,
        "_series": False,
    }

    @property
    def columns(self) -> list[Any]:
        """Labels of the columns that are read."""
        labels = self.source.meta.columns
        if self._wanted is not None:
            labels = labels.take(self._wanted)
        return list(labels)

    @functools.cached_property
    def _wanted(self) -> list[int] | None:
        """Positions of the columns that are read; ``None``: all.

        Dask projects by label, and a label may stand for several columns.
        """
        labels = self.operand("columns")
        if labels is None:
            return None
        return places_of(labels, self.source.meta.columns)

    @functools.cached_property
    def _meta(self) -> Any:
        meta = self.source.meta
        if self._wanted is not None:
            meta = meta.iloc[:, self._wanted]
        if self._series:
            return meta.iloc[:, 0]
        return meta

    def _divisions(self) -> tuple[Any, ...]:
        divisions: tuple[Any, ...] = self.source.divisions
        return divisions

    def _filtered_task(self, name: Key, index: int) -> Task:
        wanted = None if self._wanted is None else tuple(self._wanted)
        parts = self.source.partitions[index]
        # `_data_producer` tells Dask that the task loads data and has no inputs.
        task = Task(
            name, self.source.reader, parts, wanted, self.condition, _data_producer=True
        )
        if self._series:
            return Task(name, operator.getitem, task, self.columns[0])
        return task

    def _simplify_up(self, parent: Any, dependents: Any) -> Any:
        # Dask asks what takes the place of the step above; `None` changes nothing.
        if isinstance(parent, Filter):
            return self._reading_less(parent, dependents)
        # With a condition nobody knows how many rows will be read.
        if isinstance(parent, Lengths) and self.condition is None:
            return Literal(self._lengths)
        if isinstance(parent, Len) and self.condition is None:
            return Literal(sum(self._lengths))
        # Done already: Dask asks again as long as anything changes.
        if isinstance(parent, CheckpointIndex):
            return None
        if isinstance(parent, Index):
            columns = cast(
                list[Any], determine_column_projection(self, parent, dependents)
            )
            fewer = [self.columns[place] for place in places_of(columns, self.columns)]
            less = self.substitute_parameters({"columns": fewer, "_series": False})
            return CheckpointIndex(less)
        if isinstance(parent, Projection):
            return self._projected(parent, dependents)
        return None

    def _projected(self, parent: Projection, dependents: Any) -> Any:
        """Return a projection of fewer columns, ``None`` where all are needed.

        Dask's own way takes a tuple for several labels and ``None`` for no projection.
        """
        wanted: Any = determine_column_projection(self, parent, dependents)
        labels = wanted
        if not isinstance(wanted, list):
            labels = [wanted]
        # With labels of several levels, one of the first level selects columns whose
        # whole labels are other ones.
        is_known = len(places_of(self.columns, labels)) == len(labels)
        fewer = [self.columns[place] for place in places_of(labels, self.columns)]
        if not is_known or len(fewer) == len(self.columns):
            return None
        less = self.substitute_parameters({"columns": fewer})
        projected: Any = parent.operand("columns")
        # The same columns in the same order need no step above the reader.
        if isinstance(projected, list) and projected == fewer:
            return less
        return Projection(less, projected)

    def _filter_passthrough_available(self, parent: Any, dependents: Any) -> bool:
        # Asked by a filter, before it lets a projection come between it and this.
        return self._reading_less(parent, dependents) is not None

    def _reading_less(self, parent: Filter, dependents: Any) -> Filter | None:
        """Return a filter over fewer rows, ``None`` if statistics can rule out none.

        Its predicate is computed of the same rows.
        """
        if parent.frame._name != self._name:
            return None
        if not is_filter_pushdown_available(self, parent, dependents):
            return None
        predicate = parent.predicate
        # In `frame[frame.x > 0]` the predicate reads by an expression of its own, of
        # the column `x` alone.
        read = {
            source._name: source
            for source in [self, *predicate.find_operations(ReadCheckpoint)]
        }
        if not _is_by_row(predicate) or not all(map(self._reads_same, read.values())):
            return None
        condition = condition_of(predicate, lambda source: source._name in read)
        if condition is None or condition == self.condition:
            return None
        # Both sides must leave out the same row groups, to have the same rows.
        for source in read.values():
            predicate = predicate.substitute(
                source, source.substitute_parameters({"condition": condition})
            )
        return Filter(self.substitute_parameters({"condition": condition}), predicate)

    def _reads_same(self, other: ReadCheckpoint) -> bool:
        """Return whether another expression reads the same rows, of any columns."""
        rows = ("source", "condition", "_partitions")
        return all(other.operand(name) == self.operand(name) for name in rows)

    @property
    def _lengths(self) -> tuple[int, ...]:
        return tuple(
            sum(part.n_rows for part in self.source.partitions[index])
            for index in self._partitions
        )


class CheckpointIndex(Index):
    """The index of a frame over a checkpoint; its length is in the manifest too."""

    def _simplify_up(self, parent: Any, dependents: Any) -> Any:
        frame = self.frame
        # Dask may have put other steps between the two since this was made.
        is_over_files = isinstance(frame, ReadCheckpoint) and frame.condition is None
        if isinstance(parent, Len) and is_over_files:
            return Literal(sum(frame._lengths))
        return super()._simplify_up(parent, dependents)


def places_of(labels: Sequence[Any], among: Iterable[Any]) -> list[int]:
    """Return the positions of labels among others."""
    wanted = set(labels)
    # A set finds NaN by identity, and a pickled NaN is another object.
    has_nan = any(label != label for label in labels)
    return [
        place
        for place, label in enumerate(among)
        if label in wanted or (has_nan and label != label)
    ]


def _is_by_row(predicate: Any) -> bool:
    """Return whether every value of a predicate depends on one row alone.

    ``x > 0`` does. ``x > x.mean()`` does not: with fewer rows the mean is another.
    """
    if not isinstance(predicate, Expr) or isinstance(predicate, ReadCheckpoint):
        return True
    by_row = (
        Between,
        Binop,
        Isin,
        IsNa,
        Literal,
        NotNull,
        Projection,
        Unaryop,
        _DelayedExpr,
    )
    return isinstance(predicate, by_row) and all(map(_is_by_row, predicate.operands))


class WriteParts(Blockwise):
    """Writes every partition where it is, and gives its staged parts."""

    _parameters = ["frame", "writer", "partitions"]  # noqa: RUF012

    @functools.cached_property
    def _meta(self) -> Any:
        return pd.Series([], dtype=object)

    def _divisions(self) -> tuple[None, ...]:
        return (None,) * (int(self.frame.npartitions) + 1)

    def _task(self, name: Key, index: int) -> Task:
        return Task(
            name,
            self.writer,
            TaskRef((self.frame._name, index)),
            self.partitions[index],
        )


def open_frame(source: FrameSource) -> dd.DataFrame:
    """Return the lazy frame over a checkpoint; no file is looked at."""
    return cast(dd.DataFrame, new_collection(ReadCheckpoint(source)))


def write_parts(
    frame: dd.DataFrame,
    writer: PartWriter,
    partitions: Sequence[int],
    scheduler: str | None,
) -> list[StagedPart]:
    """Write some partitions of a frame; return their staged parts."""
    some = frame
    # A stopped write has finished the others: they are not computed.
    if len(partitions) != frame.npartitions:
        some = frame.partitions[list(partitions)]
    written = new_collection(WriteParts(some.expr, writer, tuple(partitions)))
    return list(written.compute(scheduler=scheduler))
