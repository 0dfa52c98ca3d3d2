"""The commit: how staged data come to lie at their path whole, with their manifest.

The order is the same everywhere. The manifest is filed first, then one atomic step puts
the data in place. A disk and an object store differ in that step, and in what has to be
done around it: :class:`_DiskCommitter` and :class:`_StoreCommitter`.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Protocol

from prefect_ds.errors import CollisionError
from prefect_ds.storage.aside_record import Advice, record_file
from prefect_ds.storage.describe import checksum_kinds, read_parts, same_bytes
from prefect_ds.storage.filed_manifests import FiledManifests
from prefect_ds.storage.filesystem import FOLDER_STAMP, FileSystem, Kind, Staged, Status
from prefect_ds.storage.housekeeping import set_aside
from prefect_ds.storage.layout import parent
from prefect_ds.storage.lookup import Found, look_up
from prefect_ds.storage.manifest import Manifest

ANY_ATTEMPT = "any"
"""In place of the attempt that is refused: whatever is there is replaced."""


def commit(
    files: FileSystem,
    path: str,
    staged: Staged,
    manifest: Manifest,
    *,
    durable: bool,
    refused: str = "",
) -> Manifest:
    """Put staged data in place and return the manifest in force, see the store."""
    manifest = replace(manifest, stamp=staged.stamp)
    filed = FiledManifests(files, path)
    committer = _committer(filed, staged)
    own = _own_file(filed, manifest)
    try:
        files.create(own, manifest.to_json().encode())
    except FileExistsError as error:
        # On a disk that keeps whole seconds. With one manifest for two results, one
        # would pass for the other.
        raise OSError(
            errno.EAGAIN, "another result has the same size and time; try again", path
        ) from error
    if durable:
        committer.sync_data()
    # File first, look second: of two writers at least one sees the other's manifest.
    _refuse_collision(filed, manifest)
    while True:
        at_path = look_up(files, path, manifest.kind, "size", is_commit=True)
        there = at_path.manifest
        if there is not None and own == filed.file_of(there.stamp):
            break  # The task wrote in place: its manifest was all that was missing.
        if there is not None and _may_stay(there, manifest, refused):
            files.remove(own, "file")
            return there
        replaced = _make_room(filed, at_path, manifest.kind)
        try:
            if replaced is None:
                files.place(staged, path)
            else:
                committer.sync_manifest()
                files.replace(staged, path)
            manifest = committer.confirm(manifest, at_path.manifest)
            break
        except FileExistsError:
            continue  # Another writer was first: look again.
        except FileNotFoundError:
            if at_path.manifest is None or files.status(path) is not None:
                raise
    committer.clear(manifest, at_path.manifest)
    if at_path.was_set_aside:
        files.remove(record_file(path), "file")
    # A competing writer may have seen our manifest and failed before our commit; its
    # manifest is still there, so check again.
    _refuse_collision(filed, manifest)
    if durable:
        committer.sync_folder()
    return manifest


def _own_file(filed: FiledManifests, manifest: Manifest) -> str:
    """Return where a writer files its manifest: by attempt until it has a stamp."""
    return filed.file_of(manifest.stamp or manifest.attempt)


def _committer(filed: FiledManifests, staged: Staged) -> _Committer:
    if staged.stamp is None:
        return _StoreCommitter(filed)
    return _DiskCommitter(filed, staged.path, staged.stamp)


class _Committer(Protocol):
    """The steps of a commit in which file systems differ."""

    def sync_data(self) -> None:
        """Make data and manifest outlive a power cut, before they are in place."""

    def sync_manifest(self) -> None:
        """Make the manifest outlive a power cut, before good data are replaced."""

    def sync_folder(self) -> None:
        """Make the place of the data outlive a power cut."""

    def confirm(self, manifest: Manifest, replaced: Manifest | None) -> Manifest:
        """Return the manifest as it holds for the data in place."""

    def clear(self, manifest: Manifest, replaced: Manifest | None) -> None:
        """Remove the manifests, and parts, that count no more."""


class _DiskCommitter:
    """On a disk the stamp is known ahead, so the manifest is filed once, for good."""

    def __init__(self, filed: FiledManifests, staged_path: str, stamp: str) -> None:
        self.filed = filed
        self.files = filed.files
        self.staged_path = staged_path
        self.own = filed.file_of(stamp)

    def sync_data(self) -> None:
        """Sync the staged data, the manifest, and the manifest's folder."""
        self.files.sync_tree(self.staged_path)
        self.files.sync(self.own, parent(self.own))

    def sync_manifest(self) -> None:
        """Sync the manifest, and its folder."""
        # After a power cut nothing else could say that the new bytes are good.
        self.files.sync(self.own, parent(self.own))

    def sync_folder(self) -> None:
        """Sync the folder of the checkpoint."""
        self.files.sync(parent(self.filed.path))

    def confirm(self, manifest: Manifest, replaced: Manifest | None) -> Manifest:
        """Return the manifest: the step that put the data in place was the commit."""
        return manifest

    def clear(self, manifest: Manifest, replaced: Manifest | None) -> None:
        """Remove the manifest of the replaced data."""
        if replaced is not None and replaced.stamp != manifest.stamp:
            self.files.remove(self.filed.file_of(replaced.stamp), "file")


