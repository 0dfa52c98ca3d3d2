"""Setting data aside, checking checkpoints in full, and clearing leftovers."""

from __future__ import annotations

import contextlib
import logging
import time

from prefect_ds.errors import CheckpointNotFoundError, NewerFormatError
from prefect_ds.path_template import SIDE_FOLDER
from prefect_ds.storage.aside_record import Advice, AsideRecord
from prefect_ds.storage.describe import checksum_kinds, read_parts
from prefect_ds.storage.filed_manifests import FiledManifests, filed_in
from prefect_ds.storage.filesystem import FileSystem, Status
from prefect_ds.storage.layout import old_manifest_folder, set_aside_path
from prefect_ds.storage.lookup import find_displaced, look_up, put_back
from prefect_ds.storage.part_names import is_part_in_store

logger = logging.getLogger("prefect.prefect_ds.storage.housekeeping")


def set_aside(
    files: FileSystem,
    path: str,
    why: str,
    stamp: str | None = None,
    *,
    then: str = "the next run computes it again",
    advice: Advice = "adopt",
    is_recorded: bool = True,
) -> str:
    """Move the data at ``path`` out of the way and return their new path.

    See :meth:`CheckpointStore.set_aside`.
    """
    status = files.status(path)
    if status is not None and stamp not in (None, status.stamp):
        return path
    if status is not None and status.is_empty and advice == "adopt":
        advice = "none"
    # Not ours, or no longer as we wrote it: never deleted.
    aside = set_aside_path(path)
    try:
        files.move(path, aside)
    except FileNotFoundError:
        return aside  # Another reader saw the damage too, and was first.
    record = AsideRecord(path, aside, why, advice)
    if is_recorded:
        # A full disk, say: then the next run cannot name the reason.
        with contextlib.suppress(OSError):
            record.file(files)
    logger.warning(
        "%s: %s; set aside as %s; %s%s", path, why, aside, then, record.way_back
    )
    return aside


def verify(files: FileSystem, path: str) -> list[str]:
    """Read every byte of a checkpoint and return its faults in words.

    See :meth:`CheckpointStore.verify`.
    """
    at_path = look_up(files, path, "file", "size")
    if at_path.kind == "damaged":
        return [at_path.reason]
    if at_path.manifest is None:
        raise CheckpointNotFoundError(f"no checkpoint at {path!r}: {at_path.reason}")
    status = files.status(path)
    present = {}
    if status is not None:
        kinds = checksum_kinds([at_path.manifest])
        parts = read_parts(files, path, status, kinds)
        present = {part.name: part for part in parts}
    described = {part.name for part in at_path.manifest.parts}
    problems = [
        f"{extra}: is not in the manifest"
        for extra in sorted(present.keys() - described)
    ]
    for part in at_path.manifest.parts:
        there = present.get(part.name)
        if there is None:
            problems.append(f"{part.name}: is gone")
        elif there.size_bytes != part.size_bytes:
            problems.append(
                f"{part.name}: has {there.size_bytes} bytes, "
                f"was written with {part.size_bytes}"
            )
        elif there.checksum != part.checksum:
            problems.append(f"{part.name}: its checksum is another")
    return problems


def clean(
    files: FileSystem, folder: str, *, older_than_s: float, dry_run: bool
) -> list[str]:
    """Remove what killed and replaced writes left in a folder; return the paths.

    See :meth:`CheckpointStore.clean`.
    """
    old = leftovers(files, folder, older_than_s=older_than_s, puts_back=not dry_run)
    if not dry_run:
        for leftover in old:
            files.remove(leftover)
    return old


