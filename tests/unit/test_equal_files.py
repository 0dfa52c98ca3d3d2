"""Equal frames have equal checkpoints, whatever their memory holds besides."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal

from prefect_ds import PandasResultHandler

MASK = np.array([False, True])


def _arrow(kind, *buffers, children=None):
    buffers = [pa.py_buffer(data) for data in (b"\x01", *buffers)]
    array = pa.Array.from_buffers(kind, 2, buffers, children=children)
    return pd.arrays.ArrowExtensionArray(array)


def _text(array):
    return pd.array(pa.chunked_array([array]), dtype=pd.StringDtype(na_value=np.nan))


ENDS = np.array([0, 1, 4])
# As it is made from Python's values, and with something hidden under the null.
PAIRS = {
    "Int64": (
        pd.array([1, None], dtype="Int64"),
        pd.arrays.IntegerArray(np.array([1, 99]), MASK),
    ),
    "Float64": (
        pd.array([1.5, None], dtype="Float64"),
        pd.arrays.FloatingArray(np.array([1.5, 99.0]), MASK),
    ),
    "boolean": (
        pd.array([True, None], dtype="boolean"),
        pd.arrays.BooleanArray(np.array([True, True]), MASK),
    ),
    "NaN of a division": (np.array([1.5, np.nan]), np.array([1.5, -np.nan])),
    "text": (
        pd.array(["a", None], dtype="str"),
        _text(_arrow(pa.large_string(), ENDS.tobytes(), b"axyz")._pa_array.chunk(0)),
    ),
    "Arrow's numbers": (
        pd.array([1, None], dtype="int64[pyarrow]"),
        _arrow(pa.int64(), np.array([1, 99]).tobytes()),
    ),
    "Arrow's lists": (
        pd.array([[1], None], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
        _arrow(
            pa.list_(pa.int64()),
            ENDS.astype("i4").tobytes(),
            children=[pa.array([1, 8, 9, 9])],
        ),
    ),
}


@pytest.mark.parametrize("file_type", ["parquet", "feather", "orc", "pickle"])
@pytest.mark.parametrize("name", PAIRS)
def test_what_is_hidden_under_a_null_is_not_kept(tmp_path, name, file_type):
    plain, hiding = (pd.DataFrame({"a": values}) for values in PAIRS[name])
    assert_frame_equal(plain, hiding)
    handler = PandasResultHandler(tmp_path / "{name}", file_type)
    path = handler.write(plain, name="plain").location
    back = handler.load(path)
    frames = {"hiding": hiding, "read": back}
    contents = {
        handler.manifest(handler.write(frame, name=key).location).content
        for key, frame in frames.items()
    }
    assert contents == {handler.manifest(path).content}
    assert_frame_equal(back, plain)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pd.RangeIndex(0), pd.RangeIndex(-1, -1, -2)),
        (pd.RangeIndex(1), pd.RangeIndex(0, -1, -2)),
        (pd.RangeIndex(5, 6), pd.RangeIndex(5, 10, 7)),
    ],
)
def test_ranges_of_the_same_numbers_are_two_where_pandas_shows_it(tmp_path, one, other):
    handler = PandasResultHandler(tmp_path / "{name}.pkl", "pickle")
    contents = set()
    for name, index in (("one", one), ("other", other)):
        frame = pd.DataFrame({"a": 1.5}, index)
        path = handler.write(frame, name=name).location
        contents.add(handler.manifest(path).content)
        assert repr(handler.load(path).index) == repr(index)
    assert len(contents) == 2
