"""The walks through the code name what there is."""

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/walks.md").read_text()
NAMES = re.findall(r"`([a-z_]+(?:\.\w+)+)`", PAGE)


@pytest.mark.parametrize("name", NAMES)
def test_a_walk_names_what_there_is(name):
    thing = import_module("prefect_ds")
    path = "prefect_ds"
    for part in name.split("."):
        path = f"{path}.{part}"
        if is_module(path):
            thing = import_module(path)
        else:
            thing = getattr(thing, part)
    assert thing is not None


def is_module(path: str) -> bool:
    """Return whether a dotted path is that of a module."""
    file = ROOT / path.replace(".", "/")
    return file.with_suffix(".py").exists() or file.is_dir()
