"""Random flows and chains give what stock Prefect and plain Dask give."""

from __future__ import annotations

from tests.differential.chain_programs import chain_program
from tests.differential.flow_programs import flow_program


def test_a_seed_gives_the_same_program_each_time():
    assert flow_program(3) == flow_program(3)
    assert chain_program(3) == chain_program(3)
    assert flow_program(3) != flow_program(4)
