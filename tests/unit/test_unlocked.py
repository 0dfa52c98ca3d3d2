import contextlib
import functools
import threading

import dask.dataframe as dd
import pandas as pd

import prefect_ds.dask  # noqa: F401 - takes the locks away
from prefect_ds.dask._internals import AnyExpr
from prefect_ds.dask.unlocked import cached_properties


def has_lock(member):
    """Return whether a second thread waits while a first one computes the property."""
    lock = getattr(member, "lock", contextlib.nullcontext())
    entered = threading.Event()

    def enter():
        with lock:
            entered.set()

    with lock:
        thread = threading.Thread(target=enter, daemon=True)
        thread.start()
        is_entered = entered.wait(5)
    thread.join()
    return not is_entered


def test_two_threads_are_inside_one_property_of_dasks_expressions_at_once():
    members = list(cached_properties())
    assert {member.attrname for member in members} >= {"_meta", "_name"}
    assert [member.attrname for member in members if has_lock(member)] == []


def test_a_class_that_is_made_later_has_no_locks_either():
    """Dask imports some modules when they are first used: ``resample``, ``rolling``."""

    class Later(AnyExpr):
        @functools.cached_property
        def _meta(self):
            return 1

    index = pd.date_range("2024", periods=4)
    frame = dd.from_pandas(pd.DataFrame({"x": range(4)}, index=index), npartitions=2)
    assert frame.resample("2D").sum().compute()["x"].tolist() == [1, 5]
    members = list(cached_properties())
    assert vars(Later)["_meta"] in members
    assert [member.attrname for member in members if has_lock(member)] == []


def test_a_property_is_still_computed_once():
    frame = dd.from_pandas(pd.DataFrame({"x": [1, 2]}), npartitions=2)
    expression = (frame + 1).expr
    assert expression._meta is expression._meta
