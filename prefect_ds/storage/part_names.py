"""Names of the parts in a folder: how they are made, and how ours are recognised."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

_SMALLEST_WIDTH = 5
"""Digits of a part's number: names sort as numbers do, for most frames in one width."""

_PART_IN_STORE = re.compile(r"part\.\d+-[0-9a-f]{8}(\.\d+)?\.parquet")
"""Such as ``part.00003-0a1b2c3d.parquet``, and its twin ``….1.parquet``."""

_GENERATION = re.compile(r"files-[0-9a-f]{12}/")
"""Such as ``files-0a1b2c3d4e5f/``."""


@dataclass(frozen=True, slots=True)
class PartNames:
    """The names of the parts of one write.

    Examples
    --------
    >>> names = PartNames(5, "")
    >>> names.of(3), names.of(3, twin=1)
    ('part.00003.parquet', 'part.00003.1.parquet')
    >>> is_part_in_store("year=2024/part.00003-0a1b2c3d.parquet")
    True
    >>> is_part_in_store("part.00003.parquet")
    False
    """

    width: int
    unique: str
    """Ends every name in a store, where parts of two writes lie in one folder."""

    @classmethod
    def for_write(cls, n_partitions: int, *, renames_folders: bool) -> PartNames:
        """Return the names for a write of so many partitions."""
        width = max(_SMALLEST_WIDTH, len(str(n_partitions - 1)))
        # On a disk a whole folder is replaced, so that names can be plain.
        unique = ""
        if not renames_folders:
            unique = f"-{uuid.uuid4().hex[:8]}"
        return cls(width, unique)

    def of(self, partition: int, twin: int = 0) -> str:
        """Return the name of a partition's part, or of a twin in the same folder."""
        suffix = f".{twin}" if twin else ""
        return f"part.{partition:0{self.width}d}{self.unique}{suffix}.parquet"


def is_part_in_store(file: str) -> bool:
    """Return whether a file in a store's folder has the name of a part of ours.

    A file with another name is a person's, and stays.

    Parameters
    ----------
    file
        Its path below the folder.
    """
    if _GENERATION.match(file):
        return True
    return _PART_IN_STORE.fullmatch(file.rpartition("/")[2]) is not None


def generation() -> str:
    """Return the name of a folder for one write of a task's own files to a store.

    Their names are the task's, so that those of two writes would be the same.

    >>> below_generation(f"{generation()}/data/0.0")
    'data/0.0'
    """
    return f"files-{uuid.uuid4().hex[:12]}"


def below_generation(file: str) -> str:
    """Return the path that a task gave to a file in a store's folder."""
    # At the start only: further down such a name is the task's own.
    match = _GENERATION.match(file)
    if match is None:
        return file
    return file[match.end() :]
