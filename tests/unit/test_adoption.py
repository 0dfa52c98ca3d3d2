"""Files that a person put at the path, or changed there."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from prefect import Flow

from prefect_ds import PandasResultHandler, task

pytestmark = pytest.mark.usefixtures("no_cache")

FRAME = pd.DataFrame(
    {
        "day": pd.to_datetime(["2024-01-01", "2024-01-02"]),
        "zip": ["007", "010"],
        "kind": pd.Categorical(["u", "v"]),
        "n": np.array([1, 2], dtype="int8"),
    }
)


def edited(path, change):
    """Change the text of a file."""
    Path(path).write_text(change(Path(path).read_text()))


def written(tmp_path, frame=FRAME, file_type="csv"):
    handler = PandasResultHandler(f"{tmp_path}/a.{file_type}", file_type)
    handler.write(frame)
    return handler, handler.location


def test_an_adopted_edit_keeps_the_types(tmp_path):
    handler, path = written(tmp_path)
    edited(path, lambda text: text.replace("007", "008").replace("01-02", "01-03"))
    assert handler.adopt(path).adopted
    expected = FRAME.assign(
        zip=["008", "010"], day=pd.to_datetime(["2024-01-01", "2024-01-03"])
    )
    assert_frame_equal(handler.load(path), expected)
    assert handler.verify(path) == []


def test_an_adopted_edit_may_have_more_rows_or_fewer(tmp_path):
    handler, path = written(tmp_path)
    edited(path, lambda text: text + "2024-01-05,011,u,3\n")
    handler.adopt(path)
    expected = pd.concat(
        [
            FRAME,
            pd.DataFrame(
                {
                    "day": pd.to_datetime(["2024-01-05"]),
                    "zip": ["011"],
                    "kind": pd.Categorical(["u"], categories=["u", "v"]),
                    "n": np.array([3], dtype="int8"),
                }
            ),
        ],
        ignore_index=True,
    )
    assert_frame_equal(handler.load(path), expected)
    edited(path, lambda text: "\n".join(text.split("\n")[:2]) + "\n")
    handler.adopt(path)
    assert_frame_equal(handler.load(path), FRAME[:1])


def test_a_column_that_no_longer_fits_gets_the_type_of_the_file(tmp_path):
    handler, path = written(tmp_path)
    edited(path, lambda text: text.replace(",2\n", ",2.5\n"))
    handler.adopt(path)
    assert_frame_equal(handler.load(path), FRAME.assign(n=[1.0, 2.5]))


def test_columns_are_known_by_their_names_and_not_by_their_places(tmp_path):
    handler, path = written(tmp_path)

    def swap(text):
        rows = [line.split(",") for line in text.splitlines()]
        return "".join(f"{','.join([c, z, d, 'x'])}\n" for d, z, c, n in rows)

    edited(path, swap)
    handler.adopt(path)
    read = handler.load(path)
    assert_frame_equal(read[["kind", "zip", "day"]], FRAME[["kind", "zip", "day"]])


def test_an_adopted_edit_keeps_a_named_index(tmp_path):
    frame = FRAME.set_index("zip")
    handler, path = written(tmp_path, frame)
    edited(path, lambda text: text.replace("007", "001"))
    handler.adopt(path)
    expected = frame.set_axis(pd.Index(["001", "010"], name="zip"))
    assert_frame_equal(handler.load(path), expected)


def test_an_edit_of_an_adopted_edit_keeps_the_types_too(tmp_path):
    handler, path = written(tmp_path)
    edited(path, lambda text: text.replace("007", "008"))
    handler.adopt(path)
    # The manifest of the task's own result still lies there until it is old.
    handler.store.clean(str(tmp_path), older_than_s=-60)
    edited(path, lambda text: text.replace("008", "009"))
    assert_frame_equal(handler.load(path), FRAME.assign(zip=["009", "010"]))


def test_an_edit_that_was_set_aside_comes_back_by_the_commands_in_the_log(
    tmp_path, run_here, log_lines
):
    handler = PandasResultHandler(f"{tmp_path}/my data/a.csv", "csv")

    @task(name="make", result=handler)
    def make():
        return FRAME

    with Flow("edits") as flow:
        made = make()
    run_here(flow)
    path = handler.location
    edited(path, lambda text: text.replace("007", "008"))
    run_here(flow)
    [line] = [line for line in log_lines if "set aside" in line]
    assert line.startswith(f"{path}: its bytes were not those that were written; ")
    assert f"then handler.adopt({path!r})" in line
    command = line.partition("was it an edit of yours? ")[2].partition(", then")[0]
    subprocess.run(shlex.split(command), check=True)
    handler.adopt(path)
    state = run_here(flow)
    assert_frame_equal(state.result[made].result, FRAME.assign(zip=["008", "010"]))


def test_a_read_of_an_edit_names_adopt(tmp_path):
    handler, path = written(tmp_path)
    edited(path, lambda text: text + "\n")
    with pytest.raises(FileNotFoundError, match=r"an edit of yours: handler\.adopt"):
        handler.load(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<!DOCTYPE html>\n<p>404</p>\n", "looks like HTML or JSON"),
        ('{\n"error": 1\n}\n', "looks like HTML or JSON"),
        ('{"error":"none"}\n', "it gives 0 rows"),
        ("a,b\n", "it gives 0 rows"),
        ("a,b\n1,2\n", None),
        ("a\n1\n", None),
    ],
)
def test_an_adopted_error_page_is_warned_of(tmp_path, log_lines, text, words):
    (tmp_path / ".prefect_ds/set-aside").mkdir(parents=True)
    handler = PandasResultHandler(f"{tmp_path}/a.csv", "csv")
    (tmp_path / "a.csv").write_text(text)
    assert handler.look_up(f"{tmp_path}/a.csv").kind == "committed"
    warnings = [line for line in log_lines if "by hand" in line]
    if words is None:
        assert warnings == []
    else:
        [line] = warnings
        assert line.startswith(f"{tmp_path}/a.csv was put there by hand")
        assert words in line


def test_a_folder_without_its_side_folder_is_warned_of_once(
    tmp_path, run_here, log_lines
):
    @task(name="make", result=PandasResultHandler(f"{tmp_path}/data/{{n}}.csv", "csv"))
    def make(n):
        return FRAME

    with Flow("lost") as flow:
        make.map([1, 2, 3])
    run_here(flow)
    assert not [line for line in log_lines if ".prefect_ds" in line]
    shutil.rmtree(tmp_path / "data/.prefect_ds")
    run_here(flow)
    [line] = [line for line in log_lines if "has no .prefect_ds" in line]
    for words in ("types are guessed", "inputs are not compared", "cp -r"):
        assert words in line
    log_lines.clear()
    run_here(flow)
    assert not [line for line in log_lines if "has no .prefect_ds" in line]


def test_a_copy_with_its_side_folder_needs_no_words(tmp_path, log_lines):
    written(tmp_path / "data")
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    copy = PandasResultHandler(f"{tmp_path}/copy/a.csv", "csv")
    assert_frame_equal(copy.load(f"{tmp_path}/copy/a.csv"), FRAME)
    assert os.listdir(tmp_path / "copy/.prefect_ds") != []
    assert log_lines == []


def test_an_edited_file_keeps_an_index_without_a_name(tmp_path):
    handler, path = written(tmp_path, FRAME.set_axis([7, 3]))
    edited(path, lambda text: text.replace("010", "011"))
    handler.adopt(path)
    expected = FRAME.assign(zip=["007", "011"]).set_axis([7, 3])
    assert_frame_equal(handler.load(path), expected)
