"""The commit protocol: a reader finds a whole checkpoint or none, whatever was killed, altered or raced when."""

import contextlib
import errno
import hashlib
import json
import re
from dataclasses import replace

import pytest

from prefect_ds.errors import (
    CheckpointNotFoundError,
    CollisionError,
    DamagedCheckpointError,
    NewerFormatError,
)
from prefect_ds.storage.layout import manifest_file
from prefect_ds.storage.store import CheckpointStore
from tests.support.faulty_files import FaultyFiles, Killed, WatchedFiles
from tests.support.stores import (
    NEW,
    OLD,
    OTHER,
    LocalStoreCase,
    MemoryStoreCase,
    described,
    identity,
    in_force,
    manifests_of,
    read,
    set_aside,
    write,
)

pytestmark = pytest.mark.usefixtures("no_cache", "no_waiting")


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
            store.read_data(path, described(path, NEW).parts[0])
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
            store.read_data(path, written.parts[0])
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
            if name == "read_hashed":
                files.after = WatchedFiles.after.__get__(files)
                write(store, path, NEW)

        files.after = mend
        assert CheckpointStore(files).read_data(path, written.parts[0]) == NEW
        assert read(store, path) == NEW
        assert set_aside(store, path) == [OTHER]

    def test_a_checkpoint_that_was_replaced_since_is_not_damaged(self, store, path):
        earlier = write(store, path, OLD, inputs="1")
        write(store, path, NEW, inputs="2")
        with pytest.raises(CheckpointNotFoundError, match="replaced"):
            store.read_data(path, earlier.parts[0])
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
            stuck.read_data(path, written.parts[0])


class TestLocalStore(LocalStoreCase, StoreContract):
    pass


class TestMemoryStore(MemoryStoreCase, StoreContract):
    def test_a_changed_object_with_the_stamp_of_the_old_one_is_seen_by_reading(
        self, store, path
    ):
        written = write(store, path, NEW)
        kept = store.files.fs.store[store.files.fs._strip_protocol(path)]
        kept.seek(4)
        kept.write(b"9")
        assert store.look_up(path).manifest == written
        with pytest.raises(DamagedCheckpointError, match="is damaged"):
            store.read_data(path, written.parts[0])
