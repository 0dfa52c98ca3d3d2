"""An object store, or whatever else fsspec reaches: an atomic PUT is all it has."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import inspect
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, cast

import fsspec
import fsspec.asyn

from prefect_ds.storage.checksum import Checksum, Data
from prefect_ds.storage.filesystem import FOLDER_STAMP, Kind, Staged, Status
from prefect_ds.storage.layout import name, parent
from prefect_ds.storage.object_errors import ObjectReader, numbered_errors
from prefect_ds.storage.trees import Tree

_REQUESTS_AT_ONCE = 16
"""Requests that one call sends side by side."""

_LARGE_BYTES = 256 * 2**20
"""Larger files are not held in memory."""

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
"""The drivers' names of the entries that change with an object."""


class ObjectFiles:
    """An object store: only PUT, GET, HEAD, LIST and DELETE are taken for granted."""

    renames_folders = False

    def __init__(self, fs: fsspec.AbstractFileSystem) -> None:
        self.fs = fs
        # One GET. s3fs would ask for the size, then send several: some could answer
        # with what was put meanwhile.
        takes = inspect.signature(getattr(fs, "_cat_file", fs.cat_file)).parameters
        self._one_get = {"max_concurrency": 1} if "max_concurrency" in takes else {}
        # Their pieces become one object at the end. fsspec's own method would publish
        # half of it after an error.
        put_file = getattr(fs, "_put_file", None)
        self._puts_in_pieces = (
            put_file is not None and "mode" in inspect.signature(put_file).parameters
        )

    def status(self, path: str, kind: Kind = "file") -> Status | None:
        """Return the status of the path, ``None`` where nothing is.

        A folder is looked for by listing it.
        """
        try:
            with numbered_errors(path):
                if kind == "file":
                    return _status(self._info(path))
                # A store knows no folders, only names that begin alike.
                objects = self._find(path)
                if not objects:
                    return None
                root = self.fs._strip_protocol(path).rstrip("/")
                if root in objects:
                    return _status(self._info(path))
                return Status("folder", 0, FOLDER_STAMP, _sizes(root, objects))
        except FileNotFoundError:
            return None

    def read_bytes(self, path: str) -> bytes:
        """Return an object's bytes."""
        with numbered_errors(path):
            return bytes(self.fs.cat_file(path, **self._one_get))

    def read_hashed(self, path: str, checksum: Checksum) -> Data:
        """Return an object's bytes, which the checksum has taken by then."""
        data = self.read_bytes(path)
        checksum.update(data)
        return data

    def create(self, path: str, data: bytes) -> None:
        """Write a new object, or raise ``FileExistsError``; some stores do not look."""
        self._pipe(path, data, mode="create")

    def put(self, path: str, data: bytes) -> None:
        """Write an object in one step, over one that may be there."""
        self._pipe(path, data)

    def open(self, path: str) -> BinaryIO:
        """Return an object open for reading."""
        return cast(BinaryIO, ObjectReader(self.fs, path))

    def open_unbuffered(self, path: str) -> None:
        """Return ``None``: pieces of an object would take a request each."""

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[str]:
        """Give a temporary file, and PUT it unless there is an error."""
        with tempfile.NamedTemporaryFile(prefix="prefect_ds-") as file:
            # After an error nothing is PUT: half an object would count as one.
            yield file.name
            self._pipe(path, file.read())

    def names(self, folder: str) -> list[str]:
        """Return the names below a prefix as it is now."""
        try:
            with numbered_errors(folder):
                paths = self.fs.ls(folder, detail=False)
        except FileNotFoundError:
            return []
        return [name(str(path).rstrip("/")) for path in paths]

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the sizes of all objects below a prefix, by path in it, sorted."""
        with numbered_errors(folder):
            root = self.fs._strip_protocol(folder).rstrip("/")
            return _sizes(root, self._find(folder))

    def walk(self, folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
        """Yield every prefix below one, with the names of its prefixes and objects.

        One listing of all that is below, whatever is looked into.
        """
        files: dict[str, list[str]] = {}
        folders: dict[str, list[str]] = {"": []}
        for path in self.sizes(folder):
            above, _, file = path.rpartition("/")
            files.setdefault(above, []).append(file)
            _add_folder(folders, above)
        waiting = [""]
        while waiting:
            below = waiting.pop()
            names = sorted(folders[below])
            yield f"{folder}/{below}".rstrip("/"), names, files.get(below, [])
            waiting += [f"{below}/{name}".lstrip("/") for name in reversed(names)]

    def modified(self, path: str) -> float:
        """Return when the object, or the last one of a prefix, was written."""
        with numbered_errors(path):
            times = [self.fs.modified(file).timestamp() for file in self.fs.find(path)]
        if not times:
            raise _not_found(path)
        return float(max(times))

    @contextlib.contextmanager
    def staging(self, path: str) -> Iterator[BinaryIO]:
        """Give a temporary file of this machine: one PUT writes a whole object."""
        with tempfile.NamedTemporaryFile(prefix="prefect_ds-") as file:
            yield cast(BinaryIO, file)

    def finish(self, file: BinaryIO) -> Staged:
        """Flush every byte; only the store knows the stamp."""
        file.flush()
        return Staged(file.name, None)

    def finish_folder(self, folder: str, names: Mapping[str, str]) -> Staged:
        """Leave all as it is: objects get their names when they are copied."""
        return Staged(folder, None, names)

    @contextlib.contextmanager
    def taking(
        self, tree: Tree, path: str, names: Mapping[str, str], *, may_link: bool
    ) -> Iterator[Staged]:
        """Leave all as it is: the files are PUT from where the task wrote them."""
        if tree.kind == "file":
            yield Staged(tree.path, None)
        else:
            yield Staged(tree.path, None, names, is_on_disk=True)

    def place(self, staged: Staged, path: str) -> None:
        """PUT where nothing is. Parts of a folder go beside others that are there."""
        if staged.names:
            self._copy_folder(staged, path)
            return
        self._put_from_disk(staged.path, path, mode="create")

    def replace(self, staged: Staged, path: str) -> None:
        """PUT over the object that is there. Parts of a folder go beside the others."""
        if staged.names:
            self._copy_folder(staged, path)
            return
        self._put_from_disk(staged.path, path)

    def link(self, source: str, target: str) -> None:
        """Copy, inside the store."""

        def copy() -> None:
            self.fs.cp_file(source, target)

        self._write(target, copy, is_copy=True)

    def _copy_folder(self, staged: Staged, path: str) -> None:
        def copy(names: tuple[str, str]) -> None:
            staged_name, final_name = names
            if staged.is_on_disk:
                self._put_from_disk(
                    f"{staged.path}/{staged_name}", f"{path}/{final_name}"
                )
                return
            self.link(f"{staged.path}/{staged_name}", f"{path}/{final_name}")

        _for_all(staged.names.items(), copy)

    def move(self, source: str, target: str) -> None:
        """Copy, then delete."""

        # Neither mv nor rm: both take `[`, `*` and `?` in a name for a pattern.
        def copy(below: str) -> None:
            self.link(f"{source}{below}", f"{target}{below}")

        _for_all(self._below(source), copy)
        self.remove(source)

    def remove(self, path: str, kind: Kind | None = None) -> None:
        """Remove an object or prefix; nothing there is fine."""
        with contextlib.suppress(FileNotFoundError), numbered_errors(path):
            if kind == "file":
                self.fs.rm_file(path)
                return
            _for_all(
                self._below(path), lambda below: self.remove(f"{path}{below}", "file")
            )
            # Deepest first: a folder goes only once it is empty.
            if self._has_folders(path):
                for folder in sorted(self.fs.find(path, withdirs=True), reverse=True):
                    self.fs.rmdir(folder)
                if self.status(path) is not None:
                    self.fs.rmdir(path)

    def is_link(self, path: str) -> bool:
        """Return ``False``: a store has no links."""
        return False

    def remove_if_empty(self, folder: str) -> None:
        """Do nothing: a prefix without objects is not there."""

    def sync_tree(self, path: str) -> None:
        """Do nothing: the store keeps every PUT that it has answered."""

    def sync(self, *paths: str) -> None:
        """Do nothing: the store keeps every PUT that it has answered."""

    def _info(self, path: str) -> dict[str, Any]:
        """Return what the store says of an object, or that it is a directory."""
        return dict(self.fs.info(path))

    def _find(self, path: str) -> dict[str, dict[str, Any]]:
        """Return the store's entry of every object below a path, or at it, by name."""
        return dict(self.fs.find(path, detail=True))

    def _below(self, path: str) -> list[str]:
        """Return the ends of the objects' names after ``path``: "" for an object."""
        status = self.status(path, "folder")
        if status is None:
            raise _not_found(path)
        if status.kind == "file":
            return [""]
        return [f"/{below}" for below in status.sizes or ()]

    def _has_folders(self, path: str) -> bool:
        """Whether folders outlive their files, as in memory and over SFTP.

        Paths there start with a slash.
        """
        return bool(self.fs._strip_protocol(path).startswith("/"))

    def _put_from_disk(self, source: str, path: str, **mode: str) -> None:
        """PUT a file of this machine; a large one in pieces, not through memory."""
        if os.path.getsize(source) > _LARGE_BYTES and self._puts_in_pieces:
            self._write(path, lambda: self.fs.put_file(source, path, **mode))
            return
        with open(source, "rb") as file:
            # Never `with fs.open(...)`: an error inside it publishes half an object.
            self._pipe(path, file.read(), **mode)

    def _pipe(self, path: str, data: bytes, **mode: str) -> None:
        self._write(path, lambda: self.fs.pipe_file(path, data, **mode))

    def _write(
        self, path: str, write: Callable[[], Any], *, is_copy: bool = False
    ) -> None:
        """Write an object; make its folder first where the store needs one."""
        # Not before every write: drivers ask for the bucket then, and some make one for
        # a typing error.
        try:
            with numbered_errors(path):
                write()
        except FileNotFoundError:
            if self._has_folders(path):
                self.fs.makedirs(parent(path), exist_ok=True)
            elif not is_copy:
                bucket = self.fs._strip_protocol(path).partition("/")[0]
                raise FileNotFoundError(
                    errno.ENOENT,
                    f"there is no bucket or container {bucket!r}: "
                    "make it, or correct the URL or storage_options",
                    path,
                ) from None
            with numbered_errors(path):
                write()


