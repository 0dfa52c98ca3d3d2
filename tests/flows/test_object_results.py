"""Objects as results of flows: kept, loaded, edited, damaged, left alone."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from prefect import Flow

from prefect_ds import DSTaskRunner, ObjectResultHandler, Picture, task
from prefect_ds.objects.same import difference
from tests.support.flows import Notes
from tests.support.object_values import KEPT


@pytest.fixture
def notes(tmp_path):
    return Notes(tmp_path / "notes")


def flow_of(folder, notes, ending, value, **options):
    @task(result=ObjectResultHandler(folder / f"x{ending}", **options))
    def make():
        notes("made")
        return value

    @task
    def take(value):
        notes(f"took {value!r:.60}")
        return value

    with Flow("objects") as flow:
        made = make()
        taken = take(made)
    return flow, made, taken


def run(flow):
    return flow.run(task_runner_cls=DSTaskRunner)


CASES = {
    ".json": KEPT["json"]["tuples and lists"],
    ".npy": np.arange(6.0).reshape(2, 3),
    ".npz": {"a": np.arange(3), "file": np.arange(2)},
    ".pkl": {"a": KEPT["pickle"]["dataclass"]},
    ".txt": "text",
    ".bin": b"bytes",
}


@pytest.mark.parametrize("ending", CASES)
def test_a_second_run_loads_it(tmp_path, notes, ending):
    flow, made, taken = flow_of(tmp_path, notes, ending, CASES[ending])
    first, second = run(flow), run(flow)
    assert notes.lines.count("made") == 1
    for state in (first, second):
        assert difference(state.result[taken].result, CASES[ending]) is None
    assert "Loaded from the checkpoint" in second.result[made].message
    assert "0 rows" not in first.result[made].message + second.result[made].message


def test_a_message_says_what_was_kept(tmp_path, notes):
    flow, made, _ = flow_of(tmp_path, notes, ".npy", np.zeros((3, 4)))
    assert (
        "wrote float64 array of 3 x 4, 224 bytes to" in run(flow).result[made].message
    )


@pytest.mark.parametrize("ending", CASES)
def test_damage_is_set_aside_and_computed_again(tmp_path, notes, ending):
    flow, _, taken = flow_of(tmp_path, notes, ending, CASES[ending], check="checksum")
    run(flow)
    path = tmp_path / f"x{ending}"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    state = run(flow)
    assert difference(state.result[taken].result, CASES[ending]) is None


def test_an_edited_json_file_counts_and_keeps_its_types(tmp_path, notes):
    flow, _, taken = flow_of(tmp_path, notes, ".json", {1: (1, 2)})
    run(flow)
    ObjectResultHandler(tmp_path / "x.json").store.files.put(
        f"{tmp_path}/x.json", b'{"1": [7, 8]}'
    )
    handler = ObjectResultHandler(tmp_path / "x.json")
    handler.adopt(tmp_path / "x.json")
    assert handler.read(handler.location).value == {1: (7, 8)}
    assert run(flow).result[taken].result == {1: (7, 8)}
    assert notes.lines.count("made") == 1


def test_a_json_file_of_a_person_is_read_plainly(tmp_path, notes):
    (tmp_path / "x.json").write_text(json.dumps({"1": [1, 2]}))
    flow, _, taken = flow_of(tmp_path, notes, ".json", {1: (1, 2)})
    assert run(flow).result[taken].result == {"1": [1, 2]}
    assert "made" not in notes.lines


def test_a_handler_of_the_flow_leaves_alone_what_it_does_not_keep(tmp_path):
    @task
    def frame():
        return pd.DataFrame({"a": [1]})

    @task
    def numbers():
        return {"a": 1}

    result = ObjectResultHandler(tmp_path / "{task_name}.json")
    with Flow("objects", result=result) as flow:
        frame()
        numbers()
    assert run(flow).is_successful()
    assert [path.name for path in tmp_path.glob("*.json")] == ["numbers.json"]


def test_a_wrong_annotation_is_refused_before_the_run(tmp_path, notes):
    @task(result=ObjectResultHandler(tmp_path / "x.json"))
    def make() -> np.ndarray:
        notes("made")
        return np.zeros(2)

    with Flow("objects") as flow:
        make()
    assert run(flow).is_failed()
    assert notes.lines == []


def test_two_tasks_do_not_share_one_mutable_object(tmp_path):
    @task(result=ObjectResultHandler(tmp_path / "x.json"))
    def make():
        return {"a": [1]}

    @task
    def change(value):
        value["a"].append(2)
        return len(value["a"])

    with Flow("objects") as flow:
        made = make()
        change(made)
    run(flow)
    handler = ObjectResultHandler(tmp_path / "x.json")
    one, other = (handler.load(str(tmp_path / "x.json")) for _ in range(2))
    assert one == other == {"a": [1]}
    assert one is not other


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_a_figure_is_a_picture_on_every_run(tmp_path, notes, ending):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([1, 2, 3])
    flow, _, taken = flow_of(tmp_path, notes, ending, figure)
    pictures = [run(flow).result[taken].result for _ in range(2)]
    path = tmp_path / f"x{ending}"
    assert [type(picture) for picture in pictures] == [Picture, Picture]
    assert pictures[0] == pictures[1]
    assert pictures[1].data == path.read_bytes()
    assert Path(pictures[1].path) == path
    assert list(pictures[1]._repr_mimebundle_()) == [pictures[1].media_type]
    again = ObjectResultHandler(tmp_path / f"again{ending}")
    again.write(figure)
    assert Path(again.location).read_bytes() == path.read_bytes()
    handed_on = ObjectResultHandler(tmp_path / f"handed_on{ending}")
    handed_on.write(pictures[1])
    assert handed_on.read(handed_on.location).value == pictures[0]


def test_it_comes_back_on_a_cluster(tmp_path, cluster_address, notes):
    from prefect.executors import DaskExecutor

    flow, _, taken = flow_of(tmp_path, notes, ".json", {1: (1, float("inf"))})
    for _ in range(2):
        state = flow.run(
            executor=DaskExecutor(address=cluster_address),
            task_runner_cls=DSTaskRunner,
        )
        assert state.result[taken].result == {1: (1, float("inf"))}
    assert notes.lines.count("made") == 1
