"""What `explain` says of a flow is what the next run does."""

from __future__ import annotations

import contextlib
import json
import os
import random
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import pandas as pd
import pytest
from prefect import Flow, Parameter, Task, case, task, unmapped
from prefect.engine.state import Mapped, State
from prefect.tasks.control_flow import merge
from prefect.tasks.core.operators import GetItem

from prefect_ds import PandasResultHandler, explain
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.errors import CheckpointNotFoundError
from prefect_ds.explanation import Explanation
from prefect_ds.report import outcome_of
from prefect_ds.storage.manifest import FORMAT_VERSION
from tests.support.flows import frame_of
from tests.support.manifests import sealed
from tests.support.scale import SCALE


def decisions(explanation: Explanation) -> dict[str, list[str]]:
    """Return the decisions about each task, its children in order."""
    by_task: dict[str, list[str]] = {}
    for step in explanation.steps:
        by_task.setdefault(step.task, []).append(step.decision)
    return by_task


def reasons(explanation: Explanation) -> dict[str, str]:
    return {step.task: step.reason for step in explanation.steps}


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of each file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(file): file.stat()[6:9:2] for file in files}


class TestOnePipeline:
    @pytest.fixture
    def flow(self, tmp_path: Path) -> Flow:
        def kept(path: str) -> PandasResultHandler:
            return PandasResultHandler(tmp_path / "data" / path, "parquet")

        @task(result=kept("load_{n}.parquet"))
        def load(n):
            return frame_of(n)

        @task(result=kept("clean_{map_index}.parquet"))
        def clean(frame, factor):
            return frame.assign(factor=factor)

        @task(result=kept("report.parquet"))
        def report(frames):
            return pd.concat(frames)

        with Flow("pipeline") as flow:
            factor = Parameter("factor", default=1)
            report(clean.map(load.map([1, 2, 3]), unmapped(factor)))
        return flow

    def test_before_the_first_run_everything_runs(self, flow, tmp_path):
        explanation = explain(flow)
        assert decisions(explanation) == {
            "load": ["run"] * 3,
            "clean": ["run"] * 3,
            "report": ["run"],
        }
        assert explanation.n_runs == (7, 7)
        assert not (tmp_path / "data").exists()

    def test_after_a_run_everything_loads(self, flow, run_here, tmp_path):
        run_here(flow)
        before = snapshot(tmp_path)
        explanation = explain(flow)
        assert explanation.counts == {"load": 7}
        assert "runs no task" in str(explanation)
        assert snapshot(tmp_path) == before

    def test_a_changed_parameter_is_the_root_cause(self, flow, run_here):
        run_here(flow)
        explanation = explain(flow, {"factor": 2})
        assert decisions(explanation) == {
            "load": ["load"] * 3,
            "clean": ["run"] * 3,
            "report": ["maybe"],
        }
        own_reason = reasons(explanation)["clean"]
        assert "factor" in own_reason
        assert reasons(explanation)["report"] == f"{own_reason} => clean => report"

    def test_after_a_deletion_only_what_follows_it_may_run(
        self, flow, run_here, tmp_path
    ):
        run_here(flow)
        os.remove(tmp_path / "data/load_2.parquet")
        assert decisions(explain(flow)) == {
            "load": ["load", "run", "load"],
            "clean": ["load", "maybe", "load"],
            "report": ["maybe"],
        }

    def test_the_frame_has_a_row_for_each_child(self, flow, run_here, tmp_path):
        run_here(flow)
        frame = explain(flow).to_frame()
        assert list(frame.columns) == [
            "task",
            "map_index",
            "decision",
            "reason",
            "path",
            "size_bytes",
            "seconds",
        ]
        assert frame["map_index"].tolist() == [0, 1, 2, 0, 1, 2, pd.NA]
        sizes = [os.path.getsize(path) for path in frame["path"]]
        assert frame["size_bytes"].tolist() == sizes
        assert (frame["seconds"] > 0).all()

    def test_a_persons_file_counts_and_is_not_touched(self, flow, run_here, tmp_path):
        (tmp_path / "data").mkdir()
        frame_of(1).to_parquet(tmp_path / "data/load_1.parquet")
        before = snapshot(tmp_path)
        explanation = explain(flow)
        assert decisions(explanation)["load"] == ["load", "run", "run"]
        assert snapshot(tmp_path) == before

    def test_a_damaged_file_runs_and_is_not_touched(self, flow, run_here, tmp_path):
        run_here(flow)
        with open(tmp_path / "data/report.parquet", "r+b") as file:
            file.truncate(100)
        before = snapshot(tmp_path)
        assert decisions(explain(flow))["report"] == ["run"]
        assert snapshot(tmp_path) == before

    def test_a_copied_file_loads_and_its_manifest_stays(self, flow, run_here, tmp_path):
        run_here(flow)
        os.utime(tmp_path / "data/report.parquet")
        before = snapshot(tmp_path)
        assert decisions(explain(flow))["report"] == ["load"]
        assert snapshot(tmp_path) == before

    @pytest.mark.parametrize(
        ("parameters", "words"),
        [({"facto": 2}, r"no parameter 'facto'; it has 'factor'")],
    )
    def test_an_unknown_parameter_is_an_error(self, flow, parameters, words):
        with pytest.raises(ValueError, match=words):
            explain(flow, parameters)

    def test_a_missing_parameter_is_an_error(self):
        with Flow("needs") as flow:
            flow.add_task(Parameter("day"))
        with pytest.raises(ValueError, match="needs parameter 'day'"):
            explain(flow)

    def test_a_flow_without_tasks_runs_nothing(self):
        explanation = explain(Flow("empty"))
        assert str(explanation) == "Flow 'empty' has no tasks: it runs no task."
        assert len(explanation.to_frame()) == 0

    def test_what_is_no_flow_is_refused(self, flow):
        with pytest.raises(TypeError, match="needs a Flow, not a FunctionTask"):
            explain(flow.get_tasks("load")[0])

    def test_a_manifest_of_a_newer_version_is_a_reason(self, flow, run_here, tmp_path):
        run_here(flow)
        (folder,) = (tmp_path / "data/.prefect_ds/manifests").glob("*report*")
        (manifest,) = folder.iterdir()
        body = json.loads(manifest.read_text())["manifest"]
        manifest.write_text(sealed({**body, "format_version": FORMAT_VERSION + 1}))
        explanation = explain(flow)
        assert decisions(explanation)["report"] == ["run"]
        reason = reasons(explanation)["report"]
        assert reason.startswith("it will fail: ")
        assert "install a newer one" in reason
        assert "\n" not in reason
        assert run_here(flow).is_failed()

    def test_a_folder_that_cannot_be_read_is_a_reason(self, flow, tmp_path):
        (tmp_path / "data").write_text("a file in the place of the folder")
        explanation = explain(flow)
        assert decisions(explanation)["load"] == ["unknown"] * 3
        reason = reasons(explanation)["load"]
        assert reason.startswith("its checkpoint cannot be looked up: ")
        assert str(tmp_path / "data") in reason

    def test_all_reasons_are_said_the_root_cause_first(self, flow, run_here, tmp_path):
        run_here(flow)
        os.remove(tmp_path / "data/load_2.parquet")
        explanation = explain(flow, {"factor": 2})
        clean = [step.reason for step in explanation.steps if step.task == "clean"]
        gone, changed = clean[1].split(" => clean; ")
        assert gone == "its data were gone, only the manifest was left => load"
        assert changed == clean[0] == clean[2]


