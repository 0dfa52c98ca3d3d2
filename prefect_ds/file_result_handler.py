"""A file or folder that a task writes by itself, kept at a templated path."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefect_ds.checkpoints.draft import ON_DEMAND, Draft, Kept
from prefect_ds.checkpoints.not_there import replaced
from prefect_ds.checkpoints.reference import count
from prefect_ds.checkpoints.returned_path import Returned, returned
from prefect_ds.errors import DamagedCheckpointError, PrefectDSError
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.layout import name
from prefect_ds.storage.local_copies import (
    EMPTY_FOLDERS,
    OtherBytesError,
    local_copy,
)
from prefect_ds.storage.local_files import LocalFiles
from prefect_ds.storage.lookup import Check, Found
from prefect_ds.storage.manifest import DESCRIPTION, JSONObject, Manifest, Origin
from prefect_ds.storage.part_names import below_generation, generation
from prefect_ds.storage.retries import with_retries
from prefect_ds.storage.trees import Tree, describe_tree, scan

_NOT_KNOWN_TO_BE_WHOLE = (
    "it has no manifest, so nothing says that it is whole: its writer may have been "
    "stopped in the middle"
)


class FileResultHandler(ResultHandler):
    """Keeps the file or folder whose path a task returns.

    For whatever a tool writes by itself: a model, a zarr store, a database, a picture.
    The task writes it where it likes and returns the path. The file is moved to the
    templated path, or copied from another disk; a folder is there whole, or not at all.
    The task's result is then the path where it is kept, a :class:`pathlib.Path`, on the
    first run as on every other.

    Parameters
    ----------
    path
        Template of the path, such as ``"models/{seed}.onnx"`` or ``"stores/{day}"``.
        See :class:`prefect_ds.PandasResultHandler`. In an object store, the task's
        result is the path of a copy on the machine that asks for it.
    storage_options, match, ignore, show, durability, check, max_age
        See :class:`prefect_ds.result_handler.ResultHandler`. A task that gets the path
        reads the file without this handler. Before that, ``check="checksum"`` compares
        every byte with its checksum; otherwise sizes and times of change are compared.

    Notes
    -----
    A relative path counts from the working folder of the process that runs the task.
    A file stays where it is, and is copied, where the task did not write it, where it
    is the checkpoint of another task, and where it has other names on the disk.

    A file that a person put at the path does not count by itself, as nothing says that
    it is whole: ``handler.adopt(path)`` lets it count.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> handler = FileResultHandler(folder / "models/{seed}.txt")
    >>> written = folder / "scratch.txt"
    >>> written.write_text("weights")
    7
    >>> kept = handler.write(written, seed=3).value
    >>> kept.relative_to(folder).as_posix(), kept.read_text(), written.exists()
    ('models/3.txt', 'weights', False)
    """

    kind = "file"
    file_type = "file"
    takes_files = True

    def kept_classes(self) -> tuple[type, ...]:
        """Return the classes of paths."""
        return (str, os.PathLike)

    def accepts(self, value: Any) -> bool:
        """Return whether a value is a path, or text that names an existing one."""
        # A flow-wide handler leaves other text alone.
        return isinstance(value, os.PathLike) or (
            isinstance(value, str) and os.path.lexists(value)
        )

    def look_at(self, path: str, *, mends: bool = True) -> Found:
        """Say what lies at ``path``; a file without a manifest does not count."""
        return self._look_with(self.check, path, mends)

    def _look_with(self, check: Check, path: str, mends: bool = True) -> Found:
        at_path = self.store.look_up(path, self.kind, check=check, mends=mends)
        # A touch alone is no change: the bytes decide.
        if at_path.manifest is not None and self._may_have_changed(path, at_path):
            at_path = self.store.look_up(path, self.kind, check="checksum", mends=mends)
        if at_path.kind == "foreign":
            return Found("damaged", reason=_NOT_KNOWN_TO_BE_WHOLE, stamp=at_path.stamp)
        return at_path

    def _may_have_changed(self, path: str, at_path: Found) -> bool:
        """Whether a file in a folder on a disk was touched since the commit.

        The folder's own time of change does not show that.
        """
        manifest = at_path.manifest
        is_on_disk = isinstance(self.store.files, LocalFiles)
        if manifest is None or manifest.kind == "file" or not is_on_disk:
            return False
        try:
            committed_ns = os.stat(path).st_mtime_ns
            return any(
                os.stat(f"{path}/{part.name}").st_mtime_ns > committed_ns
                for part in manifest.parts
            )
        except FileNotFoundError:
            return True  # It was replaced meanwhile.

    def confirm(self, path: str, content: str) -> None:
        """Raise an error if a task that got ``path`` may have read other bytes.

        Another run may have replaced the file, or the task may have changed it.
        """
        if not isinstance(self.store.files, LocalFiles):
            return  # The task had a copy.
        # By sizes and times, whatever `check` is: hashing all files after every task
        # that reads them would double the cost of reading.
        at_path = with_retries("read", path, self._look_with, "size", path)
        if at_path.manifest is None:
            raise self._not_there(path, at_path)
        if self.content_of(at_path.manifest) != content:
            raise replaced(path, at_path.manifest)

    def _not_there(self, path: str, at_path: Found) -> PrefectDSError:
        if at_path.kind == "damaged":
            return self._damaged(path, at_path)
        return super()._not_there(path, at_path)

    def rescue(self, value: Any, path: str) -> str | None:
        """Return ``None``: what the task wrote is still where it is."""
        return None

    def keep(
        self,
        value: Any,
        path: str,
        *,
        origin: Origin | None = None,
        remarks: tuple[str, ...] = (),
    ) -> Kept:
        """Commit what the task wrote, see :class:`ResultHandler`.

        After an error the file is where the task wrote it, and the error says so.
        """
        origin = origin or Origin()
        # Files that are older than the task were not written by it.
        began_s = None
        if origin.compute_s is not None:
            began_s = time.time() - origin.compute_s
        written = returned(value, path, self.store, origin, began_s)
        try:
            return super().keep(written, path, origin=origin, remarks=remarks)
        except PrefectDSError as error:
            raise _with_place(error, written.tree.path) from error

    @contextlib.contextmanager
    def _stage(self, value: Returned, path: str, origin: Origin) -> Iterator[Draft]:
        tree = value.tree
        files = self.store.files
        prefix: str = ""
        result: Any = Path(path)
        if not isinstance(files, LocalFiles):
            # Objects are placed one by one: under names of their own, so that those of
            # the checkpoint before stay whole until the manifest names these.
            prefix = f"{generation()}/"
            result = ON_DEMAND
        names = _names_in_place(tree, path, prefix)
        with files.taking(tree, path, names, may_link=value.may_move) as staged:
            parts = describe_tree(tree, staged.path, names)
            yield Draft(
                parts,
                0,
                _schema(tree),
                result,
                staged=staged,
                kind=tree.kind,
            )

    def _load(self, path: str, manifest: Manifest) -> Path:
        store = self.store
        if isinstance(store.files, LocalFiles):
            return Path(path)
        try:
            return Path(local_copy(store.files, path, manifest))
        except (OtherBytesError, FileNotFoundError) as error:
            # Damaged, or replaced since the look-up: the current bytes say which.
            now = store.look_up(path, self.kind, check="checksum")
            if now.manifest is not None and now.manifest.content != manifest.content:
                raise replaced(path, now.manifest) from error
            if now.kind != "damaged":
                # It is as it was: an answer of the store was not.
                raise OSError(errno.EIO, str(error), path) from error
            raise self._damaged(path, now) from error

    def _damaged(self, path: str, at_path: Found) -> DamagedCheckpointError:
        """Set damaged data aside, and return the error to raise.

        The task that asks for the path reads the bytes by itself: nothing after this
        would see the damage.
        """
        self.set_aside(path, at_path, then="the next run computes it again")
        return DamagedCheckpointError(
            f"the checkpoint at {path!r} is damaged: {at_path.reason}; "
            "it was set aside, and the next run computes it again"
        )

    def _describe_foreign(self, path: str) -> Draft:
        files = self.store.files
        if isinstance(files, LocalFiles):
            tree = scan(path)
            parts = describe_tree(tree, path, _names_in_place(tree, path))
            return Draft(parts, 0, _schema(tree), Path(path), kind=tree.kind)
        status = files.status(path)
        if status is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        parts = self.store.read_parts(path, status)
        below = tuple(below_generation(part.name) for part in parts)
        tree = Tree(path, status.kind, below)
        return Draft(parts, 0, _schema(tree), ON_DEMAND, kind=tree.kind)


def _with_place(error: PrefectDSError, place: str) -> PrefectDSError:
    """Return the error, with the place of the file if the file is still there."""
    # The last: an error of the file system has its number before the message.
    text = str(error.args[-1])
    if place in text or not os.path.exists(place):
        return error
    text = f"{text}; what the task wrote is still at {place!r}"
    return type(error)(*error.args[:-1], text)


def _names_in_place(tree: Tree, path: str, prefix: str = "") -> dict[str, str]:
    """Return the name that every file of a tree has as a part of the checkpoint."""
    if tree.kind == "file":
        return {tree.files[0]: name(path)}
    return {file: f"{prefix}{file}" for file in tree.files}


def _schema(tree: Tree) -> JSONObject:
    """Return the schema of a tree: whatever its parts do not say."""
    schema: JSONObject = {DESCRIPTION: count(len(tree.files), "file")}
    if tree.kind == "folder":
        # The names of files are data here, and a digest of bytes does not show them.
        names = "\0".join(tree.files)
        schema["names_sha256"] = hashlib.sha256(names.encode()).hexdigest()
        schema[EMPTY_FOLDERS] = list(tree.empty_folders)
    return schema
