"""Digests that say, in a later process, whether a task's inputs, options and code are still the same.

A wrong miss costs time, a wrong hit is a wrong result: what has no digest that is sure
to hold elsewhere gets none.
"""

from __future__ import annotations

import dataclasses
import dis
import enum
import functools
import hashlib
import logging
import types
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from dask.base import tokenize
from dask.hashing import hashers
from dask.tokenize import TokenizationError

from prefect_ds.checkpoints.reference import CheckpointReference
from prefect_ds.storage.manifest import Identity

_logger = logging.getLogger("prefect.prefect_ds.checkpoints.identity")

# Dask hashes arrays with the fastest library it finds, so a token only compares with
# one made by the same library.
_SCHEME = f"dask-{hashers[0].__name__.strip('_')}"


def digest(value: object) -> str | None:
    """Return a digest of any value, ``None`` where no digest would hold in another process (connections, clients).

    Checkpoints inside the value count by the digest of their content; nothing of them
    is read.
    """
    if type(value) is CheckpointReference:
        return f"checkpoint:{value.content}"  # As it is: who reads the manifest can follow it upstream.
    try:
        plain = _plain(value)
        if _is_text(plain):
            # What most arguments are: its text is as good as dask's token, and there in
            # a hundredth of the time.
            return f"text:{hashlib.sha256(repr(plain).encode('utf-8', 'surrogatepass')).hexdigest()}"
        return f"{_SCHEME}:{tokenize(plain, ensure_deterministic=True)}"
    except (TokenizationError, RecursionError):
        return None
    except Exception as error:  # noqa: BLE001 - what a value's own `__dask_tokenize__` or `__reduce__` may raise
        _logger.debug("no digest of a %s: %r", type(value).__name__, error)
        return None


def _plain(value: Any) -> Any:
    """Return what stands for a value whose token dask would make otherwise in each process, or without its order."""
    kind = type(value)
    if kind in _TEXTS:
        return value
    if kind is CheckpointReference:
        return ("checkpoint", value.content)
    if kind in (list, tuple):
        return (kind.__name__, [_plain(each) for each in value])
    if kind in (set, frozenset):
        # Pickled in the order of hashes, which differs from process to process.
        return (
            kind.__name__,
            sorted(tokenize(_plain(each), ensure_deterministic=True) for each in value),
        )
    if kind is dict:
        # In order: the order of columns may hang on it.
        return ("dict", [(_plain(key), _plain(each)) for key, each in value.items()])
    if isinstance(value, enum.Enum):
        # By name: a class of `__main__` is pickled with a name made up for the process.
        return ("enum", f"{kind.__module__}.{kind.__qualname__}", value.name)
    if dataclasses.is_dataclass(kind) and not hasattr(kind, "__dask_tokenize__"):
        return (
            "dataclass",
            f"{kind.__module__}.{kind.__qualname__}",
            [
                (each.name, _plain(getattr(value, each.name)))
                for each in dataclasses.fields(kind)
            ],
        )
    return value


def _is_text(plain: Any) -> bool:
    """Return whether `repr` tells a value, as `_plain` gives it, from every other."""
    if type(plain) in (list, tuple):
        return all(map(_is_text, plain))
    return type(plain) in _TEXTS


_TEXTS = {type(None), str, int, float, bool, bytes}


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
