"""The few things a checkpoint asks of a file system, on local disks and on object stores.

A local disk has ``link`` and ``rename``, each atomic; an object store has an atomic PUT
and nothing else. Both file systems answer the same questions here, so that
:mod:`prefect_ds.storage.store` states the order of a commit once.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import hashlib
import inspect
import io
import json
import os
import shutil
import stat
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, Protocol, cast

import fsspec
import fsspec.asyn
from fsspec.core import split_protocol

from prefect_ds.path_template import SIDE_FOLDER

FOLDER_STAMP = "folder"
"""Stamp of every folder in an object store, which says nothing of a folder as a whole."""

REPLACED = ".replaced"
"""Ends the name of a folder that made room for its successor."""

Kind = Literal["file", "folder"]


class StorageOptions(dict[str, Any]):
    """What fsspec's file system takes. Credentials are among it: whoever prints it gets the names alone."""

    def __repr__(self) -> str:
        return f"<storage options: {', '.join(sorted(map(str, self))) or 'none'}>"


@dataclass(frozen=True, slots=True)
class Status:
    """What a file system says of a path without reading it."""

    kind: Kind
    size_bytes: int
    """Of a file; 0 for a folder."""
    stamp: str
    """Changes with the data: size and time of change, or a store's tag."""
    sizes: Mapping[str, int] | None = field(default=None, compare=False)
    """Of a folder, where the look listed it anyway: what :meth:`Files.sizes` says."""


@dataclass(frozen=True, slots=True)
class Staged:
    """Data that is written but not in place yet."""

    path: str
    """Where it lies: beside its goal on a local disk, in a temporary folder for an object store."""
    stamp: str | None
    """The stamp that it will have in place; ``None`` where only the store can tell."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Of a folder that a store cannot rename: name of each file here to its name in place."""


