"""What Dask does not document and we use: in one place, each with a reason, and still there."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
import pytest
from dask.dataframe.dask_expr.io.parquet import ReadParquetPyarrowFS
from distributed import Client

import prefect_ds.dask
from prefect_ds.dask import _internals

SOURCES = sorted(Path(prefect_ds.dask.__file__).parent.glob("*.py"))
PUBLIC = {
    "dask",
    "dask.base",
    "dask.dataframe",
    "dask.delayed",
    "dask.typing",
    "dask.utils",
    "distributed",
}


def imported(source: Path) -> set[str]:
    """Return the modules of Dask and distributed that a source imports."""
    modules = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(str(node.module))
    return {
        module
        for module in modules
        if module.partition(".")[0] in ("dask", "distributed")
    }


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_no_other_module_imports_what_dask_does_not_document(source):
    if source.stem != "_internals":
        assert imported(source) <= PUBLIC


def test_each_name_has_a_reason_and_is_there():
    assert sorted(_internals.__all__) == sorted(_internals.WHY)
    assert all(hasattr(_internals, name) for name in _internals.WHY)


def test_each_attribute_is_there():
    frame = dd.from_pandas(pd.DataFrame({"x": [1]}), npartitions=1)
    places = {
        "dd.DataFrame": frame,
        "Expr": frame.expr,
        "ReadParquet": ReadParquetPyarrowFS,
    }
    with Client(processes=False, dashboard_address=":0", set_as_default=False) as made:
        places["Client"] = made
        for name in _internals.OF_OBJECTS:
            place, _, attribute = name.rpartition(".")
            assert hasattr(places[place], attribute), name


def test_the_class_of_each_expression_is_where_it_was():
    for name in ("P2PShuffle", "HashJoinP2P", "DiskShuffle", "TaskShuffle"):
        shuffle = getattr(_internals, name)
        assert issubclass(shuffle, _internals.Expr)
        assert importlib.import_module(shuffle.__module__)
    assert _internals.DiskShuffle._parameters == _internals.TaskShuffle._parameters, (
        "one takes the place of the other"
    )
