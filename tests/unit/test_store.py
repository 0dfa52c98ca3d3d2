"""The commit protocol: a reader finds a whole checkpoint or none, whatever was killed, altered or raced when."""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import replace

import pandas as pd
import pytest

import prefect_ds
from prefect_ds.checkpoints import memory_cache as cache
from prefect_ds.errors import (
    CheckpointNotFoundError,
    CollisionError,
    DamagedCheckpointError,
    NewerFormatError,
)
from prefect_ds.pandas_result_handler import PandasResultHandler
from prefect_ds.storage import retries
from prefect_ds.storage.describe import describe_file
from prefect_ds.storage.filesystem import Staged
from prefect_ds.storage.layout import manifest_file, manifest_folder
from prefect_ds.storage.local_files import LocalFiles
from prefect_ds.storage.manifest import Identity, Manifest, Origin, Owner
from prefect_ds.storage.opening import open_files
from prefect_ds.storage.store import CheckpointStore
from tests.support.faulty_files import FaultyFiles, Killed, Turns, WatchedFiles
from tests.support.scale import SCALE

OLD, NEW, OTHER = b"a,b\n1,2\n", b"a,b\n3,4\n", b"a,b\n5,6\n7,8\n"


@pytest.fixture(autouse=True)
def no_cache():
    """Every read reads."""
    cache.resize(0)
    yield
    cache.resize(cache.DEFAULT_BYTES)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(retries, "RETRY_DELAYS_S", (0.0, 0.0, 0.0))


def identity(inputs="1"):
    return Identity("task", {"x": inputs})


def described(path, data, *, inputs="1", run="", task="task", map_index=None):
    return Manifest(
        path=path,
        attempt=uuid.uuid4().hex,
        kind="file",
        file_type="csv",
        parts=(describe_file(path, data, 1),),
        n_columns=2,
        written_at="2024-01-01 00:00:00+00:00",
        owner=Owner("flow", run, task, map_index),
        identity=None if inputs is None else identity(inputs),
    )


def write(store, path, data, **about):
    """Commit data as a handler does."""
    with store.staging(path) as file:
        file.write(data)
        file.flush()
        return store.commit(
            path, store.files.finish(file), described(path, data, **about)
        )


def read(store, path):
    found = store.look_up(path)
    return store.read_bytes(path, found.manifest.parts[0])


def manifests_of(store, path):
    return sorted(store.files.names(manifest_folder(path)))


def in_force(store, path):
    """Give the file of the manifest that the data in place choose."""
    return manifest_file(path, store.files.status(path).stamp)


def set_aside(store, path):
    """Give the bytes of all that was set aside beside a path."""
    folder = f"{path.rpartition('/')[0]}/.prefect_ds/set-aside"
    return sorted(
        store.files.read_bytes(f"{folder}/{name}") for name in store.files.names(folder)
    )


class StoreContract:
    """What a store promises on every file system."""

    def test_what_was_committed_is_found_and_read(self, store, path):
        written = write(store, path, NEW)
        found = store.look_up(path)
        assert (found.kind, found.manifest, found.reason) == ("committed", written, "")
        assert read(store, path) == NEW
        assert store.verify(path) == []

    def test_an_empty_file_is_committed_like_any_other(self, store, path):
        write(store, path, b"")
        assert read(store, path) == b""

    def test_nothing_is_missing(self, store, path):
        assert store.look_up(path).kind == "missing"
        with pytest.raises(CheckpointNotFoundError, match="there was nothing yet"):
            store.verify(path)
        with pytest.raises(
            CheckpointNotFoundError, match="the file is gone; run the task again"
        ):
            store.read_bytes(path, described(path, NEW).parts[0])
        with pytest.raises(CheckpointNotFoundError, match="there is nothing to adopt"):
            store.adopt(path, described(path, NEW))

    def test_data_without_a_manifest_are_foreign(self, store, path, put):
        put(path, NEW)
        found = store.look_up(path)
        assert (found.kind, found.manifest) == ("foreign", None)
        with pytest.raises(CheckpointNotFoundError, match="it had no manifest"):
            store.verify(path)

    def test_adopted_data_count_and_what_their_owner_changes_is_foreign_again(
        self, store, path, put
    ):
        put(path, NEW)
        adopted = store.adopt(path, described(path, NEW))
        assert adopted.adopted
        assert adopted.identity is None
        assert store.look_up(path).manifest == adopted
        put(path, OTHER)
        found = store.look_up(path)
        assert (found.kind, found.reason) == (
            "foreign",
            "it was put there by hand, and changed since",
        )
        store.adopt(path, described(path, OTHER))
        assert read(store, path) == OTHER

    def test_adopting_holds_whatever_the_manifest_said(self, store, path, put):
        write(store, path, OLD)
        filed = in_force(store, path)
        store.files.remove(filed)
        store.files.create(filed, b"torn")
        store.adopt(path, described(path, OLD))
        found = store.look_up(path)
        assert found.kind == "committed"
        assert found.manifest.adopted

    def test_data_that_were_deleted_are_missing(self, store, path):
        write(store, path, NEW)
        store.files.remove(path)
        found = store.look_up(path)
        assert (found.kind, found.reason) == (
            "missing",
            "its data were gone, only the manifest was left",
        )
        assert write(store, path, NEW).content == store.look_up(path).manifest.content

    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: data[:-1],
            lambda data: b"",
            lambda data: data + b"9,9\n",
            lambda data: data.replace(b"3", b"4"),
        ],
        ids=["truncated", "emptied", "appended", "edited"],
    )
    def test_damage_is_seen_and_mended_by_the_next_commit(
        self, store, path, put, damage
    ):
        write(store, path, NEW)
        put(path, damage(NEW))
        found = store.look_up(path)
        assert (found.kind, found.manifest) == ("damaged", None)
        assert store.verify(path) == [found.reason]
        write(store, path, NEW)
        assert read(store, path) == NEW
        assert set_aside(store, path) == [damage(NEW)]

    def test_a_rewrite_with_other_inputs_replaces(self, store, path):
        write(store, path, OLD, inputs="1")
        written = write(store, path, NEW, inputs="2")
        assert store.look_up(path).manifest == written
        assert read(store, path) == NEW
        assert len(manifests_of(store, path)) == 1
        assert set_aside(store, path) == []

    def test_a_rewrite_with_the_same_identity_hands_on_what_is_there(self, store, path):
        first = write(store, path, OLD)
        second = write(store, path, NEW)
        assert second == first
        assert read(store, path) == OLD
        assert len(manifests_of(store, path)) == 1

    def test_a_rewrite_without_identity_replaces(self, store, path):
        write(store, path, OLD, inputs=None)
        write(store, path, NEW, inputs=None)
        assert read(store, path) == NEW

    def test_a_hundred_rewrites_leave_one_manifest(self, store, path):
        for number in range(100):
            write(store, path, b"%d" % (number % 7), inputs=str(number))
        assert len(manifests_of(store, path)) == 1
        assert read(store, path) == b"%d" % (99 % 7)

    def test_foreign_data_are_set_aside_before_a_commit(self, store, path, put):
        put(path, OLD)
        write(store, path, NEW)
        assert read(store, path) == NEW
        assert set_aside(store, path) == [OLD]

    def test_adopted_data_are_a_persons_and_set_aside_before_a_commit(
        self, store, path, put
    ):
        put(path, OLD)
        store.adopt(path, described(path, OLD))
        write(store, path, NEW)
        assert read(store, path) == NEW
        assert set_aside(store, path) == [OLD]

    def test_bytes_that_are_not_those_of_the_part_are_never_handed_on(
        self, store, path, put
    ):
        written = write(store, path, NEW)
        put(path, OTHER)
        with pytest.raises(
            DamagedCheckpointError, match=f"{re.escape(path)}.*set aside as .*set-aside"
        ):
            store.read_bytes(path, written.parts[0])
        assert store.look_up(path).kind == "missing"
        assert set_aside(store, path) == [OTHER]

    def test_of_two_who_saw_the_damage_the_second_does_not_set_aside_what_the_first_put_there(
        self, store, path, put
    ):
        write(store, path, NEW)
        put(path, OTHER)
        seen = store.look_up(path)
        assert seen.kind == "damaged"
        write(store, path, NEW)
        assert store.set_aside(path, seen.reason, seen.stamp) == path
        assert read(store, path) == NEW
        assert set_aside(store, path) == [OTHER]

    def test_a_reader_of_damage_that_was_mended_meanwhile_gets_the_new_copy(
        self, store, path, put
    ):
        written = write(store, path, NEW)
        put(path, OTHER)
        files = WatchedFiles(store.files)

        def mend(name, args):
            if (name, args) == ("read_bytes", (path,)):
                files.after = WatchedFiles.after.__get__(files)
                write(store, path, NEW)

        files.after = mend
        assert CheckpointStore(files).read_bytes(path, written.parts[0]) == NEW
        assert read(store, path) == NEW
        assert set_aside(store, path) == [OTHER]

    def test_a_checkpoint_that_was_replaced_since_is_not_damaged(self, store, path):
        earlier = write(store, path, OLD, inputs="1")
        write(store, path, NEW, inputs="2")
        with pytest.raises(CheckpointNotFoundError, match="replaced"):
            store.read_bytes(path, earlier.parts[0])
        assert read(store, path) == NEW
        assert set_aside(store, path) == []

    def test_two_tasks_of_one_run_collide_and_neither_stays(self, store, path):
        write(store, path, OLD, inputs="1", run="r", map_index=1)
        with pytest.raises(
            CollisionError,
            match=r"'task\[1\]' and 'task\[2\]' of one run both write .*\(input 'x' changed\)",
        ):
            write(store, path, NEW, inputs="2", run="r", map_index=2)
        assert store.look_up(path).kind == "missing"
        for index in (1, 2):  # Nor does trying again help.
            with pytest.raises(CollisionError, match="of one run both write"):
                write(store, path, OLD, inputs=str(index), run="r", map_index=index)
        write(store, path, OTHER, inputs="1", run="r2", map_index=1)
        assert read(store, path) == OTHER

    @pytest.mark.parametrize("listed", ["0", "z"])
    def test_of_three_that_collide_the_one_in_place_goes_whichever_is_listed_first(
        self, store, path, listed
    ):
        """The third has filed its manifest, and its data are still to come."""
        write(store, path, OLD, inputs="1", run="r", map_index=1)
        third = described(path, OTHER, inputs="3", run="r", map_index=3)
        store.files.create(manifest_file(path, listed), third.to_json().encode())
        with pytest.raises(
            CollisionError, match=r"'task\[1\]' and 'task\[2\]' of one run"
        ):
            write(store, path, NEW, inputs="2", run="r", map_index=2)
        assert store.look_up(path).kind == "missing"

    def test_two_tasks_of_one_run_share_a_path_for_equal_inputs(self, store, path):
        first = write(store, path, OLD, run="r", map_index=1)
        assert write(store, path, NEW, run="r", map_index=2) == first

    def test_inputs_without_a_digest_are_not_shown_to_be_equal(self, store, path):
        client = identity()._replace(unstable_inputs=("client",))
        with store.staging(path) as file:
            file.write(OLD)
            staged = store.files.finish(file)
            store.commit(
                path,
                staged,
                replace(described(path, OLD, run="r", map_index=1), identity=client),
            )
        with store.staging(path) as file:
            file.write(OLD)
            staged = store.files.finish(file)
            other = replace(described(path, OLD, run="r", map_index=2), identity=client)
            with pytest.raises(CollisionError, match="of one run both write"):
                store.commit(path, staged, other)

    def test_a_task_that_is_tried_again_does_not_collide_with_itself(self, store, path):
        write(store, path, OLD, inputs="1", run="r")
        write(store, path, NEW, inputs="2", run="r")
        assert read(store, path) == NEW

    def test_a_folder_is_moved_together_with_its_side_folder(self, store, path):
        write(store, path, NEW)
        folder, _, name = path.rpartition("/")
        store.files.move(folder, f"{folder}-moved")
        moved = f"{folder}-moved/{name}"
        assert store.look_up(moved).kind == "committed"
        assert read(store, moved) == NEW
        assert store.look_up(path).reason == "there was nothing yet"

    @pytest.mark.parametrize(
        "text", [b"", b"{", b"[]", b'{"manifest": {}}', b"\xff\xfe", b"null"]
    )
    def test_a_manifest_that_says_nothing_makes_the_data_suspect(
        self, store, path, text
    ):
        write(store, path, NEW)
        filed = in_force(store, path)
        store.files.remove(filed)
        store.files.create(filed, text)
        found = store.look_up(path)
        assert found.kind == "damaged"
        assert "manifest" in found.reason
        write(store, path, OTHER, inputs="2")
        assert read(store, path) == OTHER

    def test_no_flipped_bit_in_a_manifest_is_believed_or_stops_the_next_commit(
        self, store, path
    ):
        written = write(store, path, NEW)
        filed = in_force(store, path)
        good = store.files.read_bytes(filed)
        for position in range(0, len(good), 3):
            flipped = bytearray(good)
            flipped[position] ^= 1 << position % 8
            store.files.remove(filed)
            store.files.create(filed, bytes(flipped))
            found = store.look_up(path)
            assert found.kind == "damaged" or found.manifest == written

    def test_a_manifest_of_a_newer_format_is_left_alone(self, store, path):
        write(store, path, NEW)
        filed = in_force(store, path)
        body = json.loads(store.files.read_bytes(filed))["manifest"]
        body["format_version"] += 1
        canonical = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        newer = json.dumps(
            {"sha256": hashlib.sha256(canonical).hexdigest(), "manifest": body}
        ).encode()
        store.files.remove(filed)
        store.files.create(filed, newer)
        with pytest.raises(NewerFormatError, match="install a newer one"):
            store.look_up(path)
        with pytest.raises(NewerFormatError, match="install a newer one"):
            write(store, path, OTHER, inputs="2")
        assert store.files.read_bytes(path) == NEW
        assert store.files.read_bytes(filed) == newer

    def test_the_manifest_of_another_checkpoint_proves_nothing(self, store, path, put):
        write(store, path, NEW)
        put(f"{path}.b", OTHER)
        status = store.files.status(f"{path}.b")
        store.files.create(
            manifest_file(f"{path}.b", status.stamp),
            store.files.read_bytes(in_force(store, path)),
        )
        found = store.look_up(f"{path}.b")
        assert (found.kind, found.reason) == (
            "damaged",
            "its manifest is that of other data",
        )

    def test_what_a_killed_writer_left_never_counts_and_goes_when_it_is_old(
        self, store, path
    ):
        write(store, path, OLD, inputs="1")
        with contextlib.suppress(Killed):
            write(
                CheckpointStore(
                    FaultyFiles(store.files, 1, Killed(), only=["replace"])
                ),
                path,
                NEW,
                inputs="2",
            )
        folder = path.rpartition("/")[0]
        assert read(store, path) == OLD
        assert len(manifests_of(store, path)) == 2
        assert store.clean(folder) == []
        would_go = store.clean(folder, older_than_s=-10, dry_run=True)
        assert len(manifests_of(store, path)) == 2
        assert sorted(store.clean(folder, older_than_s=-10)) == sorted(would_go)
        assert would_go
        assert read(store, path) == OLD
        assert len(manifests_of(store, path)) == 1
        assert store.clean(folder, older_than_s=-10) == []

    def test_clean_keeps_what_proves_the_data(self, store, path):
        """The manifest in force is torn, an earlier one still proves the bytes."""
        write(store, path, NEW)
        filed = in_force(store, path)
        store.files.create(
            f"{filed.rpartition('/')[0]}/0-0.manifest", store.files.read_bytes(filed)
        )
        store.files.remove(filed)
        store.files.create(filed, b"torn")
        assert store.look_up(path).kind == "committed"
        store.clean(path.rpartition("/")[0], older_than_s=-10)
        assert store.look_up(path).kind == "committed"
        assert read(store, path) == NEW

    def test_a_torn_manifest_beside_a_good_one_is_mended_by_the_first_look(
        self, store, path
    ):
        write(store, path, NEW)
        filed = in_force(store, path)
        store.files.create(
            f"{filed.rpartition('/')[0]}/0-0.manifest", store.files.read_bytes(filed)
        )
        store.files.remove(filed)
        store.files.create(filed, b"torn")
        store.look_up(path)
        watched = WatchedFiles(store.files)
        assert CheckpointStore(watched).look_up(path).kind == "committed"
        assert path not in [
            args[0] for name, args in watched.calls if name == "read_bytes"
        ]

    def test_clean_bears_what_goes_while_it_looks(self, store, path):
        write(store, path, OLD, inputs="1")
        filed = in_force(store, path)
        for name in ("1-1.manifest", "2-2.manifest"):
            store.files.create(f"{filed.rpartition('/')[0]}/{name}", b"{}")
        files = WatchedFiles(store.files)
        files.before = lambda name, args: (
            store.files.remove(args[0]) if name == "modified" else None
        )
        CheckpointStore(files).clean(path.rpartition("/")[0], older_than_s=-10)
        assert read(store, path) == OLD

    def test_looking_up_reads_the_manifest_and_nothing_else(self, store, path):
        write(store, path, NEW)
        watched = WatchedFiles(store.files)
        CheckpointStore(watched).look_up(path)
        assert [name for name, _ in watched.calls] == ["status", "read_bytes"]

    def test_a_reader_may_write_nothing_and_still_reads(self, store, path, put):
        """Where the side folder is read-only, a copied checkpoint is proved anew each time."""
        write(store, path, NEW)
        self.touch(store, path, put)
        read_only = FaultyFiles(
            store.files,
            1,
            OSError(errno.EROFS, "read-only"),
            n_times=None,
            only=["create"],
        )
        assert CheckpointStore(read_only).look_up(path).kind == "committed"

    def test_touched_data_are_still_committed_and_found_cheaply_the_next_time(
        self, store, path, put
    ):
        written = write(store, path, NEW)
        self.touch(store, path, put)
        found = store.look_up(path)
        assert found.kind == "committed"
        assert replace(found.manifest, stamp=written.stamp) == written
        watched = WatchedFiles(store.files)
        assert CheckpointStore(watched).look_up(path).kind == "committed"
        assert [name for name, _ in watched.calls] == ["status", "read_bytes"]

    def test_names_with_signs_of_patterns_are_names(self, store, path):
        folder = path.rpartition("/")[0]
        for name in ("a[1].csv", "b*.csv", "c?.csv", "d {1}.csv"):
            path = f"{folder}/{name}"
            write(store, path, OLD, inputs="1")
            write(store, path, NEW, inputs="2")
            assert read(store, path) == NEW
            assert len(manifests_of(store, path)) == 1
            aside = store.set_aside(path, "it is old")
            assert store.files.read_bytes(aside) == NEW

    def test_a_committed_folder_makes_way_for_a_file(self, store, path):
        store.files.create(f"{path}/part", OLD)
        write(store, path, NEW)
        assert read(store, path) == NEW

    @pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
    def test_damage_is_named_even_where_nothing_can_be_set_aside(
        self, store, path, put, code
    ):
        written = write(store, path, NEW)
        put(path, OTHER)
        stuck = CheckpointStore(
            FaultyFiles(
                store.files, 1, OSError(code, "stuck"), n_times=None, only=["move"]
            )
        )
        with pytest.raises(DamagedCheckpointError, match="is damaged"):
            stuck.read_bytes(path, written.parts[0])

    # ------------------------------------------------------------------------------------------------
    # two writers

    def race(self, store, path, order, *writers):
        """Run commits in turns; return what each returned, and how many turns each took."""
        turns = Turns(order)

        def writer(number, data, about):
            mine = CheckpointStore(turns.files(number, store.files))
            return lambda: write(mine, path, data, **about)

        return turns.run(
            *(
                writer(number, data, about)
                for number, (data, about) in enumerate(writers)
            )
        )

    def check_race(self, store, path, outcomes, relation, data, *, is_first=True):
        if relation == "collision":
            errors = [
                outcome for outcome in outcomes if isinstance(outcome, BaseException)
            ]
            assert errors
            for error in errors:
                assert isinstance(error, CollisionError)
                assert "'task[0]'" in str(error)
                assert "'task[1]'" in str(error)
            assert (
                store.look_up(path).manifest is None
                or store.look_up(path).manifest.owner.run_id != "r"
            )
            return
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        assert store.files.status(path) is not None
        assert store.files.names(manifest_folder(path)), (
            "finished data without a manifest"
        )
        committed = store.files.read_bytes(in_force(store, path))
        found = store.look_up(path)
        assert found.kind == "committed"
        assert Manifest.from_json(committed) == found.manifest
        there = read(store, path)
        winner = data.index(there)
        assert found.manifest.parts[0].sha256 == describe_file(path, there, 1).sha256
        assert found.manifest.owner.map_index == winner
        assert store.verify(path) == []
        assert set_aside(store, path) == []
        if relation == "same" and is_first:
            assert {outcome.attempt for outcome in outcomes} == {
                found.manifest.attempt
            }, "both hand on what stands"

    def writers(self, relation, data):
        runs = ("r", "r") if relation == "collision" else ("r", "s")
        inputs = ("1", "1", "1") if relation == "same" else ("1", "2", "3")
        return [
            (
                each,
                {
                    "inputs": inputs[number],
                    "run": [*runs, "t"][number],
                    "map_index": number,
                },
            )
            for number, each in enumerate(data)
        ]

    def orders(self, limit):
        """Give every order in which two commits of up to ``limit`` calls share three changes of turn at most."""
        for first, second, third in itertools.product(
            range(limit), range(0, limit, 2), (1, 2, 20)
        ):
            yield (0,) * first + (1,) * second + (0,) * third + (1,) * 20

    @pytest.mark.parametrize("old", [None, OTHER], ids=["nothing", "stale"])
    @pytest.mark.parametrize("relation", ["other", "same", "collision"])
    def test_of_two_writers_one_result_stands_whole(self, store, path, relation, old):
        self.sweep_two(store, path, relation, old, self.orders(self.n_steps))

    @pytest.mark.slow
    @pytest.mark.parametrize("old", [None, OTHER], ids=["nothing", "stale"])
    @pytest.mark.parametrize("relation", ["other", "same", "collision"])
    def test_of_two_writers_in_every_order_one_result_stands_whole(
        self, store, path, relation, old
    ):
        places = itertools.combinations(range(2 * self.n_steps), self.n_steps)
        orders = [
            tuple(int(turn in place) for turn in range(2 * self.n_steps))
            for place in map(set, places)
        ]
        if len(orders) > 150 * SCALE:
            orders = random.Random(0).sample(orders, 150 * SCALE)
        self.sweep_two(store, path, relation, old, orders)

    def sweep_two(self, store, path, relation, old, orders):
        data = [OLD, NEW]
        problems = []
        for number, order in enumerate(orders):
            here = f"{path.rpartition('/')[0]}/{number}/x.csv"
            if old is not None:
                write(store, here, old, inputs="0", run="before", map_index=9)
            outcomes, _ = self.race(store, here, order, *self.writers(relation, data))
            try:
                self.check_race(
                    store, here, outcomes, relation, data, is_first=old is None
                )
            except Exception as error:  # noqa: BLE001 - collected
                problems.append((order, repr(error)[:300]))
            store.files.remove(here.rpartition("/")[0])
        assert problems == []

    def sample_three(self, store, path, n_rounds):
        random_order = random.Random(0)
        data = [OLD, NEW, OTHER]
        for number in range(n_rounds):
            here = f"{path.rpartition('/')[0]}/{number}/x.csv"
            relation = ["other", "same"][number % 2]
            if number % 4 < 2:
                write(store, here, b"before", inputs="0", run="before", map_index=9)
            order = [random_order.randrange(3) for _ in range(30)]
            outcomes, _ = self.race(store, here, order, *self.writers(relation, data))
            try:
                self.check_race(store, here, outcomes, "other", data)
            except AssertionError:
                print("order", order, relation, outcomes)
                raise
            store.files.remove(here.rpartition("/")[0])

    def test_of_three_writers_one_result_stands_whole(self, store, path):
        self.sample_three(store, path, 60)

    @pytest.mark.slow
    def test_of_three_writers_in_many_orders_one_result_stands_whole(self, store, path):
        self.sample_three(store, path, 50 * SCALE)

    @pytest.mark.parametrize("n_writers", [1, 2])
    def test_a_reader_beside_writers_gets_one_whole_result_or_is_told_that_it_was_replaced(
        self, store, path, n_writers
    ):
        data = [OLD, NEW, OTHER]
        problems = []
        random_order = random.Random(1)
        limit = self.n_steps
        if n_writers == 1:
            orders = [
                (0,) * k + (1,) * j + (0,) * 20
                for k in range(limit)
                for j in range(limit)
            ]
        else:
            orders = [
                [random_order.choice([0, 1, 1, 2, 2]) for _ in range(30)]
                for _ in range(80)
            ]
        for number, order in enumerate(orders):
            here = f"{path.rpartition('/')[0]}/{number}/x.csv"
            write(store, here, OLD, inputs="0", run="before", map_index=0)
            turns = Turns(order)

            def reader(turns=turns, here=here):
                mine = CheckpointStore(turns.files(0, store.files))
                found = mine.look_up(here)
                if found.manifest is None:
                    return found
                return found.manifest, mine.read_bytes(here, found.manifest.parts[0])

            def writer(number, turns=turns, here=here):
                mine = CheckpointStore(turns.files(number, store.files))
                about = {
                    "inputs": str(number),
                    "run": f"r{number}",
                    "map_index": number,
                }
                return lambda: write(mine, here, data[number], **about)

            outcomes, _ = turns.run(
                reader, *(writer(number) for number in range(1, n_writers + 1))
            )
            got = outcomes[0]
            if isinstance(got, tuple):
                fine = got[1] == data[got[0].owner.map_index] and not got[0].adopted
            else:
                fine = isinstance(got, CheckpointNotFoundError)
            left = store.look_up(here)
            if not fine or left.kind != "committed" or set_aside(store, here):
                problems.append(
                    (order, repr(got)[:200], left.kind, set_aside(store, here))
                )
            store.files.remove(here.rpartition("/")[0])
        assert problems == []


# The system kills who writes more of a file than the limit, after it has written as
# much.
KILLED_IN_A_FILE = """
import resource, signal, sys
from prefect_ds.storage.local_files import LocalFiles

signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
LocalFiles().create(sys.argv[1], sys.stdin.buffer.read())
"""


class TestLocalStore(StoreContract):
    n_steps = 8

    @pytest.fixture
    def path(self, tmp_path):
        (tmp_path / "data").mkdir()
        return f"{tmp_path}/data/a.csv"

    @pytest.fixture
    def store(self):
        return CheckpointStore(LocalFiles())

    @pytest.fixture
    def put(self):
        """Write a file as a person does."""

        def put(path, data):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)

        return put

    def touch(self, store, path, put):
        os.utime(path, ns=(1, 1_600_000_000_000_000_000))

    def test_a_copied_tree_still_counts(self, store, path, tmp_path):
        write(store, path, NEW)
        shutil.copytree(
            tmp_path / "data", tmp_path / "copy", copy_function=shutil.copyfile
        )
        os.utime(tmp_path / "copy" / "a.csv", ns=(1, 1))
        assert store.look_up(f"{tmp_path}/copy/a.csv").kind == "committed"

    @pytest.mark.parametrize("position", range(len(NEW)))
    def test_a_bit_flipped_on_the_disk_behind_the_clock_is_seen_by_reading(
        self, store, path, position
    ):
        written = write(store, path, NEW)
        status = os.stat(path)
        flipped = bytearray(NEW)
        flipped[position] ^= 1 << position % 8
        with open(path, "r+b") as file:
            file.write(flipped)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert store.look_up(path).manifest == written
        assert store.verify(path) == ["a.csv: its checksum is another"]
        with pytest.raises(
            DamagedCheckpointError,
            match=r"set aside as .* and the next run computes it again",
        ):
            store.read_bytes(path, written.parts[0])
        assert store.look_up(path).kind == "missing"

    def test_the_longest_name_of_any_alphabet_can_be_set_aside(self, store, path, put):
        path = f"{path.rpartition('/')[0]}/{'日' * 83}.csv"
        write(store, path, NEW)
        put(path, OTHER)
        write(store, path, NEW)
        assert set_aside(store, path) == [OTHER]

    def test_a_broken_link_at_the_path_does_not_hang_a_commit(
        self, store, path, tmp_path
    ):
        os.symlink(tmp_path / "nowhere", path)
        turns = Turns([])
        outcomes, _ = turns.run(
            lambda: write(CheckpointStore(turns.files(0, store.files)), path, NEW)
        )
        assert not isinstance(outcomes[0], AssertionError)
        assert read(store, path) == NEW

    def test_a_manifest_that_is_a_link_to_nothing_does_not_hang_a_look(
        self, store, path
    ):
        """As in a tree kept by git-annex whose contents are elsewhere."""
        write(store, path, NEW)
        filed = in_force(store, path)
        os.unlink(filed)
        os.symlink("/nowhere/at/all", filed)
        found = store.look_up(path)
        assert (found.kind, found.reason) == (
            "damaged",
            "its manifest was a link to nothing",
        )
        write(store, path, OTHER, inputs="2")
        assert read(store, path) == OTHER

    def test_manifest_and_data_reach_the_disk_before_a_good_copy_goes(
        self, store, path
    ):
        write(store, path, OLD, inputs="1")
        synced, fsync = [], os.fsync

        def watched_fsync(handle):
            synced.append(os.readlink(f"/proc/self/fd/{handle}"))
            fsync(handle)

        replaced_after = []
        os_replace = os.replace

        def watched_replace(source, target):
            replaced_after.extend([os.path.realpath(source), *synced])
            os_replace(source, target)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", watched_fsync)
            patch.setattr(os, "replace", watched_replace)
            write(store, path, NEW, inputs="2")
        staged, *before = replaced_after
        assert staged in before
        assert os.path.realpath(in_force(store, path)) in before

    def test_a_durable_commit_syncs_all_that_it_needs(self, store, path):
        watched = WatchedFiles(store.files)
        mine = CheckpointStore(watched)
        with mine.staging(path) as file:
            file.write(NEW)
            staged = mine.files.finish(file)
            mine.commit(path, staged, described(path, NEW), durable=True)
        steps = [name for name, _ in watched.calls]
        first_sync = steps.index("sync")
        assert (
            first_sync
            < steps.index("place")
            < len(steps) - 1 - steps[::-1].index("sync")
        )
        assert {staged.path, in_force(store, path)} <= set(watched.calls[first_sync][1])

    def test_a_durable_commit_syncs_no_other_checkpoint(self, store, path, monkeypatch):
        for number in range(20):
            write(store, f"{path.rpartition('/')[0]}/{number}.csv", OLD)
        synced, fsync = [], os.fsync
        monkeypatch.setattr(
            os,
            "fsync",
            lambda handle: (
                synced.append(os.readlink(f"/proc/self/fd/{handle}")),
                fsync(handle),
            ),
        )
        with store.staging(path) as file:
            file.write(NEW)
            store.commit(
                path, store.files.finish(file), described(path, NEW), durable=True
            )
        assert 3 <= len(synced) <= 8

    def test_after_a_power_cut_a_short_file_is_no_persons_file(self, store, path):
        """Neither the manifest nor the end of the data had reached the disk, only their names."""
        write(store, path, OTHER)
        with open(in_force(store, path), "wb"):
            pass
        os.truncate(path, len(OTHER) - 4)
        assert store.look_up(path).kind == "damaged"

    @pytest.mark.parametrize("tick_ns", [1_000_000_000, 2_000_000_000])
    def test_a_disk_that_keeps_whole_seconds_never_takes_one_result_for_another(
        self, path, tick_ns
    ):
        class CoarseFiles(LocalFiles):
            def stamped(self, path):
                super().stamped(path)
                tick = os.stat(path).st_mtime_ns // tick_ns * tick_ns
                os.utime(path, ns=(tick, tick))
                staged = self.status(path)
                return Staged(path, staged.stamp)

            def finish(self, file):
                file.close()
                return self.stamped(file.name)

        store = CheckpointStore(CoarseFiles())
        for inputs, data in [("1", OLD), ("2", NEW), ("3", b"a,b\n8,9\n")]:
            # Said aloud, and worth another try when the clock has moved on.
            with contextlib.suppress(OSError):
                write(store, path, data, inputs=inputs)
            found = store.look_up(path)
            assert found.kind == "committed"
            assert not found.manifest.adopted
            there = store.files.read_bytes(path)
            assert found.manifest.identity == identity(
                {OLD: "1", NEW: "2"}.get(there, "3")
            )
            assert (
                found.manifest.parts[0].sha256 == describe_file(path, there, 1).sha256
            )

    def test_a_writer_killed_in_the_middle_of_its_manifest_says_nothing_of_a_persons_file(
        self, store, path, put
    ):
        put(path, OLD)
        filed = manifest_file(path, "killed")
        child = [sys.executable, "-W", "ignore", "-c", KILLED_IN_A_FILE, filed]
        killed = subprocess.run(
            child, input=described(path, NEW).to_json().encode(), check=False
        )
        assert killed.returncode == -signal.SIGXFSZ
        assert [
            os.path.getsize(f"{manifest_folder(path)}/{each}")
            for each in manifests_of(store, path)
        ] == [100]
        found = store.look_up(path)
        assert (found.kind, found.reason) == ("foreign", "it had no manifest")
        store.adopt(path, described(path, OLD))
        assert read(store, path) == OLD

    def test_a_file_in_place_of_the_manifests_is_an_error_and_nothing_is_placed(
        self, store, path
    ):
        os.makedirs(os.path.dirname(manifest_folder(path)))
        with open(manifest_folder(path), "w"):
            pass
        with pytest.raises(OSError, match=r"File exists|Not a directory"):
            write(store, path, NEW)
        assert not os.path.exists(path)

    def test_a_thousand_leftovers_go_by_age(self, store, path, tmp_path):
        write(store, path, NEW)
        staging = tmp_path / "data" / ".prefect_ds" / "staging"
        old = time.time() - 90_000
        for number in range(1_000):
            (staging / f"{number}.staged").write_bytes(b"")
            if number % 2:
                os.utime(staging / f"{number}.staged", (old, old))
        assert len(store.clean(str(tmp_path / "data"))) == 500
        assert len(list(staging.iterdir())) == 500
        assert read(store, path) == NEW


