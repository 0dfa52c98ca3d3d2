"""The look at a Dask cluster before a flow runs on it."""

from __future__ import annotations

import os
import signal
import socket

import pandas as pd
import pytest
from prefect import Flow
from prefect.executors import DaskExecutor
from prefect.utilities.configuration import set_temporary_config

from prefect_ds import DSTaskRunner, PandasResultHandler, task
from prefect_ds.engine import cluster_check as preflight
from prefect_ds.errors import PreflightError
from tests.support.clusters import (
    Machine,
    cluster,
    own_disk,
    why_no_own_disk,
    with_version,
    without_package,
)
from tests.support.flows import (
    ALL_RAN,
    data_files,
    expected_total,
    parquet,
    pipeline,
    result_of,
)
from tests.support.processes import executor_at


def run(flow: Flow, executor: DaskExecutor):
    return flow.run(executor=executor, task_runner_cls=DSTaskRunner)


def refused(flow: Flow, executor: DaskExecutor) -> str:
    """Run a flow that has to be refused, and return why it was."""
    announced = []
    flow.state_handlers.append(
        lambda flow, old, new: announced.append(type(new).__name__)
    )
    state = run(flow, executor)
    assert state.is_failed()
    assert isinstance(state.result, PreflightError)
    assert state.message == str(state.result)
    assert "\n" not in state.message
    assert announced == ["Running", "Failed"]
    return state.message


