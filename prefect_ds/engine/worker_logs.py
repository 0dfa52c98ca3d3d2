"""Brings the log lines of tasks on a Dask cluster to the user.

Each run has its own worker plugin and its own topic of Dask events, and its tasks carry
its name in Prefect's context, so two runs on one cluster do not hear one another. A
worker that shares the client's stdout sends nothing: its lines are there already.

:func:`forwarded` runs on the client, :class:`_Forwards` and :class:`_Handler` on the
workers, :func:`_forget` on the scheduler.
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
"""In the context of a task: the run whose client wants its lines.

A flow that the task itself runs inherits it."""

_WAIT_S = 10
"""How long a run waits, at its start and its end, for workers that do not answer.

The other workers do not wait for them."""

_here: dict[str, str | None] = {}
"""The runs whose client is this process.

The value is the outer run, if a task of that started this one."""

_logger = logging.getLogger("prefect.prefect_ds.engine.worker_logs")


@contextlib.contextmanager
def forwarded(client: Any) -> Iterator[None]:
    """Bring log lines of workers to the loggers here, for tasks submitted meanwhile.

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
        except Exception as error:  # noqa: BLE001 - the run itself shows if tasks can run
            _logger.warning("Some workers may not send their log lines: %r", error)
        with prefect.context({_RUN: run}):
            yield
    finally:
        # Else the scheduler has gone, and that is what the run is to end with.
        if client.status == "running":
            with contextlib.suppress(Exception):
                client.sync(
                    client.unregister_worker_plugin, run, callback_timeout=_WAIT_S
                )
            forget(client, run)
        # Last: a worker in this process that sent would hear itself.
        del _here[run]


def run_context() -> dict[str, str]:
    """Return the part of Prefect's context by which a task's lines find their run."""
    run = prefect.context.get(_RUN)
    if run is None:
        return {}
    return {_RUN: run}


def forget(client: Any, topic: str) -> None:
    """Delete the events of a topic, which Dask's scheduler would keep for its life."""
    with contextlib.suppress(Exception):
        client.sync(client.run_on_scheduler, _forget, topic, callback_timeout=_WAIT_S)


def _forget(topic: str, dask_scheduler: Any) -> None:
    dask_scheduler._broker._topics.pop(topic, None)


class _Forwards(WorkerPlugin):
    """Makes a worker send the lines of a run.

    Parameters
    ----------
    run
        The name of the run, the plugin and the topic.
    level
        The level of the client's logger; lines below it are not sent.
    output
        The stdout of the client, see :func:`_output`.
    """

    def __init__(
        self, run: str, level: int, output: tuple[str, int, int] | None
    ) -> None:
        self.name = run
        self.level = level
        self.output = output
        self._handler: _Handler | None = None

    def setup(self, worker: Worker) -> None:
        """Begin to send, unless the user sees the lines already."""
        logger = logging.getLogger("prefect")
        # A process may have several workers.
        is_sent = any(
            isinstance(handler, _Handler) and handler.run == self.name
            for handler in logger.handlers
        )
        is_seen = self.name in _here or (
            self.output is not None and self.output == _output()
        )
        if not is_sent and not is_seen:
            self._handler = _Handler(self.name, self.level, worker)
            logger.addHandler(self._handler)

    def teardown(self, worker: Worker) -> None:
        """Stop sending."""
        if self._handler is not None:
            logging.getLogger("prefect").removeHandler(self._handler)


class _Handler(logging.Handler):
    """Sends the lines of a run."""

    def __init__(self, run: str, level: int, worker: Worker) -> None:
        super().__init__(level)
        self.run = run
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> Any:
        """Return whether a line belongs to the run."""
        run = prefect.context.get(_RUN)
        if run is None:
            # A thread that a task has started is outside of Prefect's context. The run
            # of its lines is unknown, and they come twice rather than not at all. Lines
            # with the id of another run are not among them.
            return not hasattr(record, "flow_run_id") and super().filter(record)
        # A flow that a task runs on a cluster, from this worker.
        while run in _here:
            run = _here[run]
        return run == self.run and super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line."""
        try:
            self._worker.log_event(self.run, _as_text(record))
        except Exception:  # noqa: BLE001 - as in logging's own handlers
            self.handleError(record)


def _as_text(record: logging.LogRecord) -> str:
    """Return a record as JSON.

    Numbers and text stay as they are; of other objects a line shows the text.
    """
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
            name: value if isinstance(value, _PLAIN) else str(value)
            for name, value in fields.items()
        }
    )


_PLAIN = (str, int, float, type(None))


def _output() -> tuple[str, int, int] | None:
    """Return an identity of this process's stdout, to which Prefect's lines go.

    Two processes with the same write to the same place. ``None``: it is not read.
    """
    try:
        stdout = os.fstat(1)
    except OSError:
        return None
    if os.path.samestat(stdout, os.stat(os.devnull)):
        return None
    return socket.gethostname(), stdout.st_dev, stdout.st_ino