class TestMemoryStore(StoreContract):
    n_steps = 10

    @pytest.fixture
    def path(self):
        return f"memory://{uuid.uuid4().hex}/data/a.csv"

    @pytest.fixture
    def store(self):
        return CheckpointStore.open("memory://x")

    @pytest.fixture
    def put(self, store):
        return lambda path, data: store.files.fs.pipe_file(path, data)

    def touch(self, store, path, put):
        put(path, store.files.read_bytes(path))

    def test_a_changed_object_with_the_stamp_of_the_old_one_is_seen_by_reading(
        self, store, path
    ):
        written = write(store, path, NEW)
        kept = store.files.fs.store[store.files.fs._strip_protocol(path)]
        kept.seek(4)
        kept.write(b"9")
        assert store.look_up(path).manifest == written
        with pytest.raises(DamagedCheckpointError, match="is damaged"):
            store.read_bytes(path, written.parts[0])


# ------------------------------------------------------------------------------------------------
# handlers and faults


class FaultyHandler(PandasResultHandler):
    """Keeps its frames on a file system of the test's."""

    def __init__(self, path, file_type, files=None, **kwargs):
        super().__init__(path, file_type, **kwargs)
        self.files = files

    @property
    def store(self):
        return super().store if self.files is None else CheckpointStore(self.files)


