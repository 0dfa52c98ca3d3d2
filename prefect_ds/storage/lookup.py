"""How a reader decides what lies at a path: a checkpoint, a person's data, or damage.

The stamp of the data names their manifest, so that most looks cost a status and one
small read. Only where that gives no answer are the bytes read, and compared with all
manifests that were filed for the path.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from prefect_ds.errors import ManifestError, NewerFormatError
from prefect_ds.storage.aside_record import RECORD, Advice, read_record
from prefect_ds.storage.describe import (
    checksum_kinds,
    read_parts,
    same_bytes,
    size_difference,
)
from prefect_ds.storage.filed_manifests import FiledManifests
from prefect_ds.storage.filesystem import BROKEN_LINK, FileSystem, Kind, Staged, Status
from prefect_ds.storage.layout import MANIFEST, REPLACED, staging_folder
from prefect_ds.storage.manifest import Manifest
from prefect_ds.storage.part import Part

logger = logging.getLogger("prefect.prefect_ds.storage.lookup")

Check = Literal["size", "checksum"]
"""Checked before a checkpoint counts: its size and time of change, or every byte."""


CHANGED_BY_HAND = "it was put there by hand, and changed since"
"""Reason of a file that a person put there, and then changed."""


class Found(NamedTuple):
    """What lies at a path."""

    kind: Literal["committed", "foreign", "missing", "damaged"]
    manifest: Manifest | None = None
    """Of a committed checkpoint."""
    reason: str = ""
    """In words, for anything but a committed checkpoint."""
    stamp: str | None = None
    """Of damaged or foreign data: as long as they have it they may be set aside."""
    advice: Advice = "adopt"
    """What to say of data once they are set aside."""
    was_set_aside: bool = False
    """Of a missing checkpoint: an earlier run set the data aside."""
    freed: Manifest | None = None
    """Of a missing checkpoint whose data were removed to free their space."""


def look_up(
    files: FileSystem,
    path: str,
    kind: Kind,
    check: Check,
    *,
    mends: bool = True,
    is_commit: bool = False,
) -> Found:
    """Say what lies at ``path``, see :meth:`CheckpointStore.look_up`.

    ``is_commit``: a writer looks, to whom freed data are the same as none.
    """
    while True:
        status = files.status(path, kind)
        if status is None:
            at_path = _look_at_nothing(files, path, mends, is_commit)
        else:
            at_path = _look_at(files, path, status, check, mends)
        if at_path is not None:
            return at_path


def _look_at_nothing(
    files: FileSystem, path: str, mends: bool, is_commit: bool
) -> Found | None:
    """Say why nothing lies at the path; ``None``: an old copy was put back."""
    manifests = FiledManifests(files, path)
    filed = manifests.names()
    displaced = find_displaced(files, path, filed)
    if displaced is not None and not mends:
        return _put_back_later(files, path, displaced)
    if displaced is not None:
        put_back(files, path, displaced)
        return None
    record = read_record(files, path) if RECORD in filed else None
    if record is not None:
        return Found("missing", reason=record.reason, was_set_aside=True)
    freed = manifests.freed() if filed and not is_commit else None
    if freed is not None:
        return Found("missing", reason="its data were freed", freed=freed)
    if filed:
        return Found("missing", reason="its data were gone, only the manifest was left")
    return Found("missing", reason="there was nothing yet")


def _put_back_later(files: FileSystem, path: str, displaced: Staged) -> Found:
    """Say what a look that mends will find once the old copy is back in place."""
    filed = FiledManifests(files, path)
    try:
        manifest = filed.read(filed.file_of(displaced.stamp))
    except (FileNotFoundError, ManifestError):
        return Found("missing", reason="its data were gone, only the manifest was left")
    return Found("committed", manifest)


def _look_at(
    files: FileSystem, path: str, status: Status, check: Check, mends: bool
) -> Found | None:
    """Say what has this status; ``None``: a writer was at work, look again."""
    if status.stamp == BROKEN_LINK:
        reason = "it was a link to nothing"
        return Found("damaged", reason=reason, stamp=status.stamp, advice="none")
    filed = FiledManifests(files, path)
    # The usual hit ends here: a status and one small file.
    by_stamp, doubt = _manifest_of_stamp(filed, status)
    if by_stamp is not None and by_stamp.freed_at is not None:
        # A person put the data back: from now on they may be deleted by hand again.
        by_stamp = replace(by_stamp, freed_at=None)
        if mends:
            _refile(filed, by_stamp)
    if by_stamp is not None and check == "size":
        return Found("committed", by_stamp)
    manifests, doubt = _all_manifests(filed, doubt)
    if manifests is None:
        return None
    is_filed = bool(manifests or doubt)
    if not is_filed:
        manifests = filed.of_old_layout()
        if not manifests:
            return Found("foreign", reason="it had no manifest", stamp=status.stamp)
    try:
        parts = read_parts(files, path, status, checksum_kinds(manifests))
    except FileNotFoundError:
        parts = None
        doubt = doubt or "it was a link to nothing"
    if files.status(path) != status:
        return None
    evidence = _Evidence(filed, status, manifests, is_filed, doubt, parts, mends)
    return (
        _proven_by_bytes(evidence)
        or _unfinished_write(evidence)
        or _stopped_freeing(evidence)
        or _edit_by_hand(evidence)
        or _damage(evidence)
    )


def _manifest_of_stamp(
    filed: FiledManifests, status: Status
) -> tuple[Manifest | None, str]:
    """Return the manifest that the data choose by their stamp, or ``None``.

    Beside it comes, in words, what speaks against the data; empty for nothing.
    """
    try:
        manifest = filed.read(filed.file_of(status.stamp))
        # A person copied a manifest under another name.
        if manifest.stamp != status.stamp:
            return None, "its manifest is that of other data"
        if status.kind == "folder":
            doubt = size_difference(filed.files, filed.path, status, manifest.parts)
            if doubt:
                return None, doubt
    except NewerFormatError:
        raise
    except FileNotFoundError:
        return None, ""
    except ManifestError as error:
        return None, str(error)
    return manifest, ""


def _all_manifests(
    filed: FiledManifests, doubt: str
) -> tuple[list[Manifest] | None, str]:
    """Return every manifest of the path, and the first doubt about the data.

    ``None`` for the manifests: one was cleared meanwhile, look again.
    """
    manifests = []
    for name in sorted(filed.names()):
        if not name.endswith(MANIFEST):
            # On its way to its name, or left there by a kill: it never was in force.
            continue
        file = f"{filed.folder}/{name}"
        try:
            manifests.append(filed.read(file))
        except NewerFormatError:
            raise
        except FileNotFoundError:
            if filed.files.status(file) is None:
                return None, doubt
            doubt = doubt or "its manifest was a link to nothing"
        except ManifestError as error:
            # A power cut that tore the manifest may have cut the data as well.
            doubt = doubt or str(error)
    return manifests, doubt


@dataclass(frozen=True, slots=True)
class _Evidence:
    """All that is known of data whose stamp does not prove them."""

    filed: FiledManifests
    status: Status
    manifests: list[Manifest]
    is_filed: bool
    """Whether the manifests are where they belong; those of an old layout are not."""
    doubt: str
    """What speaks against the data, in words; empty for nothing."""
    parts: tuple[Part, ...] | None
    """The parts that lie there, hashed; ``None`` for a link to nothing."""
    mends: bool
    """Whether a manifest may be filed again for them."""


def _proven_by_bytes(evidence: _Evidence) -> Found | None:
    """Return the checkpoint whose manifest describes exactly these bytes."""
    status = evidence.status
    if evidence.parts is None:
        return None
    for manifest in evidence.manifests:
        if not same_bytes(manifest.parts, evidence.parts, status):
            continue
        is_in_force = evidence.is_filed and manifest.stamp == status.stamp
        if evidence.doubt or not is_in_force:
            # Copied, touched, or its writer died just after it put the data in place.
            manifest = replace(manifest, stamp=status.stamp, freed_at=None)
            if evidence.mends:
                _refile(evidence.filed, manifest)
        return Found("committed", manifest)
    return None


def _refile(filed: FiledManifests, manifest: Manifest) -> None:
    try:
        filed.refile(manifest)
    except OSError as error:
        # A read-only folder: then the bytes prove it every time.
        logger.debug("%s: cannot file its manifest again: %s", filed.path, error)


def _unfinished_write(evidence: _Evidence) -> Found | None:
    """Return "missing" where a store's folder holds only parts not yet committed."""
    if evidence.doubt or not evidence.status.is_shared_folder:
        return None
    unfinished = [manifest for manifest in evidence.manifests if manifest.stamp is None]
    if not unfinished:
        return None
    named = {part.name for manifest in unfinished for part in manifest.parts}
    filed = evidence.filed
    if filed.files.sizes(filed.path).keys() <= named:
        return Found(
            "missing",
            reason="only parts of a write that was stopped, or goes on, were there",
        )
    return None


