"""The servers of object stores, and a fresh folder on each."""

import contextlib
import functools

import pytest

from prefect_ds.checkpoints import memory_cache as cache
from prefect_ds.storage import local_copies, retries
from tests.support.object_stores import BY_TASKS, KINDS
from tests.support.scale import SCALE
from tests.support.servers import SERVERS


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
    """Every read reads."""
    cache.resize(0)
    # All processes of a machine share their copies, and a store in memory has the same
    # name in each.
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(local_copies, "_folder", lambda: str(folder))
    monkeypatch.setattr(local_copies, "_of_this_process", None)
    yield
    cache.resize(cache.DEFAULT_BYTES)
    if local_copies._of_this_process is not None:
        local_copies._of_this_process.close()


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """Starts a server when the first test asks for it."""
    with contextlib.ExitStack() as stack:
        yield functools.cache(
            lambda name: stack.enter_context(
                SERVERS[name](tmp_path_factory.mktemp(name))
            )
        )


@pytest.fixture(
    params=[
        each if each == "memory" else pytest.param(each, marks=pytest.mark.slow)
        for each in SERVERS
    ]
)
def store(request, start):
    return start(request.param).fresh()


@pytest.fixture
def s3(start):
    store = start("s3").fresh()
    yield store
    store.proxy.reset()


@pytest.fixture(params=KINDS)
def kind(request, store):
    if (
        store.name != "memory"
        and request.param in ("parquet", "pickle", *BY_TASKS)
        and SCALE == 1
    ):
        pytest.skip(
            "as csv, or as in memory; PREFECT_DS_TEST_SCALE=10 does all of them"
        )
    return request.param


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr(retries, "RETRY_DELAYS_S", (0.0, 0.0, 0.0))
