"""The base of all result handlers: a path template, a store, keep and load.

:mod:`prefect_ds.checkpoints.prefect_result` has the ways in which Prefect calls a
``Result``.
"""

from __future__ import annotations

import abc
import contextlib
import datetime
import functools
import hashlib
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any, ClassVar, Literal

from prefect_ds.checkpoints import memory_cache as cache
from prefect_ds.checkpoints.age import as_duration
from prefect_ds.checkpoints.choices import Durability, checked_choices
from prefect_ds.checkpoints.draft import ANOTHER_WAS_FIRST, ON_DEMAND, Draft, Kept
from prefect_ds.checkpoints.foreign_data import ForeignData
from prefect_ds.checkpoints.identity import digest_of_options, digest_of_question
from prefect_ds.checkpoints.kept_values import KeptValues
from prefect_ds.checkpoints.not_there import nothing_there, replaced
from prefect_ds.checkpoints.prefect_result import PrefectResult
from prefect_ds.checkpoints.reference import CheckpointReference
from prefect_ds.checkpoints.undecodable import (
    is_no_fault_of_data,
    set_aside_undecodable,
)
from prefect_ds.checkpoints.upkeep import Upkeep
from prefect_ds.checkpoints.versions import versions
from prefect_ds.errors import (
    CheckpointNotFoundError,
    DamagedCheckpointError,
    PrefectDSError,
)
from prefect_ds.pages.handlers import Shown
from prefect_ds.path_template import PathTemplate
from prefect_ds.storage.identity import Match
from prefect_ds.storage.lookup import Check, Found
from prefect_ds.storage.manifest import Manifest, Origin
from prefect_ds.storage.opening import StorageOptions, open_files
from prefect_ds.storage.retries import with_retries
from prefect_ds.storage.store import CheckpointStore