class GoogleFiles(ObjectFiles):
    """Google Cloud Storage: one request for a status, where gcsfs sends two."""

    def _info(self, path: str) -> dict[str, Any]:
        root = self.fs._strip_protocol(path).rstrip("/")
        objects = self.fs.find(parent(root), prefix=name(root), detail=True)
        if root in objects:
            return dict(objects[root])
        if any(path.startswith(f"{root}/") for path in objects):
            return {"type": "directory"}
        raise _not_found(path)


class AzureFiles(ObjectFiles):
    """Azure Blob Storage: one request for a listing, where adlfs sends two."""

    def _find(self, path: str) -> dict[str, dict[str, Any]]:
        container, root, _ = self.fs.split_path(path.rstrip("/"))
        prefix = f"{root}/".lstrip("/")

        async def list_blobs() -> dict[str, dict[str, Any]]:
            async with self.fs.service_client.get_container_client(container) as client:
                blobs = client.list_blobs(name_starts_with=prefix, include=["metadata"])
                return {
                    f"{container}/{blob.name}": {"size": blob.size}
                    async for blob in blobs
                    if not _is_azure_folder(blob)
                }

        objects = fsspec.asyn.sync(self.fs.loop, list_blobs)
        if objects:
            return dict(objects)
        try:
            info = self._info(path)
        except FileNotFoundError:
            return {}
        if info["type"] == "directory":
            return {}
        return {f"{container}/{root}": info}


