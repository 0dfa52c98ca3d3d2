"""A reference stands for a committed checkpoint and travels in its place: small, whatever the data."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_ds.result_handler import ResultHandler


@dataclass(slots=True, eq=False, repr=False)
class CheckpointReference:
    """What and where a checkpoint is; :meth:`load` reads it. Never changed: not frozen, as a hit makes one."""

    handler: ResultHandler
    path: str
    content: str
    """Digest of the data: what is loaded is what was referred to, or an error."""
    n_rows: int
    n_columns: int
    size_bytes: int
    written_at: str
    owner: str
    """The task that asked for it in this run."""
    asked: str
    """Digest of the inputs that it was asked for with."""
    is_loaded: bool
    """It was there already, and the task did not run."""
    compute_s: float | None
    """Seconds that computing it took, when it was computed."""
    write_s: float | None

    def load(self) -> Any:
        """Return the data.

        Raises
        ------
        CheckpointNotFoundError
            It was removed, or replaced by other data, since.
        DamagedCheckpointError
            Its bytes are not those that were written; they were set aside.
        """
        return self.handler.load(self.path, self.content)

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        # The names of the fields need not travel.
        return type(self), tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CheckpointReference):
            return NotImplemented
        return (self.path, self.content) == (other.path, other.content)

    def __hash__(self) -> int:
        return hash((self.path, self.content))

    def __dask_tokenize__(self) -> tuple[str, str]:
        # An upstream that was computed again with the same outcome leaves what depends
        # on it valid.
        return ("prefect_ds-checkpoint", self.content)

    def __str__(self) -> str:
        return (
            f"{count(self.n_rows, 'row')}, {count(self.n_columns, 'column')}, {size(self.size_bytes)} "
            f"at {self.path}, written {self.written_at}"
        )

    def __repr__(self) -> str:
        return f"<Checkpoint: {self}>"

    def _repr_html_(self) -> str:
        rows = {
            "rows": f"{self.n_rows:,}",
            "columns": f"{self.n_columns:,}",
            "size": size(self.size_bytes),
            "path": self.path,
            "written": self.written_at,
        }
        cells = "".join(
            f"<tr><th>{key}</th><td>{html.escape(value)}</td></tr>"
            for key, value in rows.items()
        )
        return f"<table><caption>Checkpoint</caption>{cells}</table>"


def replace_references(value: Any, by: Callable[[CheckpointReference], Any]) -> Any:
    """Return ``value`` with each reference in it replaced; lists, tuples, sets and dicts are looked into.

    A value without references comes back itself.
    """
    if isinstance(value, CheckpointReference):
        return by(value)
    if not has_references(value):
        return value
    if type(value) is dict:
        return {
            replace_references(key, by): replace_references(each, by)
            for key, each in value.items()
        }
    return type(value)(replace_references(each, by) for each in value)


def has_references(value: Any) -> bool:
    """Return whether a value is a reference or a plain collection with one in it."""
    seen: set[int] = (
        set()
    )  # A collection may hold itself, or one part of it many times.
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, CheckpointReference):
            return True
        if type(each) in (dict, list, tuple, set) and id(each) not in seen:
            seen.add(id(each))
            waiting.extend(each)
            if type(each) is dict:
                waiting.extend(each.values())
    return False


def count(number: int, noun: str) -> str:
    """Return ``1 row``, ``2,000 rows``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(size_bytes: float) -> str:
    """Return a number of bytes for people, in powers of 1,024."""
    if size_bytes < 1024:
        return count(int(size_bytes), "byte")
    power = min(int(math.log2(size_bytes) // 10), 5)
    return f"{size_bytes / 1024**power:,.1f} {'KMGTP'[power - 1]}iB"
