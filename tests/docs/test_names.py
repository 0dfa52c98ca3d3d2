"""The documents name files, modules, settings and options that there are."""

from __future__ import annotations

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest
from click import Group

from prefect_ds_command.main import commands

ROOT = Path(__file__).parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("tests/*.md")})
SOURCE = "".join(path.read_text() for path in ROOT.glob("prefect_ds/**/*.py"))
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@each_page
def test_a_page_names_files_that_there_are(page: Path) -> None:
    folders = "prefect_ds|prefect_ds_command|tests|docs|benchmarks"
    files = re.findall(rf"`((?:{folders})/[\w./-]*)`", page.read_text())
    assert [file for file in files if not (ROOT / file).exists()] == []


@each_page
def test_a_page_names_modules_and_objects_that_there_are(page: Path) -> None:
    for name in re.findall(r"\b(prefect_ds(?:\.\w+)+)", page.read_text()):
        if not is_setting(name):
            assert resolve_name(name) is not None


def is_setting(name: str) -> bool:
    """Return whether a name is that of a setting in Prefect's config."""
    return name.count(".") == 1 and f'"{name.partition(".")[2]}"' in SOURCE


@each_page
def test_a_page_names_settings_that_the_code_reads(page: Path) -> None:
    settings = re.findall(r"PREFECT__PREFECT_DS__(\w+)", page.read_text())
    assert [name for name in settings if f'"{name.lower()}"' not in SOURCE] == []


def test_the_page_on_upkeep_names_options_that_there_are() -> None:
    page = (ROOT / "docs/upkeep.md").read_text()
    assert isinstance(commands, Group)
    calls = [commands, *commands.commands.values()]
    options = {"--help", *(name for call in calls for name in options_of(call))}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page))
    assert named - options == set()


def options_of(call: object) -> list[str]:
    """Return the options of a command, as they are written."""
    parameters = getattr(call, "params", [])
    return [
        name
        for parameter in parameters
        for name in (*parameter.opts, *parameter.secondary_opts)
    ]
