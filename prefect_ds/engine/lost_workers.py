"""Says which workers a Dask cluster loses during a run, and the tasks that run again.

Runs on the client, which hears it from the scheduler's events.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import dask
from distributed import LocalCluster
from distributed.scheduler import KilledWorker

from prefect_ds.checkpoints.reference import size

logger = logging.getLogger("prefect.prefect_ds.engine.lost_workers")

_MAX_NAMED = 5


class Run(NamedTuple):
    """The run of Prefect's task behind a task of Dask's."""

    name: str
    """The name of the task, with the index of a mapped child."""
    slug: str
    is_counted: bool
    """It is more than the preparation of mapped children."""


class LostWorkers:
    """The workers that one run has lost."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        """By Dask's keys."""
        self._n_lost: Counter[Any] = Counter()
        self._limits: dict[str, int] = {}
        self._reasons: dict[str, str] = {}
        self._scheduler: Any = None
        """That of a cluster on this machine; others may get workers hours later."""

    @contextlib.contextmanager
    def watched(self, client: Any) -> Iterator[None]:
        """Log a line for every worker that the cluster loses meanwhile.

        Parameters
        ----------
        client
            Dask's client of the cluster.
        """
        # All: some versions of Dask give only the first few by default.
        workers = client.scheduler_info(n_workers=-1)["workers"]
        for address, worker in workers.items():
            self._limits[address] = worker["memory_limit"] or 0
        # A wait that the user has chosen stays as it is.
        chosen = dask.config.get("distributed.scheduler.no-workers-timeout", None)
        if isinstance(client.cluster, LocalCluster) and chosen is None:
            self._scheduler = client.cluster.scheduler
        client.subscribe_topic(_MEMORY_TOPIC, self._note_memory)
        client.subscribe_topic(_ALL_TOPIC, self._note_change)
        try:
            yield
        finally:
            # Where the connection is gone, so are the subscriptions.
            if client.status == "running":
                client.unsubscribe_topic(_MEMORY_TOPIC)
                client.unsubscribe_topic(_ALL_TOPIC)

    def _note_memory(self, event: tuple[float, Any]) -> None:
        _, stopped = event
        limit = self._limits.get(stopped["worker"])
        if limit is None and len(set(self._limits.values())) == 1:
            # One that joined later, of a cluster whose workers are alike.
            (limit,) = set(self._limits.values())
        used = size(stopped["rss"])
        reason = f"it used {used} of memory and was stopped"
        if limit:
            percent = 100 * stopped["rss"] / limit
            reason = f"it was stopped at {percent:.0f} % of its {size(limit)} of memory"
        self._reasons[stopped["worker"]] = reason

    def _note_change(self, event: tuple[float, Any]) -> None:
        _, change = event
        # Anybody may log to this topic, in any form.
        if not isinstance(change, Mapping):
            return
        if change.get("action") in ("add-worker", "remove-worker"):
            self._limit_the_wait()
        if change.get("action") != "remove-worker":
            return
        worker = change["worker"]
        reason = self._reasons.setdefault(worker, _reason(change))
        processing = change["processing-tasks"]
        # As Dask counts: a task is given up after so many unexpected losses.
        if not change["expected"]:
            self._n_lost.update(processing)
        allowed = dask.config.get("distributed.scheduler.allowed-failures")
        given_another = [key for key in processing if self._n_lost[key] <= allowed]
        again = self._again([*given_another, *change["lost-computed-tasks"]])
        level = logging.WARNING
        if change["expected"]:
            # An adaptive cluster closes workers that have nothing to do.
            level = logging.INFO
        logger.log(level, "Worker %s is gone: %s%s", worker, reason, again)

    def _limit_the_wait(self) -> None:
        """Let the scheduler give up what waits, while there is no worker at all.

        Dask does not replace a worker whose process ends while it starts, as happens
        where tasks kill their workers at once: a run would wait for ever. With any
        worker there is no limit, since Dask's limit does not count workers that are
        short of memory.
        """
        if self._scheduler is not None:
            timeout_s: int | None = NO_WORKERS_S
            if self._scheduler.workers:
                timeout_s = None
            self._scheduler.no_workers_timeout = timeout_s

    def _again(self, keys: Iterable[Any]) -> str:
        runs = [self.runs[key] for key in keys if key in self.runs]
        names = sorted(run.name for run in runs if run.is_counted)
        if not names:
            return ""
        named = ", ".join(map(repr, names[:_MAX_NAMED]))
        if len(names) > _MAX_NAMED:
            named += f" and {len(names) - _MAX_NAMED} more"
        return f"; Dask runs again: {named}"

    def words(self, key: Any, error: BaseException) -> str:
        """Return why Dask gave up a task of its own.

        Parameters
        ----------
        key
            The task's key.
        error
            What Dask says of it.
        """
        if type(error).__name__ == "NoWorkerError":
            # By its name: the oldest Dask that is supported may not have it.
            return (
                "no worker was left to run it, and none came: look into the lines "
                "above for the workers that are gone, then run again"
            )
        if not isinstance(error, KilledWorker):
            return f"Dask returned no result of it: {error!r}"
        worker = error.last_worker
        reason = self._reasons.get(worker.address, _UNKNOWN)
        n_lost = error.allowed_failures + 1
        workers = "1 worker was" if n_lost == 1 else f"{n_lost} workers were"
        what = "it" if key in self.runs else f"its {_part(key)}"
        advice = "look into the worker's log"
        if "of memory" in reason:
            advice = "give the workers more memory, or cut the work into smaller pieces"
        return (
            f"{workers} lost while computing {what}. The last was {worker.address}: "
            f"{reason}; {advice}, then run again"
        )


NO_WORKERS_S = 300
"""Seconds; a process takes half a minute to start on a machine with much to do."""

_ALL_TOPIC = "all"
"""Dask's topic of all that happens to a cluster: workers come and go, for one."""
_MEMORY_TOPIC = "worker-restart-memory"
"""Dask's topic of the workers that a nanny stops for their memory."""

_UNKNOWN = "its connection broke: its process ended, or the network did"


def _reason(change: Mapping[str, Any]) -> str:
    """Return why the scheduler took a worker off its list."""
    stimulus = str(change["stimulus_id"])
    if change["expected"]:
        return "it was asked to close"
    # The scheduler names there what made it act: "check-worker-ttl-1712345678.9".
    if "ttl" in stimulus:
        ttl = dask.config.get("distributed.scheduler.worker-ttl")
        return f"it did not answer for {ttl}"
    return _UNKNOWN


def _part(key: Any) -> str:
    """Return a task of Dask's own in words."""
    # Keys of a collection's parts are tuples: ("read_csv-1a2b", 7).
    if isinstance(key, tuple) and len(key) > 1 and isinstance(key[1], int):
        return f"partition {key[1]} ({key[0]})"
    return f"Dask task {key!r}"
