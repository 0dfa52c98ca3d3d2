"""Checkpoints in object stores, on servers that answer as S3, Azure and Google do: the promises made for a disk.

On a real store: ``PREFECT_DS_TEST_URL=s3://bucket/prefix pytest
tests/stores/test_object_stores.py -k real``.
"""

import contextlib
import functools
import io
import multiprocessing
import random
import threading
import warnings
from dataclasses import replace

import dask.dataframe as dd
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from prefect import Flow
from prefect.executors import LocalDaskExecutor, LocalExecutor

from prefect_ds import DSTaskRunner, PandasResultHandler, explain, task
from prefect_ds.checkpoints import memory_cache as cache
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.errors import (
    CheckpointNotFoundError,
    CollisionError,
    DamagedCheckpointError,
)
from prefect_ds.storage import retries
from prefect_ds.storage.layout import manifest_file, manifest_folder
from prefect_ds.storage.manifest import Identity, Origin, Owner
from prefect_ds.storage.opening import _open_shared, open_files
from tests.support.processes import own_cluster
from tests.support.scale import SCALE
from tests.support.servers import KEY, SECRET, SERVERS, Dropped

FRAMES = {
    inputs: pd.DataFrame(
        {"x": [number, 2, 5], "s": pd.array(["a", inputs, "é"], dtype="str")}
    )
    for number, inputs in enumerate("0123")
}
KINDS = ["csv", "parquet", "pickle", "folder"]


@pytest.fixture(autouse=True)
def no_cache():
    """Every read reads."""
    cache.resize(0)
    yield
    cache.resize(cache.DEFAULT_BYTES)


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
    if store.name != "memory" and request.param in ("parquet", "pickle") and SCALE == 1:
        pytest.skip("a file like csv; PREFECT_DS_TEST_SCALE=10 does all of them")
    return request.param


def handler_of(store, kind, name="a", **options):
    url = f"{store.root}/data/{name}"
    if kind == "folder":
        return DaskDataFrameResultHandler(url, storage_options=store.options, **options)
    return PandasResultHandler(
        f"{url}.{kind}", kind, storage_options=store.options, **options
    )


def keep(handler, inputs, run="run", by="task", *, frame=None):
    """Commit the frame of these inputs as the runner does."""
    value = FRAMES[inputs] if frame is None else frame
    if handler.kind == "folder":
        value = dd.from_pandas(value, npartitions=3)
    identity = Identity("task", {"x": inputs})
    return handler.keep(
        value,
        handler.location,
        origin=Origin(owner=Owner("flow", run, by), identity=identity),
    )


def loaded(handler):
    value = handler.load(handler.location)
    return value.compute(scheduler="sync") if handler.kind == "folder" else value


def same(frame, other):
    """Whether two frames have the same cells: Dask has a type of its own for text."""
    return frame.to_dict("list") == other.to_dict("list")


def there(store, kind, name="a"):
    """Return whose frame a fresh handler finds, ``None`` for none; anything that is not whole and true fails."""
    handler = handler_of(store, kind, name)
    found = handler.look_up(handler.location)
    if found.manifest is None:
        assert found.kind in ("missing", "damaged"), found
        return None
    frame = loaded(handler)
    [inputs] = [inputs for inputs, each in FRAMES.items() if same(each, frame)]
    assert found.manifest.identity == Identity("task", {"x": inputs})
    return inputs


def names_below(store, path=""):
    """Return what lies below a path, as another program sees it."""
    root = store.fs._strip_protocol(store.root)
    return sorted(
        each.removeprefix(root)
        for each in store.fs.find(f"{store.root}/{path}" if path else store.root)
    )


