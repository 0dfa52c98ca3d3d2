"""Types of file that a user adds: two functions and an ending."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from prefect_ds.errors import FileTypeError
from prefect_ds.file_types.registry import file_type_of
from prefect_ds.objects.base import Marks, ObjectType, UnkeepableError, name_of
from prefect_ds.objects.registry import OBJECT_TYPES, REGISTERED
from prefect_ds.objects.same import difference


def register_file_type(
    name: str,
    write: Callable[[Any, BinaryIO], object],
    read: Callable[[BinaryIO], Any],
    *,
    endings: Sequence[str] = (),
    kept_classes: Sequence[type] = (object,),
) -> None:
    """Add a type of file to those of :class:`prefect_ds.ObjectResultHandler`.

    A handler that is made afterwards carries the two functions along, so that workers
    need no registration. They count as the code of the task does: a change of them, or
    of what they call, makes its checkpoints stale.

    A value is read once when it is written, and refused if another comes back; of
    objects of your own classes, only the class is compared.

    Parameters
    ----------
    name
        Of the type, for ``file_type=`` and for messages.
    write
        Gets the value and an empty file, open for writing in binary mode.
    read
        Gets the file, open for reading, and returns the value.
    endings
        Endings of paths that mean this type, such as ``[".safetensors"]``.
    kept_classes
        Classes of the values that it keeps.

    Raises
    ------
    FileTypeError
        The name or an ending is that of a type of ours, or an ending has no dot.

    Examples
    --------
    >>> import tempfile
    >>> def write(value, file):
    ...     file.write(repr(value).encode())
    >>> def read(file):
    ...     return complex(file.read().decode())
    >>> register_file_type(
    ...     "complex", write, read, endings=[".complex"], kept_classes=[complex]
    ... )
    >>> from prefect_ds import ObjectResultHandler
    >>> handler = ObjectResultHandler(f"{tempfile.mkdtemp()}/root.complex")
    >>> handler.read(handler.write(1 + 2j).location).value
    (1+2j)
    """
    # Otherwise one path would mean different files in two processes.
    if not name or name.lower() in OBJECT_TYPES:
        raise FileTypeError(f"{name!r} is no name for a new file type: use another")
    if isinstance(endings, str):
        raise FileTypeError(f"the endings are one text: give a list, [{endings!r}]")
    # The ending of a path is looked up in small letters.
    endings = tuple(ending.lower() for ending in endings)
    ours = {ending for kind in OBJECT_TYPES.values() for ending in kind.endings}
    for ending in endings:
        if not ending.startswith("."):
            raise FileTypeError(f"the ending {ending!r} has no dot: write '.{ending}'")
        if ending in ours or file_type_of(f"x{ending}"):
            raise FileTypeError(
                f"the ending {ending!r} means another file type: use another ending"
            )

    def write_proved(value: Any, file: BinaryIO) -> Marks | None:
        if not isinstance(value, tuple(kept_classes)):
            raise UnkeepableError(name_of(type(value)), value)
        write(value, file)
        # From the start: the user's function may leave the file anywhere.
        file.seek(0)
        change = difference(value, read(file))
        if change is not None:
            place, words = change
            raise UnkeepableError(words, value).below(place)
        return None

    def read_plainly(file: BinaryIO, marks: Marks | None) -> Any:
        return read(file)

    def classes() -> tuple[type, ...]:
        return tuple(kept_classes)

    REGISTERED[name] = ObjectType(
        name=name,
        keeps=", ".join(map(name_of, kept_classes)),
        kept_classes=classes,
        write=write_proved,
        read=read_plainly,
        endings=endings,
        own_code=(write, read),
    )
