"""The command prefect-ds: the same answers as the calls, exit codes, streams, the user's own errors."""

import json
import os
import subprocess
import sys
import textwrap
from typing import get_args

import pytest

import prefect_ds
from prefect_ds.listing.rows import State
from prefect_ds_command.flow_names import load_flow
from prefect_ds_command.main import STATES, commands
from prefect_ds_command.running import run

FLOW = """
import pandas as pd
from prefect import Flow, Parameter
from prefect_ds import DSTaskRunner, PandasResultHandler, task

print("the file prints")
RATE = {rate}


@task(result=PandasResultHandler("data/d_{{id}}.csv"))
def download(id):
    return pd.DataFrame({{"id": [id] * 2}})


@task(result=PandasResultHandler("data/total.csv"))
def total(frames, scale):
    return pd.concat(frames) * scale * RATE


with Flow("rain") as flow:
    total(download.map({ids}), Parameter("scale", default=1))

if __name__ == "__main__":
    flow.run(task_runner_cls=DSTaskRunner)
"""


@pytest.fixture(autouse=True)
def _own_process(tmp_path, monkeypatch):
    """What an import of a user's file leaves in this process goes at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    yield
    for name in ("rain", "others"):
        sys.modules.pop(name, None)


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command and return exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["prefect-ds", *arguments])
        capsys.readouterr()
        code = run(commands)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def write_flow(rate=1, ids=(1, 2, 3), name="rain.py"):
    with open(name, "w") as file:
        file.write(FLOW.format(rate=rate, ids=list(ids)))


def run_flow(**values):
    write_flow(**values)
    state = load_flow("rain.py").run(task_runner_cls=prefect_ds.DSTaskRunner)
    assert state.is_successful()


def as_json(out):
    return json.loads(out)


def test_explain_says_what_would_run_and_check_is_an_exit_code(call):
    write_flow()
    code, out, err = call("explain", "rain.py", "--check")
    assert code == 1
    assert "download" in out
    assert "the file prints" in err
    assert "the file prints" not in out
    run_flow()
    assert call("explain", "rain.py:flow", "--check")[0] == 0
    code, out, _ = call("explain", "rain.py", "-p", "scale=3", "--json")
    assert code == 0
    explained = as_json(out)
    assert explained["counts"] == {"load": 3, "run": 1}
    assert explained["n_runs"] == [1, 1]
    assert "scale 1 -> 3" in explained["tasks"][-1]["reason"]
    code, out, _ = call("explain", "rain:flow", "--refresh", "download")
    assert code == 0
    assert "a refresh was asked for" in out


def test_ls_lists_and_names_what_is_missing(call):
    run_flow()
    os.remove("data/d_2.csv")
    code, out, _ = call("ls", "rain.py", "--missing", "--json")
    assert code == 0
    assert [row["fields"] for row in as_json(out)] == [{"id": "2"}]
    assert call("ls", "rain.py", "--check")[0] == 1
    code, out, _ = call("ls", "data", "--state", "valid", "--task", "download")
    assert code == 0
    assert "2 valid" in out
    assert "download" in call("ls", "--summary")[1]
    code, out, _ = call("ls", "data/d_1.csv", "data/total.csv")
    assert "2 checkpoints" in out
    assert get_args(State) == STATES


def test_show_verify_and_accept_by_path(call):
    run_flow()
    code, out, _ = call("show", "data/d_1.csv")
    assert code == 0
    assert "followed by data/total.csv (total)" in " ".join(out.split())
    assert as_json(call("show", "data/d_1.csv", "--alone", "--json")[1])["n_rows"] == 2
    assert call("verify", "data")[0] == 0
    assert call("verify", "rain.py")[0] == 0
    with open("data/d_1.csv", "ab") as file:
        file.write(b"x")
    code, out, _ = call("verify", "data", "--json")
    assert code == 1
    assert list(as_json(out)["faults"]) == [os.path.abspath("data/d_1.csv")]
    code, out, err = call("accept", "data/total.csv", "data/d_1.csv")
    assert code == 2
    assert "is damaged and was not accepted" in err


@pytest.mark.parametrize(
    "accepting", [("data/total.csv",), ("rain.py", "--task", "total")]
)
def test_a_change_of_code_is_accepted(call, accepting):
    run_flow(rate=1)
    write_flow(rate=2)
    assert call("explain", "rain.py", "--check")[0] == 1
    code, out, _ = call("accept", *accepting)
    assert code == 0
    assert out.startswith("accepted")
    assert call("explain", "rain.py", "--check")[0] == 0


def test_prune_is_dry_and_then_removes_what_it_listed(call):
    run_flow(ids=[1, 2, 3, 4])
    run_flow(ids=[1, 2, 3])
    code, out, err = call("prune", "rain.py", "--orphans")
    assert code == 0
    assert "data/d_4.csv" in out
    assert "Give --yes" in err
    assert os.path.exists("data/d_4.csv")
    code, out, err = call("prune", "rain.py", "--orphans", "--yes", "--json")
    assert code == 0
    assert [item["what"] for item in as_json(out)["items"]] == ["orphan"]
    assert not os.path.exists("data/d_4.csv")
    assert "nothing to remove" in call("prune", "data")[1]
    code, _, err = call("prune", "data", "--orphans")
    assert code == 2
    assert "only a flow knows its orphans" in err


BROKEN = """
    import prefect_ds

    def helper():
        raise RuntimeError("the table is not there")

    helper()