def only_the_checkpoint_is_left(store, kind, name="a"):
    """Clean, and see that nothing but the checkpoint and its manifest is there."""
    handler = handler_of(store, kind, name)
    handler.store.clean(f"{store.root}/data", older_than_s=-60)
    manifest = handler.manifest(handler.location)
    path = handler.location.removeprefix(store.root)
    data = (
        {f"{path}/{part.name}" for part in manifest.parts}
        if kind == "folder"
        else {path}
    )
    left = [each for each in names_below(store) if "/set-aside/" not in each]
    filed = manifest_file(path, manifest.stamp)
    assert left == sorted({*data, filed})


# ------------------------------------------------------------------------------------------------
# the contract


def test_a_first_write_a_hit_and_a_rewrite_for_other_inputs(store, kind):
    assert there(store, kind) is None
    keep(handler_of(store, kind), "1")
    assert there(store, kind) == "1"
    keep(handler_of(store, kind), "2", "next run")
    assert there(store, kind) == "2"
    assert handler_of(store, kind).verify(handler_of(store, kind).location) == []
    only_the_checkpoint_is_left(store, kind)


def test_the_first_of_two_writers_with_the_same_inputs_stands(store, kind):
    keep(handler_of(store, kind), "1", "a run")
    before = names_below(store)
    kept = keep(handler_of(store, kind), "1", "another run", frame=FRAMES["2"])
    assert "another run was first" in kept.note
    assert names_below(store) == before


def test_an_altered_object_is_set_aside_and_computed_again(store, kind):
    handler = handler_of(store, kind)
    keep(handler, "1")
    [part] = handler.manifest(handler.location).parts[:1]
    path = f"{handler.location}/{part.name}" if kind == "folder" else handler.location
    store.fs.pipe_file(path, b"x" * part.size_bytes)
    with pytest.raises(
        (DamagedCheckpointError, CheckpointNotFoundError),
        match=r"damaged|bytes were not those|parts of it are gone",
    ):
        loaded(handler_of(store, kind))
    keep(handler_of(store, kind), "1", "next run")
    assert there(store, kind) == "1"
    aside = [each for each in names_below(store) if "/set-aside/" in each]
    assert b"x" * part.size_bytes in [
        store.fs.cat_file(f"{store.root}{each}") for each in aside
    ]


def test_a_folder_that_misses_a_part_does_not_count(store):
    handler = handler_of(store, "folder")
    keep(handler, "1")
    store.fs.rm_file(
        f"{handler.location}/{handler.manifest(handler.location).parts[1].name}"
    )
    found = handler.look_up(handler.location)
    assert found.kind == "damaged"
    assert found.reason.startswith("part 'part.00001")
    assert found.reason.endswith("was gone")
    keep(handler_of(store, "folder"), "2", "next run")
    assert there(store, "folder") == "2"


@pytest.mark.parametrize("kind", ["csv", "parquet", "folder"])
def test_what_a_person_put_there_counts_as_it_is(store, kind):
    handler = handler_of(store, kind)
    data = io.BytesIO()
    FRAMES["1"].to_csv(data, index=False) if kind == "csv" else FRAMES["1"].to_parquet(
        data
    )
    store.fs.pipe_file(
        handler.location + ("/theirs.parquet" if kind == "folder" else ""),
        data.getvalue(),
    )
    found = handler.look_up(handler.location)
    assert (found.kind, found.manifest.adopted) == ("committed", True)
    assert list(loaded(handler)["x"]) == list(FRAMES["1"]["x"])
    keep(handler_of(store, kind), "2")
    assert there(store, kind) == "2"
    aside = [
        store.fs.cat_file(f"{store.root}{each}")
        for each in names_below(store)
        if "/set-aside/" in each
    ]
    assert aside == [data.getvalue()]


def test_a_torn_manifest_speaks_against_the_data(store, kind):
    handler = handler_of(store, kind)
    keep(handler, "1")
    filed = manifest_file(handler.location, handler.manifest(handler.location).stamp)
    store.fs.pipe_file(filed, store.fs.cat_file(filed)[:-20])
    assert handler.look_up(handler.location).kind == "damaged"
    keep(handler_of(store, kind), "2", "next run")
    assert there(store, kind) == "2"


