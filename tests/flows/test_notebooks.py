"""A notebook, executed by a real kernel, and what stands below its cells."""

import sys

import html5lib
import pytest

nbclient = pytest.importorskip("nbclient", reason="the extra `test` brings nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

CELLS = {
    "flow": """
import pandas as pd
from prefect import Flow, task
from prefect_ds import DSTaskRunner, PandasResultHandler, explain
from prefect_ds.report import RunReport

@task(result=PandasResultHandler("data/part_{n}.csv"))
def part(n):
    if n == 3:
        raise ValueError("<b>three</b>")
    return pd.DataFrame({"n": [n]})

@task
def total(parts):
    return len(parts)

with Flow("rain") as flow:
    total(part.map([1, 2, 3]))
""",
    "handler": "part.result",
    "before": "explain(flow)",
    "run": "state = flow.run(task_runner_cls=DSTaskRunner)",
    "report": "RunReport.of(state.result, flow=flow)",
    "listing": "import prefect_ds; prefect_ds.checkpoints('data')",
    "details": "prefect_ds.show('data/part_1.csv')",
    "prune": "prefect_ds.prune('data', older_than='1d')",
    "verbose": """
import os
os.environ["PREFECT__LOGGING__LEVEL"] = "INFO"
state = flow.run(task_runner_cls=DSTaskRunner, progress=False)
""",
}
WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGETS = "application/vnd.jupyter.widget-state+json"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook with its outputs, and the outputs of each cell."""
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        # As a user has it: the level is not set, and the kernel is this Python.
        patch.delenv("PREFECT__LOGGING__LEVEL", raising=False)
        patch.setenv("PYTHONPATH", ":".join(filter(None, sys.path)))
        patch.setenv("PYTHONWARNINGS", "default")
        cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
        notebook = nbformat.v4.new_notebook(cells=cells)
        nbclient.NotebookClient(
            notebook,
            timeout=300,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
        ).execute()
    outputs = [cell.outputs for cell in notebook.cells]
    return notebook, dict(zip(CELLS, outputs, strict=True))


def said(outputs):
    return "".join(output.get("text", "") for output in outputs)


def test_handlers_explanations_and_reports_are_shown_as_html(executed):
    _, outputs = executed
    for cell, words in {
        "handler": ["PandasResultHandler", "data/part_{n}.csv"],
        "before": ["rain", "Runs 4 tasks", "there was nothing yet"],
        "report": [
            "rain",
            "2 of 4 task runs failed",
            "part_1.csv",
            "&lt;b&gt;three&lt;/b&gt;",
        ],
        "listing": ["data/part_1.csv", 'class="chip loaded"', "2 checkpoints"],
        "details": ["data/part_1.csv: valid", "template"],
        "prune": ["nothing"],
    }.items():
        (output,) = outputs[cell]
        shown = output["data"]["text/html"]
        html5lib.HTMLParser(strict=True).parseFragment(shown)
        assert [word for word in words if word not in shown] == []
        assert "<script" not in shown
        assert len(shown) < 20_000, "a notebook keeps it"
    (output,) = outputs["report"]
    assert "part failed: Error during execution" in output["data"]["text/plain"]


def test_progress_is_on_by_itself_and_the_log_is_quiet(executed):
    notebook, outputs = executed
    pytest.importorskip("ipywidgets")
    bars = [output for output in outputs["run"] if WIDGET in output.get("data", {})]
    assert len(bars) == 2, "one a task"
    states = [
        widget["state"]
        for widget in notebook.metadata.widgets[WIDGETS]["state"].values()
    ]
    words = [
        state["value"].replace("\N{FIGURE SPACE}", " ")
        for state in states
        if state.get("_model_name") == "HTMLModel"
    ]
    assert [text for text in words if ": 3/3 failed=1, ran=2" in text], words
    progress = [
        state for state in states if state.get("_model_name") == "FloatProgressModel"
    ]
    assert sorted((bar["value"], bar["max"]) for bar in progress) == [(1, 1), (3, 3)]
    log = said(outputs["run"])
    assert "Starting task run" not in log
    assert "Ran because" not in log
    assert "ValueError: <b>three</b>" in log, "an error is not left out"
    assert "Checkpoints of flow 'rain':" in log
    assert "Warning" not in log


def test_whoever_sets_the_level_gets_every_line(executed):
    _, outputs = executed
    log = said(outputs["verbose"])
    assert log.count("Starting task run") >= 4
    assert not [output for output in outputs["verbose"] if "data" in output]