class _StoreCommitter:
    """In a store the manifest is filed twice: a PUT's answer brings the stamp.

    First it is filed under the attempt's name, so that other writers see it, then under
    the stamp of the data in place.
    """

    def __init__(self, filed: FiledManifests) -> None:
        self.filed = filed
        self.files = filed.files
        self.path = filed.path

    def sync_data(self) -> None:
        """Do nothing: a store keeps what it has answered."""

    def sync_manifest(self) -> None:
        """Do nothing."""

    def sync_folder(self) -> None:
        """Do nothing."""

    def confirm(self, manifest: Manifest, replaced: Manifest | None) -> Manifest:
        """File the manifest under the stamp that the data have in place."""
        if manifest.kind == "folder":
            return self._commit_folder(manifest, replaced)
        return self._confirm_object(manifest, replaced)

    def clear(self, manifest: Manifest, replaced: Manifest | None) -> None:
        """Remove the manifest that was filed ahead, and what was replaced."""
        self.files.remove(self.filed.file_of(manifest.attempt), "file")
        if replaced is None:
            return
        if replaced.stamp != manifest.stamp:
            self.files.remove(self.filed.file_of(replaced.stamp), "file")
        elif manifest.kind == "folder":
            self._drop_copies(replaced, manifest)

    def _commit_folder(self, manifest: Manifest, replaced: Manifest | None) -> Manifest:
        """File the folder's manifest: one PUT, which is the commit.

        Parts of two generations may lie at the path; this manifest says which count.
        """
        manifest = replace(manifest, stamp=FOLDER_STAMP)
        file = self.filed.file_of(FOLDER_STAMP)
        data = manifest.to_json().encode()
        if replaced is not None:
            self.files.put(file, data)
            return manifest
        try:
            self.files.create(file, data)
        except FileExistsError:
            there = look_up(self.files, self.path, "folder", "size").manifest
            if there is not None:
                # Another writer was first, and its folder holds.
                self._drop_copies(manifest, there)
                raise
            self.files.put(file, data)
        return manifest

    def _drop_copies(self, gone: Manifest, there: Manifest) -> None:
        """Remove the parts that lie beside those in force."""
        if there.stamp != FOLDER_STAMP:
            return
        in_force = {part.name for part in there.parts}
        for part in sorted({part.name for part in gone.parts} - in_force):
            self.files.remove(f"{self.path}/{part}", "file")

    def _confirm_object(
        self, manifest: Manifest, replaced: Manifest | None
    ) -> Manifest:
        """File the manifest under the stamp of the object, if it is still ours."""
        status = self.files.status(self.path)
        if not self._is_ours(manifest, replaced, status) or status is None:
            # Replaced already, and its successor has a manifest of its own.
            return manifest
        manifest = replace(manifest, stamp=status.stamp)
        # Put, not created: the same bytes in the same second have the same stamp, so
        # the manifest there may be of other inputs.
        self.filed.refile(manifest)
        return manifest

    def _is_ours(
        self, manifest: Manifest, replaced: Manifest | None, status: Status | None
    ) -> bool:
        """Whether the object in place is the one that this writer put there."""
        # Another writer since has filed a manifest before its PUT, and that is still
        # there, by attempt or by stamp.
        known = {self.filed.file_of(manifest.attempt), record_file(self.path)}
        if replaced is not None and replaced.stamp:
            known.add(self.filed.file_of(replaced.stamp))
        others = {f"{self.filed.folder}/{name}" for name in self.filed.names()} - known
        if status is None:
            return False
        if not others:
            return True
        try:
            kinds = checksum_kinds([manifest])
            there = read_parts(self.files, self.path, status, kinds)
        except FileNotFoundError:
            return False
        return same_bytes(manifest.parts, there, status)


