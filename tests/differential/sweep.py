"""Runs programs by seed: ``python -m tests.differential.sweep flows 0 100``."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
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
    parser.add_argument("kind", choices=["flows", "objects", "chains"])
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument(
        "--executors",
        default="local",
        help="some of local, threads, processes, own, cluster, with commas between",
    )
    parser.add_argument("--slow-types", action="store_true")
    parser.add_argument("--until-one", action="store_true", help="stop at the first")
    options = parser.parse_args()
    executors = options.executors.split(",")
    servers = [ForkServer(1), ForkServer(2)]
    with cluster_of("cluster" in executors) as address:
        executors = [address if one == "cluster" else one for one in executors]
        n_different = 0
        for seed in range(options.first, options.last):
            program = chain_program(seed)
            if options.kind != "chains":
                program = flow_program(
                    seed,
                    with_slow_types=options.slow_types,
                    with_objects=options.kind == "objects",
                )
            n_different += report(program, servers, executors)
            if options.until_one and n_different:
                break
    for server in servers:
        server.close()
    print(f"{seed + 1 - options.first} {options.kind}, {n_different} with differences")


def report(
    program: Program, servers: Sequence[ForkServer], executors: Sequence[str]
) -> bool:
    """Print what differs and where its script is; return whether anything does."""
    folder = Path(tempfile.mkdtemp(prefix=f"seed-{program.seed}-"))
    differences = differences_of(program, folder, servers, executors)
    if not differences:
        shutil.rmtree(folder)
        return False
    lines = "\n    ".join(differences[:3])
    print(f"seed {program.seed}: {folder}\n    {lines}", flush=True)
    return True


@contextlib.contextmanager
def cluster_of(is_wanted: bool) -> Iterator[str]:
    """Run a cluster of two processes for all runs, and give its address."""
    if not is_wanted:
        yield ""
        return
    from distributed import LocalCluster

    os.environ["PREFECT__LOGGING__LEVEL"] = "CRITICAL"  # The workers'.
    with LocalCluster(2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


if __name__ == "__main__":
    main()