def test_two_children_of_a_run_at_one_path_are_both_named(store, kind):
    keep(handler_of(store, kind), "1", "run", "first")
    with pytest.raises(
        CollisionError, match="'first' and 'second' of one run both write"
    ):
        keep(handler_of(store, kind), "2", "run", "second")
    assert there(store, kind) is None


ODD = ["[a-c]*", "a b 100%", "%20+é", "#1&b=c", "'q', ~日本"]


@pytest.mark.parametrize("kind", ["csv", "folder"])
def test_odd_names_stay_what_they_are(store, kind):
    keep(handler_of(store, kind, "a"), "0")
    before = names_below(store)
    # adlfs takes what follows a question mark for a query.
    for name in [*ODD, *(["a?b"] if store.name != "az" else [])]:
        keep(handler_of(store, kind, name), "1")
        path = f"/data/{name}" if kind == "folder" else f"/data/{name}.csv"
        assert any(
            each == path or each.startswith(f"{path}/") for each in names_below(store)
        ), name
        keep(handler_of(store, kind, name), "2", "next run")
        assert there(store, kind, name) == "2", name
        handler = handler_of(store, kind, name)
        aside = handler.store.set_aside(handler.location, "a test asks for it")
        assert there(store, kind, name) is None, name
        handler.store.files.remove(aside)
        handler.store.files.remove(manifest_folder(handler.location))
        assert names_below(store) == before, (
            f"{name}: siblings stay, and nothing of it is left"
        )
    assert there(store, kind, "a") == "0"


def test_an_empty_frame_comes_back(store, kind):
    empty = FRAMES["1"].iloc[:0]
    keep(handler_of(store, kind), "1", frame=empty)
    assert (
        len(loaded(handler_of(store, kind))),
        list(loaded(handler_of(store, kind))),
    ) == (0, ["x", "s"])


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:Sending a large body:ResourceWarning"
)  # aiohttp, of gcsfs
@pytest.mark.parametrize("kind", ["pickle", "folder"])
@pytest.mark.parametrize("mebibytes", [6, 110])
def test_a_large_object_is_put_whole_and_where_nothing_was(store, kind, mebibytes):
    """Above 100 MiB s3fs uploads in pieces, above 50 MiB gcsfs: the last request is the commit."""
    if mebibytes > 6 and (store.name != "s3" or kind == "folder") and SCALE == 1:
        pytest.skip("PREFECT_DS_TEST_SCALE=10 does this one on all servers")
    rows = mebibytes * 2**20 // 8
    frame = pd.DataFrame({"x": pd.RangeIndex(rows).to_numpy() * 2654435761 % 2**61})
    keep(handler_of(store, kind), "1", frame=frame)
    assert loaded(handler_of(store, kind)).equals(frame)
    if kind == "pickle" and store.name in ("s3", "az"):
        path = handler_of(store, kind).location
        with pytest.raises(FileExistsError):
            handler_of(store, kind).store.files.create(path, bytes(mebibytes * 2**20))
        assert loaded(handler_of(store, kind)).equals(frame)


def test_a_look_is_never_answered_from_an_old_listing(store, kind):
    ours, path = handler_of(store, kind).store, handler_of(store, kind).location
    for inputs in "012":
        assert ours.look_up(path, handler_of(store, kind).kind).manifest is None
        ours.files.names(f"{store.root}/data")
        _open_shared.cache_clear()  # Another process has a file system of its own.
        keep(handler_of(store, kind), inputs, inputs)
        assert ours.look_up(
            path, handler_of(store, kind).kind
        ).manifest.identity.inputs == {"x": inputs}
        ours.files.names(f"{store.root}/data")
        store.fs.rm(path, recursive=True)


