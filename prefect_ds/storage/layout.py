"""Where things lie beside the data: manifests, writes under way, data set aside.

``docs/format.md`` shows the folders. All paths here have ``/``, and may be URLs.
"""

from __future__ import annotations

import uuid

from prefect_ds.path_template import SIDE_FOLDER

REPLACED = ".replaced"
"""Ends the name of a folder that made room for its successor."""


def parent(path: str) -> str:
    """Return the folder of a path or URL."""
    head, _, _ = path.rpartition("/")
    if head:
        return head
    return "/" if path.startswith("/") else "."


def name(path: str) -> str:
    """Return the last segment of a path or URL."""
    return path.rpartition("/")[2]


def side_folder(path: str) -> str:
    """Return the folder beside ``path`` that holds everything that is not data."""
    return f"{parent(path)}/{SIDE_FOLDER}"


def staging_folder(path: str) -> str:
    """Return the folder for data on their way to ``path``."""
    return f"{side_folder(path)}/staging"


def manifest_folder(path: str) -> str:
    """Return the folder of the manifests filed for the checkpoint at ``path``."""
    return f"{side_folder(path)}/manifests/{name(path)}"


def manifest_file(path: str, stamp: str | None) -> str:
    """Return where the manifest of the data with this stamp is filed."""
    return f"{manifest_folder(path)}/{stamp}.json"


def set_aside_path(path: str) -> str:
    """Return a new path for data that have to leave ``path``."""
    # The suffix keeps readers of folders away from it.
    unique = uuid.uuid4().hex[:12]
    return f"{side_folder(path)}/set-aside/{_shortened(name(path))}.{unique}.set-aside"


def _shortened(text: str) -> str:
    """Return at most 200 bytes of a name."""
    start = text.encode("utf-8", "surrogateescape")[:200]
    return start.decode("utf-8", "ignore")
