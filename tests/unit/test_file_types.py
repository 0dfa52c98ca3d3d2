import doctest
import inspect

from prefect_ds.file_types import _internals, base
from prefect_ds.file_types.registry import FILE_TYPES


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


def test_the_examples_in_the_docstrings_run():
    results = doctest.testmod(base)
    assert results.attempted > 0
    assert results.failed == 0
