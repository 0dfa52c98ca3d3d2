"""Whether the files that a task read by their paths are still those of its inputs.

Nothing of ours is between a path and its reader: another run may have replaced the
file, or the task may have changed it. Used where the task has run.
"""

from __future__ import annotations

from collections.abc import Iterable

from prefect.engine.result import Result

from prefect_ds.checkpoints.lazy_result import LazyResult
from prefect_ds.checkpoints.reference import references_in


def confirm_inputs(inputs: Iterable[Result]) -> None:
    """Raise an error if a task may have read other files than those of its inputs.

    Raises
    ------
    CheckpointNotFoundError
        A file was replaced meanwhile.
    DamagedCheckpointError
        A file was changed meanwhile; it was set aside.
    """
    # There is nothing to confirm for data: they were checked as they were loaded.
    for result in inputs:
        if isinstance(result, LazyResult):
            for reference in references_in(result.raw):
                reference.confirm()