FRAMES = {
    inputs: pd.DataFrame({"x": [number, 2], "s": ["a", inputs]})
    for number, inputs in enumerate("012")
}
FAULTS = {
    "killed before": (Killed, "before", 1),
    "killed after": (Killed, "after", 1),
    "killed halfway": (Killed, "halfway", 1),
    "disk full": (
        lambda: OSError(errno.ENOSPC, "No space left on device"),
        "halfway",
        None,
    ),
    "EIO once": (lambda: OSError(errno.EIO, "Input/output error"), "before", 1),
    "EIO once after": (lambda: OSError(errno.EIO, "Input/output error"), "after", 1),
    "EIO for good": (lambda: OSError(errno.EIO, "Input/output error"), "before", None),
}


def keep(handler, path, inputs, run):
    return handler.keep(
        FRAMES[inputs],
        path,
        origin=Origin(owner=Owner("f", run, "t"), identity=identity(inputs)),
    )


def whole(handler, path):
    """Give which frame a fresh handler finds, ``None`` for none; anything else fails."""
    found = handler.look_up(path)
    if found.manifest is None:
        assert found.kind in ("missing", "damaged"), found
        return None
    assert not found.manifest.adopted
    frame = handler.load(path)
    inputs = next(inputs for inputs, each in FRAMES.items() if each.equals(frame))
    assert found.manifest.identity == identity(inputs)
    return inputs