def test_the_same_bytes_for_other_inputs_count_for_those(store, kind):
    """In one second: stores whose tags are the bytes' digest and a time in seconds give both writes one stamp."""
    keep(handler_of(store, kind), "1", "a run", frame=FRAMES["3"])
    keep(handler_of(store, kind), "2", "another run", frame=FRAMES["3"])
    found = handler_of(store, kind).look_up(handler_of(store, kind).location)
    assert found.manifest.identity.inputs == {"x": "2"}


def test_create_is_refused_where_the_store_can(store):
    files = open_files(store.root, store.options)
    files.create(f"{store.root}/a", b"")
    if store.name == "gs":
        files.create(
            f"{store.root}/a", b"2"
        )  # The emulator ignores ifGenerationMatch; the request has it.
        assert "ifGenerationMatch=0" in store.proxy.requests[-1]
        return
    with pytest.raises(FileExistsError):
        files.create(f"{store.root}/a", b"2")
    assert files.read_bytes(f"{store.root}/a") == b""


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
@pytest.mark.parametrize("kind", ["csv", "folder"])
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
@pytest.mark.parametrize("kind", ["csv", "folder"])
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
@pytest.mark.timeout(
    3_600
)  # Each point is a process of its own, and a folder has some eighty.
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("scene", ["first", "rewrite"])
@pytest.mark.parametrize("kind", ["csv", "folder"])
@pytest.mark.parametrize("name", ["s3", "az", "gs"])
def test_a_client_killed_at_a_request_leaves_the_old_checkpoint_or_the_new_one(
    start, name, kind, scene, when
):
    if SCALE == 1 and name != "s3" and scene == "first":
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


# ------------------------------------------------------------------------------------------------
# what a request costs


REQUESTS = {
    ("csv", "miss"): 4, ("csv", "first write"): 11, ("csv", "hit"): 2, ("csv", "rewrite"): 12,
    ("folder", "miss"): 5, ("folder", "first write"): 80, ("folder", "hit"): 2, ("folder", "rewrite"): 89,
}  # fmt: skip
"""Of s3fs to S3. Each of a folder's ten parts is written, recorded, looked at, copied; its two staged objects go.
A record says whose write it is, and leftovers of stopped writes are looked for before and after."""


@pytest.mark.parametrize("kind", ["csv", "folder"])
def test_a_hit_takes_two_requests_and_a_commit_few(s3, kind):
    handler = handler_of(s3, kind)

    def write(inputs):
        frame = pd.DataFrame({"x": range(100)}) + int(inputs)
        value = dd.from_pandas(frame, npartitions=10) if kind == "folder" else frame
        handler.keep(
            value,
            handler.location,
            origin=Origin(
                owner=Owner("f", inputs, "t"), identity=Identity("t", {"x": inputs})
            ),
        )

    actions = {
        "miss": lambda: handler.look_up(handler.location),
        "first write": lambda: write("1"),
        "hit": lambda: handler.look_up(handler.location),
        "rewrite": lambda: write("2"),
    }
    counted = {
        (kind, what): len(s3.proxy.counted(action)) for what, action in actions.items()
    }
    assert counted == {
        each: number for each, number in REQUESTS.items() if each[0] == kind
    }


def test_the_children_of_a_map_are_looked_for_side_by_side(s3):
    """No look is answered before all of them have come."""
    n_children = 4
    path = f"{s3.root}/data/{{n}}.pickle"
    keeps = PandasResultHandler(path, "pickle", storage_options=s3.options)
    with Flow("hits") as flow:
        task(name="load", result=keeps)(lambda n: FRAMES[n]).map(list("0123"))
    assert flow.run(executor=LocalExecutor(), task_runner_cls=DSTaskRunner)
    together = threading.Barrier(n_children)
    plans = []

    def wait_for_the_others(request):
        if ".pickle" in request and ".prefect_ds" not in request:
            together.wait(timeout=60)

    s3.proxy.before = wait_for_the_others
    executor = LocalDaskExecutor(scheduler="threads", num_workers=1)
    requests = s3.proxy.counted(
        lambda: flow.run(executor=executor, task_runner_cls=DSTaskRunner)
    )
    assert not together.broken
    assert len(requests) == 2 * n_children
    requests = s3.proxy.counted(lambda: plans.append(explain(flow)))
    assert not together.broken
    assert len(requests) == 2 * n_children
    assert plans[0].counts == {"load": n_children}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["az", "gs"])
