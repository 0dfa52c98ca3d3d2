"""Random sequences of runs of one flow."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.differential.flow_programs import Program
from tests.differential.runs import Step

TRUTHS = (
    Step("without us", is_stock=True),
    Step("without us, changed", is_stock=True, is_changed=True),
)


def program_steps(
    program: Program, executors: Sequence[str] = ("local",)
) -> list[Step]:
    """Return the steps for a program: the truths first, then the runs with us."""
    chance = random.Random(f"steps {program.seed}")
    names = sorted({*program.kept, *program.changed_in_place})
    # Under its own flow runner, Prefect maps over a part of what `flatten` gives while
    # other parts wait for a retry. A checkpoint spares some of them their retries.
    may_be_by_prefects = not (
        "flatten(" in program.source and "retries" in program.source
    )

    def keep() -> tuple[str, ...] | None:
        if chance.random() < 0.5:
            return None
        return tuple(chance.sample(names, min(len(names), chance.randint(0, 2))))

    def options() -> dict[str, object]:
        by_prefects = chance.random() < 0.1 and may_be_by_prefects
        return {
            "executor": chance.choice(executors),
            "cache_bytes": chance.choice([0, 2_000, 2**27]),
            "keep": None if by_prefects else keep(),
            "by_prefects_runner": by_prefects,
        }

    steps = [*TRUTHS]
    if chance.random() < 0.3:
        executor, n_bodies = chance.choice(executors), chance.randint(0, 12)
        steps.append(Step("killed", executor=executor, kill_after=n_bodies))
        steps.append(Step("after the kill", **options()))  # type: ignore[arg-type]
    else:
        steps.append(Step("fresh", **options()))  # type: ignore[arg-type]
    steps.append(Step("resumed", **options()))  # type: ignore[arg-type]
    gone = chance.randrange(10**6)
    steps.append(Step("files gone", gone=gone, **options()))  # type: ignore[arg-type]
    steps.append(Step("changed", is_changed=True, **options()))  # type: ignore[arg-type]
    return steps
