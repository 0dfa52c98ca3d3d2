"""Checks a Dask cluster before a flow runs: packages, and folders that workers share.

Without the check, Dask waits for ever for workers that cannot import a task, and
workers with separate disks compute everything and find only part of it.

:func:`check` runs on the client. The workers, and for :func:`versions` the scheduler,
run the public functions of this module, which are sent by name: if prefect_ds or a
package that it needs is missing there, the answer is the error of the import. Workers
that join later are not checked, so an adaptive cluster without workers does not delay
the run. Nor do workers that do not answer: Dask deals with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import os
import socket
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import prefect
from distributed import LocalCluster
from distributed.protocol.pickle import loads
from fsspec.core import split_protocol
from prefect.core import Flow
from prefect.engine.runner import ENDRUN
from prefect.engine.state import Failed

from prefect_ds import pickling
from prefect_ds.engine.task_handler import handlers_in
from prefect_ds.errors import PreflightError
from prefect_ds.path_template import SIDE_FOLDER

logger = logging.getLogger("prefect.prefect_ds.engine.cluster_check")

_PACKAGES = {"prefect_ds": None, "prefect": 1, "pandas": 1, "pyarrow": 1}
"""Package to the count of version numbers that must agree; ``None``: all of them."""

_ANSWER_S = 10
"""How long a healthy worker may take to say that it is there."""

_WORK_S = 300
"""How long the workers may take to answer, which may include slow imports."""

_MAX_NAMED = 5
"""How many workers a line names; of a thousand it gives the number."""

_MAX_PICKLED_BYTES = 10 * 2**20


def versions() -> dict[str, str]:
    """Return the versions in this process of the packages that matter."""
    installed = {}
    for package in _PACKAGES:
        # It may be on the path without an installation.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[package] = importlib.metadata.version(package)
    return installed


def receive(pickled: bytes) -> None:
    """Unpickle a flow's tasks."""
    loads(pickled)


def leave(folders: Sequence[str], name: str) -> dict[str, list[str]]:
    """Leave an empty file in every folder; return the folders where that worked.

    The values are the folders that were made on the way.
    """
    left: dict[str, list[str]] = {}
    for folder in folders:
        token = _token(folder, name)
        # What the check makes on the way, it takes away again.
        made = [above for above in _above(token) if not os.path.lexists(above)]
        # A folder may be read-only, with all checkpoints in it.
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(token), exist_ok=True)
            open(token, "x").close()
            left[folder] = made
    return left


def sees(folders: Sequence[str], name: str) -> list[str]:
    """Return the folders in which the file is there."""
    return [folder for folder in folders if os.path.lexists(_token(folder, name))]


def take_away(
    folders: Sequence[str], name: str, left: Mapping[str, Sequence[str]]
) -> None:
    """Remove the files of :func:`leave`, and the folders that it made, if empty."""
    for folder in folders:
        with contextlib.suppress(OSError):
            os.remove(_token(folder, name))
            # The nearest first. One that is not empty by now ends it: a task was
            # faster.
            for made in left.get(folder, ()):
                os.rmdir(made)


def _token(folder: str, name: str) -> str:
    # Where `clean` finds it, if this process dies before it takes it away.
    return os.path.join(folder, SIDE_FOLDER, "staging", f"{name}.staged")


def _above(path: str) -> list[str]:
    """Return the folders above a path, the nearest first."""
    above = os.path.dirname(path)
    return [] if above == path else [above, *_above(above)]


