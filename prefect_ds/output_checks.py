"""Several outputs: the checks of their handlers and values, and how they are joined."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from prefect_ds.checkpoints.draft import ON_DEMAND, Kept
from prefect_ds.checkpoints.reference import CheckpointReference, count
from prefect_ds.errors import ResultTypeError
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.lookup import Found
from prefect_ds.storage.manifest import Manifest

ANOTHER_WAS_FIRST = "another run was first with the same inputs; its result counts"
"""A note on a result that is not the one which the task has just computed."""

_COMMON = ("match", "ignore", "show", "max_age")
"""What decides whether a result counts, so that it is one for all outputs."""


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
    """Return the results by name.

    Raises
    ------
    ResultTypeError
        They are not those that the handlers are for.
    """
    names = list(handlers)
    kinds = (dict,) if is_named else (tuple, list)
    wanted = ", ".join(names) if is_named else count(len(names), "output")
    kind = type(value).__name__
    if type(value) not in kinds:
        form = f"a dict with {wanted}" if is_named else f"a tuple of {wanted}"
        raise ResultTypeError(
            f"the task returned a {kind}, and its result is kept as {form}"
        )
    values = dict(value) if is_named else dict(zip(names, value, strict=False))
    if values.keys() != handlers.keys() or len(value) != len(names):
        has = ", ".join(map(repr, value)) if is_named else len(value)
        raise ResultTypeError(
            f"the task returned a {kind} with {has}, and its outputs are {wanted}"
        )
    for name, handler in handlers.items():
        is_none = values[name] is None and handler.keeps_none
        if not is_none and not handler.accepts(values[name]):
            raise ResultTypeError(
                f"output {name} is a {type(values[name]).__name__}, which "
                f"{type(handler).__name__} does not keep: give it another handler"
            )
    return {name: values[name] for name in names}


def are_there(handlers: Mapping[str, ResultHandler], values: Mapping[str, Any]) -> bool:
    """Return whether all results can be written again: files may have left."""
    files = [name for name, kept_by in handlers.items() if kept_by.takes_files]
    return all(os.path.lexists(values[name]) for name in files)


def joined(
    kept: Mapping[str, Kept], kind: type, reference: CheckpointReference
) -> Kept:
    """Return several results that were kept as one.

    Parameters
    ----------
    kept
        The results, by the name of their output.
    kind
        dict, tuple or list: the form that the task gave them.
    reference
        To all of them.
    """
    values = {name: output.value for name, output in kept.items()}
    compute_s = sum(output.compute_s for output in kept.values())
    notes = [f"{name}: {output.note}" for name, output in kept.items() if output.note]
    value: Any = values if kind is dict else kind(values.values())
    if any(part is ON_DEMAND for part in values.values()):
        value = ON_DEMAND
    return Kept(reference, value, "; ".join(notes), compute_s)


def joint_reference(
    listed: CheckpointReference,
    manifest: Manifest,
    outputs: dict[str, CheckpointReference],
) -> CheckpointReference:
    """Return the reference to several outputs, with the one to each in it.

    Parameters
    ----------
    listed
        The reference to their list.
    manifest
        Of the list.
    outputs
        The references to them, by name.
    """
    assert manifest.schema is not None
    contents = {name: output.content for name, output in outputs.items()}
    members: Any = outputs
    if manifest.schema["type"] != "dict":
        kind = tuple if manifest.schema["type"] == "tuple" else list
        members = kind(outputs.values())
    return replace(
        listed,
        content=hashlib.sha256(json.dumps(contents).encode()).hexdigest(),
        size_bytes=sum(output.size_bytes for output in outputs.values()),
        is_freed=any(output.is_freed for output in outputs.values()),
        members=members,
    )


def problem_of(of_output: Found, content: str) -> str:
    """Return why an output is not the one that was listed; empty where it is.

    Parameters
    ----------
    of_output
        What lies at its path.
    content
        Digest of what was listed.
    """
    of_file = of_output.manifest or of_output.freed
    if of_file is None:
        return of_output.reason
    if of_file.content == content or of_file.adopted:
        return ""
    return "another run replaced it"
