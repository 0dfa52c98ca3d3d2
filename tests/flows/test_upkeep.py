"""prune removes what it lists and nothing else; verify reads every byte."""

import json
import os
import time
import uuid
from pathlib import Path

import pandas as pd
import pytest
from prefect import Flow

from prefect_ds import (
    ObjectResultHandler,
    Outputs,
    PandasResultHandler,
    checkpoints,
    explain,
    prune,
    task,
    verify,
)
from prefect_ds.listing.pruning import as_bytes
from prefect_ds.storage.layout import manifest_folder
from tests.flows.test_listing import rain, run, states


def bytes_in(folder):
    return sum(
        path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()
    )


def names(pruned, folder):
    return {(item.what, os.path.relpath(item.path, folder)) for item in pruned.items}


@pytest.fixture
def planted(tmp_path):
    """One of each kind; of all of it only the orphans and the leftover may go."""
    folder = tmp_path / "data"
    run(rain(folder, [1, 2, 3, 4, 5, 6]))
    (folder / "mine.csv").write_text("a person's")
    (folder / "d_2.csv").write_text("cut")
    os.utime(folder / "d_6.csv")
    handler = PandasResultHandler(f"{folder}/clean/{{id}}.parquet")
    handler.free(f"{folder}/clean/3.parquet")
    pd.DataFrame({"id": [9]}).to_parquet(folder / "clean" / "5.parquet")
    handler.adopt(folder / "clean" / "5.parquet")
    staging = folder / ".prefect_ds" / "staging"
    (staging / "young.staged").write_text("in flight")
    (staging / "old.staged").write_text("of a killed write")
    os.utime(staging / "old.staged", (1, 1))
    aside = folder / ".prefect_ds" / "set-aside"
    aside.mkdir()
    (aside / "_d_9._csv_.0123456789ab.set-aside").write_text("an edit")
    return folder, rain(folder, [1, 2, 3])


def test_only_the_orphan_goes_and_the_bytes_are_those_listed(planted):
    folder, flow = planted
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    listed = prune(flow, orphans=True)
    orphans = {
        ("orphan", "d_4.csv"),
        ("orphan", "d_5.csv"),
        ("orphan", "clean/4.parquet"),
        ("orphan", "clean/6.parquet"),
    }
    old = {("leftover", ".prefect_ds/staging/old.staged")}
    # clean/5 is a person's, d_6 was touched and only its bytes could prove it.
    assert names(listed, folder) == orphans | old
    assert {path: path.read_bytes() for path in before} == before
    assert "Nothing was removed" in str(listed)
    n_bytes = bytes_in(folder)
    removed = prune(flow, orphans=True, dry_run=False)
    assert names(removed, folder) == names(listed, folder)
    assert n_bytes - bytes_in(folder) == listed.size_bytes == removed.size_bytes
    gone = {str(folder / name) for _, name in orphans | old}
    for path, data in before.items():
        is_manifest_of_one = any(
            str(path).startswith(manifest_folder(one)) for one in gone
        )
        if str(path) not in gone and not is_manifest_of_one:
            assert path.read_bytes() == data
    assert not prune(flow, orphans=True).items
    assert not checkpoints(flow).filter("orphan", path="*/d_4.csv")


def test_data_that_nothing_needs_are_freed_and_computed_again_on_demand(tmp_path):
    flow = rain(tmp_path, [1, 2])
    run(flow)
    listed = prune(flow, freed=True)
    assert names(listed, tmp_path) == {
        ("not needed", "d_1.csv"),
        ("not needed", "d_2.csv"),
    }
    n_bytes = sum((tmp_path / f"d_{i}.csv").stat().st_size for i in (1, 2))
    assert (
        prune(flow, freed=True, dry_run=False).size_bytes
        == listed.size_bytes
        == n_bytes
    )
    assert checkpoints(flow).counts == {"freed": 2, "valid": 2}
    assert explain(flow).n_runs == (0, 0)
    assert not prune(flow, freed=True).items
    # With another scale all that takes the downloads runs, and they are needed.
    run(flow, scale=2)
    assert checkpoints(flow, {"scale": 2}).counts == {"valid": 4}
    assert not prune(flow, {"scale": 3}, freed=True).items


