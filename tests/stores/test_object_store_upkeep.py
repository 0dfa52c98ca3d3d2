"""Listings, checks and prunes of object stores: the same answers as on a disk, two requests for each checkpoint."""

import dask.dataframe as dd
import pandas as pd
from prefect import Flow

from prefect_ds import (
    DSTaskRunner,
    PandasResultHandler,
    checkpoints,
    prune,
    show,
    task,
    verify,
)
from prefect_ds.dask import DaskDataFrameResultHandler


def pipeline(store, numbers):
    """Pandas frames, and a folder of parts made of them."""
    path, options = f"{store.root}/part_{{number}}.csv", store.options

    @task(name="part", result=PandasResultHandler(path, storage_options=options))
    def part(number):
        return pd.DataFrame({"n": [number, number * 2]})

    whole = DaskDataFrameResultHandler(f"{store.root}/all", storage_options=options)

    @task(name="together", result=whole)
    def together(parts):
        return dd.from_pandas(pd.concat(parts, ignore_index=True), npartitions=2)

    with Flow("upkeep") as flow:
        together(part.map(numbers))
    return flow


def names(items):
    return sorted(item.path.rpartition("/")[2] for item in items)


def test_a_store_is_listed_verified_and_pruned_as_a_disk_is(store):
    flow = pipeline(store, [1, 2, 3])
    assert flow.run(task_runner_cls=DSTaskRunner).is_successful()
    root, options = store.root, store.options
    if store.proxy is not None:
        store.proxy.requests.clear()
    listing = checkpoints(root, storage_options=options)
    assert listing.counts == {"valid": 4}
    assert names(listing) == ["all", "part_1.csv", "part_2.csv", "part_3.csv"]
    if store.proxy is not None:
        # A listing each of folders and parts, and two requests for each checkpoint.
        assert len(store.proxy.requests) <= 6 + 3 * len(listing)
    assert verify(flow, progress=False).is_sound
    followers = show(f"{root}/part_1.csv", storage_options=options).followers
    assert [follower.task for follower in followers] == ["together"]

    fewer = pipeline(store, [1, 2])
    listed = prune(fewer, orphans=True)
    assert names(listed.items) == ["part_3.csv"]
    removed = prune(fewer, orphans=True, dry_run=False)
    assert removed.size_bytes == listed.size_bytes > 0
    assert checkpoints(fewer).counts == {"valid": 2, "stale": 1}
    removed = prune(root, older_than="0s", dry_run=False, storage_options=options)
    assert names(removed.items) == ["all", "part_1.csv", "part_2.csv"]
    assert not removed.kept
    assert checkpoints(fewer).counts == {"missing": 3}
