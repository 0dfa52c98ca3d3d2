"""How far a Dask write is, and how much of its time is computing.

Runs on the worker, or the client, that runs the task; Dask computes elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterable, Iterator

import prefect

from prefect_ds.dask.parts import StagedPart
from prefect_ds.storage.filesystem import FileSystem

logger = logging.getLogger("prefect.prefect_ds.dask")

_EVERY_S = 60.0


@contextlib.contextmanager
def watched(
    path: str, files: FileSystem, folder: str, n_partitions: int
) -> Iterator[None]:
    """Say once a minute how many partitions are written.

    Parameters
    ----------
    path
        Where the checkpoint goes, for the log.
    files
        The file system of the staging folder.
    folder
        The staging folder, in which every partition leaves a record.
    n_partitions
        How many there will be.
    """
    over = threading.Event()
    # Prefect's context is a thread's own; log lines go to the run that it names.
    context = dict(prefect.context)

    def say() -> None:
        started = time.monotonic()
        with prefect.context(context):
            while not over.wait(_EVERY_S):
                # A listing that fails spoils no write.
                with contextlib.suppress(Exception):
                    n_written = len(_written(files.names(folder)))
                    logger.info(
                        "%s: %d of %d partitions are written after %d minutes",
                        path,
                        n_written,
                        n_partitions,
                        (time.monotonic() - started) // 60,
                    )

    thread = threading.Thread(target=say, name="prefect_ds write", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _written(names: Iterable[str]) -> set[str]:
    """Return the numbers of the partitions that have left a record."""
    return {name.split(".")[0] for name in names if name.endswith(".json")}


def computing_s(parts: Iterable[StagedPart], elapsed_s: float) -> float:
    """Return the share of a write's time that went into computing its partitions.

    Parameters
    ----------
    parts
        What was written; threads of the workers did it.
    elapsed_s
        The time that all took. Threads write at the same time, so their seconds of
        writing count as shares of it.
    """
    parts = list(parts)
    n_threads = len({part.writer for part in parts})
    if n_threads == 0:
        return 0.0
    writing_s = sum(part.write_s for part in parts) / n_threads
    return max(0.0, elapsed_s - writing_s)
