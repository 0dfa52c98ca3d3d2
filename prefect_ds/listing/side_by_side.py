"""Calls for many checkpoints that run side by side, with a progress bar."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_AT_ONCE_FAR = 16
"""Requests to an object store mostly wait."""


def side_by_side(
    call: Callable[[Item], Answer],
    items: Sequence[Item],
    *,
    what: str,
    progress: bool | None,
    is_far: bool = False,
) -> list[Answer]:
    """Return the answers of a call for many items, in their order.

    Parameters
    ----------
    call, items
        The call, and its arguments.
    what
        The word before the progress bar.
    progress
        Whether to show the bar; ``None``: in a terminal and a notebook, where tqdm is
        installed.
    is_far
        Whether a call mostly waits for an object store.
    """
    at_once = os.cpu_count() or 1
    if is_far:
        at_once = _AT_ONCE_FAR
    with ThreadPoolExecutor(at_once, "prefect_ds-upkeep") as pool:
        answers = pool.map(call, items)
        return list(_with_bar(answers, len(items), what, progress))


def _with_bar(
    answers: Iterator[Answer], total: int, what: str, progress: bool | None
) -> Iterator[Answer]:
    if progress is False or total == 0:
        return answers
    # It comes with the extra `progress` or with other packages, and is not needed.
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return answers
    # tqdm's `None`: only on a terminal. In a notebook the bar is always there.
    is_off = None if progress is None else False
    bar: Iterator[Answer] = iter(
        tqdm(answers, what, total, unit="checkpoint", disable=is_off, leave=False)
    )
    return bar
