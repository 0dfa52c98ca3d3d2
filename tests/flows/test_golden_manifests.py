"""Checkpoints of every format version are read as they were meant, for good."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect import Flow, task

from prefect_ds import PandasResultHandler, explain
from prefect_ds.report import outcome_of
from prefect_ds.storage.layout import manifest_folder
from prefect_ds.storage.manifest import FORMAT_VERSION, Manifest

GOLDEN = Path(__file__).parents[1] / "support" / "golden_manifests"
DATA = {"first": "n\n0\n1\n2\n", "second": "n\n0.0\n0.5\n1.0\n"}
VERSIONS = range(1, FORMAT_VERSION + 1)


def text_of(version: int, name: str) -> str:
    return (GOLDEN / f"format_{version}" / f"{name}.manifest").read_text()


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Checkpoints as that version left them, copied to this place."""
    for name, data in DATA.items():
        path = tmp_path / f"{name}.csv"
        path.write_text(data)
        filed = Path(manifest_folder(str(path)))
        filed.mkdir(parents=True)
        text = text_of(request.param, name)
        stamp = json.loads(text)["manifest"]["stamp"]
        (filed / f"{stamp}.manifest").write_text(text)
    return tmp_path


def golden_flow(folder: Path, **options: Any) -> Flow:
    """The flow that wrote them."""

    def kept(name: str) -> PandasResultHandler:
        return PandasResultHandler(folder / f"{name}.csv", "csv", **options)

    @task(result=kept("first"))
    def first(n):
        return pd.DataFrame({"n": range(n)})

    @task(result=kept("second"))
    def second(frame, lr):
        return frame * lr

    with Flow("golden") as flow:
        second(first(3), 0.5)
    return flow


def outcomes(state: Any) -> dict[str, str]:
    return {task.name: outcome_of(of_task) for task, of_task in state.result.items()}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_format_is_read_and_written_as_the_newest(version):
    for name in DATA:
        manifest = Manifest.from_json(text_of(version, name))
        assert manifest.n_rows == 3
        assert manifest.parts[0].name == f"{name}.csv"
        assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.identity is not None
    assert manifest.identity.inputs["frame"].startswith("checkpoint:")


@pytest.mark.parametrize("folder", [2, FORMAT_VERSION], indirect=True)
def test_a_checkpoint_of_these_formats_loads(folder, run_here):
    flow = golden_flow(folder, match="inputs")
    assert explain(flow).counts == {"load": 2}
    assert outcomes(run_here(flow)) == {"first": "loaded", "second": "loaded"}


@pytest.mark.parametrize("folder", [1], indirect=True)
def test_a_checkpoint_of_format_1_runs_again_once_and_says_why(folder, run_here):
    flow = golden_flow(folder, match="inputs")
    (first, second) = explain(flow).steps
    assert "its inputs cannot be compared" in first.reason
    assert second.decision == "run"
    assert outcomes(run_here(flow)) == {"first": "ran", "second": "ran"}
    assert outcomes(run_here(flow)) == {"first": "loaded", "second": "loaded"}


@pytest.mark.parametrize("folder", [1], indirect=True)
def test_a_checkpoint_of_format_1_counts_by_its_path(folder, run_here):
    flow = golden_flow(folder, match="path")
    assert outcomes(run_here(flow)) == {"first": "loaded", "second": "loaded"}


@pytest.mark.parametrize("folder", [3], indirect=True)
def test_the_checksums_of_format_3_are_compared_as_those_of_today(folder, run_here):
    flow = golden_flow(folder, match="inputs")
    handler = PandasResultHandler(folder / "first.csv", "csv")
    first = folder / "first.csv"
    first.write_text(DATA["first"])
    os.utime(first, (1, 1))  # Copied without its time: the bytes decide.
    assert handler.verify(str(first)) == []
    assert outcomes(run_here(flow)) == {"first": "loaded", "second": "loaded"}
    filed = handler.manifest(str(first))
    assert filed.parts[0].checksum.startswith("sha256:")
    first.write_text("n\n0\n1\n3\n")
    os.utime(first, (1, 1))
    assert handler.verify(str(first)) == ["first.csv: its checksum is another"]
    first.write_text("n\n0\n1\n3\n")
    assert outcomes(run_here(flow))["first"] == "ran"
    assert handler.manifest(str(first)).parts[0].checksum.startswith("blake3:")


def test_the_newest_format_names_what_was_made_of_what():
    first = Manifest.from_json(text_of(FORMAT_VERSION, "first"))
    second = Manifest.from_json(text_of(FORMAT_VERSION, "second"))
    (upstream,) = second.upstream["frame"]
    assert upstream.path == first.path
    assert upstream.content == first.content
    assert first.identity is not None
    assert upstream.identity == first.identity.digest
    assert second.identity is not None
    assert second.identity.values == {"lr": "0.5"}
    assert first.identity.values == {"n": "3"}
