"""The commit protocol: how a checkpoint comes to lie at its path whole, and how a reader knows that it does.

A manifest is filed under the *stamp* of the data it describes (size and time of
change), in a folder named after its checkpoint. So the data choose their manifest: a
writer files its manifest first, then puts the data in place in one atomic step, and
that step is the commit. There is no pointer to keep in step with the data, no lock, and
a writer that comes late can spoil nothing: whatever is in place finds the manifest that
was filed for it. A stamp only finds the manifest; checksums prove the bytes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, BinaryIO, Literal, NamedTuple, cast

from prefect_ds.errors import (
    CheckpointNotFoundError,
    CollisionError,
    DamagedCheckpointError,
    ManifestError,
    NewerFormatError,
)
from prefect_ds.path_template import SIDE_FOLDER
from prefect_ds.storage.files import (
    FOLDER_STAMP,
    REPLACED,
    Files,
    Kind,
    Staged,
    Status,
    name,
    open_files,
    parent,
    staging_of,
)
from prefect_ds.storage.manifest import Manifest, Part

logger = logging.getLogger("prefect.prefect_ds.storage.store")

Check = Literal["size", "checksum"]
"""What is looked at before a checkpoint counts: its size and time of change, or every byte of it."""

_SUCCEEDED = "a new result takes its place"


class Found(NamedTuple):
    """What lies at a path."""

    kind: Literal["committed", "foreign", "missing", "damaged"]
    manifest: Manifest | None = None
    """Of a committed checkpoint."""
    reason: str = ""
    """In words, for anything but a committed checkpoint."""
    stamp: str | None = None
    """Of what is damaged or foreign: it may be set aside as long as it has this stamp."""


class CheckpointStore:
    """The checkpoints of one file system.

    Parameters
    ----------
    files
        The file system they lie on.
    """

    def __init__(self, files: Files) -> None:
        self.files = files

    @classmethod
    def open(
        cls, url: str, storage_options: Mapping[str, Any] | None = None
    ) -> CheckpointStore:
        """Return the store of the file system that a path or URL names."""
        return cls(open_files(url, storage_options))

    def look_up(
        self, path: str, kind: Kind = "file", *, check: Check = "size"
    ) -> Found:
        """Say what lies at ``path``; reads no data unless the data were touched since they were written.

        Parameters
        ----------
        path
            Of the checkpoint.
        kind
            What is expected there: spares an object store a question.
        check
            ``"checksum"``: reads every byte, whatever the file system says.

        Raises
        ------
        NewerFormatError
            A later prefect_ds wrote the checkpoint.
        """
        while True:
            status = self.files.status(path, kind)
            if status is None:
                filed = self.files.names(self._folder(path))
                waiting = self._waiting(path, filed)
                if waiting is not None:
                    self._put_back(path, waiting)
                    continue
                if filed:
                    return Found(
                        "missing",
                        reason="its data were gone, only the manifest was left",
                    )
                return Found("missing", reason="there was nothing yet")
            found = self._look_at(path, status, check)
            if found is not None:
                return found

    def _look_at(self, path: str, status: Status, check: Check) -> Found | None:
        """Say what it is that has this status; ``None`` where a writer was at work meanwhile: look again."""
        problem = ""
        try:
            manifest = self._manifest(self._filed(path, status.stamp))
            if manifest.stamp != status.stamp:
                problem = "its manifest is that of other data"
            elif status.kind == "folder":
                problem = self._difference(path, status, manifest)
            if not problem and check == "size":
                return Found("committed", manifest)
        except NewerFormatError:
            raise
        except FileNotFoundError:
            pass
        except ManifestError as error:
            problem = f"{error}"
        manifests = []
        for filed in sorted(self.files.names(self._folder(path))):
            if not filed.endswith(".json"):
                continue  # On its way to its name, or left there by a kill: it never was in force.
            try:
                manifests.append(self._manifest(f"{self._folder(path)}/{filed}"))
            except NewerFormatError:
                raise
            except FileNotFoundError:
                if self.files.status(f"{self._folder(path)}/{filed}") is None:
                    return None
                problem = problem or "its manifest was a link to nothing"
            except ManifestError as error:
                # What a power cut left of a manifest speaks against the data: they may
                # be as short.
                problem = problem or f"{error}"
        if not manifests and not problem:
            return Found("foreign", reason="it had no manifest", stamp=status.stamp)
        try:
            parts = self.read_parts(path, status)
        except FileNotFoundError:
            parts, problem = None, problem or "it was a link to nothing"
        if self.files.status(path) != status:
            return None
        for manifest in manifests:
            if parts is None or not _same_bytes(manifest.parts, parts, status):
                continue
            if problem or manifest.stamp != status.stamp:
                # Copied, touched, or its writer died just after it put the data in
                # place: filed anew, nothing replaced.
                manifest = replace(manifest, stamp=status.stamp)
                try:
                    self._refile(path, manifest)
                except (
                    OSError
                ) as error:  # A read-only folder: then its bytes prove it each time.
                    logger.debug("%s: cannot file its manifest anew: %s", path, error)
            return Found("committed", manifest)
        if (
            status.stamp == FOLDER_STAMP
            and not problem
            and self._is_under_way(path, manifests)
        ):
            return Found(
                "missing",
                reason="only parts of a write that was stopped, or goes on, were there",
            )
        if (
            manifests
            and not problem
            and all(manifest.adopted for manifest in manifests)
        ):
            return Found(
                "foreign",
                reason="it was put there by hand, and changed since",
                stamp=status.stamp,
            )
        if not problem and parts is not None and status.kind == "folder":
            problem = self._difference(path, status, manifests[-1])
        return Found(
            "damaged",
            reason=problem or "its bytes were not those that were written",
            stamp=status.stamp,
        )

    def read_parts(self, path: str, status: Status) -> tuple[Part, ...]:
        """Return what lies at ``path`` as parts, by reading every byte of it. Rows are not counted."""
        if status.kind == "file":
            return (_part(name(path), self.files.read_bytes(path)),)
        # Every file counts, also those that readers of parquet leave out: `_SUCCESS`,
        # `.part-0.crc`.
        return tuple(
            _part(each, self.files.read_bytes(f"{path}/{each}"))
            for each in self.files.sizes(path)
        )

    def read_bytes(self, path: str, part: Part) -> bytes:
        """Return the bytes of a file that holds one part, after comparing them with its checksum.

        Raises
        ------
        CheckpointNotFoundError
            The file is gone.
        DamagedCheckpointError
            Its bytes are others than its manifest says. They were set aside.
        """
        seen = None
        while True:
            try:
                data = self.files.read_bytes(path)
            except FileNotFoundError as error:
                raise CheckpointNotFoundError(
                    f"no checkpoint at {path!r}: the file is gone; run the task again"
                ) from error
            found = _part(part.name, data)
            if (found.size_bytes, found.sha256) == (part.size_bytes, part.sha256):
                return data
            now = self.look_up(path)
            if (
                now.kind != "damaged"
                and part.sha256 not in _checksums(now)
                and self.files.names(self._folder(path))
            ):
                raise CheckpointNotFoundError(
                    f"the checkpoint at {path!r} was replaced while it was read; run the task again"
                )
            if now == seen:
                break
            seen = now  # Somebody may have mended it since it was read: what is damaged is so between two equal looks.
        what = f"{found.size_bytes} bytes with another checksum, the manifest says {part.size_bytes} bytes"
        try:
            aside = self.set_aside(
                path, what, now.manifest.stamp if now.manifest else now.stamp
            )
        except OSError as error:
            raise DamagedCheckpointError(
                f"the checkpoint at {path!r} is damaged: {what}; it cannot be set aside ({error})"
            ) from error
        raise DamagedCheckpointError(
            f"the checkpoint at {path!r} is damaged: {what}; it was set aside as {aside!r}, "
            "and the next run computes it again"
        )

    def staging(self, path: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """Give a file open for writing and reading, on its way to ``path``; gone at the end unless committed."""
        return self.files.staging(path)

    @contextlib.contextmanager
    def staging_folder(self, path: str, key: str | None) -> Iterator[str]:
        """Give the path of a folder for parts on their way to ``path``; gone at the end unless it was placed.

        Parameters
        ----------
        path
            Where the parts go.
        key
            Names what is computed. After an error, or a kill, the folder stays, for
            :meth:`unfinished` to find. ``None``: what cannot be named cannot be found
            again, and does not stay.
        """
        folder = f"{staging_of(path)}/{key or 'parts'}-{uuid.uuid4().hex}.staged"
        try:
            yield folder
        except BaseException:
            if key is None:
                self.files.remove(folder)
            raise
        self.files.remove(folder)

    def unfinished(self, path: str, key: str) -> list[str]:
        """Return the folders that earlier writes of the same key to the folder of ``path`` left."""
        staging = staging_of(path)
        return [
            f"{staging}/{each}"
            for each in sorted(self.files.names(staging))
            if each.startswith(f"{key}-")
        ]

    def commit(
        self, path: str, staged: Staged, manifest: Manifest, *, durable: bool = False
    ) -> Manifest:
        """Put what was staged in place, whole, and return the manifest that holds then.

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

        Returns
        -------
        Manifest
            Another writer's, where one with the same identity was first: its data
            stand, and are to be handed on.

        Raises
        ------
        CollisionError
            Another task of the same run wrote this path for other inputs. Neither
            result stays in place.
        """
        manifest = replace(manifest, stamp=staged.stamp)
        filed = self._filed(path, manifest.stamp or manifest.attempt)
        try:
            self.files.create(filed, manifest.to_json().encode())
        except FileExistsError as error:
            # On a disk that keeps whole seconds. With one manifest for two results, one
            # would pass for the other.
            raise OSError(
                errno.EAGAIN,
                "another result has the same size and time; try again",
                path,
            ) from error
        if durable and staged.stamp is not None:
            self.files.sync(staged.path, filed, parent(filed))
        # Filed first, looked second: of two writers at least one sees the other's
        # manifest.
        self._refuse_collision(path, manifest)
        while True:
            found = self.look_up(path, manifest.kind)
            if found.manifest is not None and _same_result(found.manifest, manifest):
                self.files.remove(filed, "file")
                return found.manifest
            is_ours = found.manifest is not None and not found.manifest.adopted
            if found.manifest is not None and found.manifest.adopted:
                self.set_aside(
                    path,
                    "it was put there by hand",
                    found.manifest.stamp,
                    then=_SUCCEEDED,
                )
            elif found.manifest is None and found.kind != "missing":
                self.set_aside(path, found.reason, found.stamp, then=_SUCCEEDED)
            try:
                if is_ours:
                    if staged.stamp is not None:
                        # The manifest too: after a power cut nothing else could say
                        # that the new bytes are good.
                        self.files.sync(filed, parent(filed))
                    self.files.replace(staged, path)
                else:
                    self.files.place(staged, path)
                if staged.stamp is None:
                    manifest = self._file_placed(path, manifest, found.manifest)
                break
            except FileExistsError:
                continue  # Someone was first: look again at what lies there now.
            except FileNotFoundError:
                if found.manifest is None or self.files.status(path) is not None:
                    raise
        if staged.stamp is None:
            self.files.remove(filed, "file")
        if found.manifest is not None:
            self._drop(path, found.manifest, manifest)
        # Who saw our manifest gave up before our data were in place, and left its own
        # for us to see.
        self._refuse_collision(path, manifest)
        if durable and staged.stamp is not None:
            self.files.sync(parent(path))
        return manifest

    def adopt(
        self, path: str, manifest: Manifest, status: Status | None = None
    ) -> Manifest:
        """File a manifest for data that a person put at ``path``, so that they count as a checkpoint from now on.

        ``status`` is from before the data were read: what changes meanwhile is not what
        the manifest describes.
        """
        status = status or self.files.status(path)
        if status is None:
            raise CheckpointNotFoundError(
                f"no checkpoint at {path!r}: there is nothing to adopt"
            )
        manifest = replace(manifest, stamp=status.stamp, adopted=True, identity=None)
        self._refile(path, manifest)
        return manifest

    def set_aside(
        self,
        path: str,
        why: str,
        stamp: str | None = None,
        *,
        then: str = "the next run computes it again",
    ) -> str:
        """Move what lies at ``path`` out of the way, say so in one line, and return where it went.

        With ``stamp``, nothing is moved that has another one: a writer put a good copy
        there meanwhile. ``then`` says what is done now.
        """
        status = self.files.status(path) if stamp is not None else None
        if status is not None and status.stamp != stamp:
            return path
        # Not ours, or no longer what we wrote: never deleted. The suffix keeps readers
        # of folders away from it.
        aside = f"{parent(path)}/{SIDE_FOLDER}/set-aside/{_shortened(name(path))}.{uuid.uuid4().hex[:12]}.set-aside"
        try:
            self.files.move(path, aside)
        except FileNotFoundError:
            return aside  # Another reader saw the damage too, and was first.
        logger.warning("%s: %s; set aside as %s; %s", path, why, aside, then)
        return aside

    def verify(self, path: str) -> list[str]:
        """Read every byte of a checkpoint and return what is amiss, in words; empty where it is sound.

        Raises
        ------
        CheckpointNotFoundError
            Nothing is committed at ``path``.
        """
        found = self.look_up(path)
        if found.kind == "damaged":
            return [found.reason]
        if found.manifest is None:
            raise CheckpointNotFoundError(f"no checkpoint at {path!r}: {found.reason}")
        status = self.files.status(path)
        parts = (
            {}
            if status is None
            else {part.name: part for part in self.read_parts(path, status)}
        )
        problems = [
            f"{extra}: is not in the manifest"
            for extra in sorted(parts.keys() - _names(found.manifest))
        ]
        for part in found.manifest.parts:
            there = parts.get(part.name)
            if there is None:
                problems.append(f"{part.name}: is gone")
            elif there.size_bytes != part.size_bytes:
                problems.append(
                    f"{part.name}: has {there.size_bytes} bytes, was written with {part.size_bytes}"
                )
            elif there.sha256 != part.sha256:
                problems.append(f"{part.name}: its checksum is another")
        return problems

    def clean(
        self, folder: str, *, older_than_s: float = 86_400.0, dry_run: bool = False
    ) -> list[str]:
        """Remove what killed and replaced writes left beside the checkpoints of a folder; return the paths.

        Parameters
        ----------
        folder
            The folder in which checkpoints lie.
        older_than_s
            Younger leftovers stay: a writer may still be at work on them.
        dry_run
            Only return what would go.
        """
        side, newest = f"{folder}/{SIDE_FOLDER}", time.time() - older_than_s
        leftovers = [
            f"{side}/staging/{each}" for each in self.files.names(f"{side}/staging")
        ]
        for checkpoint in self.files.names(f"{side}/manifests"):
            status = self.files.status(f"{folder}/{checkpoint}")
            names = self.files.names(f"{side}/manifests/{checkpoint}")
            waiting = None if status else self._waiting(f"{folder}/{checkpoint}", names)
            if waiting is not None and waiting.path in leftovers:
                # A copy that a crash left in staging goes back to its place.
                leftovers.remove(waiting.path)
                status = self.files.status(waiting.path)
                if not dry_run:
                    self._put_back(f"{folder}/{checkpoint}", waiting)
            filed = [f"{side}/manifests/{checkpoint}/{each}" for each in names]
            in_place = (
                None
                if status is None
                else self._filed(f"{folder}/{checkpoint}", status.stamp)
            )
            # Where no readable manifest answers to the data, any of them may still
            # prove the data by their bytes.
            if in_place is None or self._is_readable(in_place):
                leftovers += [each for each in filed if each != in_place]
            if (
                in_place is not None
                and status is not None
                and status.stamp == FOLDER_STAMP
            ):
                leftovers += self._stray_parts(
                    f"{folder}/{checkpoint}", in_place, newest
                )
        removed = [each for each in leftovers if self._is_older(each, newest)]
        if not dry_run:
            for each in removed:
                self.files.remove(each)
        return removed

    def _stray_parts(self, path: str, in_place: str, newest: float) -> list[str]:
        """Return the parts that stopped writers, or one of two at a time, left in a store's folder."""
        parts = [
            each
            for each in self.files.sizes(path)
            if _PART_IN_STORE.fullmatch(name(each))
        ]
        # Listed first, asked second: a part that is on its way has a manifest by now.
        manifests = dict(self._manifests(path))
        if in_place not in manifests:
            return []
        named = {
            part
            for filed, manifest in manifests.items()
            if filed == in_place or not self._is_older(filed, newest)
            for part in _names(manifest)
        }
        return [f"{path}/{each}" for each in parts if each not in named]

    def _refuse_collision(self, path: str, manifest: Manifest) -> None:
        own = self._filed(path, manifest.stamp or manifest.attempt)
        others = {
            filed: other
            for filed, other in self._manifests(path, but=own)
            if _collide(manifest, other)
        }
        if not others:
            return
        # None of these results may pass for another's: whichever is in place goes, and
        # no manifest stays in force.
        other = next(iter(others.values()))
        status = self.files.status(path)
        in_place = None if status is None else self._filed(path, status.stamp)
        if status is not None and (in_place == own or in_place in others):
            other = others.get(in_place, other)
            self.set_aside(
                path,
                f"written by {other.owner} and by {manifest.owner} in one run",
                status.stamp,
            )
        why = (
            manifest.identity.difference(other.identity)
            if manifest.identity and other.identity
            else ""
        )
        raise CollisionError(
            f"tasks {str(other.owner)!r} and {str(manifest.owner)!r} of one run both write {path!r}, for different "
            f"inputs{f' ({why})' if why else ''}: give the template a field that tells them apart"
        )

    def _waiting(self, path: str, filed: list[str]) -> Staged | None:
        """Return the folder that waits in staging to be put back, as its writer died between its two renames."""
        staging = staging_of(path)
        for each in (
            self.files.names(staging) if filed and self.files.renames_folders else ()
        ):
            status = (
                self.files.status(f"{staging}/{each}")
                if each.endswith(REPLACED)
                else None
            )
            if status is not None and f"{status.stamp}.json" in filed:
                return Staged(f"{staging}/{each}", status.stamp)
        return None

    def _put_back(self, path: str, waiting: Staged) -> None:
        # Its writer lives, and was faster: then this is its successor's place.
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            self.files.place(waiting, path)

    def _difference(self, path: str, status: Status, manifest: Manifest) -> str:
        """Return in words which part of a folder is not there as large as it was written; empty for none."""
        sizes = self.files.sizes(path) if status.sizes is None else status.sizes
        for part in manifest.parts:
            size_bytes = sizes.get(part.name)
            if size_bytes is None:
                return f"part {part.name!r} was gone"
            if size_bytes != part.size_bytes:
                return f"part {part.name!r} had {size_bytes} bytes, was written with {part.size_bytes}"
        return ""

    def _drop(self, path: str, replaced: Manifest, manifest: Manifest) -> None:
        """Remove what a successor leaves of a checkpoint: its manifest, and parts that lie beside the new ones."""
        if replaced.stamp != manifest.stamp:
            self.files.remove(self._filed(path, replaced.stamp), "file")
        elif manifest.kind == "folder":
            self._drop_copies(path, replaced, manifest)

    def _drop_copies(self, path: str, gone: Manifest, there: Manifest) -> None:
        """Remove the parts of a folder that lie beside those in force."""
        if there.stamp == FOLDER_STAMP:
            for part in sorted(_names(gone) - _names(there)):
                self.files.remove(f"{path}/{part}", "file")

    def _file_placed(
        self, path: str, manifest: Manifest, replaced: Manifest | None
    ) -> Manifest:
        """File a manifest under the stamp that a store gave its object, or that all its folders have."""
        if manifest.kind == "folder":
            manifest = replace(manifest, stamp=FOLDER_STAMP)
            # This is the commit: parts of two generations may lie at the path, and the
            # manifest says which count.
            filed_folder, data = (
                self._filed(path, FOLDER_STAMP),
                manifest.to_json().encode(),
            )
            try:
                (self.files.create if replaced is None else self.files.put)(
                    filed_folder, data
                )
            except FileExistsError:
                there = self.look_up(path, "folder").manifest
                if (
                    there is not None
                ):  # Another writer was first, and what it committed holds.
                    self._drop_copies(path, manifest, there)
                    raise
                self.files.put(filed_folder, data)
            return manifest
        status = self.files.status(path)
        # Whoever wrote since has filed a manifest before, which is still there, by
        # attempt or by stamp.
        filed = {
            self._filed(path, each)
            for each in (manifest.attempt, replaced.stamp if replaced else None)
            if each
        }
        others = {
            f"{self._folder(path)}/{each}"
            for each in self.files.names(self._folder(path))
        } - filed
        try:
            is_ours = status is not None and (
                not others or self._holds(path, status, manifest)
            )
        except FileNotFoundError:
            is_ours = False
        if status is None or not is_ours:
            return manifest  # Replaced already, and its successor has a manifest of its own.
        manifest = replace(manifest, stamp=status.stamp)
        # The same bytes in the same second have the same stamp: the manifest there may
        # be of other inputs.
        self._refile(path, manifest)
        return manifest

    def _holds(self, path: str, status: Status, manifest: Manifest) -> bool:
        return _same_bytes(manifest.parts, self.read_parts(path, status), status)

    def _refile(self, path: str, manifest: Manifest) -> None:
        """File a manifest in place of a torn or outdated one."""
        self.files.put(self._filed(path, manifest.stamp), manifest.to_json().encode())

    def _is_readable(self, filed: str) -> bool:
        try:
            self._manifest(filed)
        except NewerFormatError:
            return True
        except (FileNotFoundError, ManifestError):
            return False
        return True

    def _is_older(self, path: str, newest: float) -> bool:
        try:
            return self.files.modified(path) < newest
        except FileNotFoundError:
            return False  # Its writer was faster.

    def _folder(self, path: str) -> str:
        return f"{parent(path)}/{SIDE_FOLDER}/manifests/{name(path)}"

    def _filed(self, path: str, stamp: str | None) -> str:
        return f"{self._folder(path)}/{stamp}.json"

    def _manifest(self, filed: str) -> Manifest:
        return Manifest.from_json(self.files.read_bytes(filed))

    def _is_under_way(self, path: str, manifests: list[Manifest]) -> bool:
        """Whether all that lies in a store's folder was copied there by writers that have not committed it."""
        unfinished = [each for each in manifests if each.stamp is None]
        named = {part for each in unfinished for part in _names(each)}
        return bool(unfinished) and self.files.sizes(path).keys() <= named

    def _manifests(self, path: str, *, but: str = "") -> Iterator[tuple[str, Manifest]]:
        """Yield every readable manifest filed for ``path`` and not cleared, with its file; all ``but`` one."""
        folder = self._folder(path)
        for each in sorted(self.files.names(folder)):
            filed = f"{folder}/{each}"
            if filed == but:
                continue
            try:
                yield filed, self._manifest(filed)
            except NewerFormatError:
                raise
            except (FileNotFoundError, ManifestError):
                continue  # Cleared by its writer since the listing; or torn by a kill, and so never in force.


