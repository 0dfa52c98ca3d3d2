"""The parts of a frame once all are written: one schema for all, and their sizes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from dask.delayed import delayed

from prefect_ds.dask.frame_json import ends_from_json
from prefect_ds.dask.layouts import Layout
from prefect_ds.dask.lowering import Lowered
from prefect_ds.dask.part_writer import PartWriter
from prefect_ds.dask.parts import StagedPart


def agree(
    staged: list[StagedPart], writer: PartWriter, lowered: Lowered
) -> list[StagedPart]:
    """Rewrite the parts whose schema differs, so that the folder has one schema.

    Raises
    ------
    RoundTripError
        A column holds values that no one type holds.
    """
    layouts = {part.layout for part in staged}
    if len(layouts) < 2:
        return staged
    common = Layout.common(layouts)
    # Not pure: a call writes a file, and no two calls may share one.
    rewrite = delayed(replace(writer, layout=common).rewrite, pure=False)
    agreed = [part if part.layout == common else rewrite(part) for part in staged]
    return list(lowered.compute(agreed)[0])


def regroup(
    staged: list[StagedPart],
    divisions: Sequence[Any],
    writer: PartWriter,
    lowered: Lowered,
) -> tuple[list[StagedPart], Sequence[Any]]:
    """Join small neighbours; return the parts, one a partition, and the divisions.

    Parameters
    ----------
    staged
        In order; those larger than ``writer.partition_bytes`` were split when they were
        written.
    divisions
        Of the frame that was written.
    writer
        Writes the joined parts.
    lowered
        Says where that is computed.
    """
    assert writer.partition_bytes is not None
    join = delayed(writer.join, pure=False)
    groups = _groups(staged, writer.partition_bytes)
    # A part alone keeps its file, and costs no task.
    joined = [
        parts if len(parts) == 1 else join(parts, number)
        for number, parts in enumerate(groups)
    ]
    # A join may give several parts, where categories could not be united.
    regrouped = [part for parts in lowered.compute(joined)[0] for part in parts]
    numbered = [writer.named(part, number) for number, part in enumerate(regrouped)]
    if divisions[0] is None:
        return numbered, _unknown(numbered)
    return numbered, _divisions(numbered)


def _groups(staged: list[StagedPart], limit_bytes: int) -> Iterator[list[StagedPart]]:
    """Yield neighbours that together take at most so many bytes, or one part."""
    group: list[StagedPart] = []
    size_bytes = 0
    for part in staged:
        if group and size_bytes + part.memory_bytes > limit_bytes:
            yield group
            group, size_bytes = [], 0
        group.append(part)
        size_bytes += part.memory_bytes
    yield group


def _divisions(staged: list[StagedPart]) -> Sequence[Any]:
    """Return the divisions that the ends of the parts make.

    They are unknown where two parts share a value.
    """
    if any(part.ends is None for part in staged):
        return _unknown(staged)
    ends = [ends_from_json(part.ends) for part in staged if part.ends is not None]
    for (_, last), (first, _) in itertools.pairwise(ends):
        # Dask looks a value up in one partition only. `not <`, for values without an
        # order.
        if not last < first:
            return _unknown(staged)
    # One first value for every part, and the last value of all.
    return (*(first for first, _ in ends), ends[-1][1])


def _unknown(staged: list[StagedPart]) -> tuple[None, ...]:
    return (None,) * (len(staged) + 1)