"""


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("broken.py", BROKEN, ["helper()", "RuntimeError: the table is not there"]),
        ("broken.py", "import nothing_of_this_name", ["No module named 'nothing_of"]),
        ("broken.py", "def f(:\n", ["SyntaxError", "def f(:"]),
        ("broken.py", "import sys; sys.exit('no data')", ["SystemExit: no data"]),
    ],
)
def test_errors_of_the_users_file_are_shown_from_its_own_lines(call, name, code, says):
    with open(name, "w") as file:
        file.write(textwrap.dedent(code))
    for command in ("explain", "ls", "verify", "prune"):
        exit_code, out, err = call(command, name)
        assert exit_code == 2
        assert out == ""
        assert all(text in err for text in says), err
        assert "prefect_ds_command" not in err
        assert "importlib" not in err


@pytest.mark.filterwarnings("ignore:Attempting to call")
def test_a_file_without_a_guard_runs_nothing(call):
    write_flow()
    with open("rain.py") as file:
        text = file.read()
    with open("rain.py", "w") as file:
        file.write(text.replace('if __name__ == "__main__":', "if True:"))
    assert call("explain", "rain.py", "--check")[0] == 1
    assert not os.path.exists("data")


def test_a_flow_is_named_by_file_or_module(call):
    with open("empty.py", "w") as file:
        file.write("x = 1\n")
    with open("others.py", "w") as file:
        file.write("from prefect import Flow\na = Flow('a')\nb = Flow('b')\nsame = a\n")
    for arguments, text in (
        (("empty.py",), "empty.py has no flow at its top level"),
        (("empty.py:x",), "x is a int; the flows of empty.py: none"),
        (
            ("others.py",),
            "others.py has 2 flows at its top level, so name one: others.py:a",
        ),
        (("others:c",), "c is not there; the flows of others: others:a"),
        (("gone.py",), "there is no file 'gone.py'"),
        (("gone:flow",), "there is no module 'gone'"),
        (("data",), "'data' names no flow"),
    ):
        code, out, err = call("explain", *arguments)
        assert (code, out) == (2, "")
        assert text in err
    code, out, _ = call("explain", "others:b")
    assert code == 0
    assert "Flow 'b' has no tasks" in out
    assert call("ls", "others.py:a", "data")[0] == 2
    assert call("ls", "nowhere")[0] == 2
    assert call("explain", "others:b", "-p", "scale")[0] == 2
    assert call("explain", "others:b", "-p", "scale=1")[0] == 2
    assert call("accept", "others:b")[0] == 2
    assert call("nothing")[0] == 2


HELP = """
import sys
from prefect_ds_command.main import main

sys.argv = ["prefect-ds", *{arguments}]
try:
    main()
finally:
    heavy = {{"prefect", "prefect_ds", "pandas", "dask", "distributed", "numpy"}}
    print("imported", sorted(heavy & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--help"], {}),
        (
            [],
            {
                "_PREFECT_DS_COMPLETE": "bash_complete",
                "COMP_CWORD": "1",
                "COMP_WORDS": "prefect-ds ver",
            },
        ),
    ],
)
def test_help_and_completion_import_neither_prefect_nor_pandas_nor_dask(
    arguments, environment
):
    done = subprocess.run(
        [sys.executable, "-c", HELP.format(arguments=arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
    )
    assert "verify" in done.stdout
    assert done.stdout.endswith("imported []\n"), done.stdout + done.stderr


def test_a_script_of_its_own_and_the_command_agree(tmp_path):
    """The script ran as __main__, with its own classes among the inputs."""
    write_flow()
    own = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Way:\n    n: int\n"
    with open("rain.py") as file:
        text = file.read().replace("default=1", "default=Way(2).n")
    with open("rain.py", "w") as file:
        file.write(own + text.replace("* RATE", "* Way(RATE).n"))
    for arguments in (
        ["rain.py"],
        ["-m", "prefect_ds_command", "explain", "rain.py", "--check"],
    ):
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "Flow 'rain' runs no task." in done.stdout
