"""Scripts that stand alone: the modules that a program needs, joined into one file."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.differential.flow_programs import Program
from tests.differential.runs import Step

HERE = Path(__file__).parent
MODULES = (
    "kit",
    "chain_kit",
    "runs",
    "flow_comparison",
    "chain_comparison",
    "script_main",
)
PROGRAM_IMPORTS = """
import copy
from datetime import timedelta

import dask.dataframe as dd
import numpy as np
import pandas as pd
import prefect
from prefect import Flow, Parameter, case, flatten, task, triggers, unmapped
from prefect.engine import signals
from prefect.tasks.control_flow import merge, switch
from prefect.utilities.tasks import as_task
"""
PROGRAM_STARTS = "# The program itself."
"""The line between what all scripts have alike and the rest."""
OWN_IMPORT = re.compile(
    r"^from (tests\.differential|__future__)[^(\n]*(\([^)]*\))?\n", re.MULTILINE
)


def script_of(program: Program, steps: Sequence[Step]) -> str:
    """Return a script that runs the program's steps and prints what differs."""
    lines = ["# A random program: run this file."]
    lines += ["from __future__ import annotations", joined(MODULES)]
    lines += [PROGRAM_IMPORTS, PROGRAM_STARTS, f"# Its seed is {program.seed}."]
    lines += [program.source, f"PROGRAM = {program.facts()!r}"]
    lines += ["STEPS = [", *(f"    {step_source(step)}," for step in steps), "]"]
    lines += ["", 'if __name__ == "__main__":', "    main()", ""]
    return "\n".join(lines)


@functools.cache
def joined(modules: tuple[str, ...]) -> str:
    """Return the modules' source without their imports of one another."""
    sources = [(HERE / f"{name}.py").read_text() for name in modules]
    return "\n\n".join(OWN_IMPORT.sub("", source) for source in sources)


def step_source(step: Step) -> str:
    """Return the call that makes a step, with what it does not leave at its default."""
    defaults = asdict(Step(step.name))
    chosen = {
        name: value for name, value in asdict(step).items() if value != defaults[name]
    }
    options = [f"{name}={value!r}" for name, value in chosen.items()]
    return f"Step({', '.join([repr(step.name), *options])})"
