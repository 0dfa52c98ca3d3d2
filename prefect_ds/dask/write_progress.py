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

from prefect_ds.checkpoints import write_steps
from prefect_ds.dask.parts import StagedPart
from prefect_ds.storage.filesystem import FileSystem
from prefect_ds.storage.running_writes import n_records

logger = logging.getLogger("prefect.prefect_ds.dask")

_EVERY_S = 60.0
"""Seconds between two lines in the log."""

_LOOKS_EVERY_S = 1.0
"""Seconds between two looks at a disk on behalf of listeners."""

_STORE_LOOKS_EVERY_S = 15.0
"""The same in an object store, where a look is a request."""


@contextlib.contextmanager
def watched(
    path: str, files: FileSystem, folder: str, n_partitions: int, n_taken_over: int
) -> Iterator[None]:
    """Log once a minute how far a write is, and tell the listeners more often.

    Parameters
    ----------
    path
        Where the checkpoint goes.
    files
        The file system of the staging folder.
    folder
        The staging folder, in which every partition leaves a record.
    n_partitions
        How many the frame has.
    n_taken_over
        How many of them a stopped write had finished.
    """
    over = threading.Event()
    # Prefect's context belongs to one thread, and log lines go to the run that it
    # names: the thread below is given a copy.
    context = dict(prefect.context)
    listeners = write_steps.listeners()
    step = write_steps.WriteStep(
        str(context.get("task_slug", "")), path, 0, n_taken_over, n_partitions
    )

    def tell(step: write_steps.WriteStep) -> None:
        for listener in listeners:
            listener(step)

    def watch() -> None:
        started = time.monotonic()
        next_line_s = started + _EVERY_S
        while not over.wait(_pause_s(files, bool(listeners))):
            # A listing that fails spoils no write.
            with contextlib.suppress(Exception):
                now = step._replace(n_written=n_records(files, folder))
                tell(now)
                if time.monotonic() >= next_line_s:
                    next_line_s += _EVERY_S
                    with prefect.context(context):
                        _say(now, (time.monotonic() - started) // 60)

    # A daemon: it must not keep a worker alive that is being closed.
    thread = threading.Thread(target=watch, name="prefect_ds write", daemon=True)
    with contextlib.suppress(Exception):
        tell(step)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(Exception):
            tell(step._replace(is_over=True))


def _pause_s(files: FileSystem, is_heard: bool) -> float:
    """Return the seconds until the next look."""
    # Without listeners only the log needs a look.
    if not is_heard:
        return _EVERY_S
    # Only object stores cannot rename folders.
    is_store = not files.renames_folders
    looks_every_s = _STORE_LOOKS_EVERY_S if is_store else _LOOKS_EVERY_S
    return min(_EVERY_S, looks_every_s)


def _say(step: write_steps.WriteStep, minutes: float) -> None:
    n_done = step.n_written + step.n_taken_over
    taken_over = ""
    if step.n_taken_over:
        taken_over = f", {step.n_taken_over} of them by a stopped write"
    logger.info(
        "%s: %d of %d partitions are written after %d minutes%s",
        step.path,
        n_done,
        step.n_partitions,
        minutes,
        taken_over,
    )


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
