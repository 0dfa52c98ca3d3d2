"""Fixtures that test modules of flows share."""

import os

import pytest

from tests.support.processes import local_cluster


@pytest.fixture(params=["local", "memory"])
def url(request, tmp_path):
    """A folder on disk, and one in an object store."""
    if request.param == "local":
        return str(tmp_path)
    return f"memory://{tmp_path.name}-{os.getpid()}"


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread each."""
    with local_cluster() as cluster:
        yield cluster
