"""The paths of several outputs, and of the file that lists them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from prefect_ds.path_template import PathTemplate
from prefect_ds.paths.fields import Field


class JointTemplate(PathTemplate):
    """A template that looks up the fields of other templates as well."""

    _others: tuple[PathTemplate, ...]

    def __init__(self, template: str, others: Sequence[PathTemplate]) -> None:
        super().__init__(template)
        # A template is frozen, and this is still its constructor.
        object.__setattr__(self, "_others", tuple(others))

    @functools.cached_property
    def fields(self) -> tuple[Field, ...]:
        """The fields of all templates, without repetition."""
        fields = {field.written: field for field in PathTemplate(self.template).fields}
        for other in self._others:
            fields |= {field.written: field for field in other.fields}
        return tuple(fields.values())


def list_beside(location: str) -> str:
    """Return the template of the list of outputs, from that of the first output.

    Examples
    --------
    >>> list_beside("data/{day:%Y/%m}/train_{seed}.csv")
    'data/{day:%Y/%m}/.train_{seed}.csv.outputs'
    """
    # A slash inside of a field is one of its format spec, and parts no folders.
    depth, begin = 0, 0
    for position, character in enumerate(location):
        if character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
        elif character == "/" and depth == 0:
            begin = position + 1
    return f"{location[:begin]}.{location[begin:]}.outputs"
