"""Reports and explanations as pages, of real flows."""

import json
import os
import re

import html5lib
import pandas as pd
import pytest
from lxml import html
from prefect import Flow, Parameter
from prefect.utilities.configuration import set_temporary_config

from prefect_ds import DSTaskRunner, explain, task
from prefect_ds.engine.outcomes import TaskRun
from prefect_ds.pages.rendering import render_table
from prefect_ds.report import RunReport, TaskReport
from tests.support.browser import Opened, browser
from tests.support.flows import frame_of, parquet, pipeline

HOSTILE = "</title><script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"


def checked(document):
    """Return a page as a tree; an error if it is no valid HTML or refers to anything outside."""
    html5lib.HTMLParser(strict=True).parse(document)
    tree = html.document_fromstring(document)
    ids = tree.xpath("//@id")
    assert len(ids) == len(set(ids))
    links = tree.xpath("//@href | //@src")
    assert all(link.startswith("#") and link[1:] in ids for link in links), links
    assert len(tree.xpath("//script")) <= 1
    assert not re.search(r"url\(|@import", document)
    return tree


def texts(tree, path):
    return [" ".join(node.text_content().split()) for node in tree.xpath(path)]


def page_of(thing, folder):
    path = folder / "some folder" / "page.html"
    thing.to_html(path)
    return path, checked(path.read_text("utf-8"))


def hostile_flow(folder):
    """One child fails, one is skipped, and names are markup."""

    @task(name=HOSTILE, result=parquet(folder, "read_{number}"))
    def read(number):
        if number == 1:
            raise ValueError(HOSTILE)
        return frame_of(number)

    @task
    def total(frames, extra):
        return len(frames)

    with Flow(f"flow {HOSTILE}") as flow:
        frames = read.map([0, 1, 2, 3])
        total(frames, [frames, Parameter("extra", default=1)])
    return flow


def test_the_page_of_a_run_says_what_happened_to_every_child(run_here, tmp_path, notes):
    flow = pipeline(tmp_path, notes)
    run_here(flow)
    (tmp_path / "clean_2.parquet").unlink()
    report = RunReport.of(run_here(flow).result, flow=flow)

    path, tree = page_of(report, tmp_path)

    assert texts(tree, "//h1") == [flow.name]
    names = [task.task for task in report.tasks]
    assert texts(tree, "//summary//b") == names
    assert texts(tree, "//*[name()='svg']//*[@class='name']") == names
    assert (
        len(tree.xpath("//*[name()='path'][@class='edge']")) == len(report.edges) == 3
    )
    (clean,) = tree.xpath("//details[.//b='clean']")
    assert texts(clean, ".//tbody[.//th]//span[contains(@class, 'chip')]") == [
        "1 ran",
        "2 loaded",
    ]
    assert len(clean.xpath(".//tbody/tr[td]")) == 3
    first = texts(clean, "(.//tbody/tr[td])[1]/td")
    assert first[:2] == ["2", "clean_2.parquet"]
    assert first[-1] == "its data were gone, only the manifest was left"
    assert texts(clean, ".//code") == [f"{tmp_path}/"]
    (run,) = [run for run in report["clean"].runs if run.outcome == "ran"]
    assert (run.map_index, run.path) == (2, str(tmp_path / "clean_2.parquet"))
    assert run.reason == "its data were gone, only the manifest was left"
    assert [name for name in os.listdir(path.parent) if name != "page.html"] == []


def test_a_report_as_a_frame_has_a_row_for_every_child(run_here, tmp_path, notes):
    flow = pipeline(tmp_path, notes)
    report = RunReport.of(run_here(flow).result, flow=flow)
    frame = report.to_frame()
    assert frame.groupby("task", sort=False).size().to_dict() == {
        "download": 3,
        "clean": 3,
        "total": 1,
        "largest": 1,
    }
    assert frame["map_index"].dtype == "Int64"
    assert frame["size_bytes"].sum() == sum(task.size_bytes for task in report.tasks)
    assert RunReport(()).to_frame().columns.tolist() == frame.columns.tolist()


def test_an_explanation_is_a_page_with_the_words_of_its_table(
    tmp_path, notes, run_here
):
    flow = pipeline(tmp_path, notes)
    run_here(flow)
    (tmp_path / "download_1.parquet").unlink()
    explanation = explain(flow)
    _, tree = page_of(explanation, tmp_path)
    assert texts(tree, "//summary//b") == ["download", "clean", "total", "largest"]
    chips = texts(tree, "//p[@class='legend']/span")
    assert chips == [
        f"{explanation.counts[how]} {how}" for how in ("run", "maybe", "load")
    ]
    assert explanation.to_frame()["reason"].iloc[0] in tree.text_content()
    assert len(explanation.edges) == 3
    assert (
        explanation.to_mermaid().count("-->") == explanation.to_dot().count("->") == 3
    )


