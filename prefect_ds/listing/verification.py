"""Every byte of many checkpoints, compared with their manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect_ds.checkpoints.reference import count, size
from prefect_ds.errors import CheckpointNotFoundError, NewerFormatError
from prefect_ds.listing.checkpoints import shown_path
from prefect_ds.listing.find import Where, locate, name_of, repeatable
from prefect_ds.listing.places import Located
from prefect_ds.listing.side_by_side import side_by_side
from prefect_ds.storage.store import CheckpointStore


@dataclass(frozen=True, slots=True, repr=False)
class Verified:
    """The faults of many checkpoints whose bytes were all read; printed, a list."""

    where: str
    n_checkpoints: int
    size_bytes: int
    faults: Mapping[str, tuple[str, ...]]
    """Path of a checkpoint that is not sound to its faults, in words."""

    @property
    def is_sound(self) -> bool:
        """Whether every checkpoint has the bytes that were written."""
        return not self.faults

    def to_dict(self) -> dict[str, Any]:
        """Return it as values that JSON has."""
        return {
            "where": self.where,
            "n_checkpoints": self.n_checkpoints,
            "size_bytes": self.size_bytes,
            "faults": {path: list(faults) for path, faults in self.faults.items()},
        }

    def __str__(self) -> str:
        lines = [
            f"{shown_path(path)}: {'; '.join(faults)}"
            for path, faults in self.faults.items()
        ]
        read = f"{count(self.n_checkpoints, 'checkpoint')}, {size(self.size_bytes)}"
        verdict = "all sound"
        if not self.is_sound:
            verdict = f"{len(self.faults):,} damaged"
        return "\n".join([*lines, f"{self.where}: {read}, {verdict}."])

    __repr__ = __str__


def verify(
    where: Where,
    parameters: Mapping[str, Any] | None = None,
    *,
    context: Mapping[str, Any] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> Verified:
    """Read every byte of many checkpoints and return their faults.

    For a flow every checkpoint is read as its task's handler reads it, so that a file
    that cannot be decoded is a fault too. For a folder the bytes are compared with
    their manifests. Nothing is set aside.

    Parameters
    ----------
    where, parameters, context, storage_options
        As for :func:`prefect_ds.checkpoints`.
    progress
        Whether to show a progress bar; ``None``: in a terminal and in a notebook, where
        tqdm is installed.

    Examples
    --------
    >>> import tempfile, pandas as pd
    >>> from prefect_ds import PandasResultHandler, verify
    >>> folder = tempfile.mkdtemp()
    >>> handler = PandasResultHandler(f"{folder}/table.csv")
    >>> written = handler.write(pd.DataFrame({"n": [1, 2]}))
    >>> verify(folder).is_sound
    True
    """
    where = repeatable(where)
    # The other states have no data to read.
    there = [
        located
        for located in locate(where, parameters, context, storage_options)
        if located.row.state in ("valid", "stale", "orphan", "adopted", "damaged")
    ]
    is_far = any(not located.files.renames_folders for located in there)
    answers = side_by_side(
        _faults, there, what="Verifying", progress=progress, is_far=is_far
    )
    faults = {
        located.row.path: problems
        for located, problems in zip(there, answers, strict=True)
        if problems
    }
    size_bytes = sum(located.row.size_bytes or 0 for located in there)
    return Verified(name_of(where), len(there), size_bytes, faults)


def _faults(located: Located) -> tuple[str, ...]:
    row, handler = located.row, located.handler
    try:
        # A handler would not decode what is damaged; the store says what is wrong.
        if handler is not None and row.state != "damaged":
            return tuple(handler.verify(row.path))
        return tuple(CheckpointStore(located.files).verify(row.path))
    except CheckpointNotFoundError:
        # A person's file has no manifest to be compared with before a run reads it.
        if row.state == "adopted":
            return ()
        return (row.reason or "it is gone by now",)
    except (OSError, NewerFormatError) as error:
        return (f"it cannot be read: {error}",)