def check(client: Any, flow: Flow, known: Collection[str] = ()) -> list[str]:
    """Return the folders of a flow that the workers do not share with the client.

    The run of a flow whose tasks could not work on the cluster ends here, with one line
    that says where, why, and what to do. If only the client does not see a folder,
    that is a warning: all works, except looking at results from there.
    ``PREFECT__PREFECT_DS__PREFLIGHT=false`` switches the check off.

    Parameters
    ----------
    client
        Dask's client of the cluster.
    flow
        The flow about to run.
    known
        Folders of which the log said before that only this machine does not see them.

    Raises
    ------
    ENDRUN
        With a Failed state whose result is the :class:`PreflightError`: the scheduler
        or a worker lacks a package or has another version of it, a worker cannot import
        the flow's tasks, or the workers do not share a folder of checkpoints.
    """
    if not prefect.context.config.get("prefect_ds", {}).get("preflight", True):
        return []
    if isinstance(client.cluster, LocalCluster):
        return []  # Its processes have this one's packages and disks.
    try:
        # Packages first: without them nothing else can be asked.
        hosts = _check_packages(client, _hosts(client))
        if hosts:
            _check_tasks(client, flow, hosts)
            unseen = _check_folders(client, _folders(flow), hosts)
            _warn_of_unseen([folder for folder in unseen if folder not in known])
            return unseen
    except PreflightError as error:
        logger.error(error)
        raise ENDRUN(Failed(message=str(error), result=error)) from error
    except TimeoutError:
        logger.warning(
            "Cluster check incomplete: a worker did not answer within %d s.",
            _WORK_S,
        )
    return []


def _hosts(client: Any) -> dict[str, str]:
    """Return the workers that answer: addresses, and the names of their hosts."""

    async def ask(address: str) -> dict[str, str]:
        # One call a worker: a call to all would wait for the slowest. No module of ours
        # is asked for yet, which the worker may lack.
        try:
            async with asyncio.timeout(_ANSWER_S):
                return cast(
                    dict[str, str],
                    await client.run(
                        socket.gethostname, workers=[address], on_error="ignore"
                    ),
                )
        except TimeoutError:
            return {}

    async def ask_all() -> list[dict[str, str]]:
        return await asyncio.gather(*[ask(address) for address in workers])

    workers = list(client.nthreads())
    hosts = {
        address: host
        for answer in client.sync(ask_all)
        for address, host in answer.items()
    }
    _warn_of_silent([address for address in workers if address not in hosts])
    return hosts


def _warn_of_silent(workers: Sequence[str]) -> None:
    if workers:
        logger.warning(
            "Cluster check incomplete: no answer from %s", _named(workers, {})
        )


def _ask(
    client: Any, function: Callable[..., Any], *args: Any, workers: Iterable[str]
) -> dict[str, Any]:
    """Return the answer of every worker.

    An error is an answer, too; it is an ``OSError`` if the worker has gone.
    """
    answers = client.sync(
        client.run,
        function,
        *args,
        workers=list(workers),
        on_error="return",
        callback_timeout=_WORK_S,
    )
    return cast(dict[str, Any], answers)


def _check_packages(client: Any, hosts: Mapping[str, str]) -> dict[str, str]:
    """Return the workers that answered this as well."""
    answers = _ask(client, versions, workers=hosts)
    try:
        # It unpickles what it passes on to the workers.
        answers["the scheduler"] = client.run_on_scheduler(versions)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        answers["the scheduler"] = error

    here = versions()
    problems: dict[str, list[str]] = {}
    silent = [place for place, answer in answers.items() if isinstance(answer, OSError)]
    for place, answer in answers.items():
        if place in silent:
            continue
        # By problem, not by worker: a thousand workers of one image are one line.
        for problem in _problems(here, answer):
            problems.setdefault(problem, []).append(place)
    if problems:
        raise PreflightError(
            "; ".join(
                f"{_named(places, hosts)} {what}" for what, places in problems.items()
            )
        )
    _warn_of_silent(silent)
    return {address: host for address, host in hosts.items() if address not in silent}


def _problems(
    here: Mapping[str, str], answer: Mapping[str, str] | Exception
) -> Iterator[str]:
    if isinstance(answer, Exception):
        version = ""
        if "prefect_ds" in here:
            version = f"=={here['prefect_ds']}"
        yield (
            f"cannot import prefect_ds ({answer}): "
            f"pip install prefect_ds{version} there"
        )
        return
    for package, n_numbers in _PACKAGES.items():
        ours, theirs = here.get(package), answer.get(package)
        # A package that is only on the path has no version to compare.
        if not ours or not theirs:
            continue
        if ours.split(".")[:n_numbers] != theirs.split(".")[:n_numbers]:
            yield (
                f"has {package} {theirs}, the client {ours}: "
                f"pip install {package}=={ours} there"
            )


