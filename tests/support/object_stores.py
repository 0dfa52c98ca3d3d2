"""Handlers and frames for tests of object stores, and what is looked for there."""

import tempfile
from pathlib import Path

import dask.dataframe as dd
import pandas as pd

from prefect_ds import FileResultHandler, PandasResultHandler
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.storage.layout import manifest_file
from prefect_ds.storage.manifest import Identity, Origin, Owner

FRAMES = {
    inputs: pd.DataFrame(
        {"x": [number, 2, 5], "s": pd.array(["a", inputs, "é"], dtype="str")}
    )
    for number, inputs in enumerate("0123")
}
BY_TASKS = ["file", "files"]
"""A file and a folder that a task wrote by itself."""
KINDS = ["csv", "parquet", "pickle", "folder", *BY_TASKS]


def handler_of(store, kind, name="a", **options):
    url = f"{store.root}/data/{name}"
    if kind == "folder":
        return DaskDataFrameResultHandler(url, storage_options=store.options, **options)
    if kind in BY_TASKS:
        handler = FileResultHandler(url, storage_options=store.options, **options)
        handler.writes_folders = kind == "files"
        return handler
    return PandasResultHandler(
        f"{url}.{kind}", kind, storage_options=store.options, **options
    )


def keep(handler, inputs, run="run", by="task", *, frame=None):
    """Commit the frame of these inputs as the runner does."""
    value = FRAMES[inputs] if frame is None else frame
    if handler.kind == "folder":
        value = dd.from_pandas(value, npartitions=3)
    origin = Origin(
        owner=Owner("flow", run, by), identity=Identity("task", {"x": inputs})
    )
    with tempfile.TemporaryDirectory() as scratch:
        if isinstance(handler, FileResultHandler):
            value = written(value, Path(scratch) / "a", handler.writes_folders)
        return handler.keep(value, handler.location, origin=origin)


def written(frame, path, is_folder):
    """Write a frame as a task does by itself; return the path."""
    if not is_folder:
        frame.to_csv(path, index=False)
        return path
    for column in frame:
        (path / "columns" / column).mkdir(parents=True)
        frame[[column]].to_csv(path / "columns" / column / "0.csv", index=False)
    (path / "empty").mkdir()
    return path


def loaded(handler):
    value = handler.load(handler.location)
    if isinstance(handler, FileResultHandler):
        if not handler.writes_folders:
            return pd.read_csv(value)
        assert sorted(each.name for each in value.iterdir()) == ["columns", "empty"]
        columns = sorted(
            (value / "columns").iterdir(), key=lambda each: each.name == "s"
        )
        return pd.concat([pd.read_csv(each / "0.csv") for each in columns], axis=1)
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
        if manifest.kind == "folder"
        else {path}
    )
    left = [each for each in names_below(store) if "/set-aside/" not in each]
    filed = manifest_file(path, manifest.stamp)
    assert left == sorted({*data, filed})
