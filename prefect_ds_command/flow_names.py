"""The flow that a user names: ``file.py``, ``file.py:name`` or ``module:name``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from prefect import Flow

_IN_FILE = re.compile(r"(?P<where>.+\.py)(:(?P<name>[^/:]+))?")
_IN_MODULE = re.compile(r"(?P<where>[A-Za-z_][\w.]*):(?P<name>\w+)")


def is_flow_name(text: str) -> bool:
    """Return whether a text names a flow, and not a path or URL.

    >>> is_flow_name("flow.py"), is_flow_name("pkg.flows:rain"), is_flow_name("data")
    (True, True, False)
    >>> is_flow_name("s3://bucket/data"), is_flow_name("data/x.csv")
    (False, False)
    """
    return bool(_IN_FILE.fullmatch(text) or _IN_MODULE.fullmatch(text))


def load_flow(text: str) -> Flow:
    """Return the flow of this name.

    The file or module is imported, as ``import`` does it: code below
    ``if __name__ == "__main__":`` does not run.

    Raises
    ------
    click.ClickException
        There is no such flow, or the user's code failed.
    """
    in_file = _IN_FILE.fullmatch(text)
    match = in_file or _IN_MODULE.fullmatch(text)
    if match is None:
        raise click.UsageError(
            f"{text!r} names no flow: give file.py, file.py:name or module:name"
        )
    where, name = match["where"], match["name"]
    module = _of_file(where) if in_file else _of_module(where)
    return _flow_in(vars(module), where, name)


def _of_file(path: str) -> ModuleType:
    """Import a file as a script has it: its folder comes first on ``sys.path``."""
    if not os.path.isfile(path):
        raise click.UsageError(f"there is no file {path!r}")
    path = os.path.abspath(path)
    sys.path.insert(0, os.path.dirname(path))
    sys.argv = [path]
    stem = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _in_users_code(error, path) from error
    return module


def _of_module(name: str) -> ModuleType:
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise click.UsageError(f"there is no module {name!r}") from error
        raise _in_users_code(error, name) from error
    except (Exception, SystemExit) as error:
        raise _in_users_code(error, name) from error


def _in_users_code(error: BaseException, where: str) -> click.ClickException:
    """Return the error of a user's file, with the lines of the traceback from there."""
    frames = error.__traceback__
    skipped = (__file__, "<frozen importlib._bootstrap", importlib.__file__)
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(skipped):
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames)
    return click.ClickException(f"{where} could not be imported:\n{''.join(lines)}")


def _flow_in(names: Mapping[str, Any], where: str, name: str | None) -> Flow:
    from prefect import Flow

    flows = {key: value for key, value in names.items() if isinstance(value, Flow)}
    # One flow may have several names.
    distinct = {id(flow): flow for flow in flows.values()}
    listed = ", ".join(f"{where}:{key}" for key in flows) or "none"
    if name is None:
        if len(distinct) == 1:
            return next(iter(distinct.values()))
        raise click.UsageError(
            f"{where} has {len(distinct)} flows at its top level, so name one: {listed}"
            if flows
            else f"{where} has no flow at its top level"
        )
    if name not in flows:
        what = f"is a {type(names[name]).__name__}" if name in names else "is not there"
        raise click.UsageError(f"{name} {what}; the flows of {where}: {listed}")
    return flows[name]
