"""Several results of one task: all of one run, or none."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dask.dataframe as dd
import pandas as pd
import pytest
from prefect import Flow, unmapped
from prefect.engine.state import Failed
from prefect.tasks.core.operators import GetItem

from prefect_ds import (
    FileResultHandler,
    MarkerResultHandler,
    ObjectResultHandler,
    Outputs,
    PandasResultHandler,
    explain,
    task,
)
from prefect_ds.checkpoints.lazy_result import raw_value
from prefect_ds.checkpoints.reference import CheckpointReference
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.errors import CheckpointNotFoundError, PrefectDSError
from tests.support.flows import Counting, Notes, numbers
from tests.support.processes import ROOT


def outputs(folder: Path, **options) -> Outputs:
    return Outputs(
        train=PandasResultHandler(folder / "train_{seed}.csv", **options),
        test=PandasResultHandler(folder / "test_{seed}.parquet", **options),
    )


def split_flow(folder: Path, notes: Notes, seeds=(1, 2)) -> Flow:
    """A task with two outputs, and one that takes one of them."""

    @task(result=outputs(folder))
    def split(seed):
        notes(f"split {seed}")
        rows = numbers(seed, seed + 10, seed + 20)
        return {"train": rows.iloc[:2], "test": rows.iloc[2:]}

    @task(result=PandasResultHandler(folder / "sum_{seed}.parquet"))
    def total(both, seed):
        notes(f"total {seed}")
        return numbers(int(both["train"].sum().sum() + both["test"].sum().sum()))

    with Flow("outputs") as flow:
        total.map(split.map(list(seeds)), list(seeds))
    return flow


def test_a_run_and_its_resume_on_every_executor(run, tmp_path, notes):
    flow = split_flow(tmp_path, notes)
    parts, totals = flow.get_tasks("split")[0], flow.get_tasks("total")[0]
    values = []
    for message in ("Task run succeeded", "Loaded from the checkpoint"):
        state = run(flow)
        assert state.is_successful(), state
        for child in state.result[parts].map_states:
            assert child.message.startswith(message)
        values.append(
            (
                [list(part) for part in state.result[parts].result],
                [part["test"].iloc[0, 0] for part in state.result[parts].result],
                [frame.iloc[0, 0] for frame in state.result[totals].result],
            )
        )
    assert values[0] == values[1]
    assert values[0][1] == [21, 22]
    assert sorted(notes.lines) == ["split 1", "split 2", "total 1", "total 2"]
    assert len(pd.read_csv(tmp_path / "train_1.csv")) == 2
    assert len(pd.read_parquet(tmp_path / "test_1.parquet")) == 1


def test_one_output_is_a_read_of_its_file_alone(run, tmp_path, notes):
    @task(result=outputs(tmp_path))
    def split(seed):
        return {"train": numbers(1, 2), "test": numbers(3)}

    @task
    def tell(train):
        (tmp_path / "test_1.parquet").rename(tmp_path / "elsewhere")
        return int(train.sum().sum())

    with Flow("outputs") as flow:
        both = split(1)
        told = tell(both["train"])
    state = run(flow)
    assert state.is_successful(), state
    assert state.result[told].result == 3
    (tmp_path / "elsewhere").rename(tmp_path / "test_1.parquet")
    state = run(flow)
    assert state.result[both].message.startswith(
        "Loaded from the checkpoint: 2 outputs"
    )
    item = flow.get_tasks("split['train']")[0]
    reference = raw_value(state.result[item])
    assert isinstance(reference, CheckpointReference)
    assert Path(reference.path).name == "train_1.csv"


def test_a_tuple_and_its_items(run, tmp_path, notes):
    @task(
        nout=2,
        result=Outputs(
            PandasResultHandler(tmp_path / "a.csv"),
            DaskDataFrameResultHandler(tmp_path / "b"),
        ),
    )
    def pair():
        notes("pair")
        return numbers(1), dd.from_pandas(numbers(2, 3), npartitions=2)

    @task(result=PandasResultHandler(tmp_path / "after.parquet"))
    def after(a, b):
        return numbers(int(a.sum().sum()), int(b.sum().sum().compute()))

    with Flow("pair") as flow:
        a, b = pair()
        made = after(a, b)
    for _ in range(2):
        state = run(flow)
        assert state.is_successful(), state
        assert state.result[made].result.iloc[:, 0].tolist() == [1, 5]
        whole = state.result[flow.get_tasks("pair")[0]].result
        assert type(whole) is tuple
        assert len(whole[1]) == 2
    assert notes.lines == ["pair"]


@pytest.mark.parametrize(
    "name", ["train_1.csv", "test_1.parquet", ".train_1.csv.outputs"]
)
@pytest.mark.parametrize("what", ["gone", "damaged", "replaced"])
def test_all_or_none_counts(run_here, tmp_path, notes, name, what):
    flow = split_flow(tmp_path, notes, seeds=(1,))
    assert run_here(flow).is_successful()
    path = tmp_path / name
    if what == "gone":
        path.unlink()
    elif what == "damaged":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        handler = outputs(tmp_path).handlers[name.partition("_")[0].removeprefix(".")]
        handler.write(numbers(99), seed=1)
        path.touch()
    plan = explain(flow).to_frame().set_index("task")
    assert plan.loc["split", "decision"] == "run"
    said = run_here(flow)
    assert said.is_successful()
    assert notes.lines.count("split 1") == 2
    assert notes.lines.count("total 1") == 1, "the outcome is the same"
    assert outputs(tmp_path).verify(str(tmp_path / ".train_1.csv.outputs")) == []
    if name != ".train_1.csv.outputs":
        reason = said.result[flow.get_tasks("split")[0]].map_states[0].message
        assert f"its output {name.partition('_')[0]}" in reason


def test_an_output_that_a_person_puts_there_counts(run_here, tmp_path, notes):
    flow = split_flow(tmp_path, notes, seeds=(1,))
    assert run_here(flow).is_successful()
    numbers(1000).to_parquet(tmp_path / "test_1.parquet")
    outputs(tmp_path).handlers["test"].adopt(str(tmp_path / "test_1.parquet"))
    state = run_here(flow)
    [total] = state.result[flow.get_tasks("total")[0]].result
    assert notes.lines == ["split 1", "total 1", "total 1"]
    assert total.iloc[0, 0] == 1 + 11 + 1000


SCRIPT = """
import os, signal, sys
import numpy as np
from prefect import Flow
from prefect_ds import DSTaskRunner, Outputs, PandasResultHandler, task
from prefect_ds.storage import commit as commits
import pandas as pd

