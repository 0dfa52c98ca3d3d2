"""The path that a task returned: what lies there, and whether it may be moved."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from prefect_ds.errors import ResultTypeError
from prefect_ds.path_template import SIDE_FOLDER
from prefect_ds.storage.filed_manifests import FiledManifests, read_manifest
from prefect_ds.storage.layout import parent
from prefect_ds.storage.local_copies import is_local_copy
from prefect_ds.storage.local_files import LocalFiles
from prefect_ds.storage.manifest import Origin
from prefect_ds.storage.store import CheckpointStore
from prefect_ds.storage.trees import Tree, scan

_CLOCKS_DIFFER_S = 1.0
"""A disk's clock may be behind by as much."""

_CLOCK_TICKS_S = 0.05
"""Times of change of this machine's own disks are as exact."""

_UNFINISHED = (".wal", "-wal", "-journal")
"""Ends the names of the files beside a database that is still open."""


@dataclass(frozen=True, slots=True)
class Returned:
    """A file or folder whose path a task returned."""

    tree: Tree
    may_move: bool
    """It is the task's alone; otherwise it stays, and is copied."""


def returned(
    value: Any,
    path: str,
    store: CheckpointStore,
    origin: Origin,
    began_s: float | None,
) -> Returned:
    """Return what lies at the path that a task returned.

    Parameters
    ----------
    value
        What the task returned.
    path, store
        Where the checkpoint is to be.
    origin
        Who writes it.
    began_s
        When the task began, in seconds since the epoch; ``None``: not known.

    Raises
    ------
    ResultTypeError
        It is no path, nothing lies there, or it cannot be kept as it is.
    """
    source = _absolute(value)
    on_disk = isinstance(store.files, LocalFiles)
    if on_disk:
        source = _as_in(path, source)
        _check_place(source, path)
    if SIDE_FOLDER in source.split("/"):
        raise ResultTypeError(
            f"the task returned {source!r}, which lies among the files of prefect_ds: "
            "return a path outside of any .prefect_ds"
        )
    # A link is no data. Its target is copied, since the task may not own it.
    is_link = os.path.islink(source)
    try:
        tree = scan(os.path.realpath(source) if is_link else source)
    except FileNotFoundError as error:
        raise ResultTypeError(
            f"the task returned the path {source!r}, and nothing is there "
            f"({error.filename!r}): return the path of what it wrote"
        ) from error
    _refuse_open_database(tree)
    if on_disk and source == path:
        _refuse_earlier_result(tree, store, origin, began_s)
    may_move = not is_link and _is_of_the_task(tree, began_s)
    return Returned(tree, may_move)


def _absolute(value: Any) -> str:
    if not isinstance(value, str | os.PathLike):
        raise ResultTypeError(
            f"the task returned a {type(value).__name__}, and FileResultHandler keeps "
            "what lies at a path: return the path of the file or folder"
        )
    text = os.fsdecode(os.fspath(value))
    if "://" in text:
        raise ResultTypeError(
            f"the task returned the URL {text!r}: return the path of a file or folder "
            "on this machine"
        )
    if not text or "\0" in text:
        raise ResultTypeError(
            f"the task returned {text!r}, which is not a path: return the path of the "
            "file or folder"
        )
    return os.path.abspath(text).replace(os.sep, "/")


def _as_in(path: str, source: str) -> str:
    """Return the source under the name of the checkpoint's path, if it is that."""
    # `/data/x` and `/link-to-data/x` are one file. Only the folder is resolved: the
    # file itself may be a link.
    folder, _, name = source.rpartition("/")
    is_same_name = name == path.rpartition("/")[2]
    if is_same_name and os.path.realpath(folder) == os.path.realpath(parent(path)):
        return path
    return source


def _check_place(source: str, path: str) -> None:
    """Refuse a source that holds the path of the checkpoint, or lies below it."""
    real_source, real_path = os.path.realpath(source), os.path.realpath(path)
    if real_source != real_path and _is_below(real_path, real_source):
        raise ResultTypeError(
            f"the task returned the folder {source!r}, and its checkpoint would be "
            f"inside of it, at {path!r}: write to a folder of the task's own"
        )
    if source != path and _is_below(real_source, real_path):
        raise ResultTypeError(
            f"the task returned {source!r}, which is inside of {path!r}, the path of "
            f"its checkpoint: return {path!r}, or write elsewhere"
        )


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(f"{folder.rstrip(os.sep)}{os.sep}")


def _refuse_open_database(tree: Tree) -> None:
    """Refuse a database with a file beside it that has its last changes."""
    if tree.kind == "folder":
        return
    # Of DuckDB and SQLite: without these files the database is not what the task wrote.
    for ending in _UNFINISHED:
        if os.path.exists(tree.path + ending):
            raise ResultTypeError(
                f"beside {tree.path!r} is {tree.path + ending!r} with changes that "
                "are not in the file yet: close the connection before the task returns"
            )


def _refuse_earlier_result(
    tree: Tree, store: CheckpointStore, origin: Origin, began_s: float | None
) -> None:
    """Refuse an earlier checkpoint that the task has left at its path."""
    filed = FiledManifests(store.files, tree.path)
    old = ""
    if tree.kind == "file":
        status = store.files.status(tree.path)
        earlier = read_manifest(
            store.files, filed.file_of(status.stamp if status else None)
        )
        # A manifest is filed under size and time of change: nobody has written since.
        if earlier is not None:
            is_same = earlier.identity == origin.identity
            if not is_same or earlier.attempt == origin.refused:
                old = tree.path
    elif began_s is not None and filed.names():
        # Files in a folder may be written without a change of the folder itself.
        for file, status_of_file in zip(tree.files, tree.statuses(), strict=True):
            if status_of_file.st_ctime < began_s - _CLOCK_TICKS_S:
                old = old or f"{tree.path}/{file}"
    if old:
        raise ResultTypeError(
            f"the task returned the path of its own checkpoint, and {old!r} is of an "
            "earlier result: let the task write all of it, or write elsewhere"
        )


def _is_of_the_task(tree: Tree, began_s: float | None) -> bool:
    """Whether the task wrote all of a tree, and nobody else has a use for it."""
    statuses = tree.statuses()
    if any(status.st_nlink > 1 for status in statuses):
        return False  # Its bytes could be changed under another name.
    if began_s is not None:
        # Not the time of change, which tools set as they like: `cp -p` keeps that of
        # the source.
        newest_s = began_s - _CLOCKS_DIFFER_S
        if any(status.st_ctime < newest_s for status in statuses):
            return False
    if is_of_a_checkpoint(tree.path):
        return False
    return not _holds_working_folder(tree.path)


def _holds_working_folder(path: str) -> bool:
    try:
        here = os.getcwd()
    except OSError:
        return False  # It was removed.
    return f"{here}{os.sep}".startswith(f"{path}{os.sep}")


def is_of_a_checkpoint(path: str) -> bool:
    """Whether a path is a checkpoint, lies in one, or is a local copy of one.

    A task that returns it got it from another task; it is never moved.
    """
    if is_local_copy(path):
        return True
    # Up to the root: it may be a file in a folder that is the checkpoint.
    files = LocalFiles()
    while parent(path) not in (path, "/", "."):
        if FiledManifests(files, path).names():
            return True
        path = parent(path)
    return False
