"""Workers of a local cluster that are lost at a moment that a test chooses."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from typing import Any

from distributed import LocalCluster
from distributed.core import Status
from distributed.diagnostics.plugin import SchedulerPlugin

ACTIONS = ("kill", "restart", "retire", "cut", "stop")


class WorkerDeath(SchedulerPlugin):
    """Loses one worker when a given share of the tasks of a graph is done.

    ``"kill"`` ends its process, ``"restart"`` asks its nanny to, ``"retire"`` moves its
    data away and closes it. ``"cut"`` breaks its connection to the scheduler while it is
    stopped, so that it goes on for a moment as if it were still in the cluster.
    ``"stop"`` stops it until the scheduler has heard nothing of it for too long.
    """

    name = "worker-death"

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.is_sprung = False
        self.n_computed = 0
        self._action = ""
        self._n_graphs_before = 0
        self._share = 0.0
        self._n_tasks_left: int | None = None
        self._chance = random.Random()
        cluster.scheduler.add_plugin(self)

    def arm(
        self, action: str, *, share: float, n_graphs_before: int, seed: int
    ) -> None:
        """Lose a worker when this share of a coming graph's tasks is done."""
        self.is_sprung = False
        self._action, self._share = action, share
        self._n_graphs_before, self._n_tasks_left = n_graphs_before, None
        self._chance = random.Random(seed)

    def disarm(self) -> None:
        """Lose no worker any more."""
        self._action = ""

    def update_graph(self, scheduler: Any, *, tasks: Any, **more: Any) -> None:
        """Begin to count when the graph comes."""
        if self._n_tasks_left is not None:
            return
        if self._n_graphs_before:
            self._n_graphs_before -= 1
            return
        self._n_tasks_left = int(self._share * len(tasks))

    def transition(
        self, key: Any, start: str, finish: str, *args: Any, **more: Any
    ) -> None:
        """Count what is done."""
        if finish != "memory":
            return
        self.n_computed += 1
        if not self._action or self._n_tasks_left is None:
            return
        self._n_tasks_left -= 1
        if self._n_tasks_left < 0:
            action, self._action = self._action, ""
            scheduler = self.cluster.scheduler
            addresses = sorted(scheduler.workers)
            if addresses:
                self.is_sprung = True
                self._lose(action, self._chance.choice(addresses))

    def _lose(self, action: str, address: str) -> None:
        scheduler = self.cluster.scheduler
        loop = scheduler.loop
        if action == "restart":
            loop.add_callback(scheduler.restart_workers, [address], stimulus_id="test")
        elif action == "retire":
            loop.add_callback(scheduler.retire_workers, workers=[address])
        elif action == "kill":
            os.kill(self._pid(address), signal.SIGKILL)
        elif action == "stop":
            os.kill(self._pid(address), signal.SIGSTOP)
            seconds = self._chance.uniform(0.1, 1.5)
            loop.call_later(seconds, loop.add_callback, self._miss, address)
        elif action == "cut":
            pid = self._pid(address)
            os.kill(pid, signal.SIGSTOP)
            loop.add_callback(scheduler.stream_comms[address].abort)
            seconds = self._chance.uniform(0.1, 1.5)
            loop.call_later(seconds, _go_on, pid)
        else:
            raise ValueError(action)

    async def _miss(self, address: str) -> None:
        """Let the scheduler find that it has not heard of the worker for too long."""
        scheduler = self.cluster.scheduler
        if address in scheduler.workers:
            scheduler.workers[address].last_seen = 0
            await scheduler.check_worker_ttl()

    def _pid(self, address: str) -> int:
        [pid] = [
            nanny.pid
            for nanny in self.cluster.workers.values()
            if nanny.worker_address == address
        ]
        return int(pid)


def wait_for_workers(cluster: LocalCluster, n_workers: int) -> None:
    """Wait for all workers but one; start new ones for those that ended for good."""
    deadline = time.monotonic() + 120
    while True:
        for name, nanny in list(cluster.workers.items()):
            if nanny.status in (Status.closed, Status.failed):
                cluster.worker_spec.pop(name, None)
        cluster.scale(n_workers)
        if len(cluster.scheduler.workers) >= n_workers - 1:
            return
        assert time.monotonic() < deadline, cluster.workers
        time.sleep(0.1)


def _go_on(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
