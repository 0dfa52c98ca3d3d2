"""Checkpoints in object stores, on servers that answer as S3, Azure and Google do: the promises made for a disk.

On a real store: ``PREFECT_DS_TEST_URL=s3://bucket/prefix pytest
tests/stores -k real``.
"""

import functools
import io
import random
import threading
from dataclasses import replace

import dask.dataframe as dd
import pandas as pd
import pytest
import s3fs
from prefect import Flow
from prefect.executors import LocalDaskExecutor, LocalExecutor

from prefect_ds import DSTaskRunner, PandasResultHandler, explain, task
from prefect_ds.errors import (
    CheckpointNotFoundError,
    CollisionError,
    DamagedCheckpointError,
)
from prefect_ds.storage.layout import manifest_file, manifest_folder
from prefect_ds.storage.manifest import Identity, Origin, Owner
from prefect_ds.storage.opening import _open_shared, open_files
from tests.support.object_stores import (
    FRAMES,
    handler_of,
    keep,
    loaded,
    names_below,
    only_the_checkpoint_is_left,
    there,
    written,
)
from tests.support.scale import SCALE, at_full_scale
from tests.support.servers import Dropped

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
    manifest = handler.manifest(handler.location)
    part, is_folder = manifest.parts[0], manifest.kind == "folder"
    path = f"{handler.location}/{part.name}" if is_folder else handler.location
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
    odd = ODD if SCALE > 1 or store.name == "memory" else ODD[3:]
    for name in [*odd, *(["a?b"] if store.name != "az" else [])]:
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
# what a request costs


REQUESTS = {
    ("csv", "miss"): 4, ("csv", "first write"): 11, ("csv", "hit"): 2, ("csv", "rewrite"): 12,
    ("file", "miss"): 4, ("file", "first write"): 11, ("file", "hit"): 2, ("file", "rewrite"): 12,
    ("files", "miss"): 4, ("files", "first write"): 10, ("files", "hit"): 4, ("files", "rewrite"): 10,
    ("folder", "miss"): 5, ("folder", "first write"): 80, ("folder", "hit"): 2, ("folder", "rewrite"): 89,
}  # fmt: skip
"""Of s3fs to S3. Each of a folder's ten parts is written, recorded, looked at, copied; its two staged objects go.
A record says whose write it is, and leftovers of stopped writes are looked for before and after.
Of a path that a task returned nobody knows whether it was a file or a folder: that costs two looks at a folder."""


@pytest.mark.parametrize("kind", ["csv", "folder", "file", "files"])
def test_a_hit_takes_two_requests_and_a_commit_few(s3, kind, tmp_path):
    handler = handler_of(s3, kind)

    def write(inputs):
        frame = pd.DataFrame({"x": range(100)}) + int(inputs)
        value = dd.from_pandas(frame, npartitions=10) if kind == "folder" else frame
        if kind in ("file", "files"):
            value = written(frame, tmp_path / inputs, kind == "files")
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
    # Two for each, and two that ask once whether checkpoints were freed.
    n_requests = 2 * n_children + 2
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
    assert len(requests) == n_requests
    requests = s3.proxy.counted(lambda: plans.append(explain(flow)))
    assert not together.broken
    assert len(requests) == n_requests
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
@pytest.mark.parametrize(
    "kind", ["csv", "folder", pytest.param("files", marks=at_full_scale)]
)
@pytest.mark.parametrize(
    ("fault", "when"),
    [(500, "before"), (503, "before"), ("reset", "before"), ("reset", "after")],
)
def test_a_request_that_fails_once_is_made_again(s3, kind, fault, when, no_waiting):
    points = range(1, 30 if kind == "folder" else 11)
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


@pytest.mark.parametrize("kind", ["file", "files"])
def test_a_large_file_of_a_task_is_put_in_pieces_and_where_nothing_was(
    s3, kind, monkeypatch
):
    """Not through memory; the piece that ends it is the commit."""
    monkeypatch.setattr("prefect_ds.storage.object_files._LARGE_BYTES", 0)
    put = []
    put_file = s3fs.S3FileSystem._put_file

    @functools.wraps(put_file)
    async def counted(self, source, target, **options):
        put.append(target)
        return await put_file(self, source, target, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_put_file", counted)
    _open_shared.cache_clear()
    keep(handler_of(s3, kind), "1")
    assert len(put) == (1 if kind == "file" else 2)
    assert there(s3, kind) == "1"
    keep(handler_of(s3, kind), "2", "next run")
    assert there(s3, kind) == "2"
    files = handler_of(s3, kind).store.files
    with pytest.raises(FileExistsError):
        files._put_from_disk(__file__, put[-1], mode="create")
