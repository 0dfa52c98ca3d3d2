"""The few operations that a checkpoint needs of a file system.

A local disk has ``link`` and ``rename``, both atomic; an object store has an atomic PUT
and nothing else. :mod:`~prefect_ds.storage.local_files` and
:mod:`~prefect_ds.storage.object_files` offer the same methods over either.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol

if TYPE_CHECKING:
    from prefect_ds.storage.checksum import Checksum, Data
    from prefect_ds.storage.trees import Tree

FOLDER_STAMP = "folder"
"""Stamp of every folder in an object store, which has no stamp for a whole folder."""

BROKEN_LINK = "broken-link"
"""Stamp of a link to nothing."""

Kind = Literal["file", "folder"]


@dataclass(frozen=True, slots=True)
class Status:
    """What a file system says of a path without reading it."""

    kind: Kind
    size_bytes: int
    """Of a file; 0 for a folder."""
    stamp: str
    """Changes with the data: size and time of change, or a store's tag."""
    sizes: Mapping[str, int] | None = field(default=None, compare=False)
    """Sizes of a folder's files, where they came with the status at no cost."""

    @property
    def is_shared_folder(self) -> bool:
        """Whether parts of several writes may lie side by side: an object store."""
        return self.stamp == FOLDER_STAMP

    @property
    def is_empty(self) -> bool:
        """Whether it is a link to nothing, or a file without bytes.

        No person can have meant that as data.
        """
        is_empty_file = self.kind == "file" and self.size_bytes == 0
        return self.stamp == BROKEN_LINK or is_empty_file


@dataclass(frozen=True, slots=True)
class Staged:
    """Data that are written but not in place yet."""

    path: str
    """Beside the goal on a local disk, in a temporary folder for an object store."""
    stamp: str | None
    """The stamp that it will have in place; ``None`` where only the store knows it."""
    names: Mapping[str, str] = field(default_factory=dict)
    """For a folder in a store: name of every staged file to its name in place."""
    is_on_disk: bool = False
    """For a folder in a store: its files lie on a disk of this machine."""


class FileSystem(Protocol):
    """A file system. Methods raise ``FileNotFoundError`` for a path that is absent."""

    renames_folders: bool
    """Whether one step puts a whole folder in place; if not, files go one by one."""

    def status(self, path: str, kind: Kind = "file") -> Status | None:
        """Return the status of the path, ``None`` where nothing is.

        ``kind`` is the kind that the caller expects; it may spare a request.
        """

    def read_bytes(self, path: str) -> bytes:
        """Return a file's bytes."""

    def read_hashed(self, path: str, checksum: Checksum) -> Data:
        """Return a file's bytes, which the checksum has taken by then."""

    def create(self, path: str, data: bytes) -> None:
        """Write a small new file, or raise ``FileExistsError``."""

    def put(self, path: str, data: bytes) -> None:
        """Write a small file in one step, over one that may be there."""

    def open(self, path: str) -> BinaryIO:
        """Return a file open for reading."""

    def open_unbuffered(self, path: str) -> io.FileIO | None:
        """Return a file open for reading, on a disk of this machine.

        ``None`` where it is not on one, or nothing is there.
        """

    def writing(self, path: str) -> contextlib.AbstractContextManager[str]:
        """Give the path of a local file to write; at the end its data are at ``path``.

        Nobody else may write or read ``path`` before the end.
        """

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder as it is now; none where there is no folder."""

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the sizes of all files below a folder, by their path in it, sorted."""

    def walk(self, folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
        """Yield every folder below one, with the names of its folders and its files.

        A folder comes before those in it. Names that are removed from its list of
        folders are not looked into.
        """

    def modified(self, path: str) -> float:
        """Return when the path last changed, in seconds since the epoch."""

    def staging(self, path: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """Give a file open for writing and reading, on its way to ``path``.

        It is removed at the end unless it was placed.
        """

    def finish(self, file: BinaryIO) -> Staged:
        """Close a staged file and give it its stamp."""

    def finish_folder(self, folder: str, names: Mapping[str, str]) -> Staged:
        """Give the files of a staged folder the names that they have in place.

        The staged files stay, so that the next try finds them.
        """

    def taking(
        self, tree: Tree, path: str, names: Mapping[str, str], *, may_link: bool
    ) -> contextlib.AbstractContextManager[Staged]:
        """Stage a file or folder that a task wrote on this machine.

        Parameters
        ----------
        tree
            The file or folder. It stays as it is until its checkpoint is committed.
        path
            Of the checkpoint.
        names
            File of the tree to its name in place.
        may_link
            A disk need not copy the files: nobody else writes to them or needs them
            where they are, and they go from there at the end.
        """

    def place(self, staged: Staged, path: str) -> None:
        """Put staged data where nothing is, in one step.

        Raises ``FileExistsError`` where something is.
        """

    def replace(self, staged: Staged, path: str) -> None:
        """Put staged data in the place of others, in one step.

        The new bytes reach the disk before the old ones go.
        """

    def link(self, source: str, target: str) -> None:
        """Give a file a second name, or copy it."""

    def move(self, source: str, target: str) -> None:
        """Move a file or folder out of the way."""

    def remove(self, path: str, kind: Kind | None = None) -> None:
        """Remove a file or folder; nothing there is fine.

        ``kind``, where it is known, may spare requests.
        """

    def is_link(self, path: str) -> bool:
        """Return whether the data at a path lie elsewhere: a symbolic link."""

    def remove_if_empty(self, folder: str) -> None:
        """Remove a folder unless something is in it; nothing there is fine."""

    def sync_tree(self, path: str) -> None:
        """Make a file, or a folder with all that is in it, survive a power cut."""

    def sync(self, *paths: str) -> None:
        """Make these files and folders survive a power cut."""
