"""The checkpoints below a folder, listed by their manifests.

No data are read: a checkpoint is judged by its stamp and its sizes, as a run judges it
at first. Where only the bytes could tell, the sizes decide, and the reason says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from prefect_ds.errors import ManifestError, NewerFormatError
from prefect_ds.storage.describe import size_difference
from prefect_ds.storage.filed_manifests import FiledManifests, filed_in
from prefect_ds.storage.filesystem import FileSystem, Status
from prefect_ds.storage.layout import SIDE_FOLDER, name
from prefect_ds.storage.lookup import CHANGED_BY_HAND, find_displaced
from prefect_ds.storage.manifest import Manifest

TOUCHED = "its time of change is not that of the write; only its bytes can prove it"
"""Reason of data that have the size of their manifest, and another stamp."""

LINK = "it is a link to data that lie elsewhere"
"""Reason of data that a person moved."""

DISPLACED = "a stopped write moved it away, and the next look puts it back"
"""Reason of data that wait beside their path."""

_AT_ONCE = 16
"""Looks at an object store that go side by side."""

_BATCH = 512
"""Paths that are handed to the threads at once: a folder may have millions."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A checkpoint, or the manifest that one left, as a look at the sizes has it."""

    path: str
    kind: Literal["whole", "freed", "missing", "damaged", "unknown"]
    manifest: Manifest | None = None
    """``None`` where none of those that are filed can be read."""
    reason: str = ""
    """In words, for all but data that have the stamp of their manifest."""
    stamp: str | None = None
    """Of the data."""

    @property
    def is_proved(self) -> bool:
        """Whether the data are those of the manifest by their stamp."""
        return self.kind == "whole" and not self.reason


def scan(
    files: FileSystem,
    folder: str,
    *,
    known: Collection[str] = (),
    depth: int | None = None,
) -> Iterator[Seen]:
    """Yield the checkpoints at or below a folder, folder by folder.

    Parameters
    ----------
    files
        The file system.
    folder
        A path or URL.
    known
        Paths that are left out.
    depth
        How many folders deep to look below it; ``None``: to the end.
    """
    paths = (
        f"{where}/{checkpoint}"
        for where in folders_with_checkpoints(files, folder, depth)
        for checkpoint in names_in(files, where)
    )
    return look_at_all(files, (path for path in paths if path not in known))


def folders_with_checkpoints(
    files: FileSystem, folder: str, depth: int | None = None
) -> Iterator[str]:
    """Yield every folder at or below one that has a side folder."""
    for path, folders, _ in files.walk(folder):
        has_side_folder = SIDE_FOLDER in folders
        if has_side_folder:
            checkpoints = {SIDE_FOLDER, *names_in(files, path)}
            # Those are data: a folder of parts has no checkpoints in it. The walk goes
            # by this list, so it is changed in place.
            folders[:] = [below for below in folders if below not in checkpoints]
        if depth is not None and path.count("/") - folder.count("/") >= depth:
            folders.clear()
        if has_side_folder:
            yield path


def names_in(files: FileSystem, folder: str) -> Iterator[str]:
    """Yield the name of every checkpoint in a folder that has a manifest."""
    for hidden in sorted(files.names(f"{folder}/{SIDE_FOLDER}/manifests")):
        try:
            filed = filed_in(files, folder, hidden)
        except NewerFormatError:
            # Of a long name, which only that version can read.
            continue
        if filed is not None:
            yield name(filed.path)


def look_at_all(files: FileSystem, paths: Iterable[str]) -> Iterator[Seen]:
    """Yield what lies at the paths, in order; a store is asked side by side."""

    def look(path: str) -> Seen:
        return look_at(files, path)

    if files.renames_folders:
        yield from map(look, paths)
        return
    # In batches, as `pool.map` takes all of its items before it gives an answer.
    with ThreadPoolExecutor(_AT_ONCE, "prefect_ds-listing") as pool:
        remaining = iter(paths)
        while batch := list(islice(remaining, _BATCH)):
            yield from pool.map(look, batch)


