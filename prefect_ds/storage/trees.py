"""A file or folder that a task wrote by itself: what is in it, and how it is staged."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from prefect_ds.errors import ResultTypeError
from prefect_ds.path_template import SIDE_FOLDER
from prefect_ds.storage.checksum import checksum_of_file
from prefect_ds.storage.filesystem import Kind
from prefect_ds.storage.folders import make_folder
from prefect_ds.storage.part import Part

NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""Errors of disks and files that cannot have a second name."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A file, or a folder with all that is in it, on a disk."""

    path: str
    kind: Kind
    files: tuple[str, ...]
    """Paths below the folder, with ``/``, sorted; of a file its name."""
    empty_folders: tuple[str, ...] = ()

    def at(self, path: str, file: str) -> str:
        """Return where one of its files is in a copy of the tree at ``path``."""
        return path if self.kind == "file" else f"{path}/{file}"

    def statuses(self) -> list[os.stat_result]:
        """Return what the disk says of every file."""
        return [os.stat(self.at(self.path, file)) for file in self.files]


def scan(path: str) -> Tree:
    """Return what lies at a path of this machine.

    Raises
    ------
    ResultTypeError
        A checkpoint would not keep all of it: a link, a pipe, a name.
    FileNotFoundError
        Nothing lies there.
    """
    # Through links: a task may return the path of one. Inside of a folder they are
    # refused, see below.
    mode = os.stat(path).st_mode
    if not stat.S_ISDIR(mode):
        _check_mode(path, mode)
        return Tree(path, "file", (os.path.basename(path),))
    files: list[str] = []
    empty_folders: list[str] = []
    for folder, folders, names in os.walk(path, onerror=raise_error):
        below = os.path.relpath(folder, path).replace(os.sep, "/")
        prefix = "" if below == "." else f"{below}/"
        for name in [*folders, *names]:
            _check_entry(path, f"{prefix}{name}")
        files += [f"{prefix}{name}" for name in names]
        # No file's name has them, so they are noted by themselves.
        if not folders and not names and prefix:
            empty_folders.append(below)
    if not files:
        raise ResultTypeError(
            f"the folder {path!r} has no files in it: there is nothing to keep"
        )
    return Tree(path, "folder", tuple(sorted(files)), tuple(sorted(empty_folders)))


def _check_entry(folder: str, below: str) -> None:
    """Refuse what a checkpoint of the folder would not keep."""
    path = f"{folder}/{below}"
    name = os.path.basename(below)
    # Not through a link, as it is the link that would be lost.
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        raise ResultTypeError(
            f"{path!r} is a link, and the link would be lost: put a copy of what it "
            "points to in its place, as shutil.copytree does"
        )
    if name == SIDE_FOLDER:
        raise ResultTypeError(
            f"the folder {folder!r} has checkpoints of its own in it ({path!r}): "
            "return a folder that the task alone writes to"
        )
    # A manifest takes no such names, and an object store neither.
    if "\\" in name or not _is_text(name):
        raise ResultTypeError(f"{path!r} has a name that cannot be kept: rename it")
    if not stat.S_ISDIR(mode):
        _check_mode(path, mode)


def _check_mode(path: str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ResultTypeError(
            f"{path!r} is {special_kind(mode)}: a checkpoint keeps files and folders"
        )


def special_kind(mode: int) -> str:
    """Return the kind of a path that is neither a file nor a folder, in words."""
    return _SPECIAL.get(stat.S_IFMT(mode), "something")


_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8 on the disk."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def raise_error(error: OSError) -> NoReturn:
    """Raise the error that a walk over a folder would leave out."""
    raise error


def link_or_copy(tree: Tree, target: str, *, may_link: bool) -> None:
    """Give all files of a tree a second name below ``target``; copy where need be.

    Parameters
    ----------
    tree
        Stays as it is.
    target
        Nothing is there, and its folder is.
    may_link
        Files and their second names have the same bytes for good: nobody else writes
        to them.
    """
    for folder in tree.empty_folders:
        make_folder(f"{target}/{folder}")
    for file in tree.files:
        source, goal = tree.at(tree.path, file), tree.at(target, file)
        make_folder(os.path.dirname(goal))
        if may_link:
            try:
                os.link(source, goal)
                continue
            except OSError as error:
                if error.errno not in (*NO_LINKS, errno.EXDEV, errno.EACCES):
                    raise
                # One refusal is enough: the others are copied too.
                may_link = False
        before = os.stat(source)
        shutil.copyfile(source, goal)
        shutil.copymode(source, goal)
        _refuse_change(source, before)


def describe_tree(tree: Tree, path: str, names: Mapping[str, str]) -> tuple[Part, ...]:
    """Return the parts that a staged tree will be, by reading every byte.

    Parameters
    ----------
    tree
        As the task wrote it.
    path
        Where it lies now.
    names
        File of the tree to name of its part.

    Raises
    ------
    ResultTypeError
        A file changed while it was read.
    """
    parts = []
    for file, part_name in names.items():
        staged = tree.at(path, file)
        before = os.stat(staged)
        with open(staged, "rb") as stream:
            checksum = checksum_of_file(stream)
        # A process that the task has started may write to it still.
        _refuse_change(staged, before)
        parts.append(Part(part_name, before.st_size, checksum, 0))
    return tuple(parts)


def _refuse_change(file: str, before: os.stat_result) -> None:
    now = os.stat(file)
    if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise ResultTypeError(
            f"{os.path.basename(file)!r} changed while it was kept: let the task end "
            "or close what still writes to it before it returns"
        )


def is_in_place(tree: Tree, path: str) -> bool:
    """Whether the files at ``path`` are those of the tree, under a second name."""
    # One speaks for all: a commit puts all of them in place in one step.
    file = tree.files[0]
    try:
        return os.path.samefile(tree.at(tree.path, file), tree.at(path, file))
    except OSError:
        return False
