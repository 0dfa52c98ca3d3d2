"""Lays the figures out: tables in Markdown, pictures in SVG, each between its markers in the docs page."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.suites.file_types import break_even
from benchmarks.support import common

Figures = dict[str, Any]

INK, GRID = "#333333", "#dddddd"
COLOURS = ["#1b6ca8", "#d1495b", "#edae49", "#66a182", "#8d6a9f", "#7a7a7a", "#2e4057"]


def write(path: Path, figures: Figures) -> None:
    """Put the tables between their markers in a page, and the pictures beside it.

    Raises
    ------
    ValueError
        The page has no place for a table.
    """
    text = path.read_text()
    for name, table in TABLES.items():
        if all(needed in figures for needed in NEEDS.get(name, (name,))):
            text = _put(text, name, table(figures))
    path.write_text(text)
    for name, draw in PICTURES.items():
        if all(needed in figures for needed in NEEDS.get(name, (name,))):
            draw(figures, path.with_name(f"benchmarks_{name}.svg"))


def _put(text: str, name: str, table: str) -> str:
    begin, end = f"<!-- table: {name} -->", "<!-- end -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(
            f"the page has no place for the table {name!r}: {begin} ... {end}"
        )
    return pattern.sub(lambda _: f"{begin}\n{table}\n{end}", text, count=1)


def tables(figures: Figures, section: str) -> list[str]:
    """Return the tables that show a section."""
    return [
        table(figures)
        for name, table in TABLES.items()
        if section in (needs := NEEDS.get(name, (name,)))
        and all(needed in figures for needed in needs)
    ]


def _markdown(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    align = ["left"] + ["right"] * (len(headers) - 1)
    return tabulate(
        rows, headers, tablefmt="pipe", disable_numparse=True, colalign=align
    )


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def machine(figures: Figures) -> str:
    """Return on what, and how quietly, the figures were made."""
    return f"{figures['machine']}. {figures.get('noise', '')}"


def ratios(figures: Figures) -> str:
    """Return the table of ratios."""
    rows = []
    for case in figures["ratios"]:
        ratio = case["ratio"]
        rows.append(
            (
                case["question"],
                case["against"],
                _seconds(case["ours_s"]),
                f"{ratio['median']:.2f}",
                f"{ratio['low']:.2f} to {ratio['high']:.2f}",
                "" if case["at_most"] is None else f"{case['at_most']:.2f}",
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
    """Return what a million rows cost in each file type."""
    rows = []
    for case in figures["types"]:
        scale = 1e6 / case["n_rows"]
        rows.append(
            (
                case["file_type"],
                _seconds(case["write_s"] * scale),
                _seconds(case["read_s"] * scale),
                _seconds(case["hit_s"]),
                f"{case['bytes_a_row']:.0f}",
                _seconds(
                    break_even(
                        case["write_s"], case["read_s"], case["hit_s"], case["n_rows"]
                    )
                ),
                _seconds((case["write_s"] + case["hit_s"]) * scale),
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
    rows = [
        (
            name,
            *(
                f"{seconds[name, cost] / seconds['nothing kept', cost]:.2f}"
                for cost in costs
            ),
        )
        for name in names
    ]
    return _markdown(
        ("computing a million rows takes", *(f"{cost:g} s" for cost in costs)), rows
    )


def shares(figures: Figures) -> str:
    """Return where the time of a commit goes."""
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
    """Return what the rivals take of our time."""
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
            (f"{executor}, 2 x {n_children}, {situation}", _seconds(ours), *others)
        )
    return _markdown(("flow", *rivals), rows)


def counts(figures: Figures) -> str:
    """Return reads, and bytes through the scheduler."""
    names = [name for name in figures["counts"][0] if name != "rival"]
    rows = [
        (
            case["rival"],
            *("" if case.get(name) is None else f"{case[name]:,.0f}" for name in names),
        )
        for case in figures["counts"]
    ]
    return _markdown(("", *(name.replace("_", " ") for name in names)), rows)


def resumes(figures: Figures) -> str:
    """Return the CPU seconds of runs in which everything is loaded."""
    rows = [
        (
            case["what"],
            case["resumed_by"],
            _seconds(case["cpu_s"]),
            *(f"{ratio:.2f}" for ratio in case["beside_pools"]),
        )
        for case in figures["resumes"]
    ]
    headers = ("flow", "resumed by", "CPU", "by a pool that reads", "that only looks")
    return _markdown(headers, rows)


def growth(figures: Figures) -> str:
    """Return the fitted exponents."""
    rows = []
    for what, costs in _growth(figures).items():
        (wanted,) = {
            case["wanted"] for case in figures["growth"] if case["what"] == what
        }
        sizes, seconds = zip(*costs, strict=True)
        rows.append(
            (
                what,
                f"{sizes[0]:,} to {sizes[-1]:,}",
                f"{_seconds(seconds[0])} to {_seconds(seconds[-1])}",
                f"{common.exponent(list(sizes), list(seconds)):.2f}",
                {0: "0: flat", 1: "at most 1: linear"}[wanted],
            )
        )
    return _markdown(("cost", "from, to", "took", "exponent", "wanted"), rows)


def _growth(figures: Figures) -> dict[str, list[tuple[int, float]]]:
    growth: dict[str, list[tuple[int, float]]] = {}
    for case in figures["growth"]:
        growth.setdefault(case["what"], []).append((case["size"], case["seconds"]))
    return growth


def workers(figures: Figures) -> str:
    """Return what more workers bring."""
    names = list(dict.fromkeys(case["workers"] for case in figures["workers"]))
    rows = []
    for what in ("write", "read"):
        found = {
            case["workers"]: case["seconds"]
            for case in figures["workers"]
            if case["what"] == what
        }
        rows.append((what, *(f"{found[name] / found[names[0]]:.2f}" for name in names)))
    return _markdown(("time beside that of one process", *names), rows)


def _axes(width: float = 7.2, height: float = 3.6) -> tuple[Any, Any]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # The same figures give the same file: no random names, no date; and text stays
    # text.
    mpl.rcParams.update(
        {
            "svg.hashsalt": "prefect_ds",
            "svg.fonttype": "none",
            "font.size": 9,
            "text.color": INK,
        }
    )
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    figure.savefig(
        path,
        metadata={"Date": None} if path.suffix == ".svg" else None,
        facecolor="white",
        dpi=120,
    )


def draw_types(figures: Figures, path: Path) -> None:
    """Draw writing and reading a million rows, by file type."""
    slowest_first = sorted(
        figures["types"],
        key=lambda case: -(case["write_s"] + case["read_s"]) / case["n_rows"],
    )
    names = [case["file_type"] for case in slowest_first]
    figure, axes = _axes(height=0.34 * len(names) + 1)
    for offset, what, colour in (
        (0.2, "write", COLOURS[0]),
        (-0.2, "read", COLOURS[2]),
    ):
        seconds = [case[f"{what}_s"] * 1e6 / case["n_rows"] for case in slowest_first]
        axes.barh(
            [number + offset for number in range(len(names))],
            seconds,
            0.38,
            label=what,
            color=colour,
        )
        for number, value in enumerate(seconds):
            axes.text(
                value * 1.06, number + offset, _seconds(value), va="center", fontsize=7
            )
    axes.set_yticks(range(len(names)), names)
    axes.set_xscale("log")
    axes.set_xmargin(0.12)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("seconds for a million rows of six columns, log scale")
    axes.legend(frameon=False, loc="upper right")
    _save(figure, path)


def draw_break_even(figures: Figures, path: Path) -> None:
    """Draw two runs with a checkpoint beside two without, against the cost of computing: measured, and computed."""
    costs_of_type = {case["file_type"]: case for case in figures["types"]}
    figure, axes = _axes()
    axes.axhline(1, color=INK, linewidth=1)
    measured: dict[str, list[tuple[float, float]]] = {}
    without = {
        case["compute_s_per_million_rows"]: case["two_runs_s"]
        for case in figures["two_runs"]
        if case["file_type"] == "nothing kept"
    }
    for case in figures["two_runs"]:
        cost = case["compute_s_per_million_rows"]
        if case["file_type"] != "nothing kept" and cost > 0:
            measured.setdefault(case["file_type"], []).append(
                (cost, case["two_runs_s"] / without[cost])
            )
    for (name, points), colour in zip(measured.items(), COLOURS, strict=False):
        costs = [0.02 * 1.1**step for step in range(80) if 0.02 * 1.1**step <= 40]
        case = costs_of_type[name]
        extra = break_even(
            case["write_s"], case["read_s"], case["hit_s"], case["n_rows"]
        )
        axes.plot(
            costs,
            [(cost + extra) / (2 * cost) for cost in costs],
            color=colour,
            linewidth=1.2,
            label=name,
        )
        axes.plot(*zip(*points, strict=True), "o", color=colour, markersize=4)
    axes.set_xscale("log")
    axes.set_ylim(0.4, 3)
    axes.set_xlim(0.02, 40)
    axes.set_xlabel("seconds of computing a million rows, log scale")
    axes.set_ylabel("time of a run and a resume,\nbeside computing twice")
    axes.text(0.022, 1.03, "as long as without a checkpoint", fontsize=7)
    axes.text(0.022, 0.93, "below: the checkpoint pays", fontsize=7)
    axes.legend(
        frameon=False,
        title="lines: from the table\ndots: measured in flows",
        title_fontsize=7,
    )
    _save(figure, path)


def draw_flows(figures: Figures, path: Path) -> None:
    """Draw a task's share of the time of the largest mapped flow, by rival."""
    largest = max(case["n_children"] for case in figures["flows"])
    largest_flows = [case for case in figures["flows"] if case["n_children"] == largest]
    groups = list(
        dict.fromkeys((case["executor"], case["situation"]) for case in largest_flows)
    )
    rivals = list(dict.fromkeys(case["rival"] for case in largest_flows))
    figure, axes = _axes()
    width = 0.8 / len(rivals)
    for number, rival in enumerate(rivals):
        times = {
            (case["executor"], case["situation"]): case["median_s"]
            for case in largest_flows
            if case["rival"] == rival
        }
        places = [
            (place, times[group])
            for place, group in enumerate(groups)
            if group in times
        ]
        axes.bar(
            [place + (number - (len(rivals) - 1) / 2) * width for place, _ in places],
            [seconds / (2 * largest) * 1e3 for _, seconds in places],
            width * 0.94,
            label=rival,
            color=COLOURS[number],
        )
    axes.set_xticks(
        range(len(groups)),
        [
            f"{executor.removesuffix('Executor')}\n{situation}"
            for executor, situation in groups
        ],
    )
    axes.grid(visible=False, axis="x")
    axes.set_ylabel(f"ms a task, of 2 x {largest}")
    axes.legend(frameon=False, fontsize=7, ncols=2)
    axes.set_ymargin(0.25)
    _save(figure, path)


def draw_growth(figures: Figures, path: Path) -> None:
    """Draw cost against size, both in log scale: a flat line is flat, and one step up a step is linear."""
    figure, axes = _axes()
    for (what, costs), colour in zip(_growth(figures).items(), COLOURS, strict=False):
        axes.plot(
            *zip(*costs, strict=True),
            "o-",
            color=colour,
            markersize=3,
            linewidth=1.2,
            label=what,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("size: checkpoints, parts, rows or tasks")
    axes.set_ylabel("seconds")
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


NEEDS = {"break_even": ("two_runs", "types")}
"""Sections that a table or picture shows, where it is not the one of its name."""

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

PICTURES: dict[str, Callable[[Figures, Path], None]] = {
    "types": draw_types,
    "break_even": draw_break_even,
    "flows": draw_flows,
    "growth": draw_growth,
}
