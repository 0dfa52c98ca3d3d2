"""A picture as the bytes of its file: the result of a task that returns a figure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure as it is kept: notebooks show it, and equal bytes are equal pictures."""

    data: bytes = field(repr=False)
    """The bytes of the file."""
    media_type: str
    """``image/png``, ``image/svg+xml`` or ``application/pdf``."""
    path: str = field(default="", compare=False)
    """Where it is kept."""

    @property
    def description(self) -> str:
        """A few words, such as ``png picture``."""
        # Of "image/svg+xml", the "svg".
        kind = self.media_type.rpartition("/")[2].partition("+")[0]
        return f"{kind} picture"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, bytes | str]:
        """Return the picture for a notebook, by its media type."""
        if self.media_type == "image/svg+xml":
            return {self.media_type: self.data.decode()}
        return {self.media_type: self.data}

    # Older notebooks ask for these two, and `None` is no answer to them.
    def _repr_png_(self) -> bytes | None:
        if self.media_type != "image/png":
            return None
        return self.data

    def _repr_svg_(self) -> str | None:
        if self.media_type != "image/svg+xml":
            return None
        return self.data.decode()
