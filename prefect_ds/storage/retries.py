"""Trying again where a file system falters, and advice where that does not help."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from prefect_ds.errors import CheckpointAccessError, CheckpointPermissionError

RETRY_DELAYS_S = (0.1, 0.5, 2.0)
"""Seconds of waiting before every further try."""

# Another try does not help against these; against other errors of a disk or a network
# it may.
_LASTING = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EINVAL,
}

_FREE_SPACE = "free some space there, then run again"
_ALLOW = "let this user read and write in that folder, then run again"
_OPEN_FILES = "raise the limit of open files (ulimit -n), then run again"
_LOOK = "look at the disk or its mount, then run again"

_ADVICE = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EACCES: _ALLOW,
    errno.EPERM: _ALLOW,
    errno.EFBIG: "raise the limit of a file's size (ulimit -f), then run again",
    errno.EROFS: (
        "mount it for writing, or give the handler another folder, then run again"
    ),
    errno.EMFILE: _OPEN_FILES,
    errno.ENFILE: _OPEN_FILES,
    errno.EISDIR: "a folder is in the place of a file: move it away, then run again",
    errno.EIO: _LOOK,
    errno.ESTALE: _LOOK,
}

P = ParamSpec("P")
T = TypeVar("T")


def with_retries(
    doing: str, path: str, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Return what the action returns; try again where the file system falters.

    Prefect's own retries come too late: they would compute the task again, and Prefect
    never retries an error in a state handler. The last error names the checkpoint and a
    remedy: a failed state shows ``repr(error)``, which has no path.

    Parameters
    ----------
    doing
        ``"read"``, ``"write"`` or ``"replace"``; for the error.
    path
        Of the checkpoint; for the error.
    action, args, kwargs
        A function and its arguments.
    """
    delays_s = iter(RETRY_DELAYS_S)
    while True:
        try:
            return action(*args, **kwargs)
        except OSError as error:
            delay_s = next(delays_s, None) if may_pass(error) else None
            if delay_s is not None:
                time.sleep(delay_s)
                continue
            if error.errno is None:
                raise
            text = f"cannot {doing} the checkpoint {path!r}: {error}"
            if error.errno in _ADVICE:
                text = f"{text}; {_ADVICE[error.errno]}"
            if error.errno == errno.ENOTDIR and isinstance(error.filename, str):
                obstacle = _obstacle(error.filename)
                text = (
                    f"{text}; {obstacle!r} is no folder: move it away, then run again"
                )
            raise _error_class(error)(error.errno, text) from error


def _error_class(error: OSError) -> type[OSError]:
    """Return the class of the error that names the checkpoint."""
    if isinstance(error, PermissionError):
        return CheckpointPermissionError
    if isinstance(error, FileNotFoundError):
        # Its catchers tell it from a refusal.
        return FileNotFoundError
    return CheckpointAccessError


def _obstacle(path: str) -> str:
    """Return the part of a path that is in the place of a folder."""
    # Upwards, to the part that is no folder; the root is its own parent.
    while path != os.path.dirname(path):
        if os.path.lexists(path) and not os.path.isdir(path):
            return path
        path = os.path.dirname(path)
    return path


def is_of_machine(error: Exception) -> bool:
    """Whether an error comes from the machine, and says nothing about the data.

    Disks and networks number their errors; parsers do not.
    """
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, OSError):
        return False
    return error.errno is not None or may_pass(error)


def may_pass(error: OSError) -> bool:
    """Whether another try a moment later may go well."""
    if isinstance(error, (FileNotFoundError, FileExistsError)):
        return False
    # Libraries raise lost connections without a number.
    if isinstance(error, (ConnectionError, TimeoutError)):
        return True
    return error.errno is not None and error.errno not in _LASTING
