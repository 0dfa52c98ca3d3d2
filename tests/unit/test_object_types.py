"""The types of file for objects: what comes back, what is refused and in which words."""

import io

import numpy as np
import pytest

from prefect_ds import ObjectResultHandler
from prefect_ds.errors import ResultTypeError, RoundTripError
from prefect_ds.objects.arrays import write_array
from prefect_ds.objects.json_marks import MAX_DEPTH, is_plain, to_plain
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


N_CELLS = 200_000
LARGE_ARRAYS = {
    "numbers": np.arange(N_CELLS) / 7,
    "rows": np.arange(N_CELLS).reshape(400, -1),
    "columns": np.asfortranarray(np.arange(N_CELLS).reshape(400, -1)),
    "every second": np.arange(2 * N_CELLS)[::2],
    "a transposed cut": np.arange(2 * N_CELLS).reshape(400, -1).T[1:],
    "one value for all": np.broadcast_to(np.float64(0.5), (N_CELLS,)),
    "times": np.arange(N_CELLS).astype("M8[s]"),
    "text": np.array(["a", "bcd"] * (N_CELLS // 2)),
    "big-endian": np.arange(N_CELLS, dtype=">i8"),
    "fields": np.zeros(N_CELLS, [("a", "i8"), ("b", "f4")]),
    "fields in any letters": np.zeros(N_CELLS, [("ü", "i8"), ("Ж", "f4")]),
    "a matrix of none": np.zeros((N_CELLS, 0)),
}


@pytest.mark.filterwarnings("ignore:Stored array in format")
@pytest.mark.parametrize("name", LARGE_ARRAYS)
def test_a_large_array_is_written_as_numpy_writes_it(name):
    ours, theirs = io.BytesIO(), io.BytesIO()
    write_array(LARGE_ARRAYS[name], ours)
    np.save(theirs, LARGE_ARRAYS[name], allow_pickle=False)
    assert ours.getvalue() == theirs.getvalue()


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "is_it"),
    [
        (1, True),
        ("a", True),
        ([], True),
        ({"a": [1, None, {"b": [True, 0.5]}], "c": {}}, True),
        ((1, 2), False),
        ([{"a": [1, (2,)]}], False),
        ({1: "a"}, False),
        ([{"a": 1}, {2: "b"}], False),
        ({"a": {3}}, False),
        ([np.float64(1.0)], False),
        (nested(MAX_DEPTH), True),
        (nested(MAX_DEPTH + 1), False),
    ],
)
def test_the_fast_look_knows_what_json_holds_as_it_is(value, is_it):
    assert is_plain(value) is is_it
    if is_it:
        assert to_plain(value) == (value, None)


def test_the_fast_look_ends_where_a_value_holds_itself():
    value = []
    value.append(value)
    assert not is_plain(value)
