"""Hooks of pytest that say of a test beyond its time limit that this is why it ended.

Without them `pytest -n 2` shows a time-out as "worker crashed".
"""

from __future__ import annotations

import time
from typing import Any

import pytest

_started: dict[str, float] = {}


def pytest_runtest_logstart(nodeid: str) -> None:
    """Note when a test begins; called where the results are gathered."""
    _started[nodeid] = time.monotonic()


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: Any, sched: Any) -> None:
    """Add to a crash how long the test had run, and what its limit was."""
    ran_s = time.monotonic() - _started.get(crashitem, time.monotonic())
    limit_s = float(sched.config.getini("timeout") or 0)
    report.longrepr = f"{report.longrepr}\n{_verdict(ran_s, limit_s, crashitem)}"


def _verdict(ran_s: float, limit_s: float, test: str) -> str:
    alone = f"pytest -n 0 '{test}'"
    if 0 < limit_s <= ran_s:
        return (
            f"It had run for {ran_s:.0f} s: a time-out, not a crash. The limit is "
            f"{limit_s:.0f} s (timeout in pyproject.toml), or that of its mark. It "
            f"hangs, or the machine is busy. By itself it shows where it was: {alone}"
        )
    return (
        f"It had run for {ran_s:.0f} s. Unless it has a shorter limit of its own, the "
        f"process crashed: memory, or a fault in a library. By itself: {alone}"
    )
