"""Says at the start of a run what stopped runs left behind. Runs on the client."""

from __future__ import annotations

from prefect import Flow
from prefect.utilities.logging import get_logger

from prefect_ds.checkpoints.reference import count, size
from prefect_ds.engine.task_handler import handlers_in

logger = get_logger("DSFlowRunner")


def say_leftovers(flow: Flow) -> None:
    """Log one line for every folder of checkpoints in which unfinished writes lie.

    Only folders on disks are looked at, and only those that no field of a template
    names: a listing of an object store takes a request.
    """
    # One handler for every folder: tasks may share it.
    by_folder = {
        handler.folder: handler
        for handler in handlers_in(flow)
        if handler.folder is not None
    }
    for folder, handler in sorted(by_folder.items()):
        # Zero for an object store, which is not asked.
        n_writes, size_bytes = handler.unfinished_writes()
        if n_writes:
            logger.info(
                "%s/.prefect_ds/staging holds %s, %s: from a run that was stopped, or "
                "another run is at work. Dask frames use the parts that still fit; "
                "handler.clean() removes those older than a day",
                folder,
                count(n_writes, "unfinished write"),
                size(size_bytes),
            )
