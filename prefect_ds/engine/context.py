"""The entries of prefect_ds in Prefect's context and config, and those it leaves out.

Used on the client and on workers. A small task costs little beside what Prefect does
with its context, so every shortcut here names what it saves.
"""

from __future__ import annotations

import contextlib
import functools
import pickle
from collections.abc import Iterator, Mapping
from typing import Any, cast

import prefect
from prefect.utilities.collections import merge_dicts
from prefect.utilities.context import Context

from prefect_ds.checkpoints import memory_cache as cache

BY_REFERENCE = "prefect_ds_by_reference"
"""Set by :class:`prefect_ds.DSFlowRunner`: results travel as references."""

CONFIG = "prefect_ds_config"
"""The client's config, pickled, in the context of a submitted task."""

IDENTITY = "prefect_ds_identity"
"""What the identities of all runs of a task have in common."""

REFRESH = "prefect_ds_refresh"
"""Set for a task that runs whatever is there: ``flow.run(refresh=[...])``."""

EVENTS = "prefect_ds_events"
"""The file of events of a run, or ``None``."""

NOT_NEEDED = "prefect_ds_not_needed"
"""The indices of a task's children, or ``None``, whose freed data nothing needs."""

OF_NO_TASK: dict[str, Any] = {
    BY_REFERENCE: False,
    IDENTITY: None,
    REFRESH: False,
    NOT_NEEDED: frozenset(),
}
"""In the context of the flows that a task itself runs."""


@contextlib.contextmanager
def left_at_once() -> Iterator[None]:
    """Make Prefect enter and leave its context in one step during a run.

    Prefect's own way sets and drops one key after another, and a task enters its
    context three times: a third of what a hit takes. The outcome is the same.
    """
    if "clear" in vars(Context):
        yield  # A flow that a task of another flow runs.
        return
    Context.clear = _clear  # type: ignore[method-assign, assignment]
    Context.update = _update  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        # A run in another thread may have been faster.
        with contextlib.suppress(AttributeError):
            del Context.clear, Context.update


def _clear(context: Context) -> None:
    vars(context).clear()


def _update(context: Context, *others: Any, **keys: Any) -> None:
    vars(context).update(*others, **keys)


def current() -> dict[str, Any]:
    """Return Prefect's context as the dict behind it.

    Prefect's own ``context.get`` takes 20 times as long, and a task asks ten times.
    """
    return vars(prefect.context)


def copied() -> dict[str, Any]:
    """Return a copy of Prefect's context as nested dicts."""
    return cast(dict[str, Any], prefect.context.to_dict())


def for_steps(context: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the context with which Prefect's steps run a task.

    It has no config: Prefect would merge it three times a task, 10 of the 15 ms that a
    task takes. Under our flow runner the config comes pickled and is merged once in a
    process; under Prefect's own, ``run_task`` has merged it already.
    """
    steps = dict(context or copied())
    steps.pop("config", None)
    pickled_config = steps.pop(CONFIG, None)
    if pickled_config is not None:
        prefect.context.update(config=_merged_config(pickled_config))
    # Prefect takes it from the config that is left out.
    steps.setdefault("checkpointing", prefect.context.config.flows.checkpointing)
    return steps


@functools.lru_cache(maxsize=8)
def _merged_config(client_config: bytes) -> Any:
    """Return the client's config merged over this process's own, as Prefect does."""
    return merge_dicts(prefect.config, pickle.loads(client_config))


@functools.lru_cache(maxsize=8)
def run_id(flow_run_id: str, scheduled: object) -> str:
    """Return a name of a run of a flow: a schedule runs it many times under one id.

    Formatting the time takes 15 us, and all tasks of a run ask for the same.
    """
    return f"{flow_run_id} {scheduled}".strip()


def resize_cache(config: Any) -> None:
    """Bound this process's memory cache as Prefect's config says.

    Raises
    ------
    ValueError
        The setting is no number of bytes.
    """
    settings = config.get("prefect_ds") or {}
    wanted = settings.get("cache_bytes", cache.DEFAULT_BYTES)
    try:
        limit_bytes = int(wanted)
    except (TypeError, ValueError):
        limit_bytes = -1
    if limit_bytes < 0:
        raise ValueError(
            f"prefect_ds.cache_bytes is {wanted!r}: give a whole number of bytes, "
            "134217728, or 0 for no cache"
        )
    cache.resize(limit_bytes)
