"""Lays the figures out as tables in Markdown, and puts them into the docs page.

A table goes between its markers, ``<!-- table: ratios -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.report.figures import Figures, costs_by_size, in_seconds
from benchmarks.report.pictures import PICTURES
from benchmarks.suites.file_types import break_even
from benchmarks.support import common


def write(path: Path, figures: Figures) -> None:
    """Put the tables between their markers in a page, and the pictures beside it.

    Raises
    ------
    ValueError
        The page has no place for a table.
    """
    text = path.read_text()
    # Tables of sections that were not measured stay as they are.
    for name, table in TABLES.items():
        if name in figures:
            text = _put(text, name, table(figures))
    path.write_text(text)
    for name, picture in PICTURES.items():
        if figures.keys() >= picture.sections:
            picture.draw(figures, path.with_name(f"benchmarks_{name}.svg"))


def _put(text: str, name: str, table: str) -> str:
    begin, end = f"<!-- table: {name} -->", "<!-- end -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(
            f"the page has no place for the table {name!r}: {begin} ... {end}"
        )
    # A function, as a backslash in a text would mean a group.
    return pattern.sub(lambda _: f"{begin}\n{table}\n{end}", text, count=1)


def _markdown(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    align = ["left"] + ["right"] * (len(headers) - 1)
    return tabulate(
        rows, headers, tablefmt="pipe", disable_numparse=True, colalign=align
    )


def machine(figures: Figures) -> str:
    """Return a line on the machine, and on how quiet it was."""
    return f"{figures['machine']}. {figures.get('noise', '')}"


def ratios(figures: Figures) -> str:
    """Return the table of ratios."""
    rows = []
    for case in figures["ratios"]:
        ratio, at_most = case["ratio"], ""
        # Of most rivals nothing is promised.
        if case["at_most"] is not None:
            at_most = f"{case['at_most']:.2f}"
        rows.append(
            (
                case["question"],
                case["against"],
                in_seconds(case["ours_s"]),
                f"{ratio['median']:.2f}",
                f"{ratio['low']:.2f} to {ratio['high']:.2f}",
                at_most,
                case["verdict"],
            )
        )
    return _markdown(
        ("what", "against", "ours", "ratio", "spread", "at most", ""), rows
    )


def memory(figures: Figures) -> str:
    """Return the client's memory above its base."""
    rows = [
        (
            f"{case['n_frames']} frames of {case['frame_mb']} MB, {case['situation']}",
            case["rival"],
            f"{max(case['above_base_bytes'], 0) / 2**20:,.0f} MiB",
        )
        for case in figures["memory"]
    ]
    return _markdown(
        (
            "flow on two worker processes",
            "results kept by",
            "client's peak above its base",
        ),
        rows,
    )


def types(figures: Figures) -> str:
    """Return the table of the cost of a million rows, by file type."""
    rows = []
    for case in figures["types"]:
        # Slow types are measured with fewer rows. A hit takes the same for any size.
        scale = 1e6 / case["n_rows"]
        pays_above = break_even(
            case["write_s"], case["read_s"], case["hit_s"], case["n_rows"]
        )
        rows.append(
            (
                case["file_type"],
                in_seconds(case["write_s"] * scale),
                in_seconds(case["read_s"] * scale),
                in_seconds(case["hit_s"]),
                f"{case['bytes_a_row']:.0f}",
                in_seconds(pays_above),
                in_seconds((case["write_s"] + case["hit_s"]) * scale),
            )
        )
    headers = (
        "file type",
        "write",
        "read",
        "hit, any size",
        "bytes a row",
        "pays above, frame needed",
        "pays above, not needed",
    )
    return _markdown(headers, rows)


def two_runs(figures: Figures) -> str:
    """Return the time of two runs beside that without a checkpoint."""
    seconds = {
        (case["file_type"], case["compute_s_per_million_rows"]): case["two_runs_s"]
        for case in figures["two_runs"]
    }
    costs = sorted({cost for _, cost in seconds})
    names = list(dict.fromkeys(name for name, _ in seconds if name != "nothing kept"))
    rows = []
    for name in names:
        ratios = [seconds[name, cost] / seconds["nothing kept", cost] for cost in costs]
        rows.append((name, *(f"{ratio:.2f}" for ratio in ratios)))
    headers = [f"{cost:g} s" for cost in costs]
    return _markdown(("computing a million rows takes", *headers), rows)


