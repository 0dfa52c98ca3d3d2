"""text and bin: text in UTF-8, and bytes, just as they are."""

from __future__ import annotations

import codecs
from numbers import Number
from typing import Any, BinaryIO, Final

from prefect_ds.objects.base import Marks, ObjectType, UnkeepableError, name_of


def _text_classes() -> tuple[type, ...]:
    return (str,)


_BYTE_ORDER_MARK: Final = "\ufeff"
"""Some editors put it before the text. It is no part of the text."""

_OTHER_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_HAS_MARK: Final = "byte order mark"
"""Marks a text that begins so by itself: the task's own, which comes back with it."""


def _write_text(value: Any, file: BinaryIO) -> Marks | None:
    # By type: a subclass would come back as a plain text.
    if type(value) is not str:
        hint = "return str(value)" if isinstance(value, str | Number) else ""
        raise UnkeepableError(f"{name_of(type(value))}", value, hint)
    try:
        data = value.encode()
    except UnicodeEncodeError as error:
        half = value[error.start]
        why = f"its character {error.start} is half a character, {half!r}"
        raise UnkeepableError(why, value) from None
    file.write(data)
    if value.startswith(_BYTE_ORDER_MARK):
        return _HAS_MARK
    return None


def _read_text(file: BinaryIO, marks: Marks | None) -> str:
    data = file.read()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if data.startswith(_OTHER_MARKS):
            raise ValueError("it is text in UTF-16: save it as UTF-8") from error
        raise ValueError(f"it is no text in UTF-8: {error}") from error
    # Put there by an editor.
    if marks is None:
        return text.removeprefix(_BYTE_ORDER_MARK)
    return text


TEXT: Final = ObjectType(
    name="text",
    keeps="text",
    kept_classes=_text_classes,
    write=_write_text,
    read=_read_text,
    endings=(".txt", ".md", ".html", ".htm"),
    takes_any_ending=True,
    other_names=("txt", "md", "markdown", "html", "str"),
)


def _byte_classes() -> tuple[type, ...]:
    return (bytes,)


def _write_bytes(value: Any, file: BinaryIO) -> None:
    if type(value) is not bytes:
        hint = ""
        if isinstance(value, bytes | bytearray | memoryview):
            hint = "return bytes(value)"
        raise UnkeepableError(f"{name_of(type(value))}", value, hint)
    file.write(value)


def _copy_bytes(data: memoryview, marks: Marks | None) -> bytes:
    # A result is of type `bytes`, and a view may be changed.
    return bytes(data)


def _read_bytes(file: BinaryIO, marks: Marks | None) -> bytes:
    return file.read()


BIN: Final = ObjectType(
    name="bin",
    keeps="bytes",
    kept_classes=_byte_classes,
    write=_write_bytes,
    read=_read_bytes,
    read_data=_copy_bytes,
    endings=(".bin",),
    takes_any_ending=True,
    other_names=("binary", "bytes"),
)
