"""Which modules belong to installed packages, and which are the user's."""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from typing import Final

_LIBRARY_FOLDERS: Final = tuple(
    {
        os.path.join(sysconfig.get_path(name), "")
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
    }
)
_PACKAGE_FOLDERS: Final = ("site-packages", "dist-packages")


def is_library_name(name: str) -> bool:
    """Return whether a module is part of Python or of an installed package.

    A module that is not imported yet counts like its package: the answer is the same in
    every process.
    """
    top = name.partition(".")[0]
    # A script is the user's, also where a worker has another script as `__main__`.
    if top == "__main__":
        return False
    # The examples are code as a user writes it.
    if top == "prefect_ds":
        return not name.startswith("prefect_ds.examples")
    if top in sys.builtin_module_names:
        return True
    file = _file_of(name)
    if file is None:
        return top in sys.stdlib_module_names
    if file.startswith(_LIBRARY_FOLDERS):
        return True
    # Packages that a user installed, or that lie outside of a virtual environment.
    return not set(_PACKAGE_FOLDERS).isdisjoint(file.split(os.sep))


def _file_of(name: str) -> str | None:
    module = sys.modules.get(name)
    if module is not None:
        return getattr(module, "__file__", None)
    # The top package is looked for: to find `a.b`, Python would import `a`.
    top = name.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    return spec.origin
