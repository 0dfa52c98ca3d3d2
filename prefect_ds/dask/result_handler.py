"""A task's Dask DataFrame, kept as one plain folder of parquet files."""

from __future__ import annotations

import contextlib
import datetime
import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import dask.dataframe as dd
import pandas as pd
import pyarrow.parquet as pq
from dask.utils import natural_sort_key, parse_bytes

from prefect_ds.checkpoints.choices import Durability
from prefect_ds.checkpoints.draft import Draft
from prefect_ds.dask.expressions import FrameSource, open_frame
from prefect_ds.dask.foreign_parquet import foreign_meta
from prefect_ds.dask.frame_json import (
    divisions_from_json,
    divisions_to_json,
    frame_from_json,
    frame_to_json,
)
from prefect_ds.dask.frame_write import FrameWrite, Written, known_rows
from prefect_ds.dask.given import (
    KEPT_CLASSES,
    as_frame,
    as_result,
    is_kept,
    schema_of_frame,
)
from prefect_ds.dask.lowering import Lowered, lower
from prefect_ds.dask.part_reader import PartReader
from prefect_ds.dask.part_writer import PartWriter
from prefect_ds.dask.parts import footer_of
from prefect_ds.dask.resume_key import NotResumableError, resume_key
from prefect_ds.dask.staging import Staging
from prefect_ds.errors import FileTypeError
from prefect_ds.file_types.registry import check_ending
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.identity import Match
from prefect_ds.storage.lookup import Check
from prefect_ds.storage.manifest import JSONObject, Manifest, Origin, content_digest
from prefect_ds.storage.part import Part
from prefect_ds.storage.part_names import PartNames
from prefect_ds.storage.running_writes import running_write

logger = logging.getLogger("prefect.prefect_ds.dask")


