import contextlib
import pkgutil
import sys
import threading

import dask.dataframe as dd
import pandas as pd

import prefect_ds.dask  # noqa: F401 - takes the locks away
from prefect_ds.dask.unlocked import cached_properties


def test_two_threads_are_inside_one_property_of_dasks_expressions_at_once():
    members = list(cached_properties())
    assert {member.attrname for member in members} >= {"_meta", "_name"}
    for member in members:
        entered = threading.Event()
        lock = getattr(member, "lock", contextlib.nullcontext())

        def enter(lock=lock, entered=entered):
            with lock:
                entered.set()

        with lock:
            thread = threading.Thread(target=enter, daemon=True)
            thread.start()
            assert entered.wait(60), f"{member.attrname} has a lock"
            thread.join()


def test_no_module_of_dasks_expressions_is_imported_later():
    package = dd.dask_expr
    names = [
        name
        for _, name, _ in pkgutil.walk_packages(
            package.__path__, f"{package.__name__}."
        )
        if ".tests" not in name and ".diagnostics" not in name
    ]
    assert len(names) > 20
    assert [name for name in names if name not in sys.modules] == []


def test_a_property_is_still_computed_once():
    frame = dd.from_pandas(pd.DataFrame({"x": [1, 2]}), npartitions=2)
    expression = (frame + 1).expr
    assert expression._meta is expression._meta
