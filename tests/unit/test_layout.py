"""Names in the side folder: no pattern of data files matches them, nothing collides."""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from prefect_ds import PandasResultHandler
from prefect_ds.storage.layout import (
    data_name,
    hidden_name,
    manifest_folder,
    old_manifest_folder,
)
from prefect_ds.storage.store import CheckpointStore

NAMES = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]),
    min_size=1,
    max_size=60,
)


@given(NAMES)
def test_a_hidden_name_gives_the_name_back(name):
    assert data_name(hidden_name(name)) == name


@given(NAMES, NAMES)
def test_two_names_have_two_hidden_names(one, other):
    assert (hidden_name(one) == hidden_name(other)) == (one == other)


@pytest.mark.parametrize("name", ["x" * 254, "x." * 127, "ä" * 127])
def test_a_long_name_is_cut_and_stays_the_only_one(name):
    hidden = hidden_name(name)
    assert len(hidden.encode()) <= 255
    assert data_name(hidden) is None
    assert hidden_name(name + "y") != hidden


@pytest.mark.parametrize("no_name", ["a.csv", "_", "__", "_a", "a_", "_a.csv_"])
def test_other_names_are_not_taken_for_hidden_ones(no_name):
    assert data_name(no_name) is None


@pytest.mark.parametrize("ending", ["csv", "json", "csv.gz", "parquet"])
def test_no_pattern_of_data_files_finds_anything_in_the_side_folder(tmp_path, ending):
    file_type = ending.partition(".")[0]
    handler = PandasResultHandler(f"{tmp_path}/sales_{{id}}.{ending}", file_type)
    handler.write(pd.DataFrame({"a": [1]}), id=1)
    path = tmp_path / f"sales_2.{ending}"
    handler.write(pd.DataFrame({"a": [2]}), id=2)
    path.write_bytes(b"damaged")
    handler.set_aside(str(path), handler.look_up(str(path)), then="test")
    assert os.listdir(tmp_path / ".prefect_ds/set-aside")
    for pattern in (f"*.{ending}", "sales_*", f"*.{file_type}*", "*.json*"):
        found = [str(each) for each in tmp_path.rglob(pattern)]
        assert not [each for each in found if ".prefect_ds" in each]


def in_old_layout(path):
    """File the manifest of a checkpoint as development versions did."""
    new, old = manifest_folder(path), old_manifest_folder(path)
    os.mkdir(old)
    for name in os.listdir(new):
        os.rename(f"{new}/{name}", f"{old}/{name.replace('.manifest', '.json')}")
    os.rmdir(new)


def test_a_checkpoint_of_the_old_layout_counts_and_is_filed_as_today(tmp_path):
    handler = PandasResultHandler(f"{tmp_path}/a.csv", "csv")
    frame = pd.DataFrame({"day": pd.to_datetime(["2024-01-01"]), "zip": ["007"]})
    path = handler.write(frame).location
    written = handler.manifest(path)
    in_old_layout(path)

    assert_frame_equal(handler.load(path), frame)
    assert handler.manifest(path) == written
    assert len(os.listdir(manifest_folder(path))) == 1
    store = CheckpointStore.open(str(tmp_path))
    removed = store.clean(str(tmp_path), older_than_s=-60)
    assert removed == [old_manifest_folder(path)]
    assert_frame_equal(handler.load(path), frame)


def test_damage_to_a_checkpoint_of_the_old_layout_is_seen(tmp_path):
    handler = PandasResultHandler(f"{tmp_path}/a.csv", "csv")
    path = handler.write(pd.DataFrame({"a": [1]})).location
    in_old_layout(path)
    store = CheckpointStore.open(str(tmp_path))
    assert store.clean(str(tmp_path), older_than_s=-60) == []
    Path(path).write_text("a\n2\n")
    assert handler.look_up(path).kind == "damaged"


def test_what_a_long_name_left_goes_with_clean(tmp_path):
    name = f"{'x' * 245}.csv"
    handler = PandasResultHandler(f"{tmp_path}/{name}", "csv")
    path = handler.write(pd.DataFrame({"a": [1]})).location
    [filed] = Path(manifest_folder(path)).iterdir()
    stray = filed.with_name("0-0.manifest")
    shutil.copy(filed, stray)
    store = CheckpointStore.open(str(tmp_path))
    assert store.clean(str(tmp_path), older_than_s=-60) == [str(stray)]
    assert json.loads(filed.read_bytes())["manifest"]["path"] == path
