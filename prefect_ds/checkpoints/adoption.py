"""Warnings about files that a person put at a path."""

from __future__ import annotations

import logging
from typing import Any

from prefect_ds.storage.layout import SIDE_FOLDER, parent

logger = logging.getLogger("prefect.prefect_ds.checkpoints.adoption")


def warn_of_doubts(path: str, frame: Any, n_rows: int, n_columns: int) -> None:
    """Warn if an adopted file gives no rows, or looks like another file type.

    An error page saved as ``.csv`` parses without an error.
    """
    doubt = ""
    if n_rows == 0:
        doubt = "it gives 0 rows"
    elif n_columns == 1:
        # `<!DOCTYPE html>` and `{"error": "no access"}` parse as csv of one column.
        label = str(next(iter(getattr(frame, "columns", ())), ""))
        if label.lstrip()[:1] in ("<", "{", "["):
            doubt = (
                f"its one column is named {label[:40]!r}, which looks like HTML or JSON"
            )
    if doubt:
        logger.warning(
            "%s was put there by hand, and %s: check that it is the right file. "
            "It counts as the task's result; remove it to let the task run",
            path,
            doubt,
        )


def warn_of_lost_manifests(path: str) -> None:
    """Warn that a folder with data has no side folder."""
    folder = parent(path)
    logger.warning(
        "%s has no %s, so %s counts as put there by hand: its types are guessed, its "
        "inputs are not compared. If these files are checkpoints that were copied or "
        "unpacked here, stop the run, and bring their %s along: cp -r, or rsync "
        "without --exclude='.*'",
        folder,
        SIDE_FOLDER,
        path,
        SIDE_FOLDER,
    )