def test_the_folders_of_a_flow_are_those_above_the_first_field_of_each_template(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    def named(name, **options):
        return task(lambda x=1: x, name=name, **options)

    with Flow(
        "folders", result=PandasResultHandler("all/{task_name}.csv", "csv")
    ) as flow:
        named("absolute", result=parquet(tmp_path / "absolute", "{x}/part"))()
        named("relative", result=parquet("relative/below", "part"))()
        named("nothing above", result=parquet("{x}", "part"))()
        named("file url", result=parquet(f"file://{tmp_path}/url", "part"))()
        named(
            "target", result=PandasResultHandler(None, "csv"), target="target/{x}.csv"
        )()
        named("store", result=parquet("memory://bucket", "part"))()
        named(
            "function",
            result=PandasResultHandler(None, "csv"),
            target=lambda **_: "function/a.csv",
        )()
        named("off", result=parquet("off", "part"), checkpoint=False)()
        named("of the flow")()

    expected = ["", "/absolute", "/all", "/relative/below", "/target", "/url"]
    assert preflight._folders(flow) == [f"{tmp_path}{each}" for each in expected]


def test_nothing_stays_of_the_look_at_a_folder(tmp_path):
    folders = [f"{tmp_path}/there", f"{tmp_path}/not/yet"]
    (tmp_path / "there").mkdir()
    left = preflight.leave(folders, "name")
    assert preflight.sees([*folders, str(tmp_path)], "name") == folders

    preflight.take_away(folders, "name", left)

    assert [str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*")] == [
        "there"
    ]


def test_a_folder_that_another_run_has_begun_to_use_stays(tmp_path):
    folders = [f"{tmp_path}/data"]
    left = preflight.leave(folders, "name")
    (tmp_path / "data/.prefect_ds/staging/other.staged").touch()

    preflight.take_away(folders, "name", left)

    assert [
        each.name for each in (tmp_path / "data/.prefect_ds/staging").iterdir()
    ] == ["other.staged"]


def test_a_folder_that_cannot_be_written_to_is_not_looked_at(tmp_path):
    (tmp_path / "file").touch()
    assert preflight.leave([f"{tmp_path}/file", str(tmp_path)], "name").keys() == {
        str(tmp_path)
    }


def test_workers_without_the_packages_end_the_run_at_once_with_their_names(
    tmp_path, notes
):
    """Stock Prefect waits for such workers without end."""
    machines = [
        Machine(
            "127.0.0.2",
            python_path=[without_package(tmp_path / "no prefect_ds", "prefect_ds")],
        ),
        Machine(
            "127.0.0.3",
            python_path=[without_package(tmp_path / "no prefect", "prefect")],
        ),
    ]
    with cluster(tmp_path / "cluster", machines) as there:
        why = refused(pipeline(tmp_path / "data", notes), there.executor())

    for package, address in (("prefect_ds", "127.0.0.2"), ("prefect", "127.0.0.3")):
        (line,) = [each for each in why.split("; ") if address in each]
        assert line.startswith(f"tcp://{address}:")
        assert f"(host {socket.gethostname()}) cannot import prefect_ds" in line
        assert f"No module named '{package}'" in line
        assert line.endswith("there")
        assert "pip install prefect_ds==" in line
    assert not notes.lines
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_one_worker_of_three_without_the_packages_is_the_one_that_is_named(
    tmp_path, notes
):
    bad = Machine(
        "127.0.0.3", python_path=[without_package(tmp_path / "block", "prefect_ds")]
    )
    with cluster(
        tmp_path / "cluster", [Machine("127.0.0.2"), bad, Machine("127.0.0.2")]
    ) as there:

        @task
        def plain():
            notes("ran")

        with Flow(
            "no handler"
        ) as flow:  # Its runner has to be importable all the same.
            plain()
        why = refused(flow, there.executor())

    assert why.startswith("tcp://127.0.0.3:")
    assert "127.0.0.2" not in why
    assert not notes.lines


@pytest.mark.slow
def test_workers_without_the_users_own_module_are_named(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/users_own.py").write_text("def step():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path / "here")
    import users_own

    with Flow("own module") as flow:
        task(users_own.step)()
    hosts = [
        Machine("127.0.0.2"),
        Machine("127.0.0.3", python_path=[str(tmp_path / "here")]),
    ]
    with cluster(tmp_path / "cluster", hosts) as there:
        why = refused(flow, there.executor())

    assert why.startswith("the flow's tasks cannot be imported on tcp://127.0.0.2:")
    assert "No module named 'users_own'" in why
    assert "127.0.0.3" not in why


@pytest.mark.slow
def test_a_scheduler_without_the_packages_is_named(tmp_path, notes):
    bad = Machine(python_path=[without_package(tmp_path / "block", "prefect_ds")])
    with cluster(tmp_path / "cluster", [Machine("127.0.0.2")], scheduler=bad) as there:
        why = refused(pipeline(tmp_path / "data", notes), there.executor())

    assert why.startswith(
        "the scheduler cannot import prefect_ds (No module named 'prefect_ds'): pip install"
    )


@pytest.mark.parametrize(
    ("package", "here", "there", "is_amiss"),
    [
        ("prefect_ds", "1.0.0", "1.0.1", True),
        ("prefect_ds", "1.0.0", "1.0.0", False),
        ("pandas", "3.1.1", "3.9", False),
        ("pandas", "3.1.1", "2.3.3", True),
        ("pyarrow", "19.0.1", "26.0", True),
    ],
)
def test_versions_that_give_the_same_results_may_differ(package, here, there, is_amiss):
    [*problems] = preflight._problems({package: here}, {package: there})
    expected = (
        f"has {package} {there}, the client {here}: pip install {package}=={here} there"
    )
    assert problems == ([expected] if is_amiss else [])


def test_a_package_that_is_not_installed_but_on_the_path_has_no_version_to_compare():
    assert not [*preflight._problems({"pandas": "3.1.1"}, {})]
    assert not [*preflight._problems({}, {"pandas": "3.1.1"})]


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:Mismatched versions found"
)  # Dask's own word, which stops nothing
def test_a_worker_with_another_version_is_named_with_both_and_the_look_can_be_switched_off(
    tmp_path, notes
):
    other = Machine(
        "127.0.0.3",
        python_path=[with_version(tmp_path / "other", "prefect_ds", "99.0")],
    )
    with cluster(tmp_path / "cluster", [Machine("127.0.0.2"), other]) as there:
        flow = pipeline(tmp_path / "data", notes)
        why = refused(flow, there.executor())
        with set_temporary_config({"prefect_ds.preflight": False}):
            switched_off = run(flow, there.executor())

    ours = preflight.versions()["prefect_ds"]
    assert why.startswith("tcp://127.0.0.3:")
    assert (
        f"has prefect_ds 99.0, the client {ours}: pip install prefect_ds=={ours} there"
        in why
    )
    assert "127.0.0.2" not in why
    assert switched_off.is_successful()


@pytest.mark.slow
def test_workers_with_disks_of_their_own_are_named_with_the_folder(tmp_path, notes):
    if why_no_own_disk():
        pytest.skip(why_no_own_disk())
    data = tmp_path / "data"
    data.mkdir()
    machines = [Machine("127.0.0.2"), Machine("127.0.0.3", inside=own_disk(data))]
    with cluster(tmp_path / "cluster", machines) as there:
        why = refused(pipeline(data, notes), there.executor())
        with there.client() as client:
            on_the_workers = client.run(os.listdir, data)

    blind, writer = (
        ("127.0.0.2", "127.0.0.3")
        if why.startswith("tcp://127.0.0.2")
        else ("127.0.0.3", "127.0.0.2")
    )
    assert why.startswith(f"tcp://{blind}:")
    assert f"cannot see what tcp://{writer}:" in why
    assert f"writes to {data}: mount" in why
    assert "s3://" in why
    assert not notes.lines
    assert list(on_the_workers.values()) == [[], []]
    assert not list(data.iterdir())


