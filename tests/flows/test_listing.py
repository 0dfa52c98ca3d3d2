"""checkpoints() says of every checkpoint what it is, for a folder and for a flow."""

import json
import os
import shutil
import uuid
from pathlib import Path

import pandas as pd
import pytest
from prefect import Flow, Parameter, case, unmapped

from prefect_ds import (
    DSTaskRunner,
    ObjectResultHandler,
    Outputs,
    PandasResultHandler,
    checkpoints,
    explain,
    prune,
    show,
    task,
    verify,
)
from prefect_ds.errors import CheckpointNotFoundError
from prefect_ds.storage.filed_manifests import FiledManifests
from prefect_ds.storage.local_files import LocalFiles
from prefect_ds.storage.manifest import Manifest
from prefect_ds.storage.scan import scan
from prefect_ds.storage.store import CheckpointStore
from tests.support.faulty_files import WatchedFiles
from tests.support.stores import write


def rain(folder, ids, scale=1):
    """A flow of downloads at folder/d_{id}.csv, and what is made from them."""

    @task(name="download", result=PandasResultHandler(f"{folder}/d_{{id}}.csv"))
    def download(id):
        return pd.DataFrame({"id": [id, id], "rain": [0.5, 1.5]})

    @task(name="clean", result=PandasResultHandler(f"{folder}/clean/{{id}}.parquet"))
    def clean(id, frame, scale):
        return frame * scale

    with Flow("rain") as flow:
        amount = Parameter("scale", default=scale)
        clean.map(ids, download.map(ids), scale=unmapped(amount))
    return flow


def run(flow, **parameters):
    state = flow.run(task_runner_cls=DSTaskRunner, parameters=parameters)
    assert state.is_successful(), state.message
    return state


def states(listing):
    """The state of every checkpoint by the last two names of its path."""
    return {"/".join(row.path.split("/")[-2:]): row.state for row in listing}


@pytest.fixture
def planted(tmp_path):
    """A folder with a checkpoint of every kind, and the flow of now."""
    folder = tmp_path / "data"
    run(rain(folder, [1, 2, 3, 4, 5, 6, 7]))
    (folder / "d_1.csv").unlink()
    (folder / "d_2.csv").write_text("cut")
    os.utime(folder / "d_3.csv")
    handler = PandasResultHandler(f"{folder}/clean/{{id}}.parquet")
    handler.free(f"{folder}/clean/4.parquet")
    person = folder / "clean" / "5.parquet"
    pd.DataFrame({"id": [9], "rain": [9.5]}).to_parquet(person)
    handler.adopt(person)
    return folder, rain(folder, [1, 2, 3, 4, 5, 6])


def test_a_folder_says_what_lies_in_it_and_reads_no_data(planted):
    folder, _ = planted
    listed = states(checkpoints(folder))
    assert listed == {
        "data/d_1.csv": "missing",
        "data/d_2.csv": "damaged",
        **{f"data/d_{i}.csv": "valid" for i in (3, 4, 5, 6, 7)},
        **{f"clean/{i}.parquet": "valid" for i in (1, 2, 3, 6, 7)},
        "clean/4.parquet": "freed",
        "clean/5.parquet": "adopted",
    }
    [touched] = checkpoints(folder).filter(path="*d_3.csv")
    assert "only its bytes can prove it" in touched.reason
    assert not touched.is_proved


def test_a_flow_says_what_its_next_run_would_and_what_no_task_renders(planted):
    _, flow = planted
    listed = states(checkpoints(flow))
    assert listed == {
        "data/d_1.csv": "missing",
        "data/d_2.csv": "damaged",
        **{f"data/d_{i}.csv": "valid" for i in (3, 4, 5, 6)},
        **{f"clean/{i}.parquet": "valid" for i in (1, 2, 3, 6)},
        "clean/4.parquet": "freed",
        "clean/5.parquet": "adopted",
        "data/d_7.csv": "orphan",
        "clean/7.parquet": "orphan",
    }
    stale = checkpoints(flow, {"scale": 3}).filter("stale")
    assert {row.task for row in stale} == {"clean"}
    assert all("scale 1 -> 3" in row.reason for row in stale)
    # A look changes nothing.
    assert states(checkpoints(flow)) == listed


