"""The list of a task's outputs: the hidden file that makes them count.

Its text lists their paths, for people. Its manifest says which data belong together;
only this module knows in which form.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from prefect_ds.checkpoints.draft import ON_DEMAND, Draft, Kept
from prefect_ds.checkpoints.reference import CheckpointReference, count
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.describe import describe_staged
from prefect_ds.storage.lookup import Found
from prefect_ds.storage.manifest import DESCRIPTION, Manifest, Origin
from prefect_ds.storage.store import CheckpointStore

_CONTENTS = "outputs"
"""The key of a schema that lists the outputs, by name: the digests of their data."""

_ORDER = "order"
"""The key of a schema that lists the names in the order of the task's dict."""

_FORM = "type"
"""The key of a schema that says what the task returned: dict, tuple or list."""


@contextlib.contextmanager
def staged_list(
    store: CheckpointStore, path: str, kept: Mapping[str, Kept], form: type
) -> Iterator[Draft]:
    """Stage the list of outputs that were kept.

    Parameters
    ----------
    store, path
        Where the list is written.
    kept
        The outputs, by name.
    form
        dict, tuple or list: what the task returned.
    """
    paths = {name: output.reference.path for name, output in kept.items()}
    contents = {name: output.reference.content for name, output in kept.items()}
    with store.staging(path) as file:
        file.write(json.dumps(paths, indent=2, ensure_ascii=False).encode())
        part = describe_staged(path, file, 0)
        staged = store.files.finish(file)
        schema = {
            DESCRIPTION: count(len(contents), "output"),
            _CONTENTS: contents,
            _ORDER: list(contents),
            _FORM: form.__name__,
        }
        yield Draft((part,), 0, schema, None, staged=staged)


def kept_files_last(
    handlers: Mapping[str, ResultHandler],
    values: Mapping[str, Any],
    paths: Mapping[str, str],
    origin: Origin,
) -> dict[str, Kept]:
    """Commit the outputs, and return them by name, in the order of the values.

    A file leaves its place when it is committed. It is the last, so that an error with
    another output leaves it where the task wrote it.

    Parameters
    ----------
    handlers, values, paths
        The handlers, the results and the paths of the outputs, by name.
    origin
        Who writes them.
    """
    started = time.perf_counter()
    kept = {}
    for name in sorted(values, key=lambda name: handlers[name].takes_files):
        of_output = origin
        if handlers[name].takes_files and origin.compute_s is not None:
            # From the seconds since the task began follows which files are its own.
            seconds = origin.compute_s + time.perf_counter() - started
            of_output = replace(origin, compute_s=seconds)
        kept[name] = handlers[name].keep(values[name], paths[name], origin=of_output)
    return {name: kept[name] for name in values}


def listed_contents(manifest: Manifest) -> dict[str, str]:
    """Return the outputs in a list by name, as digests of their data."""
    assert manifest.schema is not None
    contents: dict[str, str] = manifest.schema[_CONTENTS]
    return contents


def in_order(manifest: Manifest, names: Iterable[str]) -> list[str]:
    """Return names of outputs in the order in which the task returned them."""
    assert manifest.schema is not None
    order: list[str] = manifest.schema.get(_ORDER, [])
    named = list(names)
    known = [name for name in order if name in named]
    return known + [name for name in named if name not in known]


def why_not_all(
    manifest: Manifest,
    looks: Mapping[str, Found | None],
    handlers: Mapping[str, ResultHandler],
) -> Found | None:
    """Return what counts in place of a list whose outputs are not all there.

    Parameters
    ----------
    manifest
        The manifest of the list.
    looks
        What lies at the path of every output; ``None`` for one that is not listed.
    handlers
        The handlers of the outputs: what a reader gets depends on their options.
    """
    contents = listed_contents(manifest)
    is_freed = False
    for name, of_output in looks.items():
        if of_output is None:
            return Found("missing", reason=f"its output {name} is new")
        # A person's file that has no manifest yet: the look-up of the handler reads it.
        if of_output.kind == "foreign":
            return Found("foreign", reason=of_output.reason, stamp=of_output.stamp)
        problem = _problem_of(of_output, handlers[name], contents[name])
        if problem:
            return Found("missing", reason=f"its output {name}: {problem}")
        is_freed = is_freed or of_output.freed is not None
    if not is_freed:
        return None
    reason = "some of its outputs were freed"
    return Found("missing", reason=reason, freed=manifest)


def _problem_of(of_output: Found, handler: ResultHandler, content: str) -> str:
    """Return why an output is not the one that was listed; empty where it is."""
    # Data that were freed still prove what was made from them.
    of_file = of_output.manifest or of_output.freed
    if of_file is None:
        return of_output.reason
    # A file that a person put there counts as the output, whatever is in it.
    if handler.content_of(of_file) == content or of_file.adopted:
        return ""
    return "another run replaced it"


def joint_reference(
    listed: CheckpointReference,
    manifest: Manifest,
    outputs: dict[str, CheckpointReference],
) -> CheckpointReference:
    """Return one reference to several outputs, which holds theirs.

    Parameters
    ----------
    listed
        The reference to their list.
    manifest
        The manifest of the list.
    outputs
        The references to them, by name.
    """
    assert manifest.schema is not None
    contents = {name: output.content for name, output in outputs.items()}
    members: Any = outputs
    if manifest.schema[_FORM] == "tuple":
        members = tuple(outputs.values())
    elif manifest.schema[_FORM] == "list":
        members = list(outputs.values())
    return replace(
        listed,
        # Not that of the list: an output that a person replaced has other data.
        content=hashlib.sha256(json.dumps(contents).encode()).hexdigest(),
        size_bytes=sum(output.size_bytes for output in outputs.values()),
        is_freed=any(output.is_freed for output in outputs.values()),
        members=members,
    )


def joined(
    kept: Mapping[str, Kept], form: type, reference: CheckpointReference
) -> Kept:
    """Return several results that were kept as one.

    Parameters
    ----------
    kept
        The results, by the name of their output.
    form
        dict, tuple or list: what the task returned.
    reference
        To all of them.
    """
    values = {name: output.value for name, output in kept.items()}
    compute_s = sum(output.compute_s for output in kept.values())
    notes = [f"{name}: {output.note}" for name, output in kept.items() if output.note]
    value: Any = values
    if form is not dict:
        value = form(values.values())
    # One that has to be read first leaves the whole to be read through its reference.
    if any(part is ON_DEMAND for part in values.values()):
        value = ON_DEMAND
    return Kept(reference, value, "; ".join(notes), compute_s)
