"""Writers of one object at one time, and clients that are killed at a request."""

import multiprocessing
import random
import threading

import pytest

from prefect_ds.errors import (
    CheckpointNotFoundError,
    CollisionError,
)
from tests.support.object_stores import (
    FRAMES,
    handler_of,
    keep,
    loaded,
    names_below,
    only_the_checkpoint_is_left,
    same,
    there,
)
from tests.support.scale import SCALE, at_full_scale, sweep
from tests.support.servers import Dropped

# ------------------------------------------------------------------------------------------------
# writers at one time


def at_once(*actions):
    """Run actions in threads that start together; return what each returned or raised."""
    barrier, outcomes = threading.Barrier(len(actions)), [None] * len(actions)

    def act(number):
        barrier.wait(30)
        try:
            outcomes[number] = actions[number]()
        except Exception as error:  # noqa: BLE001 - the outcome
            outcomes[number] = error

    threads = [
        threading.Thread(target=act, args=(number,)) for number in range(len(actions))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["csv", "folder", pytest.param("files", marks=at_full_scale)]
)
@pytest.mark.parametrize("conditions", ["conditions", "no conditions"])
def test_two_writers_at_once_leave_one_result_whole(s3, kind, conditions):
    s3.proxy.ignores_conditions = conditions == "no conditions"
    for number in range(2 * SCALE):
        name = f"a{number}"
        if number % 2:
            keep(handler_of(s3, kind, name), "0", "before")
        outcomes = at_once(
            lambda name=name: keep(handler_of(s3, kind, name), "1", "a run"),
            lambda name=name: keep(handler_of(s3, kind, name), "2", "another run"),
        )
        assert [each for each in outcomes if isinstance(each, Exception)] == []
        assert there(s3, kind, name) in ("1", "2")
        handler = handler_of(s3, kind, name)
        handler.store.clean(f"{s3.root}/data", older_than_s=-60)
        assert there(s3, kind, name) in ("1", "2")
        assert handler.verify(handler.location) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["csv", "folder", pytest.param("files", marks=at_full_scale)]
)
@pytest.mark.parametrize("conditions", ["conditions", "no conditions"])
def test_two_children_at_once_are_seen_whether_or_not_the_store_looks_first(
    s3, kind, conditions
):
    s3.proxy.ignores_conditions = conditions == "no conditions"
    for number in range(2 * SCALE):
        name = f"a{number}"
        outcomes = at_once(
            lambda name=name: keep(handler_of(s3, kind, name), "1", "run", "first"),
            lambda name=name: keep(handler_of(s3, kind, name), "2", "run", "second"),
        )
        assert any(isinstance(each, CollisionError) for each in outcomes), outcomes


@pytest.mark.slow
@pytest.mark.parametrize("inputs", ["1", "2"])
@pytest.mark.parametrize("moment", ["part.", "folder.manifest"])
def test_a_slow_writer_of_a_folder_and_a_fast_one_are_not_in_each_others_way(
    s3, inputs, moment
):
    """Parts whose manifest is not there yet belong to a write under way, and are no damage to be moved aside."""
    requests, lock = [], threading.Lock()

    def before(request):
        if not (request.startswith("PUT") and f"/{moment}" in request):
            return
        with lock:
            requests.append(request)
            is_last = len(requests) == (3 if moment == "part." else 1)
        if is_last:
            keep(handler_of(s3, "folder"), inputs, "a fast run")
            assert there(s3, "folder") == inputs

    s3.proxy.before = before
    keep(handler_of(s3, "folder"), "1", "a slow run")
    assert there(s3, "folder") == "1", "the later replaces the earlier, whole"
    assert not [each for each in names_below(s3) if "/set-aside/" in each]
    assert len(names_below(s3, "data/a")) == 3, "who came second leaves no part"
    only_the_checkpoint_is_left(s3, "folder")


def test_parts_that_no_manifest_names_go_with_clean_and_a_persons_file_stays(store):
    handler = handler_of(store, "folder")
    keep(handler, "1")
    kept = handler.manifest(handler.location).parts[0].name
    stray = f"{handler.location}/part.00000-0badcafe.parquet"
    store.fs.pipe_file(stray, store.fs.cat_file(f"{handler.location}/{kept}"))
    store.fs.pipe_file(f"{handler.location}/notes.parquet", b"a person's")
    assert there(store, "folder") == "1", "a reader reads what the manifest names"
    assert handler.store.clean(f"{store.root}/data") == [], (
        "young ones stay: their writer may live"
    )
    assert handler.store.clean(f"{store.root}/data", older_than_s=-60) == [stray]
    left = names_below(store, "data/a")
    assert "/data/a/notes.parquet" in left
    assert len(left) == 4
    assert there(store, "folder") == "1"


