"""The types of file for objects: what comes back, what is refused and in which words."""

import io

import pytest

from prefect_ds import ObjectResultHandler
from prefect_ds.errors import ResultTypeError, RoundTripError
from prefect_ds.objects.registry import OBJECT_TYPES
from prefect_ds.objects.same import difference
from tests.support.object_values import KEPT, REFUSED


def cases(table):
    return [
        pytest.param(name, case, id=f"{name}: {case}")
        for name, values in table.items()
        for case in values
    ]


def through(kind, value):
    file = io.BytesIO()
    marks = kind.write(value, file)
    return kind.read(io.BytesIO(file.getvalue()), marks)


@pytest.mark.parametrize(("name", "case"), cases(KEPT))
def test_a_value_comes_back_type_for_type(name, case):
    value = KEPT[name][case]
    assert difference(value, through(OBJECT_TYPES[name], value)) is None


@pytest.mark.parametrize(("name", "case"), cases(REFUSED))
def test_a_value_is_refused_with_the_place_in_it(tmp_path, name, case):
    value, words = REFUSED[name][case]
    handler = ObjectResultHandler(tmp_path / "x", name)
    with pytest.raises((ResultTypeError, RoundTripError)) as refused:
        handler.write(value)
    assert words in str(refused.value)
    assert not (tmp_path / "x").exists()


def test_there_are_many_values():
    assert len(KEPT["json"]) + len(REFUSED["json"]) > 80
    assert min(len(KEPT[name]) for name in ("npy", "npz", "pickle")) > 40
