"""Frames of any kind: one change of any sort changes the digest, another way to the same frame does not."""

import io
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from prefect_ds.checkpoints.digests import digest
from prefect_ds.frames.compare import difference
from tests.support.frame_strategies import NAMED_FRAMES, frames
from tests.support.scale import SCALE

SWEEP = settings(
    max_examples=80 * SCALE,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
NAMED = [name for name in NAMED_FRAMES if "own objects" not in name]


def test_frames_of_every_kind_have_digests_of_their_own():
    names = {}
    for name in NAMED:
        names.setdefault(digest(NAMED_FRAMES[name]()), []).append(name)
    assert [shared for shared in names.values() if len(shared) > 1] == []


@pytest.mark.parametrize("name", NAMED)
def test_a_frame_of_any_kind_keeps_its_digest_when_it_travels(name):
    frame = NAMED_FRAMES[name]()
    for protocol in (2, pickle.HIGHEST_PROTOCOL):
        assert digest(pickle.loads(pickle.dumps(frame, protocol))) == digest(frame)


# one place


def taken(frame, data):
    """Put other cells of the column into one column."""
    assume(frame.size)
    number = data.draw(st.integers(0, frame.shape[1] - 1))
    places = data.draw(
        st.lists(
            st.integers(0, len(frame) - 1), min_size=len(frame), max_size=len(frame)
        )
    )
    column = frame.iloc[:, number].array.take(places)
    frame.isetitem(number, pd.Series(column, index=frame.index, dtype=column.dtype))
    return frame


def missing(frame, data):
    """Leave out one cell."""
    assume(frame.size)
    number = data.draw(st.integers(0, frame.shape[1] - 1))
    row = data.draw(st.integers(0, len(frame) - 1))
    places = [-1 if i == row else i for i in range(len(frame))]
    column = frame.iloc[:, number].array.take(places, allow_fill=True)
    frame.isetitem(number, pd.Series(column, index=frame.index, dtype=column.dtype))
    return frame


def as_objects(frame, data):
    """Make objects of one column."""
    assume(frame.shape[1])
    number = data.draw(st.integers(0, frame.shape[1] - 1))
    frame.isetitem(number, frame.iloc[:, number].astype(object))
    return frame


def relabelled(frame, data):
    assume(frame.shape[1])
    labels = list(frame.columns)
    number = data.draw(st.integers(0, len(labels) - 1))
    labels[number] = data.draw(st.sampled_from(["", "other", 7, None, ("a", 1)]))
    frame.columns = pd.Index(
        np.fromiter(labels, dtype=object, count=len(labels)),
        name=frame.columns.name,
        tupleize_cols=False,
    )
    return frame


def reordered_rows(frame, data):
    order = data.draw(st.permutations(range(len(frame))))
    return frame.take(order)


def reordered_columns(frame, data):
    order = data.draw(st.permutations(range(frame.shape[1])))
    return frame.take(order, axis=1)


def shorter(frame, data):
    assume(len(frame))
    return frame.iloc[: data.draw(st.integers(0, len(frame) - 1))]


def renamed(frame, data):
    names = ["other", *list(frame.index.names)[1:]]
    return frame.set_axis(frame.index.set_names(names))


def of_columns_named(frame, data):
    return frame.rename_axis(columns="other")


def of_attrs(frame, data):
    frame.attrs["unit"] = "m"
    return frame


def of_flags(frame, data):
    assume(frame.columns.is_unique and frame.index.is_unique)
    return frame.set_flags(allows_duplicate_labels=False)


CHANGES = [
    taken, missing, as_objects, relabelled, reordered_rows, reordered_columns, shorter,
    renamed, of_columns_named, of_attrs, of_flags,
]  # fmt: skip


@SWEEP
@given(frames(), st.sampled_from(CHANGES), st.data())
def test_a_frame_that_differs_in_one_place_has_another_digest(frame, change, data):
    try:
        changed = change(frame.copy(), data)
    except (TypeError, ValueError):  # pandas does not take this value here.
        assume(False)
    if difference(frame, changed) is None:
        return
    assert digest(frame) != digest(changed)


# other ways


def pickled(frame, data):
    return pickle.loads(pickle.dumps(frame))


def column_by_column(frame, data):
    made = pd.DataFrame(index=frame.index)
    for number in range(frame.shape[1]):
        column = frame.iloc[:, number].copy()
        made.insert(number, number, column)
    made.columns = frame.columns
    return made


def joined_columns(frame, data):
    cut = data.draw(st.integers(0, frame.shape[1]))
    parts = [frame.iloc[:, :cut].copy(), frame.iloc[:, cut:].copy()]
    made = pd.concat(parts, axis=1)
    made.columns, made.index = frame.columns, frame.index
    return made


def joined_rows(frame, data):
    cut = data.draw(st.integers(0, len(frame)))
    return pd.concat([frame.iloc[:cut], frame.iloc[cut:]])


def cut_from_more(frame, data):
    made = pd.concat([frame.iloc[::-1], frame, frame.iloc[:1]])
    made = made.iloc[len(frame) : 2 * len(frame)]
    made.index = frame.index
    return made


def strided(frame, data):
    doubled = frame.take(np.repeat(np.arange(len(frame)), 2))
    made = doubled.iloc[::2]
    made.index = frame.index
    return made


def through_parquet(frame, data):
    made = frame.set_axis(range(frame.shape[1]), axis=1)
    buffer = io.BytesIO()
    made.rename(columns=str).to_parquet(buffer)
    read = pd.read_parquet(io.BytesIO(buffer.getvalue()))
    read.columns, read.index = frame.columns, frame.index
    return read


WAYS = [
    pickled, column_by_column, joined_columns, joined_rows, cut_from_more, strided,
    through_parquet,
]  # fmt: skip


@SWEEP
@given(frames(), st.sampled_from(WAYS), st.data())
def test_the_same_frame_made_in_another_way_has_the_same_digest(frame, way, data):
    try:
        made = way(frame, data)
    except Exception:  # noqa: BLE001 - pandas or Arrow know no such way for this frame
        return
    if type(made.index) is not type(frame.index) or difference(frame, made):
        return
    assert digest(frame) == digest(made)
