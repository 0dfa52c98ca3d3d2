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
        if all(each in figures for each in NEEDS.get(name, (name,))):
            text = _put(text, name, table(figures))
    path.write_text(text)
    for name, draw in PICTURES.items():
        if all(each in figures for each in NEEDS.get(name, (name,))):
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
        and all(each in figures for each in needs)
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
    for each in figures["ratios"]:
        found = each["ratio"]
        rows.append(
            (
                each["question"],
                each["against"],
                _seconds(each["ours_s"]),
                f"{found['median']:.2f}",
                f"{found['low']:.2f} to {found['high']:.2f}",
                "" if each["at_most"] is None else f"{each['at_most']:.2f}",
                each["verdict"],
            )
        )
    return _markdown(
        ("what", "against", "ours", "ratio", "spread", "at most", ""), rows
    )


def memory(figures: Figures) -> str:
    """Return the client's memory above its base."""
    rows = [
        (
            f"{each['n_frames']} frames of {each['frame_mb']} MB, {each['situation']}",
            each["rival"],
            f"{max(each['above_base_bytes'], 0) / 2**20:,.0f} MiB",
        )
        for each in figures["memory"]
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
    for each in figures["types"]:
        scale = 1e6 / each["n_rows"]
        rows.append(
            (
                each["file_type"],
                _seconds(each["write_s"] * scale),
                _seconds(each["read_s"] * scale),
                _seconds(each["hit_s"]),
                f"{each['bytes_a_row']:.0f}",
                _seconds(
                    break_even(
                        each["write_s"], each["read_s"], each["hit_s"], each["n_rows"]
                    )
                ),
                _seconds((each["write_s"] + each["hit_s"]) * scale),
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
    found = {
        (each["file_type"], each["compute_s_per_million_rows"]): each["two_runs_s"]
        for each in figures["two_runs"]
    }
    costs = sorted({cost for _, cost in found})
    names = list(dict.fromkeys(name for name, _ in found if name != "nothing kept"))
    rows = [
        (
            name,
            *(
                f"{found[name, cost] / found['nothing kept', cost]:.2f}"
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
    for each in figures["shares"]:
        steps = [each[step] for step in ("file", "checksum", "manifest", "rename")]
        rows.append(
            (
                f"{each['n_rows']:,}",
                *(f"{step:.1%}" for step in [*steps, 1 - sum(steps)]),
            )
        )
    return _markdown(
        ("rows", "the file itself", "checksum", "manifest", "rename", "rest"), rows
    )


def flows(figures: Figures) -> str:
    """Return what the rivals take of our time."""
    by_case: dict[tuple[Any, ...], dict[str, float]] = {}
    for each in figures["flows"]:
        by_case.setdefault(
            (each["executor"], each["n_children"], each["situation"]), {}
        )[each["rival"]] = each["median_s"]
    rivals = list(dict.fromkeys(each["rival"] for each in figures["flows"]))
    rows = []
    for (executor, n_children, situation), found in by_case.items():
        ours = found["prefect_ds"]
        others = (
            f"{found[rival] / ours:.2f}" if rival in found else ""
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
            each["rival"],
            *("" if each.get(name) is None else f"{each[name]:,.0f}" for name in names),
        )
        for each in figures["counts"]
    ]
    return _markdown(("", *(name.replace("_", " ") for name in names)), rows)


def growth(figures: Figures) -> str:
    """Return the fitted exponents."""
    rows = []
    for what, costs in _growth(figures).items():
        (wanted,) = {
            each["wanted"] for each in figures["growth"] if each["what"] == what
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
    found: dict[str, list[tuple[int, float]]] = {}
    for each in figures["growth"]:
        found.setdefault(each["what"], []).append((each["size"], each["seconds"]))
    return found


def workers(figures: Figures) -> str:
    """Return what more workers bring."""
    names = list(dict.fromkeys(each["workers"] for each in figures["workers"]))
    rows = []
    for what in ("write", "read"):
        found = {
            each["workers"]: each["seconds"]
            for each in figures["workers"]
            if each["what"] == what
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
    found = sorted(
        figures["types"],
        key=lambda each: -(each["write_s"] + each["read_s"]) / each["n_rows"],
    )
    names = [each["file_type"] for each in found]
    figure, axes = _axes(height=0.34 * len(names) + 1)
    for offset, what, colour in (
        (0.2, "write", COLOURS[0]),
        (-0.2, "read", COLOURS[2]),
    ):
        seconds = [each[f"{what}_s"] * 1e6 / each["n_rows"] for each in found]
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
    costs_of_type = {each["file_type"]: each for each in figures["types"]}
    figure, axes = _axes()
    axes.axhline(1, color=INK, linewidth=1)
    measured: dict[str, list[tuple[float, float]]] = {}
    without = {
        each["compute_s_per_million_rows"]: each["two_runs_s"]
        for each in figures["two_runs"]
        if each["file_type"] == "nothing kept"
    }
    for each in figures["two_runs"]:
        cost = each["compute_s_per_million_rows"]
        if each["file_type"] != "nothing kept" and cost > 0:
            measured.setdefault(each["file_type"], []).append(
                (cost, each["two_runs_s"] / without[cost])
            )
    for (name, points), colour in zip(measured.items(), COLOURS, strict=False):
        costs = [0.02 * 1.1**step for step in range(80) if 0.02 * 1.1**step <= 40]
        each = costs_of_type[name]
        extra = break_even(
            each["write_s"], each["read_s"], each["hit_s"], each["n_rows"]
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
    largest = max(each["n_children"] for each in figures["flows"])
    found = [each for each in figures["flows"] if each["n_children"] == largest]
    groups = list(
        dict.fromkeys((each["executor"], each["situation"]) for each in found)
    )
    rivals = list(dict.fromkeys(each["rival"] for each in found))
    figure, axes = _axes()
    width = 0.8 / len(rivals)
    for number, rival in enumerate(rivals):
        times = {
            (each["executor"], each["situation"]): each["median_s"]
            for each in found
            if each["rival"] == rival
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
    "growth": growth,
    "workers": workers,
}

PICTURES: dict[str, Callable[[Figures, Path], None]] = {
    "types": draw_types,
    "break_even": draw_break_even,
    "flows": draw_flows,
    "growth": draw_growth,
}