def test_the_missing_days_of_a_parameter_are_named_with_their_fields(tmp_path):
    @task(result=PandasResultHandler(f"{tmp_path}/{{day:%Y-%m-%d}}.csv"))
    def daily(day):
        return pd.DataFrame({"day": [str(day)]})

    with Flow("daily") as flow:
        daily.map(Parameter("days"))
    days = list(pd.date_range("2024-05-01", periods=3).date)
    run(flow, days=days[:2])
    missing = checkpoints(flow, {"days": days}).filter("missing")
    assert [row.fields for row in missing] == [{"day:%Y-%m-%d": "2024-05-03"}]
    # Other days are those of other parameters, and no orphans.
    assert checkpoints(flow, {"days": days[2:]}).counts == {"missing": 1}


@pytest.mark.parametrize("branch", [True, False])
def test_a_branch_that_is_not_taken_has_no_orphans(tmp_path, branch):
    @task(result=PandasResultHandler(f"{tmp_path}/{{name}}.csv"))
    def table(name):
        return pd.DataFrame({"name": [name]})

    with Flow("branches") as flow:
        is_wide = Parameter("wide", default=True)
        with case(is_wide, True):
            table("wide")
        with case(is_wide, False):
            table("long")
    run(flow, wide=True)
    run(flow, wide=False)
    assert "orphan" not in checkpoints(flow, {"wide": branch}).counts


def test_another_flow_in_the_folder_has_no_orphans(tmp_path):
    run(rain(tmp_path, [1]))
    other = rain(tmp_path / "other", [1])
    other.name = "snow"
    run(other)
    assert checkpoints(other).counts == {"valid": 2}
    assert checkpoints(rain(tmp_path, [1])).counts == {"valid": 2}


def test_folders_of_templates_within_each_other_are_listed_once(tmp_path):
    def flow_of(names):
        with Flow("nested") as flow:
            for template in ("{name}/one.csv", "sub/{name}.csv"):
                handler = PandasResultHandler(f"{tmp_path}/{template}")
                kept = task(lambda name: pd.DataFrame(), name="kept", result=handler)
                kept.map(names)
        return flow

    run(flow_of(["sub", "other"]))
    orphans = checkpoints(flow_of(["other"])).filter("orphan")
    assert len(orphans) == 2
    assert len(set(orphans.paths)) == 2


def test_an_edit_of_a_persons_file_and_a_moved_folder_are_no_damage(tmp_path):
    store, path = CheckpointStore(LocalFiles()), f"{tmp_path}/a.csv"
    handler = PandasResultHandler(path)
    Path(path).write_text("a\n1\n")
    handler.adopt(path)
    Path(path).write_text("a\n1\n2\n")
    [edited] = checkpoints(tmp_path)
    assert (edited.state, edited.is_proved) == ("adopted", False)
    os.unlink(path)
    shutil.rmtree(tmp_path / ".prefect_ds")
    write(store, path, b"a\n1\n")
    os.makedirs(tmp_path / ".prefect_ds" / "staging", exist_ok=True)
    os.rename(path, tmp_path / ".prefect_ds" / "staging" / "x.replaced")
    [moved] = checkpoints(tmp_path)
    assert (moved.state, moved.is_proved) == ("valid", False)
    assert "puts it back" in moved.reason
    assert store.look_up(path).kind == "committed"


def test_a_target_and_the_flows_own_handler_are_listed(tmp_path):
    @task(target=f"{tmp_path}/t_{{n}}.csv", result=PandasResultHandler(None))
    def by_target(n):
        return pd.DataFrame({"n": [n]})

    @task
    def by_flow(n):
        return pd.DataFrame({"n": [n]})

    def flow_of(numbers):
        path = f"{tmp_path}/{{task_name}}_{{map_index}}.csv"
        with Flow("two", result=PandasResultHandler(path)) as flow:
            by_target.map(numbers)
            by_flow.map(numbers)
        return flow

    run(flow_of([5, 6]))
    assert checkpoints(flow_of([5, 6])).counts == {"valid": 4}
    fewer = checkpoints(flow_of([5]))
    orphans = {path.rpartition("/")[2] for path in fewer.filter("orphan").paths}
    assert orphans == {"t_6.csv", "by_flow_1.csv"}
    missing = checkpoints(flow_of([7])).filter("missing")
    assert [row.fields for row in missing] == [{"n": "7"}]


