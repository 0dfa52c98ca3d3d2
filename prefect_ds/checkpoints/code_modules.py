"""What a module counts as in the walk over the user's code.

A module of the user's own counts by the members that the code has a name for: a change
elsewhere in a file of helpers does not count. A library's module counts by its name.
"""

from __future__ import annotations

import importlib
import importlib.util
import types
from collections.abc import Callable
from typing import Any, TypeAlias

from prefect_ds.checkpoints.code_objects import import_submodules, is_library
from prefect_ds.checkpoints.libraries import is_library_name

ReadGlobal: TypeAlias = Callable[[str, str | None, Any], Any]
"""Returns what a global counts as, given its name, its module and its value."""


def module_members(
    module: types.ModuleType, names: tuple[str, ...], read: ReadGlobal
) -> Any:
    """Return what code may read of a module: all that has a name in the code.

    Parameters
    ----------
    module
        A module that the code can reach.
    names
        The names in the code.
    read
        Returns what a global of the module counts as.
    """
    # Modules may have one another as globals, as a package has its submodules.
    return _members(module, names, read, {id(module)})


def _members(
    module: types.ModuleType,
    names: tuple[str, ...],
    read: ReadGlobal,
    open_ids: set[int],
) -> Any:
    if is_library(module):
        return ("module", module.__name__)
    facts = []
    for name in names:
        if name not in vars(module):
            continue
        value = vars(module)[name]
        if not isinstance(value, types.ModuleType):
            facts.append((name, read(name, module.__name__, value)))
        elif id(value) not in open_ids:
            open_ids.add(id(value))
            facts.append((name, _members(value, names, read, open_ids)))
    return ("own module", facts)


def whole_module(module: types.ModuleType, read: ReadGlobal) -> Any:
    """Return what a module counts as where it is a value: any of it may be read."""
    names = tuple(name for name in vars(module) if not name.startswith("__"))
    # A module's own `__getattr__` answers for the names that it does not have.
    return module_members(module, (*names, "__getattr__"), read)


def import_members(
    name: str,
    level: int,
    package: str,
    taken: tuple[str, ...],
    names: tuple[str, ...],
    read: ReadGlobal,
) -> Any:
    """Return what an import inside a function brings into it.

    Parameters
    ----------
    name, level, taken
        Of ``from ..helpers import clean``: ``"helpers"``, 2 and ``("clean",)``.
    package
        The package of the function's module, for a relative import.
    names
        The names in the function's code.
    read
        Returns what a global of the module counts as.
    """
    try:
        full = importlib.util.resolve_name("." * level + name, package)
        # Looked at before the import: a library may take seconds to import.
        if is_library_name(full):
            return ("module", full)
        module = importlib.import_module(full)
    except Exception:  # noqa: BLE001 - what any module raises while it is imported
        return ("not here", name)
    import_submodules(module, taken)
    # `import a.b` gives `a`, whose attribute `b` the code names then.
    return module_members(module, (*names, *taken), read)