def test_parameters_and_lists_are_no_nodes_and_hand_their_edges_on(run_here, tmp_path):
    flow = hostile_flow(tmp_path)
    report = RunReport.of(run_here(flow).result, flow=flow)
    assert len(report.tasks) == 2
    assert report.edges == ((report.tasks[0].slug, report.tasks[1].slug),)
    assert explain(flow).edges == report.edges


def test_a_name_and_an_error_that_are_markup_are_shown_and_never_run(
    run_here, tmp_path
):
    flow = hostile_flow(tmp_path)
    report = RunReport.of(run_here(flow).result, flow=flow)
    _, tree = page_of(report, tmp_path)
    assert texts(tree, "//h1") == [f"flow {HOSTILE}"]
    assert HOSTILE in texts(tree, "//summary//b")
    assert texts(tree, "//p[contains(@class, 'status')]") == ["2 of 5 task runs failed"]
    (error,) = texts(tree, "//pre[@class='error']")
    assert error.startswith("Error during execution of task: ValueError(")
    assert not tree.xpath("//img")
    fragment = report._repr_html_()
    html5lib.HTMLParser(strict=True).parseFragment(fragment)
    assert not html.fragment_fromstring(fragment, "div").xpath(".//img | .//script")
    page_of(explain(flow), tmp_path)


def test_a_report_that_does_not_know_the_flow_has_a_page_too(run_here, tmp_path):
    @task(name="same")
    def one():
        return 1

    with Flow("two of one name") as flow:
        one()
        one()
    report = RunReport.of(run_here(flow).result)
    _, tree = page_of(report, tmp_path)
    assert texts(tree, "//h1") == ["A flow"]
    assert texts(tree, "//summary//b") == ["same", "same"]
    assert len(tree.xpath("//*[name()='svg']//*[contains(@class, 'node')]")) == 2


def big_report(n_children):
    """A report with long reasons, all different, and two failures at the end."""
    loaded = [
        TaskRun(
            index,
            "loaded",
            "",
            f"/data/rain/download_{index}.parquet",
            10_000,
            0,
            0.5,
            0.1,
            True,
        )
        for index in range(n_children)
    ]
    others = [
        TaskRun(
            index,
            "failed" if index > n_children - 3 else "ran",
            f"station <{index}> 'a{index:x}' -> 'é{index:x}' & so on => download => clean",
            f"/data/rain/clean_{index}.parquet",
            10_000,
            0.3,
            0.3,
            0.1,
        )
        for index in range(n_children)
    ]
    tasks = (
        TaskReport.of_runs("download", loaded, slug="download-1"),
        TaskReport.of_runs("clean", others, slug="clean-1"),
    )
    return RunReport(tasks, "rain", (("download-1", "clean-1"),))


def test_a_page_of_ten_thousand_children_is_below_two_megabytes(tmp_path):
    report = big_report(10_000)
    path = tmp_path / "big.html"
    report.to_html(path)
    assert path.stat().st_size < 2_000_000
    tree = html.document_fromstring(path.read_text("utf-8"))
    download, clean = tree.xpath("//details")
    assert len(download.xpath(".//tbody/tr[td]")) == 10_000, (
        "there is room for all of these"
    )
    shown = texts(clean, ".//tbody/tr[td]")
    assert shown[0].startswith("9998clean_9998.parquet"), "failures come first"
    (left_out,) = [row for row in shown if "no room" in row]
    number = int(left_out.split()[1].replace(",", ""))
    assert len(shown) - 1 + number == 10_000
    assert len(report._repr_html_()) < 150_000


def test_many_tasks_are_too_many_to_draw_and_the_page_says_so(tmp_path):
    runs = [TaskRun(None, "ran")]
    tasks = [
        TaskReport.of_runs(f"t{number}", runs, slug=f"t{number}-1")
        for number in range(300)
    ]
    _, tree = page_of(RunReport(tuple(tasks), "loop"), tmp_path)
    assert not tree.xpath("//*[name()='svg']")
    assert "300 tasks are too many to draw" in tree.text_content()
    tasks = [
        TaskReport.of_runs("read", runs, slug=f"read-{number}") for number in range(300)
    ]
    _, tree = page_of(RunReport(tuple(tasks), "loop"), tmp_path)
    assert texts(tree, "//*[name()='svg']//*[@class='name']") == ["read (300 tasks)"]


def page_setting(path):
    return set_temporary_config({"prefect_ds.report": str(path)})


def test_a_run_that_nobody_watches_leaves_a_page(run_here, tmp_path, notes):
    flow = pipeline(tmp_path, notes)
    with page_setting(tmp_path / "reports" / "{flow_name}_{flow_run_id}.html"):
        run_here(flow)
        run_here(flow)
    pages = list((tmp_path / "reports").iterdir())
    assert len(pages) == 2, "one a run"
    for page in pages:
        assert page.name.startswith(f"{flow.name}_")
        assert texts(checked(page.read_text("utf-8")), "//h1") == [flow.name]


