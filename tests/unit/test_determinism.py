"""Which partitions of two computations of a frame may be joined."""

from __future__ import annotations

import dask
import dask.dataframe as dd
import pandas as pd
import pytest

from prefect_ds.dask.determinism import why_not_separable
from tests.support.shuffles import IN_DASK, heavier, lazy


def own(part: pd.DataFrame) -> pd.DataFrame:
    """A function of the user's: what it reads may be another tomorrow."""
    return part


def why_not(frame: dd.DataFrame, method: str, trusts: bool) -> str:
    with dask.config.set({"dataframe.shuffle.method": method}):
        expr = frame.optimize(fuse=False).expr
    return why_not_separable(expr, trusts_functions=trusts)


METHODS = ["p2p", "disk", "tasks"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", sorted(set(IN_DASK) - {"several", "map_overlap"}))
def test_one_shuffle_of_data_that_stay_is_joined(kind, method):
    assert why_not(IN_DASK[kind](*lazy(60, 5)), method, trusts=False) == ""


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(lambda frame: frame, id="nothing"),
        pytest.param(lambda frame: frame.map_partitions(own), id="each for itself"),
        pytest.param(lambda frame: frame[frame["x"] > 3], id="a filter"),
        pytest.param(lambda frame: frame.repartition(npartitions=2), id="joined"),
        pytest.param(lambda frame: frame.partitions[[2, 0]], id="picked"),
        pytest.param(lambda frame: dd.concat([frame, lazy(60, 5)[0]]), id="one below"),
        pytest.param(lambda frame: frame[["x"]].sum().to_frame(), id="one partition"),
    ],
)
def test_what_a_function_gives_is_joined_while_it_stays_together(after):
    frame = after(lazy(60, 5)[0].map_partitions(own))
    assert why_not(frame, "p2p", trusts=False) == ""


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(lambda frame: frame.shuffle("k"), id="shuffle"),
        pytest.param(lambda frame: frame.repartition(npartitions=7), id="split"),
        pytest.param(lambda frame: frame.assign(x=frame["x"].sum()), id="broadcast"),
        pytest.param(lambda frame: frame.cumsum(), id="running sum"),
        pytest.param(lambda frame: frame.map_overlap(own, 1, 0), id="neighbours"),
        pytest.param(lambda frame: frame.merge(lazy(60, 5)[1], on="k"), id="merge"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_what_a_function_gives_is_not_joined_once_it_is_spread(after, method):
    """A table that the function reads may have changed between the two."""
    frame = lazy(60, 5)[0][["k", "x"]].map_partitions(own)
    assert "function of yours" in why_not(after(frame), method, trusts=False)
    # Within one computation, Dask itself trusts it.
    assert why_not(after(frame), method, trusts=True) == ""


@pytest.mark.parametrize(
    ("spread", "is_right_in_any_order"),
    [
        (lambda frame: frame.shuffle("x"), True),
        (lambda frame: frame.assign(y=frame["x"] * 2).shuffle("y"), True),
        (lambda frame: frame.map_partitions(heavier).shuffle("x"), False),
        (lambda frame: frame.reset_index(drop=True).shuffle("x"), False),
        (lambda frame: frame.repartition(npartitions=9), False),
        (lambda frame: frame.map_overlap(heavier, 1, 0), False),
    ],
)
@pytest.mark.parametrize("method", ["p2p", "disk"])
def test_an_order_that_differs_each_time_must_not_decide_where_rows_go(
    spread, is_right_in_any_order, method
):
    frame = spread(lazy(60, 5)[0].shuffle("k"))
    for trusts in (True, False):
        assert (why_not(frame, method, trusts) == "") == is_right_in_any_order


def test_tasks_keep_an_order():
    frame = lazy(60, 5)[0].shuffle("k").repartition(npartitions=9)
    assert why_not(frame, "tasks", trusts=False) == ""
    assert "in any order" in why_not(frame, "p2p", trusts=False)
