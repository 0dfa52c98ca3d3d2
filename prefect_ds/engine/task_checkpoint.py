"""The checkpoint of one run of a task: its path, whether it counts, how it is kept.

Used where the task runs. :meth:`TaskCheckpoint.of_run` takes the path and the identity
of the run before the task's code runs, and both stay as they are: the code may change
its arguments as it likes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import prefect
from prefect.core import Task
from prefect.engine.result import Result
from prefect.engine.signals import PrefectStateSignal
from prefect.engine.state import State, Success

from prefect_ds.checkpoints.age import too_old
from prefect_ds.checkpoints.draft import ON_DEMAND
from prefect_ds.checkpoints.identity import TaskIdentity, identify_run
from prefect_ds.checkpoints.lazy_result import LazyResult
from prefect_ds.checkpoints.prefect_result import Place
from prefect_ds.checkpoints.reference import CheckpointReference, references_in
from prefect_ds.engine import context
from prefect_ds.engine.log_levels import important_level
from prefect_ds.engine.messages import SUCCEEDED, kept_message
from prefect_ds.engine.task_identity import of_all_runs_here
from prefect_ds.engine.template_names import TemplateNames
from prefect_ds.errors import ResultTypeError, RoundTripError
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.history import Upstream
from prefect_ds.storage.identity import Identity
from prefect_ds.storage.lookup import Found
from prefect_ds.storage.manifest import Manifest, Origin, Owner


@dataclass(frozen=True, slots=True)
class Hit:
    """The task has a checkpoint that counts."""

    reference: CheckpointReference
    adopted: bool
    """A person put the file there."""
    accepted: Manifest | None = None
    """The manifest that is to get the identity of this run: a user accepted it."""


@dataclass(frozen=True, slots=True)
class Miss:
    """The task has to run."""

    reason: str
    """In words, as in "ran because there was nothing yet"."""
    stale: str = ""
    """How the checkpoint that is there differs, in words."""
    refused: str = ""
    """The attempt that wrote the checkpoint that is there and does not count."""
    damaged: Found | None = None
    """The data to set aside."""
    problem: OSError | None = None
    """The store gave no answer. To be raised where the task would run: Prefect retries
    an error there, and no error of a state handler."""

    @property
    def is_said(self) -> bool:
        """Whether the log says why the task runs before it does."""
        return bool(self.stale) or self.damaged is not None


@dataclass(frozen=True, slots=True)
class TaskCheckpoint:
    """Path and origin of the checkpoint of one run of a task, with its handler."""

    handler: ResultHandler
    path: str
    origin: Origin
    task: str
    """The name of the task's run, for messages."""
    remarks: tuple[str, ...] = ()
    """What of the run cannot be compared with an earlier one, in words."""
    refresh: bool = False
    """The task runs, whatever is there: the user asked for it."""
    is_needed: bool = True
    """Data that were freed are computed again: nothing proves that they need not be."""

    @classmethod
    def of_run(
        cls,
        handler: ResultHandler,
        task: Task,
        inputs: Mapping[str, Result],
        common: TaskIdentity | None = None,
        *,
        place: Place | None = None,
        refresh: bool = False,
        is_needed: bool = True,
    ) -> TaskCheckpoint:
        """Return the checkpoint of the run that Prefect's context describes.

        Parameters
        ----------
        handler
            The handler of the task's result.
        task
            The task.
        inputs
            Its inputs. Only those that the template names are read.
        common
            The identity that all runs of the task share; ``None``: it is taken here.
        place
            Where it lies; ``None``: it is taken here.
        refresh
            The task runs, whatever is there.
        is_needed
            Whether data that were freed are computed again.

        Raises
        ------
        TemplateError
            The path cannot be made from the inputs.
        """
        name = run_name(task)
        place = place or handler.place(TemplateNames(inputs, task), task=name)
        # References count by their content; nothing is read to compare it.
        raw_inputs = {name: raw_input(result) for name, result in inputs.items()}
        run = identify_run(common or of_all_runs_here(task, handler), raw_inputs)
        origin = Origin(
            owner=_owner(task),
            identity=run.identity,
            fields=place.fields,
            upstream=_upstream(raw_inputs),
        )
        remarks = run.remarks
        return cls(handler, place.path, origin, name, remarks, refresh, is_needed)

    def find(self, at_path: Found | None = None) -> Hit | Miss:
        """Return the checkpoint if it counts, else the reason to run.

        Changes nothing.

        Parameters
        ----------
        at_path
            What lies at the path; ``None``: look.
        """
        try:
            at_path = at_path or self.handler.look_up(self.path)
        except OSError as error:
            return Miss("the checkpoint could not be looked up", problem=error)
        manifest = at_path.manifest
        # Freed data that nothing needs count by their manifest, as if they were there.
        if at_path.freed is not None and not self.is_needed:
            manifest = at_path.freed
        if manifest is None and at_path.freed is not None:
            return Miss(freed_and(self.compare(at_path.freed)[0]))
        if manifest is None:
            if at_path.kind == "damaged":
                return Miss(at_path.reason, damaged=at_path)
            return Miss(at_path.reason)
        difference, remarks = self.compare(manifest)
        if difference:
            reason = f"the checkpoint was stale: {difference}"
            return Miss(reason, stale=difference, refused=manifest.attempt)
        # One that this run wrote is fresh already: Dask may ask for it a second time.
        if self.refresh and not self._is_of_this_run(manifest):
            return Miss(REFRESHED, refused=manifest.attempt)
        # Dask runs a task again if it loses the worker that holds the task's state.
        has_run = manifest.owner == self.origin.owner
        reference = self.handler.refer(
            self.path,
            manifest,
            origin=self.origin,
            is_loaded=not has_run,
            remarks=remarks,
        )
        accepted = manifest if manifest.is_accepted else None
        return Hit(reference, manifest.adopted, accepted)

    def compare(self, manifest: Manifest) -> tuple[str, tuple[str, ...]]:
        """Return how the run differs from that of a checkpoint, and what to remark.

        Both in words; the first is empty where the checkpoint counts.
        """
        # What this run wrote is not too old for it, however short `max_age` is.
        age = ""
        if not self._is_of_this_run(manifest):
            age = too_old(manifest, self.handler.max_age)
        ours, theirs = self.origin.identity, manifest.identity
        if ours is None or theirs is None:
            return age, ()  # A person's file, or one that Prefect itself wrote.
        match = self.handler.match
        # `handler.accept` knows no task: it leaves it to the run that loads the
        # checkpoint which code and options count.
        if manifest.is_accepted:
            theirs = ours.accepting(theirs, self.handler.ignore)
        difference = ours.difference(theirs, match, self.handler.ignore)
        differences = [words for words in (difference, age) if words]
        if differences:
            return ", ".join(differences), ()
        remarks: tuple[str, ...] = ()
        if match != "path":
            remarks = self.remarks
        on_code = ours.remark_on_code(theirs, match)
        if on_code:
            remarks = (*remarks, on_code)
        return "", remarks

    def _is_of_this_run(self, manifest: Manifest) -> bool:
        """Return whether this run of the flow wrote a checkpoint: it is fresh then."""
        run_id = self.origin.owner.run_id
        return bool(run_id) and manifest.owner.run_id == run_id

    def loaded(self, hit: Hit) -> State:
        """Return the state of a task that need not run, as its checkpoint counts."""
        message = f"Loaded from the checkpoint: {hit.reference}"
        if hit.reference.is_freed:
            message = f"{NOT_NEEDED}: {self.path}"
        if hit.adopted:
            message += " (by hand)"
        message = "; ".join([message, *hit.reference.remarks])
        self._log(message)
        if hit.accepted is not None and self.origin.identity is not None:
            self._settle(hit.accepted, self.origin.identity)
        return Success(message=message, result=LazyResult(hit.reference, self.path))

    def _settle(self, accepted: Manifest, identity: Identity) -> None:
        """Give an accepted checkpoint this run's identity: later edits count again."""
        try:
            self.handler.accept_as(self.path, accepted, identity)
        except Exception as error:  # noqa: BLE001 - a driver may raise anything
            # It counts as it is; the next run tries again.
            _logger.debug("%s: cannot file its manifest again: %s", self.path, error)

    def make_way(self, miss: Miss) -> Miss:
        """Set damaged data aside and log why the task runs.

        The miss that comes back has a problem if the data could not be set aside.
        """
        if miss.stale:
            message = f"the checkpoint at {self.path} is stale: {miss.stale}; running"
            self._log(message, important_level(_logger))
        if miss.damaged is None:
            return miss
        then = f"task {self.task!r} runs"
        try:
            self.handler.set_aside(self.path, miss.damaged, then=then)
        except OSError as error:
            return replace(miss, problem=error)
        return miss

    def withdraw(self, rejected: CheckpointReference) -> None:
        """Set a result aside that the task's state handlers do not accept."""
        manifest = self.handler.look_up(self.path).manifest
        if manifest is None:
            return
        there = self.handler.refer(
            self.path, manifest, origin=self.origin, is_loaded=False
        )
        if there.content != rejected.content:
            return  # Another run has put its result there.
        why = "a state handler of the task rejected it"
        rejected_data = Found(
            "damaged", reason=why, stamp=manifest.stamp, advice="restore"
        )
        then = f"task {self.task!r} runs again"
        self.handler.set_aside(self.path, rejected_data, then=then)

    def keep(
        self, state: State, *, is_own: bool, miss: Miss, compute_s: float
    ) -> tuple[State, float]:
        """Write the task's result, and return its state with a reference to it.

        The second value is the seconds that the write spent on computing: a Dask frame
        is lazy.

        Parameters
        ----------
        state
            A Success with the task's result.
        is_own
            The handler is the task's own. The flow's is a default for all tasks, also
            for those that return something else.
        miss
            Why the task ran.
        compute_s
            Seconds that it took.
        """
        value = state.result
        if isinstance(value, PrefectStateSignal):
            value = None  # It ended itself as a Success, with a message alone.
        # A task that is run for its effect; Prefect writes nothing either.
        if value is None and not self.handler.keeps_none:
            return self._not_kept(state, "it returned nothing"), 0.0
        # The task's own handler refuses such a value with an error, when it writes.
        if not is_own and not self.handler.accepts(value):
            kind = type(value).__name__
            why = f"it returned {kind}, which the flow's result does not keep"
            return self._not_kept(state, why), 0.0
        origin = replace(self.origin, compute_s=compute_s, refused=miss.refused)
        try:
            kept = self.handler.keep(
                value, self.path, origin=origin, remarks=self.remarks
            )
        except (ResultTypeError, RoundTripError) as error:
            # Hours of computing may be in it.
            aside = self.handler.rescue(value, self.path)
            message = f"the result cannot be kept at {self.path}: {error}"
            if aside is not None:
                message += f". It was set aside as a pickle, {aside}"
            raise type(error)(message) from error
        reference = kept.reference
        kept_there = f"{reference.summary} to {self.path}"
        message = kept_message(state.message, miss.reason, kept_there)
        if kept.note:
            message += f" ({kept.note})"
        message = "; ".join([message, *self.remarks])
        # One line a task: a second one would repeat why it ran.
        level = logging.INFO
        if miss.is_said:
            level = logging.DEBUG
        self._log(message, level)
        result = LazyResult(reference, self.path)
        if kept.value is not ON_DEMAND:
            result = result.loaded(kept.value)
        new_state = Success(message=message, result=result, context=state.context)
        return new_state, kept.compute_s

    def _not_kept(self, state: State, why: str) -> State:
        said = state.message or SUCCEEDED
        state.message = f"{said} No checkpoint was written: {why}"
        self._log(f"no checkpoint was written: {why}")
        return state

    def _log(self, message: str, level: int = logging.INFO) -> None:
        _logger.log(level, "Task %r: %s", self.task, message)


