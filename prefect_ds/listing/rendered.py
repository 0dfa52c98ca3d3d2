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
    plan could not tell them: another run may render other paths. So a checkpoint that
    fits an open template never counts as an orphan.

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
        # Only the run can tell the path: it may be any that fits the template.
        if look.path is None:
            self._open_tasks.add(task)
            return
        self._add_path(handler.store.files, look.path)
        if not isinstance(handler, Outputs):
            return
        # The paths of several outputs are in the manifest of their list.
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

        A folder may have several names, by links: the checkpoint is no orphan if a run
        renders any of them.
        """
        # Another flow, or a person, may need it.
        if manifest.owner.flow != self._flow.name or manifest.adopted:
            return False
        if path in self._paths or manifest.owner.task in self._unlimited:
            return False
        real_path = self._resolved.of(files, path)
        if real_path in self._real_paths:
            return False
        if self._open_templates is None:
            self._open_templates = self._find_open()
        # The cheap question for all templates, then the one that asks the disk.
        if any(template.match(path) is not None for template in self._open_templates):
            return False
        return not any(
            self._fits_by_links(template, files, real_path)
            for template in self._open_templates
        )

    def _fits_by_links(
        self, template: PathTemplate, files: FileSystem, real_path: str
    ) -> bool:
        """Return whether a path fits a template whose folder is another name of it."""
        root = template.root
        # Object stores have no links. And a root that is empty begins every path.
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
            # A handler of several outputs has one for every output.
            for of_path in handler.all_handlers():
                template = of_path.template
                if template is not None and self._is_open(task, template):
                    templates.append(template)
        return templates

    def _is_open(self, task: Task, template: PathTemplate) -> bool:
        """Return whether another run of the flow may render other paths."""
        if task in self._open_tasks:
            return True
        edges = self._flow.edges_to(task)
        of_path = {edge.upstream_task for edge in edges if edge.key in template.names}
        # All that is mapped over decides how many children there are, and so how many
        # paths.
        if of_path or "map_index" in template.names:
            of_path |= {edge.upstream_task for edge in edges if edge.mapped}
        if any(self._has_parameter(upstream) for upstream in of_path):
            return True
        given = {edge.key for edge in edges} | self._flow.constants[task].keys()
        others = template.names - given - _OF_EVERY_RUN
        # A field that is no argument of the task comes from the context of a run.
        if not others <= task.inputs().keys():
            return True
        # A parameter of the flow may fill a field of its name.
        return bool(others & self._parameters())

    def _has_parameter(self, task: Task) -> bool:
        """Return whether a parameter of the flow is upstream of a task."""
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
    # A target goes before the handler's own path, as Prefect has it. A function as a
    # target makes its path in the run.
    if handler is not None and isinstance(task.target, str) and task.target:
        return handler.at(task.target)
    return handler
