"""A run of tests that nobody watches says what happens in it."""

import subprocess
import sys

import pytest

from tests.support import time_limits
from tests.support.processes import ROOT

TESTS = """
import time

def test_hangs():
    time.sleep(120)
"""

CONFTEST = """
from tests.support.time_limits import (
    pytest_configure,
    pytest_handlecrashitem,
    pytest_runtest_logreport,
    pytest_runtest_logstart,
)
"""

SETTINGS = """
[pytest]
timeout = 1
timeout_method = thread
"""


@pytest.mark.slow
def test_a_time_out_is_no_crash(tmp_path):
    (tmp_path / "test_of_a_test.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    code = f"import sys, pytest; sys.path.append({ROOT!r}); sys.exit(pytest.main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "-n", "1", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert "a time-out, not a crash. The limit is 1 s" in done.stdout
    assert "pytest -n 0 'test_of_a_test.py::test_hangs'" in done.stdout
    assert done.stderr.count("failed: test_of_a_test.py::test_hangs") == 1


def test_a_long_test_is_named_after_two_minutes_and_then_less_and_less_often(
    monkeypatch,
):
    monkeypatch.setattr(time_limits, "_started", {"test_hangs": 1000.0})
    monkeypatch.setattr(time_limits, "_named_s", {})
    named = [
        after_s
        for after_s in range(0, 1000, 10)
        if time_limits.long_running(1000.0 + after_s)
    ]
    assert named == [130, 270, 550]
    assert time_limits.long_running(9000.0)[0].endswith("8000 s: test_hangs")
    time_limits.pytest_runtest_logfinish("test_hangs")
    assert time_limits.long_running(99999.0) == []
