"""Brings what the tasks of a run log on the workers of a Dask cluster to the user.

Each run has a worker plugin and a topic of Dask events of its own, and its tasks carry
its name in Prefect's context: runs on one cluster do not hear one another. A worker
whose stdout is the client's sends nothing, its lines are there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import prefect
from distributed import Worker, WorkerPlugin

_RUN = "prefect_ds_run"
"""In the context of a task: the run whose client wants its lines; flows that the task itself runs inherit it."""

_WAIT_S = 10
"""How long a run waits, at its start and its end, for workers that do not answer. The others do not wait for them."""

_here: dict[str, str | None] = {}
"""The runs whose client this process is, each with the run of the task that started it, if one did."""

_logger = logging.getLogger("prefect.prefect_ds.engine.worker_logs")


@contextlib.contextmanager
def forwarded(client: Any) -> Iterator[None]:
    """Let Prefect's loggers here handle what they handle on the workers, for the runs of tasks submitted meanwhile.

    Parameters
    ----------
    client
        Dask's client of the cluster. Workers that join it later are heard as well.
    """
    run = f"prefect_ds-lines-{uuid.uuid4().hex}"

    def handle(event: tuple[float, str]) -> None:
        record = logging.makeLogRecord(json.loads(event[1]))
        with prefect.context({_RUN: run}):
            # Without another look at the logger's level.
            logging.getLogger(record.name).handle(record)

    _here[run] = prefect.context.get(_RUN)
    try:
        client.subscribe_topic(run, handle)
        plugin = _Forwards(
            run, logging.getLogger("prefect").getEffectiveLevel(), _output()
        )
        try:
            client.sync(client.register_plugin, plugin, callback_timeout=_WAIT_S)
        except Exception as error:  # noqa: BLE001 - lines may be missing; whether tasks can run, the run itself shows
            _logger.warning("Some workers may not send their log lines: %r", error)
        with prefect.context({_RUN: run}):
            yield
    finally:
        if (
            client.status == "running"
        ):  # else the scheduler has gone, and that is what the run is to end with
            with contextlib.suppress(Exception):
                client.sync(
                    client.unregister_worker_plugin, run, callback_timeout=_WAIT_S
                )
            forget(client, run)
        del _here[run]  # Last: a worker in this process that sent would hear itself.


def forget(client: Any, topic: str) -> None:
    """Let go of the events of a topic, which Dask's scheduler would keep as long as it lives."""
    with contextlib.suppress(Exception):
        client.sync(client.run_on_scheduler, _forget, topic, callback_timeout=_WAIT_S)


def _forget(topic: str, dask_scheduler: Any) -> None:
    dask_scheduler._broker._topics.pop(topic, None)


class _Forwards(WorkerPlugin):
    """Has a worker send the lines of a run.

    Parameters
    ----------
    run
        Names the run, the plugin and the topic.
    level
        Of the client's logger: what is below it is not sent.
    output
        The client's, see :func:`_output`.
    """

    def __init__(
        self, run: str, level: int, output: tuple[str, int, int] | None
    ) -> None:
        self.name = run
        self.level = level
        self.output = output
        self._handler: _Handler | None = None

    def setup(self, worker: Worker) -> None:
        """Begin to send, unless the lines come to the user already."""
        logger = logging.getLogger("prefect")
        # A process may have several workers.
        is_sent = any(
            isinstance(each, _Handler) and each.run == self.name
            for each in logger.handlers
        )
        is_seen = self.name in _here or (
            self.output is not None and self.output == _output()
        )
        if not is_sent and not is_seen:
            self._handler = _Handler(self.name, self.level, worker)
            logger.addHandler(self._handler)

    def teardown(self, worker: Worker) -> None:
        """End it."""
        if self._handler is not None:
            logging.getLogger("prefect").removeHandler(self._handler)


class _Handler(logging.Handler):
    """Sends the lines of a run."""

    def __init__(self, run: str, level: int, worker: Worker) -> None:
        super().__init__(level)
        self.run = run
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> Any:
        """Return whether it is the run's."""
        run = prefect.context.get(_RUN)
        if run is None:
            # A thread that a task has started is outside of Prefect's context: whose
            # its lines are, nobody knows, and they come twice rather than not at all.
            # What has another run's id is not one of them.
            return not hasattr(record, "flow_run_id") and super().filter(record)
        while run in _here:  # a flow that a task runs on a cluster, from this worker
            run = _here[run]
        return run == self.run and super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line."""
        try:
            self._worker.log_event(self.run, _as_text(record))
        except Exception:  # noqa: BLE001 - as in logging's own handlers
            self.handleError(record)


def _as_text(record: logging.LogRecord) -> str:
    """Return a record as JSON: numbers and text stay what they are, of all else the text is what a line shows."""
    fields = {
        **vars(record),
        "msg": record.getMessage(),
        "args": None,
        "exc_info": None,
    }
    if record.exc_info and not record.exc_text:
        fields["exc_text"] = logging.Formatter().formatException(record.exc_info)
    return json.dumps(
        {
            name: each if isinstance(each, _PLAIN) else str(each)
            for name, each in fields.items()
        }
    )


_PLAIN = (str, int, float, type(None))


def _output() -> tuple[str, int, int] | None:
    """Return what tells this process's stdout, where Prefect's lines go, from all others; ``None``: nobody reads it."""
    try:
        found = os.fstat(1)
    except OSError:
        return None
    if os.path.samestat(found, os.stat(os.devnull)):
        return None
    return socket.gethostname(), found.st_dev, found.st_ino
