"""Whether a chain of Dask frames with prefect_ds is what plain Dask gives."""

from __future__ import annotations

from typing import Any

from tests.differential.chain_kit import of_values
from tests.differential.flow_comparison import first_difference, same_message
from tests.differential.runs import Step


class ChainComparison:
    """Compares the runs of a chain, one after another, with the truth.

    Parameters
    ----------
    kept
        Stage to the template of its checkpoint.
    stages
        What of a stage's frame is the same run for run.
    """

    def __init__(
        self, kept: dict[str, str], stages: dict[str, dict[str, bool]]
    ) -> None:
        self.kept = kept
        self.stages = stages
        self.is_whole = False
        """Whether the run before has left all checkpoints of the same parameters."""

    def differences(
        self, step: Step, truth: dict[str, Any], seen: dict[str, Any], s: str
    ) -> list[str]:
        """Return in words what a run has that the truth has not."""
        found: list[str] = []
        if truth["flow"][0] != "Success":
            return found  # An error of Dask's own.
        for name in ("flow", "error"):
            if truth[name] != seen[name]:
                found.append(f"{name}: {truth[name]} without, {seen[name]} with")
        for slug in sorted(truth["tasks"].keys() | seen["tasks"].keys()):
            of_truth, of_seen = truth["tasks"].get(slug), seen["tasks"].get(slug)
            if of_truth is None or of_seen is None:
                found.append(f"{slug}: state is missing")
            elif of_truth["type"] != of_seen["type"]:
                texts = [
                    f"{one['type']} ({one['message']})" for one in (of_truth, of_seen)
                ]
                found.append(f"{slug}: {texts[0]} without, {texts[1]} with")
            else:
                found += self._state(step, slug, of_truth, of_seen)
        ran = {line[0][0] for line in seen["bodies"]} & {*self.kept, "part"}
        if self.is_whole and ran and step.gone is None and not step.is_changed:
            found.append(f"{sorted(ran)} ran, though all is kept")
        self.is_whole = step.kill_after is None and not found
        return found

    def killed(self, step: Step, bodies: list[Any]) -> None:
        """Forget what there is: a killed run has left some of it."""
        self.is_whole = False

    def _state(
        self, step: Step, slug: str, truth: dict[str, Any], seen: dict[str, Any]
    ) -> list[str]:
        found = []
        if not same_message(truth["message"], seen["message"]):
            texts = [truth["message"], seen["message"]]
            found.append(f"{slug}: {texts[0]!r} without, {texts[1]!r} with")
        of_truth, of_seen = truth["value"], seen["value"]
        if str(of_truth).startswith("raised "):
            return found  # Plain Dask cannot compute it.
        if not isinstance(of_truth, dict) or not isinstance(of_seen, dict):
            is_let_go = step.keep is not None and of_seen == "NoneType None"
            if of_truth != of_seen and not is_let_go:
                found.append(f"{slug}: {first_difference(of_truth, of_seen)}")
            return found
        stage = self.stages[slug.rpartition("-")[0]]
        names = ["labels", "index", "len", "meta"]
        names.append("rows_and_index" if stage["has_index"] else "rows")
        if stage["has_layout"]:
            names += ["n_partitions", "divisions"]
            if stage["is_ordered"] and stage["has_index"]:
                names.append("parts")
        is_fixed = stage["has_layout"] and stage["is_ordered"]
        for name in names:
            if of_truth[name] != of_seen[name]:
                difference = first_difference(of_truth[name], of_seen[name])
                found.append(f"{slug}: {name} {difference}")
        if is_fixed and of_truth["unknown"] != of_seen["unknown"]:
            found.append(f"{slug}: categories are known in one, in the other not")
        allowed = [of_truth["meta"], *of_truth["dtypes"]]
        for dtypes in of_seen["dtypes"]:
            for at, dtype in enumerate(dtypes):
                wanted = [one[at] for one in allowed]
                if not is_fixed and at < len(dtypes) - 1 and of_truth["unknown"][at]:
                    # Which rows are together, and how Dask moved them there, decides
                    # which categories a partition has, or that it has plain values: a
                    # shuffle through the disk makes values of two parts' categories,
                    # one of tasks makes categories of them.
                    dtype = of_values(dtype)
                    wanted = [of_values(one[at]) for one in allowed[1:]]
                if dtype not in wanted:
                    found.append(f"{slug}: dtype {dtype}, plain Dask has {wanted}")
                    return found
        return found