def test_outputs_are_freed_together(tmp_path):
    result = Outputs(
        table=PandasResultHandler(f"{tmp_path}/table.csv"),
        notes=ObjectResultHandler(f"{tmp_path}/notes.json"),
    )

    @task(result=result)
    def several():
        return {"table": pd.DataFrame({"x": [1]}), "notes": {"n": 1}}

    @task(result=ObjectResultHandler(f"{tmp_path}/last.json"))
    def last(both):
        return sorted(both)

    with Flow("several") as flow:
        last(several())
    run(flow)
    n_bytes = bytes_in(tmp_path) - sum(
        path.stat().st_size for path in tmp_path.rglob("*.manifest")
    )
    pruned = prune(flow, freed=True, dry_run=False)
    left = sum(
        (tmp_path / name).stat().st_size for name in ("last.json", ".table.csv.outputs")
    )
    assert pruned.size_bytes == n_bytes - left
    assert explain(flow).n_runs == (0, 0)


def test_an_output_that_a_task_takes_by_itself_is_needed(tmp_path):
    result = Outputs(
        table=PandasResultHandler(f"{tmp_path}/table.csv"),
        notes=ObjectResultHandler(f"{tmp_path}/notes.json"),
    )

    @task(name="several", result=result)
    def several():
        return {"table": pd.DataFrame({"x": [1]}), "notes": {"n": 1}}

    @task(name="say")
    def say(notes):
        return notes["n"]

    with Flow("several") as flow:
        said = say(several()["notes"])
    run(flow)
    assert not prune(flow, freed=True).items
    # If a person frees them all the same, the run computes them again.
    result.free(checkpoints(flow)[0].path)
    assert run(flow).result[said].result == 1


def test_the_oldest_go_until_the_others_fit(tmp_path):
    flow = rain(tmp_path, [1, 2, 3])
    run(flow)
    listing = checkpoints(tmp_path)
    at_most = listing.size_bytes - 1
    [first] = prune(tmp_path, max_size=at_most).items
    oldest = min(listing, key=lambda row: (row.written_at, row.path))
    assert first.path == oldest.path
    assert not prune(tmp_path, max_size=listing.size_bytes).items
    assert not prune(tmp_path, max_size=0, older_than="1h").items
    assert not prune(tmp_path, older_than="1h").items
    pruned = prune(tmp_path, older_than="0s", dry_run=False)
    assert len(pruned.items) == 6
    assert len(checkpoints(tmp_path)) == 0
    # The folders of their manifests went too.
    assert not os.listdir(tmp_path / ".prefect_ds" / "manifests")
    run(flow)
    assert checkpoints(flow).counts == {"valid": 6}


def test_what_was_set_aside_goes_on_request_alone(planted):
    folder, flow = planted
    for pruned in (prune(flow, orphans=True), prune(folder, older_than="0s")):
        assert "set aside" not in pruned.counts
    pruned = prune(folder, set_aside=True, leftovers=False)
    [item] = pruned.items
    assert item.reason.endswith("d_9.csv")
    n_bytes = bytes_in(folder)
    prune(folder, set_aside=True, leftovers=False, dry_run=False)
    assert n_bytes - bytes_in(folder) == pruned.size_bytes == len("an edit")


def test_what_changed_since_it_was_listed_stays(tmp_path, monkeypatch):
    from prefect_ds.listing import pruning

    flow = rain(tmp_path, [1, 2])
    run(flow)
    carry_out = pruning._carried_out

    def late(*args):
        pd.DataFrame({"id": [7]}).to_csv(tmp_path / "d_1.csv")
        (tmp_path / "d_2.csv").unlink()
        return carry_out(*args)

    monkeypatch.setattr(pruning, "_carried_out", late)
    pruned = prune(tmp_path, older_than="0s", dry_run=False)
    assert pruned.kept == {
        f"{tmp_path}/d_1.csv": "it has changed since it was listed",
        f"{tmp_path}/d_2.csv": "it is gone by now",
    }
    assert len(pruned.items) == 2
    assert (tmp_path / "d_1.csv").exists()
    assert "kept" in str(pruned)


