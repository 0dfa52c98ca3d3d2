"""A result on its way into a checkpoint, and once it is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefect_ds.checkpoints.reference import CheckpointReference
from prefect_ds.storage.filesystem import Kind, Staged
from prefect_ds.storage.manifest import JSONObject
from prefect_ds.storage.part import Part

ON_DEMAND = object()
"""Takes the place of a value that is made from the checkpoint when it is first used."""

ANOTHER_WAS_FIRST = "another run was first with the same inputs; its result counts"
"""A note on a result that is not the one which the task has just computed."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a handler says of data that it has staged, or that were there."""

    parts: tuple[Part, ...]
    n_columns: int
    schema: JSONObject | None
    value: Any
    """What downstream tasks get.

    The task's result, or what the file gives where the user's options change it.
    """
    note: str = ""
    staged: Staged | None = None
    """``None`` for data that were there already."""
    compute_s: float = 0.0
    """Seconds of the staging that went into computing: a Dask frame is lazy."""
    kind: Kind | None = None
    """``None``: the kind that all checkpoints of the handler have."""
    value_digest: str = ""
    """See :attr:`prefect_ds.storage.manifest.Manifest.value_digest`."""

    @property
    def n_rows(self) -> int:
        """Rows in all parts."""
        return sum(part.n_rows for part in self.parts)


@dataclass(frozen=True, slots=True)
class Kept:
    """A result that was committed."""

    reference: CheckpointReference
    value: Any
    note: str
    compute_s: float = 0.0
    """Seconds of keeping it that went into computing."""