def side_files(folder):
    return sorted(
        os.path.relpath(os.path.join(at, name), folder)
        for at, _, names in os.walk(folder)
        for name in names
    )


def check_after_fault(path, file_type, first, folder):
    fresh = PandasResultHandler(path, file_type)
    there = whole(fresh, path)
    assert there in ({None, "1"} if first else {"0", "1"}), there
    keep(fresh, path, "2", "later")
    assert whole(fresh, path) == "2"
    store = fresh.store
    store.clean(folder, older_than_s=-10)
    kept = [name for name in side_files(folder) if "set-aside" not in name]
    assert kept == sorted(
        [os.path.basename(path), os.path.relpath(in_force(store, path), folder)]
    )
    assert whole(fresh, path) == "2"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("first", [True, False], ids=["first", "rewrite"])
@pytest.mark.parametrize("file_type", ["csv", "parquet"])
@pytest.mark.parametrize(
    "durability", ["process", pytest.param("power", marks=pytest.mark.slow)]
)
def test_a_fault_at_any_call_leaves_the_old_checkpoint_or_the_new_one(
    tmp_path, file_type, first, fault, durability
):
    make, when, n_times = FAULTS[fault]
    for fatal_call in range(1, 60):
        folder = f"{tmp_path}/{fatal_call}"
        path = f"{folder}/a.{file_type}"
        if not first:
            keep(PandasResultHandler(path, file_type), path, "0", "before")
        files = FaultyFiles(
            LocalFiles(), fatal_call, make(), when=when, n_times=n_times
        )
        handler = FaultyHandler(path, file_type, files, durability=durability)
        try:
            keep(handler, path, "1", "now")
        except (Killed, OSError):
            assert files.happened
        else:
            # A success means kept.
            assert whole(PandasResultHandler(path, file_type), path) == "1"
        check_after_fault(path, file_type, first, folder)
        if not files.happened:
            break
    assert 4 < fatal_call < 59


