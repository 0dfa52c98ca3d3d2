"""A flow whose tasks write files and folders by themselves. Workers in other processes import this module."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from prefect import Flow

from prefect_ds import FileResultHandler, MarkerResultHandler, task
from tests.support.flows import Notes

ALL_RAN = [
    *("collect 1", "collect 2", "collect 3"),
    *("train 1", "train 2", "train 3"),
    *("announce 1", "announce 2", "announce 3"),
    "best",
]


def collect(n: int, folder: str, notes: Notes) -> str:
    """Write a nested folder, as zarr does."""
    notes(f"collect {n}")
    store = Path(folder) / f"scratch {n}.zarr"
    (store / "x/c/0").mkdir(parents=True)
    (store / "zarr.json").write_text("{}")
    for chunk in range(3):
        (store / f"x/c/0/{chunk}").write_bytes(bytes([n, chunk]) * 8)
    return str(store)


def train(n: int, store: Path, folder: str, notes: Notes) -> Path:
    """Write a file from what is in the folder."""
    notes(f"train {n}")
    model = Path(folder) / f"scratch {n}.onnx"
    model.write_bytes(
        b"".join(chunk.read_bytes() for chunk in sorted(store.glob("x/c/0/*")))
    )
    return model


def announce(n: int, model: Path, notes: Notes) -> None:
    """Do something that is to be done once."""
    assert model.read_bytes()[0] == n
    notes(f"announce {n}")


def best(models: list[Path], folder: str, notes: Notes) -> Path:
    """Write one file from many."""
    notes("best")
    path = Path(folder) / "best"
    path.write_bytes(max(models, key=lambda model: model.read_bytes()).read_bytes())
    return path


def files_flow(root: object, scratch: object, notes: Notes, n_retries: int = 0) -> Flow:
    """Mapped tasks that write folders and files, markers, and a reduce."""
    folder = str(scratch)
    retries = (
        {"max_retries": n_retries, "retry_delay": timedelta(0)} if n_retries else {}
    )

    @task(
        name="collect", result=FileResultHandler(f"{root}/stores/{{n}}.zarr"), **retries
    )
    def collect_(n):
        return collect(n, folder, notes)

    @task(
        name="train", result=FileResultHandler(f"{root}/models/{{n}}.onnx"), **retries
    )
    def train_(n, store):
        return train(n, store, folder, notes)

    @task(name="announce", result=MarkerResultHandler(f"{root}/done/{{n}}"))
    def announce_(n, model):
        announce(n, model, notes)

    @task(name="best", result=FileResultHandler(f"{root}/best.onnx"))
    def best_(models, announced):
        assert announced == [None] * 3
        return best(models, folder, notes)

    @task(name="use")
    def use(path):
        return path.name, path.read_bytes()

    with Flow("files") as flow:
        ns = [1, 2, 3]
        models = train_.map(ns, collect_.map(ns))
        use(best_(models, announce_.map(ns, models)))
    return flow
