"""The identity of a checkpoint: what it is a result of, and how two of them differ."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

Match: TypeAlias = Literal["path", "inputs", "code"]
"""What makes a checkpoint count: that it is there, its inputs, its code as well."""

SETTING = "self."
"""Before the name of a task's attribute, whose digest is among the inputs."""

VALUE = "="
"""Before a value that code reads and that is kept as it is, for a reason to show."""

_MOST_NAMES = 5
"""In the words of a reason: more of them nobody reads."""

_dumps = json.JSONEncoder(separators=(",", ":")).encode


class Code(NamedTuple):
    """The code that a task runs, with all of the user's that it reaches."""

    digest: str = ""
    """Decides whether two are the same."""
    python: str = ""
    """The Python that compiled it: only code of one Python version compares."""
    functions: Mapping[str, str] = {}
    """For the words of a reason: name of every function and class to a short digest."""
    values: Mapping[str, str] = {}
    """Likewise the values that the code reads, to short digests or to the values."""

    def compares_with(self, earlier: Code) -> bool:
        """Return whether one version of Python compiled both."""
        return bool(self.python) and self.python == earlier.python

    def difference(self, earlier: Code) -> str:
        """Return in words how the code changed since; empty where it did not.

        For example ``code changed: clean() in helpers, global 'LIMIT' 0.5 -> 0.6``.
        """
        if self.digest == earlier.digest:
            return ""
        words = []
        functions = _changed(self.functions, earlier.functions)
        # A function that is called or no longer called shows in its caller.
        functions = functions or sorted(
            self.functions.keys() ^ earlier.functions.keys()
        )
        if functions:
            words.append(f"code changed: {_listed(map(_plain, functions))}")
        values = _changed(self.values, earlier.values)
        words += [
            _value_changed(name, earlier.values[name], self.values[name])
            for name in values[:_MOST_NAMES]
        ]
        return ", ".join(words) or "the task's code changed"


class Identity(NamedTuple):
    """What a checkpoint is a result of.

    Its task, the task's inputs and own settings, the handler's options and the code.
    """

    task: str
    inputs: Mapping[str, str]
    """Argument name to digest. An upstream checkpoint counts by its content. An
    attribute of the task itself is named ``self.sql``."""
    unstable_inputs: tuple[str, ...] = ()
    """Inputs without a digest that holds in another process, such as connections."""
    options: str = ""
    """Digest of the handler's options that shape the file."""
    code: Code = Code()
    scheme: str = ""
    """How the digests were made; those of two schemes do not compare."""
    values: Mapping[str, str] = {}
    """For the words of a reason: the inputs that are numbers, dates and the like."""

    @property
    def key(self) -> tuple[Any, ...]:
        """All that decides whether two identities are the same."""
        inputs = tuple(sorted(self.inputs.items()))
        unstable = tuple(sorted(self.unstable_inputs))
        return (self.task, inputs, unstable, self.options, self.code[:2], self.scheme)

    @property
    def digest(self) -> str:
        """A digest of the key, which holds in every process."""
        return _digest_of(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self.key == other.key

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.digest)

    def difference(
        self, earlier: Identity, match: Match = "inputs", ignore: Iterable[str] = ()
    ) -> str:
        """Return in words how this identity differs from an earlier one.

        Empty where it does not differ in anything that counts.

        Parameters
        ----------
        earlier
            The identity in the checkpoint's manifest.
        match
            ``"path"`` compares nothing, ``"inputs"`` all but the code, ``"code"``
            everything. Code that another version of Python compiled does not compare:
            see :meth:`remark_on_code`.
        ignore
            Inputs that count in neither.
        """
        if match == "path" or self == earlier:
            return ""
        if self.task != earlier.task:
            return f"it was written by task {earlier.task!r}"
        # Equal digests of two schemes mean nothing, and different ones neither.
        if self.scheme != earlier.scheme:
            return (
                "its inputs cannot be compared, as another version of prefect_ds "
                "made their digests"
            )
        differences = self._differences_of_inputs(earlier, set(ignore))
        if self.options != earlier.options:
            differences.append("the handler's options changed")
        # Bytecode differs between versions of Python; a wrong miss costs hours.
        if match == "code" and self.code.compares_with(earlier.code):
            differences += filter(None, [self.code.difference(earlier.code)])
        return ", ".join(differences)

    def accepting(self, earlier: Identity, ignore: Iterable[str] = ()) -> Identity:
        """Return an earlier identity with all of this one that a user may accept.

        That is everything but the inputs and settings whose value has changed. Digests
        of two schemes do not tell which those are, and the user's word counts.
        """
        # Nothing can be kept of digests that do not compare.
        if self.scheme != earlier.scheme:
            return self._replace(task=earlier.task)
        ignored = set(ignore)
        ignored |= {f"{SETTING}{name}" for name in ignored}
        kept = set(_changed(self.inputs, earlier.inputs)) - ignored
        inputs = {name: earlier.inputs[name] for name in kept}
        values = {name: earlier.values.get(name, "") for name in kept}
        return self._replace(
            task=earlier.task,
            inputs={**self.inputs, **inputs},
            values={**self.values, **values},
        )

    def _differences_of_inputs(self, earlier: Identity, ignore: set[str]) -> list[str]:
        ours, theirs = self.inputs, earlier.inputs
        known = ours.keys() | set(self.unstable_inputs)
        known_earlier = theirs.keys() | set(earlier.unstable_inputs)
        known_earlier -= ignore | {f"{SETTING}{name}" for name in ignore}
        # An input that has a digest on one side only cannot be shown to be the same.
        half_known = known & known_earlier - (
            ours.keys() & theirs.keys()
            | set(self.unstable_inputs) & set(earlier.unstable_inputs)
        )
        changed = _changed(ours, theirs)
        shown = self._shown(changed, earlier)
        cases = (
            ([name for name in changed if name not in shown], "changed"),
            (sorted(known - known_earlier), "came new"),
            (sorted(known_earlier - known), "went away"),
            (sorted(half_known), "cannot be compared"),
        )
        words = list(shown.values())
        return words + [f"{_inputs(names)} {what}" for names, what in cases if names]

    def _shown(self, changed: list[str], earlier: Identity) -> dict[str, str]:
        """Return in words the changed inputs whose values are known: ``n 3 -> 4``."""
        shown: dict[str, str] = {}
        for name in changed[:_MOST_NAMES]:
            before, now = earlier.values.get(name), self.values.get(name)
            # 1 and 1.0 of numpy are two inputs that read alike.
            if before and now and before != now:
                noun = name
                if name.startswith(SETTING):
                    noun = f"setting {name.removeprefix(SETTING)!r}"
                shown[name] = f"{noun} {before} -> {now}"
        return shown

    def remark_on_code(self, earlier: Identity, match: Match) -> str:
        """Return a remark on the code of a checkpoint that counts; empty for none."""
        if not self.code.compares_with(earlier.code):
            if not earlier.code.python:
                return "its code could not be compared with that of an earlier version"
            return (
                f"its code could not be compared: {earlier.code.python} ran it then, "
                f"{self.code.python} does now"
            )
        if match == "code":
            return ""
        difference = self.code.difference(earlier.code)
        if not difference:
            return ""
        return (
            f"its code has changed since ({difference}), and match={match!r} does not "
            'look at code: use match="code", or remove the file, to compute it again, '
            f"or prefect_ds.accept(flow, [{self.task!r}]) if the change does not matter"
        )


