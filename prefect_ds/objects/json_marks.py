"""A value as the plain values of JSON, and the marks that bring it back.

A mark is ``None`` where the file holds the value as it is, the name of a single value's
type (`json_scalars`), or a dict for a collection. The dict has the mark that most of
the items have (``all``) and the others with their places (``but``):

>>> to_plain({"a": (1, 2), "b": [float("inf"), 0.5]}, checks=True)
... # doctest: +NORMALIZE_WHITESPACE
({'a': [1, 2], 'b': ['Infinity', 0.5]},
 {'is': 'dict', 'all': {'is': 'tuple'},
  'but': [[{'is': 'list', 'all': 'float'}, ['b']]]})
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any, Final

from prefect_ds.objects.base import Marks, UnkeepableError, key_step, shortened
from prefect_ds.objects.json_scalars import from_scalar, to_scalar

MAX_DEPTH: Final = 150
"""Python's own limit depends on how deep the caller is already."""

_PLAIN: Final = frozenset({str, int, float, bool, types.NoneType})
_SEQUENCES: Final[dict[type, str]] = {
    list: "list",
    tuple: "tuple",
    set: "set",
    frozenset: "frozenset",
}
_MAKERS: Final = {name: cls for cls, name in _SEQUENCES.items()}


def is_plain(value: Any) -> bool:
    """Return whether JSON holds a value as it is: lists, dicts of text, plain values.

    Numbers and text are not looked at, as in `to_plain` without checks.
    """
    # Level by level, and not item by item: sets of types are made in C.
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        kinds = set(map(type, level))
        if not kinds <= _PLAIN | {list, dict}:
            return False
        if kinds <= _PLAIN:
            return True
        lists = [item for item in level if type(item) is list]
        dicts = [item for item in level if type(item) is dict]
        # Iterating a dict gives its keys.
        if not set(map(type, chain.from_iterable(dicts))) <= {str}:
            return False
        level = [*chain.from_iterable(lists)]
        level += chain.from_iterable(map(dict.values, dicts))
    # Too deep, or it holds itself: the walk says which.
    return False


def to_plain(value: Any, *, checks: bool = False) -> tuple[Any, Marks]:
    """Return a value as JSON's plain values, and its mark.

    Parameters
    ----------
    value
        Any value.
    checks
        Whether to look at every number and text. Without, only their types are looked
        at, and the writer of JSON will stumble over NaN or half a character.

    Raises
    ------
    UnkeepableError
        It holds something that no mark brings back.
    """
    return _Walk(checks).plain(value)


