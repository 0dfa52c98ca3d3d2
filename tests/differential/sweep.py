"""Runs programs by seed: ``python -m tests.differential.sweep flows 0 100``."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.differential import script_main
from tests.differential.chain_programs import chain_program
from tests.differential.flow_programs import Program, flow_program
from tests.differential.fork_server import ForkServer
from tests.differential.scripts import script_of
from tests.differential.steps import program_steps


def differences_of(
    program: Program,
    folder: Path,
    servers: Sequence[ForkServer],
    executors: Sequence[str] = ("local",),
) -> list[str]:
    """Run a flow with and without us, and return what differs.

    Parameters
    ----------
    program
        The flow.
    folder
        For the script, the checkpoints and what is observed.
    servers
        Run the processes; one after another has its turn.
    executors
        Names of executors, see :class:`tests.differential.runs.Step`.
    """
    steps = program_steps(program, executors)
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / f"seed_{program.seed}.py"
    script.write_text(script_of(program, steps))

    def run(number: int) -> None:
        server = servers[number % len(servers)]
        server.run(str(script), str(folder), str(number), log=f"{folder}/log")

    facts = program.facts()
    return script_main.compare_all(str(folder), run, steps, facts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["flows", "chains"])
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("--executors", default="local")
    parser.add_argument("--slow-types", action="store_true")
    parser.add_argument("--until-one", action="store_true", help="stop at the first")
    options = parser.parse_args()
    executors = options.executors.split(",")
    servers = [ForkServer(1), ForkServer(2)]
    n_different = 0
    for seed in range(options.first, options.last):
        folder = Path(tempfile.mkdtemp(prefix=f"seed-{seed}-"))
        program = chain_program(seed)
        if options.kind == "flows":
            program = flow_program(seed, with_slow_types=options.slow_types)
        differences = differences_of(program, folder, servers, executors)
        if differences:
            n_different += 1
            print(f"seed {seed}: {folder}", *differences[:3], sep="\n    ", flush=True)
            if options.until_one:
                break
        else:
            shutil.rmtree(folder)
    print(
        f"{options.last - options.first} {options.kind}, {n_different} with differences"
    )


if __name__ == "__main__":
    main()
