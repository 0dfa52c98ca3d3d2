"""A file whose checksum is taken while it is written, not by reading it again."""

from __future__ import annotations

from typing import Any, BinaryIO

from prefect_ds.storage.checksum import BLAKE3, LARGE, Background, Checksum
from prefect_ds.storage.describe import describe_staged
from prefect_ds.storage.layout import name
from prefect_ds.storage.part import Part

_HARMLESS = {"flush", "tell", "closed", "mode", "name", "writable", "readable"}


class HashedFile:
    """A file that is written from its start to its end.

    A writer may do more with the file: seek, truncate, use its descriptor. Its checksum
    is then taken by reading it.

    Parameters
    ----------
    file
        Open for writing and reading, and empty.
    kind
        Of the checksum.
    """

    def __init__(self, file: BinaryIO, kind: str = BLAKE3) -> None:
        self._file = file
        self._kind = kind
        self._checksum = Checksum(kind)
        self._is_hashed = True

    def __getattr__(self, attribute: str) -> Any:
        if attribute not in _HARMLESS:
            self._is_hashed = False
        return getattr(self._file, attribute)

    def write(self, data: Any) -> int:
        """Write bytes, or what holds bytes; return their number."""
        if not self._is_hashed:
            return self._file.write(data)
        if memoryview(data).nbytes < LARGE:
            self._checksum.update(data)
            return self._file.write(data)
        # The writer may use its buffer again after this call: the end of the block
        # waits until it is hashed.
        with Background(self._checksum) as background:
            background.update(data)
            return self._file.write(data)

    def part(self, path: str) -> Part:
        """Return the part that the file will be at ``path``."""
        if not self._is_hashed:
            return describe_staged(path, self._file, 0, self._kind)
        return Part(name(path), self._file.tell(), self._checksum.text(), 0)
