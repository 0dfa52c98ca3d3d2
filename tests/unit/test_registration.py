"""Types of file that a user adds."""

import subprocess
import sys

import cloudpickle
import pytest
from prefect import Flow

from prefect_ds import (
    DSTaskRunner,
    ObjectResultHandler,
    Outputs,
    register_file_type,
    task,
)
from prefect_ds.errors import FileTypeError, ResultTypeError, RoundTripError
from prefect_ds.objects.registry import REGISTERED
from prefect_ds.report import outcome_of


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    before = dict(REGISTERED)
    yield
    REGISTERED.clear()
    REGISTERED.update(before)


def register(name="complex", endings=(".complex",), write=None, read=None):
    def write_text(value, file):
        file.write(repr(value).encode())

    def read_back(file):
        return complex(file.read().decode())

    register_file_type(
        name,
        write or write_text,
        read or read_back,
        endings=endings,
        kept_classes=[complex],
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


@pytest.mark.parametrize("what", ["write", "read"])
def test_a_function_that_fails_refuses_the_value(tmp_path, what):
    register(**{what: lambda *args: 1 / 0})
    handler = ObjectResultHandler(tmp_path / "x.complex")
    with pytest.raises(RoundTripError, match=r"'complex' cannot write it .*Zero"):
        handler.write(1j)


def test_the_case_of_an_ending_does_not_matter(tmp_path):
    register(endings=[".Complex"])
    for name in ("x.complex", "x.COMPLEX"):
        assert ObjectResultHandler(tmp_path / name).file_type == "complex"


def test_another_class_is_refused(tmp_path):
    register()
    with pytest.raises(ResultTypeError, match="keeps complex, and not result"):
        ObjectResultHandler(tmp_path / "x.complex").write("text")


@pytest.mark.parametrize(
    ("name", "endings"),
    [
        ("json", (".x",)),
        ("JSON", (".x",)),
        ("", (".x",)),
        ("x", (".json",)),
        ("x", (".JSON",)),
        ("x", (".csv",)),
        ("x", ("x",)),
        ("x", ".x"),
    ],
)
def test_a_name_or_an_ending_of_ours_is_refused(name, endings):
    with pytest.raises(FileTypeError):
        register(name, endings)


PLACES = 2


def rounded(value):
    return complex(round(value.real, PLACES), round(value.imag, PLACES))


def run(folder, read, match="code"):
    """Run a flow of one task that keeps its result in a type of its own; return how it ended."""

    def write(value, file):
        file.write(repr(value).encode())

    register_file_type(
        "complex", write, read, endings=[".complex"], kept_classes=[complex]
    )

    @task(result=ObjectResultHandler(folder / "x.complex", match=match))
    def root(level):
        return complex(level, 1)

    with Flow("roots") as flow:
        made = root(4)
    return flow.run(task_runner_cls=DSTaskRunner).result[made]


def plain(file):
    return complex(file.read().decode())


def with_helper(file):
    return rounded(complex(file.read().decode()))


def with_default(file, level=3):
    assert level
    return complex(file.read().decode())


def with_another_default(file, level=4):
    assert level
    return complex(file.read().decode())


def test_a_change_of_its_functions_makes_checkpoints_stale(tmp_path, monkeypatch):
    assert outcome_of(run(tmp_path, plain)) == "ran"
    assert outcome_of(run(tmp_path, plain)) == "loaded"
    assert "with_helper" in run(tmp_path, with_helper).message
    assert outcome_of(run(tmp_path, with_helper)) == "loaded"
    # What they call and read counts too.
    monkeypatch.setitem(globals(), "PLACES", 3)
    assert "'PLACES' 2 -> 3" in run(tmp_path, with_helper).message
    # A default is none of the task's, though the task has an argument of that name.
    run(tmp_path, with_default)
    assert outcome_of(run(tmp_path, with_another_default)) == "ran"


def test_where_code_does_not_count_a_change_of_them_is_said(tmp_path):
    run(tmp_path, plain, match="inputs")
    state = run(tmp_path, with_helper, match="inputs")
    assert outcome_of(state) == "loaded"
    assert "code has changed" in state.message


def test_they_count_in_several_outputs_too(tmp_path):
    def outcome(read):
        register(read=read)

        @task(
            result=Outputs(
                a=ObjectResultHandler(tmp_path / "a.complex"),
                b=ObjectResultHandler(tmp_path / "b.json"),
            )
        )
        def roots():
            return {"a": 1j, "b": 1}

        with Flow("roots") as flow:
            made = roots()
        return outcome_of(flow.run(task_runner_cls=DSTaskRunner).result[made])

    reads = (plain, plain, with_helper)
    assert [outcome(read) for read in reads] == ["ran", "loaded", "ran"]