def _stopped_freeing(evidence: _Evidence) -> Found | None:
    """Return "missing" where a store's folder holds a rest of data that were freed."""
    status, parts = evidence.status, evidence.parts
    if not status.is_shared_folder or parts is None:
        return None
    names = [part.name for part in parts]
    for manifest in evidence.manifests:
        is_in_force = manifest.stamp == status.stamp
        if is_in_force and manifest.is_partly_freed(names):
            return Found("missing", reason="its data were freed", freed=manifest)
    return None


def _edit_by_hand(evidence: _Evidence) -> Found | None:
    """Return "foreign" where a person changed a file that a person had put there."""
    manifests = evidence.manifests
    if evidence.doubt or not manifests:
        return None
    # Nothing of ours was ever there: the file was a person's from the start.
    if all(manifest.adopted for manifest in manifests):
        return Found(
            "foreign",
            reason=CHANGED_BY_HAND,
            stamp=evidence.status.stamp,
        )
    return None


def _damage(evidence: _Evidence) -> Found:
    """Return "damaged" with the reason."""
    filed, status = evidence.filed, evidence.status
    reason = evidence.doubt
    if not reason and evidence.parts is not None and status.kind == "folder":
        described = evidence.manifests[-1].parts
        reason = size_difference(filed.files, filed.path, status, described)
    reason = reason or "its bytes were not those that were written"
    advice: Advice = "none" if status.is_empty else "adopt"
    return Found("damaged", reason=reason, stamp=status.stamp, advice=advice)


def find_displaced(files: FileSystem, path: str, filed: list[str]) -> Staged | None:
    """Return the folder that made room for a successor which never came.

    Its writer died between two renames, on a disk that cannot exchange folders.

    Parameters
    ----------
    files
        The file system of the path.
    path
        Where nothing lies.
    filed
        The names of the manifests filed for it.
    """
    if not filed or not files.renames_folders:
        return None
    staging = staging_folder(path)
    for name in files.names(staging):
        if not name.endswith(REPLACED):
            continue
        status = files.status(f"{staging}/{name}")
        if status is not None and f"{status.stamp}{MANIFEST}" in filed:
            return Staged(f"{staging}/{name}", status.stamp)
    return None


def put_back(files: FileSystem, path: str, displaced: Staged) -> None:
    """Put a folder back that made room for its successor."""
    # Where its writer lives and was faster, the path belongs to the successor.
    with contextlib.suppress(FileExistsError, FileNotFoundError):
        files.place(displaced, path)
