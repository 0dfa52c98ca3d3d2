"""Stores on a disk and in memory, and what their tests write into them and look for."""

import os
import uuid

import pytest

from prefect_ds.storage.describe import describe_file
from prefect_ds.storage.layout import manifest_file, manifest_folder
from prefect_ds.storage.local_files import LocalFiles
from prefect_ds.storage.manifest import Identity, Manifest, Owner
from prefect_ds.storage.store import CheckpointStore

OLD, NEW, OTHER = b"a,b\n1,2\n", b"a,b\n3,4\n", b"a,b\n5,6\n7,8\n"


def identity(inputs="1"):
    return Identity("task", {"x": inputs})


def described(path, data, *, inputs="1", run="", task="task", map_index=None):
    return Manifest(
        path=path,
        attempt=uuid.uuid4().hex,
        kind="file",
        file_type="csv",
        parts=(describe_file(path, data, 1),),
        n_columns=2,
        written_at="2024-01-01 00:00:00+00:00",
        owner=Owner("flow", run, task, map_index),
        identity=None if inputs is None else identity(inputs),
    )


def write(store, path, data, **about):
    """Commit data as a handler does."""
    with store.staging(path) as file:
        file.write(data)
        file.flush()
        return store.commit(
            path, store.files.finish(file), described(path, data, **about)
        )


def read(store, path):
    found = store.look_up(path)
    return store.read_data(path, found.manifest.parts[0])


def manifests_of(store, path):
    return sorted(store.files.names(manifest_folder(path)))


def in_force(store, path):
    """Give the file of the manifest that the data in place choose."""
    return manifest_file(path, store.files.status(path).stamp)


def set_aside(store, path):
    """Give the bytes of all that was set aside beside a path."""
    folder = f"{path.rpartition('/')[0]}/.prefect_ds/set-aside"
    return sorted(
        store.files.read_bytes(f"{folder}/{name}") for name in store.files.names(folder)
    )


class LocalStoreCase:
    """A store on a disk."""

    n_steps = 8

    @pytest.fixture
    def path(self, tmp_path):
        (tmp_path / "data").mkdir()
        return f"{tmp_path}/data/a.csv"

    @pytest.fixture
    def store(self):
        return CheckpointStore(LocalFiles())

    @pytest.fixture
    def put(self):
        """Write a file as a person does."""

        def put(path, data):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)

        return put

    def touch(self, store, path, put):
        os.utime(path, ns=(1, 1_600_000_000_000_000_000))


class MemoryStoreCase:
    """A store in memory, which behaves as an object store."""

    n_steps = 10

    @pytest.fixture
    def path(self):
        return f"memory://{uuid.uuid4().hex}/data/a.csv"

    @pytest.fixture
    def store(self):
        return CheckpointStore.open("memory://x")

    @pytest.fixture
    def put(self, store):
        return lambda path, data: store.files.fs.pipe_file(path, data)

    def touch(self, store, path, put):
        put(path, store.files.read_bytes(path))
