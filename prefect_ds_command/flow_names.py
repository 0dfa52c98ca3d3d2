"""The flow that a user names: ``file.py``, ``file.py:name`` or ``module:name``."""

from __future__ import annotations

import ast
import importlib
import os
import re
import sys
import tokenize
import traceback
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from prefect import Flow

# `flows/rain.py`, `flows/rain.py:hourly` and `package.flows:hourly`.
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

    A file is loaded as ``python file.py`` does it, a module as ``import`` does. Code
    below ``if __name__ == "__main__":`` does not run.

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
    import prefect

    # A file without a guard would run its flow: Prefect refuses that while it loads.
    with prefect.context(loading_flow=True):
        module = _of_file(where) if in_file else _of_module(where)
    return _flow_in(vars(module), where, name)


def _of_file(path: str) -> ModuleType:
    """Load a file as ``python file.py`` does, without its guarded blocks.

    Its module is ``__main__``, as in that run: the identities of its checkpoints name
    its classes so.
    """
    if not os.path.isfile(path):
        raise click.UsageError(f"there is no file {path!r}")
    path = os.path.abspath(path)
    # As Python sets them for a script, which may import what is beside it.
    sys.path.insert(0, os.path.dirname(path))
    sys.argv = [path]
    module = ModuleType("__main__")
    module.__file__ = path
    sys.modules["__main__"] = module
    try:
        # It reads the encoding that the file may declare.
        with tokenize.open(path) as file:
            tree = ast.parse(file.read(), path)
        _drop_main_blocks(tree)
        exec(compile(tree, path, "exec"), vars(module))
    except (Exception, SystemExit) as error:
        raise _in_users_code(error, path) from error
    return module


def _drop_main_blocks(tree: ast.Module) -> None:
    """Take what is below ``if __name__ == "__main__":`` out of a file."""
    kept: list[ast.stmt] = []
    for statement in tree.body:
        # An `else` runs where the guard does not.
        if isinstance(statement, ast.If) and _asks_for_main(statement.test):
            kept += statement.orelse
        else:
            kept.append(statement)
    tree.body = kept


def _asks_for_main(test: ast.expr) -> bool:
    # Also in `if "__main__" == __name__ and ready:`.
    nodes = list(ast.walk(test))
    names = [node.id for node in nodes if isinstance(node, ast.Name)]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return "__name__" in names and "__main__" in texts


def _of_module(name: str) -> ModuleType:
    # As `python -m` does; an installed command does not look there.
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Another one is missing in the user's own imports.
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise click.UsageError(f"there is no module {name!r}") from error
        raise _in_users_code(error, name) from error
    except (Exception, SystemExit) as error:
        raise _in_users_code(error, name) from error


def _in_users_code(error: BaseException, where: str) -> click.ClickException:
    """Return the error of a user's file, with the lines of the traceback from there."""
    frames = error.__traceback__
    # The frames of this command and of the import come first: nobody asked for those.
    of_import = ("<frozen importlib._bootstrap", importlib.__file__)
    ours = (__file__, ast.__file__, *of_import)
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(ours):
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames)
    return click.ClickException(f"{where} could not be imported:\n{''.join(lines)}")


def _flow_in(names: Mapping[str, Any], where: str, name: str | None) -> Flow:
    from prefect import Flow

    flows = {key: value for key, value in names.items() if isinstance(value, Flow)}
    listed = ", ".join(f"{where}:{key}" for key in flows) or "none"
    if name is None:
        return _only_flow(flows, where, listed)
    if name in flows:
        return flows[name]
    problem = "is not there"
    if name in names:
        problem = f"is a {type(names[name]).__name__}"
    raise click.UsageError(f"{name} {problem}; the flows of {where}: {listed}")


def _only_flow(flows: Mapping[str, Flow], where: str, listed: str) -> Flow:
    """Return the one flow of a file or module, for a user who gave no name."""
    if not flows:
        raise click.UsageError(
            f"{where} has no flow at its top level; what is in a function, or below "
            'if __name__ == "__main__":, does not run here'
        )
    # One flow may have several names.
    distinct = {id(flow): flow for flow in flows.values()}
    if len(distinct) > 1:
        raise click.UsageError(
            f"{where} has {len(distinct)} flows at its top level, so name one: {listed}"
        )
    return next(iter(distinct.values()))
