"""Random flows and chains give what stock Prefect and plain Dask give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.differential.chain_programs import chain_program
from tests.differential.flow_programs import Program, flow_program
from tests.differential.fork_server import ForkServer
from tests.differential.sweep import differences_of
from tests.support.scale import SCALE

N_FLOWS = 16 * SCALE
N_CHAINS = 6 * SCALE


@pytest.fixture(scope="module")
def servers() -> Iterator[Sequence[ForkServer]]:
    """Two processes whose sets of text have other orders."""
    pair = ForkServer(1), ForkServer(2)
    yield pair
    for server in pair:
        server.close()


def check(
    program: Program,
    folder: Path,
    servers: Sequence[ForkServer],
    executors: Sequence[str],
) -> None:
    """Run a program with and without us; where it differs, print a script that shows it."""
    differences = differences_of(program, folder, servers, executors)
    if differences:
        print((folder / f"seed_{program.seed}.py").read_text())
    assert not differences, f"seed {program.seed}, the script is printed below"


def test_a_seed_gives_the_same_program_each_time():
    assert flow_program(3) == flow_program(3)
    assert chain_program(3) == chain_program(3)
    assert flow_program(3) != flow_program(4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(N_FLOWS))
def test_a_random_flow_is_the_same_as_without_us(seed, tmp_path, servers):
    check(flow_program(seed), tmp_path, servers, ["local"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(400, 400 + N_FLOWS // 2))
def test_a_random_flow_that_keeps_objects_is_the_same(seed, tmp_path, servers):
    check(flow_program(seed, with_objects=True), tmp_path, servers, ["local"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(500, 500 + 2 * SCALE))
def test_a_random_flow_that_keeps_objects_is_the_same_on_every_executor(
    seed, tmp_path, servers, cluster_address
):
    executors = ["threads", "processes", cluster_address]
    check(flow_program(seed, with_objects=True), tmp_path, servers, executors)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(200, 200 + 4 * SCALE))
def test_a_random_flow_on_threads_and_processes_is_the_same(seed, tmp_path, servers):
    check(flow_program(seed), tmp_path, servers, ["threads", "processes"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(N_CHAINS))
def test_a_random_chain_is_the_same_as_plain_dask(seed, tmp_path, servers):
    check(chain_program(seed), tmp_path, servers, ["local"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(300, 300 + 2 * SCALE))
def test_a_random_flow_on_a_cluster_is_the_same(
    seed, tmp_path, servers, cluster_address
):
    check(flow_program(seed), tmp_path, servers, [cluster_address])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(308, 308 + SCALE))
def test_a_random_chain_on_a_cluster_is_the_same(
    seed, tmp_path, servers, cluster_address
):
    check(chain_program(seed), tmp_path, servers, [cluster_address])
