"""Each benchmark runs, once and at its smallest size, so that none rots."""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import dask
import pytest

from benchmarks import __main__ as command
from benchmarks import suites
from benchmarks.report import full_run, page, publish
from benchmarks.support import common, measure, rivals
from tests.support.scale import SCALE

pytestmark = pytest.mark.filterwarnings(
    "ignore"
)  # what pandas, joblib and PyTables say of a rival is not asked here

SLOW = {
    "client_memory.ClientMemory",
    "dask_frames.ClientMemory",
    "dask_frames.OpenFrame",
    "dask_frames.ReadFrame",
    "dask_frames.ResumeFlow",
    "dask_frames.WriteFrame",
    "scaling.Workers",
    "scaling.WorkersExponent",
}


@pytest.fixture(autouse=True)
def _dask_config() -> Iterator[None]:
    with dask.config.set():
        before = dict(dask.config.config)
        yield
        dask.config.config.clear()
        dask.config.config.update(before)


@pytest.fixture(scope="module", autouse=True)
def _clusters() -> Iterator[None]:
    yield
    common.close_clusters()


def combinations(choices: list[list[Any]]) -> list[tuple[Any, ...]]:
    """Return as few combinations as have each value once; all of them in the long run."""
    if SCALE >= 10:
        return list(itertools.product(*choices))
    n_combinations = max(map(len, choices), default=1)
    return [
        tuple(values[number % len(values)] for values in choices)
        for number in range(n_combinations)
    ]


def found() -> Iterator[object]:
    """Yield each method of each benchmark with parameters of the smallest sizes."""
    for module in pkgutil.iter_modules(suites.__path__):
        if module.name.startswith("__"):
            continue
        members = vars(import_module(f"benchmarks.suites.{module.name}")).values()
        for benchmark in [
            each
            for each in members
            if inspect.isclass(each) and each.__module__.endswith(module.name)
        ]:
            methods = [
                name
                for name in dir(benchmark)
                if re.match("(time|track|peakmem)_", name)
            ]
            if not methods:
                continue
            name = f"{module.name}.{benchmark.__name__}"
            choices = [
                values[:1] if isinstance(values[0], int | float) else values
                for values in getattr(benchmark, "params", ())
            ]
            if name == "mapped_flows.FiveStages":
                choices[3] = [
                    0,
                    1_000,
                ]  # the rows: of the tasks of None, and of the others
            sample = combinations(choices)
            if name in SLOW and SCALE < 10:
                sample = sample[:1]  # The rest are rivals, or more workers.
            for method, params in itertools.product(methods, sample):
                is_slow = name in SLOW or "DaskExecutor" in params
                marks = [pytest.mark.slow] if is_slow else []
                yield pytest.param(
                    benchmark,
                    method,
                    params,
                    marks=marks,
                    id=f"{name}.{method}-{'-'.join(map(str, params))}",
                )


@pytest.mark.parametrize(("benchmark", "method", "params"), list(found()))
def test_a_benchmark_runs(benchmark, method, params):
    case = benchmark()
    try:
        getattr(case, "setup", lambda *_: None)(*params)
    except NotImplementedError as reason:
        pytest.skip(str(reason))
    value = getattr(case, method)(*params)
    getattr(case, "teardown", lambda *_: None)(*params)
    if method.startswith("track_"):
        assert isinstance(value, int | float)


def test_a_frame_is_the_same_each_time():
    before = common.frame(100)
    common.frame.cache_clear()
    assert common.frame(100).equals(before)
    assert not common.frame(100, seed=1).equals(before)


@pytest.mark.parametrize("rival", rivals.RIVALS)
def test_rivals_do_the_same_work_and_keep_it(rival, tmp_path):
    if rival == "joblib.Memory":
        pytest.importorskip("joblib")
    work = rivals.MappedWork(rival, str(tmp_path), n_children=20, n_rows=10)
    counts = []
    for lose in (False, False, True):
        lost = work.lose(every=10) if lose else 0
        with common.reads(str(tmp_path)) as reads:
            work.run()
        counts.append((lost, len(reads)))
    assert [lost for lost, _ in counts] == (
        [0, 0, 0] if rival == "prefect, nothing kept" else [0, 0, 4]
    )
    if rival == "prefect_ds":
        assert counts[1][1] == 0, "a resume reads no data"
    if rival.startswith("prefect target"):
        assert counts[1][1] == 40


