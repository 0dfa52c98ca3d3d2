"""pickle and joblib: any object that pickles, for Python only."""

from __future__ import annotations

import importlib
import io
import pickle
import types
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

import cloudpickle
import numpy as np

from prefect_ds import pickling
from prefect_ds.objects.base import (
    Marks,
    ObjectType,
    UnkeepableError,
    key_step,
    name_of,
)
from prefect_ds.objects.same import difference

_PROTOCOL: Final = 5

_PLAIN: Final = frozenset(
    {str, int, float, bool, complex, bytes, bytearray, types.NoneType}
)


def _classes() -> tuple[type, ...]:
    return (object,)


def is_builtin(value: Any) -> bool:
    """Return whether a value is made of Python's own values and numpy arrays only.

    Such a value is sure to come back, so that no read proves it.
    """
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind in _PLAIN:
            continue
        # numpy's pickles of strided arrays may turn the bytes of numbers round.
        if kind is np.ndarray and item.dtype.isnative and not item.dtype.hasobject:
            continue
        if kind not in (list, tuple, set, frozenset, dict):
            return False
        if id(item) in seen:
            continue
        seen.add(id(item))
        # A dict gives its keys, and its values besides.
        contents = [item]
        if kind is dict:
            contents.append(item.values())
        for content in contents:
            # Most lists are of one type: a look at all types is much quicker than a
            # turn of the loop for every item.
            if not set(map(type, content)) <= _PLAIN:
                waiting += content
    return True


def _write_pickle(value: Any, file: BinaryIO) -> Marks | None:
    try:
        # Straight into the file: large values are not copied.
        if is_builtin(value):
            pickle.dump(value, file, protocol=_PROTOCOL)
            return None
        # Also functions and classes of a notebook, which pickle only names.
        data = pickling.dumps(value, _PROTOCOL)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise _refusal(value, error) from error
    file.write(data)
    _prove(value, lambda: pickling.loads(data, written_here=True))
    return None


def _prove(value: Any, read: Callable[[], Any]) -> None:
    """Raise `UnkeepableError` where a value cannot be loaded, or comes back otherwise.

    Of objects, only their class is compared: many leave out what they can make again.
    """
    try:
        back = read()
    except MemoryError:
        raise
    except Exception as error:
        why = f"{name_of(type(value))}, which cannot be loaded again: {error!r}"
        raise UnkeepableError(why, value) from error
    change = difference(value, back)
    if change is not None:
        place, words = change
        raise UnkeepableError(words, value).below(place)


def _refusal(value: Any, error: Exception) -> UnkeepableError:
    """Return the error about the innermost part that does not pickle."""
    place, seen = "", {id(value)}
    while True:
        # One step further in, as long as a part by itself does not pickle.
        for step, part in _parts(value):
            if id(part) not in seen and not _pickles(part):
                place, value = place + step, part
                seen.add(id(part))
                break
        else:
            break
    why = f"{name_of(type(value))}, which cannot be pickled: {error}"
    hint = ""
    if isinstance(value, Iterator) and not isinstance(value, io.IOBase):
        hint = "return a list of its items"
    return UnkeepableError(why, value, hint).below(place)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key_step(key), item
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield f"[{i}]", item
    for name, item in getattr(value, "__dict__", {}).items():
        yield f".{name}", item


def _pickles(value: Any) -> bool:
    try:
        cloudpickle.dumps(value, protocol=_PROTOCOL)
    except Exception:  # noqa: BLE001 - the methods of any class
        return False
    return True


def _read_pickle(file: BinaryIO, marks: Marks | None) -> Any:
    return pickling.load(file)


PICKLE: Final = ObjectType(
    name="pickle",
    keeps="any object that can be pickled",
    kept_classes=_classes,
    write=_write_pickle,
    read=_read_pickle,
    endings=(".pkl", ".pickle"),
    other_names=("pkl", "cloudpickle"),
    needs_its_code=True,
    is_pickle=True,
)


def _write_joblib(value: Any, file: BinaryIO) -> Marks | None:
    joblib = importlib.import_module("joblib")
    try:
        joblib.dump(value, file)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise _refusal(value, error) from error
    # Also of arrays: joblib gives some of them another order of bytes.
    file.seek(0)
    _prove(value, lambda: joblib.load(file))
    return None


def _read_joblib(file: BinaryIO, marks: Marks | None) -> Any:
    return importlib.import_module("joblib").load(file)


JOBLIB: Final = ObjectType(
    name="joblib",
    keeps="any object that can be pickled",
    kept_classes=_classes,
    write=_write_joblib,
    read=_read_joblib,
    endings=(".joblib",),
    requires={"joblib": "joblib"},
    needs_its_code=True,
    is_pickle=True,
)
