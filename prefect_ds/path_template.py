"""Path templates: turn the arguments of a task into its checkpoint's path, and back.

The template's own text is in the path as the user wrote it. Values are encoded, so that
none of them leaves its folder, picks another store or meets another value's name.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath

from prefect_ds.paths.encoding import (
    SIDE_FOLDER,
    decode_text,
    encode_text,
    name_problem,
)
from prefect_ds.paths.fields import (
    FIELD_MARK,
    Field,
    parse_template,
    template_error,
)
from prefect_ds.paths.values import field_text

__all__ = ["SIDE_FOLDER", "Field", "PathTemplate", "decode_text", "encode_text"]

_END_MARK = FIELD_MARK
"""Ends the path and the last literal, so that the last field is read to the end."""


@dataclass(frozen=True, slots=True, init=False)
class PathTemplate:
    """A path with named fields, filled from the arguments of a task.

    Fields are those of `str.format`, without the parts that are unsafe in a path: no
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
            raise template_error(
                text, f"a template is a str or a Path, not a {type(text).__name__}"
            )
        # `Path("s3://bucket/a.csv")` is "s3:/bucket/a.csv".
        if text is not template and re.match(r"[A-Za-z][\w+.-]+:/", text):
            raise template_error(
                text, "a Path drops a slash of a URL; pass the URL as a str"
            )
        parse_template(text)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields in the order of the template, without repetition."""
        return parse_template(self.template).fields

    @property
    def names(self) -> frozenset[str]:
        """The names that `render` looks up."""
        return frozenset(field.name for field in self.fields)

    @property
    def root(self) -> str:
        """The folder above the first field, as written; empty where there is none."""
        return parse_template(self.template).root

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
        return self.path_of(self.render_fields(values, task=task), task=task)

    def path_of(self, texts: Mapping[str, str], *, task: str = "") -> str:
        """Return the path for the texts of its fields, as `render_fields` has them.

        Raises
        ------
        TemplateError
            A name comes out too long.
        """
        # The texts are encoded before they are put in, never the whole path: a "/" of
        # the template parts folders, one of a value must not.
        encoded = {written: encode_text(text) for written, text in texts.items()}
        parsed = parse_template(self.template)
        path = parsed.literals[0]
        for field, literal in zip(parsed.places, parsed.literals[1:], strict=True):
            path += encoded[field.written] + literal
        # The names before the first field were looked at when it was parsed.
        n_written = parsed.literals[0].count("/")
        for position, name in enumerate(path.split("/")[n_written:], n_written):
            problem = name_problem(name)
            if problem is not None:
                fields = self._fields_in(position)
                listed = ", ".join(f"{{{field.written}}}" for field in fields)
                problem = f"{problem}; it comes from {listed}"
                raise template_error(self.template, problem, task=task)
        return path

    def _fields_in(self, position: int) -> Sequence[Field]:
        """Return the fields in one name of the path, between two slashes.

        No encoded text has a slash, so the names of a path are where those of the
        template are.
        """
        parsed = parse_template(self.template)
        names = FIELD_MARK.join(parsed.literals).split("/")
        start = "".join(names[:position]).count(FIELD_MARK)
        return parsed.places[start : start + names[position].count(FIELD_MARK)]

    def render_fields(
        self, values: Mapping[str, object], *, task: str = ""
    ) -> dict[str, str]:
        """Return the text of every field before it is encoded, by the field as written.

        Parameters and errors are those of `render`.

        Examples
        --------
        >>> from datetime import date
        >>> template = PathTemplate("{day:%Y}/{params[lr]}.csv")
        >>> template.render_fields({"day": date(2024, 5, 1), "params": {"lr": 0.1}})
        {'day:%Y': '2024', 'params[lr]': '0.1'}
        """
        texts = {}
        for field in self.fields:
            # An error names the template, the field and the task.
            fail = partial(template_error, self.template, field=field, task=task)
            texts[field.written] = field_text(values, field, fail)
        return texts

    def match(self, path: str) -> dict[str, str] | None:
        """Return the text of every field in a rendered path, by the field as written.

        Parameters
        ----------
        path
            As `render` returned it.

        Returns
        -------
        dict or None
            None where the path is not of this template. A text that was shortened comes
            as it is in the path. Where a path can be read in several ways
            (``{a}_{b}`` with ``x_y_z``), earlier fields get less.
        """
        if any(name_problem(name) for name in path.split("/")):
            return None
        parsed = parse_template(self.template)
        first, *others = (*parsed.literals[:-1], parsed.literals[-1] + _END_MARK)
        rest = path + _END_MARK
        if not rest.startswith(first):
            return None
        return _read(parsed.places, others, rest.removeprefix(first), {})


def _read(
    places: Sequence[Field],
    literals: Sequence[str],
    path: str,
    texts: Mapping[str, str],
) -> dict[str, str] | None:
    """Return the texts of all fields of a path; ``None``: it has none that fit.

    Parameters
    ----------
    places
        The fields that are still to be read.
    literals
        The text that follows them, one by one.
    path
        The rest of the path.
    texts
        The texts that were read before, by the field as written.
    """
    if not places:
        return dict(texts) if not path else None
    written, literal = places[0].written, literals[0]
    # No encoded text has a slash. The shortest text that fits is tried first, and
    # longer ones if the rest of the path cannot be read after it.
    longest = len(path.partition("/")[0])
    for size in range(1, longest + 1):
        if not path.startswith(literal, size):
            continue
        text = decode_text(path[:size])
        # A field that comes again has the same text.
        if text is None or texts.get(written, text) != text:
            continue
        rest = path[size + len(literal) :]
        read = _read(places[1:], literals[1:], rest, {**texts, written: text})
        if read is not None:
            return read
    return None
