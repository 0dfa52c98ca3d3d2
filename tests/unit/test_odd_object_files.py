"""Odd files at the path of an object: byte order marks, archives of other tools, missing packages."""

import importlib.util
import io
import json
import zipfile

import numpy as np
import pytest

from prefect_ds import ObjectResultHandler
from prefect_ds.errors import CheckpointAccessError, FileTypeError

MARK = "\ufeff"


def put(path, data):
    """Put a file of a person's at a path, and return the handler for it."""
    path.write_bytes(data)
    return ObjectResultHandler(path)


def why_not(path, data):
    """Return why a file of a person's does not count."""
    at_path = put(path, data).look_up(str(path))
    assert at_path.kind == "damaged"
    return at_path.reason


def archive_of(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def npy_of(values, **options):
    file = io.BytesIO()
    np.save(file, values, **options)
    return file.getvalue()


class TestByteOrderMarks:
    def test_that_an_editor_put_there_is_none_of_the_text(self, tmp_path):
        handler = put(tmp_path / "a.md", f"{MARK}# Über".encode())
        assert handler.load(handler.location) == "# Über"

    def test_that_a_task_returned_comes_back(self, tmp_path):
        handler = ObjectResultHandler(tmp_path / "a.txt")
        written = handler.write(f"{MARK}text")
        assert handler.read(written.location).value == f"{MARK}text"
        assert (tmp_path / "a.txt").read_text() == f"{MARK}text"

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    def test_in_json_are_understood(self, tmp_path, encoding):
        data = json.dumps({"ü": 1}, ensure_ascii=False).encode(encoding)
        handler = put(tmp_path / "a.json", data)
        assert handler.load(handler.location) == {"ü": 1}

    def test_of_another_encoding_are_named(self, tmp_path):
        assert "text in UTF-16: save it as UTF-8" in why_not(
            tmp_path / "a.txt", "text".encode("utf-16")
        )
        assert "no text in UTF-8" in why_not(tmp_path / "b.txt", "ü".encode("latin-1"))


class TestArchives:
    def test_of_numpy_with_compression_are_read(self, tmp_path):
        np.savez_compressed(tmp_path / "a.npz", **{"x/y": np.arange(3), "z": np.eye(2)})
        handler = ObjectResultHandler(tmp_path / "a.npz")
        arrays = handler.load(handler.location)
        assert list(arrays) == ["x/y", "z"]
        assert arrays["x/y"].tolist() == [0, 1, 2]

    def test_names_that_lead_elsewhere_are_keys_and_no_paths(self, tmp_path):
        (tmp_path / "in").mkdir()
        handler = ObjectResultHandler(tmp_path / "in/a.npz")
        written = handler.write({"../out": np.arange(2), "/etc/x": np.arange(1)})
        assert list(handler.read(written.location).value) == ["../out", "/etc/x"]
        assert [path.name for path in tmp_path.iterdir()] == ["in"]

    def test_of_python_objects_are_not_unpickled(self, tmp_path):
        objects = npy_of(np.array([{}], dtype=object), allow_pickle=True)
        for name, data in (
            ("a.npz", archive_of(**{"o.npy": objects})),
            ("a.npy", objects),
        ):
            assert "allow_pickle" in why_not(tmp_path / name, data)

    def test_with_what_is_no_array_name_the_member(self, tmp_path):
        reason = why_not(tmp_path / "a.npz", archive_of(**{"readme.txt": b"hello"}))
        assert "member 'readme.txt'" in reason

    def test_with_two_arrays_of_one_name_are_no_dict(self, tmp_path):
        array = npy_of(np.arange(1))
        reason = why_not(tmp_path / "a.npz", archive_of(**{"x.npy": array, "x": array}))
        assert "two arrays named 'x'" in reason

    def test_that_are_cut_do_not_count(self, tmp_path):
        np.savez(tmp_path / "whole.npz", x=np.arange(100))
        data = (tmp_path / "whole.npz").read_bytes()
        assert "cannot be read as npz" in why_not(tmp_path / "a.npz", data[:-30])


@pytest.mark.parametrize(
    ("module", "path", "file_type"),
    [
        ("joblib", "model.joblib", None),
        ("matplotlib", "x.png", None),
        ("polars", "x.parquet", "polars"),
        ("geopandas", "x.parquet", "geopandas"),
    ],
)
def test_a_missing_package_is_named_before_anything_runs(
    tmp_path, monkeypatch, module, path, file_type
):
    there = importlib.util.find_spec

    def without(name, *rest):
        return None if name == module else there(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(FileTypeError, match=f"missing package: pip install {module}$"):
        ObjectResultHandler(tmp_path / path, file_type)


def test_a_folder_at_the_path_is_no_object(tmp_path):
    (tmp_path / "a.json").mkdir()
    handler = ObjectResultHandler(tmp_path / "a.json")
    with pytest.raises(CheckpointAccessError, match="folder is in the place of a file"):
        handler.load(handler.location)
