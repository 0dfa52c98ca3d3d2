"""The part of a handler that people call by hand: verify, adopt, accept, clean."""

from __future__ import annotations

import abc
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from prefect_ds.errors import CheckpointNotFoundError, DamagedCheckpointError
from prefect_ds.event_log.event import Event
from prefect_ds.event_log.log import EventLog
from prefect_ds.storage import history
from prefect_ds.storage.housekeeping import unfinished_writes
from prefect_ds.storage.identity import Identity
from prefect_ds.storage.layout import FREED, SIDE_FOLDER, parent
from prefect_ds.storage.lookup import Found
from prefect_ds.storage.manifest import Manifest
from prefect_ds.storage.store import CheckpointStore


class Upkeep(abc.ABC):
    """Checks, adopts and tidies up the checkpoints of a handler."""

    location: str | None
    file_type: str

    def verify(self, path: str) -> list[str]:
        """Read every byte of a checkpoint and return its faults in words.

        Empty where it is sound.

        Raises
        ------
        CheckpointNotFoundError
            Nothing is there.
        """
        path = self._absolute(path)
        problems = self.store.verify(path)
        # Bytes that are not those of the manifest need not be parsed.
        if problems:
            return problems
        at_path = self.look_up(path)
        assert at_path.manifest is not None
        try:
            self._load(path, at_path.manifest)
        except Exception as error:  # noqa: BLE001 - any error of a parser is a fault
            return [f"cannot be read as {self.file_type}: {error}"]
        return []

    def manifest(self, path: str) -> Manifest:
        """Return the manifest of a checkpoint: its rows, bytes, inputs, origin.

        Raises
        ------
        CheckpointNotFoundError
            Nothing is there.
        """
        at_path = self.look_up(self._absolute(path))
        if at_path.freed is not None:
            return at_path.freed
        if at_path.manifest is None:
            raise CheckpointNotFoundError(
                f"no checkpoint at {path!r}: {at_path.reason}"
            )
        return at_path.manifest

    def adopt(self, path: str) -> Manifest:
        """Let the data at ``path`` count as the checkpoint: an edit made on purpose.

        Columns keep the types of the checkpoint before the edit where they still fit.

        Raises
        ------
        CheckpointNotFoundError
            Nothing is there.
        """
        path = self._absolute(path)
        if self.store.files.status(path) is None:
            raise CheckpointNotFoundError(
                f"no checkpoint at {path!r}: there is nothing to adopt"
            )
        return self.store.adopt(path, self._adoptable(path))

    def accept(self, path: str) -> Manifest:
        """Let a checkpoint count for the code and the options that the next run has.

        They differ from those it was made with, and the user says that this does not
        matter. Every byte is verified first. The run that loads it gives it the
        identity of that run, so that later changes count again; the manifest's history
        says so. Inputs and settings whose value changed are not covered.
        :func:`prefect_ds.accept` accepts all checkpoints of a task, and at once.

        Parameters
        ----------
        path
            The path of the checkpoint.

        Raises
        ------
        CheckpointNotFoundError
            Nothing is there.
        DamagedCheckpointError
            Its bytes are not those that were written.
        """
        path = self._absolute(path)
        manifest = self._verified(path)
        if manifest.identity is None:
            return manifest  # A person's file counts as it is.
        history = (*manifest.history, self._accepted(manifest))
        accepted = replace(manifest, is_accepted=True, history=history)
        return self.store.rewrite(path, manifest, accepted)

    def accept_as(
        self, path: str, manifest: Manifest, identity: Identity, why: str = ""
    ) -> Manifest:
        """Give a checkpoint another identity, see :func:`prefect_ds.accept`.

        Parameters
        ----------
        path
            The rendered path.
        manifest
            The checkpoint's manifest. If :meth:`accept` has marked it, the checkpoint
            was verified then.
        identity
            The identity that it gets.
        why
            How the two differ, in words, for the history.

        Raises
        ------
        DamagedCheckpointError
            Its bytes are not those that were written.
        """
        history = manifest.history
        # One that `accept` has marked was verified then, and its history says so.
        if not manifest.is_accepted:
            self._verified(path)
            history = (*history, self._accepted(manifest, why))
        accepted = replace(
            manifest, identity=identity, is_accepted=False, history=history
        )
        return self.store.rewrite(path, manifest, accepted)

    def _verified(self, path: str) -> Manifest:
        problems = self.verify(path)
        if problems:
            raise DamagedCheckpointError(
                f"the checkpoint at {path!r} is damaged and was not accepted: "
                f"{problems[0]}; the next run computes it again"
            )
        return self.manifest(path)

    def _accepted(self, manifest: Manifest, why: str = "") -> history.Event:
        before = ""
        if manifest.identity:
            before = manifest.identity.digest
        return history.Event("accepted", history.now(), why, before)

    def free(self, path: str) -> Manifest:
        """Remove the data of a checkpoint to free their space; the manifest stays.

        It still proves what was made from the data. A run does not need them as long
        as all that takes them loads, and computes them again if something has to run.

        Parameters
        ----------
        path
            The path of the checkpoint.

        Raises
        ------
        CheckpointNotFoundError
            Nothing is there.
        PrefectDSError
            A person put the data there, so that nothing could compute them again.
        """
        path = self._absolute(path)
        # The marker first: a run that finds none asks for no freed data.
        if self.freed_marker is not None:
            self.store.files.put(self.freed_marker, b"")
        freed = self.store.free(path)
        log = EventLog.configured()
        if log is not None:
            owner = freed.owner
            log.write(
                Event(
                    event="freed",
                    flow=owner.flow,
                    task=owner.task,
                    slug=owner.task,
                    map_index=owner.map_index,
                    path=path,
                    size_bytes=freed.size_bytes,
                )
            )
        return freed

    def may_have_freed(self) -> bool:
        """Return whether a checkpoint of this template may have been freed.

        One look at the file system.
        """
        marker = self.freed_marker
        return marker is not None and self.store.files.status(marker) is not None

    @property
    def freed_marker(self) -> str | None:
        """The file that says that checkpoints were freed; ``None``: unknown path."""
        if not isinstance(self.location, str):
            return None
        # In the folder above all fields: one marker for all paths of the template.
        folder = parent(self._absolute(self.location).partition("{")[0])
        return f"{folder}/{SIDE_FOLDER}/{FREED}"

    def clean(
        self,
        folder: str | PurePath | None = None,
        *,
        older_than_s: float = 86_400.0,
        dry_run: bool = False,
    ) -> list[str]:
        """Remove what stopped and replaced writes left in a folder; return the paths.

        Checkpoints, their manifests, and data that were set aside stay.

        Parameters
        ----------
        folder
            The folder in which checkpoints lie; ``None``: the one of the template.
        older_than_s
            Younger leftovers stay: a writer may still be at work on them.
        dry_run
            Only return the paths that would go.

        Raises
        ------
        ValueError
            The folder of the template has fields, and no other is given.
        """
        where = self.folder if folder is None else self._absolute(folder)
        if where is None:
            raise ValueError(
                f"the folder of the template {self.location!r} is not the same for all "
                "checkpoints: name one, as in handler.clean('data/2024-01-01')"
            )
        return self.store.clean(where, older_than_s=older_than_s, dry_run=dry_run)

    @property
    def folder(self) -> str | None:
        """The folder of all checkpoints; ``None`` if it is not one for all of them.

        A field is part of its name, or a function of the user's makes the path.
        """
        if not isinstance(self.location, str):
            return None
        folder = parent(self._absolute(self.location))
        if "{" in folder:
            return None
        return folder

    def unfinished_writes(self) -> tuple[int, int]:
        """Return how many writes were stopped, or are under way, and their bytes.

        Zero for an object store, where the question would cost a request.
        """
        files = self.store.files
        if self.folder is None or not files.renames_folders:
            return 0, 0
        return unfinished_writes(files, self.folder)

    def running_write(self, path: str) -> str:
        """Return in words how far a write to a path is; empty where there is none."""
        return ""

    @property
    @abc.abstractmethod
    def store(self) -> CheckpointStore:
        """The store that the path lies in."""

    @abc.abstractmethod
    def look_up(self, path: str, *, only_looks: bool = False) -> Found:
        """Say what lies at ``path``."""

    @abc.abstractmethod
    def _absolute(self, path: str | PurePath) -> str:
        """Return a path from the handler's base folder."""

    @abc.abstractmethod
    def _load(self, path: str, manifest: Manifest) -> Any:
        """Return the data that the manifest describes, checked."""

    @abc.abstractmethod
    def _adoptable(self, path: str) -> Manifest:
        """Read a person's data and return a manifest for them."""
