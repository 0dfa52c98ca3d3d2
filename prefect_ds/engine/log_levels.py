"""The level of log lines that every user is to see. On the client and on workers."""

from __future__ import annotations

import logging

import prefect


def important_level(logger: logging.Logger) -> int:
    """Return INFO, or WARNING where Prefect's own level lets no INFO through.

    A user who sets ``PREFECT__LOGGING__LEVEL=WARNING`` to avoid two lines for every
    task still sees the table of a run, and which checkpoints are stale.
    """
    # On a worker the context has the level of the client, whom the line is for.
    level = prefect.context.config.logging.level
    is_raised = logging.getLevelNamesMapping().get(str(level), 0) > logging.INFO
    if is_raised or not logger.isEnabledFor(logging.INFO):
        return logging.WARNING
    return logging.INFO
