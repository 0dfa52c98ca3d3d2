"""References: small objects that travel in place of the data of a checkpoint."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias


class LoadsCheckpoints(Protocol):
    """A handler, as a reference needs it."""

    def load(self, path: str, content: str | None = None) -> Any:
        """Return the data of the checkpoint at a path."""

    def confirm(self, path: str, content: str) -> None:
        """Raise an error if a reader of the path may have read other data."""


@dataclass(slots=True, eq=False, repr=False)
class CheckpointReference:
    """The place and a description of a checkpoint; :meth:`load` reads its data.

    It is never changed. It is not frozen, since that makes every hit slower.
    """

    handler: LoadsCheckpoints
    path: str
    content: str
    """Digest of the data: if other data are at the path by now, loading fails."""
    n_rows: int
    n_columns: int
    size_bytes: int
    written_at: str
    owner: str
    """The task that asked for it in this run."""
    asked: str
    """Digest of that task's inputs."""
    is_loaded: bool
    """It was there before this run, and the task did not run."""
    compute_s: float | None
    """Seconds that computing it took, when it was computed."""
    write_s: float | None
    remarks: tuple[str, ...] = ()
    """In words: what was not compared, or has changed without counting."""
    identity: str = ""
    """Digest of the checkpoint's identity; empty: not known."""
    is_freed: bool = False
    """Its data were removed to free their space, and nothing in this run needs them."""
    description: str = ""
    """What the data are, such as "dict of 5"; empty for a frame."""
    members: Any = None
    """References in a dict, tuple or list: where it is several checkpoints, those."""

    def load(self) -> Any:
        """Return the data.

        Raises
        ------
        CheckpointNotFoundError
            It was removed, or replaced by other data, since.
        DamagedCheckpointError
            Its bytes are not those that were written; they were set aside.
        """
        if self.members is not None:
            return self.assembled(CheckpointReference.load)
        return self.handler.load(self.path, self.content)

    def confirm(self) -> None:
        """Raise an error if a task that got the data may have read others."""
        if self.members is not None:
            self.assembled(CheckpointReference.confirm)
            return
        self.handler.confirm(self.path, self.content)

    def assembled(self, load: Callable[[CheckpointReference], Any]) -> Any:
        """Return the data of several checkpoints in the form that they have.

        Parameters
        ----------
        load
            Returns the data of one.
        """
        if isinstance(self.members, dict):
            return {name: load(member) for name, member in self.members.items()}
        return type(self.members)(load(member) for member in self.members)

    # Prefect looks at a value itself where a task maps over it or flattens it. These
    # answer as the data do.

    @property
    def _data(self) -> Any:
        """The data; of several checkpoints their references, which are not read."""
        return self.load() if self.members is None else self.members

    def __getitem__(self, key: Any) -> Any:
        return self._data[key]

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._data)

    def __bool__(self) -> bool:
        return bool(self._data)

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

    @property
    def summary(self) -> str:
        """What the data are and their size: "3 rows, 2 columns, 1.2 KiB"."""
        what = self.description
        if not what:
            what = f"{count(self.n_rows, 'row')}, {count(self.n_columns, 'column')}"
        return f"{what}, {size(self.size_bytes)}"

    def __str__(self) -> str:
        return f"{self.summary} at {self.path}, written {self.written_at}"

    def __repr__(self) -> str:
        return f"<Checkpoint: {self}>"

    def _repr_html_(self) -> str:
        rows = {"data": self.description}
        if not self.description:
            rows = {"rows": f"{self.n_rows:,}", "columns": f"{self.n_columns:,}"}
        rows |= {
            "size": size(self.size_bytes),
            "path": self.path,
            "written": self.written_at,
        }
        cells = "".join(
            f"<tr><th>{key}</th><td>{html.escape(value)}</td></tr>"
            for key, value in rows.items()
        )
        return f"<table><caption>Checkpoint</caption>{cells}</table>"


Replaced: TypeAlias = dict[int, tuple[Any, Any]]
"""By id: a collection, which keeps the id its own, and its replacement."""


def replace_references(
    value: Any,
    by: Callable[[CheckpointReference], Any],
    replaced: Replaced | None = None,
) -> Any:
    """Return ``value`` with every reference in it replaced.

    Lists, tuples, sets and dicts are searched; their subclasses are not. A collection
    without references comes back itself, and one that occurs twice is replaced once.

    Parameters
    ----------
    value
        Any value.
    by
        Returns the replacement of a reference.
    replaced
        Collections replaced so far, for several values that may share some.
    """
    if isinstance(value, CheckpointReference):
        return by(value)
    if not has_references(value):
        return value
    replaced = {} if replaced is None else replaced
    if id(value) in replaced:
        return replaced[id(value)][1]
    if type(value) is list:
        # Before its items, as a list may hold itself.
        new_list: list[Any] = []
        replaced[id(value)] = value, new_list
        new_list.extend(replace_references(item, by, replaced) for item in value)
        return new_list
    if type(value) is dict:
        new_dict: dict[Any, Any] = {}
        replaced[id(value)] = value, new_dict
        for key, item in value.items():
            new_key = replace_references(key, by, replaced)
            new_dict[new_key] = replace_references(item, by, replaced)
        return new_dict
    new = type(value)(replace_references(item, by, replaced) for item in value)
    replaced[id(value)] = value, new
    return new


_COLLECTIONS = {dict, list, tuple, set}
"""Those that are searched. A value of another kind is looked at without a walk: most
inputs are such."""


def has_references(value: Any) -> bool:
    """Return whether a value is a reference or a plain collection with one in it."""
    if type(value) not in _COLLECTIONS:
        return isinstance(value, CheckpointReference)
    return any(isinstance(item, CheckpointReference) for item in items_in([value]))


def items_in(values: Iterable[Any]) -> Iterator[Any]:
    """Yield values, and those in the plain collections among them, in order."""
    # A collection may hold itself, or hold one part of it many times. Reversed, as the
    # last that waits comes next.
    seen: set[int] = set()
    waiting = [*values][::-1]
    while waiting:
        item = waiting.pop()
        yield item
        if type(item) not in _COLLECTIONS or id(item) in seen:
            continue
        seen.add(id(item))
        items = list(item)
        if type(item) is dict:
            items += item.values()
        waiting += reversed(items)


def references_in(value: Any) -> list[CheckpointReference]:
    """Return the references in a value and in plain collections, every place once."""
    if type(value) not in _COLLECTIONS:
        return [value] if isinstance(value, CheckpointReference) else []
    references: dict[tuple[str, str], CheckpointReference] = {}
    for item in items_in([value]):
        if isinstance(item, CheckpointReference):
            references.setdefault((item.path, item.content), item)
    return list(references.values())


def count(number: int, noun: str) -> str:
    """Return ``1 row``, ``2,000 rows``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(size_bytes: float) -> str:
    """Return a number of bytes for people, in powers of 1,024."""
    if size_bytes < 1024:
        return count(int(size_bytes), "byte")
    # 2**10 bytes are a KiB, 2**20 a MiB and so on; above PiB there is no letter.
    power = min(int(math.log2(size_bytes) // 10), 5)
    return f"{size_bytes / 1024**power:,.1f} {'KMGTP'[power - 1]}iB"