class TestConditions:
    @pytest.fixture
    def flow(self, tmp_path: Path) -> Flow:
        @task
        def today():
            return "mon"

        def branch(name: str) -> Task:
            handler = PandasResultHandler(tmp_path / f"{name}.parquet", "parquet")
            return task(lambda: frame_of(1), name=name, result=handler)

        with Flow("branches") as flow:
            kind = Parameter("kind", default="a")
            with case(kind, "a"):
                first = branch("first")()
            with case(kind, "b"):
                second = branch("second")()
            with case(today(), "mon"):
                branch("third")()
            merge(first, second)
        return flow

    def test_a_known_condition_decides(self, flow, run_here):
        run_here(flow)
        found = decisions(explain(flow))
        assert found["first"] == ["load"]
        assert found["second"] == ["not needed"]
        other = explain(flow, {"kind": "b"})
        assert decisions(other)["first"] == ["not needed"]
        assert reasons(other)["first"] == "its condition is 'b', not 'a'"

    def test_an_unknown_condition_may_decide_either_way(self, flow, run_here):
        run_here(flow)
        explanation = explain(flow)
        assert decisions(explanation)["third"] == ["maybe"]
        assert "today" in reasons(explanation)["third"]


def test_a_folder_that_a_killed_writer_moved_is_put_back_by_the_run_alone(
    tmp_path, run_here
):
    @task(result=DaskDataFrameResultHandler(tmp_path / "parts"))
    def load():
        return dd.from_pandas(frame_of(1, n_rows=4), npartitions=2)

    with Flow("moved") as flow:
        load()
    run_here(flow)
    side = tmp_path / ".prefect_ds"
    os.rename(tmp_path / "parts", side / "staging" / "0.replaced")
    before = snapshot(tmp_path)
    assert explain(flow).counts == {"load": 1}
    assert snapshot(tmp_path) == before
    state = run_here(flow)
    assert outcome_of(state.result[flow.get_tasks("load")[0]]) == "loaded"
    assert (tmp_path / "parts").is_dir()


