"""The digest of one function's own code."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from prefect_ds.checkpoints.bytecode import PYTHON, listing
from prefect_ds.checkpoints.code_objects import fact_bytes, is_filled, unbound
from prefect_ds.checkpoints.digests import UndigestibleError, digest


def code_digest(function: Callable[..., Any]) -> str:
    """Return a digest of a function's own code, with its defaults and closure.

    The functions that it calls do not count: a ``CodeWalk`` follows these. Empty for
    what has no code of its own.
    """
    # It has no code of its own, and holds arguments of a function that has.
    if isinstance(function, functools.partial):
        bound = [*function.args, *function.keywords.values()]
        facts = [code_digest(function.func), list(function.keywords), _tried(bound)]
        return hashlib.sha256(fact_bytes(facts)).hexdigest()
    function = unbound(function)
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    values = [
        getattr(function, "__defaults__", None),
        getattr(function, "__kwdefaults__", None),
    ]
    for cell in getattr(function, "__closure__", None) or ():
        # A recursive function inside another may be asked before its name is bound.
        if is_filled(cell):
            values.append(cell.cell_contents)
        else:
            values.append("<empty>")
    facts = [PYTHON, listing(code).text, _tried(values)]
    return hashlib.sha256(fact_bytes(facts)).hexdigest()


def _tried(values: Iterable[Any]) -> list[str]:
    """Return digests of the values: one without must not hide a change of another."""
    digests = []
    for value in values:
        try:
            digests.append(digest(value))
        except UndigestibleError:
            digests.append("no digest")
    return digests
