"""The check of tasks' results before a flow runs. Used on the client."""

from __future__ import annotations

import types
import typing
from typing import Any

from prefect.core import Task

from prefect_ds.errors import PrefectDSError, ResultTypeError
from prefect_ds.file_types.advice import handler_for
from prefect_ds.result_handler import ResultHandler


def check_result(task: Task) -> None:
    """Refuse a task whose result its handler could not keep, before it computes.

    Parameters
    ----------
    task
        Any task; one without a handler of ours passes.

    Raises
    ------
    ResultTypeError
        By its annotations, the task returns something that the handler does not keep.
    PrefectDSError, TypeError, ValueError
        The options of the handler do not fit the path, or one another. Options of a
        handler with a path are looked at when it is made; a task's ``target`` comes
        later.
    """
    handler = task.result
    if not isinstance(handler, ResultHandler) or task.checkpoint is False:
        return
    try:
        handler.check_options()
    except PrefectDSError as error:
        raise type(error)(f"task {task.name!r}: {error}") from error
    returned = _returned_classes(task)
    if returned and not any(map(_may_be_kept(handler), returned)):
        names = " or ".join(cls.__qualname__ for cls in returned)
        raise ResultTypeError(
            f"task {task.name!r} returns {names} by its annotation, which "
            f"{type(handler).__name__} does not keep: change the annotation, or give "
            f"the task {_handlers_for(returned)}"
        )


def _handlers_for(classes: list[type]) -> str:
    """Return the handlers that keep values of some classes, in words."""
    return " or ".join(dict.fromkeys(map(handler_for, classes)))


def _may_be_kept(handler: ResultHandler) -> typing.Callable[[type], bool]:
    def may_be_kept(cls: type) -> bool:
        # A task that returns nothing has nothing to keep. An annotation may name a base
        # class of the class that it returns.
        if cls is types.NoneType:
            return True
        kept = handler.kept_classes()
        return any(issubclass(cls, kind) or issubclass(kind, cls) for kind in kept)

    return may_be_kept


def _returned_classes(task: Task) -> list[type]:
    """Return the classes that a task's annotation names; empty where any may come."""
    try:
        annotation = typing.get_type_hints(task.run).get("return", Any)
    except Exception:  # noqa: BLE001 - names that only a type checker can resolve
        return []
    members = [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = list(typing.get_args(annotation))
    classes = [typing.get_origin(member) or member for member in members]
    # Only a type checker can tell which classes follow a protocol.
    for cls in classes:
        is_class = isinstance(cls, type) and cls is not Any
        if not is_class or getattr(cls, "_is_protocol", False):
            return []
    return classes
