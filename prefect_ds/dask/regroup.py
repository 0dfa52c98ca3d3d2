"""What is settled between the parts of a frame once all of them are written: one schema, and sizes as asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import dask
import pandas as pd
from dask.delayed import delayed

from prefect_ds.dask.part_writer import PartWriter
from prefect_ds.dask.parts import Layout, StagedPart


def agree(staged: list[StagedPart], writer: PartWriter) -> list[StagedPart]:
    """Return the parts, those written anew that lie otherwise in their files than the rest: a folder has one schema.

    Raises
    ------
    RoundTripError
        A column holds values of different types in different partitions.
    """
    layouts = {part.layout for part in staged}
    if len(layouts) < 2:
        return staged
    common = Layout.common(layouts)
    by_partition = {
        number: list(parts)
        for number, parts in itertools.groupby(staged, lambda part: part.partition)
    }
    odd = {
        number: parts
        for number, parts in by_partition.items()
        if any(part.layout != common for part in parts)
    }
    by_partition |= _rewritten(
        odd, replace(writer, layout=common, partition_bytes=None)
    )
    return [part for number in sorted(by_partition) for part in by_partition[number]]


def regroup(
    staged: list[StagedPart], divisions: Sequence[Any], writer: PartWriter
) -> tuple[list[StagedPart], Sequence[Any]]:
    """Return the parts with small neighbours joined, each a partition of its own, and the divisions they have.

    Parameters
    ----------
    staged
        In order; those larger than ``writer.partition_bytes`` were split when they were
        written.
    divisions
        Of the frame that was written.
    writer
        Writes the joined parts.
    """
    assert writer.partition_bytes is not None
    groups = dict(enumerate(_groups(staged, writer.partition_bytes)))
    single = {
        number: [writer.named(parts[0], number)]
        for number, parts in groups.items()
        if len(parts) == 1
    }
    joined = {number: parts for number, parts in groups.items() if len(parts) > 1}
    single |= _rewritten(joined, replace(writer, partition_bytes=None))
    regrouped = [single[number][0] for number in sorted(single)]
    return regrouped, _divisions(regrouped, writer.meta.index) if divisions[
        0
    ] is not None else (None,) * (len(regrouped) + 1)


def _groups(staged: list[StagedPart], limit_bytes: int) -> Iterator[list[StagedPart]]:
    group: list[StagedPart] = []
    for part in staged:
        if (
            group
            and sum(each.memory_bytes for each in group) + part.memory_bytes
            > limit_bytes
        ):
            yield group
            group = []
        group.append(part)
    yield group


def _rewritten(
    groups: dict[int, list[StagedPart]], writer: PartWriter
) -> dict[int, list[StagedPart]]:
    rewrite = delayed(writer.rewrite, pure=False)
    written = dask.compute(
        [rewrite(parts, number) for number, parts in groups.items()]
    )[0]
    return dict(zip(groups, written, strict=True))


def _divisions(staged: list[StagedPart], index: pd.Index) -> Sequence[Any]:
    """Return the divisions that the parts' index ranges make; unknown ones where two parts share a value."""
    unknown = (None,) * (len(staged) + 1)
    ranges = [(each.part.index_min, each.part.index_max) for each in staged]
    if any(smallest is None for smallest, _ in ranges):
        return unknown
    smallest, largest = (
        pd.Index(list(each)).astype(index.dtype) for each in zip(*ranges, strict=True)
    )
    if not (largest[:-1] < smallest[1:]).all():
        return unknown
    return (*smallest, largest[-1])
