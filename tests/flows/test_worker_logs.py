"""What tasks log on the workers of a Dask cluster is seen by the user who ran them: once, and by nobody else."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import prefect
import pytest
from distributed import Client, LocalCluster
from prefect import Flow, task
from prefect.executors import DaskExecutor
from prefect.utilities.configuration import set_temporary_config

from prefect_ds import DSTaskRunner
from prefect_ds.engine import cluster_check as preflight
from prefect_ds.engine import worker_logs as forwarding
from tests.support.clusters import Machine, cluster
from tests.support.processes import executor_at

TWO_TASKS = """
import sys, time
from pathlib import Path
import prefect
from prefect import Flow, task
from prefect.executors import DaskExecutor
from prefect_ds import DSTaskRunner

name, other, folder, address = {name!r}, {other!r}, Path({folder!r}), {address!r}

def wait_for(path):
    while not path.exists():
        time.sleep(0.05)

@task
def begin():
    (folder / name).touch()
    wait_for(folder / other)
    prefect.context.logger.info("SAID-%s-begin", name)

@task
def end(_):
    if name == "second":
        wait_for(folder / "first.ended")
    prefect.context.logger.info("SAID-%s-end", name)

with Flow(name) as flow:
    end(begin())
state = flow.run(executor=DaskExecutor(address=address, watch_worker_status=False), task_runner_cls=DSTaskRunner)
(folder / (name + ".ended")).touch()
assert state.is_successful(), state
"""


def said(text: str) -> dict[str, int]:
    """Return how often which of the tasks' lines are there."""
    return dict(Counter(re.findall(r"SAID-[\w-]+", text)))


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """What the handlers of Prefect's loggers are given in this process."""
    found: list[logging.LogRecord] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    handler = Collect(logging.DEBUG)
    logging.getLogger("prefect").addHandler(handler)
    yield found
    logging.getLogger("prefect").removeHandler(handler)


def run_on(address: str, flow: Flow) -> Any:
    executor = executor_at(address)
    return flow.run(executor=executor, task_runner_cls=DSTaskRunner)


@task
def say(word: object) -> None:
    prefect.context.logger.info("SAID-%s", word)