@functools.lru_cache(maxsize=64)
def _digest_of(key: tuple[Any, ...]) -> str:
    # A hit asks for it twice, of this run and of its manifest: 2 % of what it takes.
    return hashlib.sha256(_dumps(key).encode()).hexdigest()[:32]


def _changed(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    common = ours.keys() & theirs.keys()
    return sorted(name for name in common if ours[name] != theirs[name])


def _value_changed(name: str, before: str, now: str) -> str:
    if before.startswith(VALUE) and now.startswith(VALUE):
        return (
            f"{_plain(name)} {before.removeprefix(VALUE)} -> {now.removeprefix(VALUE)}"
        )
    return f"{_plain(name)} changed"


def _plain(name: str) -> str:
    """Return a name without the number that tells two functions of one name apart."""
    return name.partition("#")[0]


def _listed(names: Iterable[str]) -> str:
    unique = list(dict.fromkeys(names))
    more = len(unique) - _MOST_NAMES
    shown = ", ".join(unique[:_MOST_NAMES])
    return f"{shown} and {more} more" if more > 0 else shown


def _inputs(names: list[str]) -> str:
    settings = [
        name.removeprefix(SETTING) for name in names if name.startswith(SETTING)
    ]
    inputs = [name for name in names if not name.startswith(SETTING)]
    kinds = [("input", inputs), ("setting", settings)]
    return " and ".join(
        f"{noun}{'s' if len(named) > 1 else ''} {', '.join(map(repr, named))}"
        for noun, named in kinds
        if named
    )


def identity_from_json(body: dict[str, Any], format_version: int) -> Identity:
    """Return the identity in a manifest's JSON.

    Raises
    ------
    TypeError, KeyError
        It does not have the form of that format.
    """
    if format_version == 1:
        # Its code was a digest alone, of another making.
        body = {**body, "code": Code(_text(body["code"]))._asdict(), "scheme": ""}
    if format_version < 3:
        body = {**body, "values": {}}
    code = Code(*[body["code"][name] for name in Code._fields])
    if len(body["code"]) > len(Code._fields):
        raise TypeError(f"code has {sorted(body['code'])}")
    unstable = tuple(_list(body["unstable_inputs"]))
    identity = Identity(**{**body, "unstable_inputs": unstable, "code": code})
    texts = [identity.task, identity.options, identity.scheme, code.digest, code.python]
    for mapping in (identity.inputs, identity.values, code.functions, code.values):
        if type(mapping) is not dict:
            raise TypeError(f"identity has a {type(mapping).__name__}")
        texts += mapping.values()
    texts += identity.unstable_inputs
    if {*map(type, texts)} != {str}:
        raise TypeError("identity has a value that is no text")
    return identity


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"identity is a {type(value).__name__}")
    return value


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError(f"unstable_inputs is a {type(value).__name__}")
    return value


def identity_to_json(identity: Identity) -> dict[str, Any]:
    """Return the identity as the JSON of a manifest has it."""
    return {**identity._asdict(), "code": identity.code._asdict()}
