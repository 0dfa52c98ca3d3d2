"""An object that a task returns, kept as one plain file."""

from __future__ import annotations

import contextlib
import datetime
import io
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any, BinaryIO, cast

from prefect_ds.checkpoints.choices import Durability
from prefect_ds.checkpoints.digests.registry import digest_of_pickled
from prefect_ds.checkpoints.draft import Draft
from prefect_ds.errors import (
    ResultTypeError,
    RoundTripError,
    UndecodableCheckpointError,
)
from prefect_ds.objects.base import Marks, ObjectType, UnkeepableError, refusing
from prefect_ds.objects.describe import describe
from prefect_ds.objects.refusals import refusal
from prefect_ds.objects.registry import REGISTERED, object_type
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.checked_file import OtherBytesError
from prefect_ds.storage.checksum import BLAKE3, IN_BLOCKS, Data
from prefect_ds.storage.describe import describe_file
from prefect_ds.storage.hashed_file import HashedFile
from prefect_ds.storage.identity import Match
from prefect_ds.storage.lookup import Check
from prefect_ds.storage.manifest import DESCRIPTION, JSONObject, Manifest, Origin

_MARKS = "marks"
"""The key of a schema that has what the file does not say."""


class ObjectResultHandler(ResultHandler):
    """Keeps the object that a task returns in a file that other tools open.

    What comes back equals what the task returned, type for type, or the write is
    refused and the error names the place in the object.

    Parameters
    ----------
    path
        Template of the file's path, such as ``"models/{seed}.json"``, see
        :class:`prefect_ds.PandasResultHandler`.
    file_type
        json, npy, npz, pickle, joblib, text, bin, png, svg, pdf, polars or geopandas,
        in any case.
        ``None``: the type that the ending of the path means.
    storage_options, match, ignore, show, durability, check, max_age
        See :class:`prefect_ds.result_handler.ResultHandler`.

    Raises
    ------
    FileTypeError
        There is no such type of file, a package that it needs is not installed, or the
        ending of the path means another type.
    TemplateError
        The template is malformed.

    Examples
    --------
    >>> import tempfile
    >>> handler = ObjectResultHandler(f"{tempfile.mkdtemp()}/metrics_{{seed}}.json")
    >>> written = handler.write({"rmse": 0.5, "shape": (3, 4)}, seed=7)
    >>> handler.read(written.location).value
    {'rmse': 0.5, 'shape': (3, 4)}
    """

    kind = "file"

    def __init__(
        self,
        path: str | PurePath | None,
        file_type: str | None = None,
        *,
        storage_options: dict[str, Any] | None = None,
        match: Match | None = None,
        ignore: Sequence[str] = (),
        show: Sequence[str] = (),
        durability: Durability = "process",
        check: Check = "size",
        max_age: datetime.timedelta | str | None = None,
    ) -> None:
        super().__init__(
            path,
            storage_options=storage_options,
            match=match,
            ignore=ignore,
            show=show,
            durability=durability,
            check=check,
            max_age=max_age,
        )
        self._given_type = file_type
        self._registered: ObjectType | None = None
        # Without a path, it comes with the task's target.
        if file_type is not None or path is not None:
            self.check_options()

    @property
    def object_type(self) -> ObjectType:
        """The type of the file: the one given, or the one that the ending means."""
        if self._registered is not None:
            return self._registered
        path = self.location if isinstance(self.location, str) else ""
        kind = object_type(self._given_type, path)
        if kind.name in REGISTERED:
            # It travels with the handler: workers have no registration of it.
            self._registered = kind
        return kind

    @property
    def file_type(self) -> str:  # type: ignore[override]
        """The name of the type of the file."""
        return self.object_type.name

    @property
    def own_code(self) -> tuple[Any, ...]:
        """The functions of a type that the user has registered."""
        return self.object_type.own_code

    def kept_classes(self) -> tuple[type, ...]:
        """Return the classes that the type of the file keeps."""
        return self.object_type.kept_classes()

    def check_options(self) -> None:
        """Raise an error where the options do not fit one another, or the path.

        Raises
        ------
        FileTypeError
            There is no such file type, none that the path means, or it means another.
        """
        _ = self.object_type

    @contextlib.contextmanager
    def _stage(self, value: Any, path: str, origin: Origin) -> Iterator[Draft]:
        store = self.store
        kind = self.object_type
        with store.staging(path) as file:
            hashed = HashedFile(file, _checksum_kind(kind))
            value, marks = self._write(kind, value, cast(BinaryIO, hashed))
            part = hashed.part(path)
            staged = store.files.finish(file)
            kept = kind.place(value, path)
            yield Draft(
                (part,),
                0,
                _schema(kept, marks),
                kept,
                staged=staged,
                value_digest=digest_of_pickled(value) if kind.is_pickle else "",
            )

    def _write(
        self, kind: ObjectType, value: Any, file: BinaryIO
    ) -> tuple[Any, Marks | None]:
        """Write a value, and return the one that is kept, and the marks."""
        try:
            value = kind.prepare(value)
            # numpy raises errors of its own for a few dtypes; a user's function, any.
            with refusing(f"file type {kind.name!r}", value):
                return value, kind.write(value, file)
        except UnkeepableError as error:
            # Without a place it is the value as a whole, so the handler is the wrong
            # one; with a place, a part of the value would not come back.
            if not error.place and not isinstance(value, kind.kept_classes()):
                raise ResultTypeError(refusal(error, kind, value)) from error
            raise RoundTripError(refusal(error, kind, value)) from error

    def _load(self, path: str, manifest: Manifest) -> Any:
        part, kind = manifest.parts[0], self.object_type
        # A pickle goes straight from the file to its objects.
        checked = self.store.open_checked(path, part) if kind.is_pickle else None
        if checked is not None:
            with io.BufferedReader(checked) as file:
                try:
                    value = kind.read(file, None)
                    checked.check_rest()
                    return kind.place(value, path)
                except Exception:
                    # An error of the reader says nothing about bytes it has not seen.
                    with contextlib.suppress(OtherBytesError):
                        checked.check_rest()
                    if not checked.has_other_bytes:
                        raise
            # Damaged or replaced: the look at the whole says which.
        data = self.store.read_data(path, part)
        # Only frames have none. A file of theirs may parse as an object of another
        # form.
        if not manifest.description:
            raise UndecodableCheckpointError(
                f"{path!r} is the checkpoint of a frame, not of an object: read it "
                "with the handler that wrote it"
            )
        schema = manifest.schema or {}
        return self._read(path, data, schema.get(_MARKS))

    def _read(self, path: str, data: Data, marks: Marks | None) -> Any:
        kind = self.object_type
        if kind.read_data is not None:
            value = kind.read_data(memoryview(data), marks)
        else:
            value = kind.read(io.BytesIO(data), marks)
        return kind.place(value, path)

    def _describe_foreign(self, path: str) -> Draft:
        data = self.store.files.read_bytes(path)
        # A person's file has no marks: it gives what its type gives to any reader.
        value = self._read(path, data, None)
        part = describe_file(path, data, 0, _checksum_kind(self.object_type))
        return Draft((part,), 0, _schema(value, None), value)

    def _describe_edited(self, path: str, earlier: JSONObject) -> Draft:
        marks = earlier.get(_MARKS)
        if marks is None:
            return self._describe_foreign(path)
        data = self.store.files.read_bytes(path)
        try:
            value = self._read(path, data, marks)
        except (ValueError, KeyError, TypeError, IndexError):
            # The edit went further than the types of the checkpoint that it was.
            return self._describe_foreign(path)
        part = describe_file(path, data, 0, _checksum_kind(self.object_type))
        return Draft((part,), 0, _schema(value, marks), value)


def _checksum_kind(kind: ObjectType) -> str:
    # No byte of a pickle is to be read before it was compared.
    return IN_BLOCKS if kind.is_pickle else BLAKE3


def _schema(value: Any, marks: Marks | None) -> JSONObject:
    """Return the schema of a value: what it is, and what the file does not say."""
    schema: JSONObject = {DESCRIPTION: describe(value)}
    if marks is not None:
        schema[_MARKS] = marks
    return schema
