"""A time-out under `pytest -n` says that it is one."""

import subprocess
import sys

import pytest

from tests.support.processes import ROOT

TESTS = """
import time

def test_hangs():
    time.sleep(120)
"""

CONFTEST = """
from tests.support.time_limits import pytest_handlecrashitem, pytest_runtest_logstart
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
