"""The looks for checkpoints that the client takes before it submits a task run.

Runs on the client. A look at an object store takes longer than a submission: those for
the mapped children of a task go side by side, in threads.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeAlias

import prefect
from prefect.core import Task
from prefect.engine.result import Result

from prefect_ds.checkpoints.identity import TaskIdentity
from prefect_ds.engine.planned_looks import N_LOOKS
from prefect_ds.engine.task_checkpoint import Hit, TaskCheckpoint, run_name
from prefect_ds.engine.task_handler import handler_of
from prefect_ds.engine.template_names import TemplateNames
from prefect_ds.errors import PrefectDSError
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.local_files import LocalFiles
from prefect_ds.storage.lookup import Found
from prefect_ds.storage.retries import with_retries

Look: TypeAlias = Future[Found | None]
"""What lies at a path, once an object store has answered."""


class FoundHit(NamedTuple):
    """A checkpoint that counts."""

    checkpoint: TaskCheckpoint
    hit: Hit


class FoldersNotShared(BaseException):
    """Hits of the client lie in folders that the workers do not share with it.

    Nothing was submitted yet, so the run begins again and leaves them to the workers.
    Prefect's steps let a BaseException pass.
    """

    def __init__(self, folders: Collection[str]) -> None:
        super().__init__(f"not the workers' own: {', '.join(folders)}")
        self.folders = frozenset(folders)


class ClientLooks:
    """Looks for the checkpoints of one run of a flow on the client.

    Parameters
    ----------
    not_shared
        Folders in which only the workers look.
    """

    def __init__(self, not_shared: Iterable[str] = ()) -> None:
        self.not_shared = frozenset(not_shared)
        self.checkpointing = prefect.context.config.flows.checkpointing
        """Prefect's setting of that name, which a path may have in a field."""
        self._blind = set(not_shared)
        self._roots: set[str] = set()
        """The folders above all paths of hits."""
        self._handlers: dict[Task, ResultHandler] = {}
        self._threads: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Give up the looks that have not begun."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def handler(self, task: Task, flow_result: Result | None) -> ResultHandler:
        """Return the handler of a task's result, a copy that is this run's own.

        The user may change the handler before the results of this run are loaded.
        """
        if task not in self._handlers:
            handler = handler_of(task, flow_result)
            assert handler is not None
            self._handlers[task] = copy.copy(handler)
        return self._handlers[task]

    def find(
        self,
        task: Task,
        handler: ResultHandler,
        inputs: Mapping[str, Result],
        *,
        common: TaskIdentity | None,
        refresh: bool,
        is_needed: bool,
        look: Look | None,
        waits: bool,
    ) -> FoundHit | Look | None:
        """Return the hit of the task run that Prefect's context describes.

        ``None`` where only a worker can say, or the task's code has to run.

        Parameters
        ----------
        task, handler, inputs
            The task, the handler of its result and its inputs.
        common, refresh, is_needed
            As for :meth:`TaskCheckpoint.of_run`.
        look
            The look for the checkpoint, if it was begun.
        waits
            Whether other children come, whose looks go side by side with this one: a
            look that was begun comes back then.
        """
        try:
            place = None
            at_path: Look | Found | None = look
            if at_path is None:
                names = TemplateNames(inputs, task)
                place = handler.place(names, task=run_name(task))
                if is_needed:
                    at_path = self._begin(handler, place.path)
                else:  # Nothing lies there, or has to.
                    at_path = handler.look_up(place.path)
            if isinstance(at_path, Future):
                if waits and look is None:
                    return at_path
                at_path = at_path.result()
            # Only now: no input has to be digested here and on the worker again.
            if at_path is None or (at_path.manifest or at_path.freed) is None:
                return None
            checkpoint = TaskCheckpoint.of_run(
                handler,
                task,
                inputs,
                common,
                place=place,
                refresh=refresh,
                is_needed=is_needed,
            )
            hit = checkpoint.find(at_path)
        except Exception as error:  # noqa: BLE001
            # The worker meets it again, and says so.
            _logger.debug("%r is looked up by a worker: %r", task.name, error)
            return None
        if not isinstance(hit, Hit):
            return None
        self._roots.add(_root(handler))
        return FoundHit(checkpoint, hit)

    def _begin(self, handler: ResultHandler, path: str) -> Look | Found | None:
        """Return what lies at the path; from an object store, once it has answered.

        ``None`` where only a worker can say.
        """
        root = _root(handler)
        # Workers read side by side what has to be read to be compared.
        if root in self._blind or handler.check == "checksum":
            return None
        try:
            is_near = isinstance(handler.store.files, LocalFiles)
        except Exception as error:  # noqa: BLE001
            # The driver of a store may be missing here.
            self._cannot_see(root, error)
            return None
        if is_near:
            return self._look(handler, path, root)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(N_LOOKS, "prefect_ds-looks")
        return self._threads.submit(self._look, handler, path, root)

    def _look(self, handler: ResultHandler, path: str, root: str) -> Found | None:
        """Return what lies at the path; ``None`` where only a worker can say."""
        if root in self._blind:
            return None
        files = handler.store.files
        try:
            # Most tasks of a first run have nothing there, which this tells fastest.
            if isinstance(files, LocalFiles) and not files.status(path, handler.kind):
                return None
            # A person's file is read by a worker.
            return with_retries("read", path, handler.look_at, path)
        except Exception as error:  # noqa: BLE001 - the worker meets it again
            is_of_store = isinstance(error, OSError) or not isinstance(
                error, PrefectDSError
            )
            if is_of_store and not isinstance(error, FileNotFoundError):
                self._cannot_see(root, error)
            return None

    def _cannot_see(self, root: str, error: Exception) -> None:
        if root in self._blind:
            return
        self._blind.add(root)
        _logger.warning(
            "Workers look for the checkpoints in %s, which this machine cannot see: %s",
            root or "the working folder",
            error,
        )

    def leave_to_workers(self, folders: Collection[str]) -> None:
        """Leave folders to the workers, which do not share them with this machine.

        Raises
        ------
        FoldersNotShared
            Checkpoints were taken from there.
        """
        self._blind.update(folders)
        if not self._roots.isdisjoint(folders):
            raise FoldersNotShared(self._roots.intersection(folders))


def _root(handler: ResultHandler) -> str:
    template = handler.template
    return "" if template is None else template.root


_logger = logging.getLogger("prefect.prefect_ds.engine.client_looks")
