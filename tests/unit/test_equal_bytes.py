"""Equal frames give equal bytes, whenever they are written; a pickle, equal content.

Else a task that is computed again would make its dependants run, though nothing changed.
"""

import pickle
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from prefect import Flow
from prefect.utilities.configuration import set_temporary_config

from prefect_ds import ObjectResultHandler, PandasResultHandler, task
from prefect_ds.file_types.registry import FILE_TYPES

FRAME = pd.DataFrame(
    {
        "n": [1, 2],
        "text": ["x", "y"],
        "day": pd.to_datetime(["2020-01-01", "2021-01-01"]),
    }
)
ARRAY = np.array([[1, 2], [3, 4]])

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tar.gz")


def handlers(folder: Path) -> dict[str, PandasResultHandler]:
    """Handlers of all file types and compressions, and of both ways to write."""
    names = []
    for file_type in FILE_TYPES.values():
        for ending in file_type.endings:
            names.append(f"x{ending}")
            if file_type.is_compressible:
                names += [f"x{ending}{compression}" for compression in COMPRESSIONS]
    made = {name: PandasResultHandler(folder / name) for name in names}
    for name, kwargs in {
        "plain.xlsx": {"float_format": "%.1f"},
        "plain.ods": {"float_format": "%.1f"},
        "plain.csv.zip": {"float_format": "%.1f"},
    }.items():
        made[name] = PandasResultHandler(folder / name, write_kwargs=kwargs)
    return made


def test_of_every_file_type(tmp_path):
    written = {}
    for turn in ("first", "second"):
        for name, handler in handlers(tmp_path / turn).items():
            handler.write(FRAME)
            content = handler.manifest(handler.location).content
            written.setdefault(name, []).append(
                (Path(handler.location).read_bytes(), content)
            )
        # Zip keeps every second second.
        time.sleep(2.1 if turn == "first" else 0)
    assert len(written) > 70
    different = [name for name, (one, other) in written.items() if one != other]
    assert different == []


@pytest.mark.parametrize("ending", ["csv", "parquet", "feather"])
def test_a_pickle_of_what_was_computed_and_of_what_was_read(tmp_path, ending):
    source = PandasResultHandler(tmp_path / f"source.{ending}")
    read = source.read(source.write(FRAME).location).value
    written = []
    for frame in (FRAME, read):
        handler = PandasResultHandler(tmp_path / "x.pkl")
        handler.write(frame.copy())
        written.append(Path(handler.location).read_bytes())
    assert written[0] == written[1]


def test_a_workbook_does_not_depend_on_those_read_before(tmp_path):
    """odfpy declares the namespaces that the process has met so far."""
    first = PandasResultHandler(tmp_path / "first.ods")
    first.write(FRAME)
    from odf.opendocument import OpenDocumentText
    from odf.text import P

    document = OpenDocumentText()
    document.text.addElement(P(text="a letter"))
    document.save(str(tmp_path / "letter.odt"))
    second = PandasResultHandler(tmp_path / "second.ods")
    second.write(FRAME)
    assert Path(first.location).read_bytes() == Path(second.location).read_bytes()


def test_what_follows_a_task_that_runs_again_is_loaded(tmp_path, run_here):
    bodies = []

    @task(name="make", result=PandasResultHandler(tmp_path / "made.xlsx"))
    def make():
        bodies.append("make")
        return FRAME

    @task(name="use", result=PandasResultHandler(tmp_path / "used.csv", match="inputs"))
    def use(frame):
        bodies.append("use")
        return frame

    with Flow("again") as flow:
        use(make())
    for _ in range(2):
        assert run_here(flow).is_successful()
        (tmp_path / "made.xlsx").unlink()
        time.sleep(2.1 if len(bodies) == 2 else 0)
    assert bodies == ["make", "use", "make"]


def widened(frame):
    """Return a frame with columns more, in blocks of their own or in others'."""
    frame = frame.copy()
    frame["more"], frame["kind"] = 1, "pyarrow"
    return frame


def read_again(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize(
    ("handler", "ending", "one", "other"),
    [
        (PandasResultHandler, "pkl", widened(FRAME), widened(read_again(FRAME))),
        (ObjectResultHandler, "pkl", {"set": {0, 8}}, {"set": {8, 0}}),
        (ObjectResultHandler, "joblib", [{0, 8}], [{8, 0}]),
        (ObjectResultHandler, "pkl", ["x-y"] * 2, read_again(["x-y"]) + ["x-y"]),
        (ObjectResultHandler, "pkl", ARRAY, np.asfortranarray(ARRAY)),
    ],
)
def test_a_pickle_of_an_equal_value_has_equal_content(
    handler, ending, one, other, tmp_path
):
    seen = []
    for value in (one, other):
        writer = handler(tmp_path / f"x.{ending}")
        writer.write(value)
        content = writer.manifest(writer.location).content
        seen.append((content, Path(writer.location).read_bytes()))
    assert seen[0][0] == seen[1][0]
    assert seen[0][1] != seen[1][1]  # Else there is nothing to show.


def test_what_follows_a_pickle_that_is_made_again_from_what_was_read(
    tmp_path, run_here
):
    ran, pickles = [], set()

    def kept(name):
        return PandasResultHandler(tmp_path / name, match="inputs")

    @task(name="make", result=kept("made.pkl"))
    def make():
        ran.append("make")
        return FRAME

    @task(name="change", result=kept("changed.pkl"))
    def change(made):
        ran.append("change")
        return widened(made)

    @task(name="use", result=kept("used.csv"))
    def use(taken):
        ran.append("use")
        return taken

    with Flow("again") as flow:
        use(change(make()))
    for cache_bytes in (2**20, 0):
        with set_temporary_config({"prefect_ds.cache_bytes": cache_bytes}):
            assert run_here(flow).is_successful()
        pickles.add((tmp_path / "changed.pkl").read_bytes())
        (tmp_path / "changed.pkl").unlink()
    assert ran == ["make", "change", "use", "change"]
    assert len(pickles) == 2  # One was made from what was computed, one from a file.