@pytest.mark.parametrize("fault", ["killed before", "killed after", "EIO for good"])
def test_a_fault_while_a_persons_file_is_found_never_costs_the_file(tmp_path, fault):
    make, when, n_times = FAULTS[fault]
    for fatal_call in range(1, 20):
        path = f"{tmp_path}/{fatal_call}/a.csv"
        os.makedirs(os.path.dirname(path))
        FRAMES["0"].to_csv(path, index=False)
        files = FaultyFiles(
            LocalFiles(), fatal_call, make(), when=when, n_times=n_times
        )
        try:
            found = FaultyHandler(path, "csv", files).look_up(path)
        except (Killed, OSError):
            pass
        else:
            assert found.kind == "committed"
        found = PandasResultHandler(path, "csv").look_up(path)
        assert (found.kind, found.reason) in (
            ("committed", ""),
            ("committed", "it had no manifest"),
        )
        assert found.manifest.adopted
        if not files.happened:
            break
    assert 3 < fatal_call < 19


@pytest.mark.parametrize(
    "code", [errno.EIO, errno.EAGAIN, errno.ESTALE, errno.ETIMEDOUT]
)
@pytest.mark.parametrize("n_times", [1, 3])
def test_what_may_pass_is_tried_again(tmp_path, code, n_times):
    path = f"{tmp_path}/a.csv"
    error = OSError(code, os.strerror(code))
    keep(
        FaultyHandler(
            path, "csv", FaultyFiles(LocalFiles(), 1, error, n_times=n_times)
        ),
        path,
        "1",
        "r",
    )
    faulty = FaultyHandler(
        path, "csv", FaultyFiles(LocalFiles(), 1, error, n_times=n_times)
    )
    assert faulty.look_up(path).kind == "committed"
    faulty.files.n_calls = 0
    assert faulty.load(path).equals(FRAMES["1"])


@pytest.mark.parametrize(
    "error",
    [TimeoutError("no answer"), ConnectionResetError("reset"), ConnectionError("lost")],
)
def test_a_lost_connection_without_a_number_is_tried_again(tmp_path, error):
    path = f"{tmp_path}/a.csv"
    files = FaultyFiles(LocalFiles(), 3, error)
    keep(FaultyHandler(path, "csv", files), path, "1", "r")
    assert files.happened
    assert whole(PandasResultHandler(path, "csv"), path) == "1"


LASTING = [
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOENT,
]


@pytest.mark.parametrize("code", LASTING)
@pytest.mark.parametrize("primitive", ["status", "create"])
def test_what_lasts_is_not_tried_again(tmp_path, code, primitive):
    path = f"{tmp_path}/a.csv"
    files = FaultyFiles(
        LocalFiles(),
        1,
        OSError(code, os.strerror(code)),
        n_times=None,
        only=[primitive],
    )
    handler = FaultyHandler(path, "csv", files)
    with pytest.raises(OSError, match=re.escape(os.strerror(code))):
        keep(handler, path, "1", "r") if primitive == "create" else handler.look_up(
            path
        )
    assert files.n_calls == 1


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES])
def test_a_persons_file_that_cannot_be_read_now_is_not_called_damaged(tmp_path, code):
    path = f"{tmp_path}/a.csv"
    FRAMES["1"].to_csv(path, index=False)
    files = FaultyFiles(
        LocalFiles(),
        1,
        OSError(code, os.strerror(code)),
        n_times=None,
        only=["read_bytes"],
    )
    # The first read is of a manifest that is not there.
    files.before = lambda name, args: (
        name == "read_bytes" and args[0] == path and files._fail()
    )
    with pytest.raises(OSError, match=re.escape(os.strerror(code))):
        FaultyHandler(path, "csv", files).look_up(path)


def test_a_persons_file_that_is_no_frame_is_damaged_with_the_reason(tmp_path):
    path = f"{tmp_path}/a.parquet"
    with open(path, "wb") as file:
        file.write(b"PAR1 and nothing more")
    found = PandasResultHandler(path, "parquet").look_up(path)
    assert found.kind == "damaged"
    assert "it has no manifest and cannot be read as parquet" in found.reason


