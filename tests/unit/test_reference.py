"""A reference: small, says what it stands for, and gives that or an error."""

import pickle

import pandas as pd
import pytest
from dask.base import tokenize
from pandas.testing import assert_frame_equal

from prefect_ds import PandasResultHandler
from prefect_ds.checkpoints.reference import (
    count,
    has_references,
    replace_references,
    size,
)
from prefect_ds.errors import CheckpointNotFoundError, DamagedCheckpointError
from tests.support.flows import frame_of, parquet, poison


@pytest.fixture
def reference(tmp_path, no_cache):
    return keep(parquet(tmp_path, "one"), frame_of(1))


def keep(handler, frame):
    return handler.keep(frame, handler.render({})).reference


def test_it_loads_what_was_written(reference):
    assert_frame_equal(reference.load(), frame_of(1))


def test_it_is_small_whatever_the_frame(tmp_path):
    small, large = (
        keep(parquet(tmp_path, name), pd.DataFrame({"v": range(n)}))
        for name, n in (("s", 1), ("l", 500_000))
    )
    assert abs(len(pickle.dumps(small)) - len(pickle.dumps(large))) < 50
    assert len(pickle.dumps(large)) < 2_000


def test_it_loads_after_a_trip_to_another_process(reference):
    assert_frame_equal(pickle.loads(pickle.dumps(reference)).load(), frame_of(1))


def test_it_says_what_and_where_without_reading(reference, tmp_path):
    poison(tmp_path / "one.parquet")
    for text in (str(reference), repr(reference), reference._repr_html_()):
        assert "3" in text
        assert "5" in text
        assert "KiB" in text
        assert str(tmp_path / "one.parquet") in text
        assert reference.written_at in text
    assert repr(reference).startswith("<Checkpoint: 3 rows, 5 columns, ")


def test_its_html_escapes_what_the_path_has_in_it(tmp_path):
    reference = keep(
        PandasResultHandler(f"{tmp_path}/<b>&.parquet", "parquet"), frame_of(1)
    )
    assert "<b>" not in reference._repr_html_()


def test_damage_is_an_error_that_says_what_was_set_aside(reference, tmp_path):
    poison(tmp_path / "one.parquet")
    with pytest.raises(
        DamagedCheckpointError,
        match=r"one\.parquet.*is damaged.*set aside as.*next run computes it again",
    ):
        reference.load()
    assert not (tmp_path / "one.parquet").exists()
    with pytest.raises(CheckpointNotFoundError, match="run the task again"):
        reference.load()


def test_another_checkpoint_at_the_path_is_not_taken_for_it(reference, tmp_path):
    keep(parquet(tmp_path, "one"), frame_of(2))
    with pytest.raises(CheckpointNotFoundError, match="not the one referred to"):
        reference.load()


def test_an_equal_checkpoint_written_again_is_taken_for_it(reference, tmp_path):
    (tmp_path / "one.parquet").unlink()
    again = keep(parquet(tmp_path, "one"), frame_of(1))
    assert_frame_equal(reference.load(), frame_of(1))
    assert again == reference
    assert hash(again) == hash(reference)


def test_it_is_equal_by_path_and_content(reference, tmp_path):
    other = keep(parquet(tmp_path, "two"), frame_of(1))
    assert other != reference
    assert reference != 5
    assert len({reference, other, pickle.loads(pickle.dumps(reference))}) == 2


def test_its_token_is_its_contents_wherever_it_lies(reference, tmp_path):
    same, different = (
        keep(parquet(tmp_path, "two"), frame_of(1)),
        keep(parquet(tmp_path, "three"), frame_of(3)),
    )
    assert tokenize(reference) == tokenize(same)
    assert tokenize(reference) != tokenize(different)
    assert tokenize([reference, different]) != tokenize([different, reference])


def test_the_way_of_reading_is_part_of_what_a_reader_gets(tmp_path):
    frame = frame_of(1)[["id", "value"]]
    left, right = (
        keep(
            PandasResultHandler(
                f"{tmp_path}/{column}.csv", "csv", read_kwargs={"usecols": [column]}
            ),
            frame,
        )
        for column in ("id", "value")
    )
    assert (tmp_path / "id.csv").read_bytes() == (tmp_path / "value.csv").read_bytes()
    assert tokenize(left) != tokenize(right)
    assert list(left.load().columns) == ["id"]
    assert list(right.load().columns) == ["value"]


def test_references_in_plain_collections_are_found_and_replaced(reference):
    for collection in (
        [reference],
        (1, [reference]),
        {"a": {"b": reference}},
        {reference},
        {reference: 1},
    ):
        assert has_references(collection)
    assert replace_references({"a": [reference, 1]}, lambda each: "loaded") == {
        "a": ["loaded", 1]
    }
    for plain in ([1, "a"], {}, None, frame_of(1), "text"):
        assert not has_references(plain)
        assert replace_references(plain, lambda each: "loaded") is plain


def test_subclasses_of_collections_are_left_alone(reference):
    class Own(list):
        pass

    own = Own([reference])
    assert replace_references(own, lambda each: "loaded") is own


def test_a_collection_that_holds_itself_has_an_end():
    endless: list[object] = [1]
    endless.append(endless)
    assert not has_references(endless)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (count(1, "row"), "1 row"),
        (count(2000, "row"), "2,000 rows"),
        (count(0, "row"), "0 rows"),
    ]
    + [
        (size(0), "0 bytes"),
        (size(1023), "1,023 bytes"),
        (size(1024), "1.0 KiB"),
        (size(5 * 2**40), "5.0 TiB"),
    ]
    + [(size(2**30 - 1), "1,024.0 MiB"), (size(1.5 * 2**20), "1.5 MiB")],
)
def test_numbers_are_written_for_people(text, expected):
    assert text == expected
