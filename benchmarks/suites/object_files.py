"""The cost of keeping an object, beside the library that writes the same file."""

from __future__ import annotations

import functools
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.support import common
from prefect_ds import ObjectResultHandler
from prefect_ds.storage.checksum import checksum_of_file

WRITERS: Final = ["prefect_ds", "bare", "bare and checksum"]
FILE_TYPES: Final = ["npy", "pickle", "json"]
_ENDINGS: Final = {"npy": "npy", "pickle": "pkl", "json": "json"}


@functools.lru_cache(maxsize=1)
def _array(n_bytes: int) -> np.ndarray:
    return np.random.default_rng(0).random(n_bytes // 8)


@functools.lru_cache(maxsize=1)
def _records(n_bytes: int) -> list[dict[str, Any]]:
    # One of them takes 50 bytes.
    return [
        {"id": number, "name": f"name {number}", "x": number / 7, "is_new": True}
        for number in range(n_bytes // 50)
    ]


VALUES: Final[dict[str, Callable[[int], Any]]] = {
    "npy": _array,
    "pickle": _array,
    "json": _records,
}


def _write_bare(file_type: str, value: Any, path: Path) -> None:
    if file_type == "json":
        path.write_text(json.dumps(value))
        return
    with path.open("wb") as file:
        if file_type == "npy":
            np.save(file, value)
        else:
            pickle.dump(value, file, protocol=5)


def _read_bare(file_type: str, path: Path) -> Any:
    if file_type == "json":
        return json.loads(path.read_text())
    with path.open("rb") as file:
        return np.load(file) if file_type == "npy" else pickle.load(file)


def _hash(path: Path) -> None:
    with path.open("rb") as file:
        checksum_of_file(file)


class ObjectFile(common.Folder):
    """Write and read one object."""

    params = (WRITERS, FILE_TYPES, [10_000, 100_000_000])
    param_names = ("by", "file_type", "n_bytes")
    number, repeat, warmup_time = 1, (3, 10, 20.0), 0

    def setup(self, by: str, file_type: str, n_bytes: int) -> None:
        """Make the value, and the file that is read."""
        folder = self.new_folder()
        self.value = VALUES[file_type](n_bytes)
        ending = _ENDINGS[file_type]
        self.keeps = ObjectResultHandler(f"{folder}/ours.{ending}")
        self.path = self.keeps.render({})
        self.bare = Path(folder, f"bare.{ending}")
        self.time_write(by, file_type, n_bytes)

    def time_write(self, by: str, file_type: str, n_bytes: int) -> None:
        """Time the write of a new file."""
        if by == "prefect_ds":
            Path(self.path).unlink(missing_ok=True)
            self.keeps.keep(self.value, self.path)
            return
        self.bare.unlink(missing_ok=True)
        _write_bare(file_type, self.value, self.bare)
        if by == "bare and checksum":
            _hash(self.bare)

    def time_read(self, by: str, file_type: str, n_bytes: int) -> None:
        """Time the read."""
        if by == "prefect_ds":
            self.keeps.load(self.path)
            return
        if by == "bare and checksum":
            _hash(self.bare)
        _read_bare(file_type, self.bare)
