"""The folders in which parts are written, and what a stopped write leaves in them.

A folder's name holds the checkpoint and the key of what is computed. So the next write
of the same computation goes on with it, and the next write of another one removes it.
The file ``owner`` in it says which process writes there, so that a folder that is in
use is left alone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prefect_ds.storage.filesystem import FileSystem
from prefect_ds.storage.layout import name, staging_folder
from prefect_ds.storage.processes import is_over, this_process
from prefect_ds.storage.running_writes import OWNER, n_records, staging_prefix

logger = logging.getLogger("prefect.prefect_ds.dask")

_in_use: set[str] = set()
"""The folders that this process writes in now: their owner need not be read."""


@dataclass(frozen=True, slots=True)
class Staging:
    """The staging folders of one checkpoint."""

    files: FileSystem
    path: str
    """Of the checkpoint."""
    key: str | None
    """Of what is computed; ``None``: nothing can go on with it."""

    @contextlib.contextmanager
    def folder(self) -> Iterator[str]:
        """Give the path of a new folder, which is removed at the end.

        After an error it is kept if it has a key.
        """
        folder = f"{self._prefix}{self.key or 'parts'}-{uuid.uuid4().hex}.staged"
        _in_use.add(folder)
        try:
            # Signed first, so that no other run takes the folder for one that was left.
            self._sign(folder, this_process())
            yield folder
        # KeyboardInterrupt and a cancelled task stop a write too.
        except BaseException:
            # No later run could tell that these parts are of what it computes.
            if self.key is None:
                self._discard(folder)
            else:
                # This process lives on, so the owner alone would not say that its
                # write has stopped. How far it came stays in the file.
                with contextlib.suppress(OSError):
                    self._sign(folder, {**self._about(folder), "stopped": True})
            raise
        else:
            self._discard(folder)
        finally:
            _in_use.discard(folder)

    def _discard(self, folder: str) -> None:
        """Remove a folder, or leave it to a later write.

        After an error other workers may still write parts in it. That must neither hide
        the error nor fail a write that is done.
        """
        try:
            self.files.remove(folder)
        except OSError as error:
            logger.info(
                "%s could not be removed, and stays until the next write: %s",
                folder,
                error,
            )
            with contextlib.suppress(OSError):
                self._sign(folder, {"stopped": True})

    def same(self) -> list[str]:
        """Return the folders of all writes of the same computation.

        Writes that go on are among them.
        """
        if self.key is None:
            return []
        prefix = f"{self._prefix}{self.key}-"
        return [folder for folder in self._all() if folder.startswith(prefix)]

    def stopped(self) -> list[str]:
        """Return the folders of this checkpoint in which no process writes any more.

        Nothing is known of processes on other machines: their folders are left out.
        """
        return [folder for folder in self._all() if self._is_stopped(folder)]

    def remove_stopped(self) -> None:
        """Remove what stopped writes of this checkpoint left.

        To be called after the commit: until then a later run may need these parts.
        """
        for folder in self.stopped():
            # Asked before, for the log: afterwards nobody can tell.
            size_bytes = sum(self.files.sizes(folder).values())
            self.files.remove(folder)
            logger.info(
                "%s: removed %.1f MB that a stopped write had left",
                self.path,
                size_bytes / 1e6,
            )

    def announce(self, folder: str, n_partitions: int, n_taken_over: int) -> None:
        """Say in the folder how much there is to write, for other processes.

        See :mod:`prefect_ds.storage.running_writes`. In an object store nobody looks
        for it, as a look takes requests.
        """
        if not self.files.renames_folders:
            return
        about = {
            "name": name(self.path),
            "partitions": n_partitions,
            "taken_over": n_taken_over,
        }
        # It only informs: the write needs nothing of it.
        with contextlib.suppress(OSError):
            self._sign(folder, {**this_process(), **about})

    def n_records(self, folder: str) -> int:
        """Return how many partitions were finished in a folder."""
        return n_records(self.files, folder)

    @property
    def _prefix(self) -> str:
        return staging_prefix(self.path)

    def _all(self) -> list[str]:
        # The folder holds the staging folders of all checkpoints beside this one.
        staging = staging_folder(self.path)
        folders = [f"{staging}/{file}" for file in sorted(self.files.names(staging))]
        return [folder for folder in folders if folder.startswith(self._prefix)]

    def _sign(self, folder: str, owner: dict[str, Any]) -> None:
        self.files.put(f"{folder}/{OWNER}", json.dumps(owner).encode())

    def _about(self, folder: str) -> dict[str, Any]:
        """Return what the owner of a folder has said of its write."""
        try:
            owner = json.loads(self.files.read_bytes(f"{folder}/{OWNER}"))
        except (OSError, ValueError):
            return {}
        return dict(owner)

    def _is_stopped(self, folder: str) -> bool:
        if folder in _in_use:
            return False
        try:
            owner = json.loads(self.files.read_bytes(f"{folder}/{OWNER}"))
        except (FileNotFoundError, ValueError):
            # Just made, or by an earlier version: better kept once too often.
            return False
        if owner.get("stopped"):
            return True
        return is_over(owner)
