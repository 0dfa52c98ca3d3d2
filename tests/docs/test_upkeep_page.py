"""The examples of docs/upkeep.md run as they are: Python, and commands with what they print."""

import re
import sys
from pathlib import Path

import pytest

from prefect_ds import DSTaskRunner
from prefect_ds_command.flow_names import load_flow
from prefect_ds_command.main import commands
from prefect_ds_command.running import run

PAGE = (Path(__file__).parents[2] / "docs" / "upkeep.md").read_text()
BLOCKS = re.findall(r"```(python|console)\n(.*?)```", PAGE, re.S)
VARIES = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|digest \w+|\d[\d.,:+-]*|-+|dev\w*")


def without_times(text):
    """The text without numbers, and without the widths of columns."""
    text = re.sub(r"(seconds?|bytes?|KiB|MiB) ago", "ago", text)
    text = VARIES.sub("N", text.replace("seconds", "second"))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return [line for line in lines if not line.startswith("versions ")]


@pytest.fixture
def printed(monkeypatch, capsys):
    """Run a line of a console, and return what it prints."""

    def printed(line):
        monkeypatch.setattr(sys, "argv", line.split())
        capsys.readouterr()
        assert run(commands) == 0
        return capsys.readouterr().out

    return printed


def test_the_page_shows_what_its_examples_print(tmp_path, monkeypatch, printed, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    (kind, script), *others = BLOCKS
    assert kind == "python"
    Path("rain.py").write_text(script)
    flow = load_flow("rain.py")
    assert flow.run(task_runner_cls=DSTaskRunner).is_successful()
    names = {"flow": flow}
    n_commands = 0
    for kind, block in others:
        if kind == "python":
            exec(block, names)
            continue
        if "--orphans" in block:
            Path("rain.py").write_text(script.replace('"Bergen", "Oslo"', '"Bergen"'))
        for entry in block.split("$ ")[1:]:
            line, _, shown = entry.partition("\n")
            assert without_times(printed(line)) == without_times(shown)
            n_commands += 1
    assert n_commands == 6
    assert not Path("data/rain_Oslo.csv").exists()
    out = capsys.readouterr().out
    assert "True" in out


def test_every_option_of_prune_is_on_the_page():
    prune = commands.commands["prune"]
    options = {
        option for one in prune.params for option in one.opts if option[:2] == "--"
    }
    for option in options - {"--param", "--storage-option", "--leftovers"}:
        assert option in PAGE