class ResultHandler(Shown, PrefectResult, KeptValues, ForeignData, Upkeep, abc.ABC):
    """Base of the handlers: keeps a task's result at a templated path.

    Parameters
    ----------
    path
        Template of the path, see :class:`prefect_ds.PathTemplate`: a path, relative to
        the folder in which the handler is made, or a URL that fsspec knows. ``None``:
        the task's ``target``.
    storage_options
        Given to fsspec's file system: credentials, endpoints.
    match
        What makes a checkpoint count: ``"inputs"``, that the task's inputs and settings
        and the handler's options are those it was written for; ``"code"``, the task's
        code as well; ``"path"``, that it is there. ``None``: as
        ``PREFECT__PREFECT_DS__MATCH`` says where the handler is made, else ``"code"``.
        A file that a person put at the path counts always.
    ignore
        Inputs and settings of the task, and globals that its code reads, that do not
        shape its result: connections, clients, levels of logging.
    show
        Inputs and settings of the task whose text the manifest keeps, so that a reason
        reads ``city 'Rome' -> 'Oslo'``. Numbers, dates and enums it keeps anyway, other
        text never: it may be secret.
    durability
        ``"process"``: a finished checkpoint survives the death of any process; a power
        cut may lose it, but never an earlier one, and the loss shows. ``"power"``: it
        survives a power cut, which costs some 20 ms of waiting for the disk.
    check
        What is looked at before a checkpoint counts: ``"size"``, that all files are
        there, as large as they were written (what is read is hashed then);
        ``"checksum"``, every byte, so that damage which size and time of change do not
        show is found, and mended by running the task, before anything reads it.
    max_age
        A checkpoint that is older is stale: a ``timedelta``, or text such as ``"1d"``,
        ``"12h"`` or ``"1h 30min"``. A file that a person put there has no age.
        ``None``: no limit.
    """

    file_type: str
    kind: ClassVar[Literal["file", "folder"]]
    """What is expected at a path. What was written there is in its manifest."""

    def __init__(
        self,
        path: str | PurePath | None,
        *,
        storage_options: Mapping[str, Any] | None = None,
        match: Match | None = None,
        ignore: Sequence[str] = (),
        show: Sequence[str] = (),
        durability: Durability = "process",
        check: Check = "size",
        max_age: datetime.timedelta | str | None = None,
    ) -> None:
        if isinstance(ignore, str):
            raise TypeError(f"ignore={ignore!r}: give a list of names, [{ignore!r}]")
        if isinstance(show, str):
            raise TypeError(f"show={show!r}: give a list of names, [{show!r}]")
        checked = checked_choices(match, durability, check)
        # Handlers that call a reader and a writer with arguments set them.
        self.read_kwargs: dict[str, Any] = {}
        self.write_kwargs: dict[str, Any] = {}
        self.storage_options = StorageOptions(storage_options or {})
        self.match: Match = checked.match
        self.ignore = tuple(ignore)
        self.show = tuple(show)
        self.durability: Durability = checked.durability
        self.check: Check = checked.check
        self.max_age = as_duration(max_age)
        location = None
        if path is not None:
            # A malformed template is an error here, not in the middle of a run.
            PathTemplate(path)
            location = os.fspath(path)
        super().__init__(location)

    def commit(self, value: Any, path: str, origin: Origin) -> Any:
        """Keep a value at a rendered path, and return the value that is kept."""
        kept = self.keep(value, path, origin=origin)
        return kept.reference.load() if kept.value is ON_DEMAND else kept.value

    @property
    def store(self) -> CheckpointStore:
        """The store that the path lies in."""
        return CheckpointStore(open_files(self.location or "", self.storage_options))

    @property
    def options(self) -> tuple[object, ...]:
        """What shapes the file, for the identity of a checkpoint."""
        return (
            type(self).__name__,
            self.file_type,
            self.read_kwargs,
            self.write_kwargs,
        )

    def look_up(self, path: str, *, only_looks: bool = False) -> Found:
        """Say what lies at ``path``.

        Parameters
        ----------
        path
            The rendered path.
        only_looks
            Write nothing: a person's file, which would be read and given a manifest, is
            "foreign" then.
        """
        return with_retries("read", path, self._look_up, path, only_looks)

    def look_at(self, path: str, *, mends: bool = True) -> Found:
        """Say what lies at ``path``; a person's file is "foreign".

        Parameters
        ----------
        path
            The rendered path.
        mends
            See :meth:`prefect_ds.storage.store.CheckpointStore.look_up`.
        """
        return self.store.look_up(path, self.kind, check=self.check, mends=mends)

    def _look_up(self, path: str, only_looks: bool = False) -> Found:
        at_path = self.look_at(path, mends=not only_looks)
        if at_path.kind == "foreign" and not only_looks:
            return self._find_foreign(path, at_path)
        return at_path

    def set_aside(self, path: str, at_path: Found, *, then: str) -> None:
        """Move damaged data at ``path`` out of the way.

        ``then`` says in the log what happens next.
        """
        put_aside = functools.partial(
            self.store.set_aside, then=then, advice=at_path.advice
        )
        with_retries("replace", path, put_aside, path, at_path.reason, at_path.stamp)

    def keep(
        self,
        value: Any,
        path: str,
        *,
        origin: Origin | None = None,
        remarks: tuple[str, ...] = (),
    ) -> Kept:
        """Commit a task's result at ``path``; retry what fails for a moment.

        Parameters
        ----------
        value
            What the task returned.
        path
            The rendered path.
        origin
            Who writes it, and what it is a result of; ``None``: not known.
        remarks
            What a later run cannot compare, in words, for the reference.

        Raises
        ------
        ResultTypeError
            The handler does not keep values of this type.
        RoundTripError
            The file would not give the value back as it is.
        CollisionError
            Another task of the run wrote this path for other inputs.
        """
        return with_retries(
            "write", path, self._keep_once, value, path, origin or Origin(), remarks
        )

    def _keep_once(
        self, value: Any, path: str, origin: Origin, remarks: tuple[str, ...]
    ) -> Kept:
        started = time.perf_counter()
        with self._stage(value, path, origin) as draft:
            # A Dask frame is computed while it is written.
            write_s = time.perf_counter() - started - draft.compute_s
            if origin.compute_s is not None:
                total_s = origin.compute_s + draft.compute_s
                origin = replace(origin, compute_s=total_s)
            ours = self._manifest(path, draft, origin, write_s=write_s)
            assert draft.staged is not None
            # The one in force: ours, or that of a run which was first.
            manifest = self.store.commit(
                path,
                draft.staged,
                ours,
                durable=self.durability == "power",
                refused=origin.refused,
            )
        reference = self.refer(
            path, manifest, origin=origin, is_loaded=False, remarks=remarks
        )
        if manifest.attempt != ours.attempt:
            # A task that is not deterministic may have given two results: the one that
            # is kept is the one handed on.
            try:
                there = reference.load()
            except (CheckpointNotFoundError, DamagedCheckpointError):
                # Gone by now: ours takes its place.
                return self._keep_once(value, path, origin, remarks)
            return Kept(reference, there, ANOTHER_WAS_FIRST)
        self._remember(self.content_of(manifest), draft.value)
        return Kept(reference, draft.value, draft.note, draft.compute_s)

    def refer(
        self,
        path: str,
        manifest: Manifest,
        *,
        origin: Origin,
        is_loaded: bool,
        remarks: tuple[str, ...] = (),
    ) -> CheckpointReference:
        """Return the reference to a committed checkpoint."""
        return CheckpointReference(
            handler=self,
            path=path,
            content=self.content_of(manifest),
            n_rows=manifest.n_rows,
            n_columns=manifest.n_columns,
            size_bytes=manifest.size_bytes,
            written_at=manifest.written_at,
            owner=str(origin.owner),
            asked=digest_of_question(origin),
            is_loaded=is_loaded,
            compute_s=manifest.compute_s,
            write_s=manifest.write_s,
            remarks=remarks,
            identity=manifest.identity.digest if manifest.identity else "",
            is_freed=manifest.freed_at is not None,
            description=manifest.description,
        )

    def load(self, path: str, content: str | None = None) -> Any:
        """Return the data committed at ``path``.

        Parameters
        ----------
        path
            The rendered path.
        content
            Digest of what is expected there; ``None``: whatever is there.

        Raises
        ------
        CheckpointNotFoundError
            Nothing is committed there, or other data are.
        DamagedCheckpointError
            The bytes are not those that were written; they were set aside.
        UndecodableCheckpointError
            The bytes are whole and cannot be decoded here; they were set aside.
        """
        if content is not None:
            # By content: a replaced checkpoint has another, and is read again.
            kept = cache.get((type(self), content))
            if kept is not None:
                return kept
        at_path = self.look_up(path)
        if at_path.manifest is None:
            raise self._not_there(path, at_path)
        manifest = at_path.manifest
        if content is not None and self.content_of(manifest) != content:
            raise replaced(path, manifest)
        try:
            value = with_retries("read", path, self._load, path, manifest)
        except Exception as error:
            # A disk that fails, or a package that is missing here, says nothing about
            # the data: they stay where they are.
            if is_no_fault_of_data(error, self.file_type):
                raise
            raise set_aside_undecodable(
                self.store, path, manifest, versions(), error
            ) from error
        self._remember(self.content_of(manifest), value)
        return value

    def _not_there(self, path: str, at_path: Found) -> PrefectDSError:
        """Return the error of a read that finds no checkpoint."""
        return nothing_there(path, at_path)

    def all_handlers(self) -> list[ResultHandler]:
        """Return the handlers that write files of a result: this one alone."""
        return [self]

    @abc.abstractmethod
    def _stage(
        self, value: Any, path: str, origin: Origin
    ) -> contextlib.AbstractContextManager[Draft]:
        """Write the value beside its path, prove that it comes back, and describe it.

        What was written is removed at the end unless it was committed.
        """

    def content_of(self, manifest: Manifest) -> str:
        """Return a digest of what a reader gets through this handler.

        The handler's options shape it, as the data do.
        """
        if not self.read_kwargs and not self.write_kwargs:
            return manifest.content
        options = self._options_digest
        return hashlib.sha256(f"{manifest.content} {options}".encode()).hexdigest()

    @functools.cached_property
    def _options_digest(self) -> str:
        # Options without a digest are equal to no others. A pickle of the handler
        # carries the digest along: a reference is loaded with the one it was made with.
        return digest_of_options(self.options)

    def _remember(self, content: str, value: Any) -> None:
        """Spare the next task of this process the read.

        Only data in memory are remembered.
        """

    def _manifest(
        self,
        path: str,
        draft: Draft,
        origin: Origin,
        *,
        write_s: float | None = None,
    ) -> Manifest:
        return Manifest(
            path=path,
            attempt=uuid.uuid4().hex,
            kind=draft.kind or self.kind,
            file_type=self.file_type,
            parts=draft.parts,
            n_columns=draft.n_columns,
            written_at=datetime.datetime.now(datetime.UTC).isoformat(
                sep=" ", timespec="seconds"
            ),
            schema=draft.schema,
            value_digest=draft.value_digest,
            template=self.location or "",
            fields=origin.fields,
            upstream=origin.upstream,
            owner=origin.owner,
            identity=origin.identity,
            compute_s=origin.compute_s,
            write_s=write_s,
            versions=versions(),
        )