def _is_azure_folder(blob: Any) -> bool:
    """Whether a blob is a folder, in an account with hierarchical names."""
    marks = {key.lower(): value for key, value in (blob.metadata or {}).items()}
    return "true" in (marks.get("hdi_isfolder"), marks.get("is_directory"))


def _status(info: Mapping[str, Any]) -> Status:
    """Return the status of an object, or of a folder, from the store's entry."""
    if info["type"] == "directory":
        return Status("folder", 0, FOLDER_STAMP)
    size = int(info["size"])
    tags = [str(info[key]) for key in _TAGS if info.get(key) is not None]
    digest = hashlib.sha256(repr(tags).encode()).hexdigest()[:24]
    return Status("file", size, f"{size:x}-{digest}")


def _sizes(root: str, objects: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Return the size of every object of a listing, by its path below the root."""
    return {
        str(path).removeprefix(root).lstrip("/"): int(info["size"])
        for path, info in sorted(objects.items())
    }


def _add_folder(folders: dict[str, list[str]], path: str) -> None:
    """Add a folder, and those above it, to the names in their folders."""
    if path in folders:
        return
    above, _, below = path.rpartition("/")
    _add_folder(folders, above)
    folders[above].append(below)
    folders[path] = []


def _for_all(items: Iterable[Any], action: Callable[[Any], object]) -> None:
    """Call the action with every item, some at a time: requests mostly wait."""
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        for _ in pool.map(action, items):
            pass


def _not_found(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
