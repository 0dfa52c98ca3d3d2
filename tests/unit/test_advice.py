"""What a refusal advises is true: the handler that it names keeps the value."""

import collections
import re
import threading
from typing import NamedTuple

import numpy as np
import pytest

from prefect_ds import ObjectResultHandler, PandasResultHandler
from prefect_ds.errors import ResultTypeError


class Pair(NamedTuple):
    """Two numbers."""

    a: int
    b: int


class Text(str):
    """A text of the user's own."""


VALUES = {
    "json": {"a": [1, 2.5, None]},
    "arrays by name": {"a": np.arange(2)},
    "a list of arrays": [np.arange(2)],
    "an array": np.arange(2),
    "an array of objects": np.array([1, "a"], dtype=object),
    "a masked array": np.ma.masked_array([1, 2], [True, False]),
    "text": "x",
    "half a character": "\ud800",
    "own text": Text("x"),
    "bytes": b"x",
    "an array of bytes": bytearray(b"x"),
    "a named tuple": Pair(1, 2),
    "a counter": collections.Counter("aab"),
    "an object": object(),
}


@pytest.mark.parametrize("name", VALUES)
def test_the_handler_that_is_named_keeps_the_value(tmp_path, name):
    with pytest.raises(ResultTypeError) as refused:
        PandasResultHandler(tmp_path / "x.csv", "csv").write(VALUES[name])
    named = re.search(
        r"keep it with ObjectResultHandler\('(x\..*)'\)", str(refused.value)
    )
    assert named is not None
    handler = ObjectResultHandler(tmp_path / named[1])
    assert handler.write(VALUES[name]).value is VALUES[name]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (
            (i for i in ()),
            "no handler keeps result (generator, which cannot be pickled",
        ),
        ({"a": [threading.Lock()]}, 'no handler keeps result["a"][0] (_thread.lock, '),
    ],
)
def test_a_value_that_no_handler_keeps_is_named(tmp_path, value, words):
    with pytest.raises(ResultTypeError) as refused:
        PandasResultHandler(tmp_path / "x.csv", "csv").write(value)
    assert words in str(refused.value)