def test_a_store_in_memory(tmp_path):
    url = f"memory://{uuid.uuid4().hex}/data"
    run(rain(url, [1, 2, 3]))
    flow = rain(url, [1, 2])
    pruned = prune(flow, orphans=True, dry_run=False)
    assert {item.path.rpartition("/")[2] for item in pruned.items} == {
        "d_3.csv",
        "3.parquet",
    }
    assert checkpoints(url).counts == {"valid": 4}
    assert verify(url).is_sound
    assert len(prune(url, older_than="0s", dry_run=False).items) == 4
    with pytest.raises(FileNotFoundError, match="there is nothing at"):
        checkpoints(url)


def test_only_a_flow_has_orphans_and_sizes_are_read(tmp_path):
    with pytest.raises(ValueError, match="only a flow knows"):
        prune(tmp_path, orphans=True)
    with pytest.raises(ValueError, match="older_than='soon': give numbers"):
        prune(tmp_path, older_than="soon")
    with pytest.raises(ValueError, match="give a number of bytes"):
        prune(tmp_path, max_size="many")
    assert as_bytes("1.5 GB") == 1_500_000_000
    assert as_bytes("1 MiB") == 2**20
    assert as_bytes("12b") == as_bytes(12) == 12
    assert json.loads(json.dumps(prune(tmp_path).to_dict()))["items"] == []


def test_verify_names_what_is_damaged_and_sets_nothing_aside(planted):
    folder, flow = planted
    flipped = folder / "clean" / "1.parquet"
    before = flipped.stat()
    data = bytearray(flipped.read_bytes())
    data[40] ^= 1
    flipped.write_bytes(data)
    os.utime(flipped, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert states(checkpoints(folder))["clean/1.parquet"] == "valid"
    for where in (folder, flow, [folder / "d_2.csv", flipped]):
        verified = verify(where, progress=False)
        assert set(verified.faults) == {str(folder / "d_2.csv"), str(flipped)}
        assert "its checksum is another" in str(verified)
    assert flipped.exists()
    assert verify(folder).n_checkpoints == 11
    assert not json.loads(json.dumps(verify(folder / "d_1.csv").to_dict()))["faults"]


def test_verify_shows_its_progress(tmp_path, capsys):
    run(rain(tmp_path, [1]))
    verify(tmp_path, progress=True)
    assert "Verifying" in capsys.readouterr().err


def test_a_flow_is_read_as_its_handlers_read(tmp_path):
    """Whole bytes that nobody can decode are a fault of a flow, not of a folder."""

    @task(name="thing", result=ObjectResultHandler(f"{tmp_path}/thing.pkl"))
    def thing():
        return time.sleep

    with Flow("thing") as flow:
        thing()
    run(flow)
    handler = ObjectResultHandler(f"{tmp_path}/thing.pkl")
    with handler.store.staging(f"{tmp_path}/thing.pkl") as file:
        file.write(b"no pickle")
        file.flush()
        from dataclasses import replace

        from prefect_ds.storage.describe import describe_staged

        manifest = handler.manifest(f"{tmp_path}/thing.pkl")
        part = describe_staged(f"{tmp_path}/thing.pkl", file, 0)
        staged = handler.store.files.finish(file)
        bad = replace(manifest, parts=(part,), attempt="bad", stamp=None)
        vars(bad).pop("content", None)
        handler.store.commit(f"{tmp_path}/thing.pkl", staged, bad, refused="any")
    assert verify(tmp_path).is_sound
    assert "cannot be read as pickle" in str(verify(flow))


def test_a_manifest_that_cannot_be_read_keeps_nothing_else(tmp_path):
    handler = PandasResultHandler(f"{tmp_path}/x_{{n}}.csv")
    for n in (1, 2):
        handler.write(pd.DataFrame({"n": [n]}), n=n)
    unreadable = next(Path(manifest_folder(f"{tmp_path}/x_1.csv")).iterdir())
    unreadable.unlink()
    unreadable.mkdir()
    old = tmp_path / ".prefect_ds" / "staging" / "old.staged"
    old.write_text("of a killed write")
    os.utime(old, (1, 1))
    assert checkpoints(tmp_path).counts == {"unknown": 1, "valid": 1}
    assert [item.path for item in prune(tmp_path).items] == [str(old)]
    assert handler.clean() == [str(old)]
    assert unreadable.exists()
