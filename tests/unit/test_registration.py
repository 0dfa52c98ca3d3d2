"""Types of file that a user adds."""

import subprocess
import sys

import cloudpickle
import pytest

from prefect_ds import ObjectResultHandler, register_file_type
from prefect_ds.errors import FileTypeError, ResultTypeError, RoundTripError
from prefect_ds.objects.registry import REGISTERED


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    before = dict(REGISTERED)
    yield
    REGISTERED.clear()
    REGISTERED.update(before)


def register(name="complex", endings=(".complex",), read=None):
    def write(value, file):
        file.write(repr(value).encode())

    def read_back(file):
        return complex(file.read().decode())

    register_file_type(
        name, write, read or read_back, endings=endings, kept_classes=[complex]
    )


def test_a_process_without_the_registration_writes_and_reads(tmp_path):
    register()
    handler = ObjectResultHandler(tmp_path / "x.complex")
    pickled = tmp_path / "handler"
    pickled.write_bytes(cloudpickle.dumps(handler))
    script = (
        "import sys, pickle\n"
        "handler = pickle.load(open(sys.argv[1], 'rb'))\n"
        "handler.write(1 + 2j)\n"
        "print(handler.read(handler.location).value)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, pickled],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "(1+2j)"
    assert handler.read(handler.location).value == 1 + 2j


def test_another_value_that_comes_back_is_refused(tmp_path):
    register(read=lambda file: 0j)
    handler = ObjectResultHandler(tmp_path / "x.complex")
    with pytest.raises(RoundTripError, match="comes back as 0j"):
        handler.write(1j)


def test_another_class_is_refused(tmp_path):
    register()
    with pytest.raises(ResultTypeError, match="keeps complex, and not result"):
        ObjectResultHandler(tmp_path / "x.complex").write("text")


@pytest.mark.parametrize(
    ("name", "endings"), [("json", (".x",)), ("x", (".json",)), ("x", (".csv",))]
)
def test_a_name_or_an_ending_of_ours_is_refused(name, endings):
    with pytest.raises(FileTypeError):
        register(name, endings)
