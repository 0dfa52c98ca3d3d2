"""What is different in a notebook: bars are widgets, and the log is quiet.

Used on the client.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    # Whoever is in a notebook has imported IPython.
    ipython = sys.modules.get("IPython")
    if ipython is None:
        return False
    shell = ipython.get_ipython()
    # A terminal's IPython has a shell as well, and no kernel.
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})


def has_widgets() -> bool:
    """Return whether a notebook can show bars.

    As text they need a terminal, which moves its cursor up.
    """
    return in_notebook() and importlib.util.find_spec("ipywidgets") is not None


def bar_class() -> Any:
    """Return tqdm's class of bars for this process."""
    if has_widgets():
        from tqdm.auto import tqdm as bar
    else:
        from tqdm import tqdm as bar
    return bar


def grow(bar: Any) -> None:
    """Add one to the total of a bar."""
    bar.total += 1
    container = getattr(bar, "container", None)
    if container is not None:
        # A widget took its total when it was made: words, bar, words.
        _, widget, _ = container.children
        widget.max = bar.total


@contextlib.contextmanager
def quiet_logs() -> Iterator[None]:
    """In a notebook, leave out the lines that Prefect logs for every task run.

    The bars say the same. Warnings, errors, what tasks log themselves and the table of
    the run stay. Whoever sets ``PREFECT__LOGGING__LEVEL`` gets every line.
    """
    if not in_notebook() or "PREFECT__LOGGING__LEVEL" in os.environ:
        yield
        return
    # A flow that a task runs leaves the filters to the flow around it.
    handlers = [
        handler
        for handler in logging.getLogger("prefect").handlers
        if _is_of_interest not in handler.filters
    ]
    for handler in handlers:
        handler.addFilter(_is_of_interest)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_is_of_interest)


def _is_of_interest(record: logging.LogRecord) -> bool:
    is_of_a_runner = record.name.endswith("TaskRunner")
    return not is_of_a_runner or record.levelno > logging.INFO
