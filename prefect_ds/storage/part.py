"""One file of a checkpoint, as its manifest describes it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from prefect_ds.storage.checksum import SHA256, is_checksum

MOST: Final = 2**63
"""No count and no number of seconds is as large."""

_LEADING_OUT: Final = {"", ".", ".."}


class Part(NamedTuple):
    """One file of a checkpoint, as its writer left it."""

    name: str
    """Path below the checkpoint's folder, with ``/``; of a single file, its name."""
    size_bytes: int
    checksum: str
    """See :mod:`prefect_ds.storage.checksum`."""
    n_rows: int
    index_min: Any = None
    """Smallest index value as JSON, where the index is sorted and known."""
    index_max: Any = None
    """Largest index value, likewise."""
    footer_sha256: str | None = None
    """Checksum of the bytes that readers of parquet read first."""


def part_from_json(body: dict[str, Any], version: int) -> Part:
    """Return the part of a manifest's JSON, checked.

    A reader that trusts it stays in the checkpoint's folder.

    Parameters
    ----------
    body
        The JSON of the part.
    version
        The format of the manifest.

    Raises
    ------
    ValueError, TypeError, KeyError
        It is no part of that format.
    """
    if version < 4:
        others = {name: value for name, value in body.items() if name != "sha256"}
        body = {**others, "checksum": f"{SHA256}:{body['sha256']}"}
    part = Part(**body)
    # A manifest that came along with a copied folder is not to be trusted with paths.
    if (
        not _LEADING_OUT.isdisjoint(part.name.split("/"))
        or "\\" in part.name
        or "\0" in part.name
    ):
        raise ValueError(f"part name {part.name!r}")
    check_count("size_bytes of a part", part.size_bytes)
    check_count("n_rows of a part", part.n_rows)
    if not is_checksum(part.checksum):
        raise ValueError(f"part {part.name!r} has no checksum")
    return part


def check_count(what: str, value: object) -> None:
    """Raise ``ValueError`` if a value is no count."""
    if type(value) is not int or not 0 <= value < MOST:
        raise ValueError(f"{what} is {str(value)[:50]}")
