"""Measures the sections of the docs page, as plain values that JSON holds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from benchmarks.report import questions
from benchmarks.report.questions import Level
from benchmarks.suites import (
    bare_writes,
    file_types,
    full_resumes,
    mapped_flows,
    scaling,
)
from benchmarks.support.measure import Case, Machine, Spread, interleaved, ratio
from benchmarks.support.rivals import RIVALS

Rows = list[dict[str, Any]]
"""One section's figures."""


def ratios(level: Level, machine: Machine) -> Rows:
    """Return the answers to :func:`benchmarks.report.questions.questions`."""
    budget_s = {"quick": 0.0, "normal": 40.0, "full": 240.0}[level]
    measured = []
    for answer in questions.answers(level, machine, budget_s=budget_s):
        sys.stderr.write(
            f"{answer.question}, against {answer.against}: {answer.ratio.median:.2f}\n"
        )
        measured.append(asdict(answer))
    return measured


def memory(level: Level, machine: Machine) -> Rows:
    """Return the client's memory above its base."""
    machine.pulse()
    return [asdict(answer) for answer in questions.memory(level)]


def types(level: Level, machine: Machine) -> Rows:
    """Return the seconds and bytes of a frame, by file type."""
    measured = []
    for file_type in file_types.FILE_TYPES:
        n_rows = _rows(file_type, level)
        cases = {
            method: Case(file_types.Checkpoint, f"time_{method}", (file_type, n_rows))
            for method in ("write", "read", "hit")
        }
        seconds = interleaved(
            cases,
            machine,
            budget_s=8.0 if level == "full" else 0.0,
            least=1 if level == "quick" else 3,
        )
        # A package is missing.
        if not seconds:
            continue
        medians = {
            method: Spread.of(values).median for method, values in seconds.items()
        }
        case = file_types.Checkpoint()
        case.setup(file_type, n_rows)
        size_bytes = case.track_bytes(file_type, n_rows)
        case.teardown()
        measured.append(
            {
                "file_type": file_type,
                "n_rows": n_rows,
                "bytes_a_row": size_bytes / n_rows,
                **{f"{method}_s": value for method, value in medians.items()},
                "width": max(Spread.of(values).width for values in seconds.values()),
            }
        )
    return measured


def _rows(file_type: str, level: Level) -> int:
    if level != "full":
        return 1_000
    if file_type in file_types.SLOW:
        return 20_000
    if file_type in ("csv", "json", "stata", "hdf"):
        return 200_000
    return 1_000_000


def two_runs(level: Level, machine: Machine) -> Rows:
    """Return the time of two runs, with and without a checkpoint, by cost."""
    _, costs, sizes = file_types.TwoRuns.params
    n_rows = sizes[-1]
    if level != "full":
        n_rows, costs = sizes[0], costs[:2]
    measured = []
    for cost in costs:
        cases = {
            name: Case(file_types.TwoRuns, "time_two_runs", (name, cost, n_rows))
            for name in file_types.KEEPERS
        }
        seconds = interleaved(
            cases,
            machine,
            budget_s=4.0 if level == "full" else 0.0,
            least=1 if level == "quick" else 3,
        )
        measured += [
            {
                "file_type": name,
                "n_rows": n_rows,
                "compute_s_per_million_rows": cost,
                "two_runs_s": Spread.of(values).median,
            }
            for name, values in seconds.items()
        ]
    return measured


def shares(level: Level, machine: Machine) -> Rows:
    """Return the steps of a commit, as shares of its time."""
    measured = []
    for n_rows in bare_writes.Shares.params[1][: 3 if level == "full" else 1]:
        case = bare_writes.Shares()
        case.setup("file", n_rows)
        measured.append({"n_rows": n_rows, **case.shares()})
        case.teardown()
    return measured


def flows(level: Level, machine: Machine) -> Rows:
    """Return the seconds of a mapped flow, by rival, executor, situation and size."""
    measured = []
    # The larger the flow, the less its time varies.
    rounds = {8: 5, 64: 3, 512: 2}
    sizes = [4]
    if level == "full":
        sizes = mapped_flows.MappedFlow.params[3]
    for n_children in sizes:
        for executor in mapped_flows.MappedFlow.params[1]:
            for situation in mapped_flows.SITUATIONS:
                cases = {
                    rival: Case(
                        mapped_flows.MappedFlow,
                        "time_run",
                        (rival, executor, situation, n_children),
                    )
                    for rival in RIVALS
                }
                least = rounds.get(n_children, 1) if level == "full" else 1
                seconds = interleaved(cases, machine, budget_s=0.0, least=least)
                measured += [
                    {
                        "n_children": n_children,
                        "executor": executor,
                        "situation": situation,
                        "rival": rival,
                        "median_s": Spread.of(values).median,
                        "width": Spread.of(values).width,
                    }
                    for rival, values in seconds.items()
                ]
    return measured


