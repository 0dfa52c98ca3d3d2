"""A user's frame as the scheduler that computes it will run it.

Dask decides how to shuffle when it lowers a frame: in memory and between workers where
a cluster computes, through files in a temporary folder where this process does. It goes
by the client that it finds at that moment. So the scheduler is asked for first, and
nothing of a frame (its partitions, divisions, graph) is looked at before.
"""

from __future__ import annotations

import functools
import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import dask
import dask.dataframe as dd
from dask.delayed import Delayed
from distributed import Client

from prefect_ds.dask._internals import (
    DiskShuffle,
    Expr,
    ShuffleBase,
    TaskShuffle,
    get_scheduler,
    new_collection,
)
from prefect_ds.errors import ResultTypeError

logger = logging.getLogger("prefect.prefect_ds.dask")

_METHOD = "dataframe.shuffle.method"
"""Dask's setting. Without it, Dask takes ``p2p`` if it has a client, or ``disk``."""


@dataclass(frozen=True, slots=True)
class Lowered:
    """A frame with all of Dask's decisions made, and the scheduler that computes it."""

    frame: dd.DataFrame
    scheduler: str | None
    """For ``compute``: ``"threads"``, or ``None`` for the one that Dask finds here."""
    client: Client | None
    """Of the cluster that computes; ``None`` where this process does."""

    def compute(self, *collections: Any) -> tuple[Any, ...]:
        """Return what several collections hold, computed by the same scheduler."""
        return tuple(dask.compute(*collections, scheduler=self.scheduler))


def lower(frame: dd.DataFrame, path: str, scheduler: str | None = None) -> Lowered:
    """Return the frame as Dask will compute it here.

    Its shuffles are decided for the scheduler that computes it.

    Parameters
    ----------
    frame
        What the user made.
    path
        Of the checkpoint, for the log and errors.
    scheduler
        ``"threads"`` to compute in this process; ``None``: where Dask would.

    Raises
    ------
    ResultTypeError
        A step keeps rows in a temporary folder of one worker, and cannot be replaced.
    """
    # First of all: on a worker, this makes the client that Dask then finds.
    client = _client_of(get_scheduler(scheduler=scheduler, collections=[frame]))
    # A LocalDaskExecutor forks processes, which inherit a client that answers nothing.
    if client is not None and is_of_another_process(client):
        client, scheduler = None, "threads"
    # Not fused: a key and a judgement are made of every step. Dask fuses later.
    if client is None:
        expr = _without_peers(frame.expr)
        lowered = expr.optimize(fuse=False)
    else:
        # The user's client may not be the default one.
        with client.as_current():
            lowered = frame.expr.optimize(fuse=False)
        lowered = _without_disks(lowered, path)
    return Lowered(cast(dd.DataFrame, new_collection(lowered)), scheduler, client)


def shuffles(frame: dd.DataFrame) -> list[str]:
    """Return the names of the shuffles in a frame, as Dask's classes are called."""
    return [
        type(node).__name__
        for node in frame.expr.walk()
        if isinstance(node, ShuffleBase) or type(node).__name__.startswith("HashJoin")
    ]


def is_of_another_process(client: Client) -> bool:
    """Return whether this process was forked from the client's.

    It has none of the client's connections then.
    """
    # Dask puts the number of the process into a client's id, `Client-` and a UUID that
    # has 14 bits for it.
    made_in = uuid.UUID(client.id[-36:]).clock_seq
    return made_in != os.getpid() & 0x3FFF


def _client_of(get: Any) -> Client | None:
    """Return the client whose cluster a scheduler function of Dask's computes on."""
    # A cluster's function is the client's method `get`.
    owner = getattr(get, "__self__", None)
    if isinstance(owner, Client):
        return owner
    return None


def _without_peers(expr: Expr) -> Expr:
    """Return an expression whose shuffles need no cluster.

    For a process that has a client and computes the frame without it.
    """
    # The user has chosen.
    if dask.config.get(_METHOD, None) is not None:
        return expr
    # Without a client Dask decides so by itself.
    try:
        Client.current()
    except ValueError:
        return expr
    return _with_method(expr, "disk", {})


def _with_method(expr: Expr, method: str, done: dict[str, Expr]) -> Expr:
    """Return an expression in which every shuffle that has no method gets one."""
    # Many ways may lead to one step: 2**n in n merges of a frame with itself.
    if expr._name in done:
        return done[expr._name]
    operands = []
    for operand in expr.operands:
        if isinstance(operand, Expr):
            operand = _with_method(operand, method, done)
        operands.append(operand)
    for position, parameter in enumerate(type(expr)._parameters):
        is_method = parameter == "shuffle_method" or (
            parameter == "method" and isinstance(expr, ShuffleBase)
        )
        if is_method and operands[position] is None:
            operands[position] = method
    # The same object where nothing changed, so that its name stays.
    is_same = all(new is old for new, old in zip(operands, expr.operands, strict=True))
    done[expr._name] = expr if is_same else type(expr)(*operands)
    return done[expr._name]


def _without_disks(expr: Expr, path: str) -> Expr:
    """Return an expression in which no step keeps rows on the disk of one worker."""
    shuffle = next(expr.find_operations(DiskShuffle), None)
    if shuffle is not None:
        logger.warning(
            "%s: its frame is to be shuffled by the method 'disk', through a temporary "
            "folder of one worker. On a cluster this loses rows when a worker dies or "
            "has a disk of its own, so it is shuffled by 'tasks'. "
            "To choose: dask.config.set({'%s': 'p2p'}) or 'tasks'",
            path,
            _METHOD,
        )
    # One at a time: a shuffle may be an input of another.
    while shuffle is not None:
        expr = cast(Expr, expr.substitute(shuffle, TaskShuffle(*shuffle.operands)))
        shuffle = next(expr.find_operations(DiskShuffle), None)
    for task in _ready_made_tasks(expr):
        if _is_on_disk(task):
            raise ResultTypeError(
                f"the frame for {path!r} has a step that keeps rows in a temporary "
                "folder of one worker (partd), which other workers cannot read: "
                "ask for shuffle='tasks' where the frame, bag or graph is made"
            )
    return expr


def _ready_made_tasks(expr: Expr) -> Iterator[Any]:
    """Yield the tasks that an expression brings along.

    Those of a bag, of Delayed objects, of persisted data.
    """
    for node in expr.walk():
        for operand in node.operands:
            if isinstance(operand, Delayed):
                yield from dict(operand.__dask_graph__()).values()
            elif isinstance(operand, Mapping):
                yield from operand.values()


def _is_on_disk(task: Any) -> bool:
    """Return whether a task keeps rows in a temporary folder, which partd does."""
    # A task of an older graph: a tuple of a function and its arguments.
    if isinstance(task, tuple):
        return any(map(_is_on_disk, task))
    function = getattr(task, "func", task)
    if isinstance(function, functools.partial):
        return any(map(_is_on_disk, (function.func, *function.args)))
    # Dask's own class that opens a folder of partd's.
    if type(function).__name__ == "maybe_buffered_partd":
        return True
    module = str(getattr(function, "__module__", ""))
    return module.partition(".")[0] == "partd"
