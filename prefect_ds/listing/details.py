"""All that is known of one checkpoint: origin, inputs, history and followers."""

from __future__ import annotations

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
from prefect_ds.storage.layout import parent
from prefect_ds.storage.manifest import Manifest
from prefect_ds.storage.opening import open_files
from prefect_ds.storage.scan import look_at, scan


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
            "inputs": dict(identity.inputs) if identity else {},
            "values": dict(identity.values) if identity else {},
            "upstream": {
                name: [one._asdict() for one in checkpoints]
                for name, checkpoints in manifest.upstream.items()
            },
            "history": [event._asdict() for event in manifest.history],
            "versions": dict(manifest.versions),
            "followers": [follower.path for follower in self.followers],
        }

    def __str__(self) -> str:
        lines = [f"{shown_path(self.checkpoint.path)}: {self.checkpoint.state}"]
        for label, texts in self._facts():
            for text in filter(None, texts):
                lines.append(f"  {label:<12}{text}")
                label = ""
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = []
        for label, texts in self._facts():
            for text in filter(None, texts):
                rows.append((label, text))
                label = ""
        title = f"{shown_path(self.checkpoint.path)}: {self.checkpoint.state}"
        return render_table(("", ""), rows, title=title)

    def _facts(self) -> Iterator[tuple[str, list[str]]]:
        """Yield what there is to say, as a label and its lines."""
        manifest, row = self.manifest, self.checkpoint
        yield "", [row.reason]
        owner = manifest.owner
        yield "task", [f"{row.run} of flow {owner.flow}" if owner.flow else row.run]
        yield "run", [owner.run_id]
        age = f" ({in_words(row.age)} ago)" if row.age is not None else ""
        yield "written", [f"{manifest.written_at}{age}"]
        yield "data", [_data(manifest)]
        yield "took", [_took(manifest)]
        yield "template", [shown_path(manifest.template)]
        yield "fields", [f"{name} = {text}" for name, text in manifest.fields.items()]
        yield "inputs", list(_inputs(manifest))
        versions = [f"{name} {text}" for name, text in manifest.versions.items()]
        yield "versions", [", ".join(versions)]
        yield (
            "history",
            [
                f"{event.what} {event.at}" + (f": {event.why}" if event.why else "")
                for event in manifest.history
            ],
        )
        yield (
            "followed by",
            [f"{shown_path(one.path)} ({one.run})" for one in self.followers],
        )


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
        upstream = [one for some in other.manifest.upstream.values() for one in some]
        if any(one.path in (path, manifest.path) for one in upstream):
            yield row_of_seen(other)


def _root(path: str, manifest: Manifest) -> str:
    """Return the folder above the first field of the template."""
    folder = parent(path)
    if not manifest.template:
        return folder
    # The folder may have moved since, and the template may be relative.
    depth = PathTemplate(manifest.template).template.count("/")
    root = PathTemplate(manifest.template).root
    for _ in range(depth - root.count("/") - 1):
        folder = parent(folder)
    return folder


def _data(manifest: Manifest) -> str:
    what = manifest.description or count(manifest.n_rows, "row")
    if not manifest.description:
        what += f", {count(manifest.n_columns, 'column')}"
    parts = count(len(manifest.parts), "part") if manifest.kind == "folder" else ""
    facts = [manifest.file_type, what, parts, size(manifest.size_bytes)]
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
            listed = ", ".join(shown_path(one.path) for one in checkpoints[:3])
            more = f" and {len(checkpoints) - 3:,} more" if len(checkpoints) > 3 else ""
            yield f"{name} = checkpoint {listed}{more}"
        else:
            yield f"{name} = a value with the digest {digest.rpartition(':')[2][:12]}"
    for name in manifest.identity.unstable_inputs:
        yield f"{name} has no digest"