def shares(figures: Figures) -> str:
    """Return the table of the steps of a commit, as shares of its time."""
    rows = []
    for case in figures["shares"]:
        steps = [case[step] for step in ("file", "checksum", "manifest", "rename")]
        rows.append(
            (
                f"{case['n_rows']:,}",
                *(f"{step:.1%}" for step in [*steps, 1 - sum(steps)]),
            )
        )
    return _markdown(
        ("rows", "the file itself", "checksum", "manifest", "rename", "rest"), rows
    )


def flows(figures: Figures) -> str:
    """Return the table of the rivals' times, as shares of ours."""
    by_case: dict[tuple[Any, ...], dict[str, float]] = {}
    for case in figures["flows"]:
        by_case.setdefault(
            (case["executor"], case["n_children"], case["situation"]), {}
        )[case["rival"]] = case["median_s"]
    rivals = list(dict.fromkeys(case["rival"] for case in figures["flows"]))
    rows = []
    for (executor, n_children, situation), by_rival in by_case.items():
        ours = by_rival["prefect_ds"]
        others = (
            f"{by_rival[rival] / ours:.2f}" if rival in by_rival else ""
            for rival in rivals[1:]
        )
        rows.append(
            (f"{executor}, 2 x {n_children}, {situation}", in_seconds(ours), *others)
        )
    return _markdown(("flow", *rivals), rows)


def counts(figures: Figures) -> str:
    """Return the table of reads, and of bytes through the scheduler."""
    names = [name for name in figures["counts"][0] if name != "rival"]
    rows = []
    for case in figures["counts"]:
        numbers = [case.get(name) for name in names]
        # A rival without a scheduler sends nothing.
        texts = ["" if number is None else f"{number:,.0f}" for number in numbers]
        rows.append((case["rival"], *texts))
    return _markdown(("", *(name.replace("_", " ") for name in names)), rows)


def resumes(figures: Figures) -> str:
    """Return the table of the CPU seconds of runs in which everything is loaded."""
    rows = [
        (
            case["what"],
            case["resumed_by"],
            in_seconds(case["cpu_s"]),
            *(f"{ratio:.2f}" for ratio in case["beside_pools"]),
        )
        for case in figures["resumes"]
    ]
    headers = ("flow", "resumed by", "CPU", "by a pool that reads", "that only looks")
    return _markdown(headers, rows)


def growth(figures: Figures) -> str:
    """Return the table of the fitted exponents."""
    rows = []
    for what, costs in costs_by_size(figures).items():
        (wanted,) = {
            case["wanted"] for case in figures["growth"] if case["what"] == what
        }
        sizes, seconds = zip(*costs, strict=True)
        rows.append(
            (
                what,
                f"{sizes[0]:,} to {sizes[-1]:,}",
                f"{in_seconds(seconds[0])} to {in_seconds(seconds[-1])}",
                f"{common.exponent(list(sizes), list(seconds)):.2f}",
                {0: "0: flat", 1: "at most 1: linear"}[wanted],
            )
        )
    return _markdown(("cost", "from, to", "took", "exponent", "wanted"), rows)


def workers(figures: Figures) -> str:
    """Return the table of the times with more workers, as shares of that with one."""
    names = list(dict.fromkeys(case["workers"] for case in figures["workers"]))
    rows = []
    for what in ("write", "read"):
        seconds = {
            case["workers"]: case["seconds"]
            for case in figures["workers"]
            if case["what"] == what
        }
        one_s = seconds[names[0]]
        rows.append((what, *(f"{seconds[name] / one_s:.2f}" for name in names)))
    return _markdown(("time beside that of one process", *names), rows)


TABLES: dict[str, Callable[[Figures], str]] = {
    "machine": machine,
    "ratios": ratios,
    "memory": memory,
    "types": types,
    "two_runs": two_runs,
    "shares": shares,
    "flows": flows,
    "counts": counts,
    "resumes": resumes,
    "growth": growth,
    "workers": workers,
}