def counts(level: Level, machine: Machine) -> Rows:
    """Return reads, and bytes through the scheduler."""
    measured = []
    n_rows = 10_000
    for rival in RIVALS:
        row: dict[str, Any] = {"rival": rival}
        for situation in mapped_flows.SITUATIONS:
            row[f"reads, {situation}"] = _tracked(
                mapped_flows.Reads, "track_reads", (rival, situation, 10)
            )
        # A loop in one process has no scheduler.
        if rival != "joblib.Memory":
            for method in ("track_state_bytes", "track_call_bytes"):
                row[method.removeprefix("track_")] = _tracked(
                    mapped_flows.BytesThroughTheScheduler,
                    method,
                    (rival, "fresh", n_rows),
                )
        measured.append(row)
    return measured


def _tracked(benchmark: type, method: str, params: tuple[object, ...]) -> float | None:
    case = benchmark()
    try:
        case.setup(*params)
    except NotImplementedError:
        # The combination does not exist: asv leaves it out too.
        return None
    try:
        value: float = getattr(case, method)(*params)
        return value
    finally:
        if hasattr(case, "teardown"):
            case.teardown(*params)


def resumes(level: Level, machine: Machine) -> Rows:
    """Return the CPU seconds of runs in which all is loaded, and of bare pools."""
    n_children, n_many, n_rounds = 4, 8, 1
    if level == "full":
        n_children, n_many, n_rounds = 40, 5_000, 7
    by_name: dict[str, list[float]] = {name: [] for name in full_resumes.RESUMED_BY}
    five, many = full_resumes.FullResume(), full_resumes.ManyHits()
    five.setup("", n_children)
    many.setup(n_many)
    many_s = []
    for _ in range(n_rounds):
        machine.pulse()
        for name, seconds in by_name.items():
            seconds.append(five.track_cpu(name, n_children))
        many_s.append(many.track_cpu(n_many))
    measured: Rows = [
        {
            "what": f"5 stages x {n_children}",
            "resumed_by": name,
            "cpu_s": Spread.of(seconds).median,
            "beside_pools": [
                ratio(seconds, by_name[pool]).median for pool in full_resumes.POOLS
            ],
        }
        for name, seconds in by_name.items()
    ]
    row = {
        "what": f"2 stages x {n_many:,}",
        "resumed_by": "prefect_ds, DaskExecutor",
        "cpu_s": Spread.of(many_s).median,
        "beside_pools": [],
    }
    return [*measured, row]


def growth(level: Level, machine: Machine) -> Rows:
    """Return the costs by size of steps that ought to be flat or linear."""
    is_full = level == "full"
    measured: Rows = []

    def add(what: str, wanted: int, costs: Iterable[tuple[int, float]]) -> None:
        machine.pulse()
        measured.extend(
            {"what": what, "wanted": wanted, "size": size, "seconds": seconds}
            for size, seconds in costs
        )

    checkpoints = scaling.Checkpoints()
    checkpoints.setup(10)
    costs = checkpoints.costs(10_000 if is_full else 100)
    add(
        "commit, by checkpoints in the folder",
        0,
        [(size, cost[0]) for size, cost in costs.items()],
    )
    add(
        "hit, by checkpoints in the folder",
        0,
        [(size, cost[1]) for size, cost in costs.items()],
    )
    listing = scaling.Listing()
    listing.setup(100)
    listed = listing.costs(100_000 if is_full else 100)
    add("list a folder, by checkpoints", 1, listed.items())
    parts = scaling.Parts()
    parts.setup(1)
    costs = parts.costs(10_000 if is_full else 10)
    parts.teardown()
    add(
        "write a Dask frame, by parts",
        1,
        [(size, cost[0]) for size, cost in costs.items()],
    )
    add(
        "open a Dask frame, by parts",
        1,
        [(size, cost[1]) for size, cost in costs.items()],
    )
    add(
        "resume, by rows of a frame",
        0,
        scaling.ResumeBySize().costs(1_000_000 if is_full else 10_000).items(),
    )
    add(
        "resume, by tasks",
        1,
        scaling.ResumeByTasks().costs(4_096 if is_full else 64).items(),
    )
    return measured


def workers(level: Level, machine: Machine) -> Rows:
    """Return the seconds of writing and reading a Dask frame, by workers."""
    sizes = scaling.Workers.params[1]
    n_rows = sizes[-1] if level == "full" else sizes[0]
    measured: Rows = []
    for method in ("write", "read"):
        cases = {
            name: Case(scaling.Workers, f"time_{method}", (name, n_rows))
            for name in scaling.WORKERS
        }
        seconds = interleaved(
            cases,
            machine,
            budget_s=10.0 if level == "full" else 0.0,
            least=3 if level == "full" else 1,
        )
        measured += [
            {"what": method, "workers": name, "seconds": Spread.of(values).median}
            for name, values in seconds.items()
        ]
    return measured


SECTIONS: dict[str, Callable[[Level, Machine], Rows]] = {
    "ratios": ratios,
    "types": types,
    "two_runs": two_runs,
    "shares": shares,
    "counts": counts,
    "resumes": resumes,
    "growth": growth,
    "workers": workers,
    "memory": memory,
    "flows": flows,
}
