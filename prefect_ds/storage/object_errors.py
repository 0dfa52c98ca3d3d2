"""Errors of fsspec's drivers as ``OSError`` with a number, a path and advice."""

from __future__ import annotations

import contextlib
import errno
import io
from collections.abc import Iterator
from typing import Any

import fsspec

_NO_ACCESS = (
    "the store refuses: are the credentials in storage_options right, "
    "and do they allow this?"
)

_ERRNO_OF_HTTP_STATUS = {
    "401": errno.EACCES,
    "403": errno.EACCES,
    "404": errno.ENOENT,
    "409": errno.EBUSY,
    "412": errno.EEXIST,
}
"""412 is the answer to a PUT that may only create."""


@contextlib.contextmanager
def numbered_errors(path: str) -> Iterator[None]:
    """Turn an error of a driver into an ``OSError`` with a number and the path.

    The number decides whether :mod:`prefect_ds.storage.retries` tries again.
    """
    try:
        yield
    except PermissionError as error:
        raise PermissionError(errno.EACCES, f"{_NO_ACCESS} ({error})", path) from error
    except OSError as error:
        is_lost = isinstance(error, TimeoutError | ConnectionError)
        # Raised by a driver from words alone.
        is_bare = type(error) is OSError and error.filename is None
        if is_lost or is_bare:
            code = error.errno or errno.EIO
            raise OSError(code, f"{type(error).__name__}: {error}", path) from error
        raise
    except Exception as error:
        # Drivers have classes of their own: azure.core's, botocore's, aiohttp's,
        # gcsfs.retry.HttpError.
        status = getattr(error, "status_code", None) or getattr(error, "code", None)
        code = _ERRNO_OF_HTTP_STATUS.get(str(status), errno.EIO)
        text = f"{type(error).__name__}: {error}"
        if code == errno.EACCES:
            text = f"{_NO_ACCESS} ({text})"
        raise OSError(code, text, path) from error


class ObjectReader(io.RawIOBase):
    """An object open for reading; a lost connection is an error with a number."""

    def __init__(self, fs: fsspec.AbstractFileSystem, path: str) -> None:
        self._path = path
        with numbered_errors(path):
            self._file = fs.open(path, "rb")

    def readable(self) -> bool:
        """Return ``True``."""
        return True

    def seekable(self) -> bool:
        """Return ``True``."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Change the position."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return the position."""
        return int(self._file.tell())

    def read(self, size: int | None = -1) -> bytes:
        """Return up to ``size`` bytes."""
        with numbered_errors(self._path):
            return bytes(self._file.read(-1 if size is None else size))

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, and return how many bytes."""
        with numbered_errors(self._path):
            return int(self._file.readinto(buffer))

    def close(self) -> None:
        """Close the object."""
        if not self.closed:
            self._file.close()
        super().close()
