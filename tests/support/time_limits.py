"""Hooks of pytest for a run that nobody watches: what failed, what runs long, what timed out.

Under ``pytest -n 2`` a failure is a letter until the run ends, a hang shows nothing, and a time-out reads "worker crashed".
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import pytest

LONG_S = 120.0
"""A test that runs longer is named, and again each time that it has taken twice as long."""

_is_worker = False
"""A worker of ``pytest -n`` reports to the process that names what happens."""
_started: dict[str, float] = {}
_named_s: dict[str, float] = {}


def pytest_configure(config: pytest.Config) -> None:
    """Watch the tests from the process where the results are gathered."""
    global _is_worker
    _is_worker = hasattr(config, "workerinput")
    if not _is_worker:
        threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    while True:
        time.sleep(10)
        for line in long_running(time.monotonic()):
            print(f"\n{line}", file=sys.__stderr__, flush=True)


def long_running(now: float) -> list[str]:
    """Return a line for each test that has run long since its last line."""
    lines = []
    for test, started in list(_started.items()):
        ran_s = now - started
        if ran_s > _named_s.get(test, LONG_S):
            _named_s[test] = 2 * ran_s
            lines.append(f"{time.strftime('%X')} still running, {ran_s:.0f} s: {test}")
    return lines


def pytest_runtest_logstart(nodeid: str) -> None:
    """Note when a test begins; called where the results are gathered."""
    _started[nodeid] = time.monotonic()


def pytest_runtest_logfinish(nodeid: str) -> None:
    """Note that a test has ended."""
    _started.pop(nodeid, None)
    _named_s.pop(nodeid, None)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name a test as soon as it fails."""
    if report.failed and not _is_worker:
        line = f"{time.strftime('%X')} {report.when} failed: {report.nodeid}"
        print(f"\n{line}", file=sys.__stderr__, flush=True)


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
