"""Zip archives without times: workbooks, and files compressed by zip."""

import struct
import zipfile
from typing import BinaryIO, Final

_START: Final = b"PK\x03\x04"
"""Of every zip archive that has a member."""

_FIRST_OF_1980: Final = struct.pack("<HH", 0, 1 << 5 | 1)
"""The earliest time and date that a member can have, as zip writes them."""

_TIME_IN_MEMBER: Final = 10
_TIME_IN_DIRECTORY: Final = 12
_LENGTHS_IN_DIRECTORY: Final = 28
"""Offsets of fields, in a member's header and in its entry of the directory."""

_ENTRY_BYTES: Final = 46
"""Of an entry in the directory, before its name, extra field and comment."""


def clear_times(file: BinaryIO) -> None:
    """Set the times of all members of a zip archive to one that never changes.

    Equal frames then give equal bytes, whenever they are written: tasks that read a
    file that was computed again still count. Any other file stays as it is.

    Parameters
    ----------
    file
        Open for reading and writing, with the archive at its start.
    """
    file.seek(0)
    if file.read(len(_START)) == _START:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            entry = archive.start_dir
        for member in members:
            # The time is in both places, and readers may use either.
            _put_time(file, member.header_offset + _TIME_IN_MEMBER)
            _put_time(file, entry + _TIME_IN_DIRECTORY)
            # The next entry follows the three texts of this one.
            file.seek(entry + _LENGTHS_IN_DIRECTORY)
            entry += _ENTRY_BYTES + sum(struct.unpack("<HHH", file.read(6)))
    # At the end, as a write leaves a file.
    file.seek(0, 2)


def _put_time(file: BinaryIO, position: int) -> None:
    file.seek(position)
    file.write(_FIRST_OF_1980)
