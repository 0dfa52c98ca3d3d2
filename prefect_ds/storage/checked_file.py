"""A file that gives out no byte before it was compared with its checksum."""

from __future__ import annotations

import io
from typing import Any

from blake3 import blake3

from prefect_ds.storage.checksum import (
    BLOCK_BYTES,
    Background,
    Data,
    digests_of_blocks,
)
from prefect_ds.storage.part import Part


class OtherBytesError(Exception):
    """The bytes of a file are not those that its part describes."""


class CheckedFile(io.RawIOBase):
    """Reads a file block by block, and compares every block with its digest.

    A large object, such as an array in a pickle, is read to where it is to be: nothing
    holds its bytes a second time, and a thread hashes them while the next are read.

    Parameters
    ----------
    file
        Open for reading, at its start, without a buffer.
    part
        Describes the file, with a checksum in blocks.
    """

    def __init__(self, file: io.RawIOBase, part: Part) -> None:
        super().__init__()
        self._file = file
        self._n_unread = part.size_bytes
        self._comparison = _Comparison(digests_of_blocks(part.checksum))
        self._block = memoryview(b"")
        """What is left of a block that was read before it was asked for as a whole."""

    @property
    def has_other_bytes(self) -> bool:
        """Whether a block was refused: a reader may hide that in its own error."""
        return self._comparison.has_failed

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def readable(self) -> bool:
        """Return ``True``."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer, or as much of it as comes at once; return the number of bytes.

        Raises
        ------
        OtherBytesError
            The next bytes are not those that were written.
        """
        wanted = memoryview(buffer).cast("B")
        if not self._block:
            n_bytes = min(wanted.nbytes, self._n_unread)
            if n_bytes < self._n_unread:
                n_bytes -= n_bytes % BLOCK_BYTES
            if n_bytes:
                self._read_blocks(wanted[:n_bytes])
                return n_bytes
            self._block = self._next_block()
        n_bytes = min(wanted.nbytes, self._block.nbytes)
        wanted[:n_bytes] = self._block[:n_bytes]
        self._block = self._block[n_bytes:]
        return n_bytes

    def check_rest(self) -> None:
        """Compare the bytes that the reader did not ask for.

        Raises
        ------
        OtherBytesError
            They are not those that were written, or there are more.
        """
        while self._next_block():
            pass
        if self._file.read(1) or not self._comparison.is_at_end:
            self._comparison.fail()

    def _next_block(self) -> memoryview:
        """Return the next block, compared; an empty one at the end."""
        block = memoryview(bytearray(min(BLOCK_BYTES, self._n_unread)))
        self._read_blocks(block)
        return block

    def _read_blocks(self, buffer: memoryview) -> None:
        """Fill a buffer with whole blocks, and compare them."""
        if buffer.nbytes <= BLOCK_BYTES:
            # A thread would take longer to start.
            self._fill(buffer)
            if buffer:
                self._comparison.update(buffer)
        else:
            with Background(self._comparison) as background:
                for start in range(0, buffer.nbytes, BLOCK_BYTES):
                    block = buffer[start : start + BLOCK_BYTES]
                    self._fill(block)
                    background.update(block)
        self._n_unread -= buffer.nbytes

    def _fill(self, block: memoryview) -> None:
        while block:
            n_read = self._file.readinto(block)
            if not n_read:
                # It is shorter than it was.
                self._comparison.fail()
            block = block[n_read:]


class _Comparison:
    """Compares blocks with their digests, one after another."""

    def __init__(self, digests: list[str]) -> None:
        self._digests = digests
        self._n_compared = 0
        self.has_failed = False

    @property
    def is_at_end(self) -> bool:
        """Whether every digest was compared with a block."""
        return self._n_compared == len(self._digests)

    def update(self, block: Data, /) -> None:
        """Raise `OtherBytesError` unless it is the block that comes next."""
        if (
            self.is_at_end
            or blake3(block).hexdigest() != self._digests[self._n_compared]
        ):
            self.fail()
        self._n_compared += 1

    def fail(self) -> None:
        """Raise `OtherBytesError`, and remember it."""
        self.has_failed = True
        raise OtherBytesError("other bytes than were written")
