"""The things that prune may remove: their bytes, and the call that removes them."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from prefect_ds.errors import PrefectDSError
from prefect_ds.listing.checkpoints import shown_path
from prefect_ds.listing.places import Located
from prefect_ds.listing.pruned import Prunable, What
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.filed_manifests import FiledManifests
from prefect_ds.storage.filesystem import FileSystem
from prefect_ds.storage.housekeeping import leftovers
from prefect_ds.storage.layout import SIDE_FOLDER, data_name
from prefect_ds.storage.removal import remove_checkpoint
from prefect_ds.storage.scan import look_at

GONE = "it is gone by now"
CHANGED = "it has changed since it was listed"
"""Reasons for which something stays that was to be removed."""


@dataclass(frozen=True, slots=True)
class Removal:
    """One thing that may go, and the call that removes it."""

    item: Prunable
    remove: Callable[[], str]
    """Removes it; returns in words why it stayed, or nothing."""
    is_far: bool = False
    """Whether it is in an object store."""


def of_checkpoint(located: Located, what: What, reason: str) -> Removal:
    """Return the removal of a checkpoint with its manifest."""
    row, files = located.row, located.files
    # The manifest goes too, and thousands of them take space.
    manifest = files.status(FiledManifests(files, row.path).file_of(row.stamp))
    size_bytes = row.size_bytes or 0
    if manifest is not None:
        size_bytes += manifest.size_bytes
    item = Prunable(what, row.path, size_bytes, row.run, reason)
    is_far = not files.renames_folders
    return Removal(item, partial(_remove_checkpoint, located), is_far)


def of_data(
    handler: ResultHandler, located: Located, size_bytes: int, reason: str
) -> Removal:
    """Return the removal of a checkpoint's data; its manifest stays."""
    row = located.row
    item = Prunable("not needed", row.path, size_bytes, row.run, reason)
    is_far = not located.files.renames_folders
    return Removal(item, partial(_free, handler, row.path), is_far)


def of_set_aside(
    files: FileSystem, folder: str, least_age: datetime.timedelta
) -> Iterator[Removal]:
    """Yield the removals of the data that were set aside in a folder."""
    aside = f"{folder}/{SIDE_FOLDER}/set-aside"
    newest = time.time() - least_age.total_seconds()
    for name in sorted(files.names(aside)):
        path = f"{aside}/{name}"
        if not _is_older(files, path, newest):
            continue
        # The name of the data, with an id and a suffix behind it.
        origin, reason = data_name(name.rsplit(".", 2)[0]), ""
        if origin:
            reason = f"was {shown_path(f'{folder}/{origin}')}"
        yield _of_file(files, path, "set aside", reason)


def of_leftovers(
    files: FileSystem, folder: str, least_age: datetime.timedelta, *, puts_back: bool
) -> Iterator[Removal]:
    """Yield the removals of what stopped and replaced writes left in a folder."""
    paths = leftovers(
        files, folder, older_than_s=least_age.total_seconds(), puts_back=puts_back
    )
    for path in paths:
        reason = "a part that no manifest names"
        if f"/{SIDE_FOLDER}/staging/" in path:
            reason = "of a write that was stopped"
        elif f"/{SIDE_FOLDER}/manifests/" in path:
            reason = "a manifest whose data are gone"
        yield _of_file(files, path, "leftover", reason)


def _of_file(files: FileSystem, path: str, what: What, reason: str) -> Removal:
    size_bytes = size_of(files, path) or 0
    item = Prunable(what, path, size_bytes, reason=reason)
    return Removal(item, partial(_remove_file, files, item), not files.renames_folders)


def size_of(files: FileSystem, path: str) -> int | None:
    """Return the bytes of a file, or of all files in a folder; ``None``: not there."""
    status = files.status(path, "folder")
    if status is None:
        return None
    if status.kind == "file":
        return status.size_bytes
    return sum(files.sizes(path).values())


def _is_older(files: FileSystem, path: str, newest: float) -> bool:
    try:
        return files.modified(path) <= newest
    except FileNotFoundError:
        # Another prune was faster.
        return False


def _remove_checkpoint(located: Located) -> str:
    row, files = located.row, located.files
    # A look once more: a run may have written it again since the listing.
    seen = look_at(files, row.path)
    if seen.kind in ("missing", "freed"):
        return GONE
    if not seen.is_proved or seen.manifest is None or seen.stamp != row.stamp:
        return CHANGED
    if not remove_checkpoint(files, row.path, seen.manifest):
        return "a run wrote it again, or reads it"
    return ""


def _free(handler: ResultHandler, path: str) -> str:
    try:
        handler.free(path)
    # Damaged, or replaced or removed meanwhile: the others are freed all the same.
    except (PrefectDSError, FileNotFoundError) as error:
        return str(error)
    return ""


def _remove_file(files: FileSystem, item: Prunable) -> str:
    there = size_of(files, item.path)
    if there is None:
        return GONE
    # A write is at work in it after all.
    if there != item.size_bytes:
        return CHANGED
    files.remove(item.path)
    return ""