def test_outputs_are_listed_each_and_are_no_orphans(tmp_path):
    result = Outputs(
        table=PandasResultHandler(f"{tmp_path}/table.csv"),
        notes=ObjectResultHandler(f"{tmp_path}/notes.json"),
    )

    @task(result=result)
    def several():
        return {"table": pd.DataFrame({"x": [1]}), "notes": {"n": 1}}

    with Flow("several") as flow:
        several()
    run(flow)
    names = {path.rpartition("/")[2] for path in checkpoints(flow).paths}
    assert names == {".table.csv.outputs", "table.csv", "notes.json"}
    assert checkpoints(flow).counts == {"valid": 3}
    (tmp_path / "table.csv").write_text("")
    assert states(checkpoints(flow)) == {
        f"{tmp_path.name}/.table.csv.outputs": "missing",
        f"{tmp_path.name}/table.csv": "damaged",
        f"{tmp_path.name}/notes.json": "stale",
    }
    assert list(verify(flow).faults) == [f"{tmp_path}/table.csv"]
    run(flow)
    shutil.rmtree(tmp_path / ".prefect_ds")
    by_name = states(checkpoints(flow))
    assert by_name[f"{tmp_path.name}/.table.csv.outputs"] == "damaged"
    assert explain(flow).counts["run"] == 1