class Files(Protocol):
    """A file system, as far as checkpoints need one. Absent paths raise ``FileNotFoundError``."""

    renames_folders: bool
    """Whether a folder of any size goes to its place in one step; if not, its files go one by one."""

    def status(self, path: str, kind: Kind = "file") -> Status | None:
        """Return what lies at the path, ``None`` for nothing; ``kind``, what is to be expected, may spare a request."""

    def read_bytes(self, path: str) -> bytes:
        """Return a file's bytes."""

    def create(self, path: str, data: bytes) -> None:
        """Write a small file that is not there yet, or raise ``FileExistsError``."""

    def put(self, path: str, data: bytes) -> None:
        """Write a small file in one step, whatever is there."""

    def open(self, path: str) -> BinaryIO:
        """Return a file open for reading."""

    def writing(self, path: str) -> contextlib.AbstractContextManager[str]:
        """Give the path of a local file to write, for a path that nobody else writes or reads before the end."""

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, as it is now; none where there is no folder."""

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the path below the folder and the bytes of each file in it, at any depth, in order."""

    def modified(self, path: str) -> float:
        """Return when the path last changed, in seconds since the epoch."""

    def staging(self, path: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """Give a file open for writing and reading, on its way to ``path``; gone at the end unless it was placed."""

    def finish(self, file: BinaryIO) -> Staged:
        """Close what was staged and give it its stamp."""

    def finish_folder(self, folder: str, names: Mapping[str, str]) -> Staged:
        """Give the files of a staged folder the names they have in place; what was staged stays for a next try."""

    def place(self, staged: Staged, path: str) -> None:
        """Put what was staged where nothing is, in one step, or raise ``FileExistsError``."""

    def replace(self, staged: Staged, path: str) -> None:
        """Put what was staged where something is, in one step; needed bytes reach the disk before it."""

    def link(self, source: str, target: str) -> None:
        """Give a file a second name, or copy it; raise ``FileNotFoundError`` where it is gone."""

    def move(self, source: str, target: str) -> None:
        """Move a file or folder out of the way."""

    def remove(self, path: str, kind: Kind | None = None) -> None:
        """Remove a file or folder; nothing there is fine. ``kind``, where it is known, may spare requests."""

    def sync(self, *paths: str) -> None:
        """Let these files and folders survive a power cut."""


@functools.lru_cache(maxsize=64)
def _open_files(protocol: str, options: str, pid: int) -> Files:
    # A listing kept by fsspec could hide what another process wrote.
    return _object_files(
        fsspec.filesystem(
            protocol,
            skip_instance_cache=True,
            use_listings_cache=False,
            **json.loads(options),
        )
    )


def _object_files(fs: fsspec.AbstractFileSystem) -> ObjectFiles:
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    kinds = {"gs": GoogleFiles, "abfs": AzureFiles}
    return next(
        (kind for protocol, kind in kinds.items() if protocol in protocols), ObjectFiles
    )(fs)


def open_files(url: str, storage_options: Mapping[str, Any] | None = None) -> Files:
    """Return the file system of a path or URL.

    Parameters
    ----------
    url
        A path, or a URL that fsspec knows.
    storage_options
        What fsspec's file system takes: credentials, endpoints.
    """
    protocol, _ = split_protocol(url)
    if protocol in (None, "file", "local"):
        return LocalFiles()
    options = dict(storage_options or {})
    try:
        return _open_files(protocol, json.dumps(options, sort_keys=True), os.getpid())
    except TypeError:  # Options that are no JSON (credential objects): no sharing between handlers then.
        return _object_files(
            fsspec.filesystem(protocol, use_listings_cache=False, **options)
        )


def parent(path: str) -> str:
    """Return the folder of a path or URL."""
    head, _, _ = path.rpartition("/")
    return head or ("/" if path.startswith("/") else ".")


def staging_of(path: str) -> str:
    """Return the folder for what is on its way to a path or URL."""
    return f"{parent(path)}/{SIDE_FOLDER}/staging"


def name(path: str) -> str:
    """Return the last segment of a path or URL."""
    return path.rpartition("/")[2]


class LocalFiles:
    """A local or mounted disk."""

    renames_folders = True

    def status(self, path: str, kind: Kind = "file") -> Status | None:
        """Return what lies at the path, ``None`` for nothing."""
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            # A link to nothing is in the way of a new file all the same.
            return Status("file", 0, "broken-link") if os.path.islink(path) else None
        folder = stat.S_ISDIR(found.st_mode)
        size = 0 if folder else found.st_size
        return Status(
            "folder" if folder else "file", size, f"{size:x}-{found.st_mtime_ns:x}"
        )

    def read_bytes(self, path: str) -> bytes:
        """Return a file's bytes."""
        with open(path, "rb", buffering=0) as file:
            return file.read()

    def create(self, path: str, data: bytes) -> None:
        """Write a small file that is not there yet, or raise ``FileExistsError``."""
        written = f"{path}.{uuid.uuid4().hex}"
        for last_try in (False, False, True):
            _make_folder(os.path.dirname(path))
            try:
                file = open(written, "xb")  # noqa: SIM115 - closed below
                break
            except (
                FileNotFoundError
            ):  # Another writer cleared the empty folder between the two calls.
                if last_try:
                    raise
        try:
            with file:
                file.write(data)
            # Whole or not at all: what a kill or a full disk left torn here would speak
            # against the data.
            self._place_file(written, path)
        finally:
            self.remove(written)

    def put(self, path: str, data: bytes) -> None:
        """Write a small file in one step, whatever is there."""
        _make_folder(os.path.dirname(path))
        written = f"{path}.{uuid.uuid4().hex}"
        with open(written, "xb") as file:
            file.write(data)
        os.replace(written, path)

    def open(self, path: str) -> BinaryIO:
        """Return a file open for reading."""
        return open(path, "rb")

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[str]:
        """Give the path itself."""
        _make_folder(os.path.dirname(path))
        yield path

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, as it is now; none where there is no folder."""
        try:
            return os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the path below the folder and the bytes of each file in it, at any depth, in order."""
        found = (
            os.path.join(at, each) for at, _, names in os.walk(folder) for each in names
        )
        return {
            os.path.relpath(each, folder).replace(os.sep, "/"): os.stat(each).st_size
            for each in sorted(found)
        }

    def modified(self, path: str) -> float:
        """Return when the path last changed, in seconds since the epoch."""
        return os.stat(path).st_mtime

    @contextlib.contextmanager
    def staging(self, path: str) -> Iterator[BinaryIO]:
        """Give a file beside the goal, so that one rename puts it there."""
        _make_folder(staging_of(path))
        staged = f"{staging_of(path)}/{uuid.uuid4().hex}.staged"
        file = open(staged, "w+b")  # noqa: SIM115 - closed by finish, or below
        try:
            yield file
        finally:
            file.close()
            self.remove(staged)

    def finish(self, file: BinaryIO) -> Staged:
        """Close what was staged and give it a time of change that no other attempt has."""
        file.close()
        return self.stamped(file.name)

    def finish_folder(self, folder: str, names: Mapping[str, str]) -> Staged:
        """Link the files in a folder of their own, under the names they have in place, and stamp it."""
        placed = f"{folder}/placed"
        for here, there in names.items():
            _make_folder(os.path.dirname(f"{placed}/{there}"))
            self._place_file(f"{folder}/{here}", f"{placed}/{there}")
        return self.stamped(placed)

    def stamped(self, path: str) -> Staged:
        """Give a staged file or folder a time of change that no other attempt has."""
        # Clocks tick in milliseconds on some kernels: the digits below are random, the
        # rest is true.
        now = time.time_ns() // 1_000_000 * 1_000_000 + uuid.uuid4().int % 1_000_000
        os.utime(path, ns=(now, now))
        status = self.status(path)
        assert status is not None
        return Staged(path, status.stamp)

    def place(self, staged: Staged, path: str) -> None:
        """Link a file, rename a folder: each fails where something is already."""
        _make_folder(os.path.dirname(path))
        if not os.path.isdir(staged.path):
            self._place_file(staged.path, path)
            return
        try:
            os.rename(staged.path, path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise FileExistsError(
                    errno.EEXIST, os.strerror(errno.EEXIST), path
                ) from error
            raise

    def _place_file(self, source: str, path: str) -> None:
        try:
            os.link(source, path)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in (
                errno.EPERM,
                errno.EOPNOTSUPP,
                errno.ENOSYS,
                errno.EMLINK,
            ):
                raise
            # No links on this disk (FAT, some mounts): the rename is as atomic but does
            # not look first.
            if os.path.lexists(path):
                raise FileExistsError(
                    errno.EEXIST, os.strerror(errno.EEXIST), path
                ) from None
            os.rename(source, path)

    def replace(self, staged: Staged, path: str) -> None:
        """Rename over the file that is there; let a folder change places with what is there."""
        # The good copy must not go before the new bytes are on the disk: a power cut
        # would leave neither.
        below = self.sizes(staged.path) if os.path.isdir(staged.path) else ()
        self.sync(*(f"{staged.path}/{each}" for each in below), staged.path)
        if not os.path.isdir(staged.path) and not os.path.isdir(path):
            os.replace(staged.path, path)
            return
        if not _exchange(staged.path, path):
            # In between nothing lies at the path: who looks then puts the old copy
            # back, see CheckpointStore.look_up.
            old = f"{staging_of(path)}/{uuid.uuid4().hex}{REPLACED}"
            os.rename(path, old)
            self.place(staged, path)
            self.remove(old)
        self.remove(staged.path)

    def link(self, source: str, target: str) -> None:
        """Link; copy where the disk has no links."""
        _make_folder(os.path.dirname(target))
        try:
            os.link(source, target)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copyfile(source, target)

    def move(self, source: str, target: str) -> None:
        """Rename."""
        _make_folder(os.path.dirname(target))
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

    def sync(self, *paths: str) -> None:
        """Fsync files and folders, not what is in the folders."""
        for path in paths:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


class ObjectFiles:
    """An object store, or whatever else fsspec reaches: only PUT, GET, HEAD, LIST and DELETE are taken for granted."""

    renames_folders = False

    def __init__(self, fs: fsspec.AbstractFileSystem) -> None:
        self.fs = fs
        # One GET. s3fs would ask for the size, then send several: some could answer
        # with what was put meanwhile.
        takes = inspect.signature(getattr(fs, "_cat_file", fs.cat_file)).parameters
        self._one_get = {"max_concurrency": 1} if "max_concurrency" in takes else {}

    def status(self, path: str, kind: Kind = "file") -> Status | None:
        """Return what lies at the path, ``None`` for nothing; a folder is asked for by listing it."""
        sizes = None
        try:
            with _told(path):
                found = self._find(path) if kind == "folder" else None
                if found == {}:
                    return None
                root = self.fs._strip_protocol(path).rstrip("/")
                if found is not None and root not in found:
                    info, sizes = {"type": "directory"}, _sizes(root, found)
                else:
                    info = self._info(path)
        except FileNotFoundError:
            return None
        if info["type"] == "directory":
            return Status("folder", 0, FOLDER_STAMP, sizes)
        size = int(info["size"])
        tags = [str(info[key]) for key in _TAGS if info.get(key) is not None]
        return Status(
            "file",
            size,
            f"{size:x}-{hashlib.sha256(repr(tags).encode()).hexdigest()[:24]}",
        )

    def read_bytes(self, path: str) -> bytes:
        """Return an object's bytes."""
        with _told(path):
            return bytes(self.fs.cat_file(path, **self._one_get))

    def create(self, path: str, data: bytes) -> None:
        """Write an object that is not there yet, or raise ``FileExistsError``; some stores do not look."""
        self._pipe(path, data, mode="create")

    def put(self, path: str, data: bytes) -> None:
        """Write an object in one step, whatever is there."""
        self._pipe(path, data)

    def open(self, path: str) -> BinaryIO:
        """Return an object open for reading."""
        return cast(BinaryIO, _ObjectReader(self.fs, path))

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[str]:
        """Give a temporary file, and PUT it unless there is an error."""
        with tempfile.NamedTemporaryFile(prefix="prefect_ds-") as file:
            yield file.name
            self._pipe(path, file.read())

    def names(self, folder: str) -> list[str]:
        """Return the names below a prefix, as it is now."""
        try:
            with _told(folder):
                return [
                    name(str(found).rstrip("/"))
                    for found in self.fs.ls(folder, detail=False)
                ]
        except FileNotFoundError:
            return []

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the path below the prefix and the bytes of each object, in order."""
        with _told(folder):
            return _sizes(
                self.fs._strip_protocol(folder).rstrip("/"), self._find(folder)
            )

    def modified(self, path: str) -> float:
        """Return when the object, or the last one of a prefix, was written, in seconds since the epoch."""
        with _told(path):
            times = [self.fs.modified(each).timestamp() for each in self.fs.find(path)]
        if not times:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return float(max(times))

    @contextlib.contextmanager
    def staging(self, path: str) -> Iterator[BinaryIO]:
        """Give a temporary file of this machine: an object is written by one PUT, of all its bytes."""
        with tempfile.NamedTemporaryFile(prefix="prefect_ds-") as file:
            yield cast(BinaryIO, file)

    def finish(self, file: BinaryIO) -> Staged:
        """Let every byte be seen; the stamp is the store's to give."""
        file.flush()
        return Staged(file.name, None)

    def finish_folder(self, folder: str, names: Mapping[str, str]) -> Staged:
        """Leave all as it is: objects get their names where they go."""
        return Staged(folder, None, names)

    def place(self, staged: Staged, path: str) -> None:
        """PUT where nothing is. The objects of a folder go beside what is there."""
        if staged.names:
            self._copy_folder(staged, path)
            return
        with open(staged.path, "rb") as file:
            self.create(path, file.read())

    def replace(self, staged: Staged, path: str) -> None:
        """PUT: atomic on an object store. The objects of a folder go beside those that are there."""
        if staged.names:
            self._copy_folder(staged, path)
            return
        with open(staged.path, "rb") as file:
            # Never `with fs.open(...)`: an error inside it publishes half an object.
            self.put(path, file.read())

    def link(self, source: str, target: str) -> None:
        """Copy, inside the store."""
        self._into(target, lambda: self.fs.cp_file(source, target), source)

    def _copy_folder(self, staged: Staged, path: str) -> None:
        _each(
            lambda pair: self.link(f"{staged.path}/{pair[0]}", f"{path}/{pair[1]}"),
            staged.names.items(),
        )

    def move(self, source: str, target: str) -> None:
        """Copy, then delete."""
        # Neither mv nor rm: both take `[`, `*` and `?` in a name for a pattern.
        _each(
            lambda below: self.link(f"{source}{below}", f"{target}{below}"),
            self._below(source),
        )
        self.remove(source)

    def remove(self, path: str, kind: Kind | None = None) -> None:
        """Remove an object or prefix; nothing there is fine."""
        with contextlib.suppress(FileNotFoundError), _told(path):
            if kind == "file":
                self.fs.rm_file(path)
                return
            _each(
                lambda below: self.remove(f"{path}{below}", "file"), self._below(path)
            )
            if self._has_folders(path):
                for folder in sorted(self.fs.find(path, withdirs=True), reverse=True):
                    self.fs.rmdir(folder)
                if self.status(path) is not None:
                    self.fs.rmdir(path)

    def sync(self, *paths: str) -> None:
        """Do nothing: a PUT that was answered is kept."""

    def _info(self, path: str) -> dict[str, Any]:
        """Return what the store says of an object, or that it is a directory."""
        return dict(self.fs.info(path))

    def _find(self, path: str) -> dict[str, dict[str, Any]]:
        """Return what the store says of each object below a path, or of the object there, by name."""
        return dict(self.fs.find(path, detail=True))

    def _below(self, path: str) -> list[str]:
        """Return what follows ``path`` in the names of the objects there: nothing for a file."""
        status = self.status(path, "folder")
        if status is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return (
            [""]
            if status.kind == "file"
            else [f"/{each}" for each in status.sizes or ()]
        )

    def _has_folders(self, path: str) -> bool:
        """Whether it has folders that outlive their files, as memory and SFTP have: its paths start with a slash."""
        return bool(self.fs._strip_protocol(path).startswith("/"))

    def _pipe(self, path: str, data: bytes, **mode: str) -> None:
        self._into(path, lambda: self.fs.pipe_file(path, data, **mode))

    def _into(
        self, path: str, write: Callable[[], Any], source: str | None = None
    ) -> None:
        """Write an object; make its folder first where it has to be and is not there."""
        # Not ahead of each write: drivers ask for the bucket then, and some make one
        # for a typing error.
        try:
            with _told(path):
                write()
        except FileNotFoundError:
            if self._has_folders(path):
                self.fs.makedirs(parent(path), exist_ok=True)
            elif source is None:
                bucket = self.fs._strip_protocol(path).partition("/")[0]
                raise FileNotFoundError(
                    errno.ENOENT,
                    f"there is no bucket or container {bucket!r}: make it, or correct the URL or storage_options",
                    path,
                ) from None
            with _told(path):
                write()


class GoogleFiles(ObjectFiles):
    """Google Cloud Storage: one request where gcsfs asks for an object and for a folder of its name."""

    def _info(self, path: str) -> dict[str, Any]:
        root = self.fs._strip_protocol(path).rstrip("/")
        found = self.fs.find(parent(root), prefix=name(root), detail=True)
        if root in found:
            return dict(found[root])
        if any(each.startswith(f"{root}/") for each in found):
            return {"type": "directory"}
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


class AzureFiles(ObjectFiles):
    """Azure Blob Storage: one request where adlfs asks for a blob of a folder's name ahead of each listing."""

    def _find(self, path: str) -> dict[str, dict[str, Any]]:
        container, root, _ = self.fs.split_path(path.rstrip("/"))

        async def listed() -> dict[str, dict[str, Any]]:
            async with self.fs.service_client.get_container_client(container) as client:
                blobs = client.list_blobs(
                    name_starts_with=f"{root}/".lstrip("/"), include=["metadata"]
                )
                return {
                    f"{container}/{each.name}": {"size": each.size}
                    async for each in blobs
                    if not _is_folder(each)
                }

        found = fsspec.asyn.sync(self.fs.loop, listed)
        if not found:
            with contextlib.suppress(FileNotFoundError):
                info = self._info(path)
                return (
                    {} if info["type"] == "directory" else {f"{container}/{root}": info}
                )
        return dict(found)


def _is_folder(blob: Any) -> bool:
    """Whether a blob of Azure stands for a folder, as accounts with hierarchical names have them."""
    marks = {key.lower(): value for key, value in (blob.metadata or {}).items()}
    return "true" in (marks.get("hdi_isfolder"), marks.get("is_directory"))


class _ObjectReader(io.RawIOBase):
    """An object open for reading, which tells of a lost connection as a disk does of an error: with a number."""

    def __init__(self, fs: fsspec.AbstractFileSystem, path: str) -> None:
        self._path = path
        with _told(path):
            self._file = fs.open(path, "rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def read(self, size: int | None = -1) -> bytes:
        with _told(self._path):
            return bytes(self._file.read(-1 if size is None else size))

    def readinto(self, buffer: Any) -> int:
        with _told(self._path):
            return int(self._file.readinto(buffer))

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    """Turn what a driver raises into an ``OSError`` with a number, the path, and what to do."""
    try:
        yield
    except OSError as error:
        if isinstance(error, PermissionError):
            raise PermissionError(
                errno.EACCES, f"{_NO_ACCESS} ({error})", path
            ) from error
        if isinstance(error, TimeoutError | ConnectionError) or (
            type(error) is OSError and error.filename is None
        ):
            raise OSError(
                error.errno or errno.EIO, f"{type(error).__name__}: {error}", path
            ) from error
        raise
    except Exception as error:
        # Each driver has classes of its own: azure.core's, botocore's, aiohttp's,
        # gcsfs.retry.HttpError.
        status = str(
            getattr(error, "status_code", None) or getattr(error, "code", None)
        )
        known = {
            401: errno.EACCES,
            403: errno.EACCES,
            404: errno.ENOENT,
            409: errno.EBUSY,
            412: errno.EEXIST,
        }
        code = known.get(int(status), errno.EIO) if status.isdigit() else errno.EIO
        what = f"{type(error).__name__}: {error}"
        raise OSError(
            code, f"{_NO_ACCESS} ({what})" if code == errno.EACCES else what, path
        ) from error


_NO_ACCESS = "the store refuses: are the credentials in storage_options right, and do they allow this?"


def _sizes(root: str, found: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Return the path below the root, and the size, of each object that a listing gave."""
    return {
        str(path).removeprefix(root).lstrip("/"): int(info["size"])
        for path, info in sorted(found.items())
    }


def _each(action: Callable[[Any], object], items: Iterable[Any]) -> None:
    """Do something with each item, some at a time: each is a request or two, which mostly wait."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(action, items):
            pass


_AT_ONCE = 16
_TAGS = (
    "ETag",
    "etag",
    "generation",
    "md5Hash",
    "content_md5",
    "created",
    "mtime",
    "modified",
    "LastModified",
)


def _make_folder(folder: str) -> None:
    """Make a folder and those above it, unless they are there."""
    # os.makedirs says FileExistsError where a disk that falters keeps it from seeing
    # that a folder is one.
    try:
        os.mkdir(folder)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(folder).st_mode):
            raise NotADirectoryError(
                errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder
            ) from None
    except FileNotFoundError:
        above = os.path.dirname(folder)
        if above in ("", folder):
            raise
        _make_folder(above)
        _make_folder(folder)


def _exchange(one: str, other: str) -> bool:
    """Let two paths change places in one step; return whether the system and the disk can do that."""
    if sys.platform not in ("linux", "darwin"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin":
        failed = libc.renamex_np(os.fsencode(one), os.fsencode(other), _RENAME_SWAP)
    elif hasattr(libc, "renameat2"):
        failed = libc.renameat2(
            _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE
        )
    else:
        return False
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), one, None, other)


_AT_FDCWD, _RENAME_EXCHANGE, _RENAME_SWAP = -100, 2, 2
