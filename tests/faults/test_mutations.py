"""The tests are worth something: with a safeguard taken out of the package, at least one of them fails."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import prefect_ds
from tests.support.digest_mutations import DIGEST_MUTATIONS
from tests.support.mutations import MUTATIONS, Mutation
from tests.support.scale import SCALE

TESTS, PACKAGE = Path(__file__).parents[1], Path(prefect_ds.__file__).parent
BY_NAME = {each.name: each for each in (*MUTATIONS, *DIGEST_MUTATIONS)}


def mutated(mutation: Mutation) -> str:
    """Return the source without the safeguard."""
    source = (PACKAGE / mutation.file).read_text()
    for found, replacement in mutation.changes:
        assert source.count(found) == 1, (
            f"the table no longer fits {mutation.file}: {found!r}"
        )
        source = source.replace(found, replacement)
    return source


def run_tests(root: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Run tests against the package in this folder."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-xqm", "", "-p", "no:cacheprovider", "--rootdir", str(root), *tests],
        cwd=root / "tests",
        env={**os.environ, "PYTHONPATH": str(root), "PREFECT_DS_TEST_SCALE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", BY_NAME)
def test_the_table_fits_the_source(name):
    compile(mutated(BY_NAME[name]), BY_NAME[name].file, "exec")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", BY_NAME if SCALE >= 10 else random.Random(1).sample(sorted(BY_NAME), 2)
)
def test_without_this_safeguard_a_test_fails(name, tmp_path):
    mutation = BY_NAME[name]
    shutil.copytree(
        PACKAGE, tmp_path / "prefect_ds", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(
        TESTS, tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(TESTS.parent / "pyproject.toml", tmp_path)

    whole = run_tests(tmp_path, mutation.tests)
    (tmp_path / "prefect_ds" / mutation.file).write_text(mutated(mutation))
    broken = run_tests(tmp_path, mutation.tests)

    assert whole.returncode == 0, whole.stdout[-4000:]
    assert broken.returncode == 1, (
        f"no test fails: {broken.stdout[-4000:]}{broken.stderr[-2000:]}"
    )