folder, kill_at = sys.argv[1], int(sys.argv[2])
n_commits = 0
commit = commits.commit

def counted(files, path, *args, **kwargs):
    global n_commits
    n_commits += 1
    if n_commits == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return commit(files, path, *args, **kwargs)

commits.commit = counted

@task(result=Outputs(a=PandasResultHandler(folder + "/a.csv"), b=PandasResultHandler(folder + "/b.csv")))
def draw():
    number = np.random.default_rng().integers(1 << 60)
    return {"a": pd.DataFrame({"x": [number]}), "b": pd.DataFrame({"x": [number]})}

with Flow("draw") as flow:
    drawn = draw()
state = flow.run(task_runner_cls=DSTaskRunner)
both = state.result[drawn].result
assert both["a"].equals(both["b"]), both
print("Ran" if "succeeded" in state.result[drawn].message else "Loaded")
"""


@pytest.mark.slow
def test_a_kill_between_two_commits_gives_no_mix(tmp_path):
    script = tmp_path / "draw.py"
    script.write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": ROOT}

    def run(kill_at: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(script), str(tmp_path / "data"), str(kill_at)]
        return subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=300, check=False
        )

    for kill_at in (3, 2, 1):
        assert run(kill_at).returncode == -signal.SIGKILL
        assert not (tmp_path / "data" / ".a.csv.outputs").exists()
    assert run(0).stdout.endswith("Ran\n")
    assert run(0).stdout.endswith("Loaded\n")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (numbers(1), "returned a DataFrame, and its outputs are kept from a dict with"),
        ({"train": numbers(1)}, "a dict with 'train', and its outputs are train, test"),
        (
            {"train": numbers(1), "test": numbers(1), "x": 1},
            "'x', and its outputs are train, test",
        ),
        (
            {"train": numbers(1), "test": 3},
            "output test is a int, which PandasResultHandler does not keep",
        ),
        ({"train": numbers(1), "test": None}, "output test is a NoneType"),
        (
            {"train": numbers(1), "test": [1]},
            r"does not keep: keep it with ObjectResultHandler('x.json')",
        ),
        ({}, "a dict with nothing, and its outputs are train, test"),
    ],
)
def test_other_results_are_refused_before_anything_is_written(
    run_here, tmp_path, value, said
):
    @task(result=outputs(tmp_path))
    def split(seed):
        return value

    with Flow("refused") as flow:
        made = split(1)
    state = run_here(flow).result[made]
    assert isinstance(state, Failed)
    assert said in state.message
    assert not list(tmp_path.glob("t*"))


def test_what_makes_no_sense_is_refused_when_it_is_made(tmp_path):
    csv = PandasResultHandler(tmp_path / "a.csv")
    with pytest.raises(TypeError, match="give Outputs the handlers"):
        Outputs()
    with pytest.raises(TypeError, match="give Outputs the handlers"):
        Outputs(csv, b=csv)
    with pytest.raises(TypeError, match="output a is kept by a str"):
        Outputs(a="a.csv")
    with pytest.raises(ValueError, match="output a has no path"):
        Outputs(a=PandasResultHandler(None))
    with pytest.raises(ValueError, match="two outputs have the same path"):
        Outputs(a=csv, b=csv)
    inside = PandasResultHandler(tmp_path / "a.csv/b.csv")
    with pytest.raises(ValueError, match=r"output b lies at .*, in the folder of"):
        Outputs(a=csv, b=inside)
    by_path = PandasResultHandler(tmp_path / "b.csv", match="path")
    with pytest.raises(ValueError, match="output b has match='path'"):
        Outputs(a=csv, b=by_path)


def test_children_that_share_one_output_are_refused_before_the_run(run_here, tmp_path):
    @task(
        result=Outputs(
            a=PandasResultHandler(tmp_path / "{seed}.csv"),
            b=PandasResultHandler(tmp_path / "b.csv"),
        )
    )
    def split(seed):
        return {"a": numbers(seed), "b": numbers(seed)}

    with Flow("shared") as flow:
        split.map([1, 2])
    state = run_here(flow)
    assert state.is_failed()
    message = str(state.result)
    assert "b.csv' gives every child the same path: put {seed}" in message
    assert not list(tmp_path.glob("*.csv"))


def test_a_target_is_refused(run_here, tmp_path):
    with pytest.warns(UserWarning, match="Both `result.location` and `target`"):

        @task(result=outputs(tmp_path), target=str(tmp_path / "{seed}.csv"))
        def split(seed):
            return {"train": numbers(1), "test": numbers(2)}

    with Flow("target") as flow:
        split(1)
    with pytest.raises(PrefectDSError, match="leave the target out"):
        run_here(flow)


def test_an_item_with_a_handler_of_its_own_is_kept(run, tmp_path, notes):
    @task(result=outputs(tmp_path))
    def split(seed):
        return {"train": numbers(1, 2), "test": numbers(3)}

    take = GetItem(result=PandasResultHandler(tmp_path / "taken.csv"))
    with Flow("item") as flow:
        taken = take(split(1), "train")
    for message in ("Task run succeeded", "Loaded from the checkpoint"):
        state = run(flow)
        assert state.result[taken].message.startswith(message)
        assert state.result[taken].result.iloc[:, 0].tolist() == [1, 2]
    assert len(pd.read_csv(tmp_path / "taken.csv")) == 2


def test_freed_outputs_are_computed_again_where_they_are_needed(
    run_here, tmp_path, notes
):
    flow = split_flow(tmp_path, notes, seeds=(1,))
    assert run_here(flow).is_successful()
    handler = outputs(tmp_path)
    handler.free(str(tmp_path / ".train_1.csv.outputs"))
    assert not (tmp_path / "train_1.csv").exists()
    assert run_here(flow).is_successful()
    assert notes.lines == ["split 1", "total 1"], "nothing needs them"
    (tmp_path / "sum_1.parquet").unlink()
    assert run_here(flow).is_successful()
    assert notes.lines == ["split 1", "split 1", "total 1", "total 1"]


def test_an_old_reference_never_gives_the_outputs_of_another_run(
    run_here, tmp_path, no_cache
):
    values = iter([1, 2])

    @task(result=outputs(tmp_path))
    def split(seed):
        value = next(values)
        return {"train": numbers(value), "test": numbers(value)}

    with Flow("twice") as flow:
        made = split(1)
    first = run_here(flow).result[made]
    reference = raw_value(first)
    assert run_here(flow, refresh=[made]).is_successful()
    with pytest.raises(CheckpointNotFoundError, match="replaced"):
        reference.load()
    assert raw_value(run_here(flow).result[made]).load()["test"].iloc[0, 0] == 2


def test_unmapped_and_mapped_over_its_items(run, tmp_path, notes):
    @task(
        nout=2,
        result=Outputs(
            PandasResultHandler(tmp_path / "a.csv"),
            PandasResultHandler(tmp_path / "b.csv"),
        ),
    )
    def pair():
        return numbers(1), numbers(2)

    @task
    def add(frame, both):
        return int(frame.sum().sum() + both[1].sum().sum())

    with Flow("mapped") as flow:
        both = pair()
        added = add.map(both, unmapped(both))
    for _ in range(2):
        assert run(flow).result[added].result == [3, 4]


def test_one_output_of_each_child_is_a_read_of_its_file_alone(
    run_here, tmp_path, notes, no_cache
):
    def kept(name):
        return Counting(tmp_path / f"{name}_{{seed}}.csv", "csv", notes)

    @task(result=Outputs(train=kept("train"), test=kept("test")))
    def split(seed):
        return {"train": numbers(seed), "test": numbers(-seed)}

    @task
    def tell(train):
        return int(train.sum().sum())

    with Flow("outputs") as flow:
        both = split.map([1, 2])
        told = tell.map(GetItem(name="train").map(both, unmapped("train")))
    run_here(flow)
    notes.take()
    assert run_here(flow).result[told].result == [1, 2]
    assert set(notes.take()) == {"read train_1.csv", "read train_2.csv"}


def test_an_output_more_and_a_folder_that_moved(run_here, tmp_path, notes):
    def flow_of(folder: Path, **more: PandasResultHandler) -> Flow:
        names = ["train", *more]
        handlers = {"train": PandasResultHandler(folder / "train_{seed}.csv"), **more}

        @task(result=Outputs(**handlers))
        def split(seed):
            notes("split")
            return {name: numbers(seed) for name in names}

        with Flow("more") as flow:
            split(1)
        return flow

    def outcome(flow: Flow) -> str:
        state = run_here(flow)
        assert state.is_successful(), state.result
        return state.result[flow.get_tasks("split")[0]].message

    before, after = tmp_path / "before", tmp_path / "after"
    assert outcome(flow_of(before)).startswith("Task run succeeded")
    before.rename(after)
    assert outcome(flow_of(after)).startswith("Loaded from the checkpoint")
    more = PandasResultHandler(after / "test_{seed}_{today}.csv")
    assert "its output test is new" in outcome(flow_of(after, test=more))
    assert outcome(flow_of(after, test=more)).startswith("Loaded from the checkpoint")
    assert len(notes.lines) == 2


def test_a_task_that_changes_the_file_of_an_output_fails(run_here, tmp_path):
    @task(
        result=Outputs(
            model=FileResultHandler(tmp_path / "model_{seed}.txt"),
            train=PandasResultHandler(tmp_path / "train_{seed}.csv"),
        )
    )
    def fit(seed):
        (tmp_path / "scratch.txt").write_text("weights")
        return {"model": tmp_path / "scratch.txt", "train": numbers(1)}

    @task
    def spoil(fitted):
        fitted["model"].write_text("changed")

    with Flow("spoilt") as flow:
        spoilt = spoil(fit(1))
    state = run_here(flow).result[spoilt]
    assert state.is_failed()
    assert "model_1.txt" in state.message


def test_options_of_an_output_and_a_marker_among_them(run_here, tmp_path, notes):
    frame = numbers(1)

    @task(
        result=Outputs(
            wide=PandasResultHandler(tmp_path / "a.csv", write_kwargs={"sep": ";"}),
            sent=MarkerResultHandler(tmp_path / "sent"),
        )
    )
    def send():
        notes("send")
        return {"wide": frame, "sent": None}

    @task
    def take(wide):
        notes(f"take {len(wide)}")

    with Flow("options") as flow:
        sent = send()
        take(sent["wide"])
    for _ in range(2):
        state = run_here(flow).result[sent]
        assert state.is_successful()
        assert state.result["wide"].equals(frame)
        assert state.result["sent"] is None
    assert notes.take() == ["send", "take 1", "take 1"]
    (tmp_path / "sent").unlink()
    run_here(flow)
    assert notes.lines == ["send", "take 1"]


def test_a_file_at_the_path_of_another_output_is_refused(run_here, tmp_path):
    @task(
        result=Outputs(
            a=FileResultHandler(tmp_path / "a"), b=FileResultHandler(tmp_path / "b")
        )
    )
    def swap():
        for name in "ab":
            (tmp_path / name).write_text(name)
        return {"a": tmp_path / "b", "b": str(tmp_path / "a")}

    with Flow("swapped") as flow:
        swapped = swap()
    message = run_here(flow).result[swapped].message
    assert "output a is " in message
    assert "which lies at the path of output b" in message
    assert [(tmp_path / name).read_text() for name in "ab"] == ["a", "b"]


def test_a_path_with_nothing_there_is_named(run_here, tmp_path):
    @task(result=Outputs(FileResultHandler(tmp_path / "a")))
    def forget():
        return (str(tmp_path / "nothing"),)

    with Flow("forgotten") as flow:
        forgotten = forget()
    message = run_here(flow).result[forgotten].message
    assert "/nothing', and nothing is there" in message


def test_a_folder_is_the_tasks_own_however_long_another_output_takes(
    run_here, tmp_path
):
    folder = tmp_path / "model"

    class Slow:
        def __reduce__(self):
            time.sleep(0.1)
            return (Slow, ())

    @task(
        result=Outputs(
            ObjectResultHandler(tmp_path / "a.pkl"), FileResultHandler(folder)
        )
    )
    def train(weights):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "weights").write_text(weights)
        return Slow(), folder

    for weights in ("old", "new"):
        with Flow("slow beside a folder") as flow:
            trained = train(weights)
        state = run_here(flow).result[trained]
        assert state.is_successful(), state.message
        assert (folder / "weights").read_text() == weights


def test_a_file_is_in_its_place_after_another_output_was_refused(run_here, tmp_path):
    written = tmp_path / "written"

    @task(
        result=Outputs(
            FileResultHandler(tmp_path / "a"), ObjectResultHandler(tmp_path / "b.json")
        )
    )
    def train(is_kept):
        written.write_text("weights")
        return written, [1 if is_kept else print]

    for is_kept in (False, True):
        with Flow("refused beside a file") as flow:
            trained = train(is_kept)
        state = run_here(flow).result[trained]
        assert state.is_successful() == is_kept
        assert written.exists() != is_kept
    assert state.result == (tmp_path / "a", [1])


@pytest.mark.parametrize("order", ["ab", "ba"])
@pytest.mark.parametrize(
    ("inner", "words"),
    [
        ("", "are the same path"),
        ("/x", "output b is "),
        ("-link", "are the same path"),
        ("-link/x", "output b is "),
    ],
)
def test_two_outputs_of_one_file_are_refused_before_any_moves(
    run_here, tmp_path, order, inner, words
):
    handlers = {name: FileResultHandler(tmp_path / "kept" / name) for name in order}

    @task(result=Outputs(**handlers))
    def both():
        folder = tmp_path / "written"
        folder.mkdir(exist_ok=True)
        (folder / "x").write_text("1")
        link = tmp_path / "written-link"
        link.unlink(missing_ok=True)
        link.symlink_to(folder)
        return {"a": folder, "b": f"{folder}{inner}"}

    with Flow("both") as flow:
        both_results = both()
    message = run_here(flow).result[both_results].message
    assert words in message
    assert (tmp_path / "written" / "x").read_text() == "1"


def test_two_outputs_may_keep_the_result_of_another_task(run_here, tmp_path):
    @task(result=FileResultHandler(tmp_path / "first.txt"))
    def first():
        (tmp_path / "written.txt").write_text("1")
        return tmp_path / "written.txt"

    handlers = {name: FileResultHandler(tmp_path / "kept" / name) for name in "ab"}

    @task(result=Outputs(**handlers))
    def copies(path):
        return {"a": path, "b": path}

    with Flow("copies") as flow:
        results = copies(first())
    assert run_here(flow).result[results].is_successful()
    for path in ("first.txt", "kept/a", "kept/b"):
        assert (tmp_path / path).read_text() == "1"


def test_the_order_of_the_dict_comes_back(run_here, tmp_path):
    @task(
        result=Outputs(
            a=ObjectResultHandler(tmp_path / "a.json"),
            b=ObjectResultHandler(tmp_path / "b.json"),
        )
    )
    def both():
        return {"b": 1, "a": 2}

    @task
    def items(of):
        return list(of.items())

    with Flow("order") as flow:
        made = both()
        seen = items(made)
    for _ in range(2):
        state = run_here(flow)
        assert state.result[seen].result == [("b", 1), ("a", 2)]
        assert list(state.result[made].result) == ["b", "a"]
