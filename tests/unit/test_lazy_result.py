"""Results that load when somebody looks at them, and only then."""

import copy
import dataclasses
import pickle
import threading

import cloudpickle
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from prefect.engine.result import Result
from prefect.engine.state import Failed, Mapped, Success

from prefect_ds.checkpoints.digests import digest
from prefect_ds.checkpoints.lazy_result import (
    LazyResult,
    LazySequence,
    PlainResult,
    by_reference,
    lazy,
    raw_value,
)
from prefect_ds.checkpoints.reference import CheckpointReference
from tests.support.flows import Counting, frame_of


@pytest.fixture
def references(tmp_path, notes, no_cache):
    """Three checkpoints; what is noted from here on are reads."""
    handler = Counting(f"{tmp_path}/{{n}}.parquet", "parquet", notes)
    kept = [
        handler.keep(frame_of(n), handler.render({"n": n})).reference for n in (1, 2, 3)
    ]
    notes.take()
    return kept


def reads(notes):
    return [
        line.removeprefix("read ").removesuffix(".parquet") for line in notes.take()
    ]


def test_a_value_is_loaded_on_the_first_look_and_kept(references, notes):
    result = LazyResult(references[0])
    assert reads(notes) == []
    assert_frame_equal(result.value, frame_of(1))
    assert result.value is result.value
    assert reads(notes) == ["1"]


def test_where_it_is_not_kept_each_look_loads(references, notes):
    result = LazyResult(references[0], keep=False)
    for _ in range(2):
        assert_frame_equal(result.value, frame_of(1))
    assert reads(notes) == ["1", "1"]


@pytest.mark.parametrize("wrap", [list, tuple, set])
def test_references_in_collections_are_found_at_any_depth(references, notes, wrap):
    loaded = []
    collection = {"a": [1, (references[0], {"b": [references[1]]})], "c": wrap([7])}
    value = LazyResult(collection).value
    loaded = [value["a"][1][0], value["a"][1][1]["b"][0]]
    assert [frame["id"][0] for frame in loaded] == [1, 2]
    assert value["c"] == wrap([7])
    assert type(value["a"][1]) is tuple
    assert isinstance(collection["a"][1][0], CheckpointReference), (
        "the collection itself stays as it is"
    )


def test_a_collection_without_references_comes_back_itself():
    value = {"a": [1, 2, {3}]}
    assert LazyResult(value).value is value


def test_repr_and_pickle_read_nothing(references, notes):
    result = LazyResult(references[0])
    assert "3 rows, 5 columns" in repr(result)
    data = pickle.dumps(result)
    assert len(data) < 3_000
    assert reads(notes) == []
    assert_frame_equal(pickle.loads(data).value, frame_of(1))


def test_what_was_loaded_is_not_pickled(tmp_path, notes):
    handler = Counting(f"{tmp_path}/big.parquet", "parquet", notes)
    reference = handler.keep(
        pd.DataFrame({"value": range(300_000)}), handler.render({})
    ).reference
    result = LazyResult(reference)
    assert len(result.value) == 300_000
    assert len(pickle.dumps(result)) < 3_000


def test_copies_and_from_value_share_nothing_by_accident(references, notes):
    result = LazyResult(references[0])
    copied = result.copy()
    copied.value = 5
    assert copied.value == 5
    assert_frame_equal(result.value, frame_of(1))
    assert result.from_value(7).value == 7
    assert_frame_equal(copy.copy(result).value, frame_of(1))


def test_a_value_that_was_just_written_is_not_read(references, notes):
    frame = frame_of(1)
    assert LazyResult(references[0]).loaded(frame).value is frame
    assert reads(notes) == []


def test_lazy_and_by_reference_are_each_others_inverse_and_leave_the_state_alone(
    references, notes
):
    state = Success("done", result=PlainResult(references[0], "there"))
    opened = lazy(state)
    assert opened is not state
    assert type(opened) is Success
    assert opened.message == "done"
    assert raw_value(state) is references[0]
    assert state._result.value is references[0]
    back = by_reference(opened)
    assert back._result.value is references[0]
    assert back._result.location == "there"
    assert reads(notes) == []
    assert_frame_equal(opened.result, frame_of(1))


@pytest.mark.parametrize(
    "state",
    [
        Success(result=5),
        Success(result=[1, {"a": 2}]),
        Failed(result=ValueError("x")),
        Success(),
    ],
)
def test_states_without_checkpoints_come_back_themselves(state):
    assert lazy(state) is state
    assert by_reference(state) is state


