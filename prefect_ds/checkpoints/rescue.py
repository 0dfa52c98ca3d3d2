"""A last copy of results that could not be kept."""

from __future__ import annotations

import logging
from typing import Any

import cloudpickle

from prefect_ds.storage.layout import set_aside_path
from prefect_ds.storage.store import CheckpointStore

logger = logging.getLogger("prefect.prefect_ds.checkpoints.rescue")


def rescue(store: CheckpointStore, value: Any, path: str) -> str | None:
    """Keep a value that could not be written, and return the path of its pickle.

    It lies among the files set aside, for a person: hours of computing went into it.
    ``None``: it cannot be pickled, or is not computed yet.

    Parameters
    ----------
    store
        The store of the path.
    value
        What the task returned.
    path
        Where the checkpoint was to be.
    """
    # Its pickle would be the graph, and not the data.
    if hasattr(value, "__dask_graph__"):
        return None
    aside = set_aside_path(path)
    try:
        with store.staging(path) as file:
            cloudpickle.dump(value, file)
            store.files.place(store.files.finish(file), aside)
    except Exception as error:  # noqa: BLE001 - the first error counts, not this one
        logger.debug("%s: cannot keep the refused value: %s", path, error)
        return None
    return aside
