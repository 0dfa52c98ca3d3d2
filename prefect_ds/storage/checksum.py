"""Checksums of data: BLAKE3, and SHA-256 in manifests of formats 1 to 3.

A checksum is a text that names its kind, such as ``blake3:af1349b9...``. BLAKE3 is as
hard to forge as SHA-256 and three times as fast: a thread that hashes keeps pace with
one that reads a file from memory, so that the check of large data costs no time of its
own.

A checksum in blocks has one digest for every 4 MiB. So a reader that must not see any
bytes before they are checked, as that of a pickle, need not wait for the last of them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pickle import PickleBuffer
from types import TracebackType
from typing import Any, BinaryIO, Final, Protocol, Self, TypeAlias

from blake3 import blake3

Data: TypeAlias = bytes | memoryview
"""Bytes in memory."""

BLAKE3: Final = "blake3"
SHA256: Final = "sha256"
IN_BLOCKS: Final = "blake3-4MiB"
"""BLAKE3 of every block of a file. With one block it is that of the file."""

BLOCK_BYTES: Final = 2**22
"""Size of a block; the last one of a file may be shorter."""
PIECE_BYTES: Final = 2**22
"""Files are read and hashed in pieces of this size."""
LARGE: Final = 2**20
"""Bytes from which on a thread that hashes is worth its start."""

_is_checksum = re.compile(
    f"(?:{BLAKE3}|{SHA256}):[0-9a-f]{{64}}|{IN_BLOCKS}:(?:[0-9a-f]{{64}}){{2,}}"
).fullmatch


class _BlockHasher:
    """Has the digest of every block of the bytes that it gets."""

    def __init__(self) -> None:
        self._ended: list[str] = []
        self._block = blake3()
        self._room_bytes = BLOCK_BYTES

    def update(self, data: memoryview) -> None:
        while data.nbytes:
            if not self._room_bytes:
                # Not before more bytes come: no block is empty but that of no bytes.
                self._ended.append(self._block.hexdigest())
                self._block, self._room_bytes = blake3(), BLOCK_BYTES
            head, data = data[: self._room_bytes], data[self._room_bytes :]
            self._block.update(head)
            self._room_bytes -= head.nbytes

    @property
    def is_one_block(self) -> bool:
        return not self._ended

    def hexdigest(self) -> str:
        return "".join([*self._ended, self._block.hexdigest()])


class Checksum:
    """The checksum of bytes that come one piece after another.

    Parameters
    ----------
    kind
        ``"blake3"``, ``"blake3-4MiB"`` or ``"sha256"``.
    """

    def __init__(self, kind: str = BLAKE3) -> None:
        self._kind = kind
        self._hasher = _HASHERS[kind]()

    def update(self, data: Data) -> None:
        """Add bytes."""
        # As plain bytes: a writer of pickles hands over arrays of any kind.
        self._hasher.update(PickleBuffer(data).raw())

    def update_from(self, file: BinaryIO) -> None:
        """Add the bytes of a file, from its position to its end."""
        piece = file.read(PIECE_BYTES)
        if len(piece) < LARGE:
            # Most files: a thread would take longer than the hash.
            self.update(piece)
            piece = file.read(PIECE_BYTES)
        with Background(self) as background:
            while piece:
                background.update(piece)
                piece = file.read(PIECE_BYTES)

    def text(self) -> str:
        """Return the checksum of all bytes so far."""
        kind = self._kind
        if isinstance(self._hasher, _BlockHasher) and self._hasher.is_one_block:
            kind = BLAKE3
        return f"{kind}:{self._hasher.hexdigest()}"


_HASHERS: Final[Mapping[str, Callable[[], Any]]] = {
    BLAKE3: blake3,
    IN_BLOCKS: _BlockHasher,
    SHA256: hashlib.sha256,
}


class TakesBytes(Protocol):
    """What bytes are given to, one piece after another."""

    def update(self, data: Data, /) -> None:
        """Take a piece."""


class Background:
    """Hashes a piece in a thread while the next one is read or written.

    Hashing and file operations both leave Python's lock to others. A piece must not
    change before the next call.

    Parameters
    ----------
    checksum
        Takes the bytes.
    """

    def __init__(self, checksum: TakesBytes) -> None:
        self._checksum = checksum
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._hashing: Future[None] | None = None

    def update(self, piece: Data) -> None:
        """Add bytes, once those before are hashed."""
        self.wait()
        try:
            self._hashing = self._thread.submit(self._checksum.update, piece)
        except RuntimeError:
            # The main thread has ended while a flow runs in another one: from then on
            # Python starts no more threads.
            self._checksum.update(piece)

    def wait(self) -> None:
        """Return when all bytes so far are hashed."""
        if self._hashing is not None:
            self._hashing.result()
            self._hashing = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown()
        self.wait()


def checksum_of(data: Data, kind: str = BLAKE3) -> str:
    """Return the checksum of bytes.

    Examples
    --------
    >>> checksum_of(b"")[:23]
    'blake3:af1349b9f5f9a1a6'
    """
    checksum = Checksum(kind)
    checksum.update(data)
    return checksum.text()


def checksum_of_file(file: BinaryIO, kind: str = BLAKE3) -> str:
    """Return the checksum of a file from its position on, which moves to the end."""
    checksum = Checksum(kind)
    checksum.update_from(file)
    return checksum.text()


def kind_of(checksum: str) -> str:
    """Return the kind that a checksum names.

    Examples
    --------
    >>> kind_of("blake3:af1349b9")
    'blake3'
    """
    return checksum.partition(":")[0]


def digests_of_blocks(checksum: str) -> list[str]:
    """Return the digests of the blocks that a checksum in blocks is made of."""
    digests = checksum.partition(":")[2]
    return [digests[at : at + 64] for at in range(0, len(digests), 64)]


def is_checksum(text: object) -> bool:
    """Return whether a value is a checksum of a kind that is known."""
    return type(text) is str and _is_checksum(text) is not None
