"""Bars on the terminal while a flow runs: per task, how many results were loaded, computed, failed, and are left."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

from prefect_ds.report import Outcome


def wanted(progress: bool | None) -> bool:
    """Return whether to show progress: as asked, else if somebody looks at a terminal and tqdm is there.

    Raises
    ------
    ImportError
        Progress was asked for, and tqdm is not installed.
    """
    if progress is None and not sys.stderr.isatty():
        return False
    try:
        import tqdm  # noqa: F401
    except ImportError as error:
        if progress:
            raise ImportError('progress=True needs tqdm: pip install "prefect_ds[progress]"') from error
        return False
    return progress is not False


class Progress:
    """One bar per task of a run. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self._bars: dict[str, Any] = {}
        self._counts: dict[str, Counter[str]] = {}
        self._left = 0
        self._lock = threading.Condition()

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bars; log lines go above them."""
        from tqdm.contrib.logging import logging_redirect_tqdm

        with logging_redirect_tqdm(loggers=[logging.getLogger("prefect")]):
            try:
                yield
            finally:
                with self._lock:
                    for bar in self._bars.values():
                        bar.close()

    def submitted(self, task: str) -> None:
        """Count a run of the task that is now ahead."""
        from tqdm import tqdm

        with self._lock:
            if task not in self._bars:
                self._counts[task] = Counter()
                self._bars[task] = tqdm(desc=task, total=0, position=len(self._bars), unit="", dynamic_ncols=True)
            self._left += 1
            self._bars[task].total += 1
            self._bars[task].refresh()

    def done(self, task: str, outcome: Outcome) -> None:
        """Count a run of the task that is done."""
        with self._lock:
            bar, counts = self._bars.get(task), self._counts.get(task)
            if bar is None or counts is None:
                return
            self._left -= 1
            counts[outcome] += 1
            bar.set_postfix(dict(sorted(counts.items())), refresh=False)
            bar.update()
            self._lock.notify_all()

    def settle(self, timeout_s: float = 2.0) -> None:
        """Wait until what is done has been told: a cluster's events come later than its results."""
        with self._lock:
            self._lock.wait_for(lambda: self._left <= 0, timeout_s)
