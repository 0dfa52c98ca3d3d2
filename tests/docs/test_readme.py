"""The README's examples run as they stand, in an empty folder, and say what it says they say."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

import prefect_ds
from prefect_ds.file_types.frame_format import FILE_TYPES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_its_examples_run_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    document = Sybil([PythonCodeBlockParser()]).parse(ROOT / "README.md")
    document.namespace["__name__"] = "__main__"
    outputs = []
    for example in document.examples():
        example.evaluate()
        outputs.append(capsys.readouterr().out)
    assert outputs[0].split() == [
        "station",
        "rain_mm",
        "0",
        "1",
        "1.5",
        "1",
        "2",
        "1.5",
        "2",
        "3",
        "1.5",
    ]
    assert outputs[1].startswith("Loaded from the checkpoint: 3 rows, 3 columns, ")
    assert outputs[2].split()[:3] == ["name", "x", "y"]
    assert outputs[3].startswith("3 download-1[2] ")
    assert sorted(os.listdir("data")) == [
        ".prefect_ds",
        "by_name_0",
        "by_name_1",
        "download_1.csv",
        "download_2.csv",
        "download_3.csv",
        "events_2023",
        "events_2024",
        "rain_mm.parquet",
    ]


def test_its_table_of_file_types_is_complete() -> None:
    assert [name for name in FILE_TYPES if f"| `{name}` |" not in README] == []


@pytest.mark.parametrize("name", prefect_ds.__all__)
def test_every_public_name_is_in_it(name: str) -> None:
    assert name in README


@pytest.mark.parametrize(
    "path",
    sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")}),
    ids=lambda path: path.name,
)
def test_the_links_of_the_documents_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []
