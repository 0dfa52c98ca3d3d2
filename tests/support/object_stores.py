"""Handlers and frames for tests of object stores, and what is looked for there."""

import dask.dataframe as dd
import pandas as pd

from prefect_ds import PandasResultHandler
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.storage.layout import manifest_file
from prefect_ds.storage.manifest import Identity, Origin, Owner

FRAMES = {
    inputs: pd.DataFrame(
        {"x": [number, 2, 5], "s": pd.array(["a", inputs, "é"], dtype="str")}
    )
    for number, inputs in enumerate("0123")
}
KINDS = ["csv", "parquet", "pickle", "folder"]


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