class _Walk:
    """One walk through a value."""

    def __init__(self, checks: bool) -> None:
        self.checks = checks
        self.above: set[int] = set()
        """The collections that the walk is in, by id."""

    def plain(self, value: Any) -> tuple[Any, Marks]:
        # By type: a subclass, such as a defaultdict, would come back as its base.
        kind = type(value)
        if kind in _PLAIN:
            return self._leaf(value) if self.checks else (value, None)
        if kind is dict:
            return self._inside(value, self._dict)
        if kind is list or kind is tuple:
            return self._inside(value, self._sequence)
        if kind is set or kind is frozenset:
            return self._inside(value, self._set)
        plain, mark = to_scalar(value)
        if self.checks and type(plain) is str:
            _check_text(plain)
        return plain, mark

    def _leaf(self, value: Any) -> tuple[Any, Marks]:
        if type(value) is str:
            _check_text(value)
        elif type(value) is int:
            _check_number(value)
        elif type(value) is float and not math.isfinite(value):
            return to_scalar(value)
        return value, None

    def _inside(self, value: Any, walk: Any) -> tuple[Any, Marks]:
        if id(value) in self.above:
            raise UnkeepableError("it holds itself", value)
        if len(self.above) == MAX_DEPTH:
            why = f"it is nested deeper than {MAX_DEPTH} levels"
            raise UnkeepableError(why, value)
        self.above.add(id(value))
        result: tuple[Any, Marks] = walk(value)
        self.above.discard(id(value))
        return result

    def _sequence(self, value: Sequence[Any]) -> tuple[Any, Marks]:
        name = _SEQUENCES[type(value)]
        kinds = set(map(type, value))
        # A million numbers are not walked one by one.
        if kinds <= _PLAIN and not self.checks:
            return value, _mark(name, {})
        plains, marks = [], []
        for i, item in enumerate(value):
            try:
                plain, mark = self.plain(item)
            except UnkeepableError as error:
                raise error.below(f"[{i}]") from None
            plains.append(plain)
            marks.append(mark)
        if kinds == {float} and "float" in marks:
            # A list of half a million NaN needs one mark.
            marks = ["float"] * len(marks)
        return plains, _mark(name, _groups(marks, range(len(marks))))

    def _set(self, value: Collection[Any]) -> tuple[Any, Marks]:
        pairs = []
        for item in value:
            try:
                pairs.append(self.plain(item))
            except UnkeepableError as error:
                raise error.below(f", its item {shortened(item)}") from None
        # The order of a set differs from process to process.
        kinds = {type(plain) for plain, _ in pairs}
        # 2 before 10, as a reader expects; JSON's texts sort otherwise.
        if kinds <= {int} or kinds <= {str}:
            pairs.sort(key=lambda pair: (pair[0], json.dumps(pair[1])))
        else:
            pairs.sort(key=json.dumps)
        marks = [mark for _, mark in pairs]
        name = _SEQUENCES[type(value)]
        plains = [plain for plain, _ in pairs]
        return plains, _mark(name, _groups(marks, range(len(marks))))

    def _dict(self, value: dict[Any, Any]) -> tuple[Any, Marks]:
        texts, of_keys = self._keys(value)
        is_plain = set(map(type, value.values())) <= _PLAIN
        if is_plain and not of_keys and not self.checks:
            return value, None
        plains, marks = {}, []
        for text, (key, item) in zip(texts, value.items(), strict=True):
            try:
                plains[text], mark = self.plain(item)
            except UnkeepableError as error:
                raise error.below(key_step(key)) from None
            marks.append(mark)
        groups = _groups(marks, texts)
        if of_keys:
            groups["keys"] = of_keys
        return plains, _mark("dict", groups)

    def _keys(self, value: dict[Any, Any]) -> tuple[list[str], Marks]:
        """Return the texts of a dict's keys, and the marks that bring the keys back."""
        if set(map(type, value)) <= {str} and not self.checks:
            return list(value), {}
        texts: dict[str, Any] = {}
        marks = []
        for key in value:
            try:
                text, mark = self._key(key)
            except UnkeepableError as error:
                why = f"its key {shortened(key)}: {error.why}"
                raise UnkeepableError(why, value, error.hint) from None
            # 1 and "1", say: a dict of JSON has one of them.
            if text in texts:
                raise UnkeepableError(
                    f"its keys {shortened(texts[text])} and {shortened(key)} "
                    "are the same text",
                    value,
                )
            texts[text] = key
            marks.append(mark)
        return list(texts), _groups(marks, list(texts))

    def _key(self, key: Any) -> tuple[str, Marks]:
        kind = type(key)
        if kind is str:
            if self.checks:
                _check_text(key)
            return key, None
        if kind is int or kind is bool or key is None:
            _check_number(key)
            return json.dumps(key), kind.__name__
        plain, mark = to_scalar(key)
        if self.checks and type(plain) is str:
            _check_text(plain)
        # Keys of JSON are text.
        if type(plain) is not str:
            plain = json.dumps(plain)
        return plain, mark


def _mark(name: str, groups: dict[str, Any]) -> Marks:
    # JSON has these two itself.
    if name in ("list", "dict") and not groups:
        return None
    return {"is": name, **groups}


