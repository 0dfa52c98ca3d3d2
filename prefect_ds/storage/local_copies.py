"""Copies of checkpoints of a store, on this machine, for readers that need a path.

All processes of a user share a copy. A process holds a lock on it until it ends,
however it ends: the last one removes the copy, and the next process removes those of
processes that were killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Any

from prefect_ds.storage.checksum import Checksum, kind_of
from prefect_ds.storage.filesystem import FileSystem
from prefect_ds.storage.layout import name
from prefect_ds.storage.manifest import Manifest
from prefect_ds.storage.part import Part
from prefect_ds.storage.part_names import below_generation

if TYPE_CHECKING:
    import fcntl
else:
    try:
        import fcntl
    except ImportError:  # Windows: every process has copies of its own.
        fcntl = None

EMPTY_FOLDERS = "empty_folders"
"""The key of a schema with the folders that no part's name has."""

_PIECE_BYTES = 8 * 2**20


class OtherBytesError(Exception):
    """The bytes in the store are not those of the manifest."""


def local_copy(files: FileSystem, path: str, manifest: Manifest) -> str:
    """Return the path of a copy of a checkpoint on this machine.

    Parameters
    ----------
    files, path
        Of the checkpoint.
    manifest
        Its manifest: every byte is compared with its checksums while it is copied.

    Raises
    ------
    OtherBytesError
        The bytes are others.
    FileNotFoundError
        A part is gone.
    """
    # By the name too: a reader may go by the ending.
    described = f"{manifest.kind} {name(path)} {manifest.content}"
    key = hashlib.sha256(described.encode()).hexdigest()[:32]
    return _copies().path(key, files, path, manifest)


def is_local_copy(path: str) -> bool:
    """Return whether a path of this machine lies in a copy."""
    return f"{path}/".startswith(f"{_copies().folder}/")


def _copies() -> _Copies:
    """Return the copies that this process uses."""
    global _of_this_process
    with _making:
        # A fork has none of its own yet.
        if _of_this_process is None or _of_this_process.pid != os.getpid():
            _of_this_process = _Copies()
        return _of_this_process


_making = threading.Lock()
_of_this_process: _Copies | None = None


