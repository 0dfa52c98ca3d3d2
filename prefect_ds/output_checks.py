"""The checks of several outputs: of their handlers, and of the values for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from prefect_ds.checkpoints.reference import count
from prefect_ds.checkpoints.returned_path import is_of_a_checkpoint
from prefect_ds.errors import ResultTypeError
from prefect_ds.objects.refusals import advice
from prefect_ds.result_handler import ResultHandler

_COMMON = ("match", "ignore", "show", "max_age")
"""Options that decide whether a result counts: they are the same for all outputs."""


def check_handler(name: str, handler: object, first: ResultHandler) -> None:
    """Refuse what cannot keep one of several outputs."""
    if not isinstance(handler, ResultHandler):
        raise TypeError(
            f"output {name} is kept by a {type(handler).__name__}: give it a handler "
            "of prefect_ds, such as PandasResultHandler(...)"
        )
    if not isinstance(handler.location, str):
        raise ValueError(
            f"output {name} has no path: give it a template, such as "
            f'"data/{name}_{{id}}.csv"'
        )
    for option in _COMMON:
        ours, theirs = getattr(handler, option), getattr(first, option)
        if ours != theirs:
            raise ValueError(
                f"output {name} has {option}={ours!r} and the first output "
                f"{option}={theirs!r}: one task runs or loads as a whole, so give all "
                "of them the same"
            )


def checked_values(
    handlers: Mapping[str, ResultHandler], value: Any, *, is_named: bool
) -> dict[str, Any]:
    """Return the results by name, in the order of what the task returned.

    Raises
    ------
    ResultTypeError
        They are not those that the handlers are for.
    """
    names = list(handlers)
    kinds: tuple[type, ...] = (tuple, list)
    wanted = count(len(names), "output")
    form = f"a tuple of {wanted}"
    if is_named:
        kinds = (dict,)
        wanted = ", ".join(names)
        form = f"a dict with {wanted}"
    kind = type(value).__name__
    # Exactly these: a named tuple, say, would come back as a plain one.
    if type(value) not in kinds:
        raise ResultTypeError(
            f"the task returned a {kind}, and its outputs are kept from {form}: "
            "return that"
        )
    values, has = value, ", ".join(map(repr, value))
    if not is_named:
        # Not strict: the error below says how many there are.
        values = dict(zip(names, value, strict=False))
        has = count(len(value), "item")
    if values.keys() != handlers.keys() or len(value) != len(names):
        raise ResultTypeError(
            f"the task returned a {kind} with {has or 'nothing'}, and its outputs are "
            f"{wanted}"
        )
    for name, handler in handlers.items():
        # A handler without a value to keep, such as a marker's, gets None.
        is_none = values[name] is None and handler.keeps_none
        if not is_none and not handler.accepts(values[name]):
            raise ResultTypeError(_not_accepted(name, values[name], handler))
    return dict(values)


def _not_accepted(name: str, value: Any, handler: ResultHandler) -> str:
    if handler.takes_files and isinstance(value, str):
        return (
            f"output {name} is the path {value!r}, and nothing is there: return the "
            "path of what the task wrote"
        )
    kind = type(value)
    return (
        f"output {name} is a {kind.__name__}, which {type(handler).__name__} does not "
        f"keep: {advice(value)}"
    )


def check_paths(handlers: Mapping[str, ResultHandler]) -> None:
    """Refuse outputs of one path, and one in the folder of another."""
    paths = {}
    for name, handler in handlers.items():
        assert handler.template is not None
        paths[name] = handler.template.template
    if len(set(paths.values())) < len(paths):
        raise ValueError("two outputs have the same path: give each its own")
    for name, path in paths.items():
        for folder, other in paths.items():
            if path.startswith(f"{other}/"):
                raise ValueError(
                    f"output {name} lies at {path!r}, in the folder of output "
                    f"{folder}: give it a path beside the folder"
                )


def check_files(
    handlers: Mapping[str, ResultHandler],
    values: Mapping[str, Any],
    paths: Mapping[str, str],
) -> None:
    """Refuse a file that two outputs need, or that lies at the path of another one.

    A file that a task wrote is moved to the path of its output.

    Parameters
    ----------
    handlers, values, paths
        The handlers, the results and the paths of the outputs, by name.
    """
    sources: dict[str, str] = {}
    for name, handler in handlers.items():
        if not handler.takes_files:
            continue
        source = os.path.realpath(os.fsdecode(values[name]))
        for earlier, of_earlier in sources.items():
            _check_apart((earlier, of_earlier), (name, source))
        sources[name] = source
        for other, path in paths.items():
            if other != name and f"{source}/".startswith(f"{os.path.realpath(path)}/"):
                raise ResultTypeError(
                    f"output {name} is {source!r}, which lies at the path of output "
                    f"{other}: write it to another place"
                )


def _check_apart(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Refuse two outputs that are the same file, or one in the folder of the other."""
    (outer, folder), (inner, source) = sorted([one, other], key=lambda of: len(of[1]))
    if not f"{source}/".startswith(f"{folder}/") or is_of_a_checkpoint(source):
        return
    if source == folder:
        raise ResultTypeError(
            f"outputs {outer} and {inner} are the same path, {source!r}: "
            "write a file for each"
        )
    raise ResultTypeError(
        f"output {inner} is {source!r}, which lies in the folder of output {outer}, "
        f"{folder!r}: write it beside the folder"
    )


def are_there(handlers: Mapping[str, ResultHandler], values: Mapping[str, Any]) -> bool:
    """Return whether all results can be written again: a file may have been moved."""
    # Values in memory stay; a file that a task wrote is moved to its checkpoint's path.
    files = [name for name, kept_by in handlers.items() if kept_by.takes_files]
    return all(os.path.lexists(values[name]) for name in files)
