"""Objects of more than a piece come back as they were, on views of what was read."""

import os
import pickle
import subprocess
import sys
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest

from prefect_ds import ObjectResultHandler
from prefect_ds.errors import DamagedCheckpointError, UndecodableCheckpointError
from prefect_ds.storage.checksum import IN_BLOCKS, kind_of
from prefect_ds.storage.store import CheckpointStore

N = 300_000
NUMBERS = np.random.default_rng(0).random(N)
WIDE = np.dtype([(f"a rather long name {i}", "f4") for i in range(1_500)])

ARRAYS = {
    "numbers": NUMBERS,
    "a table": NUMBERS.reshape(3, -1),
    "by columns": np.asfortranarray(NUMBERS.reshape(3, -1)),
    "every other": np.arange(2 * N)[::2],
    "big endian": np.arange(N, dtype=">i8"),
    "times": np.arange(N).astype("M8[s]"),
    "text": np.array(["é", "b"] * N),
    "booleans": np.arange(8 * N) % 3 == 0,
    "complex": NUMBERS + 1j,
    "records": np.ones(N, dtype=[("a", "i1"), ("b", "f8"), ("c", "S3")]),
    "records with a long header": np.ones(200, dtype=WIDE),
    "a few with a long header": np.ones(2, dtype=WIDE),
    "items of no bytes": np.zeros(N, dtype="S0"),
    "no rows": np.zeros((0, N)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_a_large_array_comes_back(tmp_path, name):
    array = ARRAYS[name]
    handler = ObjectResultHandler(tmp_path / "array.npy")
    path = handler.write(array).location
    back, bare = handler.load(path), np.load(path, max_header_size=2**20)
    for expected in (array, bare):
        assert back.dtype == expected.dtype
        assert back.shape == expected.shape
        np.testing.assert_array_equal(back, expected)
    assert back.flags.f_contiguous == bare.flags.f_contiguous
    assert back.flags.c_contiguous == bare.flags.c_contiguous
    assert back.flags.writeable
    assert back.flags.aligned


def test_a_change_of_an_array_stays_in_it(tmp_path):
    handler = ObjectResultHandler(tmp_path / "array.npy")
    path = handler.write(NUMBERS).location
    handler.load(path)[:] = 0
    np.testing.assert_array_equal(handler.load(path), NUMBERS)


VALUES = {
    "pkl": {"numbers": NUMBERS, "text": "é" * 2**20},
    "json": {"text": "é" * 2**20, "n": [*range(10**5)]},
    "bin": bytes(range(256)) * 5_000,
    "txt": "é\r\n" * 2**20,
    "npz": {"numbers": NUMBERS},
}


@pytest.mark.parametrize("ending", VALUES)
def test_a_large_value_comes_back(tmp_path, ending):
    value = VALUES[ending]
    handler = ObjectResultHandler(tmp_path / f"value.{ending}")
    back = handler.load(handler.write(value).location)
    assert type(back) is type(value)
    assert pickle.dumps(back) == pickle.dumps(value)


PICKLED = {
    "arrays": [NUMBERS, NUMBERS * 2, "between", NUMBERS + 1],
    "many small objects": [{"id": i, "name": f"name {i}"} for i in range(200_000)],
    "a class of a library": OrderedDict(a=NUMBERS, b=NUMBERS + 1),
    "text": ["é" * 5_000_000, "b"],
}


@pytest.mark.parametrize("ending", ["pkl", "joblib"])
@pytest.mark.parametrize("name", PICKLED)
def test_a_pickle_of_several_blocks_comes_back(tmp_path, name, ending, monkeypatch):
    value = PICKLED[name]
    handler = ObjectResultHandler(tmp_path / f"value.{ending}")
    path = handler.write(value).location
    (part,) = handler.manifest(path).parts
    assert kind_of(part.checksum) == IN_BLOCKS
    # It needs nothing else than the checked file, and no second look at the bytes.
    monkeypatch.setattr(CheckpointStore, "read_data", None)
    assert pickle.dumps(handler.load(path)) == pickle.dumps(value)


def test_a_pickle_is_read_without_holding_its_bytes_besides(tmp_path):
    handler = ObjectResultHandler(tmp_path / "value.pkl")
    path = handler.write(np.zeros(5_000_000)).location
    tracemalloc.start()
    back = handler.load(path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1.3 * back.nbytes


class Runs:
    """Its pickle runs code as it is loaded."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder / "it ran"),)


@pytest.mark.parametrize("ending", ["pkl", "joblib"])
def test_no_pickle_of_another_hand_is_loaded(tmp_path, ending):
    handler = ObjectResultHandler(tmp_path / f"value.{ending}")
    path = handler.write([NUMBERS] * 2 + [NUMBERS + 1]).location
    before = os.stat(path)
    other = pickle.dumps(Runs(tmp_path)).ljust(before.st_size, b".")
    with open(path, "r+b") as file:
        file.write(other)
    # So that only the bytes tell.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DamagedCheckpointError, match="was set aside"):
        handler.load(path)
    assert not (tmp_path / "it ran").exists()


def test_a_class_that_is_gone_is_no_damage(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "Gone", Gone, raising=False)
    handler = ObjectResultHandler(tmp_path / "value.pkl")
    path = handler.write([Gone(), NUMBERS, NUMBERS + 1]).location
    monkeypatch.delattr(sys.modules[__name__], "Gone")
    with pytest.raises(UndecodableCheckpointError, match="Gone"):
        handler.load(path)


class Fails:
    """Cannot be loaded again, whatever its bytes are."""

    loads = True

    def __setstate__(self, state):
        if not Fails.loads:
            raise ValueError("not today")


def test_bytes_behind_an_error_of_the_reader_are_compared_too(tmp_path, monkeypatch):
    handler = ObjectResultHandler(tmp_path / "value.pkl")
    value = Fails()
    value.numbers = 1
    path = handler.write([value, NUMBERS, NUMBERS + 1, NUMBERS + 2]).location
    before = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(-10, os.SEEK_END)
        file.write(b"!!!")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    monkeypatch.setattr(Fails, "loads", False)
    with pytest.raises(DamagedCheckpointError, match="another checksum"):
        handler.load(path)


class Touches:
    """Changes the time of the file that it is loaded from, and fails."""

    path = ""

    def __setstate__(self, state):
        if self.path:
            os.utime(self.path, (1, 1))
            raise ValueError("not today")


def test_a_file_that_was_touched_while_it_was_read_stays(tmp_path, monkeypatch):
    handler = ObjectResultHandler(tmp_path / "value.pkl")
    value = Touches()
    value.numbers = 1
    path = handler.write([value, NUMBERS, NUMBERS + 1]).location
    monkeypatch.setattr(Touches, "path", path)
    with pytest.raises(UndecodableCheckpointError, match="touched while it was read"):
        handler.load(path)
    monkeypatch.setattr(Touches, "path", "")
    np.testing.assert_array_equal(handler.load(path)[1], NUMBERS)


class Gone:
    """A class of a script that is renamed later."""


AFTER_THE_MAIN_THREAD = """
import threading, time
import numpy as np
from prefect_ds import ObjectResultHandler

def write_and_read():
    while threading.main_thread().is_alive():
        time.sleep(0.01)
    time.sleep(0.1)
    handler = ObjectResultHandler("array.npy")
    path = handler.write(np.arange(1e6)).location
    print(handler.load(path).sum())

threading.Thread(target=write_and_read).start()
"""


def test_a_thread_that_outlives_the_main_one_writes_and_reads(tmp_path):
    command = [sys.executable, "-c", AFTER_THE_MAIN_THREAD]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "499999500000.0\n", done.stderr


@pytest.mark.parametrize("ending", ["npy", "pkl"])
@pytest.mark.parametrize("place", [0.001, 0.5, 0.999])
def test_a_changed_byte_of_a_large_file_is_seen(tmp_path, ending, place):
    handler = ObjectResultHandler(tmp_path / f"value.{ending}")
    path = handler.write(NUMBERS).location
    written = os.stat(path)
    with open(path, "r+b") as file:
        position = int(place * file.seek(0, 2))
        file.seek(position)
        byte = file.read(1)
        file.seek(position)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns))
    with pytest.raises(DamagedCheckpointError, match="another checksum"):
        handler.load(path)