class _Copies:
    """The copies that a process uses."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.folder = _folder()
        self._used: dict[str, int] = {}
        """The handle of the lock that says so, by key."""
        self._lock = threading.Lock()
        self._remove_unused()
        # Not atexit: the processes of multiprocessing, and of a cluster, pass it by.
        Finalize(None, self.close, exitpriority=0)

    def path(self, key: str, files: FileSystem, path: str, manifest: Manifest) -> str:
        """Return the path of a copy; make it where there is none."""
        copy = f"{self.folder}/{key}/{name(path)}"
        with self._exclusive(key):
            # The lock first: from now on no other process removes the copy.
            if key not in self._used:
                self._used[key] = self._use(key)
            if not self._is_whole(key, copy):
                self._make(key, files, path, manifest)
        return copy

    def _make(self, key: str, files: FileSystem, path: str, manifest: Manifest) -> None:
        unfinished, place = f"{self.folder}/{key}.part", f"{self.folder}/{key}"
        # A killed process may have left one.
        shutil.rmtree(unfinished, ignore_errors=True)
        os.mkdir(unfinished)
        try:
            _copy_all(files, path, manifest, f"{unfinished}/{name(path)}")
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        with contextlib.suppress(FileNotFoundError):
            # A task changed it. Another process may read it still.
            os.rename(place, f"{place}.{os.getpid()}-{len(os.listdir(self.folder))}")
        os.rename(unfinished, place)
        with open(f"{self.folder}/{key}.stamps", "w") as stamps:
            json.dump(_stamps(f"{place}/{name(path)}"), stamps)

    def _is_whole(self, key: str, copy: str) -> bool:
        """Whether a copy is there, and nobody has changed it."""
        try:
            with open(f"{self.folder}/{key}.stamps") as stamps:
                return bool(json.load(stamps) == _stamps(copy))
        except (OSError, ValueError):
            return False

    def close(self) -> None:
        """Give all copies up, and remove those that no other process uses."""
        # A fork has inherited the handles, and the locks are its parent's.
        if os.getpid() != self.pid:
            return
        for handle in self._used.values():
            os.close(handle)
        self._used.clear()
        self._remove_unused()
        if fcntl is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _remove_unused(self) -> None:
        for file in os.listdir(self.folder):
            key, ending = os.path.splitext(file)
            # A copy that a process uses, or makes right now, stays.
            if ending == ".use":
                with contextlib.suppress(BlockingIOError), self._exclusive(key, False):
                    self._remove(key)

    def _remove(self, key: str) -> None:
        """Remove a copy, or raise ``BlockingIOError`` if a process uses it."""
        handle = os.open(f"{self.folder}/{key}.use", os.O_RDWR | os.O_CREAT)
        try:
            # Users share this lock: to have it alone means that there is none.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for file in os.listdir(self.folder):
                if file.startswith(key) and not file.endswith((".use", ".make")):
                    _delete(f"{self.folder}/{file}")
            os.unlink(f"{self.folder}/{key}.use")
            os.unlink(f"{self.folder}/{key}.make")
        finally:
            os.close(handle)

    def _use(self, key: str) -> int:
        """Say that this process uses a copy; return the handle of the lock."""
        handle = os.open(f"{self.folder}/{key}.use", os.O_RDWR | os.O_CREAT, 0o600)
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_SH)
        return handle

    @contextlib.contextmanager
    def _exclusive(self, key: str, waits: bool = True) -> Iterator[None]:
        """Let no other process make or remove a copy meanwhile."""
        if fcntl is None:
            with self._lock:
                yield
            return
        how = fcntl.LOCK_EX
        if not waits:
            how |= fcntl.LOCK_NB
        file = f"{self.folder}/{key}.make"
        while True:
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, how)
                if _is_file_of(handle, file):
                    yield
                    return
                # It was removed while this process waited for it.
            finally:
                os.close(handle)


def _folder() -> str:
    """Return the folder of all copies of this user; it is nobody else's."""
    if fcntl is None:
        return tempfile.mkdtemp(prefix="prefect_ds-copies-")
    folder = f"{tempfile.gettempdir()}/prefect_ds-copies-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    # Anybody may write to the folder above: this one must be ours alone, and no link.
    status = os.lstat(folder)
    is_ours = status.st_uid == os.getuid() and not status.st_mode & 0o077
    if is_ours and os.path.isdir(folder) and not os.path.islink(folder):
        return folder
    # Another user made it first.
    return tempfile.mkdtemp(prefix="prefect_ds-copies-")


def _is_file_of(handle: int, file: str) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))
    except FileNotFoundError:
        return False


def _copy_all(files: FileSystem, path: str, manifest: Manifest, copy: str) -> None:
    """Copy all parts of a checkpoint."""
    if manifest.kind == "file":
        _copy(files, path, manifest.parts[0], copy)
        return
    for part in manifest.parts:
        goal = f"{copy}/{below_generation(part.name)}"
        os.makedirs(os.path.dirname(goal), exist_ok=True)
        _copy(files, f"{path}/{part.name}", part, goal)
    for folder in (manifest.schema or {}).get(EMPTY_FOLDERS, ()):
        os.makedirs(f"{copy}/{folder}", exist_ok=True)


def _copy(files: FileSystem, source: str, part: Part, target: str) -> None:
    """Copy a part in pieces, and compare it with its checksum."""
    checksum, n_bytes = Checksum(kind_of(part.checksum)), 0
    with files.open(source) as stream, open(target, "xb") as copy:
        while piece := stream.read(_PIECE_BYTES):
            checksum.update(piece)
            n_bytes += copy.write(piece)
    if (n_bytes, checksum.text()) != (part.size_bytes, part.checksum):
        raise OtherBytesError(
            f"{part.name!r} has {n_bytes} bytes, and another checksum than that in "
            "the manifest"
        )


def _stamps(copy: str) -> list[Any]:
    """Return name, size and time of change of every file of a copy."""
    if not os.path.isdir(copy):
        status = os.stat(copy)
        return [["", status.st_size, status.st_mtime_ns]]
    stamps: list[Any] = []
    for folder, folders, names in os.walk(copy):
        folders.sort()
        for file in sorted(names):
            status = os.stat(f"{folder}/{file}")
            below = os.path.relpath(f"{folder}/{file}", copy)
            stamps.append([below, status.st_size, status.st_mtime_ns])
    return stamps


def _delete(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        os.unlink(path)
