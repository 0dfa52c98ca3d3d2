"""Which paths the tasks of a flow render, and which they might in another run."""

from __future__ import annotations

import functools

from prefect.core import Flow, Parameter, Task

from prefect_ds.engine.planned_looks import Look
from prefect_ds.engine.task_handler import handler_of
from prefect_ds.listing.real_paths import RealPaths
from prefect_ds.outputs import Outputs
from prefect_ds.path_template import PathTemplate
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.filesystem import FileSystem
from prefect_ds.storage.manifest import Manifest

_OF_EVERY_RUN = {"flow_name", "task_name", "task_slug", "map_index"}
"""Names of Prefect's context that are the same in every run of a flow."""


class Rendered:
    """The paths that one plan of a flow rendered, and the templates that are open.

    A template is open if a parameter or Prefect's context shapes its paths, or if the
    plan could not tell them: another run may render other paths. No checkpoint that
    fits an open template is ever called an orphan.

    Parameters
    ----------
    flow
        The flow.
    """

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._paths: set[str] = set()
        self._real_paths: set[str] = set()
        self._resolved = RealPaths()
        self._open_tasks: set[Task] = set()
        self._open_templates: list[PathTemplate] | None = None

    @property
    def paths(self) -> set[str]:
        """The paths that were rendered."""
        return self._paths

    def add(self, task: Task, handler: ResultHandler, look: Look) -> None:
        """Take in what the plan says of one run of a task."""
        self._open_templates = None
        if look.path is None:
            self._open_tasks.add(task)
            return
        self._add_path(handler.store.files, look.path)
        if not isinstance(handler, Outputs):
            return
        if look.manifest is None:
            self._open_tasks.add(task)
            return
        for path in handler.paths_of(look.manifest).values():
            self._add_path(handler.store.files, path)

    def _add_path(self, files: FileSystem, path: str) -> None:
        self._paths.add(path)
        self._real_paths.add(self._resolved.of(files, path))

    def is_orphan(self, files: FileSystem, path: str, manifest: Manifest) -> bool:
        """Return whether no run of the flow renders the path of its checkpoint.

        A folder may have several names, by links: the checkpoint is none if a run
        renders any of them.
        """
        if manifest.owner.flow != self._flow.name or manifest.adopted:
            return False
        if path in self._paths or manifest.owner.task in self._unlimited:
            return False
        real_path = self._resolved.of(files, path)
        if real_path in self._real_paths:
            return False
        if self._open_templates is None:
            self._open_templates = self._find_open()
        return not any(
            template.match(path) is not None
            or self._fits_by_links(template, files, real_path)
            for template in self._open_templates
        )

    def _fits_by_links(
        self, template: PathTemplate, files: FileSystem, real_path: str
    ) -> bool:
        root = template.root
        if not files.renames_folders or not root:
            return False
        real_root = f"{self._resolved.of_folder(root)}/"
        if not real_path.startswith(real_root):
            return False
        below = real_path.removeprefix(real_root)
        return template.match(f"{root}/{below}") is not None

    @functools.cached_property
    def _unlimited(self) -> set[str]:
        """Return the slugs of the tasks whose path a function of the user's makes."""
        slugs = set()
        for task in self._flow.tasks:
            handler = handler_at(task, self._flow)
            if handler is not None and callable(task.target or handler.location):
                slugs.add(self._flow.slugs[task])
        return slugs

    def _find_open(self) -> list[PathTemplate]:
        templates = []
        for task in self._flow.tasks:
            handler = handler_at(task, self._flow)
            if handler is None or callable(task.target or handler.location):
                continue
            for one in handler.all_handlers():
                template = one.template
                if template is not None and self._is_open(task, template):
                    templates.append(template)
        return templates

    def _is_open(self, task: Task, template: PathTemplate) -> bool:
        if task in self._open_tasks:
            return True
        edges = self._flow.edges_to(task)
        of_path = {edge.upstream_task for edge in edges if edge.key in template.names}
        if of_path or "map_index" in template.names:
            # How many children there are is for all that is mapped over.
            of_path |= {edge.upstream_task for edge in edges if edge.mapped}
        if any(self._has_parameter(upstream) for upstream in of_path):
            return True
        given = {edge.key for edge in edges} | self._flow.constants[task].keys()
        others = template.names - given - _OF_EVERY_RUN
        return not others <= task.inputs().keys() or bool(others & self._parameters())

    def _has_parameter(self, task: Task) -> bool:
        waiting, seen = [task], {task}
        while waiting:
            upstream = waiting.pop()
            if isinstance(upstream, Parameter):
                return True
            new = self._flow.upstream_tasks(upstream) - seen
            seen |= new
            waiting += new
        return False

    def _parameters(self) -> set[str]:
        return {parameter.name for parameter in self._flow.parameters()}


def handler_at(task: Task, flow: Flow) -> ResultHandler | None:
    """Return the handler that keeps a task's result, with the path of its target."""
    handler = handler_of(task, flow.result)
    if handler is not None and isinstance(task.target, str) and task.target:
        return handler.at(task.target)
    return handler
