"""The places of all that lies beside the data: manifests, staged data, data set aside.

``docs/format.md`` shows the folders. All paths here have ``/``, and may be URLs.

Names in the side folder are made so that no usual pattern of data files matches them:
``Path("data").rglob("*.csv")`` and ``rglob("download_*")`` find data alone.
"""

from __future__ import annotations

import hashlib
import re
import uuid

from prefect_ds.path_template import SIDE_FOLDER as SIDE_FOLDER

MANIFEST = ".manifest"
"""Ends the name of a manifest."""

REPLACED = ".replaced"
"""Ends the name of a folder that made room for its successor."""

FREED = "freed"
"""Name of an empty file in a side folder: some checkpoints below were freed."""


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
    return f"{side_folder(path)}/manifests/{hidden_name(name(path))}"


def manifest_file(path: str, stamp: str | None) -> str:
    """Return where the manifest of the data with this stamp is filed."""
    return f"{manifest_folder(path)}/{stamp}{MANIFEST}"


def old_manifest_folder(path: str) -> str:
    """Return the folder in which development versions filed manifests, as JSON."""
    return f"{side_folder(path)}/manifests/{name(path)}"


def hidden_name(data_name: str) -> str:
    """Return a name that no pattern of data files matches, and that names the data.

    >>> hidden_name("sales.csv")
    '_sales._csv_'
    """
    hidden = f"_{data_name.replace('.', '._')}_"
    if len(hidden.encode("utf-8", "surrogateescape")) <= _MOST_BYTES:
        return hidden
    # Cut, with a digest of the whole. A dot without an underscore behind it is in no
    # name that is not cut.
    digest = hashlib.sha256(data_name.encode("utf-8", "surrogateescape"))
    return f"{_shortened(hidden)}.{digest.hexdigest()[:32]}_"


def data_name(hidden: str) -> str | None:
    """Return the name that a hidden name was made from.

    ``None`` where it is no such name, or one that was too long to be kept.
    """
    if len(hidden) < 3 or hidden[0] != "_" or hidden[-1] != "_":
        return None
    # Every dot of a name became "._": another one is of a name that was cut.
    if re.search(r"\.(?!_)", hidden):
        return None
    return hidden[1:-1].replace("._", ".")


_MOST_BYTES = 250
"""Of a name: some file systems take 255."""


def set_aside_path(path: str) -> str:
    """Return a new path for data that have to leave ``path``."""
    # The suffix keeps readers of folders away from it.
    unique = uuid.uuid4().hex[:12]
    hidden = _shortened(hidden_name(name(path)))
    return f"{side_folder(path)}/set-aside/{hidden}.{unique}.set-aside"


def _shortened(text: str) -> str:
    """Return at most 200 bytes of a name."""
    start = text.encode("utf-8", "surrogateescape")[:200]
    # The cut may have halved a character.
    return start.decode("utf-8", "ignore")
