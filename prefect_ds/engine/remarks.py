"""Remarks on checkpoints that count, for the log: inputs that were not compared."""

from __future__ import annotations

import functools
from typing import Any

import prefect
from prefect.core import Task

from prefect_ds.checkpoints.reference import CheckpointReference
from prefect_ds.engine import context

_logger = prefect.utilities.logging.get_logger("DSTaskRunner")


def warn_of_remarks(task: Task, value: Any) -> None:
    """Log the remarks on a checkpoint, once for all runs of a task in this process."""
    if isinstance(value, CheckpointReference):
        run = str(context.current().get("flow_run_id", ""))
        for remark in value.remarks:
            _warn_once(run, task.name, remark)


# The cache is what makes it once: a second call with the same words logs nothing.
@functools.lru_cache(maxsize=1024)
def _warn_once(run: str, task: str, remark: str) -> None:
    _logger.warning("Task %r: %s", task, with_advice(remark))


def with_advice(remark: str) -> str:
    """Return a remark for the log, with what to do about an input without a digest."""
    if "was not compared" not in remark:
        return remark
    return (
        f"{remark}: it is taken to be the same every time; if it does not shape the "
        "result, name it in the handler's ignore"
    )