def test_no_code_of_the_users_runs(tmp_path, run_here):
    calls = []

    def target(**kwargs: Any) -> str:
        calls.append(kwargs)
        return str(tmp_path / "x.parquet")

    def trigger(states: Any) -> bool:  # as Prefect calls it
        calls.append(states)
        return True

    @task(
        result=PandasResultHandler(None, "parquet"),
        target=target,
        trigger=trigger,
        state_handlers=[lambda *state: calls.append(state)],
    )
    def one():
        calls.append("ran")
        return frame_of(1)

    with Flow("calls") as flow:
        one()
    explanation = explain(flow)
    assert calls == []
    assert decisions(explanation) == {"one": ["unknown"]}
    assert "a function makes its path" in reasons(explanation)["one"]


def test_what_a_run_has_to_tell_first_is_unknown(tmp_path):
    @task
    def numbers():
        return [1, 2]

    @task(result=PandasResultHandler(tmp_path / "{n}.parquet", "parquet"))
    def load(n):
        return frame_of(n)

    @task(result=PandasResultHandler(tmp_path / "of_{name}.parquet", "parquet"))
    def named(name):
        return frame_of(1)

    with Flow("late") as flow:
        first = numbers()
        load.map(first)
        named(first)
    explanation = explain(flow)
    assert decisions(explanation) == {
        "numbers": ["run"],
        "load": ["unknown"],
        "named": ["unknown"],
    }
    assert "{name}" in reasons(explanation)["named"]


def test_a_handler_of_the_flow_keeps_nothing_of_the_tasks_between(tmp_path, run_here):
    @task
    def load():
        return frame_of(1)

    result = PandasResultHandler(tmp_path / "{task_name}.parquet", "parquet")
    with Flow("default", result=result) as flow:
        loaded = load()
        GetItem(name="default")(task_result=[loaded], key=0)
        kept = PandasResultHandler(tmp_path / "x.pkl", "pickle")
        GetItem(name="own", result=kept)(task_result=[loaded], key=0)
    run_here(flow)
    happened = outcomes(flow, run_here(flow))
    planned = {plan.task: plan for plan in explain(flow).decisions}
    assert (planned["load"].decision, happened["load", None]) == ("load", "loaded")
    # Prefect's own task keeps nothing, so it is not among the decisions.
    assert "default" not in planned
    assert not (tmp_path / "default.parquet").exists()
    # Unless the user gave it a handler of its own.
    assert (planned["own"].decision, happened["own", None]) == ("load", "loaded")
    assert planned["own"].path == str(tmp_path / "x.pkl")


# ---------------------------------------------------------------------------------
# random flows: what is explained is what happens


