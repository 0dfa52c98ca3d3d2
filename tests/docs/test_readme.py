"""The examples of README and docs run as they are, and print what the pages show."""

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


def outputs_of(page: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run a page's examples one after the other; return what each printed."""
    document = Sybil([PythonCodeBlockParser()]).parse(ROOT / page)
    document.namespace["__name__"] = "__main__"
    outputs = []
    for example in document.examples():
        example.evaluate()
        outputs.append(capsys.readouterr().out)
    return outputs


def tables_in(text: str) -> list[list[str]]:
    """Return the rows of the tables of a run in a text, without the seconds."""
    rows = re.findall(r"^(?:download|total) .*$", text, re.M)
    return [row.split()[:7] for row in rows]


def test_the_readme_shows_what_its_examples_print(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    log_lines: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    first_run, large = outputs_of("README.md", capsys)
    shown = README[README.index("```text") :]
    first_table = tables_in("\n".join(log_lines))
    log_lines.clear()
    monkeypatch.chdir(tmp_path)
    second_run, _ = outputs_of("README.md", capsys)

    assert first_run == second_run
    assert first_run in shown
    assert tables_in(shown) == first_table + tables_in("\n".join(log_lines))
    assert large.split() == ["2678400"]
    assert sorted(os.listdir("data")) == [
        ".prefect_ds",
        "download_1.csv",
        "download_2.csv",
        "download_3.csv",
        "events_2023",
        "events_2024",
        "rain_mm.parquet",
    ]


def test_the_examples_of_the_guide_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    outputs = outputs_of("docs/guide.md", capsys)
    assert outputs[2] == "3 download-1[2] []\n"


def test_the_examples_about_dask_frames_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    [output] = outputs_of("docs/dask-frames.md", capsys)
    assert output.split()[:3] == ["name", "x", "y"]
    assert sorted(os.listdir("data")) == [
        ".prefect_ds",
        "by_name_0",
        "by_name_1",
        "events_2023",
        "events_2024",
    ]


def test_the_examples_about_results_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("zarr")
    pytest.importorskip("xarray")
    files, warmest, counts = outputs_of("docs/results.md", capsys)
    assert files == "1.bin: 100 bytes\n2.bin: 100 bytes\n"
    assert warmest == "274.0\n"
    assert counts == "{'train': 8, 'test': 2}\n"
    assert sorted(os.listdir()) == ["done", "models", "reports", "split", "weather"]


def test_the_examples_of_the_page_on_pages_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    mermaid, dot = outputs_of("docs/pages.md", capsys)
    assert '["download<br/>3 ran"]' in mermaid
    assert r"download\n3 load" in dot
    assert sorted(os.listdir("reports")) == ["plan.html", "rain.html"]


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= 800


def test_the_table_of_file_types_is_complete() -> None:
    page = (ROOT / "docs/file-types.md").read_text()
    assert [name for name in FILE_TYPES if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize("name", prefect_ds.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    names = ("guide", "results", "upkeep", "events")
    pages = [(ROOT / f"docs/{page}.md").read_text() for page in names]
    assert name in "".join([README, *pages])


@pytest.mark.parametrize(
    "path",
    sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")}),
    ids=lambda path: path.name,
)
def test_the_links_of_the_documents_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []
