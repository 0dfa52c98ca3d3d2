"""The identity of a task's run: its inputs, settings and code as digests.

A wrong miss costs time, a wrong hit is a wrong result: what has no digest is named, and
never taken for the same in silence.
"""

from __future__ import annotations

import hashlib
import types
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from prefect_ds.checkpoints.code import CodeWalk
from prefect_ds.checkpoints.code_objects import is_library
from prefect_ds.checkpoints.digests import SCHEME, UndigestibleError, digest
from prefect_ds.checkpoints.readable import readable
from prefect_ds.storage.identity import SETTING, Identity
from prefect_ds.storage.manifest import Origin

__all__ = ["RunIdentity", "TaskIdentity", "identify_run"]


@dataclass(frozen=True, slots=True)
class TaskIdentity:
    """What the identities of all runs of a task have in common."""

    common: Identity
    """Without the inputs; with the task's settings."""
    defaults: Mapping[str, str]
    """Digests of the arguments that may be left out."""
    not_compared: Mapping[str, str]
    """What has no digest, as ``setting 'pool'``, to its type in words."""
    unstable_defaults: Mapping[str, str]
    """Defaults without a digest, to their types in words."""
    ignore: frozenset[str] = frozenset()
    """Names of inputs and settings that do not count."""
    show: frozenset[str] = frozenset()
    """Names of inputs and settings whose text a reason may show."""
    default_values: Mapping[str, str] = field(default_factory=dict)
    """Defaults as a reason shows them."""


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """The identity of one run of a task."""

    identity: Identity
    remarks: tuple[str, ...] = ()
    """In words, what was not compared."""


def identify_task(
    name: str,
    *,
    options: object = (),
    code: CodeWalk | None = None,
    settings: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    ignore: Collection[str] = (),
    show: Collection[str] = (),
) -> TaskIdentity:
    """Return what the identities of all runs of a task have in common.

    Parameters
    ----------
    name
        The task's name.
    options
        The handler's options that shape the file.
    code
        The walk over the task's code.
    settings
        Attributes of the task itself.
    defaults
        Its arguments that may be left out.
    ignore
        Names of inputs and settings that do not count.
    show
        Names of inputs and settings whose text a reason may show.
    """
    digests, unstable = digests_of(settings or {}, ignore)
    default_digests, unstable_defaults = digests_of(defaults or {}, ignore)
    not_compared = {f"setting {name!r}": kind for name, kind in unstable.items()}
    if code is not None:
        not_compared |= code.notes.not_compared
    walked = {}
    if code is not None:
        walked["code"] = code.code()
    common = Identity(
        name,
        {f"{SETTING}{name}": digest for name, digest in digests.items()},
        tuple(f"{SETTING}{name}" for name in unstable),
        digest_of_options(options),
        scheme=SCHEME,
        values=_readable(settings or {}, digests, show, prefix=SETTING),
        **walked,
    )
    return TaskIdentity(
        common,
        default_digests,
        not_compared,
        unstable_defaults,
        frozenset(ignore),
        frozenset(show),
        _readable(defaults or {}, default_digests, show),
    )


def _readable(
    values: Mapping[str, Any],
    digests: Mapping[str, str],
    show: Collection[str],
    prefix: str = "",
) -> dict[str, str]:
    """Return those of the values that count and that a reason may show."""
    # By the digests: what is ignored has none, and no reason names it.
    shown = {
        f"{prefix}{name}": readable(values[name], text=name in show)
        for name in digests
        if name in values
    }
    return {name: text for name, text in shown.items() if text}


def identify_run(task: TaskIdentity, inputs: Mapping[str, Any]) -> RunIdentity:
    """Return the identity of one run of a task.

    Parameters
    ----------
    task
        What all of its runs have in common.
    inputs
        Argument name to value; a checkpoint takes the place of its data.
    """
    given, unstable = digests_of(inputs, task.ignore)
    values = _readable(inputs, given, task.show)
    # A default that is given and one that is left out are the same call.
    left_out = task.defaults.keys() - inputs.keys()
    for name in left_out & task.default_values.keys():
        values[name] = task.default_values[name]
    given |= {name: task.defaults[name] for name in left_out}
    for name, kind in task.unstable_defaults.items():
        if name not in inputs:
            unstable[name] = kind
    identity = task.common._replace(
        inputs={**task.common.inputs, **given},
        unstable_inputs=(*task.common.unstable_inputs, *sorted(unstable)),
        values={**task.common.values, **values},
    )
    not_compared = {f"input {name!r}": kind for name, kind in unstable.items()}
    not_compared |= task.not_compared
    remarks = [
        f"{name} ({kind}) was not compared" for name, kind in not_compared.items()
    ]
    return RunIdentity(identity, tuple(remarks))


def digests_of(
    values: Mapping[str, Any], ignore: Collection[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the digests of values by name, and in words those that have none."""
    digests: dict[str, str] = {}
    without: dict[str, str] = {}
    for name, value in values.items():
        if name in ignore:
            continue
        try:
            digests[name] = digest(value)
            # A function's own digest says nothing of the functions that it calls.
            if _may_lead_to_code(value):
                digests[name] += f" {CodeWalk(value).digest}"
        except UndigestibleError as error:
            without[name] = error.what
            # Named as not compared all the same; what can be seen of it still counts.
            rest = _digest_of_rest(value, _DEPTH_OF_REST)
            if rest:
                digests[name] = f"rest {rest}"
    return digests, without


_DEPTH_OF_REST = 4
"""How deep a value without a digest is searched: it may hold itself."""


def _digest_of_rest(value: Any, depth: int) -> str:
    """Return a digest of the parts of a value that have one; empty if it has no parts.

    Settings that hold a lock must still differ from other settings.
    """
    if type(value) is dict:
        items = [*value.items()]
    elif type(value) in (list, tuple):
        items = [*enumerate(value)]
    # What a library's object holds, such as a connection's buffers, is no setting.
    elif not is_library(type(value)) and hasattr(value, "__dict__"):
        items = sorted(vars(value).items())
    else:
        return ""
    parts = []
    for key, item in items:
        try:
            parts.append((repr(key), digest(item)))
        except UndigestibleError:
            below = _digest_of_rest(item, depth - 1) if depth else ""
            parts.append((repr(key), below))
    return digest(parts)


def _may_lead_to_code(value: Any) -> bool:
    """Return whether a value is code of the user's, which may call more of it."""
    if isinstance(value, types.FunctionType | types.MethodType | type):
        return not is_library(value)
    return False


def digest_of_options(options: object) -> str:
    """Return a digest of a handler's options; one of its own where there is none."""
    try:
        return digest(options)
    except UndigestibleError:
        # Equal to no other: a wrong miss costs time, a wrong hit is a wrong result.
        return f"no digest {uuid.uuid4().hex}"


def digest_of_question(origin: Origin) -> str:
    """Return a digest of all that decides which result a task run asks for.

    Runs that ask for the same share a result; others at the same path collide.
    """
    identity = origin.identity
    if identity is not None and not identity.unstable_inputs:
        return identity.digest
    # Inputs without a digest cannot be shown to be equal to another's.
    question = (identity and identity.key, tuple(origin.owner))
    return hashlib.sha256(repr(question).encode()).hexdigest()
