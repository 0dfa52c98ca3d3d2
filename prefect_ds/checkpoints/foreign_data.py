"""How a handler reads data that a person put at a path, and gives them a manifest."""

from __future__ import annotations

import abc
import logging
from dataclasses import replace

from prefect_ds.checkpoints import adoption
from prefect_ds.checkpoints.draft import Draft
from prefect_ds.checkpoints.undecodable import is_no_fault_of_data
from prefect_ds.errors import CheckpointNotFoundError
from prefect_ds.storage.layout import side_folder
from prefect_ds.storage.lookup import CHANGED_BY_HAND, Found
from prefect_ds.storage.manifest import DESCRIPTION, JSONObject, Manifest, Origin
from prefect_ds.storage.store import CheckpointStore

logger = logging.getLogger("prefect.prefect_ds.checkpoints.foreign_data")


class ForeignData(abc.ABC):
    """The part of a handler that deals with data which a person put at a path."""

    file_type: str

    def _find_foreign(self, path: str, at_path: Found) -> Found:
        store = self.store
        # Both before the data are read. A change in the middle of the reading then
        # shows; and the manifest that is filed makes a side folder.
        status = store.files.status(path)
        has_side_folder = bool(store.files.names(side_folder(path)))
        try:
            # An edit keeps the types of the checkpoint that it was made to.
            if at_path.reason == CHANGED_BY_HAND:
                draft = self._describe(path)
            else:
                draft = self._describe_foreign(path)
        except Exception as error:
            if is_no_fault_of_data(error, self.file_type):
                raise
            reason = (
                f"it has no manifest and cannot be read as {self.file_type} ({error})"
            )
            return Found("damaged", reason=reason, stamp=at_path.stamp, advice="mend")
        self._warn_of_doubts(path, draft)
        if not has_side_folder:
            adoption.warn_of_lost_manifests(path)
        described = self._manifest(path, draft, Origin())
        try:
            manifest = store.adopt(path, described, status)
        except CheckpointNotFoundError:
            # An OSError as well: the data are gone, and nothing can count.
            raise
        except OSError as error:
            # A read-only folder, a full disk: it is read every time then, and counts.
            logger.debug("%s: cannot file a manifest for it: %s", path, error)
            manifest = replace(described, stamp=at_path.stamp, adopted=True)
        return Found("committed", manifest, at_path.reason)

    def _adoptable(self, path: str) -> Manifest:
        draft = self._describe(path)
        self._warn_of_doubts(path, draft)
        return self._manifest(path, draft, Origin())

    def _warn_of_doubts(self, path: str, draft: Draft) -> None:
        """Warn if the data that a person put at ``path`` look like a mistake."""
        if DESCRIPTION in (draft.schema or {}):
            return  # No frame, so that it has no rows to be without.
        adoption.warn_of_doubts(path, draft.value, draft.n_rows, draft.n_columns)

    def _describe(self, path: str) -> Draft:
        """Describe a person's file, with the types of the checkpoint that it was."""
        earlier = self.store.last_schema(path)
        if earlier is None:
            return self._describe_foreign(path)
        return self._describe_edited(path, earlier)

    @abc.abstractmethod
    def _describe_foreign(self, path: str) -> Draft:
        """Read what a person put at ``path`` and describe it."""

    def _describe_edited(self, path: str, earlier: JSONObject) -> Draft:
        """Read an edited file and describe it, with the types of its earlier schema."""
        return self._describe_foreign(path)

    @property
    @abc.abstractmethod
    def store(self) -> CheckpointStore:
        """The store that the path lies in."""

    @abc.abstractmethod
    def _manifest(
        self,
        path: str,
        draft: Draft,
        origin: Origin,
        *,
        write_s: float | None = None,
    ) -> Manifest:
        """Return the manifest of a draft."""