def look_at(files: FileSystem, path: str) -> Seen:
    """Return what lies at a path, judged by stamps and sizes."""
    try:
        return _look_at(files, path)
    except NewerFormatError as error:
        return Seen(path, "unknown", reason=str(error))
    except OSError as error:
        # One checkpoint that cannot be looked at must not end the whole listing.
        return Seen(path, "unknown", reason=f"it cannot be looked at: {error}")


def _look_at(files: FileSystem, path: str) -> Seen:
    filed = FiledManifests(files, path)
    status = files.status(path)
    if status is None:
        return _without_data(filed)
    problem = ""
    try:
        manifest = filed.read(filed.file_of(status.stamp))
    except NewerFormatError:
        raise
    except FileNotFoundError:
        return _by_size(filed, status)
    except ManifestError as error:
        problem = str(error)
    else:
        problem = _difference(filed, status, manifest)
        if not problem:
            # It counts, but prune must not remove data that lie elsewhere.
            reason = LINK if files.is_link(path) else ""
            return Seen(path, "whole", manifest, reason, status.stamp)
        if status.is_shared_folder and manifest.is_partly_freed(files.sizes(path)):
            return Seen(path, "freed", manifest, _freed(manifest))
        return Seen(path, "damaged", manifest, problem, status.stamp)
    return Seen(path, "damaged", reason=problem, stamp=status.stamp)


def _without_data(filed: FiledManifests) -> Seen:
    freed = filed.freed()
    if freed is not None:
        return Seen(filed.path, "freed", freed, _freed(freed))
    displaced = find_displaced(filed.files, filed.path, filed.names())
    if displaced is not None:
        # A look that mends may have put it back in between.
        with contextlib.suppress(FileNotFoundError, ManifestError):
            manifest = filed.read(filed.file_of(displaced.stamp))
            return Seen(filed.path, "whole", manifest, DISPLACED, displaced.stamp)
    reason = "its data are gone, only the manifest is left"
    if not filed.names():
        reason = "there is nothing"
    return Seen(filed.path, "missing", _newest(filed), reason)


def _freed(manifest: Manifest) -> str:
    return f"its data were freed {manifest.freed_at}"


def _by_size(filed: FiledManifests, status: Status) -> Seen:
    """Judge data whose stamp no manifest has: they were copied, touched or changed."""
    manifests = [manifest for _, manifest in filed.readable()]
    # Equal sizes are no proof: the reason says so.
    for manifest in manifests:
        if not _difference(filed, status, manifest):
            return Seen(filed.path, "whole", manifest, TOUCHED, status.stamp)
    if not manifests:
        reason = "its manifest cannot be read"
        if not filed.names():
            reason = "it has no manifest"
        return Seen(filed.path, "damaged", None, reason, status.stamp)
    newest = max(manifests, key=lambda manifest: manifest.written_at)
    if all(manifest.adopted for manifest in manifests):
        # It was a person's from the start, and the next run reads it again.
        return Seen(filed.path, "whole", newest, CHANGED_BY_HAND, status.stamp)
    reason = _difference(filed, status, newest)
    return Seen(filed.path, "damaged", newest, reason, status.stamp)


def _difference(filed: FiledManifests, status: Status, manifest: Manifest) -> str:
    """Return in words how the sizes of data differ from those of a manifest."""
    if status.kind != manifest.kind:
        return f"it is a {status.kind}, and was written as a {manifest.kind}"
    if status.kind == "folder":
        return size_difference(filed.files, filed.path, status, manifest.parts)
    if status.size_bytes != manifest.size_bytes:
        return (
            f"it has {status.size_bytes:,} bytes, and was written with "
            f"{manifest.size_bytes:,}"
        )
    return ""


def _newest(filed: FiledManifests) -> Manifest | None:
    manifests = [manifest for _, manifest in filed.readable()]
    return max(manifests, key=lambda manifest: manifest.written_at, default=None)
