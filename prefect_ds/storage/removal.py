"""Removing exactly the data that a manifest describes, beside writers and readers.

Between a look at the data and their removal a writer may put others in their place. On
a disk the data are moved away in one step and looked at there; those of another writer
go back. Until the last step anything that looks for a moved checkpoint finds it by its
manifest and puts it back, so that a kill leaves it whole.
"""

from __future__ import annotations

import uuid

from prefect_ds.storage.filed_manifests import FiledManifests
from prefect_ds.storage.filesystem import FOLDER_STAMP, FileSystem, Staged
from prefect_ds.storage.layout import REPLACED, staging_folder
from prefect_ds.storage.lookup import put_back
from prefect_ds.storage.manifest import Manifest


def remove_checkpoint(files: FileSystem, path: str, manifest: Manifest) -> bool:
    """Remove a checkpoint's data and its manifest; return whether it is gone.

    Other data than those of the manifest stay.
    """
    if not remove_data(files, path, manifest):
        return False
    # The data first: without a manifest they would pass for a person's.
    filed = FiledManifests(files, path)
    if manifest.stamp == FOLDER_STAMP and not _is_in_force(filed, manifest):
        return True  # A writer has filed its own meanwhile, under the same name.
    files.remove(filed.file_of(manifest.stamp), "file")
    files.remove_if_empty(filed.folder)
    return True


def remove_data(files: FileSystem, path: str, manifest: Manifest) -> bool:
    """Remove the data that a manifest describes; return whether they are gone."""
    status = files.status(path, manifest.kind)
    if status is None or status.stamp != manifest.stamp:
        return False
    if files.is_link(path):
        return False  # A person moved the data, and the link would free nothing.
    if not files.renames_folders:
        return _remove_objects(files, path, manifest)
    moved = f"{staging_folder(path)}/{uuid.uuid4().hex}{REPLACED}"
    try:
        files.move(path, moved)
    except FileNotFoundError:
        return False
    taken = files.status(moved)
    if taken is not None and taken.stamp != manifest.stamp:
        put_back(files, path, Staged(moved, taken.stamp))
        files.remove(moved)
        return False
    files.remove(moved)
    # A reader that looked in between has put the data back, and needs them.
    status = files.status(path)
    return status is None or status.stamp != manifest.stamp


def _remove_objects(files: FileSystem, path: str, manifest: Manifest) -> bool:
    """Remove the objects of a checkpoint; those of other writers stay."""
    filed = FiledManifests(files, path)
    own = filed.file_of(manifest.stamp).rpartition("/")[2]
    is_alone = set(filed.names()) <= {own}
    if manifest.kind == "file":
        # No step removes an object only if it is ours. A writer files its manifest
        # before its object, so what is left is the time between these two calls.
        if is_alone:
            files.remove(path, "file")
        return is_alone
    if not _is_in_force(filed, manifest):
        return False
    if is_alone:
        files.remove(path, "folder")
        return True
    # Parts of a write under way lie beside them.
    for part in manifest.parts:
        files.remove(f"{path}/{part.name}", "file")
    return True


def _is_in_force(filed: FiledManifests, manifest: Manifest) -> bool:
    """Return whether the manifest filed for a folder is still this one."""
    try:
        there = filed.read(filed.file_of(manifest.stamp))
    except FileNotFoundError:
        return False
    return there.attempt == manifest.attempt