def _make_room(filed: FiledManifests, at_path: Found, kind: Kind) -> Manifest | None:
    """Set aside what is not ours; return the manifest of our own data to replace."""
    files, path, there = filed.files, filed.path, at_path.manifest
    if there is not None and there.kind != kind and not files.renames_folders:
        # A store would show the old object beside the new folder, or the other way
        # round, and no step changes both at once.
        files.remove(path, there.kind)
        files.remove(filed.file_of(there.stamp), "file")
        return None
    if at_path.manifest is not None and not at_path.manifest.adopted:
        return at_path.manifest
    if at_path.manifest is not None:
        stamp = at_path.manifest.stamp
        _replace(files, path, "it was put there by hand", stamp, "adopt")
    elif at_path.kind != "missing":
        _replace(files, path, at_path.reason, at_path.stamp, at_path.advice)
    return None


def _replace(
    files: FileSystem, path: str, why: str, stamp: str | None, advice: Advice
) -> None:
    """Set data aside for a new result, which leaves nothing for the next run to say."""
    then = "a new result takes its place"
    set_aside(files, path, why, stamp, then=then, advice=advice, is_recorded=False)


def _refuse_collision(filed: FiledManifests, manifest: Manifest) -> None:
    """Raise ``CollisionError`` if another task of the run wrote the same path."""
    own = _own_file(filed, manifest)
    others = {
        file: other
        for file, other in filed.readable(but=own)
        if _collide(manifest, other)
    }
    if not others:
        return
    # None of these results may pass for another's: the one in place goes, and no
    # manifest stays in force.
    files, path = filed.files, filed.path
    other = next(iter(others.values()))
    status = files.status(path)
    in_place = None if status is None else filed.file_of(status.stamp)
    if status is not None and (in_place == own or in_place in others):
        other = others.get(in_place, other)
        set_aside(
            files,
            path,
            f"written by {other.owner} and by {manifest.owner} in one run",
            status.stamp,
            advice="none",
        )
    why = ""
    if manifest.identity and other.identity:
        why = manifest.identity.difference(other.identity)
    detail = f" ({why})" if why else ""
    raise CollisionError(
        f"tasks {str(other.owner)!r} and {str(manifest.owner)!r} of one run "
        f"both write {path!r}, for different inputs{detail}: "
        "give the template a field that tells them apart"
    )


def _may_stay(there: Manifest, ours: Manifest, refused: str) -> bool:
    """Return whether a checkpoint in place has our result, so that it is handed on."""
    if there.attempt == ours.attempt:
        return True
    if refused in (there.attempt, ANY_ATTEMPT):
        return False
    return there.identity is not None and there.identity == ours.identity


def _collide(ours: Manifest, other: Manifest) -> bool:
    """Whether two tasks of one run wrote these, and not for equal inputs."""
    run_id = ours.owner.run_id
    if not run_id or run_id != other.owner.run_id:
        return False
    if ours.owner == other.owner:
        return False
    if ours.identity is None or ours.identity != other.identity:
        return True
    # Inputs that have no digest cannot be shown to be equal.
    return bool(ours.identity.unstable_inputs)