NOT_NEEDED = "its data were freed, and nothing that runs needs them"
"""The message of a task whose checkpoint still proves what was made from its data."""


def freed_and(difference: str) -> str:
    """Return why freed data are computed again, with what else has changed."""
    return ", ".join(["its data were freed", *filter(None, [difference])])


REFRESHED = "a refresh was asked for"
"""The reason of a task that the user named in ``refresh``."""

_logger = prefect.utilities.logging.get_logger("DSTaskRunner")


def run_name(task: Task) -> str:
    """Return the name of the task's run, with the index of a mapped child."""
    return str(context.current().get("task_full_name", task.name))


def _owner(task: Task) -> Owner:
    run = context.current()
    return Owner(
        flow=run.get("flow_name", ""),
        run_id=context.run_id(
            run.get("flow_run_id", ""), run.get("scheduled_start_time", "")
        ),
        task=run.get("task_slug") or task.name,
        map_index=run.get("map_index"),
    )


def _upstream(raw_inputs: Mapping[str, Any]) -> dict[str, tuple[Upstream, ...]]:
    """Return, by input, the checkpoints that it is or holds."""
    upstream = {}
    for name, raw in raw_inputs.items():
        references = references_in(raw)
        if references:
            upstream[name] = tuple(
                Upstream(reference.content, reference.path, reference.identity)
                for reference in references
            )
    return upstream


def raw_input(result: Result) -> Any:
    """Return a task's input without loading any reference."""
    if isinstance(result, LazyResult):
        return result.raw
    return result.value
