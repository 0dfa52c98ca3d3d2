"""What a prune removed, or would remove; printed, it is a table."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from tabulate import tabulate

from prefect_ds.checkpoints.reference import count, size
from prefect_ds.listing.checkpoints import shown_path
from prefect_ds.pages.rendering import MOST_ROWS, render_table

What: TypeAlias = Literal["orphan", "old", "not needed", "set aside", "leftover"]
"""Why it may go.

``orphan``: no task of the flow renders its path. ``old``: it is older than
``older_than``, or the oldest above ``max_size``. ``not needed``: all tasks that take it
load; its data go, its manifest stays. ``set aside``: it was set aside. ``leftover``: of
a stopped or replaced write.
"""

_HEADERS = ("what", "task", "path", "size", "reason")


@dataclass(frozen=True, slots=True)
class Prunable:
    """One checkpoint, or one file or folder of the side folder, that may go."""

    what: What
    path: str
    size_bytes: int
    """Bytes that are free once it is gone."""
    run: str = ""
    """The task that wrote it, with the index of a mapped child."""
    reason: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Pruned:
    """What a prune removed, or would remove; printed, it is a table.

    Parameters
    ----------
    where
        What was pruned, in words.
    items
        What was removed; in a dry run, what would be.
    kept
        What was to be removed and was not, by its path, with the reason in words.
    is_dry
        Whether nothing was removed: a dry run.
    """

    where: str
    items: tuple[Prunable, ...]
    kept: dict[str, str]
    is_dry: bool

    @property
    def size_bytes(self) -> int:
        """Bytes that were freed, or would be."""
        return sum(item.size_bytes for item in self.items)

    @property
    def counts(self) -> Counter[What]:
        """Kind to the number of items of it."""
        return Counter(item.what for item in self.items)

    @property
    def paths(self) -> list[str]:
        """The paths that were removed, or would be."""
        return [item.path for item in self.items]

    def to_dict(self) -> dict[str, Any]:
        """Return it as values that JSON has."""
        return {
            "where": self.where,
            "is_dry": self.is_dry,
            "size_bytes": self.size_bytes,
            "items": [asdict(item) for item in self.items],
            "kept": dict(self.kept),
        }

    def __str__(self) -> str:
        lines = []
        # All of them, not a part: this is what a person agrees to.
        if self.items:
            rows = [_row(item) for item in self.items]
            table = tabulate(
                rows,
                _HEADERS,
                # A path or a task may look like a number.
                disable_numparse=True,
                colalign=("left", "left", "left", "right", "left"),
            )
            lines.append(table)
        lines += [f"kept {shown_path(path)}: {why}" for path, why in self.kept.items()]
        lines.append(self._sums())
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [_row(item) for item in self.items[:MOST_ROWS]]
        kept = [f"kept {shown_path(path)}: {why}" for path, why in self.kept.items()]
        return render_table(
            _HEADERS,
            rows,
            n_rows=len(self.items),
            numbers=["size"],
            lines=[*kept, self._sums()],
        )

    def _sums(self) -> str:
        if not self.items:
            return f"{self.where}: nothing to remove."
        kinds = [f"{number:,} {what}" for what, number in self.counts.items()]
        items = f"{count(len(self.items), 'item')} ({', '.join(kinds)})"
        amount = f"{size(self.size_bytes)} ({self.size_bytes:,} bytes)"
        if self.is_dry:
            return f"{self.where}: would remove {items}, {amount}. Nothing was removed."
        return f"{self.where}: removed {items}, {amount}."


def _row(item: Prunable) -> tuple[str, ...]:
    path = shown_path(item.path)
    return (item.what, item.run, path, size(item.size_bytes), item.reason)
