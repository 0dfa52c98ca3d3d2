"""The words for a frame that a file type does not keep: the part at fault, the cure."""

import copy
from collections.abc import Callable, Iterator
from typing import Any, Final

import pandas as pd

from prefect_ds.file_types.advice import frame_handler_for, handler_for
from prefect_ds.frames.base import Framed

_SUGGESTED: Final = ("parquet", "feather", "json", "csv", "pickle")
"""The file types tried for an error message."""

Fault = Callable[[pd.DataFrame], str | None]
"""Returns why a file type does not keep a frame, or ``None``."""


def wrong_type(value: object, hint: str = "") -> str:
    """Return the message about a task's result that is no frame.

    Parameters
    ----------
    value
        The result.
    hint
        What to do. Empty: it is told by the class of the result alone.
    """
    kind = type(value)
    hint = hint or f"keep it with {handler_for(kind)}"
    if kind.__module__.startswith("dask.") and hasattr(value, "compute"):
        hint = f"{hint}, or return its .compute()"
    return (
        "a pandas DataFrame or Series is needed, the task returned "
        f"{kind.__module__}.{kind.__qualname__}: {hint}"
    )


def uncopyable(frame: Framed) -> str | None:
    """Return the message about attrs that pandas cannot copy; ``None``: it can.

    pandas copies attrs at almost every step, so that no file type helps.
    """
    for key, value in frame.attrs.items():
        try:
            copy.deepcopy(value)
        except Exception as error:  # noqa: BLE001 - the methods of any class
            return (
                f"attrs[{key!r}] cannot be copied, which pandas does at every step "
                f"({error}). Take it out of .attrs"
            )
    return None


def refusal(
    frame: pd.DataFrame, file_type: str, reason: str, fault_in: Callable[[str], Fault]
) -> str:
    """Return the message that names the part of a frame at fault.

    Parameters
    ----------
    frame
        The frame that is refused.
    file_type
        The type that refuses it.
    reason
        Why, where no single part is at fault.
    fault_in
        Returns for a file type the function that finds its fault in a frame.
    """
    what, part, advice = "the frame as a whole", frame, ""
    # The first part that is refused by itself is the one to name.
    for candidate, small, cure in _parts(frame):
        fault = fault_in(file_type)(small)
        if fault is not None:
            what, part, advice = candidate, small, cure
            # Some faults begin with the name of the part, which the message has.
            reason = fault.removeprefix(f"{candidate} ")
            break
    # Tried on the part alone: a type that keeps it may refuse another one.
    keepers = [
        name
        for name in _SUGGESTED
        if name != file_type and fault_in(name)(part) is None
    ]
    return (
        f"a file of type {file_type!r} does not keep {what} ({reason}){advice}. "
        f"File types that keep it: {', '.join(keepers) or 'none'}"
    )


def _parts(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, str]]:
    """Yield the parts of a frame: name, a frame with nothing else, and a cure."""
    # Without its class and attrs, which would be the fault of every part.
    bare = pd.DataFrame(frame)
    if type(frame) is not pd.DataFrame:
        small: Any = frame.iloc[:0, :0]
        if type(small) is not type(frame):
            # Without its geometries, a GeoDataFrame is a plain one.
            small = frame.iloc[:0]
        small.attrs = {}
        name = type(frame).__name__
        cure = "; return pandas.DataFrame(frame) to do without its class"
        handler = frame_handler_for(type(frame))
        if handler != "PandasResultHandler":
            cure += f", or keep it with {handler}"
        yield f"the class {name}", small, cure
    for key, value in frame.attrs.items():
        small = pd.DataFrame()
        small.attrs = {key: value}
        yield f"attrs[{key!r}]", small, "; take it out of frame.attrs, or make it JSON"
    labels = pd.DataFrame(columns=bare.columns, dtype="float64")
    yield "the column labels", labels, ""
    for i, (label, dtype) in enumerate(bare.dtypes.items()):
        column = bare.iloc[:, [i]].reset_index(drop=True)
        yield f"column {label!r} (dtype {dtype})", column, ""
    yield "the index", bare.iloc[:, :0], ""
