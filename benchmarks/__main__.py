"""``python -m benchmarks``: compares prefect_ds with its rivals on this machine.

Without options it takes less than three minutes, and prints a table of ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.report import full_run, page, questions
from benchmarks.support.measure import Machine


def main(arguments: list[str] | None = None) -> None:
    """Measure and print, or write the docs page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="smallest sizes, one round: shows that everything runs",
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="everything that the docs page shows, half an hour",
    )
    parser.add_argument(
        "--only",
        metavar="SECTION",
        choices=full_run.SECTIONS,
        action="append",
        help="these sections only",
    )
    parser.add_argument(
        "--write",
        metavar="PAGE",
        type=Path,
        help="with --full: put tables and pictures into this page",
    )
    parser.add_argument(
        "--results",
        metavar="FILE",
        type=Path,
        help="keep the figures as JSON, beside those in the file already",
    )
    parser.add_argument(
        "--redraw",
        action="store_true",
        help="measure nothing: write the page from --results",
    )
    given = parser.parse_args(arguments)
    if given.write and not (given.full or given.redraw):
        parser.error("--write needs --full or --redraw")
    if given.redraw and not (given.results and given.write):
        parser.error("--redraw needs --results and --write")
    figures: dict[str, Any] = {}
    # Sections that are not measured now keep their figures.
    if given.results and given.results.exists():
        figures = json.loads(given.results.read_text())
    if not given.redraw:
        figures |= measured(_level(given), given.only)
        if given.results:
            given.results.parent.mkdir(parents=True, exist_ok=True)
            given.results.write_text(json.dumps(figures, indent=1))
    if given.write:
        page.write(given.write, figures)


def _level(given: argparse.Namespace) -> questions.Level:
    if given.quick:
        return "quick"
    if given.full:
        return "full"
    return "normal"


def measured(level: questions.Level, only: list[str] | None) -> dict[str, Any]:
    """Measure section by section, print them, and return the figures."""
    started, machine = time.perf_counter(), Machine()
    sections = ["ratios", "memory"]
    if level == "full":
        sections = list(full_run.SECTIONS)
    wanted = only or sections
    figures: dict[str, Any] = {"machine": about(), "level": level}
    for name in wanted:
        section_started = time.perf_counter()
        figures[name] = full_run.SECTIONS[name](level, machine)
        say(
            page.TABLES[name](figures),
            f"({name}: {time.perf_counter() - section_started:.0f} s)",
            "",
        )
    figures["noise"] = str(machine)
    say(
        figures["noise"],
        questions.missing(),
        f"{time.perf_counter() - started:.0f} s in all.",
    )
    return figures


def about() -> str:
    """Return a few words on the machine, which do not tell which one it is."""
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("prefect", "dask", "pandas", "pyarrow")
    )
    python = f"Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {platform.system()}, {python}, {packages}"


def say(*lines: str) -> None:
    """Print."""
    sys.stdout.write("\n".join(line for line in lines if line is not None) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
