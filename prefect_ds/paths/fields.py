"""The fields of a template, and the texts between them."""

import re
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter
from typing import Final

from prefect_ds.errors import TemplateError
from prefect_ds.paths.encoding import name_problem

FIELD_MARK: Final = "\0"
"""Takes the place of a field; it is in no template."""

_MAX_SPEC_CHARACTERS: Final = 64
_FIELD = re.compile(r"(?P<name>[^.\[\]]+)(?P<keys>(?:\[[^\[\]]{1,200}\])*)")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a template, such as ``{params[lr]!s:.8}``."""

    name: str
    """The value's name: ``params``."""
    keys: tuple[str, ...]
    """The keys to look up inside the value, outermost first: ``("lr",)``."""
    conversion: str
    """``"s"``, ``"r"``, ``"a"``, or empty."""
    spec: str
    """The format spec: ``.8``; empty where there is none."""
    written: str
    """The field as the user wrote it, without its braces."""


@dataclass(frozen=True, slots=True)
class ParsedTemplate:
    """A template in pieces."""

    places: tuple[Field, ...]
    """The fields in order, also those that come again."""
    fields: tuple[Field, ...]
    """The fields in order, without repetition."""
    literals: tuple[str, ...]
    """The texts before, between and after the places: one more than there are places.
    """
    root: str
    """The folder above the first field, as written."""


def template_error(
    template: str, problem: str, *, field: Field | None = None, task: str = ""
) -> TemplateError:
    """Return the error that names a template, and the field and task if known."""
    where = f"path template {template!r}"
    if field is not None:
        where += f", field {{{field.written}}}"
    if task:
        where += f", task {task!r}"
    return TemplateError(f"{where}: {problem}")


@lru_cache(maxsize=1024)
def parse_template(template: str) -> ParsedTemplate:
    """Return the pieces of a template.

    Raises
    ------
    TemplateError
        The template is malformed, or a value could lead out of its folder.

    Examples
    --------
    >>> parsed = parse_template("data/{city}/day_{day:03d}.csv")
    >>> parsed.literals, parsed.root
    (('data/', '/day_', '.csv'), 'data')
    """
    if not template or FIELD_MARK in template:
        raise template_error(template, "a path is not empty and has no NUL")
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise template_error(
            template, f"{error}; a brace that belongs to the path is written twice"
        ) from error

    places: list[Field] = []
    blank = ""
    for literal, name, spec, conversion in pieces:
        # Else a value could be the protocol, the drive, or one more link in a chain of
        # fsspec URLs.
        if places and ("::" in literal or ":/" in literal):
            raise template_error(
                template,
                "'::' and ':/' come before the first field, as in s3://bucket/{id}",
            )
        blank += literal
        if name is not None:
            places.append(_parse_field(template, name, conversion or "", spec or ""))
            blank += FIELD_MARK

    # No value can make a name empty, "." or "..": an encoded text is never empty and
    # never made of dots only.
    above, _, below = blank.partition(FIELD_MARK)
    if ".." in below.split("/")[1:]:
        raise template_error(template, "'..' comes before the first field only")
    for name in blank.split("/"):
        problem = name_problem(name)
        if problem is not None:
            raise template_error(template, problem)
    return ParsedTemplate(
        places=tuple(places),
        fields=tuple(dict.fromkeys(places)),
        literals=tuple(blank.split(FIELD_MARK)),
        root=_root(above),
    )


def _root(above: str) -> str:
    """Return the folder in the text before the first field."""
    root, slash, _ = above.rpartition("/")
    if not root or root[-1] in "/:":
        # "/", "s3://" and "C:/" need their last slash.
        return root + slash
    return root


def _parse_field(template: str, name: str, conversion: str, spec: str) -> Field:
    written = name
    if conversion:
        written += f"!{conversion}"
    if spec:
        written += f":{spec}"
    problem = _field_problem(name, conversion, spec, written)
    if problem is not None:
        raise template_error(template, problem)
    match = _FIELD.fullmatch(name)
    assert match is not None
    keys = tuple(re.findall(r"\[([^\]]+)\]", match["keys"]))
    return Field(match["name"], keys, conversion, spec, written)


def _field_problem(name: str, conversion: str, spec: str, written: str) -> str | None:
    """Return why this is no field of a path; ``None``: it is one."""
    if "." in re.sub(r"\[[^\]]*\]", "", name):
        return (
            f"attributes can't be reached from a template, as {{{written}}} would: "
            "pass "
            "it as an argument of its own, or use a format spec such as {day:%Y}"
        )
    match = _FIELD.fullmatch(name)
    if match is None or match["name"].isdecimal():
        return (
            f"{{{written}}} is not a field: fields have names, "
            "as in {id} or {params[lr]}"
        )
    if conversion not in ("", "s", "r", "a"):
        return f"{{{written}}} has an unknown conversion; there are !s, !r and !a"
    if "{" in spec or "}" in spec:
        return f"{{{written}}} has a field within its format spec"
    # A width such as 9999999999 would fill the memory.
    if len(spec) > _MAX_SPEC_CHARACTERS or re.search(r"\d{4}", spec):
        return (
            f"the format spec of {{{written}}} has over {_MAX_SPEC_CHARACTERS} "
            "characters or 3 digits in a row"
        )
    return None
