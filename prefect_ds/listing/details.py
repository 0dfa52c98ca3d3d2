"""All that is known of one checkpoint: origin, inputs, history and followers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prefect_ds.checkpoints.age import in_words
from prefect_ds.checkpoints.reference import count, size
from prefect_ds.errors import CheckpointNotFoundError
from prefect_ds.listing.checkpoints import shown_path
from prefect_ds.listing.places import PathLike, absolute
from prefect_ds.listing.rows import ListedCheckpoint, row_of_seen
from prefect_ds.pages.rendering import render_table
from prefect_ds.path_template import PathTemplate
from prefect_ds.storage.filesystem import FileSystem
from prefect_ds.storage.history import Event
from prefect_ds.storage.layout import parent
from prefect_ds.storage.manifest import Manifest
from prefect_ds.storage.opening import open_files
from prefect_ds.storage.scan import look_at, scan

_MOST_PATHS = 3
"""Of the checkpoints that one input was made of, in its line."""


@dataclass(frozen=True, slots=True, repr=False)
class Details:
    """All that is known of one checkpoint; printed, some lines for people."""

    checkpoint: ListedCheckpoint
    manifest: Manifest
    followers: tuple[ListedCheckpoint, ...]
    """Checkpoints that were made from it."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as values that JSON has."""
        manifest, identity = self.manifest, self.manifest.identity
        inputs: dict[str, str] = {}
        values: dict[str, str] = {}
        # A person's file, or one of Prefect itself, has no identity.
        if identity is not None:
            inputs, values = dict(identity.inputs), dict(identity.values)
        return {
            "path": self.checkpoint.path,
            "state": self.checkpoint.state,
            "reason": self.checkpoint.reason,
            "flow": manifest.owner.flow,
            "run_id": manifest.owner.run_id,
            "task": manifest.owner.task,
            "map_index": manifest.owner.map_index,
            "template": manifest.template,
            "fields": dict(manifest.fields),
            "file_type": manifest.file_type,
            "n_rows": manifest.n_rows,
            "n_columns": manifest.n_columns,
            "size_bytes": manifest.size_bytes,
            "n_parts": len(manifest.parts),
            "written_at": manifest.written_at,
            "compute_s": manifest.compute_s,
            "write_s": manifest.write_s,
            "inputs": inputs,
            "values": values,
            "upstream": {
                name: [checkpoint._asdict() for checkpoint in checkpoints]
                for name, checkpoints in manifest.upstream.items()
            },
            "history": [event._asdict() for event in manifest.history],
            "versions": dict(manifest.versions),
            "followers": [follower.path for follower in self.followers],
        }

    def __str__(self) -> str:
        lines = [f"{shown_path(self.checkpoint.path)}: {self.checkpoint.state}"]
        lines += [f"  {label:<12}{text}" for label, text in self._rows()]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        title = f"{shown_path(self.checkpoint.path)}: {self.checkpoint.state}"
        return render_table(("", ""), list(self._rows()), title=title)

    def _rows(self) -> Iterator[tuple[str, str]]:
        """Yield the lines of all facts; a label is said once, on its first line."""
        for label, texts in self._facts():
            for text in filter(None, texts):
                yield label, text
                label = ""

    def _facts(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the facts: a label, and texts, which are empty if nothing is known."""
        manifest, row = self.manifest, self.checkpoint
        yield "", [row.reason]
        owner = manifest.owner
        of_flow = f" of flow {owner.flow}" if owner.flow else ""
        yield "task", [f"{row.run}{of_flow}"]
        yield "run", [owner.run_id]
        written = manifest.written_at
        if row.age is not None:
            written += f" ({in_words(row.age)} ago)"
        yield "written", [written]
        yield "data", [_data(manifest)]
        yield "took", [_took(manifest)]
        yield "template", [shown_path(manifest.template)]
        yield "fields", [f"{name} = {text}" for name, text in manifest.fields.items()]
        yield "inputs", list(_inputs(manifest))
        versions = [f"{name} {text}" for name, text in manifest.versions.items()]
        yield "versions", [", ".join(versions)]
        yield "history", list(map(_in_a_line, manifest.history))
        followed_by = [
            f"{shown_path(follower.path)} ({follower.run})"
            for follower in self.followers
        ]
        yield "followed by", followed_by


def show(
    path: PathLike,
    *,
    followers: bool = True,
    storage_options: Mapping[str, Any] | None = None,
) -> Details:
    """Return all that is known of one checkpoint.

    Parameters
    ----------
    path
        Of the checkpoint.
    followers
        Whether to look for the checkpoints that were made from it. They are looked for
        below the folder of its path template.
    storage_options
        Of a URL, as for the handler.

    Raises
    ------
    CheckpointNotFoundError
        No manifest that can be read is filed for the path.

    Examples
    --------
    >>> import tempfile, pandas as pd
    >>> from prefect_ds import PandasResultHandler, show
    >>> handler = PandasResultHandler(f"{tempfile.mkdtemp()}/table.csv")
    >>> written = handler.write(pd.DataFrame({"n": [1, 2]}))
    >>> show(written.location).manifest.n_rows
    2
    """
    where = absolute(path)
    files = open_files(where, storage_options)
    seen = look_at(files, where)
    if seen.manifest is None:
        raise CheckpointNotFoundError(f"no checkpoint at {where!r}: {seen.reason}")
    followed_by: list[ListedCheckpoint] = []
    if followers:
        followed_by = list(_followers(files, where, seen.manifest))
    return Details(row_of_seen(seen), seen.manifest, tuple(followed_by))


def _followers(
    files: FileSystem, path: str, manifest: Manifest
) -> Iterator[ListedCheckpoint]:
    for other in scan(files, _root(path, manifest), known={path}):
        if other.manifest is None:
            continue
        # The path of today, or that of the write: the folder may have moved since.
        names = {path, manifest.path}
        of_inputs = itertools.chain.from_iterable(other.manifest.upstream.values())
        if any(checkpoint.path in names for checkpoint in of_inputs):
            yield row_of_seen(other)


def _root(path: str, manifest: Manifest) -> str:
    """Return the folder above the first field of the template."""
    folder = parent(path)
    if not manifest.template:
        return folder
    # Only the number of folders counts, up from the path: the folder may have moved
    # since, and the template may be relative.
    depth = PathTemplate(manifest.template).template.count("/")
    root = PathTemplate(manifest.template).root
    for _ in range(depth - root.count("/") - 1):
        folder = parent(folder)
    return folder


def _in_a_line(event: Event) -> str:
    why = f": {event.why}" if event.why else ""
    return f"{event.what} {event.at}{why}"


def _data(manifest: Manifest) -> str:
    facts = [manifest.file_type]
    if manifest.description:
        # Of a result that is no frame.
        facts.append(manifest.description)
    else:
        facts.append(count(manifest.n_rows, "row"))
        facts.append(count(manifest.n_columns, "column"))
    if manifest.kind == "folder":
        facts.append(count(len(manifest.parts), "part"))
    facts.append(size(manifest.size_bytes))
    return ", ".join(filter(None, facts))


def _took(manifest: Manifest) -> str:
    if manifest.compute_s is None:
        return ""
    write_s = manifest.write_s or 0.0
    return f"{manifest.compute_s:.2f} s to compute, {write_s:.2f} s to write"


def _inputs(manifest: Manifest) -> Iterator[str]:
    """Yield a line for every input: its value, its checkpoints, or its digest."""
    if manifest.identity is None:
        return
    for name, digest in manifest.identity.inputs.items():
        checkpoints = manifest.upstream.get(name, ())
        if name in manifest.identity.values:
            yield f"{name} = {manifest.identity.values[name]}"
        elif checkpoints:
            # A list of mapped results may have thousands.
            first = checkpoints[:_MOST_PATHS]
            listed = ", ".join(shown_path(checkpoint.path) for checkpoint in first)
            n_more = len(checkpoints) - len(first)
            more = f" and {n_more:,} more" if n_more else ""
            yield f"{name} = checkpoint {listed}{more}"
        else:
            # Twelve characters are enough to compare two of them by eye.
            yield f"{name} = a value with the digest {digest.rpartition(':')[2][:12]}"
    # Such as connections: nothing about them holds in another process.
    for name in manifest.identity.unstable_inputs:
        yield f"{name} has no digest"
