"""The errors of a read that finds no checkpoint, or another than it is to read."""

from __future__ import annotations

from prefect_ds.errors import CheckpointNotFoundError
from prefect_ds.storage.lookup import Found
from prefect_ds.storage.manifest import Manifest


def nothing_there(path: str, at_path: Found) -> CheckpointNotFoundError:
    """Return the error of a path without a checkpoint; it says why, and what to do."""
    remedy = "run the task again"
    if at_path.kind == "damaged" and at_path.advice == "adopt":
        remedy += f", or, if it is an edit of yours: handler.adopt({path!r})"
    if at_path.freed is not None:
        # A run by itself would not need them.
        remedy = "flow.run(refresh=[task], ...) computes them again"
    return CheckpointNotFoundError(
        f"no checkpoint at {path!r}: {at_path.reason}; {remedy}"
    )


def replaced(path: str, manifest: Manifest) -> CheckpointNotFoundError:
    """Return the error of a reference whose checkpoint was replaced since."""
    by = ""
    if manifest.owner.task:
        by = f" by {manifest.owner}"
    return CheckpointNotFoundError(
        f"the checkpoint at {path!r} is not the one referred to: "
        f"it was replaced at {manifest.written_at}{by}"
    )
