"""A local or mounted disk: ``link`` and ``rename`` are its atomic steps."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import numpy as np

from prefect_ds.storage.checksum import LARGE, PIECE_BYTES, Background, Checksum, Data
from prefect_ds.storage.filesystem import BROKEN_LINK, Kind, Staged, Status
from prefect_ds.storage.folders import make_folder
from prefect_ds.storage.layout import REPLACED, staging_folder
from prefect_ds.storage.trees import (
    NO_LINKS,
    Tree,
    is_in_place,
    link_or_copy,
    raise_error,
    special_kind,
)


class LocalFiles:
    """A local or mounted disk."""

    renames_folders = True

    def status(self, path: str, kind: Kind = "file") -> Status | None:
        """Return the status of the path, ``None`` where nothing is."""
        try:
            entry = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            # A link to nothing is in the way of a new file all the same.
            if os.path.islink(path):
                return Status("file", 0, BROKEN_LINK)
            return None
        if not stat.S_ISDIR(entry.st_mode) and not stat.S_ISREG(entry.st_mode):
            # To open it could wait for ever.
            raise OSError(
                errno.EINVAL,
                f"{special_kind(entry.st_mode)} is in the place of a file: "
                "move it away, then run again",
                path,
            )
        if stat.S_ISDIR(entry.st_mode):
            return Status("folder", 0, f"0-{entry.st_mtime_ns:x}")
        size = entry.st_size
        return Status("file", size, f"{size:x}-{entry.st_mtime_ns:x}")

    def read_bytes(self, path: str) -> bytes:
        """Return a file's bytes."""
        with open(path, "rb", buffering=0, opener=_open_at_once) as file:
            return file.read()

    def read_hashed(self, path: str, checksum: Checksum) -> Data:
        """Return a file's bytes; the checksum is taken while they are read."""
        with open(path, "rb", buffering=0, opener=_open_at_once) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes < LARGE:
                content = file.read()
                checksum.update(content)
                return content
            # numpy asks the system for large pages: to fill them takes a third of the
            # time that a `bytes` of this size takes.
            data = np.empty(size_bytes, np.uint8).data
            n_bytes = 0
            with Background(checksum) as background:
                while n_read := file.readinto(data[n_bytes : n_bytes + PIECE_BYTES]):
                    background.update(data[n_bytes : n_bytes + n_read])
                    n_bytes += n_read
        return data[:n_bytes]

    def create(self, path: str, data: bytes) -> None:
        """Write a small new file, or raise ``FileExistsError``."""
        written = f"{path}.{uuid.uuid4().hex}"
        file = _new_file(written)
        try:
            with file:
                file.write(data)
            # Whole or not at all: a kill or a full disk must not leave a torn manifest,
            # which would speak against the data.
            self._place_file(written, path)
        finally:
            self.remove(written)

    def put(self, path: str, data: bytes) -> None:
        """Write a small file in one step, over one that may be there."""
        written = f"{path}.{uuid.uuid4().hex}"
        with _new_file(written) as file:
            file.write(data)
        os.replace(written, path)

    def open(self, path: str) -> BinaryIO:
        """Return a file open for reading."""
        return open(path, "rb", opener=_open_at_once)

    def open_unbuffered(self, path: str) -> io.FileIO | None:
        """Return a file open for reading; ``None`` where nothing is."""
        try:
            return open(path, "rb", buffering=0, opener=_open_at_once)
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[str]:
        """Give the path itself."""
        make_folder(os.path.dirname(path))
        yield path

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder as it is now; none where there is no folder."""
        try:
            return os.listdir(folder)
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            if os.path.lexists(folder):
                return []
            # Something above is no folder. No write could go well: say so before the
            # task runs.
            raise

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the sizes of all files below a folder, by their path in it, sorted."""
        paths = [
            os.path.join(parent, name)
            for parent, _, names in os.walk(folder)
            for name in names
        ]
        sizes = {}
        for path in sorted(paths):
            below = os.path.relpath(path, folder).replace(os.sep, "/")
            sizes[below] = os.stat(path).st_size
        return sizes

    def walk(self, folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
        """Yield every folder below one, with the names of its folders and its files.

        See :class:`~prefect_ds.storage.filesystem.FileSystem`.
        """
        for path, folders, names in os.walk(folder):
            folders.sort()
            yield path.replace(os.sep, "/"), folders, sorted(names)

    def modified(self, path: str) -> float:
        """Return when the path last changed, in seconds since the epoch."""
        return os.stat(path).st_mtime

    @contextlib.contextmanager
    def staging(self, path: str) -> Iterator[BinaryIO]:
        """Give a file beside the goal, so that one rename puts it there."""
        folder = staging_folder(path)
        make_folder(folder)
        staged = f"{folder}/{uuid.uuid4().hex}.staged"
        file = open(staged, "w+b")  # noqa: SIM115 - closed by finish, or below
        try:
            yield file
        finally:
            file.close()
            self.remove(staged)

    def finish(self, file: BinaryIO) -> Staged:
        """Close a staged file and give it a time of change of its own."""
        file.close()
        return self.stamped(file.name)

    def finish_folder(self, folder: str, names: Mapping[str, str]) -> Staged:
        """Link the files into a folder of their own, with their names in place."""
        placed = f"{folder}/placed"
        for staged_name, final_name in names.items():
            target = f"{placed}/{final_name}"
            make_folder(os.path.dirname(target))
            self._place_file(f"{folder}/{staged_name}", target)
        return self.stamped(placed)

    @contextlib.contextmanager
    def taking(
        self, tree: Tree, path: str, names: Mapping[str, str], *, may_link: bool
    ) -> Iterator[Staged]:
        """Link the files beside their goal; what the task wrote goes at the end.

        Until then it stays where it is, so that no error and no kill can lose it.
        """
        if tree.path == path:
            yield self.stamped(path)
            return
        staged = f"{staging_folder(path)}/{uuid.uuid4().hex}.staged"
        make_folder(staging_folder(path))
        try:
            link_or_copy(tree, staged, may_link=may_link)
            yield self.stamped(staged)
        finally:
            self.remove(staged)
        if may_link and is_in_place(tree, path):
            # The checkpoint is there: an error here must not undo that.
            with contextlib.suppress(OSError):
                self.remove(tree.path)

    def stamped(self, path: str) -> Staged:
        """Give a staged file or folder a time of change that no other attempt has."""
        # Clocks tick in milliseconds on some kernels, so that up to one is added, by
        # chance. Added: no file in a folder may look younger than the folder.
        now = time.time_ns() + uuid.uuid4().int % 1_000_000
        os.utime(path, ns=(now, now))
        status = self.status(path)
        assert status is not None
        return Staged(path, status.stamp)

    def place(self, staged: Staged, path: str) -> None:
        """Link a file, rename a folder: both fail where something is already."""
        make_folder(os.path.dirname(path))
        if not os.path.isdir(staged.path):
            self._place_file(staged.path, path)
            return
        try:
            os.rename(staged.path, path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise _exists(path) from error
            raise

    def _place_file(self, source: str, path: str) -> None:
        try:
            os.link(source, path)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            # No links on this disk (FAT, some mounts): the rename is as atomic but does
            # not look first.
            if os.path.lexists(path):
                raise _exists(path) from None
            os.rename(source, path)

    def replace(self, staged: Staged, path: str) -> None:
        """Rename over the file that is there; exchange a folder with what is there."""
        is_folder = os.path.isdir(staged.path)
        # The good copy must not go before the new bytes are on the disk: a power cut
        # would leave neither.
        self.sync_tree(staged.path)
        if not is_folder and not os.path.isdir(path):
            os.replace(staged.path, path)
            return
        if not _exchange(staged.path, path):
            # In between nothing lies at the path: a reader that looks then puts the old
            # copy back, see prefect_ds.storage.lookup.
            old = f"{staging_folder(path)}/{uuid.uuid4().hex}{REPLACED}"
            os.rename(path, old)
            self.place(staged, path)
            self.remove(old)
        self.remove(staged.path)

    def link(self, source: str, target: str) -> None:
        """Link; copy where the disk has no links."""
        make_folder(os.path.dirname(target))
        try:
            os.link(source, target)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copyfile(source, target)

    def move(self, source: str, target: str) -> None:
        """Rename."""
        make_folder(os.path.dirname(target))
        os.rename(source, target)

    def remove(self, path: str, kind: Kind | None = None) -> None:
        """Remove a file or folder; nothing there is fine."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except (IsADirectoryError, PermissionError):
            if not os.path.isdir(path):
                raise
            shutil.rmtree(path)

    def is_link(self, path: str) -> bool:
        """Return whether the data at a path lie elsewhere: a symbolic link."""
        return os.path.islink(path)

    def remove_if_empty(self, folder: str) -> None:
        """Remove a folder unless something is in it; nothing there is fine."""
        with contextlib.suppress(OSError):
            os.rmdir(folder)

    def sync_tree(self, path: str) -> None:
        """Fsync a file, or a folder with all that is in it."""
        if not os.path.isdir(path):
            self.sync(path)
            return
        for folder, _, names in os.walk(path, topdown=False, onerror=raise_error):
            self.sync(*(f"{folder}/{name}" for name in sorted(names)), folder)

    def sync(self, *paths: str) -> None:
        """Fsync files and folders, but not the files in the folders."""
        for path in paths:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _new_file(path: str) -> BinaryIO:
    """Return a new file open for writing, in a folder that is made if it is missing."""
    for _ in range(2):
        make_folder(os.path.dirname(path))
        # Another process may clear the empty folder between the two calls.
        with contextlib.suppress(FileNotFoundError):
            return open(path, "xb")
    make_folder(os.path.dirname(path))
    return open(path, "xb")


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; do not wait if it is a named pipe that nobody writes to."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _exists(path: str) -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)


def _exchange(one: str, other: str) -> bool:
    """Exchange two paths in one step; return whether system and disk can do that."""
    if sys.platform not in ("linux", "darwin"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    source, target = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin":
        failed = libc.renamex_np(source, target, _RENAME_SWAP)
    elif hasattr(libc, "renameat2"):
        failed = libc.renameat2(_AT_FDCWD, source, _AT_FDCWD, target, _RENAME_EXCHANGE)
    else:
        return False
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), one, None, other)


_AT_FDCWD, _RENAME_EXCHANGE, _RENAME_SWAP = -100, 2, 2
