"""Opens the file system that a path or URL names."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from typing import Any

import fsspec
from fsspec.core import split_protocol

from prefect_ds.storage.filesystem import FileSystem
from prefect_ds.storage.local_files import LocalFiles
from prefect_ds.storage.object_files import AzureFiles, GoogleFiles, ObjectFiles


class StorageOptions(dict[str, Any]):
    """Options of fsspec's file system. The repr leaves values out: credentials."""

    def __repr__(self) -> str:
        names = ", ".join(sorted(map(str, self)))
        return f"<storage options: {names or 'none'}>"


def open_files(
    url: str, storage_options: Mapping[str, Any] | None = None
) -> FileSystem:
    """Return the file system of a path or URL.

    Parameters
    ----------
    url
        A path, or a URL that fsspec knows.
    storage_options
        Given to fsspec's file system: credentials, endpoints.
    """
    protocol, _ = split_protocol(url)
    if protocol in (None, "file", "local"):
        return LocalFiles()
    options = dict(storage_options or {})
    try:
        options_json = json.dumps(options, sort_keys=True)
    except TypeError:
        # Credential objects are no JSON: handlers cannot share the file system then.
        fs = fsspec.filesystem(protocol, use_listings_cache=False, **options)
        return _object_files(fs)
    return _open_shared(protocol, options_json, os.getpid())


@functools.lru_cache(maxsize=64)
def _open_shared(protocol: str, options_json: str, pid: int) -> FileSystem:
    # A listing kept by fsspec could hide what another process wrote.
    fs = fsspec.filesystem(
        protocol,
        skip_instance_cache=True,
        use_listings_cache=False,
        **json.loads(options_json),
    )
    return _object_files(fs)


def _object_files(fs: fsspec.AbstractFileSystem) -> ObjectFiles:
    protocols = fs.protocol
    if isinstance(protocols, str):
        protocols = (protocols,)
    if "gs" in protocols:
        return GoogleFiles(fs)
    if "abfs" in protocols:
        return AzureFiles(fs)
    return ObjectFiles(fs)
