"""The call behind every listing: what lies in a folder, at some paths, or of a flow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, TypeAlias

from prefect import Flow

from prefect_ds.listing.checkpoints import Checkpoints
from prefect_ds.listing.of_flow import located_in_flow
from prefect_ds.listing.places import Located, PathLike, places
from prefect_ds.listing.real_paths import RealPaths

Where: TypeAlias = PathLike | Iterable[PathLike] | Flow
"""A folder, a URL, the path of a checkpoint, several of them, or a flow."""


def checkpoints(
    where: Where,
    parameters: Mapping[str, Any] | None = None,
    *,
    context: Mapping[str, Any] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Checkpoints:
    """Return the checkpoints of a folder, of some paths, or of a flow.

    It reads manifests and looks at sizes; it reads no data, runs no code of yours and
    writes nothing. For a flow it lists the checkpoints of the next run, with those that
    are missing or stale, and the flow's orphans.

    Parameters
    ----------
    where
        A folder or URL, which is searched with all folders in it; the path of a
        checkpoint; a list of those; or a flow.
    parameters
        Of a flow, as for ``flow.run(parameters=...)``.
    context
        Of a flow, as for ``flow.run(context=...)``.
    storage_options
        Of a URL, as for the handler. A flow's handlers have their own.

    Raises
    ------
    CheckpointNotFoundError
        There is nothing at one of the paths.
    TypeError
        ``parameters`` or ``context`` are given, and ``where`` is no flow.

    Examples
    --------
    >>> import tempfile, pandas as pd
    >>> from prefect import Flow, task
    >>> from prefect_ds import PandasResultHandler, checkpoints
    >>> folder = tempfile.mkdtemp()
    >>> @task(result=PandasResultHandler(f"{folder}/{{n}}.parquet", "parquet"))
    ... def numbers(n):
    ...     return pd.DataFrame({"n": range(n)})
    >>> with Flow("example") as flow:
    ...     tables = numbers.map([1, 2])
    >>> [checkpoint.state for checkpoint in checkpoints(flow)]
    ['missing', 'missing']
    """
    where = repeatable(where)
    rows = tuple(
        located.row for located in locate(where, parameters, context, storage_options)
    )
    return Checkpoints(name_of(where), rows)


def locate(
    where: Where,
    parameters: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Iterator[Located]:
    """Yield the checkpoints with their file systems, see :func:`checkpoints`."""
    if isinstance(where, Flow):
        yield from located_in_flow(where, parameters or {}, context)
        return
    if parameters or context:
        raise TypeError("parameters and context are those of a flow; this is a path")
    # One place may be inside of another, or have two names.
    resolved, listed = RealPaths(), set()
    for place in places(where, storage_options):
        for located in place.located():
            real_path = resolved.of(located.files, located.row.path)
            if real_path not in listed:
                listed.add(real_path)
                yield located


def repeatable(where: Where) -> Where:
    """Return the same places in a form that can be gone through twice.

    Raises
    ------
    TypeError
        It is neither a flow nor a path, nor several paths.
    """
    if isinstance(where, (str, PurePath, Flow)):
        return where
    # A generator would be empty the second time.
    if not isinstance(where, Iterable):
        raise TypeError(
            f"{where!r} is no place to look at: give a folder, a URL, the path of a "
            "checkpoint, several of those, or a flow"
        )
    return list(where)


def name_of(where: Where) -> str:
    """Return what is listed, in words."""
    if isinstance(where, Flow):
        return f"Flow {where.name!r}"
    if isinstance(where, (str, PurePath)):
        return str(where)
    return ", ".join(str(path) for path in where)
