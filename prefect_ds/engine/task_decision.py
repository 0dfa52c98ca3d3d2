"""What the next run of a flow does with a task, as a value.

Made by the plan of a flow on the client, shown by ``explain``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Decision: TypeAlias = Literal["load", "run", "maybe", "not needed", "unknown"]
"""What the next run does with a task.

``maybe``: it runs only if an upstream task that runs has another outcome than before,
or if a condition that is not known yet says so. ``unknown``: what it maps over, or its
path, is not known yet.
"""


@dataclass(frozen=True, slots=True)
class TaskDecision:
    """What the next run does with one task, or with one child of a mapped task."""

    task: str
    map_index: int | None
    decision: Decision
    reason: str
    """In words; root causes come first: ``n 3 -> 4 => clean => report``."""
    path: str | None = None
    """The path of its checkpoint; ``None`` if it is not known or has no handler."""
    size_bytes: int | None = None
    """Bytes of the checkpoint that is there."""
    seconds: float | None = None
    """Seconds that computing and writing took the last time."""
    is_step: bool = True
    """Whether the user wrote the task; Prefect puts others between them."""
    slug: str = ""
    """The task's name in its flow: unique, where ``task`` may not be."""