def test_two_clients_each_hear_their_own_run_and_the_second_to_the_end(
    cluster_address: str,
    tmp_path: Path,
    in_child_process: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    def run(name: str, other: str) -> subprocess.CompletedProcess[str]:
        return in_child_process(
            TWO_TASKS.format(
                name=name, other=other, folder=str(tmp_path), address=cluster_address
            )
        )

    with ThreadPoolExecutor(2) as threads:
        runs = [
            threads.submit(run, *names)
            for names in (("first", "second"), ("second", "first"))
        ]
    for name, each in zip(("first", "second"), runs, strict=True):
        process = each.result()
        assert process.returncode == 0, process.stdout + process.stderr
        assert said(process.stdout) == {f"SAID-{name}-begin": 1, f"SAID-{name}-end": 1}


def test_two_threads_of_one_client_hear_each_line_once(
    cluster_address: str, log_lines: list[str]
) -> None:
    both = threading.Barrier(2)

    def run(name: str) -> Any:
        with Flow(name) as flow:
            say.map([f"{name}-{number}" for number in range(5)])
        both.wait()
        return run_on(cluster_address, flow)

    with ThreadPoolExecutor(2) as threads:
        states = list(threads.map(run, ["one", "other"]))
    assert all(state.is_successful() for state in states)
    assert said("\n".join(log_lines)) == {
        f"SAID-{name}-{number}": 1 for name in ("one", "other") for number in range(5)
    }


@task(name="talker")
def talks() -> None:
    class Own:  # Neither msgpack nor JSON knows it.
        def __str__(self) -> str:
            return "my own"

    logger = prefect.context.logger
    for extra in (
        np.int64(3),
        Own(),
        {"a"},
        2**70,
        "\udcff",
        [1, 2],
        threading.current_thread().name,
    ):
        logger.info("SAID-extra", extra={"thing": extra})
    logger.warning("SAID-%s %d%%", Own(), 100)
    try:
        raise ValueError("of the task")
    except ValueError:
        logger.exception("SAID-error")


def test_whatever_a_task_logs_arrives_as_the_text_of_it(
    cluster_address: str, records: list[logging.LogRecord]
) -> None:
    with Flow("extras") as flow:
        talks()
    assert run_on(cluster_address, flow).is_successful()

    lines = [record for record in records if record.getMessage().startswith("SAID")]
    *things, thread = [vars(line)["thing"] for line in lines[:7]]
    assert things == ["3", "my own", "{'a'}", 2**70, "\udcff", "[1, 2]"]
    warning, error = lines[7:]
    assert warning.getMessage() == "SAID-my own 100%"
    assert (warning.levelno, warning.levelname, warning.name) == (
        logging.WARNING,
        "WARNING",
        "prefect.talker",
    )
    assert warning.threadName == thread != threading.current_thread().name
    assert warning.process != os.getpid()
    formatted = logging.Formatter(
        "%(asctime)s %(flow_name)s %(task_name)s %(funcName)s %(message)s"
    ).format(error)
    assert re.match(r"\d{4}-.* extras talker talks SAID-error\nTraceback", formatted)
    assert formatted.endswith("ValueError: of the task")


def test_what_cannot_be_made_text_costs_its_line_only(
    cluster_address: str, log_lines: list[str]
) -> None:
    @task
    def breaks() -> None:
        class Broken:
            def __str__(self) -> str:
                raise RuntimeError("no text")

        prefect.context.logger.info("SAID-lost", extra={"thing": Broken()})
        prefect.context.logger.info("SAID-kept")

    with Flow("broken") as flow:
        breaks()
    assert run_on(cluster_address, flow).is_successful()
    assert said("\n".join(log_lines)) == {"SAID-kept": 1}


def test_what_the_clients_logger_leaves_out_is_not_sent(
    cluster_address: str, log_lines: list[str]
) -> None:
    logger = logging.getLogger("prefect")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with Flow("level") as flow:
            say("info")
            talks()
        run_on(cluster_address, flow)
    finally:
        logger.setLevel(level)
    assert said("\n".join(log_lines)) == {"SAID-my": 1, "SAID-error": 1}


def test_lines_of_threads_and_of_flows_that_a_task_runs_arrive_once(
    cluster_address: str, log_lines: list[str]
) -> None:
    @task
    def runs_more() -> None:
        logger = prefect.context.logger
        thread = threading.Thread(target=logger.info, args=("SAID-thread",))
        thread.start()
        thread.join()
        with Flow("in the task") as local:
            say("local")
        local.run()
        with Flow("on the cluster") as remote:
            say.map([f"remote-{number}" for number in range(6)])
        executor = executor_at(cluster_address)
        remote.run(executor=executor, task_runner_cls=DSTaskRunner)
        logger.info("SAID-last")

    with Flow("outer") as flow:
        runs_more()
    assert run_on(cluster_address, flow).is_successful()
    expected = ["thread", "local", *[f"remote-{number}" for number in range(6)], "last"]
    assert said("\n".join(log_lines)) == {f"SAID-{each}": 1 for each in expected}


def test_nothing_stays_of_a_run_on_the_cluster(cluster_address: str) -> None:
    def kept(dask_scheduler: Any) -> list[str]:
        names = [*dask_scheduler.worker_plugins, *dask_scheduler._broker._topics]
        return [name for name in names if name.startswith("prefect_ds-lines")]

    def handlers() -> list[str]:
        return [type(each).__name__ for each in logging.getLogger("prefect").handlers]

    with Flow("quiet") as flow:
        say("word")
    run_on(cluster_address, flow)
    with Client(cluster_address, set_as_default=False) as client:
        assert client.run_on_scheduler(kept) == []
        assert not [
            found for found in client.run(handlers).values() if "_Handler" in found
        ]


def test_workers_in_the_clients_own_process_send_nothing(log_lines: list[str]) -> None:
    cluster_kwargs = {
        "n_workers": 2,
        "processes": False,
        "protocol": "tcp",
        "dashboard_address": ":0",
    }
    with Flow("in process") as flow:
        say.map([1, 2, 3])
    state = flow.run(
        executor=DaskExecutor(cluster_kwargs=cluster_kwargs, watch_worker_status=False),
        task_runner_cls=DSTaskRunner,
    )
    assert state.is_successful()
    assert said("\n".join(log_lines)) == {"SAID-1": 1, "SAID-2": 1, "SAID-3": 1}


@pytest.mark.parametrize(
    ("executor", "environment"),
    [
        (
            "DaskExecutor(cluster_kwargs={**one, 'n_workers': 0}, adapt_kwargs={'minimum': 0, 'maximum': 2})",
            {},
        ),
        pytest.param(
            "DaskExecutor(cluster_class=SubprocessCluster, cluster_kwargs={**one, 'n_workers': 1})",
            {},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "DaskExecutor(cluster_kwargs={**one, 'n_workers': 1})",
            {"DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": "forkserver"},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["adaptive", "subprocesses", "forkserver"],
)
def test_workers_that_print_where_the_client_does_are_heard_once(
    in_child_process: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    executor: str,
    environment: dict[str, str],
) -> None:
    script = tmp_path / "script.py"  # A forkserver imports it.
    script.write_text(
        "from distributed.deploy.subprocess import SubprocessCluster\n"
        "from prefect import Flow\n"
        "from prefect.executors import DaskExecutor\n"
        "from prefect_ds import DSTaskRunner\n"
        "from tests.flows.test_worker_logs import say\n"
        "if __name__ == '__main__':\n"
        "    one = {'threads_per_worker': 1, 'dashboard_address': ':0'}\n"
        "    with Flow('printed') as flow:\n"
        "        say.map([1, 2, 3])\n"
        f"    assert flow.run(executor={executor}, task_runner_cls=DSTaskRunner).is_successful()\n"
    )
    code = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    process = in_child_process(code, **environment)
    assert process.returncode == 0, process.stdout + process.stderr
    assert said(process.stdout) == {"SAID-1": 1, "SAID-2": 1, "SAID-3": 1}


def test_a_child_of_the_client_that_prints_elsewhere_is_heard(
    tmp_path: Path, log_lines: list[str]
) -> None:
    with LocalCluster(
        n_workers=0, processes=False, protocol="tcp", dashboard_address=":0"
    ) as scheduler:
        command = [sys.executable, "-m", "dask", "worker", scheduler.scheduler_address]
        options = [
            "--no-nanny",
            "--nthreads",
            "1",
            "--no-dashboard",
            "--local-directory",
            str(tmp_path),
        ]
        python_path = os.pathsep.join(sys.path)
        with open(tmp_path / "log", "wb") as output:
            worker = subprocess.Popen(
                command + options,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": python_path},
            )
        try:
            with Flow("child") as flow:
                say.map([1, 2, 3])
            assert run_on(scheduler.scheduler_address, flow).is_successful()
        finally:
            worker.kill()
            worker.wait()
    assert said("\n".join(log_lines)) == {"SAID-1": 1, "SAID-2": 1, "SAID-3": 1}
    assert said((tmp_path / "log").read_text()) == {
        "SAID-1": 1,
        "SAID-2": 1,
        "SAID-3": 1,
    }


def test_a_file_that_nobody_reads_is_not_where_the_client_prints(
    in_child_process: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    process = in_child_process(
        "import os, sys\n"
        "from prefect_ds.engine import worker_logs as forwarding\n"
        "here = forwarding._output()\n"
        "os.dup2(os.open(os.devnull, os.O_WRONLY), 1)\n"
        "nowhere = forwarding._output()\n"
        "os.close(1)\n"
        "print(here is None, nowhere, forwarding._output(), file=sys.stderr)\n"
    )
    assert process.stderr.splitlines()[-1:] == ["False None None"]


@pytest.mark.slow
def test_a_worker_that_freezes_as_the_run_begins_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_lines: list[str]
) -> None:
    monkeypatch.setattr(forwarding, "_WAIT_S", 3)
    monkeypatch.setattr(preflight, "_ANSWER_S", 5)
    with Flow("frozen") as flow:
        say.map([1, 2, 3, 4])
    until_it_is_given_up = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "10 s"}
    with cluster(
        tmp_path / "cluster", [Machine()] * 3, **until_it_is_given_up
    ) as there:
        for frozen, preflights in zip(there.workers, (True, False), strict=False):
            os.killpg(frozen.pid, signal.SIGSTOP)
            log_lines.clear()
            with set_temporary_config({"prefect_ds.preflight": preflights}):
                assert run_on(there.address, flow).is_successful()
            assert said("\n".join(log_lines)) == {
                f"SAID-{number}": 1 for number in (1, 2, 3, 4)
            }
            assert (
                any(
                    "Cluster check incomplete: no answer from" in line
                    for line in log_lines
                )
                is preflights
            )


def test_a_plugin_that_is_not_there_any_more_does_not_fail_the_run(
    cluster_address: str,
) -> None:
    @task
    def takes_plugins_away() -> None:
        def forget_all(dask_scheduler: Any) -> None:
            for name in [
                name
                for name in dask_scheduler.worker_plugins
                if name.startswith("prefect_ds-lines")
            ]:
                del dask_scheduler.worker_plugins[name]

        with Client(cluster_address, set_as_default=False) as client:
            client.run_on_scheduler(forget_all)

    with Flow("taken away") as flow:
        takes_plugins_away()
    assert run_on(cluster_address, flow).is_successful()
