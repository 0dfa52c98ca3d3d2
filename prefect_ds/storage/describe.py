"""Parts described by their bytes: name, size and checksum."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import BinaryIO, Final

from prefect_ds.storage.checksum import (
    BLAKE3,
    Data,
    checksum_of,
    checksum_of_file,
    kind_of,
)
from prefect_ds.storage.filesystem import FileSystem, Status
from prefect_ds.storage.layout import name
from prefect_ds.storage.manifest import Manifest
from prefect_ds.storage.part import Part

_HELD_BYTES: Final = 256 * 2**20
"""Smaller files are read at once, larger ones in pieces: they may not fit in memory."""


def describe_file(path: str, data: Data, n_rows: int, kind: str = BLAKE3) -> Part:
    """Return the part of a checkpoint that is a single file of these bytes."""
    n_bytes = memoryview(data).nbytes
    return Part(name(path), n_bytes, checksum_of(data, kind), n_rows)


def describe_staged(path: str, file: BinaryIO, n_rows: int, kind: str = BLAKE3) -> Part:
    """Return the part that a staged file will be at ``path``.

    Reads the file from its start to its end, for a checksum of that kind.
    """
    file.seek(0)
    checksum = checksum_of_file(file, kind)
    return Part(name(path), file.tell(), checksum, n_rows)


def checksum_kinds(manifests: Iterable[Manifest]) -> set[str]:
    """Return the kinds of checksums that manifests have of their parts."""
    return {kind_of(part.checksum) for manifest in manifests for part in manifest.parts}


def read_parts(
    files: FileSystem, path: str, status: Status, kinds: Collection[str] = (BLAKE3,)
) -> tuple[Part, ...]:
    """Return the parts at ``path`` by reading every byte; rows are not counted.

    With several ``kinds`` of checksums, a part comes once for every kind.
    """
    if status.kind == "file":
        return tuple(_read_part(files, path, name(path), status.size_bytes, kinds))
    parts: list[Part] = []
    # Every file counts, also those that readers of parquet leave out: `_SUCCESS`,
    # `.part-0.crc`.
    for part_name, size_bytes in files.sizes(path).items():
        file = f"{path}/{part_name}"
        parts += _read_part(files, file, part_name, size_bytes, kinds)
    return tuple(parts)


def _read_part(
    files: FileSystem,
    path: str,
    part_name: str,
    size_bytes: int,
    kinds: Collection[str],
) -> Iterator[Part]:
    if size_bytes < _HELD_BYTES:
        data = files.read_bytes(path)
        for kind in kinds:
            yield Part(part_name, len(data), checksum_of(data, kind), 0)
        return
    for kind in kinds:
        with files.open(path) as file:
            checksum = checksum_of_file(file, kind)
            yield Part(part_name, file.tell(), checksum, 0)


def same_bytes(
    described: tuple[Part, ...], there: tuple[Part, ...], status: Status
) -> bool:
    """Whether the parts at a path are those that a manifest describes."""
    kinds = {kind_of(part.checksum) for part in described}
    expected = {(part.name, part.size_bytes, part.checksum) for part in described}
    present = {
        (part.name, part.size_bytes, part.checksum)
        for part in there
        if kind_of(part.checksum) in kinds
    }
    if status.is_shared_folder:
        # The parts of a successor may lie beside them already.
        return expected <= present
    return expected == present


def size_difference(
    files: FileSystem, path: str, status: Status, parts: tuple[Part, ...]
) -> str:
    """Return in words which part of a folder is gone or has another size.

    Empty where all parts have their sizes. Reads no data.
    """
    sizes = status.sizes
    if sizes is None:
        sizes = files.sizes(path)
    for part in parts:
        size_bytes = sizes.get(part.name)
        if size_bytes is None:
            return f"part {part.name!r} was gone"
        if size_bytes != part.size_bytes:
            return (
                f"part {part.name!r} had {size_bytes} bytes, "
                f"was written with {part.size_bytes}"
            )
    return ""
