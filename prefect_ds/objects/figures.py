"""png, svg and pdf: figures of matplotlib. The result is a picture, which is no figure.

It is one on the first run as on every other. Equal figures give equal bytes: the files
have no dates, and the names in an svg do not differ from write to write.
"""

from __future__ import annotations

import importlib
import io
import sys
from dataclasses import replace
from typing import Any, BinaryIO, Final

from prefect_ds.objects.base import Marks, ObjectType, UnkeepableError, name_of
from prefect_ds.objects.picture import Picture

_METADATA: Final[dict[str, dict[str, None]]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
"""For matplotlib: ``None`` leaves a date out."""
_STARTS: Final = {"png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF-", "svg": b""}
"""The first bytes of a file of the type."""


def _classes() -> tuple[type, ...]:
    # A task that returns a figure has imported matplotlib.
    module = sys.modules.get("matplotlib.figure")
    if module is None:
        return (Picture,)
    return (Picture, module.Figure)


def _figure_type(name: str, media_type: str) -> ObjectType:
    def prepare(value: Any) -> Picture:
        if isinstance(value, Picture):
            if value.media_type != media_type:
                why = f"a picture of {value.media_type}"
                raise UnkeepableError(why, value, f"it needs to be {media_type}")
            return value
        if not isinstance(value, _classes()):
            hint = "return a matplotlib Figure, such as ax.figure"
            raise UnkeepableError(name_of(type(value)), value, hint)
        return Picture(_drawn(value, name), media_type)

    def write(picture: Picture, file: BinaryIO) -> Marks | None:
        file.write(picture.data)
        return None

    def read(file: BinaryIO, marks: Marks | None) -> Picture:
        data = file.read()
        is_picture = data.startswith(_STARTS[name])
        # An svg may begin with a declaration and comments.
        if name == "svg":
            is_picture = b"<svg" in data
        if not is_picture:
            raise ValueError(f"the bytes are no {name} picture")
        return Picture(data, media_type)

    def place(picture: Picture, path: str) -> Picture:
        return replace(picture, path=path)

    return ObjectType(
        name=name,
        keeps="figures of matplotlib",
        kept_classes=_classes,
        write=write,
        read=read,
        endings=(f".{name}",),
        requires={"matplotlib": "matplotlib"},
        prepare=prepare,
        place=place,
    )


def _drawn(figure: Any, name: str) -> bytes:
    matplotlib = importlib.import_module("matplotlib")
    memory = io.BytesIO()
    # Without a fixed salt, every svg has random names.
    with matplotlib.rc_context({"svg.hashsalt": "prefect_ds"}):
        figure.savefig(memory, format=name, metadata=_METADATA[name])
    return memory.getvalue()


PNG: Final = _figure_type("png", "image/png")
SVG: Final = _figure_type("svg", "image/svg+xml")
PDF: Final = _figure_type("pdf", "application/pdf")
