"""Which checkpoints may go: orphans, old ones, and those that nothing needs."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from functools import partial

from prefect_ds.checkpoints.age import in_words
from prefect_ds.checkpoints.reference import size
from prefect_ds.listing.places import Located
from prefect_ds.listing.pruned import What
from prefect_ds.listing.removing import Removal, of_checkpoint, of_data
from prefect_ds.listing.side_by_side import side_by_side
from prefect_ds.outputs import Outputs


class Choice:
    """The checkpoints that may go, chosen by one reason after the other.

    Parameters
    ----------
    checkpoints
        All of them.
    least_age
        Younger ones stay; ``None``: of any age.
    """

    def __init__(
        self, checkpoints: list[Located], least_age: datetime.timedelta | None
    ) -> None:
        self._all = checkpoints
        self._may_go = [
            located for located in checkpoints if _is_ours_and_older(located, least_age)
        ]
        self._chosen: dict[str, Callable[[], Removal]] = {}

    def removals(self) -> list[Removal]:
        """Return the removals of all that was chosen, with their bytes."""
        is_far = any(not located.files.renames_folders for located in self._may_go)
        # Measured last and side by side: at an object store every one takes a request.
        return side_by_side(
            lambda make: make(),
            list(self._chosen.values()),
            what="Measuring",
            progress=False,
            is_far=is_far,
        )

    def add_orphans(self) -> None:
        """Choose what no task of the flow renders."""
        for located in self._may_go:
            if located.row.state == "orphan":
                self._add(located, "orphan", located.row.reason)

    def add_old(self, least_age: datetime.timedelta) -> None:
        """Choose every checkpoint of at least this age."""
        for located in self._may_go:
            assert located.row.age is not None
            reason = f"{in_words(located.row.age)} old; {in_words(least_age)} asked for"
            self._add(located, "old", reason)

    def add_above(self, most_bytes: int) -> None:
        """Choose the oldest until the others have no more than so many bytes."""
        # All that stays counts, also what may not go: a person's files, say.
        rows = [located.row for located in self._all]
        stay = [row for row in rows if row.path not in self._chosen]
        total = sum(row.size_bytes or 0 for row in stay)
        for located in sorted(self._may_go, key=_written_at):
            if total <= most_bytes:
                return
            if located.row.path not in self._chosen:
                reason = f"among the oldest; {size(most_bytes)} may stay"
                self._add(located, "old", reason)
                total -= located.row.size_bytes or 0

    def add_not_needed(self, paths: set[str]) -> None:
        """Choose the data of the checkpoints at these paths; the manifests stay."""
        by_path = {located.row.path: located for located in self._may_go}
        for path in sorted(paths & by_path.keys()):
            located = by_path[path]
            handler = located.handler
            if handler is None:
                continue
            size_bytes = located.row.size_bytes or 0
            if isinstance(handler, Outputs):
                # `handler.free` frees all outputs at once: so all of them must be ones
                # that may go. The list of them stays.
                outputs = handler.paths_of(handler.manifest(path)).values()
                if not by_path.keys() >= set(outputs):
                    continue
                sizes = [by_path[output].row.size_bytes for output in outputs]
                size_bytes = sum(filter(None, sizes))
            reason = "all tasks that take it load; its manifest stays"
            self._chosen[path] = partial(of_data, handler, located, size_bytes, reason)

    def _add(self, located: Located, what: What, reason: str) -> None:
        # The first reason stays. A call, as measuring is left for the end.
        make = partial(of_checkpoint, located, what, reason)
        self._chosen.setdefault(located.row.path, make)


def _is_ours_and_older(located: Located, least_age: datetime.timedelta | None) -> bool:
    row = located.row
    # Adopted data are a person's; damaged ones are for the next run to set aside.
    if not row.is_proved or row.state not in ("valid", "stale", "orphan"):
        return False
    # A manifest without a time that can be read: it may be of today.
    if row.age is None:
        return False
    return least_age is None or row.age >= least_age


def _written_at(located: Located) -> tuple[datetime.datetime, str]:
    assert located.row.written_at is not None
    return located.row.written_at, located.row.path