def test_a_persons_file_that_changes_while_it_is_adopted_stays_theirs(tmp_path):
    path = f"{tmp_path}/a.csv"
    FRAMES["0"].to_csv(path, index=False)
    files = WatchedFiles(LocalFiles())
    reads = []

    def change(name, args):
        if name == "read_bytes" and args[0] == path and not reads:
            reads.append(path)
            FRAMES["1"].assign(s="longer than before").to_csv(path, index=False)

    files.after = change
    FaultyHandler(path, "csv", files).look_up(path)
    handler = PandasResultHandler(path, "csv")
    assert handler.look_up(path).kind == "committed"
    assert handler.load(path)["s"].tolist() == ["longer than before"] * 2


def test_two_handlers_that_read_one_file_otherwise_do_not_share_what_is_cached(
    tmp_path,
):
    cache.resize(10_000_000)
    path = f"{tmp_path}/a.csv"
    FRAMES["0"].to_csv(path, index=False)
    some, every = (
        PandasResultHandler(path, "csv", read_kwargs={"usecols": ["x"]}),
        PandasResultHandler(path, "csv"),
    )
    references = [
        handler.refer(
            path,
            handler.look_up(path).manifest,
            origin=Origin(),
            is_loaded=True,
        )
        for handler in (some, every)
    ]
    assert [list(reference.load().columns) for reference in references] == [
        ["x"],
        ["x", "s"],
    ]
    assert [list(reference.load().columns) for reference in references] == [
        ["x"],
        ["x", "s"],
    ]


def test_a_kept_frame_that_is_changed_in_place_later_does_not_change_the_checkpoint(
    tmp_path,
):
    cache.resize(10_000_000)
    handler = PandasResultHandler(f"{tmp_path}/a.csv", "csv")
    frame = FRAMES["0"].copy()
    kept = handler.keep(frame, f"{tmp_path}/a.csv", origin=Origin(identity=identity()))
    frame["x"].array[0] = 99
    assert kept.reference.load().equals(FRAMES["0"])


def test_a_writer_that_was_second_hands_on_the_first_ones_frame(tmp_path):
    path = f"{tmp_path}/a.csv"
    handler = PandasResultHandler(path, "csv")
    handler.keep(
        FRAMES["0"],
        path,
        origin=Origin(owner=Owner("f", "r1", "t"), identity=identity()),
    )
    second = handler.keep(
        FRAMES["1"],
        path,
        origin=Origin(owner=Owner("f", "r2", "t"), identity=identity()),
    )
    assert second.value.equals(FRAMES["0"])
    assert "another run was first" in second.note


def test_a_new_result_is_kept_where_the_same_one_is_there_but_damaged(tmp_path):
    path = f"{tmp_path}/a.csv"
    handler = PandasResultHandler(path, "csv")
    keep(handler, path, "1", "r1")
    status = os.stat(path)
    with open(path, "r+b") as file:
        file.write(b"X")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert keep(handler, path, "1", "r2").value.equals(FRAMES["1"])
    assert whole(handler, path) == "1"


CHILD = """
import builtins, os, sys, traceback
import pandas as pd
from prefect_ds.pandas_result_handler import PandasResultHandler
from prefect_ds.storage.manifest import Identity, Origin, Owner
from prefect_ds.checkpoints.versions import versions

versions()  # Looks at many files, once.
folder, file_type, step = sys.argv[1:]
frames = {inputs: pd.DataFrame({"x": [number, 2], "s": ["a", inputs]}) for number, inputs in enumerate("012")}

def keep(path, inputs, run):
    handler = PandasResultHandler(path, file_type)
    handler.keep(frames[inputs], path, origin=Origin(owner=Owner("f", run, "t"), identity=Identity("task", {"x": inputs})))

def die_at(fatal_call, action):
    n_calls = 0
    def dying(function):
        def call(*args, **kwargs):
            nonlocal n_calls
            n_calls += 1
            if n_calls == fatal_call:
                os._exit(9)
            return function(*args, **kwargs)
        return call
    for name in ("link", "replace", "rename", "utime", "open", "unlink", "fsync", "mkdir", "stat", "fdopen"):
        setattr(os, name, dying(getattr(os, name)))
    builtins.open = dying(builtins.open)
    action()
    os._exit(0)

for scene in ("first", "rewrite", "person"):
    for fatal_call in [*range(1, 60, int(step)), 1000]:
        path = f"{folder}/{scene}-{fatal_call}/a.{file_type}"
        pid = os.fork()
        if pid == 0:
            try:
                if scene == "rewrite":
                    keep(path, "0", "before")
                if scene == "person":
                    os.makedirs(os.path.dirname(path))
                    getattr(frames["0"], f"to_{file_type}")(path, index=False)
                    die_at(fatal_call, lambda: PandasResultHandler(path, file_type).look_up(path))
                else:
                    die_at(fatal_call, lambda: keep(path, "1", "now"))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print("ran", scene, fatal_call, code, flush=True)
        if code == 0:
            break
        assert code == 9, code
"""


every = pytest.mark.slow


@pytest.mark.parametrize(
    ("file_type", "step"),
    [
        ("csv", 4),
        pytest.param("csv", 1, marks=every),
        pytest.param("parquet", 1, marks=every),
    ],
)
def test_a_process_that_dies_at_any_call_leaves_the_old_checkpoint_or_the_new_one(
    tmp_path, file_type, step
):
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", CHILD, str(tmp_path), file_type, str(step)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(prefect_ds.__file__))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # Prefect's logger writes to stdout, too.
    runs = [line.split() for line in done.stdout.splitlines() if line[:4] == "ran "]
    assert len(runs) >= 8
    for _, scene, fatal_call, _ in runs:
        folder = f"{tmp_path}/{scene}-{fatal_call}"
        path = f"{folder}/a.{file_type}"
        if scene == "person":
            if os.path.exists(path):
                found = PandasResultHandler(path, file_type).look_up(path)
                assert found.kind == "committed", (scene, fatal_call, found)
                assert found.manifest.adopted
        else:
            check_after_fault(path, file_type, scene == "first", folder)


def test_a_handler_sees_one_store_for_one_url():
    assert PandasResultHandler("memory://x/a.csv", "csv").store.files is open_files(
        "memory://y"
    )
