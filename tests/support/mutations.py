"""What each safeguard of the commit is worth: the source without it, and the tests that then have to fail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """A safeguard that is taken out."""

    name: str
    file: str
    """Below the package."""
    changes: tuple[tuple[str, str], ...]
    """Texts that stand in the file exactly once, and what replaces them."""
    tests: tuple[str, ...]
    """Below the folder of tests: some, that are quick, of which at least one notices."""


LOCAL = "unit/test_store.py::TestLocalStore::"
CLUSTERS = "faults/test_real_clusters.py::"
FLOWS = (
    "differential/test_random_programs.py::test_a_random_flow_is_the_same_as_without_us"
)

MUTATIONS = (
    Mutation(
        "new data are not synced before they replace good ones",
        "storage/local_files.py",
        (
            (
                "        # The good copy must not go before the new bytes are on the disk: a power cut\n        # would leave neither.\n        self.sync_tree(staged.path)\n",
                "",
            ),
        ),
        (f"{LOCAL}test_manifest_and_data_reach_the_disk_before_a_good_copy_goes",),
    ),
    Mutation(
        "the manifest is not synced before its data replace good ones",
        "storage/commit.py",
        (
            (
                "                committer.sync_manifest()\n",
                "",
            ),
        ),
        (f"{LOCAL}test_manifest_and_data_reach_the_disk_before_a_good_copy_goes",),
    ),
    Mutation(
        "a durable commit does not sync the folder",
        "storage/commit.py",
        (("        committer.sync_folder()\n", "        pass\n"),),
        (f"{LOCAL}test_a_durable_commit_syncs_all_that_it_needs",),
    ),
    Mutation(
        "a first write takes its place without looking whether somebody was first",
        "storage/local_files.py",
        (
            (
                "            os.link(source, path)\n        except FileExistsError:",
                "            os.replace(source, path)\n        except FileExistsError:",
            ),
        ),
        (f"{LOCAL}test_of_two_writers_in_every_order_one_result_stands_whole",),
    ),
    Mutation(
        "data are placed before their manifest is filed",
        "storage/commit.py",
        (
            (
                "    try:\n        files.create(own, manifest.to_json().encode())\n",
                "    try:\n        pass\n",
            ),
            (
                "            manifest = committer.confirm(",
                "            filed.refile(manifest)\n"
                "            manifest = committer.confirm(",
            ),
        ),
        (
            "unit/test_store.py::test_a_fault_at_any_call_leaves_the_old_checkpoint_or_the_new_one",
        ),
    ),
    Mutation(
        "data without a manifest under their stamp pass for what any manifest says",
        "storage/lookup.py",
        (
            (
                "        if not same_bytes(manifest.parts, evidence.parts, status):\n",
                "        if False:\n",
            ),
        ),
        (f"{LOCAL}test_damage_is_seen_and_mended_by_the_next_commit",),
    ),
    Mutation(
        "bytes are handed on without their checksum",
        "storage/store.py",
        (
            (
                "if (size_bytes, checksum.text()) == (part.size_bytes, part.checksum):",
                "if True:",
            ),
        ),
        (
            f"{LOCAL}test_bytes_that_are_not_those_of_the_part_are_never_handed_on",
            f"{LOCAL}test_a_bit_flipped_on_the_disk_behind_the_clock_is_seen_by_reading",
        ),
    ),
    Mutation(
        "a manifest is believed without its checksum",
        "storage/manifest.py",
        (("        if not is_whole:\n", "        if False:\n"),),
        (
            f"{LOCAL}test_no_flipped_bit_in_a_manifest_is_believed_or_stops_the_next_commit",
        ),
    ),
    Mutation(
        "two tasks of one run may write one path",
        "storage/commit.py",
        (("    if not others:\n        return\n", "    return\n"),),
        (f"{LOCAL}test_two_tasks_of_one_run_collide_and_neither_stays",),
    ),
    Mutation(
        "of three results of one run on one path, the one in place may stay",
        "storage/commit.py",
        (
            (
                "(in_place == own or in_place in others)",
                "in_place in (own, next(iter(others)))",
            ),
        ),
        (
            f"{LOCAL}test_of_three_that_collide_the_one_in_place_goes_whichever_is_listed_first",
        ),
    ),
    Mutation(
        "young leftovers are cleared too",
        "storage/housekeeping.py",
        (
            (
                "        return files.modified(path) < newest\n",
                "        return True\n",
            ),
        ),
        (
            f"{LOCAL}test_what_a_killed_writer_left_never_counts_and_goes_when_it_is_old",
        ),
    ),
    Mutation(
        "two attempts have one time of change",
        "storage/local_files.py",
        (
            (
                "now = time.time_ns() + uuid.uuid4().int % 1_000_000",
                "now = 10**18",
            ),
        ),
        (f"{LOCAL}test_of_two_writers_in_every_order_one_result_stands_whole",),
    ),
    Mutation(
        "what a person put there is replaced",
        "storage/commit.py",
        (
            (
                "        _replace(files, path, at_path.reason, at_path.stamp, at_path.advice)\n",
                "        files.remove(path)\n",
            ),
        ),
        (f"{LOCAL}test_foreign_data_are_set_aside_before_a_commit",),
    ),
    Mutation(
        "what came in the place of something damaged is set aside for it",
        "storage/housekeeping.py",
        (
            (
                "    if status is not None and stamp not in (None, status.stamp):\n",
                "    if False:\n",
            ),
        ),
        (
            f"{LOCAL}test_of_two_who_saw_the_damage_the_second_does_not_set_aside_what_the_first_put_there",
        ),
    ),
    Mutation(
        "a file that was mended since it was read is called damaged",
        "storage/store.py",
        (
            (
                "            if now == seen:\n                break\n",
                "            break\n",
            ),
        ),
        (
            f"{LOCAL}test_a_reader_of_damage_that_was_mended_meanwhile_gets_the_new_copy",
        ),
    ),
    Mutation(
        "a part that was mended since it was read is called damaged",
        "dask/part_reader.py",
        (("                if now == seen:\n", "                if True:\n"),),
        (
            "flows/test_dask_result_handler.py::TestDamage::test_a_reader_of_damage_that_was_mended_meanwhile_gets_the_new_copy",
        ),
    ),
    Mutation(
        "a manifest is written under its name",
        "storage/local_files.py",
        (
            (
                '        written = f"{path}.{uuid.uuid4().hex}"\n        file = _new_file',
                "        written = path\n        file = _new_file",
            ),
            (
                "            self._place_file(written, path)\n        finally:\n            self.remove(written)\n",
                "            pass\n        finally:\n            pass\n",
            ),
        ),
        (
            f"{LOCAL}test_a_writer_killed_in_the_middle_of_its_manifest_says_nothing_of_a_persons_file",
        ),
    ),
    Mutation(
        "errors that pass are not tried again",
        "storage/retries.py",
        (("next(delays_s, None) if may_pass(error) else None", "None"),),
        ("unit/test_store.py::test_what_may_pass_is_tried_again",),
    ),
    Mutation(
        "an error does not name the checkpoint",
        "storage/retries.py",
        (("            if error.errno is None:\n", "            if True:\n"),),
        (
            "faults/test_disk_faults.py::test_a_limit_of_a_files_size_fails_the_task_and_costs_no_checkpoint",
        ),
    ),
    Mutation(
        "a connection that is lost makes a person's file damaged",
        "storage/retries.py",
        (
            (
                "    return error.errno is not None or may_pass(error)\n",
                "    return error.errno is not None\n",
            ),
        ),
        (
            "unit/test_pandas_result_handler.py::test_a_connection_that_is_lost_says_nothing_of_a_persons_file",
        ),
    ),
    Mutation(
        "a part is read without the checksum of its footer",
        "dask/part_reader.py",
        (
            (
                "            if (size, footer_sha256) != (part.size_bytes, part.footer_sha256):\n",
                "            if False:\n",
            ),
        ),
        ("flows/test_dask_result_handler.py::TestDamage",),
    ),
    Mutation(
        "a part of a stopped write counts without its checksum",
        "dask/part_reader.py",
        (
            (
                "    return staged if checksum == staged.part.checksum else None\n",
                "    return staged\n",
            ),
        ),
        ("flows/test_dask_result_handler.py",),
    ),
    Mutation(
        "each run of a part writes a file of the same name",
        "dask/part_writer.py",
        (("{number}.{uuid.uuid4().hex}.staged", "{number}.one.staged"),),
        (
            f"{CLUSTERS}test_a_worker_cut_off_in_the_middle_of_a_part_comes_back_and_finishes_it",
        ),
    ),
    Mutation(
        "a late writer replaces the same result",
        "storage/commit.py",
        (
            (
                "        if there is not None and _may_stay(there, manifest, refused):\n",
                "        if False:\n",
            ),
        ),
        (
            f"{CLUSTERS}test_a_worker_cut_off_in_the_middle_of_a_write_comes_back_and_finishes_it",
        ),
    ),
    Mutation(
        "a refreshed result gives way to the old one of the same inputs",
        "storage/commit.py",
        (("    if refused in (there.attempt, ANY_ATTEMPT):\n", "    if False:\n"),),
        (
            "tests/flows/test_steering.py::TestRefresh::test_another_result_replaces_the_one_of_the_same_inputs[local]",
        ),
    ),
    Mutation(
        "two results that share a checkpoint come as one object",
        "checkpoints/loader.py",
        (
            (
                "(run_id, reference.owner, reference.path, reference.content)",
                '(run_id, "", reference.path, reference.content)',
            ),
        ),
        (f"{FLOWS}[6]",),
    ),
    Mutation(
        "a list that a task hands on is another than the list itself",
        "checkpoints/handed_on.py",
        (
            (
                "        if id(loaded) in inside\n    }\n",
                "        if not loaded\n    }\n",
            ),
        ),
        (f"{FLOWS}[5]",),
    ),
    Mutation(
        "what two tasks hand on is two objects",
        "checkpoints/handed_on.py",
        (
            (
                "content = digest_of_pickled(one, counts_bytes=False)",
                'content = ""',
            ),
        ),
        (
            "flows/test_same_objects.py::"
            "test_containers_that_are_handed_on_stay_one[local]",
        ),
    ),
    Mutation(
        "a checkpoint of other inputs counts",
        "engine/task_checkpoint.py",
        (
            (
                "        if difference:\n            reason =",
                "        if False:\n            reason =",
            ),
        ),
        (f"{FLOWS}[5]",),
    ),
    Mutation(
        "every frame has one digest",
        "checkpoints/digests/frames.py",
        (
            (
                "def _frame(frame: Any, walk: Walk) -> bytes:\n",
                "def _frame(frame: Any, walk: Walk) -> bytes:\n    return b'frame'\n",
            ),
        ),
        (f"{FLOWS}[12]",),
    ),
    Mutation(
        "a result is let go before all that take it have ended",
        "engine/release.py",
        (
            (
                "    if not state.is_finished() or state.is_cached():\n"
                "        return False\n"
                "    return has_children or not state.is_mapped()\n",
                "    return True\n",
            ),
        ),
        (f"{FLOWS}[3]",),
    ),
    Mutation(
        "times come back without their zone",
        "frames/codecs.py",
        (
            (
                'tz_localize("UTC").tz_convert(dtype.tz).array',
                'tz_localize("UTC").array',
            ),
        ),
        (f"{FLOWS}[11]",),
    ),
)
