"""Digests that say, in a later process, whether a task's inputs, options and code are still the same.

A wrong miss costs time, a wrong hit is a wrong result: what has no digest that is sure
to hold elsewhere gets none.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import logging
import types
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from prefect_ds.checkpoints import digests
from prefect_ds.storage.manifest import Identity

_logger = logging.getLogger("prefect.prefect_ds.checkpoints.identity")


def digest(value: object) -> str | None:
    """Return a digest of any value, ``None`` where none would hold in another process.

    :func:`prefect_ds.checkpoints.digests.digest` says what has none, and where.
    """
    try:
        return digests.digest(value)
    except digests.UndigestibleError as error:
        _logger.debug("not compared: %s", error)
        return None


def identify_task(name: str, options: object, code: Callable[..., Any]) -> Identity:
    """Return what the identities of all runs of a task have in common: all but the inputs.

    Parameters
    ----------
    name
        The task's name.
    options
        The handler's options that shape the file.
    code
        The function that the task runs.
    """
    return Identity(
        name,
        {},
        (),
        digest(options) or f"no digest {uuid.uuid4().hex}",
        code_digest(code),
    )


def identify_run(task: Identity, inputs: Mapping[str, object]) -> Identity:
    """Return the identity of one run of a task.

    Parameters
    ----------
    task
        What :func:`identify_task` says of it.
    inputs
        Argument name to value; a checkpoint stands in for its data.
    """
    digests = {name: digest(inputs[name]) for name in sorted(inputs)}
    unstable = tuple([name for name, found in digests.items() if found is None])
    stable = {name: found for name, found in digests.items() if found is not None}
    return Identity(task.task, stable, unstable, task.options, task.code)


def code_digest(function: Callable[..., Any]) -> str:
    """Return a digest of what a function does itself: its bytecode, constants, defaults and closure.

    The functions that it calls do not count, nor do comments, names of local variables
    or where the function stands. Another Python version compiles to other bytecode and
    so gives another digest.
    """
    if isinstance(function, functools.partial):
        bound = [digest(each) for each in (*function.args, *function.keywords.values())]
        return hashlib.sha256(
            repr((code_digest(function.func), bound, list(function.keywords))).encode()
        ).hexdigest()
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    surroundings = [
        getattr(function, "__defaults__", None),
        getattr(function, "__kwdefaults__", None),
    ]
    for cell in getattr(function, "__closure__", None) or ():
        try:
            surroundings.append(cell.cell_contents)
        except ValueError:  # Not filled yet.
            surroundings.append("<empty>")
    # One by one: a value without a digest must not hide a change of the others.
    return hashlib.sha256(
        f"({_code_text(code)}, {[digest(each) for each in surroundings]})".encode()
    ).hexdigest()


@functools.lru_cache(maxsize=256)
def _code_text(code: types.CodeType) -> str:
    return repr(_code(code))


def _code(code: types.CodeType) -> tuple[object, ...]:
    constants = [
        _code(each) if isinstance(each, types.CodeType) else _constant(each)
        for each in code.co_consts
    ]
    # A docstring is a constant too, the first, and changes nothing unless the code
    # loads it.
    loaded = {
        each.arg for each in dis.get_instructions(code) if each.opcode in dis.hasconst
    }
    return (code.co_code, constants[0 if 0 in loaded else 1 :], code.co_names)


def _constant(constant: object) -> str:
    # The order of a set of strings differs from process to process.
    if isinstance(constant, frozenset):
        return f"frozenset({sorted(map(repr, constant))})"
    return repr(constant)
