"""Makes a failing flow smaller: ``python -m tests.differential.shrink flows 17``."""

from __future__ import annotations

import argparse
import dataclasses
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.differential.chain_programs import chain_program
from tests.differential.flow_programs import Program, flow_program
from tests.differential.fork_server import ForkServer
from tests.differential.scripts import script_of
from tests.differential.steps import program_steps
from tests.differential.sweep import differences_of


def smaller(program: Program) -> Iterator[Program]:
    """Yield the program without one of the tasks that no other takes, last first."""
    for at in reversed(range(len(program.wiring))):
        line = program.wiring[at].strip()
        others = [*program.wiring[:at], *program.wiring[at + 1 :]]
        name = line.split(" = ")[0]
        if line.startswith("with case") or any(
            re.search(rf"\b{name}\b", other) for other in others
        ):
            continue
        definitions = {**program.definitions}
        definitions.pop(name, None)
        wiring = tuple(without_empty_blocks(others))
        yield dataclasses.replace(program, definitions=definitions, wiring=wiring)


def without_empty_blocks(lines: list[str]) -> Iterator[str]:
    """Yield the lines, those but that open a block with nothing in it."""
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        is_empty = not following.startswith(
            line[: len(line) - len(line.lstrip())] + " "
        )
        if line.strip().startswith("with case") and is_empty:
            continue
        yield line


def shrunk(program: Program, still_fails: Callable[[Program], bool]) -> Program:
    """Return the smallest program that is found to fail."""
    for candidate in smaller(program):
        if still_fails(candidate):
            return shrunk(candidate, still_fails)
    return program


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["flows", "objects", "chains"])
    parser.add_argument("seed", type=int)
    parser.add_argument("--executors", default="local")
    options = parser.parse_args()
    executors = options.executors.split(",")
    servers = [ForkServer(1), ForkServer(2)]

    def still_fails(program: Program) -> bool:
        folder = Path(tempfile.mkdtemp(prefix=f"shrink-{program.seed}-"))
        found = differences_of(program, folder, servers, executors)
        print(len(program.definitions), "tasks:", found[:1], flush=True)
        return bool(found)

    program = chain_program(options.seed)
    if options.kind != "chains":
        program = flow_program(options.seed, with_objects=options.kind == "objects")
    program = shrunk(program, still_fails)
    path = Path(tempfile.gettempdir(), f"smallest_{options.seed}.py")
    path.write_text(script_of(program, program_steps(program, executors)))
    print(program.source, path, sep="\n")


if __name__ == "__main__":
    main()