def test_a_folder_of_two_names_is_listed_once_and_has_no_orphans(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    @task(name="daily", result=PandasResultHandler(f"{tmp_path}/link/x_{{day}}.csv"))
    def daily(day):
        return pd.DataFrame({"x": [1]})

    @task(name="fixed", result=PandasResultHandler(f"{tmp_path}/real/y_{{n}}.csv"))
    def fixed(n):
        return pd.DataFrame({"y": [1]})

    def flow_of(numbers):
        with Flow("links") as flow:
            daily(Parameter("day", default=1))
            fixed.map(numbers)
        return flow

    run(flow_of([1, 2]))
    run(flow_of([1, 2]), day=2)
    assert not checkpoints(flow_of([1, 2])).filter("orphan")
    pruned = prune(flow_of([1]), orphans=True, dry_run=False)
    assert [Path(item.path).name for item in pruned.items] == ["y_2.csv"]
    assert not pruned.kept
    left = {path.name for path in (tmp_path / "real").glob("*.csv")}
    assert left == {"x_1.csv", "x_2.csv", "y_1.csv"}


def test_places_that_lie_in_each_other_are_counted_once(tmp_path):
    flow = rain(tmp_path / "data", [1, 2])
    run(flow)
    (tmp_path / "link").symlink_to("data")
    places = [tmp_path / "data", tmp_path / "data" / "clean", tmp_path / "link"]
    listing = checkpoints(places)
    assert len(listing) == 4
    assert listing.size_bytes == checkpoints(tmp_path / "data").size_bytes
    assert verify(places).n_checkpoints == 4
    assert not prune(places, max_size=listing.size_bytes).items


def test_a_store_in_memory_and_paths_and_one_checkpoint(tmp_path):
    url = f"memory://{uuid.uuid4().hex}/data"
    run(rain(url, [1, 2]))
    assert checkpoints(url).counts == {"valid": 4}
    assert len(checkpoints(f"{url}/clean")) == 2
    run(rain(tmp_path, [1]))
    one = checkpoints(tmp_path / "d_1.csv")
    assert [(row.task, row.fields) for row in one] == [("download", {"id": "1"})]
    assert len(checkpoints([tmp_path / "d_1.csv", f"{url}/d_2.csv"])) == 2
    with pytest.raises(CheckpointNotFoundError, match="there is nothing at"):
        checkpoints(tmp_path / "gone")
    (tmp_path / "mine.csv").write_text("a")
    with pytest.raises(CheckpointNotFoundError, match="no manifest is filed"):
        checkpoints(tmp_path / "mine.csv")
    with pytest.raises(TypeError, match="of a flow"):
        checkpoints(tmp_path, {"scale": 1})


def newer(manifest):
    """The text of a manifest that a later version wrote."""
    import hashlib

    body = json.loads(manifest.to_json())["manifest"]
    body["format_version"] = 99
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return (
        f'{{"sha256":"{hashlib.sha256(text.encode()).hexdigest()}","manifest":{text}}}'
    )


def test_manifests_that_cannot_be_read_spoil_no_listing(tmp_path):
    run(rain(tmp_path, [1, 2, 3]))
    files = LocalFiles()
    for name, text in (("d_1.csv", "{"), ("d_2.csv", None)):
        filed = FiledManifests(files, f"{tmp_path}/{name}")
        [file] = filed.names()
        manifest = Manifest.from_json(Path(filed.folder, file).read_bytes())
        Path(filed.folder, file).write_text(text or newer(manifest))
    (tmp_path / "d_3.csv").unlink()
    os.mkfifo(tmp_path / "d_3.csv")
    listed = {row.path[-7:]: row for row in checkpoints(tmp_path)}
    assert listed["d_1.csv"].state == "damaged"
    assert listed["d_2.csv"].state == "unknown"
    assert "install a newer one" in listed["d_2.csv"].reason
    assert "a named pipe" in listed["d_3.csv"].reason
    # Only what is left of a manifest's folder.
    shutil.rmtree(tmp_path / "clean" / ".prefect_ds" / "manifests" / "_1._parquet_")
    (tmp_path / "clean" / ".prefect_ds" / "manifests" / "_9._parquet_").mkdir()
    assert states(checkpoints(tmp_path / "clean")) == {
        "clean/2.parquet": "valid",
        "clean/3.parquet": "valid",
    }


@pytest.mark.parametrize("n", [5, 50])
def test_every_checkpoint_costs_one_look_and_one_read(store_of, n):
    store, folder = store_of
    for i in range(n):
        write(store, f"{folder}/{i}.csv", b"a\n1\n")
    watched = WatchedFiles(store.files)
    assert sum(seen.is_proved for seen in scan(watched, folder)) == n
    calls = [name for name, _ in watched.calls]
    assert calls.count("status") == n
    assert calls.count("read_bytes") == n


@pytest.fixture(params=["disk", "memory"])
def store_of(request, tmp_path):
    folder = f"{tmp_path}/many"
    if request.param == "memory":
        folder = f"memory://{uuid.uuid4().hex}/many"
    return CheckpointStore.open(folder), folder


def test_filters_the_frame_and_the_table(planted):
    folder, flow = planted
    listing = checkpoints(flow)
    frame = listing.to_frame()
    assert len(frame) == len(listing) == 14
    assert frame.loc[frame["state"] == "missing", "fields"].tolist() == [{"id": "1"}]
    assert str(frame["written_at"].dtype.tz) == "UTC"
    assert frame["n_rows"].sum() == sum(row.n_rows or 0 for row in listing)
    assert len(listing.filter(task="clean", fields={"id": 7})) == 1
    assert len(listing.filter("orphan", "freed", flow="rain")) == 3
    assert not len(listing.filter(older_than="1d"))
    assert len(listing.filter(where=lambda row: row.map_index == 2)) == 2
    with pytest.raises(ValueError, match="there is no state 'gone'"):
        listing.filter("gone")  # type: ignore[arg-type]
    text = str(listing)
    assert "2 orphan" in text
    assert "download[0]" in text
    assert json.loads(json.dumps(listing.to_dicts()))[0]["state"] == "missing"
    assert "and 12 checkpoints more" in listing.table(2)
    assert "clean" in listing.summary()
    assert str(checkpoints(folder).filter("stale")) == f"{folder}: no checkpoints."
    empty = checkpoints(folder).filter("stale").to_frame()
    assert empty.empty
    assert empty.dtypes.to_dict() == frame.dtypes.to_dict()


def test_where_nothing_is_says_so(tmp_path):
    (tmp_path / "a.csv").write_text("n\n1\n")
    with pytest.raises(CheckpointNotFoundError, match=r"b\.csv': there is nothing"):
        show(tmp_path / "b.csv")
    with pytest.raises(CheckpointNotFoundError, match=r"a\.csv': it has no manifest"):
        show(tmp_path / "a.csv")


def test_what_is_no_place_is_refused_in_words():
    with pytest.raises(TypeError, match="5 is no place to look at: give a folder"):
        checkpoints(5)
