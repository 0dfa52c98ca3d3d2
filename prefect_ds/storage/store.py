"""The checkpoints of one file system: look up, read, commit, adopt, set aside, clean.

A manifest is filed under the *stamp* of the data it describes (size and time of
change), in a folder named after its checkpoint. So the data choose their manifest: a
writer files its manifest first, then puts the data in place in one atomic step, and
that step is the commit. There is no pointer to keep in step with the data, no lock, and
a writer that comes late can spoil nothing: whatever is in place finds the manifest that
was filed for it. A stamp only finds the manifest; checksums prove the bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, BinaryIO

from prefect_ds.errors import CheckpointNotFoundError, DamagedCheckpointError
from prefect_ds.storage import commit, freeing, housekeeping, lookup
from prefect_ds.storage.aside_record import RECORD, Advice, record_file
from prefect_ds.storage.checked_file import CheckedFile
from prefect_ds.storage.checksum import IN_BLOCKS, Checksum, Data, kind_of
from prefect_ds.storage.describe import read_parts
from prefect_ds.storage.filed_manifests import FiledManifests
from prefect_ds.storage.filesystem import FileSystem, Kind, Staged, Status
from prefect_ds.storage.lookup import Check, Found
from prefect_ds.storage.manifest import Manifest
from prefect_ds.storage.opening import open_files
from prefect_ds.storage.part import Part


class CheckpointStore:
    """The checkpoints of one file system.

    Parameters
    ----------
    files
        The file system they lie on.
    """

    def __init__(self, files: FileSystem) -> None:
        self.files = files

    @classmethod
    def open(
        cls, url: str, storage_options: Mapping[str, Any] | None = None
    ) -> CheckpointStore:
        """Return the store of the file system that a path or URL names."""
        return cls(open_files(url, storage_options))

    def look_up(
        self,
        path: str,
        kind: Kind = "file",
        *,
        check: Check = "size",
        mends: bool = True,
    ) -> Found:
        """Say what lies at ``path``.

        Reads no data unless the data were touched since they were written.

        Parameters
        ----------
        path
            Of the checkpoint.
        kind
            The kind that is expected there: spares an object store a request.
        check
            ``"checksum"``: reads every byte, whatever the file system says.
        mends
            Put a folder back that a killed writer moved out of the way, and file a
            manifest again for data that were copied. Without, nothing is written.

        Raises
        ------
        NewerFormatError
            A later prefect_ds wrote the checkpoint.
        """
        return lookup.look_up(self.files, path, kind, check, mends=mends)

    def read_parts(self, path: str, status: Status) -> tuple[Part, ...]:
        """Return the parts at ``path`` by reading every byte; rows are not counted."""
        return read_parts(self.files, path, status)

    def read_data(self, path: str, part: Part) -> Data:
        """Return the bytes of a file after comparing them with its checksum.

        Raises
        ------
        CheckpointNotFoundError
            The file is gone, or was replaced.
        DamagedCheckpointError
            Its bytes are not those of its manifest. They were set aside.
        """
        seen = None
        while True:
            checksum = Checksum(kind_of(part.checksum))
            try:
                data = self.files.read_hashed(path, checksum)
            except FileNotFoundError as error:
                raise CheckpointNotFoundError(
                    f"no checkpoint at {path!r}: the file is gone; run the task again"
                ) from error
            size_bytes = memoryview(data).nbytes
            if (size_bytes, checksum.text()) == (part.size_bytes, part.checksum):
                return data
            now = self.look_up(path)
            self._refuse_replaced(path, part, now)
            # Another process may have mended it since it was read: only two equal looks
            # in a row show damage.
            if now == seen:
                break
            seen = now
        what = (
            f"{size_bytes} bytes with another checksum, "
            f"the manifest says {part.size_bytes} bytes"
        )
        # Only these data: a writer may put others in their place at any time.
        stamp = now.manifest.stamp if now.manifest else now.stamp
        try:
            aside = self.set_aside(path, what, stamp)
        except OSError as error:
            raise DamagedCheckpointError(
                f"the checkpoint at {path!r} is damaged: {what}; "
                f"it cannot be set aside ({error})"
            ) from error
        if aside == path:
            raise CheckpointNotFoundError(
                f"the checkpoint at {path!r} was replaced while it was read; "
                "run the task again"
            )
        raise DamagedCheckpointError(
            f"the checkpoint at {path!r} is damaged: {what}; "
            f"it was set aside as {aside!r}, and the next run computes it again"
        )

    def open_checked(self, path: str, part: Part) -> CheckedFile | None:
        """Return a file that compares its bytes before a reader gets them.

        ``None`` where only :meth:`read_data` can compare them, or nothing is there.
        """
        if kind_of(part.checksum) != IN_BLOCKS:
            return None
        file = self.files.open_unbuffered(path)
        return None if file is None else CheckedFile(file, part)

    def _refuse_replaced(self, path: str, part: Part, now: Found) -> None:
        """Raise ``CheckpointNotFoundError`` if a sound copy of other bytes is there."""
        if now.kind == "damaged":
            return
        if now.manifest is not None:
            # The same bytes are expected there: what was read is damaged.
            checksums = {described.checksum for described in now.manifest.parts}
            if part.checksum in checksums:
                return
        if FiledManifests(self.files, path).names():
            raise CheckpointNotFoundError(
                f"the checkpoint at {path!r} was replaced while it was read; "
                "run the task again"
            )

    def staging(self, path: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """Give a file open for writing and reading, on its way to ``path``.

        It is removed at the end unless it was committed.
        """
        return self.files.staging(path)

    def commit(
        self,
        path: str,
        staged: Staged,
        manifest: Manifest,
        *,
        durable: bool = False,
        refused: str = "",
    ) -> Manifest:
        """Put staged data in place, whole, and return the manifest in force then.

        Parameters
        ----------
        path
            Where the checkpoint goes.
        staged
            The data, written and closed.
        manifest
            Describes exactly these data.
        durable
            Have it on the disk before this returns, so that it outlives a power cut.
            Without, a cut may cost the work, never the truth, and never an earlier
            checkpoint.
        refused
            The attempt that wrote the checkpoint which was there and did not count,
            though its identity may be the same: it is replaced.

        Returns
        -------
        Manifest
            Another writer's, where one with the same identity was first: its data stay,
            and are to be handed on.

        Raises
        ------
        CollisionError
            Another task of the same run wrote this path for other inputs. Neither
            result stays in place.
        """
        return commit.commit(
            self.files, path, staged, manifest, durable=durable, refused=refused
        )

    def adopt(
        self, path: str, manifest: Manifest, status: Status | None = None
    ) -> Manifest:
        """File a manifest for data that a person put at ``path``; they count from now.

        ``status`` is from before the data were read: the manifest does not describe
        later changes.
        """
        status = status or self.files.status(path)
        if status is None:
            raise CheckpointNotFoundError(
                f"no checkpoint at {path!r}: there is nothing to adopt"
            )
        # Without an identity: nobody knows what a person made the data from.
        manifest = replace(manifest, stamp=status.stamp, adopted=True, identity=None)
        filed = FiledManifests(self.files, path)
        # Data that were set aside before are no news once the path has others.
        if RECORD in filed.names():
            self.files.remove(record_file(path), "file")
        filed.refile(manifest)
        return manifest

    def rewrite(self, path: str, manifest: Manifest, changed: Manifest) -> Manifest:
        """File a changed manifest of the data at ``path`` and return it.

        Raises
        ------
        CheckpointNotFoundError
            Other data are there by now than those of ``manifest``.
        """
        there = self.look_up(path, manifest.kind).manifest
        if there is None or there.attempt != manifest.attempt:
            raise CheckpointNotFoundError(
                f"the checkpoint at {path!r} was replaced meanwhile; look at it again"
            )
        # The look may have filed the manifest under another stamp: data were touched.
        changed = replace(changed, stamp=there.stamp)
        FiledManifests(self.files, path).refile(changed)
        return changed

    def last_schema(self, path: str) -> dict[str, Any] | None:
        """Return the newest schema filed for ``path``, also of data that are gone."""
        filed = FiledManifests(self.files, path).readable()
        manifests = [manifest for _, manifest in filed if manifest.schema is not None]
        if not manifests:
            return None
        newest = max(manifests, key=lambda manifest: manifest.written_at)
        return newest.schema

    def set_aside(
        self,
        path: str,
        why: str,
        stamp: str | None = None,
        *,
        then: str = "the next run computes it again",
        advice: Advice = "adopt",
    ) -> str:
        """Move the data at ``path`` out of the way and return their new path.

        One line in the log says so. With ``stamp``, data with another one stay: a
        writer put a good copy there meanwhile.

        Parameters
        ----------
        path, why, stamp
            Of the data, and the reason in words.
        then
            Says in the log what happens next.
        advice
            The way back that the log and the next run name.
        """
        return housekeeping.set_aside(
            self.files, path, why, stamp, then=then, advice=advice
        )

    def verify(self, path: str) -> list[str]:
        """Read every byte of a checkpoint and return its faults in words.

        Empty where it is sound.

        Raises
        ------
        CheckpointNotFoundError
            Nothing is committed at ``path``.
        """
        return housekeeping.verify(self.files, path)

    def free(self, path: str) -> Manifest:
        """Remove the data of a checkpoint, and return its manifest, which stays.

        The manifest still proves what was made from the data.

        Raises
        ------
        CheckpointNotFoundError
            Nothing is committed at ``path``.
        PrefectDSError
            It is not known what the data were made from: a person put them there.
        """
        return freeing.free(self.files, path)

    def clean(
        self, folder: str, *, older_than_s: float = 86_400.0, dry_run: bool = False
    ) -> list[str]:
        """Remove what killed and replaced writes left in a folder; return the paths.

        Parameters
        ----------
        folder
            The folder in which checkpoints lie.
        older_than_s
            Younger leftovers stay: a writer may still be at work on them.
        dry_run
            Only return the paths that would go.
        """
        return housekeeping.clean(
            self.files, folder, older_than_s=older_than_s, dry_run=dry_run
        )
