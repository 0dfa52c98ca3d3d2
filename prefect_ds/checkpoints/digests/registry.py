"""Which encoder is for which class, and the digest that comes of it."""

from __future__ import annotations

from typing import Any

from prefect_ds.checkpoints.digests import (
    arrays,
    arrow,
    code,
    frames,
    graphs,
    objects,
    plain,
    signals,
)
from prefect_ds.checkpoints.digests.sharing import SharingWalk
from prefect_ds.checkpoints.digests.walk import (
    Encoder,
    UndigestibleError,
    Walk,
    encode_whole,
    finished,
    pack,
)
from prefect_ds.checkpoints.reference import CheckpointReference


def digest(value: object) -> str:
    """Return a digest of any value, the same for equal values in every process.

    Content, type, shape, labels, names and order count. How a value lies in memory,
    whether it was sliced, joined or pickled, does not. Checkpoints inside the value
    count by the digest of their content; nothing of them is read.

    Raises
    ------
    UndigestibleError
        The value or something in it, which the error names, has no digest that would
        hold in another process: a connection, a lock, a generator.
    """
    if type(value) is CheckpointReference:
        # As it is: who reads the manifest can follow it upstream.
        return f"checkpoint:{value.content}"
    try:
        return finished(encode_whole(_encoder, lambda walk: walk.encode(value)))
    except UndigestibleError:
        raise
    except RecursionError:
        why = "it is nested too deep"
        raise UndigestibleError(type(value).__name__, why=why) from None
    except Exception as error:
        # What a user's `__iter__` or `__eq__` may raise, or a change by another
        # thread in the midst of the walk.
        raise UndigestibleError(type(value).__name__, why=f"{error!r}") from error


def digest_of_pickled(value: object, *, counts_bytes: bool = True) -> str:
    """Return a digest of a value as its pickle gives it; empty: only the bytes tell.

    It covers all that the pickle covers, sharing of objects included, but not how the
    value was made: computed at once, or read and then changed.

    Parameters
    ----------
    value
        What was pickled.
    counts_bytes
        Whether a value with many bytes has none. Of frames it takes less time than the
        pickle itself.
    """
    try:
        walk = SharingWalk(_encoder, counts_bytes=counts_bytes)
        return finished(walk.encode(value))
    except Exception:  # noqa: BLE001 - the methods of any class
        return ""


def _reference(value: Any, walk: Walk) -> bytes:
    return pack("checkpoint", value.content.encode())


_LEAVES: dict[type, Encoder] = {
    CheckpointReference: _reference,
    **plain.LEAVES,
    **arrays.LEAVES,
    **frames.LEAVES,
}
_NODES: dict[type, Encoder] = {
    **plain.NODES,
    **code.NODES,
    **arrays.NODES,
    **frames.NODES,
}
_BASES = (
    (type, code.encode_type),
    *frames.BASES,
    *arrays.BASES,
    *arrow.BASES,
    *signals.BASES,
    *objects.BASES,
)


def _encoder(kind: type) -> tuple[Encoder, bool]:
    if kind in _LEAVES:
        return _LEAVES[kind], True
    if kind in _NODES:
        return _NODES[kind], False
    # In order: a class is encoded by the first of its bases that is listed.
    for base, encoder in _BASES:
        if issubclass(kind, base):
            return encoder, False
    of_package = arrow.polars_encoder(kind) or graphs.dask_encoder(kind)
    return of_package or objects.encode_object, False
