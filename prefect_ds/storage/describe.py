"""Parts described by their bytes: name, size and checksum."""

from __future__ import annotations

import hashlib
from typing import Any, BinaryIO, cast

from prefect_ds.storage.filesystem import FileSystem, Status
from prefect_ds.storage.layout import name
from prefect_ds.storage.manifest import Part


def describe_bytes(part_name: str, data: bytes, n_rows: int = 0) -> Part:
    """Return the part of this name that holds these bytes."""
    return Part(part_name, len(data), hashlib.sha256(data).hexdigest(), n_rows)


def describe_file(path: str, data: bytes, n_rows: int) -> Part:
    """Return the part of a checkpoint that is a single file of these bytes."""
    return describe_bytes(name(path), data, n_rows)


def describe_staged(path: str, file: BinaryIO, n_rows: int) -> Part:
    """Return the part that a staged file will be at ``path``.

    Reads the file from its start to its end.
    """
    file.seek(0)
    sha256 = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
    return Part(name(path), file.tell(), sha256, n_rows)


def read_parts(files: FileSystem, path: str, status: Status) -> tuple[Part, ...]:
    """Return the parts at ``path`` by reading every byte; rows are not counted."""
    if status.kind == "file":
        return (describe_bytes(name(path), files.read_bytes(path)),)
    # Every file counts, also those that readers of parquet leave out: `_SUCCESS`,
    # `.part-0.crc`.
    return tuple(
        describe_bytes(part_name, files.read_bytes(f"{path}/{part_name}"))
        for part_name in files.sizes(path)
    )


def same_bytes(
    described: tuple[Part, ...], there: tuple[Part, ...], status: Status
) -> bool:
    """Whether the parts at a path are those that a manifest describes."""
    expected = {(part.name, part.size_bytes, part.sha256) for part in described}
    present = {(part.name, part.size_bytes, part.sha256) for part in there}
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
