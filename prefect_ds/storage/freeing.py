"""Freeing: the data of a checkpoint go, its manifest stays and says so."""

from __future__ import annotations

import uuid
from dataclasses import replace

from prefect_ds.errors import CheckpointNotFoundError, PrefectDSError
from prefect_ds.storage.filed_manifests import FiledManifests
from prefect_ds.storage.filesystem import FileSystem, Staged, Status
from prefect_ds.storage.history import Event, now
from prefect_ds.storage.layout import set_aside_path, staging_folder
from prefect_ds.storage.lookup import look_up
from prefect_ds.storage.manifest import Manifest


def free(files: FileSystem, path: str) -> Manifest:
    """Remove the data of a checkpoint and keep its manifest, which says so.

    See :meth:`CheckpointStore.free`.
    """
    at_path = look_up(files, path, "file", "size")
    manifest = at_path.manifest
    if manifest is None:
        raise CheckpointNotFoundError(f"no checkpoint at {path!r}: {at_path.reason}")
    if manifest.identity is None:
        raise PrefectDSError(
            f"the checkpoint at {path!r} cannot be freed: prefect_ds did not write it, "
            "or does not know what it was made from"
        )
    freed_at = now()
    event = Event("freed", freed_at, "", manifest.identity.digest)
    freed = replace(manifest, freed_at=freed_at, history=(*manifest.history, event))
    # The manifest first: data that are gone without a word of the user's are computed
    # again.
    FiledManifests(files, path).refile(freed)
    _check(path, manifest, files.status(path, manifest.kind))
    if manifest.kind == "folder" and files.renames_folders:
        _remove_folder(files, path, manifest)
    else:
        files.remove(path, manifest.kind)
    return freed


def _remove_folder(files: FileSystem, path: str, manifest: Manifest) -> None:
    """Remove a folder that nobody sees half removed.

    It leaves its place in one step. What a kill leaves of it in the staging folder is
    cleared as other leftovers are.
    """
    gone = f"{staging_folder(path)}/{uuid.uuid4().hex}.freed"
    files.move(path, gone)
    # Looked at once more where nobody writes: a run may have replaced it just before.
    status = files.status(gone, "folder")
    try:
        _check(path, manifest, status)
    except CheckpointNotFoundError:
        if status is not None:
            _put_back(files, Staged(gone, status.stamp), path)
        raise
    files.remove(gone, "folder")


def _put_back(files: FileSystem, staged: Staged, path: str) -> None:
    """Put a folder back that another run had put there meanwhile."""
    try:
        files.place(staged, path)
    except FileExistsError:
        # A third writer was faster. Data of others are never deleted.
        files.move(staged.path, set_aside_path(path))


def _check(path: str, manifest: Manifest, status: Status | None) -> None:
    """Raise an error if other data lie there than those of the manifest."""
    if status is None or status.stamp != manifest.stamp:
        raise CheckpointNotFoundError(
            f"the checkpoint at {path!r} was replaced meanwhile; look at it again"
        )
