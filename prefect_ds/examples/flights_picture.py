"""The picture of the flights example: a heat map of the hours lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd


def draw(ranking: pd.DataFrame, path: Path, *, when: str, n_routes: int = 15) -> None:
    """Draw the hours lost per route and hour of the day into a PNG file.

    Shows the ``n_routes`` routes that lose most.
    """
    from matplotlib.figure import Figure  # Without pyplot, nothing looks for a screen.

    route = ["origin", "dest", "dest_name"]
    ranking = ranking.assign(hours_lost=ranking["minutes_lost"] / 60)
    per_hour = (
        ranking[ranking["arrived"] > 0]
        .groupby("hour")[["minutes_lost", "arrived"]]
        .sum()
    )
    hours = range(per_hour.index.min(), per_hour.index.max() + 1)
    per_route = ranking.groupby(route)["hours_lost"].sum()
    worst = per_route.nlargest(n_routes)
    cells = ranking.pivot_table(
        index=route, columns="hour", values="hours_lost", aggfunc="sum"
    )
    rows, columns = np.arange(len(worst)) + 0.5, np.arange(len(hours)) + 0.5

    figure = Figure(figsize=(13, 3.4 + 0.36 * len(worst)))
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    axes = figure.subplot_mosaic(
        [["top", "."], ["map", "side"]],
        width_ratios=[4, 1],
        height_ratios=[1, 0.5 + len(worst) / 4],
    )
    heat, top, side = axes["map"], axes["top"], axes["side"]
    grid = cells.reindex(index=worst.index, columns=list(hours)).to_numpy(float)
    mesh = heat.pcolormesh(grid, cmap="YlOrRd", vmin=0, edgecolor="white", linewidth=1)
    heat.set_facecolor("0.92")
    heat.invert_yaxis()
    heat.set_xticks(columns, [f"{hour:02d}" for hour in hours])
    heat.set_yticks(
        rows,
        [f"{origin} → {dest}" for origin, dest, _ in worst.index],
        family="monospace",
    )
    heat.tick_params(length=0)
    for row, (_, _, name) in zip(rows, worst.index, strict=True):
        airport = name.removesuffix(" Intl")
        heat.text(
            -0.115,
            row,
            airport,
            transform=heat.get_yaxis_transform(),
            ha="right",
            va="center",
        )
    heat.set_xlabel("Hour of scheduled departure, New York time (grey: no flights)")
    figure.colorbar(
        mesh,
        ax=heat,
        location="bottom",
        aspect=50,
        shrink=0.6,
        label="Hours lost by late arrivals",
    )

    top.bar(
        per_hour.index - hours[0] + 0.5,
        per_hour["minutes_lost"] / per_hour["arrived"],
        color="0.6",
    )
    top.set(xlim=(0, len(hours)), xticks=[], ylabel="minutes")
    top.set_title("Lost per arrived flight, all routes", fontsize=11, loc="left")
    side.bar_label(side.barh(rows, worst, color="0.6"), fmt="{:,.0f}", padding=3)
    side.set(ylim=heat.get_ylim(), xlim=(0, 1.25 * worst.max()), xticks=[], yticks=[])
    side.set_title("Hours lost, whole day", fontsize=11, loc="left")
    for axis in (top, side):
        axis.spines[["top", "right"]].set_visible(False)
    side.spines["bottom"].set_visible(False)

    # Empty lines under the title make room for the smaller line.
    figure.suptitle(
        f"Where flights from New York lost time, {when}\n\n",
        fontsize=16,
        weight="bold",
        x=0.01,
        ha="left",
    )
    n_arrived, n_hours = ranking["arrived"].sum(), per_route.sum()
    about = (
        f"Of {n_arrived:,} flights that arrived, the late ones lost {n_hours:,.0f} "
        "hours in all; "
        f"shown are the {len(worst)} of {len(per_route)} routes that lost most."
    )
    figure.text(
        0.01,
        1 - 0.52 / figure.get_figheight(),
        about,
        fontsize=11,
        va="top",
        color="0.3",
    )
    figure.savefig(path, dpi=110)
