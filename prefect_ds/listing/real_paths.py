"""Paths without links, by which two names of one checkpoint are known as one."""

from __future__ import annotations

import os

from prefect_ds.storage.filesystem import FileSystem


class RealPaths:
    """Resolves the links in the folders of many paths; asks once for a folder."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def of(self, files: FileSystem, path: str) -> str:
        """Return a path whose folder has no links in it.

        The last name stays, since a checkpoint that is itself a link has its manifest
        beside the link.
        """
        # Object stores have no links.
        if not files.renames_folders:
            return path
        folder, _, name = path.rpartition("/")
        return f"{self.of_folder(folder)}/{name}"

    def of_folder(self, folder: str) -> str:
        """Return a local folder without links."""
        if folder not in self._folders:
            # Paths have slashes on every system here, and the root is "".
            real = os.path.realpath(folder or "/").replace(os.sep, "/")
            self._folders[folder] = real.rstrip("/")
        return self._folders[folder]
