"""Frees space: chooses what may go, lists it, and removes it if asked to."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from typing import Any

from prefect import Flow

from prefect_ds.checkpoints.age import as_duration
from prefect_ds.listing.choice import Choice
from prefect_ds.listing.find import Where, locate, name_of, repeatable
from prefect_ds.listing.freeable import freeable
from prefect_ds.listing.of_flow import folders_of
from prefect_ds.listing.places import places
from prefect_ds.listing.pruned import Pruned
from prefect_ds.listing.real_paths import RealPaths
from prefect_ds.listing.removing import Removal, of_leftovers, of_set_aside
from prefect_ds.listing.side_by_side import side_by_side
from prefect_ds.storage.filesystem import FileSystem
from prefect_ds.storage.layout import SIDE_FOLDER
from prefect_ds.storage.scan import folders_with_checkpoints


def prune(
    where: Where,
    parameters: Mapping[str, Any] | None = None,
    *,
    orphans: bool = False,
    freed: bool = False,
    older_than: datetime.timedelta | str | None = None,
    max_size: int | str | None = None,
    set_aside: bool = False,
    leftovers: bool = True,
    leftovers_older_than: datetime.timedelta | str = "1d",
    dry_run: bool = True,
    context: Mapping[str, Any] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> Pruned:
    """Return what may go from a folder, or of a flow; with ``dry_run=False`` remove it.

    Files of a person, files that prefect_ds cannot prove to have written, and writes
    under way are never removed. A checkpoint is removed only if its data are still
    those that were listed.

    Parameters
    ----------
    where, parameters, context, storage_options
        As for :func:`prefect_ds.checkpoints`.
    orphans
        Checkpoints of the flow that none of its tasks renders any more.
    freed
        Data of the flow that nothing needs, since all tasks that take them load. Their
        manifests stay, as :meth:`handler.free <prefect_ds.PandasResultHandler.free>`
        leaves them.
    older_than
        Only checkpoints that are older: ``"30d"``. By itself it chooses all that are;
        with another choice it narrows that one.
    max_size
        Bytes, or text such as ``"50GB"``: the oldest checkpoints go until the others
        have no more.
    set_aside
        Data that were set aside, also those of a person.
    leftovers
        Files of stopped writes, and of writes whose data were replaced.
    leftovers_older_than
        Younger leftovers stay: a writer may still be at work on them.
    dry_run
        Only list.
    progress
        Whether to show a progress bar; ``None``: in a terminal and in a notebook, where
        tqdm is installed.

    Raises
    ------
    ValueError
        ``orphans`` or ``freed`` are asked for, and ``where`` is no flow.

    Notes
    -----
    A run that is about to read a checkpoint which goes fails with
    :class:`~prefect_ds.errors.CheckpointNotFoundError`, and the next run computes it:
    choose ages above the length of a run.

    Examples
    --------
    >>> import tempfile
    >>> from prefect_ds import prune
    >>> prune(tempfile.mkdtemp(), older_than="30d").size_bytes
    0
    """
    if (orphans or freed) and not isinstance(where, Flow):
        raise ValueError(
            "only a flow knows its orphans, and the data that nothing needs: give "
            "prune the flow in place of a path"
        )
    # It is gone through twice: for checkpoints, and for side folders.
    where = repeatable(where)
    located = list(locate(where, parameters, context, storage_options))
    least_age = as_duration(older_than, "older_than")
    # A checkpoint that several reasons choose goes for the first of them.
    choice = Choice(located, least_age)
    if isinstance(where, Flow) and freed:
        choice.add_not_needed(freeable(where, parameters or {}, context))
    if orphans:
        choice.add_orphans()
    if max_size is not None:
        choice.add_above(as_bytes(max_size))
    elif least_age is not None and not (orphans or freed or set_aside):
        choice.add_old(least_age)
    removals = choice.removals()
    young = as_duration(leftovers_older_than, "leftovers_older_than")
    # By real path: two templates, or two links, may lead to one side folder.
    side_folders = {}
    resolved = RealPaths()
    for files, folder in _side_folders(where, storage_options):
        real_path = resolved.of(files, f"{folder}/{SIDE_FOLDER}")
        side_folders[real_path] = files, folder
    for files, folder in side_folders.values():
        if set_aside:
            removals += of_set_aside(files, folder, least_age or _NO_AGE)
        # A dry run changes nothing, not even data that a stopped write has moved away.
        if leftovers and young is not None:
            removals += of_leftovers(files, folder, young, puts_back=not dry_run)
    return _carried_out(name_of(where), removals, dry_run, progress)


_NO_AGE = datetime.timedelta(0)


def _side_folders(
    where: Where, storage_options: Mapping[str, Any] | None
) -> Iterator[tuple[FileSystem, str]]:
    """Yield the folders of checkpoints at a place, or those of a flow's templates."""
    if isinstance(where, Flow):
        for files, root, depth in folders_of(where):
            for folder in folders_with_checkpoints(files, root, depth):
                yield files, folder
        return
    for place in places(where, storage_options):
        # Of a single checkpoint only itself is meant, not what lies beside it.
        if not place.is_checkpoint:
            for folder in folders_with_checkpoints(place.files, place.path):
                yield place.files, folder


def _carried_out(
    where: str, removals: list[Removal], dry_run: bool, progress: bool | None
) -> Pruned:
    # Folders of two templates may be the same.
    unique = list({removal.item.path: removal for removal in removals}.values())
    if dry_run:
        items = tuple(removal.item for removal in unique)
        return Pruned(where, items, {}, is_dry=True)
    answers = side_by_side(
        lambda removal: removal.remove(),
        unique,
        what="Removing",
        progress=progress,
        is_far=any(removal.is_far for removal in unique),
    )
    # An answer says why something stayed; it is empty if that is gone.
    kept = {
        removal.item.path: why
        for removal, why in zip(unique, answers, strict=True)
        if why
    }
    gone = tuple(removal.item for removal in unique if removal.item.path not in kept)
    return Pruned(where, gone, kept, is_dry=False)


_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
"""``50GB``, ``1.5 GiB``, ``7``: a number, a unit, and the ``i`` of powers of 1024."""


def as_bytes(text: int | str) -> int:
    """Return a number of bytes from text such as ``50GB`` or ``1.5 GiB``.

    Raises
    ------
    ValueError
        It is negative, or text of another form.

    Examples
    --------
    >>> as_bytes("50GB"), as_bytes("2 KiB"), as_bytes(7)
    (50000000000, 2048, 7)
    """
    match = _SIZE.fullmatch(str(text))
    if match is None:
        raise ValueError(
            f"max_size={text!r}: give a number of bytes, or text such as '50GB' or "
            "'1.5 GiB'"
        )
    number, unit, is_binary = match.groups()
    factor = _UNITS[unit.lower()]
    # The units are in the order of their powers: k is 1024**1.
    if is_binary and unit:
        factor = 1024 ** (list(_UNITS).index(unit.lower()))
    return int(float(number) * factor)
