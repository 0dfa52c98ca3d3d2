"""A change of code or options that does not matter: accept."""

from __future__ import annotations

import os
import types
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect import Flow, task

from prefect_ds import PandasResultHandler, accept, explain
from prefect_ds.errors import CheckpointNotFoundError, DamagedCheckpointError
from tests.support.executors import on_every_executor
from tests.support.flows import frame_of

run = on_every_executor

FIRST = """
def load(n):
    return frame_of(n)
"""
SECOND = """
def load(n):
    number = n
    return frame_of(number)
"""
MORE_ARGUMENTS = """
def load(n, unused=None):
    return frame_of(n)
"""


def flow_of(folder: Path, source: str, ids: Any = (1, 2), **options: Any) -> Flow:
    """Two children of that code, and a task behind them."""
    module = types.ModuleType("edited")
    module.frame_of = frame_of
    exec(source, module.__dict__)
    handler = PandasResultHandler(folder / "load_{map_index}.parquet", **options)
    load = task(module.load, name="load", result=handler)

    @task(result=PandasResultHandler(folder / "total.parquet"))
    def total(frames):
        return pd.concat(frames)

    with Flow("edited") as flow:
        total(load.map(list(ids)))
    return flow


def handler_of(flow: Flow) -> PandasResultHandler:
    return flow.get_tasks("load")[0].result


def test_a_whole_task_is_accepted_and_counts(run, tmp_path):
    run(flow_of(tmp_path, FIRST))
    edited = flow_of(tmp_path, SECOND)
    assert explain(edited).counts == {"run": 2, "maybe": 1}
    accepted = accept(edited, ["load"])
    assert [(item.task, Path(item.path).name) for item in accepted] == [
        ("load[0]", "load_0.parquet"),
        ("load[1]", "load_1.parquet"),
    ]
    assert accepted[0].difference == "code changed: load()"
    assert explain(edited).counts == {"load": 3}
    state = run(edited)
    children = state.result[edited.get_tasks("load")[0]].map_states
    assert all("Loaded" in child.message for child in children)
    # The code of before is the changed one now.
    assert explain(flow_of(tmp_path, FIRST)).counts == {"run": 2, "maybe": 1}


def test_one_checkpoint_is_accepted_and_counts(run, tmp_path):
    run(flow_of(tmp_path, FIRST))
    edited = flow_of(tmp_path, SECOND)
    handler_of(edited).accept(str(tmp_path / "load_1.parquet"))
    decisions = [step.decision for step in explain(edited).steps]
    assert decisions == ["run", "load", "maybe"]
    state = run(edited)
    first, second = state.result[edited.get_tasks("load")[0]].map_states
    assert "Ran because the checkpoint was stale" in first.message
    assert "Loaded" in second.message
    # It got the identity of the run, so that a later edit counts again.
    later = explain(flow_of(tmp_path, FIRST))
    assert [step.decision for step in later.steps] == ["run", "run", "maybe"]


def test_the_history_is_kept(run_here, tmp_path):
    run_here(flow_of(tmp_path, FIRST))
    path = str(tmp_path / "load_0.parquet")
    handler = handler_of(flow_of(tmp_path, FIRST))
    before = handler.manifest(path)
    accept(flow_of(tmp_path, SECOND), ["load"])
    accept(flow_of(tmp_path, MORE_ARGUMENTS), ["load"])
    after = handler.manifest(path)
    first, second = after.history
    assert first.what == second.what == "accepted"
    assert first.identity == before.identity.digest
    assert first.why == "code changed: load()"
    assert second.why == "input 'unused' came new, code changed: load()"
    assert (after.content, after.attempt) == (before.content, before.attempt)


def test_options_are_accepted(run_here, tmp_path):
    run_here(flow_of(tmp_path, FIRST))
    other = flow_of(tmp_path, FIRST, write_kwargs={"compression": "gzip"})
    (difference,) = {item.difference for item in accept(other, ["load"])}
    assert difference == "the handler's options changed"
    assert explain(other).counts["load"] == 2


def test_another_value_of_an_input_is_not_accepted_unless_asked_for(
    run_here, tmp_path, log_lines
):
    run_here(flow_of(tmp_path, FIRST))
    other = flow_of(tmp_path, SECOND, ids=(1, 5))
    assert [item.task for item in accept(other, ["load"])] == ["load[0]"]
    assert any("load[1]" in line and "n 2 -> 5" in line for line in log_lines)
    assert explain(other).steps[1].decision == "run"
    assert [item.task for item in accept(other, ["load"], inputs=True)] == ["load[1]"]
    assert explain(other).counts == {"load": 3}


