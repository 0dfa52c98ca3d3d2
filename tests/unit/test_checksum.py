"""A checksum is that of the bytes, whatever pieces they come in."""

import hashlib
import io

import numpy as np
import pytest

from prefect_ds.storage import describe
from prefect_ds.storage.checksum import (
    BLAKE3,
    BLOCK_BYTES,
    IN_BLOCKS,
    LARGE,
    PIECE_BYTES,
    SHA256,
    Background,
    Checksum,
    checksum_of,
    checksum_of_file,
    digests_of_blocks,
    is_checksum,
    kind_of,
)
from prefect_ds.storage.local_files import LocalFiles

# The first two of the test vectors that the authors of BLAKE3 give for texts.
EMPTY = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
ABC = "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"

SIZES = [0, 1, LARGE - 1, LARGE, PIECE_BYTES - 1, PIECE_BYTES, 2 * PIECE_BYTES + 3]


def some_bytes(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


def test_the_checksums_are_those_of_blake3_and_sha256():
    assert checksum_of(b"") == EMPTY
    assert checksum_of(b"abc") == ABC
    assert checksum_of(b"abc", SHA256) == f"sha256:{hashlib.sha256(b'abc').hexdigest()}"


@pytest.mark.parametrize("kind", [BLAKE3, IN_BLOCKS, SHA256])
@pytest.mark.parametrize("size", SIZES)
def test_a_file_has_the_checksum_of_its_bytes(tmp_path, size, kind):
    data = some_bytes(size)
    assert checksum_of_file(io.BytesIO(data), kind) == checksum_of(data, kind)
    path = tmp_path / "data"
    path.write_bytes(data)
    taken = Checksum(kind)
    assert bytes(LocalFiles().read_hashed(str(path), taken)) == data
    assert taken.text() == checksum_of(data, kind)


@pytest.mark.parametrize("kind", [BLAKE3, IN_BLOCKS])
@pytest.mark.parametrize("step", [1, 1_000, LARGE, PIECE_BYTES + 1])
def test_pieces_of_any_size_have_the_checksum_of_the_whole(step, kind):
    data = some_bytes(3 * step + 1)
    checksum = Checksum(kind)
    with Background(checksum) as background:
        for start in range(0, len(data), step):
            background.update(data[start : start + step])
    assert checksum.text() == checksum_of(data, kind)


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES])
def test_the_checksum_in_blocks_of_one_block_is_that_of_the_file(size):
    data = some_bytes(size)
    assert checksum_of(data, IN_BLOCKS) == checksum_of(data)


@pytest.mark.parametrize("size", [BLOCK_BYTES + 1, 2 * BLOCK_BYTES, 9_000_000])
def test_a_checksum_in_blocks_has_the_digest_of_every_block(size):
    data = some_bytes(size)
    blocks = [data[at : at + BLOCK_BYTES] for at in range(0, size, BLOCK_BYTES)]
    digests = [checksum_of(block).removeprefix("blake3:") for block in blocks]
    checksum = checksum_of(data, IN_BLOCKS)
    assert checksum == f"blake3-4MiB:{''.join(digests)}"
    assert digests_of_blocks(checksum) == digests
    assert is_checksum(checksum)
    assert kind_of(checksum) == IN_BLOCKS


def test_a_checksum_goes_on_after_it_was_asked_for():
    checksum = Checksum()
    assert checksum.text() == EMPTY
    checksum.update(b"a")
    checksum.update_from(io.BytesIO(b"bc"))
    assert checksum.text() == ABC


@pytest.mark.parametrize(
    "data",
    [
        np.arange(6.0),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.zeros(3, dtype=[("a", "i4"), ("b", "S3")]),
        np.arange(3, dtype=">i8"),
        bytearray(b"abc"),
    ],
    ids=str,
)
def test_whatever_holds_bytes_has_the_checksum_of_them(data):
    order = "A" if isinstance(data, np.ndarray) else None
    plain = data.tobytes(order) if order else bytes(data)
    assert checksum_of(data) == checksum_of(plain)


def test_an_error_of_the_one_who_hashes_reaches_the_one_who_writes():
    strided = memoryview(b"abcdef")[::2]
    with pytest.raises(BufferError), Background(Checksum()) as background:
        background.update(strided)


@pytest.mark.parametrize("text", [EMPTY, f"sha256:{'0' * 64}"])
def test_a_checksum_names_its_kind(text):
    assert is_checksum(text)
    assert kind_of(text) == text.split(":")[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0" * 64,
        f"md5:{'0' * 64}",
        f"{EMPTY}\n",
        f"blake3-4MiB:{'0' * 64}",
        f"blake3-4MiB:{'0' * 130}",
        f"blake3:{'0' * 128}",
        None,
    ],
)
def test_anything_else_is_no_checksum(text):
    assert not is_checksum(text)


def test_a_file_that_does_not_fit_in_memory_is_read_in_pieces(tmp_path, monkeypatch):
    (tmp_path / "large.bin").write_bytes(some_bytes(PIECE_BYTES + 5))
    (tmp_path / "empty").touch()
    files = LocalFiles()

    def parts(path, kinds):
        status = files.status(str(path))
        assert status is not None
        return describe.read_parts(files, str(path), status, kinds)

    for path in (tmp_path, tmp_path / "large.bin"):
        at_once = parts(path, [BLAKE3, SHA256])
        monkeypatch.setattr(describe, "_HELD_BYTES", 0)
        assert set(parts(path, [BLAKE3, SHA256])) == set(at_once)
        monkeypatch.undo()
