"""How a handler names its paths, and how Prefect 1.x calls it as a ``Result``."""

from __future__ import annotations

import abc
import contextlib
import copy
import functools
import os
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, NamedTuple, Self

from fsspec.core import split_protocol
from prefect.engine.result import Result

from prefect_ds.errors import TemplateError
from prefect_ds.path_template import PathTemplate
from prefect_ds.storage.lookup import Found
from prefect_ds.storage.manifest import Origin, Owner


class Place(NamedTuple):
    """Where the checkpoint of a task run lies."""

    path: str
    fields: Mapping[str, str]
    """The texts of the template's fields before they are encoded, by the field as
    written; empty if a function of the user's makes the path."""


class PrefectResult(Result, abc.ABC):
    """Prefect's methods of a ``Result``, in terms of a handler's own.

    Parameters
    ----------
    location
        Template of the path; ``None``: the task's ``target``.
    """

    def __init__(self, location: str | None) -> None:
        # Workers may run in other folders: what a relative path means is settled here.
        self.base_folder = os.getcwd()
        self._encoded_paths: dict[str, str] = {}
        super().__init__(location=location)

    @property
    def template(self) -> PathTemplate | None:
        """The template of the path; ``None`` if a function of the user's makes it."""
        if self.location is None:
            return None
        return _template(self.base_folder, self.location)

    def render(self, values: Mapping[str, Any], *, task: str = "") -> str:
        """Return the path for these task inputs, parameters and context.

        Parameters and errors are those of :meth:`place`.
        """
        return self.place(values, task=task).path

    def place(self, values: Mapping[str, Any], *, task: str = "") -> Place:
        """Return the path, and the texts of the fields in it.

        Parameters
        ----------
        values
            Name to value. Only those that the template names are looked at.
        task
            Named in errors.

        Raises
        ------
        TemplateError
            A field has no value, or one that cannot name a file.
        """
        template = self.template
        if template is not None:
            fields = template.render_fields(values, task=task)
            return Place(template.path_of(fields, task=task), fields)
        # Prefect keeps a function that was given as `location` there.
        if self._formatter is not None:
            return Place(self._absolute(self._formatter(**values)), {})
        raise TemplateError(
            f"task {task!r} has a {type(self).__name__} without a path: give it one, "
            "or give the task a target"
        )

    def at(self, location: str) -> Self:
        """Return a copy whose template is another: a task's ``target``."""
        moved = copy.copy(self)
        moved.location = location
        return moved

    def format(self, **kwargs: Any) -> Self:
        """Prefect's ``Result.format``: a copy with the path for these values."""
        formatted = copy.copy(self)
        formatted.location = self.render(
            kwargs, task=str(kwargs.get("task_full_name") or "")
        )
        return formatted

    def exists(self, location: str, **kwargs: Any) -> bool:
        """Prefect's ``Result.exists``: whether a whole checkpoint is at the location.

        Its inputs may be any.
        """
        path = PathTemplate(self._absolute(location)).render(kwargs)
        # Prefect goes on to read `location.format(...)`, with values not encoded.
        with contextlib.suppress(Exception):
            self._encoded_paths[location.format(**kwargs)] = path
        return self.look_up(path).manifest is not None

    def read(self, location: str) -> Self:
        """Prefect's ``Result.read``: a copy whose value is the data at a location."""
        read = copy.copy(self)
        # Prefect formats a target by itself; `exists` has seen which path that means.
        path = self._encoded_paths.get(location) or self._absolute(location)
        read.location = path
        read.value = self.load(path)
        return read

    def write(self, value_: Any, **kwargs: Any) -> Self:
        """Prefect's ``Result.write``: commit a value; return a copy with both.

        Prefect mixes inputs and context here, so the checkpoint is kept without the
        identity of its inputs.
        """
        written = self.format(**kwargs)
        assert written.location is not None
        owner = Owner(
            flow=str(kwargs.get("flow_name") or ""),
            task=str(kwargs.get("task_slug") or kwargs.get("task_name") or ""),
            map_index=kwargs.get("map_index"),
        )
        origin = Origin(owner=owner)
        written.value = self.commit(value_, written.location, origin)
        return written

    @abc.abstractmethod
    def look_up(self, path: str, *, only_looks: bool = False) -> Found:
        """Return what is at a rendered path."""

    @abc.abstractmethod
    def load(self, path: str, content: str | None = None) -> Any:
        """Return the data at a rendered path."""

    @abc.abstractmethod
    def commit(self, value: Any, path: str, origin: Origin) -> Any:
        """Keep a value at a rendered path, and return the value that is kept."""

    def _absolute(self, path: str | PurePath) -> str:
        return _absolute(self.base_folder, os.fspath(path))


# Prefect copies a handler for every task run; its template is parsed once.
@functools.lru_cache(maxsize=1024)
def _template(base_folder: str, location: str) -> PathTemplate:
    return PathTemplate(_absolute(base_folder, location))


def _absolute(base_folder: str, path: str) -> str:
    protocol, bare = split_protocol(path)
    # A URL of a store is absolute.
    if protocol not in (None, "file", "local"):
        return path
    return os.path.normpath(
        os.path.join(base_folder, os.path.expanduser(bare))
    ).replace(os.sep, "/")