def test_the_page_says_why_a_run_failed_before_its_tasks(run_here, tmp_path):
    @task(result=parquet(tmp_path, "same"))
    def same(number):
        return frame_of(number)

    with Flow("same") as flow:
        same.map([1, 2])
    with page_setting(tmp_path / "{flow_name}.html"):
        state = run_here(flow)
    assert state.is_failed()
    tree = checked((tmp_path / "same.html").read_text("utf-8"))
    assert texts(tree, "//p[contains(@class, 'status')]") == ["The run failed"]
    assert texts(tree, "//pre") == [" ".join(state.message.split())]


def test_a_flow_inside_a_task_does_not_replace_the_page_of_the_flow_around_it(
    run_here, tmp_path
):
    @task
    def one():
        return 1

    @task
    def outer():
        with Flow("inner") as inner:
            one()
        assert inner.run(task_runner_cls=DSTaskRunner).is_successful()

    with Flow("around") as flow:
        outer()
    with page_setting(tmp_path / "{flow_name}.html"):
        assert run_here(flow).is_successful()
    assert [path.name for path in tmp_path.glob("*.html")] == ["around.html"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/proc/nowhere/page.html", "FileNotFoundError"),
        ("{no_such_field}.html", "there is no 'no_such_field'"),
        ("{broken", "path template"),
    ],
)
def test_a_page_that_cannot_be_written_is_a_warning_and_no_failure(
    run_here, tmp_path, notes, log_lines, path, said
):
    flow = pipeline(tmp_path, notes)
    with page_setting(path):
        assert run_here(flow).is_successful()
    (line,) = [line for line in log_lines if "was not written to" in line]
    assert path in line
    assert said in line


def test_a_page_goes_to_a_store_by_its_url(tmp_path):
    import fsspec

    big_report(2).to_html("memory://reports/page.html")
    with fsspec.open("memory://reports/page.html", "rb") as file:
        checked(file.read().decode())


def test_a_table_for_notebooks_escapes_its_cells_and_says_what_it_leaves_out():
    rows = [(HOSTILE, "failed", None), *[("a", "loaded", 3)] * 1200]
    table = render_table(
        ["path", "state", "rows"],
        rows,
        title="Listing",
        numbers=["rows"],
        how="state",
        lines=["All."],
    )
    html5lib.HTMLParser(strict=True).parseFragment(table)
    tree = html.fragment_fromstring(table, "div")
    assert len(tree.xpath(".//tbody/tr")) == 1000
    assert texts(tree, ".//tbody/tr[1]/td") == [HOSTILE, "failed", ""]
    assert tree.xpath(".//tbody/tr[1]//span/@class") == ["chip failed"]
    assert "and 201 rows more" in tree.text_content()
    assert "nothing" in render_table(["path"], [])


def test_pages_work_in_a_browser_without_a_network(run_here, tmp_path):
    """In light, dark and on a phone; by pointer and by keyboard; with markup for names."""
    flow = hostile_flow(tmp_path)
    report = RunReport.of(run_here(flow).result, flow=flow)
    path, _ = page_of(report, tmp_path)
    big = tmp_path / "big.html"
    big_report(10_000).to_html(big)
    light, dark = {"color_scheme": "light"}, {"color_scheme": "dark"}
    phone = {"viewport": {"width": 390, "height": 800}}
    with browser() as chromium:
        for file, options in [(path, light), (path, dark), (path, phone), (big, phone)]:
            opened = Opened(chromium, file, **options)
            too_wide = opened.page.evaluate(
                "document.documentElement.scrollWidth - innerWidth"
            )
            assert too_wide <= 0, "only the drawing and tables scroll sideways"
            background = opened.page.evaluate(
                "getComputedStyle(document.body).backgroundColor"
            )
            assert (background != "rgb(255, 255, 255)") == (options == dark)
            assert opened.problems == []
            assert opened.requests == [file.as_uri()]
        opened = Opened(chromium, path)
        # A task in the drawing opens its line in the table.
        opened.page.click("a.node >> nth=1")
        opened.page.wait_for_selector("details:nth-of-type(2)[open]")
        # By keyboard alone: the first thing that takes the focus in the table opens, too.
        opened.page.focus("summary >> nth=0")
        opened.page.keyboard.press("Enter")
        opened.page.wait_for_selector("details:nth-of-type(1)[open]")
        assert opened.page.locator("tbody tr").first.is_visible()
        pdf = opened.page.pdf(format="A4")
        assert pdf.startswith(b"%PDF")
        assert opened.problems == []


def test_a_report_pickles_and_holds_no_data(run_here, tmp_path):
    import pickle

    @task
    def large(number):
        return pd.DataFrame({"x": range(100_000)})

    with Flow("large") as flow:
        large.map([1, 2])
    report = RunReport.of(run_here(flow).result, flow=flow)
    assert len(pickle.dumps(report)) < 2000
    assert pickle.loads(pickle.dumps(report)) == report
    assert json.loads(json.dumps([list(run) for run in report["large"].runs]))
