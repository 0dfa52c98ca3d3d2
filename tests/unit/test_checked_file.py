"""A checked file gives the bytes that were written, or refuses before it gives any."""

import io
import random

import numpy as np
import pytest

from prefect_ds.storage.checked_file import CheckedFile, OtherBytesError
from prefect_ds.storage.checksum import BLOCK_BYTES, IN_BLOCKS, checksum_of
from prefect_ds.storage.part import Part

SIZE = 3 * BLOCK_BYTES + 7
DATA = np.random.default_rng(0).bytes(SIZE)
PART = Part("value.pkl", SIZE, checksum_of(DATA, IN_BLOCKS), 0)


class Slow(io.BytesIO):
    """Gives fewer bytes than it is asked for, as a network file system may."""

    def readinto(self, buffer):
        return super().readinto(memoryview(buffer)[: BLOCK_BYTES // 3])


def read_all(file, sizes, given):
    """Add what reads of these sizes give, until one gives nothing."""
    for size in sizes:
        piece = bytearray(size)
        n_bytes = file.readinto(piece)
        if not n_bytes:
            break
        given += piece[:n_bytes]
    file.check_rest()


def sizes(first, *others):
    yield first
    while True:
        yield from others or (first,)


@pytest.mark.parametrize("kind", [io.BytesIO, Slow])
@pytest.mark.parametrize(
    "asked",
    [
        (SIZE,),
        (2 * SIZE,),
        (BLOCK_BYTES,),
        (BLOCK_BYTES - 1,),
        (1_000_003,),
        (10, SIZE),
        (BLOCK_BYTES + 10, 5, 3 * BLOCK_BYTES),
    ],
    ids=str,
)
def test_reads_of_any_size_give_the_bytes(asked, kind):
    file = CheckedFile(kind(DATA), PART)
    given = bytearray()
    read_all(file, sizes(*asked), given)
    assert given == DATA
    assert not file.has_other_bytes


def test_a_buffer_around_it_reads_pieces_lines_and_the_rest():
    file = io.BufferedReader(CheckedFile(io.BytesIO(DATA), PART))
    chance, given = random.Random(0), b""
    given += file.read(3) + file.readline()
    for _ in range(20):
        given += file.read(chance.randrange(BLOCK_BYTES // 4))
    given += file.read()
    assert given == DATA


@pytest.mark.parametrize("at", [0, BLOCK_BYTES - 1, BLOCK_BYTES, SIZE - 1])
@pytest.mark.parametrize("asked", [5_000_011, SIZE])
def test_no_byte_of_a_damaged_block_is_given(at, asked):
    damaged = bytearray(DATA)
    damaged[at] ^= 1
    file = CheckedFile(io.BytesIO(damaged), PART)
    before = at // BLOCK_BYTES * BLOCK_BYTES
    given = bytearray()
    with pytest.raises(OtherBytesError):
        read_all(file, sizes(asked), given)
    assert given == DATA[: len(given)]
    assert len(given) <= before
    assert file.has_other_bytes


@pytest.mark.parametrize(
    "data",
    [
        DATA[:-1],
        DATA[: 2 * BLOCK_BYTES],
        b"",
        DATA + b"\0",
        DATA[BLOCK_BYTES:] + DATA[:BLOCK_BYTES],
    ],
    ids=["cut off", "cut off by blocks", "empty", "longer", "in another order"],
)
def test_other_bytes_are_refused_at_the_end_at_the_latest(data):
    file = CheckedFile(io.BytesIO(data), PART)
    with pytest.raises(OtherBytesError):
        read_all(file, sizes(1_000_003), bytearray())
    assert file.has_other_bytes


def test_what_no_reader_asked_for_is_compared():
    damaged = bytearray(DATA)
    damaged[-1] ^= 1
    file = CheckedFile(io.BytesIO(damaged), PART)
    assert file.readinto(bytearray(10)) == 10
    with pytest.raises(OtherBytesError):
        file.check_rest()


def test_a_checksum_of_more_blocks_than_the_file_has_is_refused():
    longer = f"{PART.checksum}{'0' * 64}"
    file = CheckedFile(io.BytesIO(DATA), PART._replace(checksum=longer))
    with pytest.raises(OtherBytesError):
        file.check_rest()
