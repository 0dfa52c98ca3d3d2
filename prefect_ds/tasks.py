"""Prefect's ``task`` decorator, with ``result_handler=`` as a name of ``result=``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import prefect
from prefect.engine.result import Result
from prefect.tasks.core.function import FunctionTask


@overload
def task(fn: Callable[..., Any], /) -> FunctionTask: ...
@overload
def task(
    *, result_handler: Result | None = None, **task_init_kwargs: Any
) -> Callable[[Callable[..., Any]], FunctionTask]: ...
def task(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    result_handler: Result | None = None,
    **task_init_kwargs: Any,
) -> Any:
    """Make a task of a function, as Prefect's ``task`` does.

    Parameters
    ----------
    fn
        The function, where the decorator has no arguments.
    result_handler
        Another name for Prefect's ``result``.
    **task_init_kwargs
        As for ``prefect.task``.

    Raises
    ------
    TypeError
        Both ``result`` and ``result_handler`` are given.
    """
    if result_handler is not None:
        if "result" in task_init_kwargs:
            raise TypeError(
                "task() got both result= and result_handler=, "
                "which mean the same: give one"
            )
        task_init_kwargs["result"] = result_handler
    # `@task` gives a function, `@task(...)` options only; Prefect knows both forms.
    if fn is None:
        return prefect.task(**task_init_kwargs)
    return prefect.task(fn, **task_init_kwargs)
