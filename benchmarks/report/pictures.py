"""Draws the figures as SVG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report.figures import Figures, costs_by_size, in_seconds
from benchmarks.suites.file_types import break_even

INK, GRID = "#333333", "#dddddd"
COLOURS = ["#1b6ca8", "#d1495b", "#edae49", "#66a182", "#8d6a9f", "#7a7a7a", "#2e4057"]


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
    # A date would make the same figures another file.
    metadata = {"Date": None} if path.suffix == ".svg" else None
    figure.savefig(path, metadata=metadata, facecolor="white", dpi=120)


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
                value * 1.06,
                number + offset,
                in_seconds(value),
                va="center",
                fontsize=7,
            )
    axes.set_yticks(range(len(names)), names)
    axes.set_xscale("log")
    axes.set_xmargin(0.12)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("seconds for a million rows of six columns, log scale")
    axes.legend(frameon=False, loc="upper right")
    _save(figure, path)


def draw_break_even(figures: Figures, path: Path) -> None:
    """Draw the time of two runs with a checkpoint, by the cost of computing.

    It is measured, and computed from the costs of the file type; as a share of the time
    of two runs without a checkpoint.
    """
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
        # Evenly spaced on the log scale.
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
    """Draw cost against size, both in log scale.

    A flat cost is a flat line, and a linear one rises by a decade in a decade.
    """
    figure, axes = _axes()
    for (what, costs), colour in zip(
        costs_by_size(figures).items(), COLOURS, strict=False
    ):
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


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of the docs page."""

    draw: Callable[[Figures, Path], None]
    sections: frozenset[str]
    """Those that it shows: without one of them it is not drawn."""


PICTURES = {
    "types": Picture(draw_types, frozenset({"types"})),
    "break_even": Picture(draw_break_even, frozenset({"two_runs", "types"})),
    "flows": Picture(draw_flows, frozenset({"flows"})),
    "growth": Picture(draw_growth, frozenset({"growth"})),
}