class DaskDataFrameResultHandler(ResultHandler):
    """Keeps the Dask DataFrame that a task returns as a folder of parquet files.

    Any tool can open it. A Series is kept as a folder of files of one column.

    The workers write the partitions from where they are. The task's result is then a
    lazy frame over the files: what computes it never runs the task's graph again. A
    write that was killed goes on, in the next run, with the partitions that it had not
    finished.

    Parameters
    ----------
    path
        Template of the folder's path, such as ``"data/events_{day:%Y-%m-%d}"``: a path
        or a URL that fsspec knows, and that all workers reach. See
        :class:`prefect_ds.PandasResultHandler`.
    read_kwargs
        Given to ``pyarrow.parquet.ParquetFile`` for every part.
    write_kwargs
        Given to pyarrow's parquet writer for every part: ``compression``,
        ``row_group_size``, ``data_page_size`` ...
    partition_on
        Columns whose values become folders, ``year=2024/part.00000.parquet``, which
        readers can leave out. The rows of a partition are then grouped by them; where
        the divisions are known they come back in the order of the index. Missing values
        get the folder that Hive, DuckDB and polars know, and pandas does not.
    partition_size
        ``"128MB"``: partitions of at most about this size in memory in place of those
        of the frame. Larger ones are split when they are written, small neighbours are
        joined after that. Not with ``partition_on``.
    storage_options, match, ignore, show, durability, check, max_age
        See :class:`prefect_ds.result_handler.ResultHandler`.

    Raises
    ------
    TypeError
        pyarrow's reader or writer does not know a keyword argument.
    ValueError
        ``partition_on`` and ``partition_size`` are both given.
    TemplateError
        The template is malformed.

    Examples
    --------
    >>> import dask.dataframe as dd, pandas as pd, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> handler = DaskDataFrameResultHandler(f"{folder}/events_{{year}}")
    >>> events = dd.from_pandas(pd.DataFrame({"x": range(6)}), npartitions=3)
    >>> written = handler.write(events, year=2024)
    >>> written.value.npartitions, len(pd.read_parquet(f"{folder}/events_2024"))
    (3, 6)
    """

    kind = "folder"
    file_type = "parquet"

    def __init__(
        self,
        path: str | PurePath | None,
        read_kwargs: Mapping[str, Any] | None = None,
        write_kwargs: Mapping[str, Any] | None = None,
        *,
        partition_on: str | Sequence[str] = (),
        partition_size: str | int | None = None,
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
        _check_kwargs(
            "read_kwargs",
            self.read_kwargs,
            [pq.ParquetFile.__init__],
            {"self", "source", "filesystem"},
        )
        _check_kwargs(
            "write_kwargs",
            self.write_kwargs,
            [pq.write_table],
            {"table", "where", "filesystem"},
        )
        if isinstance(partition_on, str):
            partition_on = (partition_on,)
        self.partition_on = tuple(partition_on)
        self.partition_size = _in_bytes(partition_size)
        if self.partition_on and self.partition_size is not None:
            raise ValueError(
                "partition_on and partition_size do not go together: repartition the "
                "frame in the task"
            )
        self.check_options()

    def check_options(self) -> None:
        """Raise FileTypeError where the path ends as a file of another type does."""
        check_ending(self.file_type, self.location or "")

    @property
    def options(self) -> tuple[object, ...]:
        """What shapes the files, for the identity of a checkpoint."""
        return (*super().options, self.partition_on, self.partition_size)

    def running_write(self, path: str) -> str:
        """Return in words how far a write to a path is; empty where there is none."""
        write = running_write(self.store.files, path)
        if write is None:
            return ""
        return str(write)

    def kept_classes(self) -> tuple[type, ...]:
        """Return Dask's DataFrame and Series, and pandas' own."""
        return KEPT_CLASSES

    def accepts(self, value: Any) -> bool:
        """Return whether a value is a frame or a series of Dask's or pandas'."""
        return is_kept(value)

    @contextlib.contextmanager
    def _stage(self, value: Any, path: str, origin: Origin) -> Iterator[Draft]:
        result = as_frame(value, self.partition_size, type(self).__name__)
        given = result.frame
        scheduler, partition_bytes = None, self.partition_size
        if result.is_here:
            # A pandas frame is in this process already: it does not go through the
            # scheduler to be written elsewhere. And `as_frame` has cut it to size.
            scheduler, partition_bytes = "threads", None
        # What Dask computes may have other partitions than the frame says: a groupby,
        # files that are read together.
        lowered = lower(given, path, scheduler)
        # Without rows, whatever step made it.
        meta = lowered.frame._meta.iloc[:0]
        staging = self._staging(path, lowered, origin)
        with staging.folder() as folder:
            files = staging.files
            n_partitions = lowered.frame.npartitions
            names = PartNames.for_write(
                n_partitions, renames_folders=files.renames_folders
            )
            writer = PartWriter(
                folder,
                self.storage_options,
                meta,
                names,
                self.partition_on,
                partition_bytes,
                self.write_kwargs,
            )
            # Whatever can be refused is refused before hours of computing.
            writer.check(lowered.frame.divisions)
            # Of the frame as the user made it: lowering may lose what Dask knew.
            n_rows = known_rows(given.expr)
            written = FrameWrite(path, lowered, writer, staging, n_rows).run()
            # Staged names are unique to an attempt; here the parts get those that the
            # manifest has.
            parts = tuple(staged.part for staged in written.parts)
            schema = result.schema(self._schema(meta, written))
            placed = files.finish_folder(
                folder, {staged.file: staged.part.name for staged in written.parts}
            )
            content = content_digest(self.file_type, parts, schema)
            opened = self._open(path, parts, schema, content)
            note = ""
            if written.n_resumed:
                note = (
                    f"{written.n_resumed} of {n_partitions} partitions from a write "
                    "that was stopped"
                )
            yield Draft(
                parts,
                meta.shape[1],
                schema,
                opened,
                note,
                placed,
                written.compute_s,
            )
        # Not before the commit: until then the finished parts are all there is.
        staging.remove_stopped()

    def _staging(self, path: str, lowered: Lowered, origin: Origin) -> Staging:
        """Return the staging folders.

        The log says which parts of stopped writes are of no use, and why.
        """
        key, why_not = None, "they are of another computation"
        of_task = None
        if origin.identity is not None:
            of_task = origin.identity.key
        try:
            key = resume_key(lowered.frame.expr, of_task, self.options)
        except NotResumableError as error:
            # Without a key nothing is resumed, and the write goes on all the same.
            why_not = str(error)
        staging = Staging(self.store.files, path, key)
        same = staging.same()
        for folder in staging.stopped():
            n_finished = staging.n_records(folder)
            if n_finished and folder not in same:
                logger.info(
                    "%s: %d finished partitions of a stopped write are not used: %s",
                    path,
                    n_finished,
                    why_not,
                )
        return staging

    def _schema(self, meta: pd.DataFrame, written: Written) -> JSONObject:
        partitions = None
        if self.partition_on:
            partitions = [staged.partition for staged in written.parts]
        return {
            "meta": frame_to_json(meta),
            "divisions": divisions_to_json(written.divisions),
            "n_partitions": len(written.divisions) - 1,
            "partitions": partitions,
        }

    def _load(self, path: str, manifest: Manifest) -> dd.DataFrame | dd.Series:
        assert manifest.schema is not None
        return self._open(path, manifest.parts, manifest.schema, manifest.content)

    def _open(
        self, path: str, parts: Sequence[Part], of_result: JSONObject, content: str
    ) -> dd.DataFrame | dd.Series:
        schema = schema_of_frame(of_result)
        n_partitions = schema["n_partitions"]
        numbers = schema["partitions"]
        if numbers is None:
            numbers = range(n_partitions)
        partitions: list[list[Part]] = [[] for _ in range(n_partitions)]
        for number, part in zip(numbers, parts, strict=True):
            # In a person's folder some files are no data: `_SUCCESS`, `.crc`.
            if number is not None:
                partitions[number].append(part)
        divisions = divisions_from_json(schema["divisions"], n_partitions)
        # With `partition_on` a partition is several files, whose rows have to come
        # back in the order of the index, as its divisions promise.
        is_sorted = schema["partitions"] is not None and divisions[0] is not None
        reader = PartReader(
            path,
            content,
            self.storage_options,
            frame_from_json(schema["meta"]),
            self.read_kwargs,
            is_sorted,
        )
        source = FrameSource(reader, tuple(map(tuple, partitions)), divisions)
        return as_result(open_frame(source), of_result)

    def _describe_foreign(self, path: str) -> Draft:
        files = self.store.files
        status = files.status(path)
        if status is None or status.kind == "file":
            raise FileTypeError("the path has no folder of parquet files")
        parts = list(self.store.read_parts(path, status))
        data = [i for i, part in enumerate(parts) if not _is_hidden(part.name)]
        # As Dask orders them: part.10 comes after part.2.
        data.sort(key=lambda i: natural_sort_key(parts[i].name))
        footers = {}
        for i in data:
            # Readers compare the checksum of a footer, as with parts of our own.
            with files.open(f"{path}/{parts[i].name}") as stream:
                footer_sha256, footer = footer_of(stream)
            parts[i] = parts[i]._replace(
                n_rows=footer.num_rows, footer_sha256=footer_sha256
            )
            footers[parts[i].name] = footer
        numbers = {i: number for number, i in enumerate(data)}
        meta = foreign_meta(footers)
        schema = {
            "meta": frame_to_json(meta),
            # Nobody promises that its files are sorted.
            "divisions": None,
            "n_partitions": len(data),
            "partitions": [numbers.get(i) for i in range(len(parts))],
        }
        return Draft(tuple(parts), meta.shape[1], schema, None)


def _is_hidden(part_name: str) -> bool:
    """Return whether a file is no data to readers of parquet: ``_SUCCESS``, ``.crc``.

    So is every file in a folder with such a name.
    """
    return any(name[0] in "._" for name in part_name.split("/"))


def _check_kwargs(
    what: str, kwargs: Mapping[str, Any], functions: Sequence[Any], reserved: set[str]
) -> None:
    """Raise TypeError for a keyword argument that none of the functions takes."""
    known = {
        name
        for function in functions
        for name in inspect.signature(function).parameters
    } - reserved
    for name in kwargs:
        if name not in known:
            raise TypeError(
                f"{what} has {name!r}, which is none of {', '.join(sorted(known))}"
            )


def _in_bytes(partition_size: str | int | None) -> int | None:
    """Return a partition size as a number; ``None`` where none is given."""
    if partition_size is None:
        return None
    try:
        n_bytes: int = parse_bytes(partition_size)
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"partition_size={partition_size!r}: give a number of bytes, or text like "
            f"'100 MB' ({error})"
        ) from error
    return n_bytes
