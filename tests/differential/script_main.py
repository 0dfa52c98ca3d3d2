"""The end of a script: runs the steps, each in a process of its own, and compares."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed import Client

from tests.differential.chain_comparison import ChainComparison
from tests.differential.flow_comparison import FlowComparison, loses_items
from tests.differential.runs import Step, run_step

PROGRAM: dict[str, Any] = {}
STEPS: list[Step] = []


def build(folder: str, kept: Callable[..., dict[str, Any]]) -> Any:
    """Make the flow; the script has the real one in place of this."""
    raise NotImplementedError


def run_by_number(folder: str, number: int) -> None:
    """Run one step here, and leave in the folder what was observed."""
    step = STEPS[number]
    kind = "stock" if step.is_stock else "ours"
    parameters = PROGRAM["changed" if step.is_changed else "parameters"]
    os.makedirs(f"{folder}/{kind}", exist_ok=True)
    seen = run_step(build, f"{folder}/{kind}", step, parameters)
    Path(folder, f"{number}.json").write_text(json.dumps(seen))


def wait_until_idle(executor: str) -> None:
    """Wait for the task runs that outlive their client on a cluster."""
    if "://" not in executor:
        return
    with Client(executor, set_as_default=False) as client:
        until = time.monotonic() + 60
        while any(client.processing().values()) and time.monotonic() < until:
            time.sleep(0.1)


def compare_all(
    folder: str, run: Callable[[int], None], steps: list[Step], program: dict[str, Any]
) -> list[str]:
    """Run all steps by ``run``, and return the differences."""
    comparison: Any = ChainComparison(program["kept"], program["stages"])
    if not program["stages"]:
        comparison = FlowComparison(program["kept"], program["changed_in_place"])
    truths: dict[bool, dict[str, Any]] = {}
    found = []
    for number, step in enumerate(steps):
        run(number)
        outcome = Path(folder, f"{number}.json")
        if not outcome.exists():
            if step.kill_after is None:
                return [*found, f"{step}: the process ended without an outcome"]
            wait_until_idle(step.executor)
            notes = Path(folder, "ours/bodies.jsonl")
            lines = notes.read_text().splitlines() if notes.exists() else []
            comparison.killed(step, [json.loads(line) for line in lines])
            continue
        seen = json.loads(outcome.read_text())
        if step.is_stock:
            truths[step.is_changed] = seen
            if loses_items(seen, program.get("flattened", ())):
                return []  # There is no truth to compare with.
            continue
        parameters = program["changed" if step.is_changed else "parameters"]
        truth = truths[step.is_changed]
        differences = comparison.differences(step, truth, seen, parameters["s"])
        found += [f"{step.name}: {difference}" for difference in differences]
        if found:
            break  # What follows an error is no news.
    return found


def main() -> None:
    """Run all steps, or the one that the arguments name."""
    if len(sys.argv) > 1:
        run_by_number(sys.argv[1], int(sys.argv[2]))
        return
    folder = tempfile.mkdtemp(prefix="differential-")

    def run(number: int) -> None:
        subprocess.run(
            [sys.executable, __file__, folder, str(number)],
            check=False,
            start_new_session=True,
            env={**os.environ, "PREFECT__LOGGING__LEVEL": "CRITICAL"},
        )

    print("in", folder)
    for difference in compare_all(folder, run, STEPS, PROGRAM) or ["no difference"]:
        print(difference)
