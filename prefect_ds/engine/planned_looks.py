"""Looks at the checkpoints of a flow's tasks before a run.

Used on the client, by the plan of a flow. Every look asks what the task run would ask,
as far as its inputs are known; it reads manifests, and neither data nor user code.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

from prefect.core import Task
from prefect.engine.result import Result

from prefect_ds.checkpoints.identity import TaskIdentity
from prefect_ds.checkpoints.lazy_result import LazyResult, PlainResult
from prefect_ds.checkpoints.reference import CheckpointReference, has_references
from prefect_ds.engine.planned_names import not_known, run_named
from prefect_ds.engine.planned_values import Known, Planned, Skipped
from prefect_ds.engine.task_checkpoint import REFRESHED, TaskCheckpoint, freed_and
from prefect_ds.engine.template_names import TemplateNames
from prefect_ds.errors import ManifestError, TemplateError
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.local_files import LocalFiles
from prefect_ds.storage.lookup import Found
from prefect_ds.storage.manifest import Manifest

COUNTS = "its checkpoint counts"
"""Reason of a task that loads."""

N_LOOKS = 16
"""Looks at object stores that go side by side."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a checkpoint says, with only some of the inputs known."""

    reason: str
    is_unknown: bool = False
    """The path cannot be known before the run."""
    runs: bool = False
    """The task runs, whatever the inputs are that are not known yet."""
    path: str | None = None
    manifest: Manifest | None = None
    reference: CheckpointReference | None = None
    """To the checkpoint, where it counts."""
    checkpoint: TaskCheckpoint | None = None
    """What the run will ask for. Inputs that are not known are taken to be the same."""
    is_freed: bool = False
    """Its data were removed to free their space."""
    is_damaged: bool = False
    """Something is there that is no checkpoint, and will be set aside."""


class Looks:
    """The looks of one plan; at an object store they go side by side."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(N_LOOKS, "prefect_ds-looks")
        self._begun: dict[str, Future[Found]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def begin(
        self, task: Task, handler: ResultHandler, inputs: Mapping[str, Planned]
    ) -> None:
        """Begin to look at the checkpoint of one of many runs of a task."""
        known = _known(inputs)
        if _why_unknown(task, handler, inputs, known):
            return
        try:
            with run_named(task, _names(handler), known):
                path = handler.render(TemplateNames(known, task))
        except Exception:  # noqa: BLE001 - the look itself says it
            return
        if path not in self._begun:
            look = partial(handler.look_up, path, only_looks=True)
            self._begun[path] = self._threads.submit(look)

    def at(
        self,
        task: Task,
        handler: ResultHandler,
        inputs: Mapping[str, Planned],
        identity: TaskIdentity,
        *,
        refresh: bool = False,
    ) -> Look:
        """Return what the checkpoint of a task run says."""
        known = _known(inputs)
        open_names = inputs.keys() - known.keys()
        unknown = _why_unknown(task, handler, inputs, known)
        if unknown:
            return Look(unknown, is_unknown=True)
        try:
            with run_named(task, _names(handler), known):
                checkpoint = TaskCheckpoint.of_run(handler, task, known, identity)
        except TemplateError as error:
            return Look(f"it will fail: {error}", runs=True)
        except Exception as error:  # noqa: BLE001 - an input that the path reads
            return Look(f"its path cannot be made: {error}", is_unknown=True)
        path = checkpoint.path
        try:
            if path in self._begun:
                at_path = self._begun.pop(path).result()
            else:
                at_path = handler.look_up(path, only_looks=True)
        except ManifestError as error:
            return Look(f"it will fail: {error}", runs=True, path=path)
        except Exception as error:  # noqa: BLE001 - a driver may raise anything
            reason = f"its checkpoint cannot be looked up: {error}"
            return Look(reason, is_unknown=True, path=path)
        if at_path.kind == "foreign" and refresh:
            return Look(REFRESHED, runs=True, path=path)
        if at_path.kind == "foreign":
            return Look("a file without a manifest counts as the checkpoint", path=path)
        if at_path.freed is not None:
            return _at_freed(checkpoint, at_path.freed, open_names, refresh)
        manifest = at_path.manifest
        if manifest is None:
            is_damaged = at_path.kind == "damaged"
            return Look(at_path.reason, runs=True, path=path, is_damaged=is_damaged)
        checkpoint = _with_assumed(checkpoint, manifest, open_names)
        difference, remarks = checkpoint.compare(manifest)
        if difference:
            return Look(
                difference,
                runs=True,
                path=path,
                manifest=manifest,
                checkpoint=checkpoint,
            )
        if refresh:
            return Look(REFRESHED, runs=True, path=path, manifest=manifest)
        reference = handler.refer(
            path, manifest, origin=checkpoint.origin, is_loaded=True
        )
        reason = COUNTS
        if manifest.adopted:
            reason = "a file that a person put there counts as the checkpoint"
        reason = "; ".join([reason, *remarks])
        return Look(
            reason,
            path=path,
            manifest=manifest,
            reference=reference,
            checkpoint=checkpoint,
        )


def is_far(handler: ResultHandler) -> bool:
    """Return whether a look takes long, so that many go side by side."""
    try:
        return not isinstance(handler.store.files, LocalFiles)
    except Exception:  # noqa: BLE001 - a missing driver; the look itself says it
        return False


def _at_freed(
    checkpoint: TaskCheckpoint,
    freed: Manifest,
    open_names: Collection[str],
    refresh: bool,
) -> Look:
    """Return what a manifest says whose data were removed to free their space."""
    path = checkpoint.path
    checkpoint = _with_assumed(checkpoint, freed, open_names)
    difference, _ = checkpoint.compare(freed)
    look = Look(freed_and(difference), path=path, manifest=freed, is_freed=True)
    if difference or refresh:
        return replace(look, runs=True)
    reference = checkpoint.handler.refer(
        path, freed, origin=checkpoint.origin, is_loaded=True
    )
    return replace(look, reference=reference)


def _known(inputs: Mapping[str, Planned]) -> dict[str, Result]:
    """Return the inputs that are known, as a task runner has them."""
    known: dict[str, Result] = {}
    for name, outcome in inputs.items():
        if isinstance(outcome, Known):
            known[name] = _result(outcome.value)
        elif isinstance(outcome, Skipped):
            known[name] = PlainResult(None)
    return known


def _names(handler: ResultHandler) -> frozenset[str]:
    """Return the names in the handler's path template."""
    return frozenset() if handler.template is None else handler.template.names


