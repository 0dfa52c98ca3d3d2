"""The versions of Python and of the packages that shape a checkpoint."""

import contextlib
import functools
import importlib.metadata
import platform


@functools.cache
def versions() -> dict[str, str]:
    """Return the version of every package that is installed, by its name."""
    by_name = {"python": platform.python_version()}
    for package in ("prefect_ds", "prefect", "pandas", "pyarrow", "dask"):
        # A worker may have the package on its path without an installation.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            by_name[package] = importlib.metadata.version(package)
    return by_name
