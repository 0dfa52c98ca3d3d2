"""Writes of many parts that go on, or were stopped, as another process sees them.

A write has a folder in ``.prefect_ds/staging``. Every partition that is finished leaves
a record there, and the file ``owner`` says whose folder it is and how many partitions
there will be. So whoever lists the folder knows how far the write is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prefect_ds.storage.filesystem import FileSystem
from prefect_ds.storage.layout import name, parent, staging_folder
from prefect_ds.storage.processes import is_over

OWNER = "owner"
"""Name of the file in a staging folder that says which process writes there."""

_RECORD = ".json"
_STAGED = ".staged"


@dataclass(frozen=True, slots=True)
class RunningWrite:
    """A write of many parts that goes on, or was stopped."""

    path: str
    """Of the checkpoint."""
    n_written: int
    """Partitions that it has finished itself."""
    n_taken_over: int
    """Partitions that an earlier write had finished."""
    n_partitions: int
    is_stopped: bool
    """Its process has ended, or it failed."""

    @property
    def n_left(self) -> int:
        """Partitions that are not finished."""
        return max(0, self.n_partitions - self.n_written - self.n_taken_over)

    def __str__(self) -> str:
        done = self.n_partitions - self.n_left
        words = f"{done:,} of {self.n_partitions:,} partitions are written"
        if self.n_taken_over:
            words += f" ({self.n_taken_over:,} of them by a write that was stopped)"
        if self.is_stopped:
            return f"a write was stopped: {words}"
        return f"a write goes on: {words}, {self.n_left:,} are left"


def staging_prefix(path: str) -> str:
    """Return how the paths of a checkpoint's staging folders begin."""
    # By digest: a name may be too long with a key and an id behind it.
    checkpoint = hashlib.sha256(name(path).encode("utf-8", "surrogateescape"))
    return f"{staging_folder(path)}/{checkpoint.hexdigest()[:16]}-"


def n_records(files: FileSystem, folder: str) -> int:
    """Return how many partitions were finished in a staging folder."""
    # `3.<id>.json`: a partition that was written twice has two records.
    numbers = {
        file.split(".")[0] for file in files.names(folder) if file.endswith(_RECORD)
    }
    return len(numbers)


def running_write(files: FileSystem, path: str) -> RunningWrite | None:
    """Return the write to a checkpoint that is furthest, the ones that go on first.

    ``None``: there is none. Object stores are not asked: it would take requests.
    """
    if not files.renames_folders:
        return None
    beside = parent(path)
    prefix = staging_prefix(path)
    writes = [
        write
        for folder, write in _writes_in(files, beside)
        if folder.startswith(prefix) and write.path == path
    ]
    return max(writes, key=_order, default=None)


def running_writes_in(files: FileSystem, folder: str) -> list[RunningWrite]:
    """Return the writes to checkpoints in a folder, one for every checkpoint."""
    if not files.renames_folders:
        return []
    by_path: dict[str, RunningWrite] = {}
    for _, write in _writes_in(files, folder):
        other = by_path.get(write.path, write)
        by_path[write.path] = max(other, write, key=_order)
    return [by_path[path] for path in sorted(by_path)]


def _order(write: RunningWrite) -> tuple[bool, int]:
    # A write that goes on says more than one that was stopped, however far it came.
    return not write.is_stopped, -write.n_left


def _writes_in(files: FileSystem, folder: str) -> Iterator[tuple[str, RunningWrite]]:
    """Yield every staging folder that says what is written, with its write."""
    staging = staging_folder(f"{folder}/x")
    for entry in files.names(staging):
        if not entry.endswith(_STAGED):
            continue
        # The write ends meanwhile, or it is one of an earlier version.
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            below = f"{staging}/{entry}"
            owner: dict[str, Any] = json.loads(files.read_bytes(f"{below}/{OWNER}"))
            yield (
                below,
                RunningWrite(
                    path=f"{folder}/{owner['name']}",
                    n_written=n_records(files, below),
                    n_taken_over=int(owner["taken_over"]),
                    n_partitions=int(owner["partitions"]),
                    is_stopped=bool(owner.get("stopped")) or is_over(owner),
                ),
            )