def test_the_accepted_path_does_not_cover_another_value_of_an_input(run_here, tmp_path):
    run_here(flow_of(tmp_path, FIRST))
    other = flow_of(tmp_path, SECOND, ids=(5, 2))
    for index in (0, 1):
        handler_of(other).accept(str(tmp_path / f"load_{index}.parquet"))
    first, second, _ = explain(other).steps
    assert (first.decision, first.reason) == ("run", "n 1 -> 5")
    assert second.decision == "load"


def test_a_task_that_waits_for_one_that_runs_is_accepted(run_here, tmp_path):
    flow = flow_of(tmp_path, FIRST)
    run_here(flow)
    (tmp_path / "load_0.parquet").unlink()

    @task(name="total", result=PandasResultHandler(tmp_path / "total.parquet"))
    def total(frames):
        return pd.concat(list(frames))

    with Flow("edited") as edited:
        total(flow.get_tasks("load")[0].copy().map([1, 2]))
    assert explain(edited).counts == {"run": 2, "load": 1}
    assert [item.task for item in accept(edited, ["total"])] == ["total"]
    state = run_here(edited)
    assert "Loaded" in state.result[edited.get_tasks("total")[0]].message


@pytest.mark.parametrize("how", ["path", "task"])
def test_damaged_bytes_are_refused(run_here, tmp_path, how):
    run_here(flow_of(tmp_path, FIRST))
    path = tmp_path / "load_0.parquet"
    data, status = bytearray(path.read_bytes()), path.stat()
    data[50] ^= 1
    path.write_bytes(data)
    # Size and time of change are the same: only the bytes tell.
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    edited = flow_of(tmp_path, SECOND)
    accepting = {
        "path": lambda: handler_of(edited).accept(str(path)),
        "task": lambda: accept(edited, ["load"]),
    }
    with pytest.raises(DamagedCheckpointError, match="damaged and was not accepted"):
        accepting[how]()
    assert explain(edited).counts["run"] == 2


def test_what_is_not_there_cannot_be_accepted(tmp_path):
    handler = PandasResultHandler(tmp_path / "a.parquet")
    with pytest.raises(CheckpointNotFoundError, match="nothing yet"):
        handler.accept(str(tmp_path / "a.parquet"))


def test_a_task_without_a_handler_is_named(tmp_path):
    with Flow("plain") as flow:
        task(lambda: 1, name="one")()
    with pytest.raises(ValueError, match="'one' has no handler"):
        accept(flow, ["one"])


def test_the_message_of_a_hit_whose_code_changed_names_accept(run_here, tmp_path):
    run_here(flow_of(tmp_path, FIRST, match="inputs"))
    edited = flow_of(tmp_path, SECOND, match="inputs")
    state = run_here(edited)
    child = state.result[edited.get_tasks("load")[0]].map_states[0]
    assert "its code has changed since (code changed: load())" in child.message
    assert "prefect_ds.accept(flow, ['load']) if the change does not" in child.message
    # It counts without being accepted; only the remark about its code goes away.
    assert len(accept(edited, ["load"])) == 2
    state = run_here(edited)
    child = state.result[edited.get_tasks("load")[0]].map_states[0]
    assert "has changed" not in child.message


def test_runs_without_a_checkpoint_to_accept_are_named(run_here, tmp_path, log_lines):
    assert run_here(flow_of(tmp_path, FIRST, ids=(1, 2, 3))).is_successful()
    (tmp_path / "load_0.parquet").write_bytes(b"PAR1")
    (tmp_path / "load_1.parquet").unlink()
    flow = flow_of(tmp_path, SECOND, ids=(1, 2, 3))
    log_lines.clear()
    accepted = accept(flow, ["load"])
    assert [Path(one.path).name for one in accepted] == ["load_2.parquet"]
    named = [line for line in log_lines if "no checkpoint was accepted" in line]
    assert len(named) == 2
    assert named[0].startswith(
        "Task 'load[0]': no checkpoint was accepted, so it runs: "
    )
    assert "its bytes were not those that were written" in named[0]
    assert named[1].startswith(
        "Task 'load[1]': no checkpoint was accepted, so it runs: "
    )