class RandomFlow:
    """A flow drawn from a seed, with a folder for its checkpoints."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.parameters = {"factor": 1, "kind": "a"}
        self.n_tasks = 0
        with Flow(f"random {seed}") as self.flow:
            factor = Parameter("factor", default=1)
            kind = Parameter("kind", default="a")
            self.flow.add_task(factor)
            self.flow.add_task(kind)
            self.singles: list[Any] = [self.source(factor)]
            self.lists: list[Any] = []
            for _ in range(self.random.randint(3, 8)):
                self.grow(factor, kind)

    def handler(self, template: str) -> PandasResultHandler | None:
        if self.random.random() < 0.2:
            return None
        match = self.random.choice(["code", "inputs", "path"])
        return PandasResultHandler(self.folder / template, "parquet", match=match)

    def named(self, function: Any, template: str) -> Task:
        self.n_tasks += 1
        name = f"t{self.n_tasks}"
        handler = self.handler(template.format(name=name))
        return task(function, name=name, result=handler)

    def source(self, factor: Any) -> Any:
        return self.named(lambda x: pd.DataFrame({"x": [x, 2]}), "{name}.parquet")(
            factor
        )

    def grow(self, factor: Any, kind: Any) -> None:
        draw = self.random.random()
        one = self.random.choice(self.singles)
        if draw < 0.25:
            made = self.named(lambda f: f.assign(y=len(f)), "{name}.parquet")
            self.singles.append(made(one))
        elif draw < 0.5:
            made = self.named(
                lambda n, f: f.assign(n=n), "{name}_{{map_index}}.parquet"
            )
            width = self.random.randint(0, 3)
            self.lists.append(made.map(list(range(width)), unmapped(one)))
        elif draw < 0.65 and self.lists:
            made = self.named(lambda f: f.head(1), "{name}_{{map_index}}.parquet")
            self.lists.append(made.map(self.random.choice(self.lists)))
        elif draw < 0.8 and self.lists:
            made = self.named(
                lambda fs: pd.DataFrame({"rows": [sum(map(len, fs))]}), "{name}.parquet"
            )
            self.singles.append(made(self.random.choice(self.lists)))
        elif draw < 0.9:
            with case(kind, self.random.choice("ab")):
                made = self.named(lambda f: f.assign(z=1), "{name}.parquet")
                made(one)
        else:
            made = self.named(
                lambda f, x: f.assign(x=f["x"] % 2 + 0 * x), "{name}.parquet"
            )
            self.singles.append(made(self.singles[0], factor))

    def change(self) -> bool:
        """Change the folder or the parameters; return whether values may change.

        Once a factor has changed they may for good: a checkpoint with match="path" may
        be of an earlier factor.
        """
        files = sorted(self.folder.glob("*.parquet"))
        kinds = ["nothing", "delete", "damage", "free", "factor", "kind"]
        kind = self.random.choice(kinds)
        if kind == "delete" and files:
            for file in self.random.sample(files, min(2, len(files))):
                file.unlink()
        elif kind == "damage" and files:
            self.random.choice(files).write_bytes(b"PAR1 damaged")
        elif kind == "free":
            for file in self.random.sample(files, min(4, len(files))):
                with contextlib.suppress(CheckpointNotFoundError):  # It is damaged.
                    PandasResultHandler(file).free(str(file))
        elif kind == "factor":
            self.parameters["factor"] += self.random.randint(1, 2)
        elif kind == "kind":
            self.parameters["kind"] = self.random.choice("ab")
        return self.parameters["factor"] != 1


def outcomes(flow: Flow, state: State) -> dict[tuple[str, int | None], str]:
    """Return how each task and child of a run ended."""
    ended: dict[tuple[str, int | None], str] = {}
    for of_task, task_state in state.result.items():
        if isinstance(task_state, Mapped):
            for index, child in enumerate(task_state.map_states):
                ended[of_task.name, index] = outcome_of(child)
        else:
            ended[of_task.name, None] = outcome_of(task_state)
    return ended


@pytest.mark.parametrize("seed", range(12 * SCALE))
def test_what_is_explained_happens(seed, tmp_path, run_here):
    drawn = RandomFlow(seed, tmp_path)
    for _ in range(4):
        values_may_change = drawn.change()
        explanation = explain(drawn.flow, drawn.parameters)
        state = run_here(drawn.flow, parameters=drawn.parameters)
        assert state.is_successful(), state.message
        happened = outcomes(drawn.flow, state)
        for step in explanation.steps:
            ended = happened.get((step.task, step.map_index))
            allowed = {
                "load": ["loaded"],
                "run": ["ran"],
                "maybe": ["loaded", "ran"] if values_may_change else ["loaded"],
                "not needed": ["not needed"],
                "unknown": ["loaded", "ran", "not needed", None],
            }[step.decision]
            assert ended in allowed, (step, ended)