@pytest.mark.parametrize("kind", ["csv", "folder"])
def test_a_hit_takes_two_requests_elsewhere(start, name, kind):
    store = start(name).fresh()
    keep(handler_of(store, kind), "1")
    handler = handler_of(store, kind)
    assert len(store.proxy.counted(lambda: handler.look_up(handler.location))) == 2


# ------------------------------------------------------------------------------------------------
# servers that fail


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr(retries, "RETRY_DELAYS_S", (0.0, 0.0, 0.0))


def failing(number, fault):
    """Give a hook that lets this request fail, and no other."""
    seen = []

    def fail(request):
        seen.append(request)
        if len(seen) == number:
            if fault == "reset":
                raise Dropped
            return fault
        return None

    return fail


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "folder"])
@pytest.mark.parametrize(
    ("fault", "when"),
    [(500, "before"), (503, "before"), ("reset", "before"), ("reset", "after")],
)
def test_a_request_that_fails_once_is_made_again(s3, kind, fault, when, no_waiting):
    points = range(1, 12 if kind == "csv" else 30)
    for number in (
        points
        if SCALE > 1
        else random.Random(f"{kind} {fault} {when}").sample(points, 1)
    ):
        place = s3.fresh()
        keep(handler_of(place, kind), "0", "before")
        setattr(place.proxy, when, failing(number, fault))
        keep(handler_of(place, kind), "1", "now")
        assert there(place, kind) == "1", number
        handler = handler_of(place, kind)
        assert handler.verify(handler.location) == []


@pytest.mark.parametrize("kind", ["csv", "folder"])
def test_a_refusal_says_which_object_and_what_to_look_at(s3, kind, no_waiting):
    keep(handler_of(s3, kind), "0", "before")
    s3.proxy.before = lambda request: 403 if request.startswith("PUT") else None
    with pytest.raises(
        PermissionError,
        match=r"are the credentials in storage_options right.*s3://bucket/",
    ):
        keep(handler_of(s3, kind), "1", "now")
    s3.proxy.reset()
    assert there(s3, kind) == "0"


@pytest.mark.parametrize("kind", ["csv", "folder"])
def test_a_store_that_refuses_reads_is_not_called_damaged(s3, kind, no_waiting):
    handler = handler_of(s3, kind)
    keep(handler, "1")
    opened = handler.load(handler.location) if kind == "folder" else None
    s3.proxy.before = lambda request: (
        403
        if request.startswith(("GET", "HEAD")) and "list-type" not in request
        else None
    )
    with pytest.raises(
        PermissionError, match="are the credentials in storage_options right"
    ):
        handler.load(handler.location) if opened is None else opened.compute(
            scheduler="sync"
        )
    s3.proxy.reset()
    assert there(s3, kind) == "1"
    assert not [each for each in names_below(s3) if "/set-aside/" in each]


