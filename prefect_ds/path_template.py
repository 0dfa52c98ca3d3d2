"""Path templates: turn the arguments of a task into the path of its checkpoint, and back.

What the user wrote in the template stands in the path as it is; values are encoded, so
that none of them leaves its folder, picks another store or meets another value's name.
"""

import hashlib
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum
from functools import lru_cache, partial
from pathlib import PurePath
from string import Formatter
from textwrap import shorten
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from prefect_ds.errors import TemplateError

SIDE_FOLDER = ".prefect_ds"
"""Name of the folder beside the checkpoints that holds their manifests; no template may write there."""

_MAX_NAME_BYTES = 255
_MAX_FIELD_BYTES = 120
_MAX_SPEC_CHARACTERS = 64
_HASH_DIGITS = 32
_FIELD_MARK = _END_MARK = "\0"  # in no template

_FIELD = re.compile(r"(?P<name>[^.\[\]]+)(?P<keys>(?:\[[^\[\]]{1,200}\])*)")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.,=+@() -]|\A[. ]|[. ]\Z")
_WINDOWS_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|(?:com|lpt)[0-9¹²³]) *(?:\.|\Z)", re.IGNORECASE
)
_SHORTENED = re.compile(
    rf"(?:%[0-9A-F]{{2}}|[\w.,=+@() -]){{20,}}%~[0-9a-f]{{{_HASH_DIGITS}}}"
)
_ACCEPTED = "str, bool, int, float, Decimal, date, datetime, time, timedelta, Path, UUID, Enum, and scalars of numpy and pandas"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a template, such as ``{params[lr]!s:.8}``."""

    name: str
    """The value's name: ``params``."""
    keys: tuple[str, ...]
    """What to look up inside the value, outermost first: ``("lr",)``."""
    conversion: str
    """``"s"``, ``"r"``, ``"a"``, or empty."""
    spec: str
    """The format spec: ``.8``; empty where there is none."""
    written: str
    """The field as the user wrote it, without its braces."""


