"""Races over folders of parts that only lazy frames have; those of any checkpoint are in ``tests/faults/test_races.py``."""

from functools import partial

import pytest

from tests.support import racers
from tests.support.racers import PARTS, handler_of, keep
from tests.support.scale import SCALE


@pytest.mark.slow
def test_a_lazy_frame_held_during_rewrites_gives_its_own_generation_or_says_that_it_is_gone(
    tmp_path,
):
    keep(str(tmp_path), PARTS, 0, "run 0", 0)
    n_writes = 15 * SCALE
    with racers.racers(3) as race:
        written, *held = race(
            partial(racers.rewrite, str(tmp_path), PARTS, n_writes),
            *[partial(racers.read_held, str(tmp_path), PARTS, n_writes)] * 2,
        )
    assert written == n_writes
    for each in held:
        assert isinstance(each, tuple), each
        n_frames, n_reads = each
        assert n_frames > 1
        assert n_reads > 1
    assert not (tmp_path / ".prefect_ds/set-aside").exists()
    handler = handler_of(str(tmp_path), PARTS)
    assert len(handler.manifest(f"{tmp_path}/a").parts) > 1
    assert handler.verify(f"{tmp_path}/a") == []