@pytest.mark.parametrize(
    "name",
    [
        "s3",
        pytest.param("az", marks=pytest.mark.slow),
        pytest.param("gs", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "folder"])
def test_a_bucket_that_is_not_there_is_named_and_not_made(start, name, kind):
    store = start(name).fresh()
    nowhere = replace(store, root=store.root.replace("bucket", "no-such-bucket"))
    with pytest.raises(
        FileNotFoundError,
        match=r"no bucket or container 'no-such-bucket': make it, or correct the URL",
    ):
        keep(handler_of(nowhere, kind), "1")
    assert not store.fs.exists("no-such-bucket")


# ------------------------------------------------------------------------------------------------
# flows


def pipeline(store):
    """A mapped stage of pandas frames and a Dask frame made of them."""

    @task(
        result=PandasResultHandler(
            f"{store.root}/part_{{number}}.csv", "csv", storage_options=store.options
        )
    )
    def part(number):
        print(f"computed {number}")
        return pd.DataFrame({"n": [number, number * 2]})

    @task(
        result=DaskDataFrameResultHandler(
            f"{store.root}/all", storage_options=store.options
        )
    )
    def together(parts):
        return dd.concat([dd.from_pandas(each, npartitions=1) for each in parts])

    @task
    def total(frame):
        return int(frame["n"].sum().compute())

    with Flow("stores") as flow:
        total(together(part.map([1, 2, 3])))
    return flow


EXECUTORS = {"local": LocalExecutor, "cluster": own_cluster}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s3", "az", "gs"])
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_flow_is_written_once_and_read_on_the_next_run(
    start, name, executor, log_lines, capfd
):
    if name != "s3" and executor == "cluster" and SCALE == 1:
        pytest.skip("PREFECT_DS_TEST_SCALE=10 does this one on all servers")
    store = start(name).fresh()
    writes = []
    for _ in range(2):
        flow = pipeline(store)
        store.proxy.requests.clear()
        state = flow.run(executor=EXECUTORS[executor](), task_runner_cls=DSTaskRunner)
        assert state.is_successful(), state.result
        assert state.result[flow.get_tasks("total")[0]].result == 18
        writes.append(
            [
                each
                for each in store.proxy.requests
                if each.startswith("PUT") or "/upload/" in each
            ]
        )
        texts = [
            repr(state),
            repr(state.result),
            repr(flow.tasks),
            *map(repr, state.result.values()),
        ]
        assert not [each for each in texts if SECRET in each]
    assert len(writes[0]) > 10
    assert writes[1] == []
    said = "\n".join(log_lines) + "".join(capfd.readouterr())
    objects = [store.fs.cat_file(f"{store.root}{each}") for each in names_below(store)]
    assert len(objects) == 11 - 1, (
        "four checkpoints, of which one has three parts, and a manifest for each"
    )
    assert SECRET not in said
    assert not [
        each for each in objects if SECRET.encode() in each or KEY.encode() in each
    ]


def fails(number):
    """A partition that fails, on a worker."""
    raise ValueError(f"partition {number} fails")


@pytest.mark.slow
def test_an_error_on_a_worker_prints_no_credentials(s3, capfd, log_lines):
    """Dask prints the function and arguments of a task that fails."""
    handler = handler_of(s3, "folder")
    frame = dd.from_map(fails, [0, 1], meta=pd.DataFrame({"x": [1]}))
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        with pytest.raises(ValueError, match=r"partition \d fails"):
            handler.keep(frame, handler.location)
        writer = functools.partial(
            handler.keep, dd.from_pandas(FRAMES["1"], npartitions=1), handler.location
        )
        s3.proxy.before = lambda request: 403
        with pytest.raises(PermissionError, match="credentials"):
            writer()
        said = f"{client.get_worker_logs()}{client.get_scheduler_logs()}"
    said += "".join(capfd.readouterr()) + "\n".join(log_lines)
    assert "Compute Failed" in said
    assert SECRET not in said
    assert SECRET not in repr(handler.storage_options)
    assert dict(handler.storage_options) == s3.options, "the driver gets them"


def test_a_store_that_was_open_when_the_process_forked_is_opened_anew(s3):
    keep(handler_of(s3, "csv"), "1")
    with multiprocessing.get_context("fork").Pool(1) as pool, warnings.catch_warnings():
        assert pool.apply_async(there, (replace(s3, proxy=None), "csv")).get(60) == "1"
