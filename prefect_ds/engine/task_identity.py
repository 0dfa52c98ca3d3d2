"""The identity of a Prefect task: its code, settings and defaults.

Taken on the client as a flow starts, or, under Prefect's own flow runner, where the
task runs.
"""

from __future__ import annotations

import contextlib
import inspect
import types
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from prefect.configuration import Config
from prefect.core import Flow, Task
from prefect.engine.result import Result
from prefect.executors import Executor
from prefect.utilities.context import Context

from prefect_ds.checkpoints.code import CodeWalk
from prefect_ds.checkpoints.code_objects import is_library
from prefect_ds.checkpoints.identity import TaskIdentity, identify_task
from prefect_ds.engine import context
from prefect_ds.errors import OptionError
from prefect_ds.result_handler import ResultHandler

_PREFECTS_OWN = frozenset([*vars(Task(name="any")), "run"])
"""Attributes that every task has. They say how it runs, not what it returns."""

_ENGINE = (Config, Context, Executor, Flow, Result)


def of_all_runs(
    task: Task, handler: ResultHandler, keys: Iterable[str] = ()
) -> TaskIdentity:
    """Return the part of the identity that all runs of a task share.

    The user's code that a task reaches may be a lot, and is walked once a run of the
    flow.

    Parameters
    ----------
    task
        The task.
    handler
        The handler of its result.
    keys
        Names of the inputs that it is given.

    Raises
    ------
    OptionError
        The handler's ``ignore`` names an input that the task does not have.
    """
    parameters = _parameters(task)
    settings = settings_of(task)
    # Not as roots of their own, whose defaults may be left out as inputs of the task.
    own_code = [one.own_code for one in handler.all_handlers() if one.own_code]
    code = CodeWalk(
        *_roots(task),
        *own_code,
        module=getattr(_unbound(task.run), "__module__", ""),
        given=parameters,
        ignore=handler.ignore,
        stand_in=stand_in,
    )
    if isinstance(task.result, ResultHandler):
        # The flow's own handler is a default for tasks with other inputs.
        known = {*parameters, *settings, *keys, *code.globals}
        _check_ignored(task, handler, known)
    return identify_task(
        task.name,
        options=handler.options,
        code=code,
        settings=settings,
        defaults=defaults_of(task),
        ignore=handler.ignore,
        show=handler.show,
    )


def classes_named_by(task: Task) -> list[type]:
    """Return the user's classes that a task's code names, or the code that it calls."""
    # A task without a handler has no identity, and need not be fit for one.
    with contextlib.suppress(Exception):
        return CodeWalk(*_roots(task), stand_in=stand_in).classes
    return []


def defaults_of(task: Task) -> dict[str, Any]:
    """Return the defaults of a task's arguments; Prefect passes only those given."""
    return {
        name: parameter.default
        for name, parameter in _parameters(task).items()
        if parameter.default is not inspect.Parameter.empty
    }


def of_all_runs_here(task: Task, handler: ResultHandler) -> TaskIdentity:
    """Return :func:`of_all_runs`, asked once for all children that run in a process."""
    run = context.current().get("flow_run_id", "")
    # By run: between two runs of one process the code may have been edited.
    known = _known.get(task)
    if known is None or not run or known[0] != run:
        known = _known[task] = run, of_all_runs(task, handler)
    return known[1]


_known: WeakKeyDictionary[Task, tuple[str, TaskIdentity]] = WeakKeyDictionary()


def _check_ignored(task: Task, handler: ResultHandler, known: set[str]) -> None:
    unknown = sorted(set(handler.ignore) - known)
    if unknown:
        raise OptionError(
            f"the handler of task {task.name!r} has ignore "
            f"{', '.join(map(repr, unknown))}, which is not an input, setting or "
            f"global of the task; it has {', '.join(sorted(known)) or 'none'}"
        )


def settings_of(task: Task) -> dict[str, Any]:
    """Return the attributes of a task beside Prefect's own: ``self.sql``."""
    settings: dict[str, Any] = {}
    # Bases first, so that a class wins over them, as attributes do.
    for kind in reversed(type(task).__mro__):
        if issubclass(kind, Task) and not is_library(kind):
            settings |= {
                name: value for name, value in vars(kind).items() if _is_data(value)
            }
        slots = vars(kind).get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            if hasattr(task, name):
                settings[name] = getattr(task, name)
    settings |= vars(task)
    # The object of a bound method is an input of its code.
    owner = _owner(task)
    if owner is not None and not isinstance(owner, type):
        settings["self"] = owner
    return {
        name: value
        for name, value in settings.items()
        if name not in _PREFECTS_OWN and not name.startswith("__")
    }


def _is_data(value: Any) -> bool:
    is_code = callable(value) or hasattr(type(value), "__get__")
    return not is_code and not isinstance(value, types.ModuleType)


def _parameters(task: Task) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(task.run).parameters)
    except ValueError:
        return {}  # A function of C without a signature.


def _roots(task: Task) -> list[Any]:
    """Return where the walk over a task's code begins."""
    kinds = [] if is_library(type(task)) else [type(task)]
    owner = _owner(task)
    if owner is not None:
        kinds.append(owner if isinstance(owner, type) else type(owner))
    return [_unbound(task.run), *kinds]


def _owner(task: Task) -> Any:
    """Return the object whose method a task is, as in ``task(Model(3).fit)``."""
    run = task.run
    if not isinstance(run, types.MethodType) or run.__self__ is task:
        return None
    return run.__self__


def _unbound(run: Any) -> Any:
    return getattr(run, "__func__", run)


def stand_in(value: Any) -> Any:
    """Return what counts of one of Prefect's objects that the user's code reads."""
    if isinstance(value, Task):
        return ("task", [*_roots(value)], settings_of(value))
    if isinstance(value, _ENGINE):
        return "Prefect's own"
    return value