def test_an_exponent_is_that_of_the_growth():
    assert common.exponent([1, 10, 100], [3.0, 30.0, 300.0]) == pytest.approx(1)
    assert common.exponent([1, 10, 100], [3.0, 3.0, 3.0]) == pytest.approx(0)


def test_what_is_too_noisy_is_said_to_be():
    assert measure.verdict(measure.Spread.of([0.9, 1.0, 1.05]), 1.1) == "met"
    assert measure.verdict(measure.Spread.of([1.2, 1.3, 1.4]), 1.1) == "not met"
    assert (
        measure.verdict(measure.Spread.of([0.9, 1.0, 1.2]), 1.1) == "too noisy to tell"
    )
    assert measure.Machine([1.0] * 4 + [2.0] * 4, 0.0).is_noisy
    assert not measure.Machine([1.0] * 8, 0.0).is_noisy


def test_a_rival_that_is_not_there_is_left_out():
    class Absent:
        def setup(self):
            raise NotImplementedError

    class Present:
        def time_it(self):
            pass

    cases = {
        "absent": measure.Case(Absent, "time_it", ()),
        "present": measure.Case(Present, "time_it", ()),
    }
    measured = measure.interleaved(cases, measure.Machine(), budget_s=0.0)
    assert list(measured) == ["present"]
    assert len(measured["present"]) == 3


@pytest.mark.slow
def test_the_command_prints_its_table(capsys):
    command.main(["--quick", "--only", "shares"])
    printed = capsys.readouterr().out
    assert "checksum" in printed


@pytest.mark.slow
def test_sections_make_the_page(tmp_path):
    """Those that start a cluster are measured in the long run only."""
    pytest.importorskip("matplotlib")
    machine = measure.Machine()
    figures = {"machine": "one machine", "noise": str(machine)}
    sections = full_run.SECTIONS
    if SCALE < 10:
        sections = {name: sections[name] for name in ("types", "growth")}
    figures |= {name: section("quick", machine) for name, section in sections.items()}
    docs = tmp_path / "benchmarks.md"
    published = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
    docs.write_text(published)
    page.write(docs, figures)
    written = docs.read_text()
    assert written.count("|:--") == published.count("|:--") == len(page.TABLES) - 1
    for name in figures.keys() & page.TABLES.keys():
        assert page.TABLES[name](figures) in written
        assert page.TABLES[name](figures) not in published
    pictures = list(tmp_path.glob("benchmarks_*.svg"))
    assert len(pictures) >= 2
    assert all(picture.read_text().count("<text") > 5 for picture in pictures)


def test_published_pages_load_nothing_from_elsewhere(tmp_path):
    packages, html = tmp_path / "node_modules", tmp_path / "html"
    for each in [*publish.FILES.values(), "bootstrap/dist/fonts/icons.woff"]:
        (packages / each).parent.mkdir(parents=True, exist_ok=True)
        (packages / each).touch()
    asv_page = importlib.util.find_spec("asv")
    if asv_page is None:
        pytest.skip("asv is not installed")
    www = Path(asv_page.origin).parent / "www"
    html.mkdir()
    (html / "index.html").write_text((www / "index.html").read_text())
    (html / "info.json").write_text('{"timestamp": 1}')
    publish.make_self_contained(html, packages)
    loaded = re.findall(
        r'<(?:script|link)[^>]*(?:src|href)="([^"]+)"',
        (html / "index.html").read_text(),
    )
    assert [each for each in loaded if "//" in each] == []
    assert (
        '"info.json":{"timestamp":1}' in (html / "scripts" / "figures.js").read_text()
    )