# What a handler names a part in an object store; nothing else in a folder is ever taken
# for ours.
_PART_IN_STORE = re.compile(r"part\.\d+-[0-9a-f]{8}\.parquet")


def describe_file(path: str, data: bytes, n_rows: int) -> Part:
    """Return the part that a file of these bytes is."""
    return _part(name(path), data)._replace(n_rows=n_rows)


def describe_staged(path: str, file: BinaryIO, n_rows: int) -> Part:
    """Return the part that a staged file will be at ``path``, by reading it from its start to its end."""
    file.seek(0)
    sha256 = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
    return Part(name(path), file.tell(), sha256, n_rows)


def _part(part_name: str, data: bytes) -> Part:
    return Part(part_name, len(data), hashlib.sha256(data).hexdigest(), 0)


def _shortened(text: str) -> str:
    """Return at most 200 bytes of a name."""
    return text.encode("utf-8", "surrogateescape")[:200].decode("utf-8", "ignore")


def _checksums(found: Found) -> set[str]:
    return {part.sha256 for part in found.manifest.parts} if found.manifest else set()


def _names(manifest: Manifest) -> set[str]:
    return {part.name for part in manifest.parts}


def _same_bytes(
    parts: tuple[Part, ...], there: tuple[Part, ...], status: Status
) -> bool:
    ours, theirs = (
        {(part.name, part.size_bytes, part.sha256) for part in each}
        for each in (parts, there)
    )
    # In an object store the parts of a successor may lie beside them already.
    return ours <= theirs if status.stamp == FOLDER_STAMP else ours == theirs


def _same_result(there: Manifest, ours: Manifest) -> bool:
    return there.attempt == ours.attempt or (
        there.identity is not None and there.identity == ours.identity
    )


def _collide(ours: Manifest, other: Manifest) -> bool:
    if (
        not ours.owner.run_id
        or ours.owner.run_id != other.owner.run_id
        or ours.owner == other.owner
    ):
        return False
    # Inputs that have no digest cannot be shown to be equal.
    equal = (
        ours.identity is not None
        and ours.identity == other.identity
        and not ours.identity.unstable_inputs
    )
    return not equal
