"""Whole bytes that cannot be decoded: whose fault it is, and what happens to them."""

from __future__ import annotations

from collections.abc import Mapping

from prefect_ds.errors import (
    CheckpointNotFoundError,
    CollisionError,
    DamagedCheckpointError,
    UndecodableCheckpointError,
)
from prefect_ds.storage.aside_record import AsideRecord
from prefect_ds.storage.manifest import Manifest
from prefect_ds.storage.retries import is_of_machine
from prefect_ds.storage.store import CheckpointStore


def is_no_fault_of_data(error: Exception, file_type: str) -> bool:
    """Whether an error of reading says nothing about the data, or was dealt with.

    The data then stay where they are.
    """
    if isinstance(error, UndecodableCheckpointError):
        cause = error.__cause__
        return isinstance(cause, Exception) and is_no_fault_of_data(cause, file_type)
    if isinstance(error, ImportError) and file_type not in ("pickle", "joblib"):
        # A package that reads this file type is not installed here. A pickle needs the
        # module of its values' class, which was renamed in most cases.
        return True
    dealt_with = (CheckpointNotFoundError, DamagedCheckpointError, CollisionError)
    return isinstance(error, dealt_with) or is_of_machine(error)


def set_aside_undecodable(
    store: CheckpointStore,
    path: str,
    manifest: Manifest,
    versions: Mapping[str, str],
    error: Exception,
) -> UndecodableCheckpointError:
    """Set a checkpoint aside that cannot be decoded, and return the error to raise.

    Parameters
    ----------
    store
        The store of the path.
    path
        The path of the checkpoint.
    manifest
        Its manifest.
    versions
        The versions of Python and packages in this process.
    error
        The error of the parser.
    """
    cause = f"{type(error).__name__}: {error}"
    if isinstance(error, UndecodableCheckpointError):
        cause = str(error)
    # The most common reason: another version of a package reads no such file.
    changed = [
        f"{package} {version} (here {versions.get(package, 'none')})"
        for package, version in manifest.versions.items()
        if versions.get(package) != version
    ]
    if changed:
        cause = f"{cause}; written with {', '.join(changed)}"
    why = (
        f"its bytes are whole, but cannot be decoded as {manifest.file_type} ({cause})"
    )
    try:
        aside = store.set_aside(path, why, manifest.stamp, advice="restore")
    except OSError as refused:
        return UndecodableCheckpointError(
            f"the checkpoint at {path!r}: {why}; it cannot be set aside ({refused}): "
            "remove it, then run again"
        )
    if aside == path:
        # It was modified after it was looked up, perhaps by another run.
        return UndecodableCheckpointError(
            f"the checkpoint at {path!r}: {why}; it was replaced or touched while it "
            "was read, and stays: run the flow again"
        )
    return UndecodableCheckpointError(
        f"the checkpoint at {path!r}: {why}; it was set aside as {aside!r}, and the "
        f"next run computes it again{AsideRecord(path, aside, why, 'restore').way_back}"
    )