@pytest.mark.slow
def test_a_folder_that_only_the_client_does_not_see_is_a_warning(
    tmp_path, notes, log_lines
):
    if why_no_own_disk():
        pytest.skip(why_no_own_disk())
    data = tmp_path / "data"
    data.mkdir()
    with cluster(
        tmp_path / "cluster", [Machine("127.0.0.2", inside=own_disk(data))]
    ) as there:
        for expected in (ALL_RAN, []):
            state = run(pipeline(data, notes), there.executor())
            assert state.is_successful()
            assert notes.take() == expected

    assert not list(data.iterdir())
    assert (
        sum(f"in {data}, which this machine does not see" in line for line in log_lines)
        == 2
    )


@pytest.mark.slow
def test_hits_in_a_folder_that_the_workers_do_not_share_are_none(
    tmp_path, notes, log_lines
):
    if why_no_own_disk():
        pytest.skip(why_no_own_disk())
    data = tmp_path / "data"
    data.mkdir()
    flow = pipeline(data, notes)
    flow.run(task_runner_cls=DSTaskRunner)
    assert notes.take() == ALL_RAN
    (data / "total.csv").unlink()
    with cluster(
        tmp_path / "cluster", [Machine("127.0.0.2", inside=own_disk(data))]
    ) as there:
        log_lines.clear()
        for expected in (ALL_RAN, []):
            state = run(flow, there.executor())
            assert state.is_successful(), state.message
            # The task without a checkpoint takes what the workers have.
            assert notes.take() == expected
    assert not (data / "total.csv").exists()
    assert sum("they look the checkpoints up" in line for line in log_lines) == 2


@pytest.mark.slow
def test_a_relative_template_is_the_clients_folder_on_workers_that_stand_elsewhere(
    tmp_path, notes, monkeypatch
):
    for name in ("client", "one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "client")
    flow = pipeline("data", notes)
    machines = [
        Machine("127.0.0.2", tmp_path / "one"),
        Machine("127.0.0.3", tmp_path / "two"),
    ]
    with cluster(tmp_path / "cluster", machines) as there:
        for expected in (ALL_RAN, []):
            state = run(flow, there.executor())
            assert state.is_successful()
            assert notes.take() == expected
            pd.testing.assert_frame_equal(
                result_of(state, flow, "total"), expected_total()
            )

    assert "total.csv" in data_files(tmp_path / "client/data")
    assert not [*(tmp_path / "one").iterdir(), *(tmp_path / "two").iterdir()]


@pytest.mark.slow
def test_a_cluster_whose_workers_come_later_is_not_waited_for(tmp_path, notes):
    executor = DaskExecutor(
        cluster_kwargs={
            "n_workers": 0,
            "threads_per_worker": 1,
            "processes": True,
            "dashboard_address": ":0",
        },
        adapt_kwargs={"minimum": 0, "maximum": 2},
        watch_worker_status=False,
    )
    flow = pipeline(tmp_path / "data", notes)
    assert result_of(run(flow, executor), flow, "total").equals(expected_total())


def test_a_run_leaves_nothing_of_the_look_on_a_cluster(
    cluster_address, tmp_path, log_lines
):
    @task(result=parquet(tmp_path / "data", "{number}"))
    def fails(number):
        raise ValueError(f"before anything is written: {sorted(tmp_path.iterdir())}")

    with Flow("fails") as flow:
        fails(1)
    state = run(flow, executor_at(cluster_address))

    assert "before anything is written: []" in str(result_of(state, flow, "fails"))
    assert not list(tmp_path.iterdir())
    assert not [
        line for line in log_lines if "does not see" in line or "no answer" in line
    ]


def test_a_worker_that_has_gone_does_not_end_the_run():
    """What Dask's client gives for it is an OSError."""
    hosts = {"tcp://gone:1": "a", "tcp://there:1": "b"}
    assert preflight._check_packages(_Client(), hosts) == {"tcp://there:1": "b"}


class _Client:
    def sync(self, function, *args, callback_timeout, **options):
        return function(*args, **options)

    def run(self, function, *, workers, on_error):
        return {
            address: OSError("closed") if "gone" in address else function()
            for address in workers
        }

    def run_on_scheduler(self, function):
        return function()


@pytest.mark.slow
def test_a_frozen_worker_is_named_and_not_waited_for(tmp_path, monkeypatch, log_lines):
    monkeypatch.setattr(preflight, "_ANSWER_S", 5)
    with Flow("never run") as flow:
        task(lambda: None, name="plain")()
    with (
        cluster(
            tmp_path / "cluster", [Machine("127.0.0.2"), Machine("127.0.0.3")]
        ) as there,
        there.client() as client,
    ):
        os.killpg(there.workers[1].pid, signal.SIGSTOP)
        preflight.check(client, flow)

    (line,) = log_lines
    assert line.startswith("Cluster check incomplete: no answer from tcp://127.0.0.3:")
    assert "127.0.0.2" not in line