def _groups(marks: Sequence[Marks], places: Sequence[Any]) -> dict[str, Any]:
    """Return the mark of most items, and the other marks with their places."""
    if not marks:
        return {}
    first = marks[0]
    if all(mark == first for mark in marks):
        return _usual(first)
    # By text, as marks may be dicts, which have no hash.
    by_text: dict[str, tuple[Marks, list[Any]]] = {}
    for mark, place in zip(marks, places, strict=True):
        text = json.dumps(mark, sort_keys=True)
        by_text.setdefault(text, (mark, []))[1].append(place)
    most = max(by_text.values(), key=lambda group: len(group[1]))
    groups = _usual(most[0])
    groups["but"] = [[*group] for group in by_text.values() if group is not most]
    return groups


def _usual(mark: Marks) -> dict[str, Any]:
    """Return the part of a collection's mark that says the mark of most items."""
    if mark is None:
        return {}
    return {"all": mark}


def _check_text(text: str) -> None:
    # Half of a surrogate pair, as an error of decoding leaves it.
    try:
        text.encode()
    except UnicodeEncodeError as error:
        why = f"its text has half a character, {text[error.start]!r}"
        raise UnkeepableError(why, text) from None


def _check_number(number: Any) -> None:
    # Python reads 4,300 digits at most, unless a user has allowed more.
    try:
        json.loads(json.dumps(number))
    except ValueError:
        why = "an integer of more digits than Python reads"
        raise UnkeepableError(why, number) from None


# --- the way back ---------------------------------------------------------------------


def from_plain(plain: Any, mark: Marks) -> Any:
    """Return the value that `to_plain` turned into this.

    Raises
    ------
    ValueError, KeyError, TypeError, IndexError
        A person has changed the file, and a mark does not fit any more.
    """
    if mark is None:
        return plain
    # A text is the mark of a single value.
    name = "" if type(mark) is str else mark["is"]
    if name == "dict":
        return _dict_from(plain, mark)
    make = _MAKERS.get(name)
    if make is None:
        return from_scalar(plain, mark)
    if type(plain) is not list:
        raise ValueError(f"{shortened(plain)} is no list")
    marks = _marks_of(mark, range(len(plain)))
    if marks is None:
        return make(plain)
    return make(map(from_plain, plain, marks))


def _dict_from(plain: Any, mark: Marks) -> dict[Any, Any]:
    if type(plain) is not dict:
        raise ValueError(f"{shortened(plain)} is no dict")
    keys: list[Any] = list(plain)
    values: list[Any] = list(plain.values())
    marks = _marks_of(mark, keys)
    if marks is not None:
        values = list(map(from_plain, values, marks))
    marks = _marks_of(mark.get("keys", {}), keys)
    if marks is not None:
        keys = list(map(_key_from, keys, marks))
    return dict(zip(keys, values, strict=True))


def _key_from(text: str, mark: Marks) -> Any:
    if mark is None:
        return text
    if mark in _SPELT:
        key = json.loads(text)
        if type(key).__name__ != mark:
            raise ValueError(f"the key {text!r} is no {mark}")
        return key
    try:
        return from_scalar(text, mark)
    except (ValueError, KeyError):
        # A number, whose key is its JSON as text.
        return from_scalar(json.loads(text), mark)


_SPELT: Final = ("int", "bool", "NoneType")
"""Marks of keys that are written as JSON writes such values."""


def _marks_of(mark: Marks, places: Collection[Any]) -> list[Marks] | None:
    """Return the marks of the items in order; ``None``: all are as they should be."""
    usual = mark.get("all")
    others = mark.get("but")
    if usual is None and not others:
        return None
    marks = dict.fromkeys(places, usual)
    for other, at in others or ():
        # A person took it out: the marks no longer fit.
        if not marks.keys() >= set(at):
            raise ValueError("an item with a mark is gone")
        marks.update(dict.fromkeys(at, other))
    return list(marks.values())
