"""The folders in which parts are written, and what a stopped write leaves in them.

A folder's name has the checkpoint's and the key of what is computed, so that the next
write of the same goes on with it, and the next write of something else removes it. The
file ``owner`` in it says which process writes there, so that a folder that is in use is
left alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prefect_ds.storage.filesystem import FileSystem
from prefect_ds.storage.layout import name, staging_folder

logger = logging.getLogger("prefect.prefect_ds.dask")

_OWNER = "owner"
# Folders that this process writes in now: it may be its own successor in another.
_in_use: set[str] = set()


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
            self._sign(folder, _this_process())
            yield folder
            self.files.remove(folder)
        except BaseException:
            # No later run could tell that these parts are of what it computes.
            if self.key is None:
                self.files.remove(folder)
            else:
                with contextlib.suppress(OSError):
                    self._sign(folder, {"stopped": True})
            raise
        finally:
            _in_use.discard(folder)

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

        As far as is known on this host.
        """
        return [folder for folder in self._all() if self._is_stopped(folder)]

    def remove_stopped(self) -> None:
        """Remove what stopped writes of this checkpoint left.

        It is committed by now.
        """
        for folder in self.stopped():
            size_bytes = sum(self.files.sizes(folder).values())
            self.files.remove(folder)
            logger.info(
                "%s: removed %.1f MB that a stopped write had left",
                self.path,
                size_bytes / 1e6,
            )

    def n_records(self, folder: str) -> int:
        """Return how many partitions were finished in a folder."""
        return sum(file.endswith(".json") for file in self.files.names(folder))

    @property
    def _prefix(self) -> str:
        # By digest: a name may be too long with a key and an id behind it.
        checkpoint = hashlib.sha256(name(self.path).encode("utf-8", "surrogateescape"))
        return f"{staging_folder(self.path)}/{checkpoint.hexdigest()[:16]}-"

    def _all(self) -> list[str]:
        staging = staging_folder(self.path)
        folders = [f"{staging}/{file}" for file in sorted(self.files.names(staging))]
        return [folder for folder in folders if folder.startswith(self._prefix)]

    def _sign(self, folder: str, owner: dict[str, Any]) -> None:
        self.files.put(f"{folder}/{_OWNER}", json.dumps(owner).encode())

    def _is_stopped(self, folder: str) -> bool:
        if folder in _in_use:
            return False
        try:
            owner = json.loads(self.files.read_bytes(f"{folder}/{_OWNER}"))
        except (FileNotFoundError, ValueError):
            return False  # Just made, or not signed by this version.
        if owner.get("stopped"):
            return True
        # Of another machine nobody can tell here whether its process lives.
        here = _this_process()
        if owner.get("machine") != here["machine"]:
            return False
        return bool(owner.get("process") != _process(int(owner.get("pid", 0))))


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {"machine": _machine(), "pid": pid, "process": _process(pid)}


def _machine() -> list[str]:
    """Return what tells where a process number means the same process as here."""
    facts = [platform.node()]
    with contextlib.suppress(OSError):
        with open("/proc/sys/kernel/random/boot_id") as file:
            facts.append(file.read().strip())
        facts.append(os.readlink("/proc/self/ns/pid"))
    return facts


def _process(pid: int) -> str:
    """Return what tells a living process from an earlier one with its number.

    Empty where there is no such process.
    """
    try:
        with open(f"/proc/{pid}/stat") as file:
            # The name of the program, which may hold anything, ends with a bracket.
            fields = file.read().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else f"{pid} since {fields[19]}"
    except OSError:
        pass
    if os.path.exists("/proc/self/stat"):
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        pass
    return f"{pid}"