def leftovers(
    files: FileSystem, folder: str, *, older_than_s: float, puts_back: bool
) -> list[str]:
    """Return the paths that killed and replaced writes left in a folder.

    With ``puts_back``, a copy that a crash left in staging goes back to its place.
    """
    side = f"{folder}/{SIDE_FOLDER}"
    newest = time.time() - older_than_s
    paths = [f"{side}/staging/{staged}" for staged in files.names(f"{side}/staging")]
    for hidden in files.names(f"{side}/manifests"):
        try:
            filed = filed_in(files, folder, hidden)
            if filed is None:
                paths += _superseded(files, folder, hidden)
                continue
            status = files.status(filed.path)
            names = filed.names()
            displaced = None if status else find_displaced(files, filed.path, names)
            if displaced is not None and displaced.path in paths:
                # A copy that a crash left in staging goes back to its place.
                paths.remove(displaced.path)
                status = files.status(displaced.path)
                if puts_back:
                    put_back(files, filed.path, displaced)
            paths += _left_by(filed, names, status, newest)
        except (PermissionError, IsADirectoryError):
            continue  # Nothing says what is unneeded there; another user may know.
    return [leftover for leftover in paths if _is_older(files, leftover, newest)]


def _left_by(
    filed: FiledManifests, names: list[str], status: Status | None, newest: float
) -> list[str]:
    """Return the manifests and parts that one checkpoint no longer needs."""
    unneeded = _unneeded_manifests(filed, names, status)
    if status is not None and status.is_shared_folder:
        unneeded += _stray_parts(filed, status, newest)
    return unneeded


def unfinished_writes(files: FileSystem, folder: str) -> tuple[int, int]:
    """Return how many writes to a folder are under way or were stopped, and bytes."""
    staging = f"{folder}/{SIDE_FOLDER}/staging"
    n_writes = 0
    try:
        n_writes = len(files.names(staging))
        return n_writes, sum(files.sizes(staging).values())
    except OSError:
        # One of them has ended meanwhile; or the folder is out of order, and the first
        # write to it fails with words.
        return n_writes, 0


def _superseded(files: FileSystem, folder: str, old: str) -> list[str]:
    """Return a folder of the old layout if its manifests are no longer needed."""
    filed = FiledManifests(files, f"{folder}/{old}")
    status = files.status(filed.path)
    if status is None or filed.is_readable(filed.file_of(status.stamp)):
        return [old_manifest_folder(filed.path)]
    return []


def _unneeded_manifests(
    filed: FiledManifests, names: list[str], status: Status | None
) -> list[str]:
    """Return the manifests of a path that no longer prove anything."""
    manifests = [f"{filed.folder}/{name}" for name in names]
    if status is None:
        # A manifest whose data were freed still proves what was made from them.
        try:
            freed = filed.freed()
        except NewerFormatError:
            return []  # What it proves is for that version to say.
        proof = None if freed is None else filed.file_of(freed.stamp)
        return [manifest for manifest in manifests if manifest != proof]
    in_force = filed.file_of(status.stamp)
    # Where no readable manifest has the stamp of the data, any of them may still prove
    # the data by their bytes.
    if not filed.is_readable(in_force):
        return []
    return [manifest for manifest in manifests if manifest != in_force]


def _stray_parts(filed: FiledManifests, status: Status, newest: float) -> list[str]:
    """Return parts in a store's folder that no manifest in force, or young, names."""
    path = filed.path
    parts = [
        part_name
        for part_name in filed.files.sizes(path)
        if is_part_in_store(part_name)
    ]
    # Manifests are listed after the parts: a part on its way has a manifest by now.
    manifests = dict(filed.readable())
    in_force = filed.file_of(status.stamp)
    if in_force not in manifests:
        return []
    if manifests[in_force].is_partly_freed(parts):
        del manifests[in_force]
    named = set()
    for file, manifest in manifests.items():
        if file == in_force or not _is_older(filed.files, file, newest):
            named |= {part.name for part in manifest.parts}
    return [f"{path}/{part_name}" for part_name in parts if part_name not in named]


def _is_older(files: FileSystem, path: str, newest: float) -> bool:
    """Whether a leftover is old enough that no writer can still be at work on it."""
    try:
        return files.modified(path) < newest
    except FileNotFoundError:
        return False  # Its writer was faster.
