"""Whether a run with prefect_ds is what the same flow gives without it."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from tests.differential.runs import Step

NONE = "NoneType None"
PATH = re.compile(r" (?:to|at) (/.*?)(?:, written .*| \(.*)?$")
LIST_OF_OUTPUTS = ".parquet.outputs"
Body = tuple[str, int | None]

WAITING = ("Retrying", "Pending")
"""Types of the states of tasks that a run has left for a later one."""


class FlowComparison:
    """Compares the runs of a flow, one after another, with the truth.

    It remembers which checkpoints the runs before have left, so that it knows which
    bodies may run.

    Parameters
    ----------
    kept
        Task to the template of its checkpoint.
    changed_in_place
        Tasks whose value a later task may have changed.
    """

    def __init__(self, kept: dict[str, str], changed_in_place: tuple[str, ...]) -> None:
        self.kept = kept
        self.changed_in_place = changed_in_place
        self.on_disk: dict[tuple[Any, ...], tuple[Any, str]] = {}
        self.before_kill: set[Body] | None = None
        self.is_unsure = False
        """Whether a run has ended without states: what it kept is not known."""

    def differences(
        self, step: Step, truth: dict[str, Any], seen: dict[str, Any], s: str
    ) -> list[str]:
        """Return in words what a run has that the truth has not.

        Parameters
        ----------
        step
            How it was run.
        truth, seen
            What was observed of the run without and with prefect_ds.
        s
            The flow's parameter of that name, which some templates have.
        """
        found = []
        if truth["error"]:
            # Prefect gave the run up; how far it came depends on its order, and what it
            # has kept by then is there.
            self.is_unsure, self.on_disk = True, {}
            errors = [run["error"].partition("(")[0] for run in (truth, seen)]
            if errors[0] != errors[1]:
                found.append(f"{errors[0]} without, {errors[1]} with")
            return found
        for name in ("flow", "error", "terminal"):
            if truth[name] != seen[name]:
                found.append(f"{name}: {truth[name]} without, {seen[name]} with")
        truth_bodies, seen_bodies = bodies_of(truth), bodies_of(seen)
        for slug in sorted(truth["tasks"].keys() | seen["tasks"].keys()):
            of_truth, of_seen = truth["tasks"].get(slug), seen["tasks"].get(slug)
            if of_truth is None or of_seen is None:
                found.append(f"{slug}: state is missing")
                continue
            found += self._state(step, slug, None, of_truth, of_seen, truth)
        left = {
            body
            for body, state in final_states(truth).items()
            if state["type"] in WAITING and step.name != "fresh"
        }
        found += self._bodies(step, truth_bodies, seen_bodies, left)
        found += self._counts(truth, seen, truth_bodies, seen_bodies, s)
        return found

    def _state(
        self,
        step: Step,
        slug: str,
        index: int | None,
        truth: dict[str, Any],
        seen: dict[str, Any],
        run: dict[str, Any],
    ) -> list[str]:
        where = slug if index is None else f"{slug}[{index}]"
        is_waiting = (seen["type"] in WAITING) != (truth["type"] in WAITING)
        if is_waiting and step.name != "fresh" and slug not in run["terminal"]:
            # A run of Prefect's ends with its terminal tasks, whoever waits for a retry
            # then. A checkpoint spares rounds of retries: one that gave this task its turn,
            # or one that came before its turn.
            self.is_unsure = True
            return []
        if truth["type"] != seen["type"]:
            texts = [f"{one['type']} ({one['message']})" for one in (truth, seen)]
            return [f"{where}: {texts[0]} without, {texts[1]} with"]
        found = []
        is_left = truth["type"] == "Retrying" and slug not in run["terminal"]
        # After how many attempts the run's end has left a task hangs on the rounds that
        # the retries of others give it. A checkpoint spares those.
        is_same = is_left and step.name != "fresh"
        if not is_same and not same_message(truth["message"], seen["message"]):
            found.append(
                f"{where}: {truth['message']!r} without, {seen['message']!r} with"
            )
        if "children" in truth:
            pairs = list(zip(truth["children"], seen["children"], strict=False))
            if len(truth["children"]) != len(seen["children"]):
                if has_children_by_retry(truth, seen, run):
                    return found
                found.append(f"{where}: number of children")
            for at, (one, other) in enumerate(pairs):
                found += self._state(step, slug, at, one, other, run)
            values = [child["value"] for child in seen["children"]]
            if pairs and seen["value"] != ["list", values]:
                found.append(f"{where}: the value is not its children's values")
            return found
        if truth["type"] == "Retrying":
            return found  # What it had by then hangs on the retries of other tasks.
        name = slug.rpartition("-")[0]
        given = [truth["value"]]
        is_kept = step.keep is None or name in step.keep or slug in run["terminal"]
        if not is_kept:
            given.append(NONE)
        if name in self.changed_in_place:
            given += [
                line[2][0]
                for line in run["bodies"]
                if line[0][:2] == [name, index] and line[1] == "gave"
            ]
        is_collection = name in ("List", "Tuple", "Dict", "Set", "GetItem")
        if is_collection and self.changed_in_place:
            return found  # It has the objects that a later task may have changed.
        if not any(
            is_given_or_changed(seen["value"], one, truth["value"]) for one in given
        ):
            found.append(f"{where}: {first_difference(truth['value'], seen['value'])}")
        return found

    def _bodies(
        self,
        step: Step,
        truth: dict[Body, Any],
        seen: dict[Body, Any],
        left: set[Body],
    ) -> list[str]:
        """Compare what each body took, gave, and had in its hands as one object.

        Of those that the truth left waiting for a retry, ``left``, more attempts may
        have run.
        """
        is_one_process = step.executor in ("local", "threads")
        found = []
        for body, lines in seen.items():
            expected = {json.dumps(line[:2]): line for line in truth.get(body, ())}
            for key, what, values, places in lines:
                line = expected.get(json.dumps([key, what]))
                if line is None and body in left:
                    continue
                if line is None:
                    found.append(f"body {key} ran, and does not without")
                    continue
                if line[2] != values:
                    difference = first_difference(line[2], values)
                    found.append(f"body {key} {what} another value: {difference}")
                elif is_one_process and line[3] != places:
                    found.append(
                        f"body {key} {what} objects shared as {places}, not {line[3]}"
                    )
                elif not is_one_process and shares_more(places, line[3]):
                    found.append(f"body {key} {what} objects shared as {places}")
        return found

    def _counts(
        self,
        truth: dict[str, Any],
        seen: dict[str, Any],
        truth_bodies: dict[Body, Any],
        seen_bodies: dict[Body, Any],
        s: str,
    ) -> list[str]:
        """Compare which bodies ran with which had to."""
        finals, finals_seen = final_states(truth), final_states(seen)
        paths = {
            body: self._path_key(*body, lines[0][2], s)
            for body, lines in truth_bodies.items()
            if self._is_kept(body, finals)
        }
        n_sharing = Counter(paths.values())
        found = []
        for body, lines in truth_bodies.items():
            keys, keys_seen = attempts(lines), attempts(seen_bodies.get(body, ()))
            message = finals_seen.get(body, {}).get("message") or ""
            differs = f"bodies of {body}: {keys} without, {keys_seen} with: {message}"
            path = paths.get(body)
            types = {run.get(body, {}).get("type") for run in (finals, finals_seen)}
            if not types.isdisjoint(WAITING):
                # The run has ended before its last attempt. How many it had hangs on
                # the retries of other tasks, which a checkpoint spares.
                fewer, more = sorted([set(keys), set(keys_seen)], key=len)
                is_right = fewer <= more
            elif path is None:
                is_right = keys_seen == keys
            elif self.before_kill is not None and body in self.before_kill:
                is_right = keys_seen == []
            elif self.before_kill is not None and n_sharing[path] == 1:
                # What a killed run was at is there or not.
                is_right = keys_seen in [[], keys]
            elif self.is_unsure and path not in self.on_disk:
                is_right = keys_seen in [[], keys]
            elif self._is_there(path, lines[0][2], seen["files"]):
                is_right = keys_seen == []
            elif n_sharing[path] > 1:
                # Another child may have kept it, also between two attempts.
                is_right = set(keys_seen) <= set(keys)
            else:
                is_right = keys_seen == keys
            if not is_right:
                found.append(differs)
        for body, path in paths.items():
            if finals_seen.get(body, {}).get("type") in WAITING:
                continue
            named = PATH.search(finals_seen.get(body, {}).get("message") or "")
            file = named.group(1).rpartition("/")[2] if named else ""
            self.on_disk[path] = (truth_bodies[body][0][2], file)
        self.before_kill = None
        return found

    def _is_kept(self, body: Body, finals: dict[Body, dict[str, Any]]) -> bool:
        """Return whether a task, or child, succeeds with what its handler keeps."""
        state = finals.get(body)
        if body[0] not in self.kept or state is None or state["type"] != "Success":
            return False
        return is_result(state["value"])

    def _is_there(self, path: tuple[Any, ...], took: Any, files: list[str]) -> bool:
        """Return whether an earlier run has left the checkpoint for these inputs."""
        kept_for, file = self.on_disk.get(path, (None, ""))
        stem = file.removeprefix(".").removesuffix(LIST_OF_OUTPUTS)
        needed = [file]
        if file.endswith(LIST_OF_OUTPUTS):
            needed = [stem + ending for ending in (".parquet", ".json", ".pkl")]
        return kept_for == took and {*needed} <= {*files}

    def _path_key(
        self, name: str, index: int | None, took: list[Any], s: str
    ) -> tuple[Any, ...]:
        template = self.kept[name]
        return (
            name,
            index if "{map_index}" in template else None,
            json.dumps(took[0]) if "{a}" in template else None,
            s if "{s}" in template else None,
        )

    def killed(self, step: Step, bodies: list[Any]) -> None:
        """Remember what a killed run had kept by then."""
        self.before_kill = set()
        if step.executor != "local":
            return
        last_started = max(
            (at for at, line in enumerate(bodies) if line[1] == "took"), default=0
        )
        for (name, index, *_), what, values, _ in bodies[:last_started]:
            if what == "gave" and name in self.kept and is_result(values[0]):
                self.before_kill.add((name, index))


def bodies_of(run: dict[str, Any]) -> dict[Body, Any]:
    """Return for each task, or mapped child, what its bodies noted."""
    bodies: dict[Body, Any] = defaultdict(list)
    for line in run["bodies"]:
        bodies[line[0][0], line[0][1]].append(line)
    return bodies


def is_result(value: Any) -> bool:
    """Return whether a value is one that a handler keeps: not none, nor a signal."""
    if value in ("", NONE):
        return False
    # Prefect's signals are in capitals: the message of a task, not what it returned.
    return not (isinstance(value, list) and value and str(value[0]).isupper())


def loses_items(truth: dict[str, Any], flattened: Collection[str]) -> bool:
    """Return whether a run of stock Prefect may have lost what children return.

    A task that is mapped over ``flatten(children)`` starts when some children have ended
    and others wait for their retries, each of which then counts as one item. Once those
    give more, or fewer, the items after them have other places.
    """
    if not flattened:
        return False
    n_attempts: Counter[Body] = Counter()
    for (name, index, attempt, _), *_ in truth["bodies"]:
        n_attempts[name, index] = max(attempt, n_attempts[name, index])
    for slug, state in truth["tasks"].items():
        name = slug.rpartition("-")[0]
        children = state.get("children", ())
        if name not in flattened:
            continue
        # It may have gone on without those that the run's end has left waiting.
        if any(child["type"] in WAITING for child in children):
            return True
        of_children = {n_attempts[name, index] for index in range(len(children))}
        if len(of_children) > 1 and max(of_children) > 1:
            return True
    return False


def attempts(lines: Iterable[Any]) -> list[str]:
    """Return which attempts, and turns of a loop, have begun."""
    return sorted(json.dumps(line[0]) for line in lines if line[1] == "took")


def final_states(run: dict[str, Any]) -> dict[Body, dict[str, Any]]:
    """Return the states by name of task and index of child."""
    states: dict[Body, dict[str, Any]] = {}
    for slug, state in run["tasks"].items():
        name = slug.rpartition("-")[0]
        states[name, None] = state
        for index, child in enumerate(state.get("children", ())):
            states[name, index] = child
    return states


def has_children_by_retry(
    truth: dict[str, Any], seen: dict[str, Any], run: dict[str, Any]
) -> bool:
    """Return whether a mapped task has children only where Prefect retries any task.

    Prefect finds no children where one of the upstream tasks failed before it was
    mapped, and in the round of a retry it makes some, whose triggers fail. A checkpoint
    of the task with the retries spares that round.
    """
    types = {child["type"] for child in truth["children"]}
    has_rounds = any(body[2] > 1 for body, *_ in run["bodies"])
    return has_rounds and not seen["children"] and types == {"TriggerFailed"}


def is_given_or_changed(seen: Any, given: Any, changed: Any) -> bool:
    """Return whether all parts of a value are as they were given or as changed later.

    What a checkpoint keeps is read as it was given; lists and dicts around it stay the
    objects that a later task has changed.
    """
    if seen in (given, changed):
        return True
    if not all(isinstance(value, list) for value in (seen, given, changed)):
        return False
    # A change adds to the end.
    return len(seen) == len(given) <= len(changed) and all(
        map(is_given_or_changed, seen, given, changed)
    )


def same_message(truth: str | None, seen: str | None) -> bool:
    """Return whether a message says the same, a checkpoint's fate set aside."""
    if truth == seen:
        return True
    seen = seen or ""
    if seen.startswith("Loaded from the checkpoint: "):
        return True
    ours = (" Ran because ", " No checkpoint was written: ")
    start = truth or "Task run succeeded."
    return seen.startswith(tuple(start + one for one in ours))


def shares_more(places: list[int], truth: list[int]) -> bool:
    """Return whether objects are one that are two in truth."""
    if len(places) != len(truth):
        return False
    return any(
        places[one] == places[two] and truth[one] != truth[two]
        for two in range(len(places))
        for one in range(two)
    )


def first_difference(truth: Any, seen: Any, at: str = "") -> str:
    """Return in words where two canonical values differ first."""
    if isinstance(truth, list) and isinstance(seen, list) and len(truth) == len(seen):
        for place, (one, other) in enumerate(zip(truth, seen, strict=True)):
            if one != other:
                return first_difference(one, other, f"{at}[{place}]")
    return f"{at} {str(truth)[:300]} without, {str(seen)[:300]} with"
