"""A file whose checksum is taken on the way has the checksum of its bytes."""

import tempfile
import zipfile

import numpy as np
import pytest

from prefect_ds.storage.checksum import BLAKE3, IN_BLOCKS, checksum_of
from prefect_ds.storage.hashed_file import HashedFile

LARGE = bytes(range(256)) * 20_000


def _reused(file):
    buffer = bytearray(LARGE)
    file.write(buffer)
    buffer[:4] = b"next"
    file.write(memoryview(buffer)[:4])


def _went_back(file):
    file.write(LARGE)
    file.seek(0)
    file.write(b"head")
    file.seek(0, 2)


def _cut_off(file):
    file.write(LARGE)
    file.truncate(10)


def _by_descriptor(file):
    file.write(b"head")
    file.flush()
    np.arange(1_000).tofile(file._file)
    assert file.fileno() > 0


def _zipped(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", LARGE)


WRITERS = {
    "nothing": lambda file: None,
    "small": lambda file: [file.write(b"a"), file.write(bytearray(b"bc"))],
    "small and large": lambda file: [file.write(b"a"), file.write(LARGE)],
    "an array": lambda file: file.write(np.arange(200_000).data),
    "a buffer that is used again": _reused,
    "one that goes back": _went_back,
    "one that cuts off": _cut_off,
    "one by the descriptor": _by_descriptor,
    "a zip": _zipped,
}


@pytest.mark.parametrize("kind", [BLAKE3, IN_BLOCKS])
@pytest.mark.parametrize("name", WRITERS)
def test_the_part_describes_the_bytes_of_the_file(name, kind):
    with tempfile.TemporaryFile() as file:
        hashed = HashedFile(file, kind)
        WRITERS[name](hashed)
        part = hashed.part("folder/file.bin")
        file.seek(0)
        data = file.read()
    assert part.name == "file.bin"
    assert part.size_bytes == len(data)
    assert part.checksum == checksum_of(data, kind)


def test_a_full_disk_is_an_error_of_the_write():
    with open("/dev/full", "r+b", buffering=0) as full:
        hashed = HashedFile(full)
        with pytest.raises(OSError, match="No space left"):
            hashed.write(LARGE)