def _check_tasks(client: Any, flow: Flow, hosts: Mapping[str, str]) -> None:
    try:
        pickled = pickling.dumps(list(flow.tasks))
    except Exception:  # noqa: BLE001 - that task fails for itself, as in Prefect
        return
    # Constants of a flow may be data: not sent to all workers for a check.
    if len(pickled) > _MAX_PICKLED_BYTES:
        return
    answers = _ask(client, receive, pickled, workers=hosts)
    problems: dict[str, list[str]] = {}
    for address, answer in answers.items():
        # A worker that has gone says nothing about the flow.
        if isinstance(answer, Exception) and not isinstance(answer, OSError):
            problems.setdefault(str(answer), []).append(address)
    if problems:
        where = "; ".join(
            f"{_named(places, hosts)} ({problem})"
            for problem, places in problems.items()
        )
        raise PreflightError(
            f"the flow's tasks cannot be imported on {where}: "
            "install what they are defined in there"
        )


def _check_folders(
    client: Any, folders: Sequence[str], hosts: Mapping[str, str]
) -> list[str]:
    """Return the folders that only this machine does not see."""
    if not folders:
        return []
    # Any worker will do: those that see what it writes share the folder with it, and so
    # with one another.
    first = next(iter(hosts))
    name = uuid.uuid4().hex
    left: dict[str, list[str]] = {}
    try:
        try:
            left = client.sync(
                client.run,
                leave,
                folders,
                name,
                workers=[first],
                callback_timeout=_WORK_S,
            )[first]
            seen = _ask(client, sees, list(left), name, workers=hosts)
            seen_here = sees(list(left), name)
        # Also after an error: no file of a check may stay beside the data.
        finally:
            client.sync(
                client.run,
                take_away,
                folders,
                name,
                left,
                workers=[first],
                callback_timeout=_ANSWER_S,
            )
    except OSError as error:
        logger.warning(
            "Cluster check incomplete: a worker failed to look at the folders: %r",
            error,
        )
        return []

    problems = []
    # A folder where the first worker could not write is not judged.
    for folder in left:
        # A worker whose answer is an error has gone: it says nothing about a folder.
        blind = [
            address
            for address, answer in seen.items()
            if isinstance(answer, list) and folder not in answer
        ]
        if blind:
            problems.append(
                f"{_named(blind, hosts)} cannot see what {_named([first], hosts)} "
                f"writes to {folder}"
            )
    if problems:
        raise PreflightError(
            f"{'; '.join(problems)}: mount one folder on all workers, "
            "or keep checkpoints in a store as s3://..."
        )
    return [folder for folder in left if folder not in seen_here]


def _warn_of_unseen(folders: Sequence[str]) -> None:
    if folders:
        logger.warning(
            "The workers keep checkpoints in %s, which this machine does not see: "
            "they look the checkpoints up, and no result can be read from here",
            ", ".join(folders),
        )


def _folders(flow: Flow) -> list[str]:
    """Return the local folders that hold all checkpoints of a flow."""
    templates = [handler.template for handler in handlers_in(flow)]
    roots = {template.root for template in templates if template is not None}
    # An object store is the same for all workers.
    return sorted(root for root in roots if split_protocol(root)[0] is None)


def _named(places: Sequence[str], hosts: Mapping[str, str]) -> str:
    """Return addresses with the names of their hosts."""
    named = []
    for place in places[:_MAX_NAMED]:
        # The scheduler has no entry, and one without an answer has none either.
        if place in hosts:
            place = f"{place} (host {hosts[place]})"
        named.append(place)
    words = ", ".join(named)
    more = len(places) - _MAX_NAMED
    if more > 0:
        words += f" and {more} more"
    return words
