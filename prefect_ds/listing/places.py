"""The folders, paths and URLs in which checkpoints are looked for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, NamedTuple, TypeAlias

from fsspec.core import split_protocol

from prefect_ds.errors import CheckpointNotFoundError
from prefect_ds.listing.rows import ListedCheckpoint, row_of_seen
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.filed_manifests import FiledManifests
from prefect_ds.storage.filesystem import FileSystem
from prefect_ds.storage.opening import open_files
from prefect_ds.storage.running_writes import (
    RunningWrite,
    running_write,
    running_writes_in,
)
from prefect_ds.storage.scan import (
    Seen,
    folders_with_checkpoints,
    look_at_all,
    scan,
)

PathLike: TypeAlias = str | PurePath


class Located(NamedTuple):
    """A checkpoint of a listing, and the file system that it lies on."""

    row: ListedCheckpoint
    files: FileSystem
    handler: ResultHandler | None = None
    """Of the task that renders its path; ``None``: not known."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with checkpoints, or the path of one."""

    files: FileSystem
    path: str
    is_checkpoint: bool

    def located(self) -> Iterator[Located]:
        """Yield the checkpoints at the place, and those that are being written."""
        writes = {write.path: write for write in self._writes()}
        for seen in self.seen():
            row = row_of_seen(seen)
            write = writes.pop(seen.path, None)
            if write is not None:
                words = [row.reason, str(write)]
                row = replace(row, reason="; ".join(filter(None, words)))
            yield Located(row, self.files)
        # Of a first write there is no manifest yet, and so no row.
        for path, write in writes.items():
            row = ListedCheckpoint("", path, "missing", str(write))
            yield Located(row, self.files)

    def _writes(self) -> Iterator[RunningWrite]:
        """Yield the writes of many parts that go on at the place, or were stopped."""
        # In an object store it would take requests.
        if not self.files.renames_folders:
            return
        if self.is_checkpoint:
            write = running_write(self.files, self.path)
            if write is not None:
                yield write
            return
        for folder in folders_with_checkpoints(self.files, self.path):
            yield from running_writes_in(self.files, folder)

    def seen(self) -> Iterator[Seen]:
        """Yield what lies at the place, without folders of no manifests."""
        if self.is_checkpoint:
            return look_at_all(self.files, [self.path])
        # Without data and without a manifest that can be read, nothing is known.
        below = scan(self.files, self.path)
        return (seen for seen in below if seen.manifest or seen.kind != "missing")


def places(
    where: PathLike | Iterable[PathLike],
    storage_options: Mapping[str, Any] | None = None,
) -> list[Place]:
    """Return the places that a user names.

    Raises
    ------
    CheckpointNotFoundError
        There is nothing at one of them.
    """
    # A text is iterable too, and means one path.
    paths = [where] if isinstance(where, (str, PurePath)) else list(where)
    return [_place(absolute(path), storage_options) for path in paths]


def absolute(path: PathLike) -> str:
    """Return a path or URL as handlers have it."""
    text = str(path)
    protocol, bare = split_protocol(text)
    if protocol not in (None, "file", "local"):
        return text.rstrip("/")
    there = os.path.abspath(os.path.expanduser(str(bare)))
    return there.replace(os.sep, "/")


def _place(path: str, storage_options: Mapping[str, Any] | None) -> Place:
    files = open_files(path, storage_options)
    # By its manifests, not by its data: those may be gone, or may be a folder.
    if FiledManifests(files, path).names() or running_write(files, path) is not None:
        return Place(files, path, is_checkpoint=True)
    status = files.status(path, "folder")
    if status is None:
        raise CheckpointNotFoundError(f"there is nothing at {path!r}")
    if status.kind == "file":
        raise CheckpointNotFoundError(
            f"{path!r} is no checkpoint: no manifest is filed for it. A flow that has "
            "a task with this path takes it for a file that a person put there"
        )
    return Place(files, path, is_checkpoint=False)
