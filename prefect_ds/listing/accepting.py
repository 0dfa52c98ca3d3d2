"""Accepts checkpoints by their paths, without their flow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from prefect_ds.errors import CheckpointNotFoundError, DamagedCheckpointError
from prefect_ds.listing.places import PathLike, absolute
from prefect_ds.storage.history import Event, now
from prefect_ds.storage.store import CheckpointStore


def accept_paths(
    paths: Iterable[PathLike], storage_options: Mapping[str, Any] | None = None
) -> list[str]:
    """Let checkpoints count for the code of the next run, and return their paths.

    Every byte is compared with the manifest first. See :meth:`handler.accept
    <prefect_ds.PandasResultHandler.accept>` for the changes that are accepted.

    Raises
    ------
    CheckpointNotFoundError
        Nothing is at a path, or a person put it there: that counts as it is.
    DamagedCheckpointError
        The bytes of a checkpoint are not those that were written. The checkpoints that
        come before it are accepted by then.
    """
    accepted = []
    for path in map(absolute, paths):
        store = CheckpointStore.open(path, storage_options)
        problems = store.verify(path)
        if problems:
            raise DamagedCheckpointError(
                f"the checkpoint at {path!r} is damaged and was not accepted: "
                f"{problems[0]}; the next run computes it again"
            )
        # After the bytes, so that it is the manifest of the data that were read.
        manifest = store.look_up(path).manifest
        if manifest is None or manifest.identity is None:
            raise CheckpointNotFoundError(
                f"{path!r} was put there by hand, and counts as it is"
            )
        event = Event("accepted", now(), "", manifest.identity.digest)
        history = (*manifest.history, event)
        changed = replace(manifest, is_accepted=True, history=history)
        # The code of the next run is not known here: that run takes the checkpoint's
        # mark for an answer, and files its own code.
        store.rewrite(path, manifest, changed)
        accepted.append(path)
    return accepted