@dataclass(frozen=True, slots=True, init=False)
class PathTemplate:
    """A path with named fields, filled from the arguments of a task.

    Fields are those of `str.format`, less what is unsafe in a path: there are no
    positional fields and no attributes. ``{params[lr]}`` looks into mappings by key,
    into lists and tuples by position. Dates and times without a format spec are written
    as ``isoformat`` does, durations as in ISO 8601.

    Each field stays within one name of the path: a ``/`` that comes from a value, or
    from its format spec, is encoded. To have a folder per year, write
    ``{day:%Y}/{day:%m}``. Paths are the same in every process, unless a spec asks for
    words in the language of the process (``%B``).

    Parameters
    ----------
    template
        ``data/download_{id}.csv`` or ``s3://bucket/{day:%Y-%m-%d}.parquet``. Folders
        are separated by ``/`` on every system; ``{{`` and ``}}`` are braces that belong
        to the path.

    Raises
    ------
    TemplateError
        The template is malformed, or a value could lead out of its folder.

    Examples
    --------
    >>> template = PathTemplate("data/{city}/day_{day:03d}.csv")
    >>> template.render({"city": "São Paulo/SP", "day": 7})
    'data/São Paulo%2FSP/day_007.csv'
    >>> template.match("data/São Paulo%2FSP/day_007.csv")
    {'city': 'São Paulo/SP', 'day:03d': '007'}
    >>> template.root
    'data'
    """

    template: str
    """The template as text; the only thing that is compared, hashed and pickled."""

    def __init__(self, template: str | PurePath) -> None:
        text = template.as_posix() if isinstance(template, PurePath) else template
        object.__setattr__(self, "template", text)
        if not isinstance(text, str):
            raise _error(
                text, f"a template is a str or a Path, not a {type(text).__name__}"
            )
        if text is not template and re.match(r"[A-Za-z][\w+.-]+:/", text):
            raise _error(text, "a Path drops a slash of a URL; pass the URL as a str")
        _parse(text)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields in the order of the template, each once."""
        return _parse(self.template).fields

    @property
    def names(self) -> frozenset[str]:
        """The names that `render` looks up."""
        return frozenset(field.name for field in self.fields)

    @property
    def root(self) -> str:
        """The folder above the first field, as written; empty where the template starts with a name or a field."""
        return _parse(self.template).root

    def render(self, values: Mapping[str, object], *, task: str = "") -> str:
        """Return the path for these values.

        Parameters
        ----------
        values
            Name to value. Only the names in the template are looked up, so that the
            rest may be costly to load.
        task
            Name of the task, for the error message.

        Returns
        -------
        str
            A path under `root`, no name in it longer than 255 bytes.

        Raises
        ------
        TemplateError
            A value is missing, cannot name a file or does not fit its format spec, or a
            name comes out too long.
        """
        encoded = {
            written: encode_text(text)
            for written, text in self.render_fields(values, task=task).items()
        }
        parsed = _parse(self.template)
        first, *others = parsed.literals
        path = first + "".join(
            encoded[field.written] + literal
            for field, literal in zip(parsed.places, others, strict=True)
        )
        n_written = parsed.literals[0].count(
            "/"
        )  # The names before the first field were looked at when it was parsed.
        for position, name in enumerate(path.split("/")[n_written:], n_written):
            if problem := _problem(name):
                # No encoded text has a slash, so the names of the path stand where
                # those of the template do.
                *above, blank = _FIELD_MARK.join(parsed.literals).split("/")[
                    : position + 1
                ]
                start = "".join(above).count(_FIELD_MARK)
                sources = parsed.places[start : start + blank.count(_FIELD_MARK)]
                listed = ", ".join(f"{{{field.written}}}" for field in sources)
                raise _error(
                    self.template, f"{problem}; it comes from {listed}", task=task
                )
        return path

    def render_fields(
        self, values: Mapping[str, object], *, task: str = ""
    ) -> dict[str, str]:
        """Return the text of each field before it is encoded, by the field as written.

        Parameters and errors are those of `render`.

        Examples
        --------
        >>> PathTemplate("{day:%Y}/{params[lr]}.csv").render_fields({"day": date(2024, 5, 1), "params": {"lr": 0.1}})
        {'day:%Y': '2024', 'params[lr]': '0.1'}
        """
        texts = {}
        for field in self.fields:
            fail = partial(_error, self.template, field=field, task=task)
            try:
                value = values[field.name]
            except KeyError as error:
                raise fail(_absent(field.name, values)) from error
            for key in field.keys:
                value = _item(value, key, fail)
            texts[field.written] = _text(value, field, fail)
        return texts

    def match(self, path: str) -> dict[str, str] | None:
        """Return the text of each field in a rendered path, by the field as written.

        Parameters
        ----------
        path
            As `render` returned it.

        Returns
        -------
        dict or None
            None where the path is not of this template. A text that was shortened comes
            as it stands in the path. Where a path can be read in several ways
            (``{a}_{b}`` with ``x_y_z``), earlier fields get less.
        """
        if any(_problem(name) for name in path.split("/")):
            return None
        parsed = _parse(self.template)
        first, *others = (*parsed.literals[:-1], parsed.literals[-1] + _END_MARK)
        rest = path + _END_MARK
        return (
            _read(parsed.places, others, rest[len(first) :], {})
            if rest.startswith(first)
            else None
        )


def encode_text(text: str) -> str:
    """Return the text as a part of a file name that no other text is encoded to.

    Kept are ASCII letters and digits, ``_-.,=+@()``, blanks, and other letters and
    digits where the whole text is NFC; all else, a dot or blank at either end, and the
    first letter of a Windows device name become ``%XX``, their bytes in UTF-8. The
    empty text becomes ``%_``. What would take more than 120 bytes keeps its start, then
    ``%~`` and 32 digits of its sha256. Texts that differ only in case stay apart only
    on file systems that tell case.

    Examples
    --------
    >>> encode_text("../a:b*"), encode_text("größe 3"), encode_text("nul.csv"), encode_text("")
    ('%2E.%2Fa%3Ab%2A', 'größe 3', '%6Eul.csv', '%_')
    >>> encode_text("n" * 200)[80:]
    'nnnnnn%~1be63cc0bde6bd45dcbb205b96a7e699'
    """
    # Some file systems take é and e + accent for one name, so only one of the two forms
    # may stand as it is.
    is_nfc = unicodedata.is_normalized("NFC", text)
    encoded = (
        _UNSAFE.sub(
            lambda found: (
                found[0] if is_nfc and found[0].isalnum() else _percent(found[0])
            ),
            text,
        )
        or "%_"
    )
    if _WINDOWS_DEVICE.match(text):
        encoded = _percent(encoded[0]) + encoded[1:]
    as_bytes = encoded.encode()
    if len(as_bytes) > _MAX_FIELD_BYTES:
        mark = (
            "%~"
            + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[
                :_HASH_DIGITS
            ]
        )
        start = as_bytes[: _MAX_FIELD_BYTES - len(mark)].decode(errors="ignore")
        encoded = re.sub(r"%.?\Z", "", start) + mark
    return encoded


def decode_text(encoded: str) -> str | None:
    """Return the text that `encode_text` turned into this; None where it gives nothing such.

    Examples
    --------
    >>> decode_text("a%2Fb"), decode_text("%_"), decode_text("a/b")
    ('a/b', '', None)
    """
    if encoded == "%_":
        return ""
    if _SHORTENED.fullmatch(encoded):
        return encoded
    try:
        text = unquote(encoded, errors="surrogatepass")
    except UnicodeDecodeError:
        return None
    return text if encode_text(text) == encoded else None


def _percent(character: str) -> str:
    return "".join(
        f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass")
    )


def _error(
    template: str, problem: str, *, field: Field | None = None, task: str = ""
) -> TemplateError:
    where = f"path template {template!r}"
    if field is not None:
        where += f", field {{{field.written}}}"
    if task:
        where += f", task {task!r}"
    return TemplateError(f"{where}: {problem}")


def _problem(name: str) -> str | None:
    """Return why no file or folder may have this name; None where it may."""
    if name.casefold() == SIDE_FOLDER:
        return f"the name {name!r} is kept for the manifests of prefect_ds"
    size_bytes = len(name.encode("utf-8", "surrogatepass"))
    if size_bytes > _MAX_NAME_BYTES:
        return f"the name {name[:30]!r}... is {size_bytes} bytes long, more than the {_MAX_NAME_BYTES} of file systems"
    return None


@dataclass(frozen=True, slots=True)
class _Parsed:
    places: tuple[Field, ...]
    """The fields in order, also those that come again."""
    fields: tuple[Field, ...]
    """The fields in order, each once."""
    literals: tuple[str, ...]
    """The texts before, between and after the places; one more than those, some of them empty."""
    root: str


@lru_cache(maxsize=1024)
def _parse(template: str) -> _Parsed:
    """Return the parts of a template; raise TemplateError where it is malformed or unsafe."""
    if not template or "\0" in template:
        raise _error(template, "a path is not empty and has no NUL")
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise _error(
            template, f"{error}; a brace that belongs to the path is written twice"
        ) from error

    places: list[Field] = []
    blank = ""
    for literal, name, spec, conversion in pieces:
        # Else a value could be the protocol, the drive, or one more link in a chain of
        # fsspec URLs.
        if places and ("::" in literal or ":/" in literal):
            raise _error(
                template,
                "'::' and ':/' stand before the first field, as in s3://bucket/{id}",
            )
        blank += literal
        if name is not None:
            places.append(_parse_field(template, name, conversion or "", spec or ""))
            blank += _FIELD_MARK

    # No value can make a name empty, "." or "..": an encoded text is never empty and
    # never made of dots only.
    above, _, below = blank.partition(_FIELD_MARK)
    if ".." in below.split("/")[1:]:
        raise _error(template, "'..' stands before the first field only")
    for name in blank.split("/"):
        if problem := _problem(name):
            raise _error(template, problem)
    root, slash, _ = above.rpartition("/")
    if not root or root[-1] in "/:":  # "/", "s3://" and "C:/" need their last slash
        root += slash
    return _Parsed(
        tuple(places),
        tuple(dict.fromkeys(places)),
        tuple(blank.split(_FIELD_MARK)),
        root,
    )


def _parse_field(template: str, name: str, conversion: str, spec: str) -> Field:
    written = name + (conversion and f"!{conversion}") + (spec and f":{spec}")
    fail = partial(_error, template)
    if "." in re.sub(r"\[[^\]]*\]", "", name):
        raise fail(
            f"attributes can't be reached from a template, as {{{written}}} would: "
            "pass it as an argument of its own, or use a format spec such as {day:%Y}"
        )
    found = _FIELD.fullmatch(name)
    if found is None or found["name"].isdecimal():
        raise fail(
            f"{{{written}}} is not a field: fields have names, as in {{id}} or {{params[lr]}}"
        )
    if conversion not in ("", "s", "r", "a"):
        raise fail(f"{{{written}}} has an unknown conversion; there are !s, !r and !a")
    if "{" in spec or "}" in spec:
        raise fail(f"{{{written}}} has a field within its format spec")
    # A width such as 9999999999 would fill the memory.
    if len(spec) > _MAX_SPEC_CHARACTERS or re.search(r"\d{4}", spec):
        raise fail(
            f"the format spec of {{{written}}} has over {_MAX_SPEC_CHARACTERS} characters or 3 digits in a row"
        )
    return Field(
        found["name"],
        tuple(re.findall(r"\[([^\]]+)\]", found["keys"])),
        conversion,
        spec,
        written,
    )


def _read(
    places: Sequence[Field],
    literals: Sequence[str],
    path: str,
    texts: Mapping[str, str],
) -> dict[str, str] | None:
    """Return `texts` with those of these places, each followed by its literal in the path; None where none fit."""
    if not places:
        return dict(texts) if not path else None
    written, literal = places[0].written, literals[0]
    for size in range(1, len(path.partition("/")[0]) + 1):
        if not path.startswith(literal, size):
            continue
        text = decode_text(path[:size])
        if text is not None and texts.get(written, text) == text:
            read = _read(
                places[1:],
                literals[1:],
                path[size + len(literal) :],
                {**texts, written: text},
            )
            if read is not None:
                return read
    return None


def _absent(name: str, container: Mapping[Any, object]) -> str:
    known = sorted(map(str, container))
    close = get_close_matches(name, known, n=1)
    hint = f", did you mean {close[0]!r}?" if close else "."
    return f"there is no {name!r}{hint} There are: {shorten(', '.join(known), 500, placeholder=' ...') or 'none'}"


def _item(container: object, key: str, fail: Callable[[str], TemplateError]) -> object:
    """Return what the container holds at a key of a field."""
    position = int(key) if key.isdecimal() else None
    if isinstance(container, Mapping):
        # Not try and except: looking up what is not there would add it to a
        # defaultdict.
        if key in container:
            return container[key]
        if position is not None and position in container:
            return container[position]
        raise fail(_absent(key, container))
    if isinstance(container, (list, tuple)):
        if position is not None and position < len(container):
            return container[position]
        raise fail(
            f"there is no position {key!r} in a {type(container).__name__} of {len(container)}"
        )
    raise fail(
        f"[{key}] looks into mappings, lists and tuples, not into a {type(container).__name__}"
    )


def _text(value: object, field: Field, fail: Callable[[str], TemplateError]) -> str:
    """Return the text of a value in a field, not yet encoded."""
    try:
        plain = _plain(value)
        if plain is not None:
            if not field.spec or field.conversion:
                plain = {"r": repr, "a": ascii}.get(field.conversion, _canonical)(plain)
            if _is_instance(
                plain, "pandas", "Period"
            ):  # before pandas 3.1, `format` leaves the spec out
                return str(plain.strftime(field.spec))  # type: ignore[attr-defined]
            return format(plain, field.spec)
    except Exception as error:  # the __format__ of any type
        problem = f"a {type(value).__name__} can't be written this way ({type(error).__name__}: {error})"
        raise fail(problem) from error
    raise fail(f"a {type(value).__name__} can't name a file; accepted are {_ACCEPTED}")


def _plain(value: object) -> object:
    """Return the value to format in place of this one; None where it names nothing."""
    if isinstance(value, Enum):
        return _plain(
            value.value if isinstance(value, (str, int, float)) else value.name
        )
    if _is_instance(value, "numpy", "generic"):
        return _plain_numpy(value)
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime) and value != value:  # pandas.NaT
        return None
    is_accepted = isinstance(value, (str, int, float, Decimal, date, time, timedelta))
    return value if is_accepted or _is_instance(value, "pandas", "Period") else None


def _plain_numpy(scalar: Any) -> object:
    kind = scalar.dtype.kind
    if kind in "biuU":
        return scalar.item()
    if kind == "f":
        return float(str(scalar))  # item() makes 0.10000000149011612 of a float32 0.1
    if kind not in "mM":
        return None
    plain = scalar.item()
    if not isinstance(plain, int):
        return plain
    import pandas as pd  # numpy's own are integers: finer than a microsecond, or beyond the year 9999

    return pd.Timestamp(scalar) if kind == "M" else pd.Timedelta(scalar)


def _is_instance(value: object, module: str, name: str) -> bool:
    # A module that was never imported has no instances, and importing it takes long.
    cls = getattr(sys.modules.get(module), name, None)
    return cls is not None and isinstance(value, cls)


def _canonical(plain: object) -> str:
    """Return the text of a value without a format spec.

    Not `str`, for dates: pendulum's differs between versions. Durations are written as
    `pandas.Timedelta.isoformat` does, whatever their class.
    """
    if isinstance(plain, timedelta):
        nanoseconds = getattr(plain, "nanoseconds", 0)
        plain = timedelta(plain.days, plain.seconds, plain.microseconds)
        minutes, seconds = divmod(plain.seconds, 60)
        fraction = f".{plain.microseconds:06d}{nanoseconds:03d}".rstrip("0").rstrip(".")
        return f"P{plain.days}DT{minutes // 60}H{minutes % 60}M{seconds}{fraction}S"
    return plain.isoformat() if isinstance(plain, (date, time)) else str(plain)