def test_a_mapped_state_is_lazy_in_its_children_and_as_a_whole(references, notes):
    children = [Success(result=PlainResult(each)) for each in references] + [
        Failed(result=ValueError("x")),
        None,
    ]
    state = Mapped(map_states=children)
    opened = lazy(state, keep=False)
    assert isinstance(opened.result, LazySequence)
    assert len(opened.result) == 5
    assert opened.result[1]["id"][0] == 2
    assert isinstance(opened.result[3], ValueError)
    assert opened.result[4] is None
    assert reads(notes) == ["2"]
    assert_frame_equal(opened.map_states[2].result, frame_of(3))
    assert raw_value(state.map_states[2]) is references[2]
    back = by_reference(opened)
    assert [raw_value(child) for child in back.map_states[:3]] == references
    assert list(back.result[:3]) == references


def test_a_lazy_sequence_behaves_as_a_sequence(references, notes):
    sequence = LazySequence(references)
    assert len(sequence) == 3
    assert sequence[-1]["id"][0] == 3
    assert [frame["id"][0] for frame in sequence[::-1]] == [3, 2, 1]
    assert [frame["id"][0] for frame in reversed(sequence)] == [3, 2, 1]
    assert bool(sequence)
    assert not LazySequence([])
    with pytest.raises(IndexError):
        sequence[3]
    notes.take()
    assert repr(sequence).count("3 rows, 5 columns") == 3
    assert reads(notes) == []
    assert len(pickle.dumps(sequence)) < 10_000


def test_iterating_reads_one_at_a_time(references, notes):
    read = []
    for frame in LazySequence(references):
        read.append((int(frame["id"][0]), reads(notes)))
    assert read == [(1, ["1"]), (2, ["2"]), (3, ["3"])]


def test_pickling_a_state_of_the_caller_does_not_hold_the_data(references, notes):
    state = lazy(Success(result=PlainResult(references[0])), keep=False)
    assert len(pickle.dumps(state)) < 4_000
    assert state._result._loaded == ()


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda state: pickle.loads(cloudpickle.dumps(state))],
)
def test_copying_or_pickling_a_state_of_the_caller_reads_nothing(
    references, notes, again
):
    plain = lazy(Success("done", result=PlainResult(references[0])), keep=False)
    mapped = lazy(
        Mapped(map_states=[Success(result=PlainResult(each)) for each in references]),
        keep=False,
    )
    plain_again, mapped_again = again(plain), again(mapped)
    assert reads(notes) == []
    assert plain_again.message == "done"
    assert type(mapped_again) is Mapped
    assert_frame_equal(plain_again.result, frame_of(1))
    assert_frame_equal(mapped_again.result[2], frame_of(3))
    assert_frame_equal(mapped_again.map_states[1].result, frame_of(2))


def test_a_state_is_pickled_as_prefect_does_it_where_nothing_is_loaded():
    back = pickle.loads(cloudpickle.dumps(Failed("no", result=ValueError("x"))))
    assert (back.message, str(back.result)) == ("no", "x")
    unpicklable = pickle.loads(
        cloudpickle.dumps(Failed("no", result=ValueError(threading.Lock())))
    )
    assert "could not be pickled" in unpicklable.result


def test_a_mapped_state_is_equal_to_itself(references):
    state = lazy(
        Mapped(map_states=[Success(result=PlainResult(each)) for each in references]),
        keep=False,
    )
    assert state == state
    assert state.result == state.result
    assert state.result != state.result[:2]
    assert state.result != list(references)


def test_a_lazy_sequence_counts_as_an_input_by_its_content(references, notes):
    loaded = [
        dataclasses.replace(each, is_loaded=True, owner="another")
        for each in references
    ]
    assert digest({"p": LazySequence(references)}) == digest(
        {"p": LazySequence(loaded)}
    )
    assert digest({"p": LazySequence(references)}) != digest(
        {"p": LazySequence(references[:2])}
    )
    assert digest({"p": LazySequence(references)}) is not None
    assert reads(notes) == []


def test_what_a_users_task_returned_is_not_searched(references):
    state = Success(result=Result([references[0]]))
    assert lazy(state) is state


class Stored(Success):
    """A state of a user's own."""


def test_a_state_of_a_users_own_is_pickled_and_copied_without_a_read(references, notes):
    state = lazy(Stored(result=PlainResult(references[0])))
    for again in (pickle.loads(pickle.dumps(state)), copy.copy(state)):
        assert type(again) is Stored
        assert raw_value(again) == references[0]
    assert reads(notes) == []


def test_a_collection_that_occurs_twice_is_replaced_once(references):
    inner = [references[0]]
    inner.append(inner)
    value = LazyResult({"a": inner, "b": (inner, references[0])}).value
    assert value["a"] is value["b"][0] is value["a"][1]
    assert value["a"][0] is value["b"][1]