def _why_unknown(
    task: Task,
    handler: ResultHandler,
    inputs: Mapping[str, Planned],
    known: Mapping[str, Result],
) -> str:
    """Return in words why the path is not known; empty where it is."""
    if callable(handler.location) or handler.location is None:
        return "a function makes its path, and only a run calls it"
    # Only inputs that the path names are in the way of a look at it.
    open_names = set(inputs.keys() - known.keys())
    open_fields = not_known(task, _names(handler), inputs.keys(), open_names)
    if not open_fields:
        return ""
    fields = ", ".join(f"{{{field}}}" for field in open_fields)
    return f"its path contains {fields}, which is not known yet"


def _with_assumed(
    checkpoint: TaskCheckpoint, manifest: Manifest, open_names: Iterable[str]
) -> TaskCheckpoint:
    """Return the task run with inputs that are not known yet as they were before."""
    identity, earlier = checkpoint.origin.identity, manifest.identity
    if identity is None or earlier is None:
        return checkpoint
    assumed = {
        name: earlier.inputs[name] for name in open_names if name in earlier.inputs
    }
    unstable = set(earlier.unstable_inputs).intersection(open_names)
    identity = identity._replace(
        inputs={**identity.inputs, **assumed},
        unstable_inputs=(*identity.unstable_inputs, *sorted(unstable)),
    )
    origin = replace(checkpoint.origin, identity=identity)
    return replace(checkpoint, origin=origin)


def _result(value: Any) -> Result:
    if has_references(value):
        return LazyResult(value)
    return PlainResult(value)


def seconds_of(manifest: Manifest | None) -> float | None:
    """Return the seconds that a checkpoint took; ``None`` if they are not known."""
    if manifest is None or manifest.compute_s is None:
        return None
    return manifest.compute_s + (manifest.write_s or 0.0)


def with_running_write(handler: ResultHandler, path: str | None, reason: str) -> str:
    """Return why a task runs, with how far a write of another process is."""
    if path is None:
        return reason
    try:
        write = handler.running_write(path)
    except Exception:  # noqa: BLE001 - it is no part of the decision
        return reason
    return f"{reason}; {write}" if write else reason
