"""The choice of a run's executor, by that of the user. Runs on the client."""

from __future__ import annotations

from collections.abc import Iterable

from prefect.core import Flow, Task
from prefect.executors import DaskExecutor, Executor, LocalDaskExecutor, LocalExecutor

from prefect_ds.engine.client_hits import ClientHits
from prefect_ds.engine.progress import NoProgress, Progress
from prefect_ds.engine.run_executor import (
    DelayedExecutor,
    InProcessExecutor,
    RunExecutor,
)


def for_run(
    executor: Executor,
    flow: Flow,
    *,
    has_our_tasks: bool = True,
    keep: set[Task] | None = None,
    progress: Progress | NoProgress | None = None,
    not_shared: Iterable[str] = (),
) -> RunExecutor:
    """Return the executor for one run of a flow.

    Parameters
    ----------
    executor
        The user's.
    flow
        The flow that is run.
    has_our_tasks
        Whether :class:`prefect_ds.DSTaskRunner` runs the tasks.
    keep
        The tasks whose results stay to the end, where others are let go; ``None``: all
        stay.
    progress
        Shows the progress; ``None``: nothing does.
    not_shared
        Folders whose checkpoints are left to the workers.
    """
    kind: type[RunExecutor] = RunExecutor
    if isinstance(executor, DaskExecutor):
        # Imported here, as it brings distributed along.
        from prefect_ds.engine.cluster_executor import ClusterExecutor

        kind = ClusterExecutor
    elif isinstance(executor, LocalDaskExecutor):
        kind = DelayedExecutor
    elif isinstance(executor, LocalExecutor):
        kind = InProcessExecutor
    # A LocalExecutor has no way to spare, and of a user's own nothing is known.
    hits = None
    if has_our_tasks and isinstance(executor, DaskExecutor | LocalDaskExecutor):
        hits = ClientHits(not_shared)
    progress = progress or NoProgress()
    return kind(executor, flow, has_our_tasks, keep, progress, hits)