def test_a_frame_over_parts_that_were_replaced_by_equal_ones_spoils_nothing(s3):
    """Dask keeps one expression for equal tokens, and a part that is gone is not always damage."""
    keep(handler_of(s3, "folder"), "1", frame=FRAMES["3"])
    old = handler_of(s3, "folder").load(handler_of(s3, "folder").location)
    keep(handler_of(s3, "folder"), "2", "next run", frame=FRAMES["3"])
    assert same(loaded(handler_of(s3, "folder")), FRAMES["3"])
    with pytest.raises(
        CheckpointNotFoundError, match="cannot be read: it was replaced since"
    ):
        old.compute(scheduler="sync")
    assert same(loaded(handler_of(s3, "folder")), FRAMES["3"])


# ------------------------------------------------------------------------------------------------
# kills


def keep_in_child(store, kind, inputs, run):
    """Commit in a process of its own."""
    store.proxy.requests.clear()
    keep(handler_of(store, kind), inputs, run)


CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(
    [
        "prefect_ds.dask",
        "prefect_ds.pandas_result_handler",
        "s3fs",
        "adlfs",
        "gcsfs",
        "pytest",
    ]
)


def killed_at(store, kind, number, when):
    """Commit in a process that is killed at this request, before the server has it or after; return whether it was."""
    lock, n_seen, dead = threading.Lock(), 0, threading.Event()
    child = CHILDREN.Process(
        target=keep_in_child,
        args=(store_for_child(store), kind, "1", "killed"),
        daemon=True,
    )

    def drop_if_dead(request):
        if dead.is_set():
            raise Dropped

    def kill(request):
        nonlocal n_seen
        drop_if_dead(request)
        with lock:
            n_seen += 1
            if n_seen == number:
                child.kill()
                dead.set()
        drop_if_dead(request)

    store.proxy.before = drop_if_dead
    setattr(store.proxy, when, kill)
    child.start()
    child.join(60)
    assert child.exitcode == (-9 if dead.is_set() else 0)
    store.proxy.reset()
    return dead.is_set()


def store_for_child(store):
    """Return what describes a store in another process, where its proxy is not."""
    return type(store)(store.name, store.root, store.options, NoProxy())


class NoProxy:
    """What a process has that is not the test's."""

    requests: list[str] = []  # noqa: RUF012 - never filled


@pytest.mark.slow
@sweep
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("scene", ["first", "rewrite"])
@pytest.mark.parametrize("kind", ["csv", "folder", "files"])
@pytest.mark.parametrize("name", ["s3", "az", "gs"])
def test_a_client_killed_at_a_request_leaves_the_old_checkpoint_or_the_new_one(
    start, name, kind, scene, when
):
    is_elsewhere = name != "s3" and (scene == "first" or kind == "files")
    is_alike = kind == "files" and (scene, when) != ("rewrite", "after")
    if SCALE == 1 and (is_elsewhere or is_alike):
        pytest.skip("PREFECT_DS_TEST_SCALE=10 does this one on all servers")
    place = start(name).fresh()
    if scene == "rewrite":
        keep(handler_of(place, kind), "0", "before")
    n_requests = len(
        place.proxy.counted(lambda: keep(handler_of(place, kind), "1", "nobody's"))
    )
    points = range(1, n_requests + 1)
    if SCALE == 1:
        points = random.Random(f"{name} {kind} {scene} {when}").sample(points, 1)
    for number in points:
        place = start(name).fresh()
        if scene == "rewrite":
            keep(handler_of(place, kind), "0", "before")
        assert killed_at(place, kind, number, when), (
            f"request {number} of {n_requests} was never made"
        )
        assert there(place, kind) in (
            (None, "1") if scene == "first" else ("0", "1")
        ), number
        keep(handler_of(place, kind), "2", "next run")
        assert there(place, kind) == "2", number
        only_the_checkpoint_is_left(place, kind)
        assert there(place, kind) == "2", number
