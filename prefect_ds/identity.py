"""Digests that say, in a later process, whether a task's inputs, options and code are still the same.

A wrong miss costs time, a wrong hit is a wrong result: what has no digest that is sure to hold elsewhere gets none.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import types
from collections.abc import Callable, Mapping
from typing import Any

from dask.base import tokenize
from dask.hashing import hashers
from dask.tokenize import TokenizationError

from prefect_ds.manifest import Identity

# Dask hashes arrays with the fastest library it finds, so a token only compares with one made by the same library.
_SCHEME = f"dask-{hashers[0].__name__.strip('_')}"


def digest(value: object) -> str | None:
    """Return a digest of any value, ``None`` where no digest would hold in another process (connections, clients).

    Checkpoints inside the value count by the digest of their content; nothing of them is read.
    """
    try:
        return f"{_SCHEME}:{tokenize(value, ensure_deterministic=True)}"
    except TokenizationError:
        return None


def identify(task: str, inputs: Mapping[str, object], options: object, code: Callable[..., Any]) -> Identity:
    """Return the identity of one run of a task.

    Parameters
    ----------
    task
        The task's name.
    inputs
        Argument name to value; a checkpoint stands in for its data.
    options
        The handler's options that shape the file.
    code
        The function that the task runs.
    """
    digests = {name: digest(value) for name, value in inputs.items()}
    return Identity(
        task=task,
        inputs={name: found for name, found in sorted(digests.items()) if found is not None},
        unstable_inputs=tuple(sorted(name for name, found in digests.items() if found is None)),
        options=digest(options) or "",
        code=code_digest(code),
    )


def code_digest(function: Callable[..., Any]) -> str:
    """Return a digest of what a function does itself: its bytecode, constants, defaults and closure.

    The functions that it calls do not count, nor do comments, names of local variables or where the function stands.
    Another Python version compiles to other bytecode and so gives another digest.
    """
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    closure = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    surroundings = (getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None), closure)
    return hashlib.sha256(repr((_code(code), digest(surroundings))).encode()).hexdigest()


@functools.lru_cache(maxsize=256)
def _code(code: types.CodeType) -> tuple[object, ...]:
    constants = [_code(each) if isinstance(each, types.CodeType) else _constant(each) for each in code.co_consts]
    # A docstring is a constant too, the first, and changes nothing unless the code loads it.
    loaded = {each.arg for each in dis.get_instructions(code) if each.opcode in dis.hasconst}
    return (code.co_code, constants[0 if 0 in loaded else 1 :], code.co_names)


def _constant(constant: object) -> str:
    # The order of a set of strings differs from process to process.
    if isinstance(constant, frozenset):
        return f"frozenset({sorted(map(repr, constant))})"
    return repr(constant)
