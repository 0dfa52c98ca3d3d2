"""Encodings of Prefect's signals, which a task takes where an upstream task failed.

A signal holds the state that Prefect gave to the task, and that state holds the signal
and what a run notes in it. The message, the kinds of both and a result of the user's
own are what a later run has again.
"""

from __future__ import annotations

from typing import Any, Final

from prefect.engine.signals import PrefectStateSignal

from prefect_ds.checkpoints.digests.code import encode_class
from prefect_ds.checkpoints.digests.walk import Encoder, Walk, pack
from prefect_ds.checkpoints.lazy_result import raw_value


def _signal(value: Any, walk: Walk) -> bytes:
    state = value.state
    result = raw_value(state)
    # The signal itself: its state holds it as its result.
    if isinstance(result, PrefectStateSignal):
        result = None
    return pack(
        "signal",
        encode_class(type(value), walk),
        encode_class(type(state), walk),
        walk.encode_at(str(value), ".message"),
        walk.encode_at(result, ".state.result"),
    )


BASES: Final[tuple[tuple[type, Encoder], ...]] = ((PrefectStateSignal, _signal),)
"""By base class; tried before the encoder of any object."""
