"""The checkpoints of a flow: those of the next run, and those that no task renders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from prefect.core import Flow, Task

from prefect_ds.engine.flow_plan import walked
from prefect_ds.engine.planned_looks import COUNTS, Look
from prefect_ds.engine.task_decision import TaskDecision
from prefect_ds.engine.task_handler import handlers_in
from prefect_ds.listing.places import Located
from prefect_ds.listing.real_paths import RealPaths
from prefect_ds.listing.rendered import Rendered, handler_at
from prefect_ds.listing.rows import State, row_of, row_of_seen
from prefect_ds.outputs import Outputs
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.filesystem import FileSystem
from prefect_ds.storage.scan import look_at, scan


def located_in_flow(
    flow: Flow,
    parameters: Mapping[str, Any],
    context: Mapping[str, Any] | None = None,
) -> list[Located]:
    """Return the checkpoints of the next run of a flow, then its orphans."""
    rendered = Rendered(flow)
    runs: dict[tuple[Task, int | None], Located] = {}
    outputs: dict[str, Located] = {}

    def watch(task: Task, decision: TaskDecision, look: Look) -> None:
        handler = handler_at(task, flow)
        if handler is None or not decision.is_step:
            return
        rendered.add(task, handler, look)
        # Skipped: its path is not made.
        if decision.decision == "not needed" and look.path is None:
            return
        # The walk may ask for a run again; its last answer counts.
        located = _located(handler, decision, look)
        runs[task, decision.map_index] = located
        if isinstance(handler, Outputs):
            outputs.update(_outputs(handler, look, located))

    walked(flow, parameters, context=context, watch=watch)
    # Two runs may share a checkpoint. Without a path, the words are the key.
    of_runs = {
        located.row.path or f"{located.row.run} {located.row.reason}": located
        for located in runs.values()
    }
    return [*{**of_runs, **outputs}.values(), *_orphans(flow, rendered)]


def _located(handler: ResultHandler, decision: TaskDecision, look: Look) -> Located:
    state, reason = _state(decision, look)
    manifest, stamp = look.manifest, None
    if manifest is not None:
        stamp = manifest.stamp
    has_data = manifest is not None and not look.is_freed
    row = row_of(
        look.path or "",
        state,
        reason,
        manifest,
        has_data=has_data,
        stamp=stamp,
        is_proved=has_data,
    )
    # The run that would write it, also where another task wrote the data.
    row = replace(row, task=decision.task, map_index=decision.map_index)
    # Without a manifest the fields are read off the path.
    if manifest is None and handler.template is not None:
        row = replace(row, fields=handler.template.match(row.path) or {})
    return Located(row, handler.store.files, handler)


def _outputs(handler: Outputs, look: Look, of_list: Located) -> dict[str, Located]:
    """Return the several outputs of a task by their paths."""
    manifest = look.manifest
    if manifest is None and look.path:
        # The list does not count if one of its outputs does not: the listing is to
        # show which one.
        manifest = look_at(handler.store.files, look.path).manifest
    if manifest is None:
        return {}
    return {
        path: _output(handler.handlers[name], path, of_list)
        for name, path in handler.paths_of(manifest).items()
        if name in handler.handlers
    }


def _output(handler: ResultHandler, path: str, of_list: Located) -> Located:
    """Return one of several outputs of a task; the list of them has the decision."""
    row = row_of_seen(look_at(handler.store.files, path))
    # All outputs come from one run of the task, which will run again.
    if row.state == "valid" and of_list.row.state in ("stale", "missing", "damaged"):
        row = replace(row, state="stale", reason=of_list.row.reason)
    return Located(row, handler.store.files, handler)


def _state(decision: TaskDecision, look: Look) -> tuple[State, str]:
    """Return the state of a checkpoint, and why it does not simply count."""
    reason = decision.reason
    if look.path is None or look.is_unknown:
        return "unknown", reason
    if look.is_damaged:
        return "damaged", reason
    manifest = look.manifest
    if manifest is None:
        if look.runs:
            return "missing", reason
        # A person's file has no manifest before a run reads it.
        return "adopted", look.reason
    # Freed, whether its task will run or not.
    if look.is_freed:
        return "freed", look.reason
    if look.runs:
        return "stale", look.reason
    if manifest.adopted:
        return "adopted", look.reason
    # A reason is for people who wonder; that a checkpoint counts needs none.
    if reason == COUNTS:
        reason = ""
    return "valid", reason


def _orphans(flow: Flow, rendered: Rendered) -> Iterator[Located]:
    """Yield the checkpoints of this flow that no task renders any more."""
    known = set(rendered.paths)
    listed: set[str] = set()
    resolved = RealPaths()
    for files, folder, depth in folders_of(flow):
        for seen in scan(files, folder, known=known, depth=depth):
            # One template may have its folder below that of another.
            known.add(seen.path)
            manifest = seen.manifest
            # Without whole data there is nothing to free.
            if manifest is None or seen.kind != "whole":
                continue
            if not rendered.is_orphan(files, seen.path, manifest):
                continue
            # By way of a link the scan may meet one checkpoint twice.
            real_path = resolved.of(files, seen.path)
            if real_path in listed:
                continue
            listed.add(real_path)
            reason = "no task of the flow renders its path"
            row = replace(row_of_seen(seen), state="orphan", reason=reason)
            yield Located(row, files, None)


def folders_of(flow: Flow) -> list[tuple[FileSystem, str, int]]:
    """Return the folders of all path templates, and how deep their paths go."""
    folders: dict[str, tuple[FileSystem, str, int]] = {}
    for handler in handlers_in(flow):
        template = handler.template
        if template is None:
            continue
        root = template.root or "."
        # `data/{year}/{day}.csv` has one folder between its root and its files.
        depth = template.template.count("/") - root.count("/") - 1
        # Two templates with one root: the deeper one decides.
        if root in folders:
            depth = max(depth, folders[root][2])
        folders[root] = (handler.store.files, root, depth)
    return list(folders.values())
