"""Pages as files: a reader sees the old page or the new one, never half of one."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import fsspec


def write_page(page: str, path: str | os.PathLike[str]) -> None:
    """Write a page to a file; the folders above it are made.

    Parameters
    ----------
    page
        The document.
    path
        Of the file, or a URL that fsspec knows.
    """
    # A name in a flow may have half of a surrogate pair, which UTF-8 cannot encode.
    data = page.encode("utf-8", "replace")
    target = os.fspath(path)
    if "://" in target:
        with fsspec.open(target, "wb") as opened:
            opened.write(data)
        return
    file = Path(target)
    file.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, as a rename between file systems is not atomic.
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(data)
        temporary.replace(file)
    # Also after KeyboardInterrupt.
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
