"""Folders of a disk, made where they are missing."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from prefect_ds.path_template import SIDE_FOLDER


def make_folder(folder: str) -> None:
    """Make a folder and those above it, unless they are there."""
    # os.makedirs says FileExistsError where a disk that falters keeps it from seeing
    # that a folder is one.
    try:
        os.mkdir(folder)
        if f"/{SIDE_FOLDER}" in folder:
            _share_like_parent(folder)
    except FileExistsError:
        if os.path.islink(folder) and not os.path.exists(folder):
            raise NotADirectoryError(
                errno.ENOTDIR, "a link to nothing is in the place of a folder", folder
            ) from None
        if not stat.S_ISDIR(os.stat(folder).st_mode):
            raise NotADirectoryError(
                errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder
            ) from None
    except FileNotFoundError:
        above = os.path.dirname(folder)
        if above in ("", folder):
            raise
        make_folder(above)
        make_folder(folder)


def _share_like_parent(folder: str) -> None:
    """Give a new folder the mode and group of its parent.

    Whoever may write checkpoints has to write beside them as well.
    """
    above = os.stat(os.path.dirname(folder))
    # Disks without owners, and users outside the group: then it stays as it was made.
    with contextlib.suppress(OSError):
        os.chown(folder, -1, above.st_gid)
    with contextlib.suppress(OSError):
        os.chmod(folder, stat.S_IMODE(above.st_mode))
