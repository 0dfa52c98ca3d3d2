"""A task's pandas DataFrame or Series, kept as one plain file."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import pandas as pd

from prefect_ds.checkpoints import memory_cache as cache
from prefect_ds.checkpoints.choices import Durability
from prefect_ds.checkpoints.digests.registry import digest_of_pickled
from prefect_ds.checkpoints.draft import Draft
from prefect_ds.errors import FileTypeError, ResultTypeError
from prefect_ds.file_types.frame_format import FrameFormat, frame_format
from prefect_ds.file_types.refusals import wrong_type
from prefect_ds.file_types.registry import (
    FILE_TYPES,
    check_ending,
    file_type_of,
    similar_ending,
)
from prefect_ds.file_types.series import decode, decode_edited, encode
from prefect_ds.frames.base import Framed
from prefect_ds.objects.refusals import advice
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.describe import describe_file, describe_staged
from prefect_ds.storage.identity import Match
from prefect_ds.storage.lookup import Check
from prefect_ds.storage.manifest import JSONObject, Manifest, Origin


class PandasResultHandler(ResultHandler):
    """Keeps the DataFrame or Series that a task returns in a file that any tool opens.

    Parameters
    ----------
    path
        Template of the file's path, such as ``"data/download_{id}.csv"``: a path or a
        URL that fsspec knows. The task's arguments, Prefect's context (``{today}``,
        ``{map_index}``) and the flow's parameters fill the fields. A relative path
        counts from the folder in which the handler is made. ``None``: the task's
        ``target``.
    file_type
        csv, json, parquet, feather, orc, excel, hdf, html, xml, stata or pickle, in any
        case. ``None``: the type that the ending of the path means, such as
        ``data/x_{id}.parquet`` or ``x.csv.gz``.
    read_kwargs, write_kwargs
        Passed to pandas' reader and writer. They override the handler's own choices.
        Where they change the data (``usecols``, ``float_format``), the task's result is
        the content of the file, on the first run as on every other.
    storage_options, match, ignore, show, durability, check, max_age
        See :class:`prefect_ds.result_handler.ResultHandler`.

    Raises
    ------
    FileTypeError
        pandas cannot both write and read such files, a package that it needs is not
        installed, or the ending of the path means another type.
    TemplateError
        The template is malformed.

    Examples
    --------
    >>> import pandas as pd, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> handler = PandasResultHandler(f"{folder}/download_{{id}}.csv", "csv")
    >>> written = handler.write(pd.DataFrame({"id": [7]}), id=7)
    >>> handler.read(written.location).value
       id
    0   7
    """

    kind = "file"

    def __init__(
        self,
        path: str | PurePath | None,
        file_type: str | None = None,
        read_kwargs: Mapping[str, Any] | None = None,
        write_kwargs: Mapping[str, Any] | None = None,
        *,
        storage_options: Mapping[str, Any] | None = None,
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
        self.read_kwargs = dict(read_kwargs or {})
        self.write_kwargs = dict(write_kwargs or {})
        self._given_type = file_type
        if file_type is not None:
            self._given_type = file_type.lower()
        # Without a path, it comes with the task's target.
        if file_type is not None or path is not None:
            self.check_options()

    def kept_classes(self) -> tuple[type, ...]:
        """Return pandas' DataFrame and Series."""
        return (pd.DataFrame, pd.Series)

    @property
    def file_type(self) -> str:  # type: ignore[override]
        """The file type: the one given, or the one that the path's ending means."""
        return self._given_type or file_type_of(self._written_path)

    def check_options(self) -> None:
        """Raise an error where the options do not fit one another, or the path.

        Raises
        ------
        FileTypeError
            There is no such file type, none that the path means, or it means another.
        TypeError, ValueError
            Keyword arguments for pandas that do not work with the file type.
        """
        path = self._written_path
        self._format(path)
        check_ending(self.file_type, path)

    @property
    def _written_path(self) -> str:
        """The path as the user wrote it; empty where there is none, or a function."""
        if not isinstance(self.location, str):
            return ""
        return self.location

    def _format(self, path: str) -> FrameFormat:
        file_type = self.file_type
        if not file_type:
            raise FileTypeError(
                f"no file type has the ending of the path {self._written_path!r}"
                f"{similar_ending(self._written_path)}: "
                f"give file_type, one of {', '.join(FILE_TYPES)}"
            )
        return frame_format(file_type, path, self.read_kwargs, self.write_kwargs)

    @contextlib.contextmanager
    def _stage(self, value: Any, path: str, origin: Origin) -> Iterator[Draft]:
        if not isinstance(value, pd.DataFrame | pd.Series):
            raise ResultTypeError(wrong_type(value, advice(value)))
        store = self.store
        with store.staging(path) as file:
            encoded = encode(self._format(path), value, file)
            part = describe_staged(path, file, len(encoded.frame))
            # What is handed on is `encoded.frame`: with options that change the data,
            # such as `float_format`, it is what a reader of the file would get.
            staged = store.files.finish(file)
            value_digest = ""
            if self.file_type == "pickle":
                value_digest = digest_of_pickled(encoded.frame, counts_bytes=False)
            yield Draft(
                (part,),
                _n_columns(encoded.frame),
                encoded.schema,
                encoded.frame,
                encoded.note,
                staged,
                value_digest=value_digest,
            )

    def _load(self, path: str, manifest: Manifest) -> Framed:
        data = self.store.read_data(path, manifest.parts[0])
        return decode(self._format(path), data, manifest.schema)

    def _describe_foreign(self, path: str) -> Draft:
        data = self.store.files.read_bytes(path)
        frame = decode(self._format(path), data, None)
        part = describe_file(path, data, len(frame))
        return Draft((part,), _n_columns(frame), None, frame)

    def _describe_edited(self, path: str, earlier: JSONObject) -> Draft:
        data = self.store.files.read_bytes(path)
        frame, schema = decode_edited(self._format(path), data, earlier)
        part = describe_file(path, data, len(frame))
        return Draft((part,), _n_columns(frame), schema, frame)

    def _remember(self, content: str, value: Framed) -> None:
        # A class of a user's own may read a file in its own way.
        cache.put((type(self), content), value)


def _n_columns(value: Framed) -> int:
    if isinstance(value, pd.Series):
        return 1
    return value.shape[1]
