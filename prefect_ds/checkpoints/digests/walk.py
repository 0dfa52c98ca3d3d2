"""The walk through a value, which turns it into bytes that no other value has.

An encoding is made of tagged, length-prefixed parts, so that ``["a", "bc"]`` and
``["ab", "c"]`` differ. A part that is long is replaced by its sha256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final, TypeAlias

SCHEME: Final = "v2"
"""How digests are made; digests of two schemes never compare as equal."""

MAX_DEPTH: Final = 100
"""A value nested deeper has no digest. The limit is fixed: Python's own depends on the
caller's stack, and would give a digest in one process and none in another."""

_LONG: Final = 128

ATOMS: Final = frozenset([type(None), str, int, float, bool, bytes])
"""Types whose ``ascii`` differs for different values, in all Python versions."""


class UndigestibleError(TypeError):
    """A value, or an object inside it, has no digest that holds in another process.

    Parameters
    ----------
    type_name
        Name of the class of the object without a digest: ``"Connection"``.
    where
        The way to it from the value: ``".pool[0]"``, ``"['conn']"``; empty where it is
        the value itself.
    why
        A few words.
    """

    def __init__(self, type_name: str, where: str = "", why: str = "") -> None:
        super().__init__(type_name, where, why)
        self.type_name = type_name
        self.where = where
        self.why = why

    @property
    def what(self) -> str:
        """What has no digest, in words: ``a Connection at .pool[0]``."""
        article = "an" if self.type_name[:1].lower() in "aeio" else "a"
        place = f" at {self.where}" if self.where else ""
        return f"{article} {self.type_name}{place}"

    def below(self, step: str) -> UndigestibleError:
        """Return the error as the container sees it, one step further out."""
        return UndigestibleError(self.type_name, f"{step}{self.where}", self.why)

    def __str__(self) -> str:
        why = f": {self.why}" if self.why else ""
        return f"{self.what} has no digest{why}"


class CycleError(Exception):
    """A value holds itself."""


Encoder: TypeAlias = Callable[[Any, "Walk"], bytes]
"""Returns the encoding of one object, and asks the walk for those of its children."""
Lookup: TypeAlias = Callable[[type], tuple[Encoder, bool]]
"""Returns the encoder of a class, and whether its objects are leaves: cheap to walk
again, and in no cycle without a container."""


class Walk:
    """One walk through one value.

    Sharing does not count: ``[a, a]`` is ``[a, copy(a)]``. In a value that holds itself
    it does, as objects are then numbered in the order in which the walk meets them.

    Parameters
    ----------
    lookup
        Finds the encoder of a class.
    is_numbered
        Whether an object met again is named by its number.
    """

    is_strict: ClassVar[bool] = False
    """Whether all counts that a pickle holds, also what the author of a class leaves
    out of a ``__dask_tokenize__``, and values of cached properties."""

    def __init__(self, lookup: Lookup, *, is_numbered: bool = False) -> None:
        self._lookup = lookup
        self._is_numbered = is_numbered
        self._encoders: dict[type, tuple[Encoder, bool]] = {}
        # Objects stay alive beside their encoding: no other may get their id.
        self._known: dict[int, tuple[object, bytes]] = {}
        self._open: set[int] = set()
        self._depth = 0

    def encode(self, value: Any) -> bytes:
        """Return the encoding of a value inside the one that is walked."""
        kind = type(value)
        if kind in ATOMS:
            return atom(value)
        encoder, is_leaf = self._encoder(kind)
        if is_leaf:
            return shortened(encoder(value, self))
        return self._encode_node(value, encoder)

    def encode_at(self, value: Any, step: str) -> bytes:
        """Return the encoding of a child; an error names the step that leads to it."""
        try:
            return self.encode(value)
        except UndigestibleError as error:
            raise error.below(step) from error.__cause__

    def encode_apart(self, value: Any) -> bytes:
        """Return the encoding of an element of a set.

        The order of a set differs from process to process, so no number may depend on
        it.
        """
        if not self._is_numbered:
            return self.encode(value)
        try:
            return Walk(self._lookup).encode(value)
        except CycleError:
            name = type(value).__name__
            raise UndigestibleError(
                name, why="it holds itself by way of a set"
            ) from None

    def begun_again(self, encode: Callable[[Walk], bytes]) -> bytes:
        """Return what a walk gives that knows nothing of this one."""
        return encode_whole(self._lookup, encode)

    def _encoder(self, kind: type) -> tuple[Encoder, bool]:
        if kind not in self._encoders:
            self._encoders[kind] = self._lookup(kind)
        return self._encoders[kind]

    def _encode_node(self, value: Any, encoder: Encoder) -> bytes:
        key = id(value)
        if key in self._known:
            return self._known[key][1]
        # The value holds itself: a new walk begins, which gives numbers to objects.
        if key in self._open:
            raise CycleError
        if self._depth == MAX_DEPTH:
            raise UndigestibleError(type(value).__name__, why="it is nested too deep")
        # Before its children: one of them may be the value itself.
        if self._is_numbered:
            self._known[key] = (value, b"@%d" % len(self._known))
        self._open.add(key)
        self._depth += 1
        try:
            encoding = shortened(encoder(value, self))
        finally:
            self._depth -= 1
            self._open.discard(key)
        if not self._is_numbered:
            self._known[key] = (value, encoding)
        return encoding


def encode_whole(lookup: Lookup, encode: Callable[[Walk], bytes]) -> bytes:
    """Return the encoding that a new walk gives: numbered, where there are cycles."""
    try:
        return encode(Walk(lookup))
    except CycleError:
        return b"cycle" + encode(Walk(lookup, is_numbered=True))


def atom(value: Any) -> bytes:
    """Return the encoding of a value whose type is one of `ATOMS`."""
    try:
        return shortened(b"=" + ascii(value).encode())
    except ValueError:  # Python writes no number of so many digits.
        return shortened(b"=" + hex(value).encode())


def pack(tag: str, *parts: bytes) -> bytes:
    """Return parts as one encoding."""
    return pack_all(tag, parts)


def pack_all(tag: str, parts: Iterable[bytes]) -> bytes:
    """Return any number of parts as one encoding."""
    # With lengths and their number, so that no two lists of parts look alike.
    packed = [b"%d:%b" % (len(part), part) for part in parts]
    return b"%b(%d)%b" % (tag.encode(), len(packed), b"".join(packed))


def shortened(encoding: bytes) -> bytes:
    """Return an encoding, or its sha256 where it is long."""
    if len(encoding) <= _LONG:
        return encoding
    return b"#" + hashlib.sha256(encoding).digest()


def finished(encoding: bytes) -> str:
    """Return the digest of a whole value."""
    return f"{SCHEME}:{hashlib.sha256(encoding).hexdigest()}"
