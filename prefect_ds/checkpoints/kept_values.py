"""The part of a handler that says which values it keeps."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

from prefect_ds.checkpoints.rescue import rescue
from prefect_ds.storage.store import CheckpointStore


class KeptValues:
    """Says which values a handler keeps, and what happens to others."""

    keeps_none: ClassVar[bool] = False
    """Whether a task that returns nothing has a checkpoint too."""

    takes_files: ClassVar[bool] = False
    """Whether a value is the path of a file, which leaves its place."""

    @property
    def own_code(self) -> tuple[Any, ...]:
        """The user's functions that write and read the file.

        They count for the identity of a checkpoint, as the task's code does.
        """
        return ()

    def accepts(self, value: Any) -> bool:
        """Return whether the handler keeps values of this type."""
        return isinstance(value, self.kept_classes())

    @abc.abstractmethod
    def kept_classes(self) -> tuple[type, ...]:
        """Return the classes of the values that the handler keeps."""

    def check_options(self) -> None:
        """Raise an error where the options do not fit one another, or the path."""

    def confirm(self, path: str, content: str) -> None:
        """Raise an error if a task that got the data of ``content`` read others.

        Values are checked when they are loaded, so that there is nothing to do.
        """

    def rescue(self, value: Any, path: str) -> str | None:
        """Keep a value that could not be written; return the path of its pickle.

        ``None``: it cannot be pickled, or is not computed yet.
        """
        return rescue(self.store, value, path)

    @property
    @abc.abstractmethod
    def store(self) -> CheckpointStore:
        """The store that the path lies in."""
