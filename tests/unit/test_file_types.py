import doctest
import inspect

import pytest

from prefect_ds.errors import FileTypeError
from prefect_ds.file_types import _internals, base, registry
from prefect_ds.file_types.registry import FILE_TYPES, check_ending, file_type_of


def test_a_file_type_is_one_module_and_one_line_of_the_registry():
    for name, file_type in FILE_TYPES.items():
        assert file_type.name == name
        tells_cells = (file_type.rules, file_type.write, file_type.read)
        assert all(tells_cells) or tells_cells == (None, None, None)


def test_what_is_used_of_pandas_though_it_is_not_public_is_still_there():
    opening = inspect.signature(_internals.get_handle).parameters
    assert {"path_or_buf", "mode", "compression", "is_text"} <= opening.keys()
    assert _internals.infer_compression("x.csv.gz", "infer") == "gzip"
    assert _internals.infer_compression("x.csv", "infer") is None


@pytest.mark.parametrize(
    ("path", "file_type"),
    [
        ("data/x_{id}.parquet", "parquet"),
        ("s3://bucket/{day:%Y.%m}/x.CSV.gz", "csv"),
        ("x.json.tar.bz2", "json"),
        ("x.xlsx", "excel"),
        ("x.h5", "hdf"),
        ("x.dta", "stata"),
        ("x.pkl", "pickle"),
        ("x.htm", "html"),
        ("x", ""),
        ("x.gz", ""),
        ("folder.csv/x", ""),
        ("x.{kind}", ""),
        ("x_{day:%Y.%m}", ""),
        ("x.tsv", "csv"),
        ("x.jsonl.gz", "json"),
    ],
)
def test_the_ending_of_a_path_means_a_file_type(path, file_type):
    assert file_type_of(path) == file_type
    if file_type:
        check_ending(file_type, path)
        with pytest.raises(FileTypeError, match=f"as a file of type '{file_type}' do"):
            check_ending("orc", path)
    else:
        check_ending("csv", path)


@pytest.mark.parametrize("module", [base, registry])
def test_the_examples_in_the_docstrings_run(module):
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0
