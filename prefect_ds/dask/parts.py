"""A part of a Dask frame's checkpoint as a value, and the checksum of its footer.

A part's footer holds what the columns of the file do not tell of the partition
(:mod:`prefect_ds.frames.table`), and a digest of its pages. So the checksum of the
footer, which a reader has to read anyway, tells a part from every other, and the pages'
own checksums say that they are sound.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import BinaryIO

import pyarrow.parquet as pq

from prefect_ds.dask.layouts import Layout
from prefect_ds.storage.manifest import JSONObject
from prefect_ds.storage.part import Part

FOOTER_KEY = b"prefect_ds"
"""Key under which a part's footer says what the columns do not."""

_TAIL_BYTES = 64 * 1024
"""Bytes at a file's end that are read at once: the footers of most files fit."""


@dataclass(frozen=True, slots=True)
class StagedPart:
    """A part in a staging folder, as its writer left it."""

    partition: int
    """Number of the partition that it holds, or of which it holds some rows."""
    number: int
    """Which of the partition's parts it is."""
    memory_bytes: int
    """Bytes of its rows in memory; 0 where there is no ``partition_bytes``."""
    file: str
    """Its name in the staging folder; no other attempt has it."""
    part: Part
    """What the manifest will say of it."""
    layout: Layout
    twin: int = 0
    """Number among the partition's parts in one folder: keys may have one text."""
    ends: JSONObject | None = None
    """First and last value of a sorted index, see `ends_to_json`."""
    write_s: float = 0.0
    """Seconds that writing it took."""
    writer: str = ""
    """Names the thread that wrote it."""

    def to_json(self) -> JSONObject:
        """Return a record of the part that JSON can hold."""
        return {**asdict(self), "part": self.part._asdict()}

    @classmethod
    def from_json(cls, record: JSONObject) -> StagedPart:
        """Return the part of a record of `to_json`; TypeError if it is no record."""
        return cls(
            **{
                **record,
                "part": Part(**record["part"]),
                "layout": Layout(**record["layout"]),
            }
        )


def footer_of(stream: BinaryIO) -> tuple[str | None, pq.FileMetaData]:
    """Return the checksum of a parquet file's footer, and what it says."""
    return measure(stream)[1], pq.ParquetFile(stream).metadata


def measure(stream: BinaryIO) -> tuple[int, str | None]:
    """Return the size of a parquet file and its footer's checksum, if it has one."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - _TAIL_BYTES))
    # A file ends with its footer, the footer's length in four bytes, and `PAR1`.
    tail = stream.read()
    length = int.from_bytes(tail[-8:-4], "little") + 8
    # Cut short, or no parquet file at all.
    if tail[-4:] != b"PAR1" or length > size:
        return size, None
    # A footer of many columns is longer than the tail that was read.
    if length > len(tail):
        stream.seek(size - length)
        tail = stream.read()
    # Back to the start for the caller, who reads the same stream with pyarrow.
    stream.seek(0)
    return size, hashlib.sha256(tail[-length:]).hexdigest()
