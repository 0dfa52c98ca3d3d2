"""One checkpoint of a listing."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from prefect_ds.storage.manifest import Manifest
from prefect_ds.storage.scan import Seen

State: TypeAlias = Literal[
    "valid", "stale", "missing", "orphan", "freed", "adopted", "damaged", "unknown"
]
"""What a checkpoint is, for the next run.

``valid``: it counts, as far as its manifest tells. ``stale``: it is whole, and of other
inputs or other code. ``missing``: its data are not there. ``orphan``: no task of the
flow renders its path. ``freed``: its data were removed to free their space.
``adopted``: a person put the file there. ``damaged``: sizes or manifest are not those
that were written. ``unknown``: its path is not known before the run, or it cannot be
looked at.

Only the listing of a flow has ``stale`` and ``orphan``.
"""

STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True, slots=True)
class ListedCheckpoint:
    """One checkpoint, or the place of one."""

    task: str
    """Of the task that wrote it, or would write it; empty: not known."""
    path: str
    """Empty where only the run can tell it."""
    state: State
    reason: str = ""
    """In words, for all that does not simply count."""
    map_index: int | None = None
    """Of a mapped child."""
    flow: str = ""
    """Of the flow that wrote it."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """The text of every field of the path template."""
    file_type: str = ""
    n_rows: int | None = None
    size_bytes: int | None = None
    """Of the data that count, or would if their inputs were the same."""
    seconds: float | None = None
    """Of computing and writing together."""
    written_at: datetime.datetime | None = None
    stamp: str | None = None
    """Of the data that are there: their size and time of change."""
    is_proved: bool = False
    """Whether the data have the stamp of their manifest, which says what made them."""

    @property
    def run(self) -> str:
        """The task, with the index of a mapped child: ``download[3]``."""
        if self.map_index is None:
            return self.task
        return f"{self.task}[{self.map_index}]"

    @property
    def age(self) -> datetime.timedelta | None:
        """The time since it was written."""
        if self.written_at is None:
            return None
        return datetime.datetime.now(datetime.UTC) - self.written_at


def row_of(
    path: str,
    state: State,
    reason: str = "",
    manifest: Manifest | None = None,
    *,
    has_data: bool = True,
    stamp: str | None = None,
    is_proved: bool = False,
) -> ListedCheckpoint:
    """Return a checkpoint as its manifest describes it."""
    if manifest is None:
        return ListedCheckpoint("", path, state, reason, stamp=stamp)
    # `None`: not measured, as in a manifest of an adopted file.
    seconds = None
    if manifest.compute_s is not None:
        seconds = manifest.compute_s + (manifest.write_s or 0.0)
    # Only a frame has rows; the manifests of other results have a description.
    n_rows = None
    if not manifest.description:
        n_rows = manifest.n_rows
    # A manifest without an identity proves nothing: it says who filed the data, not
    # what made them.
    is_ours = manifest.identity is not None and not manifest.adopted
    return ListedCheckpoint(
        task=task_name(manifest.owner.task),
        path=path,
        state=state,
        reason=reason,
        map_index=manifest.owner.map_index,
        flow=manifest.owner.flow,
        fields=dict(manifest.fields),
        file_type=manifest.file_type,
        n_rows=n_rows,
        size_bytes=manifest.size_bytes if has_data else None,
        seconds=seconds,
        written_at=as_time(manifest.written_at),
        stamp=stamp,
        is_proved=is_proved and is_ours,
    )


def row_of_seen(seen: Seen) -> ListedCheckpoint:
    """Return what a look at the sizes says of a checkpoint."""
    state: State = "valid"
    if seen.kind != "whole":
        state = seen.kind
    elif seen.manifest is not None and seen.manifest.adopted:
        state = "adopted"
    return row_of(
        seen.path,
        state,
        seen.reason,
        seen.manifest,
        has_data=seen.kind == "whole",
        stamp=seen.stamp,
        is_proved=seen.is_proved,
    )


def task_name(slug: str) -> str:
    """Return a task's name from its slug, which Prefect numbers.

    >>> task_name("download-1"), task_name("download-2")
    ('download', 'download-2')
    """
    return slug.removesuffix("-1")


def as_time(text: str) -> datetime.datetime | None:
    """Return the time in a manifest; ``None`` if the text is not one."""
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    # Manifests are in UTC, whether they say so or not.
    if time.tzinfo is None:
        return time.replace(tzinfo=datetime.UTC)
    return time
