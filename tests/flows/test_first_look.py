"""What a run says before it begins and while it runs: no more than helps, and once."""

from __future__ import annotations

import logging
import socket
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect import Flow, unmapped
from prefect import task as prefect_task
from prefect.engine.results import LocalResult
from prefect.engine.state import State
from prefect.executors import DaskExecutor
from prefect.utilities.configuration import set_temporary_config

from prefect_ds import DSTaskRunner, task
from tests.support.flows import late, parquet


def _flow(folder: Path, **options: Any) -> Flow:
    @task(name="download", result=parquet(folder, "download"), **options)
    def download(factor: int) -> pd.DataFrame:
        return pd.DataFrame({"x": [factor]})

    @task(name="clean", result=parquet(folder, "clean_{map_index}"), **options)
    def clean(frame: pd.DataFrame, number: int) -> pd.DataFrame:
        return frame * number

    with Flow("two tasks") as flow:
        clean.map(unmapped(download(2)), [1, 2])
        late(str(folder))
    return flow


def test_handlers_without_our_task_runner_are_named_once(
    tmp_path: Path, log_lines: list[str]
) -> None:
    assert _flow(tmp_path).run().is_successful()  # In two rounds.
    said = [line for line in log_lines if "DSTaskRunner" in line]
    assert said == [
        "No checkpoint is written or loaded for tasks 'clean', 'download': run the flow "
        "with flow.run(task_runner_cls=DSTaskRunner)"
    ]


def test_handlers_that_do_their_work_are_not_warned_of(
    tmp_path: Path, log_lines: list[str]
) -> None:
    with set_temporary_config({"flows.checkpointing": True}):
        _flow(tmp_path / "prefect").run()
    _flow(tmp_path / "off", checkpoint=False).run()
    _flow(tmp_path / "ours").run(task_runner_cls=DSTaskRunner)
    assert not [line for line in log_lines if "No checkpoint is written" in line]


@pytest.mark.parametrize(
    ("checkpointing", "target", "expected"),
    [
        (False, None, ["No result is written for task 'stored': results of Prefect"]),
        (False, "x", ["No result is written for task 'stored': results of Prefect"]),
        (True, None, ["Results are written but never loaded for task 'stored'"]),
        (True, "x", []),
    ],
)
def test_results_of_prefect_that_do_nothing_are_named(
    tmp_path: Path,
    log_lines: list[str],
    checkpointing: bool,
    target: str | None,
    expected: list[str],
) -> None:
    result = LocalResult(dir=str(tmp_path))

    @prefect_task(name="stored", result=result, target=target)
    def stored() -> int:
        return 1

    with Flow("stored") as flow:
        stored()
    with set_temporary_config({"flows.checkpointing": checkpointing}):
        flow.run(task_runner_cls=DSTaskRunner)
    said = [line for line in log_lines if "results of Prefect" in line]
    assert len(said) == len(expected)
    for line, begin in zip(said, expected, strict=True):
        assert line.startswith(begin)


def test_a_task_has_one_line_of_ours(
    run_here: Callable[..., State], tmp_path: Path, log_lines: list[str]
) -> None:
    @task(name="one", result=parquet(tmp_path, "one"))
    def one(factor: int) -> pd.DataFrame:
        return pd.DataFrame({"x": [factor]})

    lines = []
    for factor in (1, 1, 2):
        with Flow("lines") as flow:
            one(factor)
        log_lines.clear()
        run_here(flow)
        lines.append(
            [
                line
                for line in log_lines
                if line.startswith("Task 'one'") and "task run" not in line
            ]
        )
    (fresh,), (loaded,), (stale,) = lines
    assert fresh.startswith("Task 'one': Task run succeeded. Ran because")
    assert loaded.startswith("Task 'one': Loaded from the checkpoint")
    assert "is stale: factor 1 -> 2; running" in stale


def test_the_table_and_what_is_stale_are_seen_where_few_lines_are(
    run_here: Callable[..., State], tmp_path: Path, log_lines: list[str]
) -> None:
    @task(name="one", result=parquet(tmp_path, "one"))
    def one(factor: int) -> pd.DataFrame:
        return pd.DataFrame({"x": [factor]})

    logger = logging.getLogger("prefect")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        for factor in (1, 2):
            with Flow("few") as flow:
                one(factor)
            log_lines.clear()
            run_here(flow)
    finally:
        logger.setLevel(level)
    stale, table = log_lines
    assert "is stale: factor 1 -> 2" in stale
    assert table.startswith("Checkpoints of flow 'few'")


@pytest.fixture
def taken_port() -> Iterator[None]:
    """Somebody listens where a LocalCluster would put its dashboard."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("", 8787))
            taken.listen()
        except OSError:
            pass  # Another test's cluster has it, which is as good.
        yield


@pytest.mark.usefixtures("taken_port")
def test_a_first_run_on_a_cluster_warns_of_nothing(tmp_path: Path) -> None:
    options = {"n_workers": 1, "processes": False}
    executor = DaskExecutor(cluster_kwargs=options)
    with Flow("first") as flow:
        answer = prefect_task(lambda: 1, name="answer")()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)
    assert state.result[answer].result == 1
    about = [str(each.message) for each in warned]
    assert not [text for text in about if "8787" in text or "worker-status" in text]
    # The user's executor is as it was.
    assert executor.watch_worker_status is None
    assert "dashboard_address" not in executor.cluster_kwargs


def test_what_a_user_chose_for_a_cluster_stays() -> None:
    seen: list[Any] = []

    class Watching(DaskExecutor):
        async def on_worker_status_changed(self, op: str, message: Any) -> None:
            seen.append(op)

        def submit(self, *args: Any, **kwargs: Any) -> Any:
            seen.append((self.watch_worker_status, self.cluster_kwargs))
            return super().submit(*args, **kwargs)

    options = {"n_workers": 1, "processes": False, "dashboard_address": ":0"}
    with Flow("chosen") as flow:
        prefect_task(lambda: 1, name="answer")()
    flow.run(executor=Watching(cluster_kwargs=options), task_runner_cls=DSTaskRunner)
    (settings,) = [each for each in seen if isinstance(each, tuple)]
    assert settings[0] is None
    assert settings[1]["dashboard_address"] == ":0"
