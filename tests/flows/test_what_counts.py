"""What makes a checkpoint count, in flows: settings, defaults, code, and what is said."""

import logging
import sqlite3
import textwrap
import threading

import pandas as pd
import pytest
from prefect import Flow, Task, task
from prefect.engine.flow_runner import FlowRunner
from prefect.executors import LocalExecutor
from prefect.tasks.core.constants import Constant
from prefect.tasks.shell import ShellTask
from prefect.utilities.configuration import set_temporary_config

from prefect_ds import DSTaskRunner, PandasResultHandler
from prefect_ds.errors import CollisionError
from prefect_ds.report import RunReport
from tests.support.flows import frame_of, parquet, result_of, state_of


class Query(Task):
    """A task as those of Prefect's library: what it runs is given to its constructor."""

    table = "sales"

    def __init__(self, sql, **options):
        self.sql = sql
        self.logs = None
        super().__init__(**options)

    def run(self, day):
        return pd.DataFrame({"sql": [self.sql], "table": [self.table], "day": [day]})


class Costs(Query):
    """A subclass with another setting."""

    table = "costs"


def flow_of(*tasks, **inputs):
    with Flow("flow") as flow:
        flow.results = [each(**inputs) for each in tasks]
    return flow


def query(tmp_path, sql, kind=Query, **options):
    options.setdefault("match", "inputs")
    return kind(sql, name="query", result=parquet(tmp_path, "query", **options))


def test_the_settings_of_a_task_count_with_every_way_to_compare(run_here, tmp_path):
    for match in ("inputs", "code"):
        folder = tmp_path / match
        folder.mkdir()
        for sql in ("select 1", "select 2", "select 2"):
            flow = flow_of(query(folder, sql, match=match), day=1)
            state = run_here(flow)
            assert result_of(state, flow, "query")["sql"][0] == sql
        assert "Loaded" in state_of(state, flow, "query").message
        flow = flow_of(query(folder, "select 1", match=match), day=1)
        message = state_of(run_here(flow), flow, "query").message
        assert "stale: setting 'sql' changed" in message


class Model:
    """What a task is a method of."""

    def __init__(self, rate):
        self.rate = rate

    def fit(self, x):
        return pd.DataFrame({"y": [x * self.rate]})


class Slotted(Task):
    """A task with a setting that is not in its ``__dict__``."""

    __slots__ = ("rate",)

    def __init__(self, rate, **options):
        super().__init__(**options)
        self.rate = rate

    def run(self, x):
        return pd.DataFrame({"y": [x * self.rate]})


@pytest.mark.parametrize("match", ["inputs", "code"])
@pytest.mark.parametrize(
    ("setting", "make"),
    [
        ("self", lambda rate, **options: task(Model(rate).fit, **options)),
        ("rate", Slotted),
    ],
)
def test_what_a_method_reads_of_its_object_is_a_setting(
    run_here, tmp_path, setting, make, match
):
    messages = []
    for rate in (2, 3, 3):
        fit = make(rate, name="fit", result=parquet(tmp_path, "fit", match=match))
        flow = flow_of(fit, x=10)
        state = run_here(flow)
        assert result_of(state, flow, "fit")["y"][0] == 10 * rate
        messages.append(state_of(state, flow, "fit").message)
    how = "2 -> 3" if setting == "rate" else "changed"
    assert f"stale: setting {setting!r} {how}" in messages[1]
    assert "Loaded" in messages[2]


def test_a_class_attribute_of_a_subclass_is_a_setting(run_here, tmp_path):
    for kind in (Query, Costs):
        flow = flow_of(query(tmp_path, "select 1", kind), day=1)
        state = run_here(flow)
        assert result_of(state, flow, "query")["table"][0] == kind.table


def test_a_copy_of_a_task_with_another_setting_is_another_task(run_here, tmp_path):
    one = query(tmp_path, "select 1")
    other = one.copy()
    other.sql = "select 2"
    for each in (one, other, other):
        flow = flow_of(each, day=1)
        state = run_here(flow)
        assert result_of(state, flow, "query")["sql"][0] == each.sql
    assert "Loaded" in state_of(state, flow, "query").message


def test_two_tasks_with_other_settings_on_one_path_collide(run_here, tmp_path):
    tasks = [
        Query(sql, name=sql, result=parquet(tmp_path, "{day}"))
        for sql in ("north", "south")
    ]
    state = run_here(flow_of(*tasks, day=1))
    assert state.is_failed()
    errors = [task_state.result for task_state in state.result.values()]
    assert any(isinstance(error, CollisionError) for error in errors)


class Lines(ShellTask):
    """Gives the lines that a command prints as a frame."""

    def run(self, **inputs):
        return pd.DataFrame({"line": super().run(**inputs)})


def test_the_command_of_prefects_own_shell_task_counts(run_here, tmp_path):
    for word in ("north", "south", "south"):
        lines = Lines(
            command=f"echo {word}",
            return_all=True,
            name="lines",
            result=parquet(tmp_path, "lines"),
        )
        flow = flow_of(lines)
        state = run_here(flow)
        assert list(result_of(state, flow, "lines")["line"]) == [word]
    assert "Loaded" in state_of(state, flow, "lines").message


@pytest.mark.parametrize("match", ["inputs", "code"])
def test_a_default_that_is_not_given_counts(run_here, tmp_path, match):
    for factor in (1, 100, 100):

        @task(name="total", result=parquet(tmp_path, "total", match=match))
        def total(x, factor=factor):
            return pd.DataFrame({"x": [x * factor]})

        flow = flow_of(total, x=2)
        state = run_here(flow)
        assert result_of(state, flow, "total")["x"][0] == 2 * factor
    assert "Loaded" in state_of(state, flow, "total").message
    flow = flow_of(total, x=2, factor=100)
    assert "Loaded" in state_of(run_here(flow), flow, "total").message


def scaled_by(factor, tmp_path, **options):
    """A task whose code differs by a constant that it encloses."""

    @task(name="scaled", result=parquet(tmp_path, "scaled", **options))
    def scaled(x):
        return pd.DataFrame({"x": [x * factor]})

    return flow_of(scaled, x=2)


def test_changed_code_counts_by_default(run_here, tmp_path):
    run_here(scaled_by(1, tmp_path))
    flow = scaled_by(3, tmp_path)
    state = run_here(flow)
    assert result_of(state, flow, "scaled")["x"][0] == 6
    said = "stale: variable 'factor' around scaled() 1 -> 3"
    assert said in state_of(state, flow, "scaled").message


@pytest.mark.parametrize("match", ["inputs", "path"])
def test_code_that_changed_without_counting_is_said_with_the_way_out(
    run_here, tmp_path, log_lines, match
):
    run_here(scaled_by(1, tmp_path, match=match))
    flow = scaled_by(3, tmp_path, match=match)
    state = run_here(flow)
    assert result_of(state, flow, "scaled")["x"][0] == 2
    said = (
        "its code has changed since (variable 'factor' around scaled() 1 -> 3), and "
        f"match={match!r} does not look at code"
    )
    assert said in state_of(state, flow, "scaled").message
    assert f"scaled: {said}" in str(RunReport.of(state.result))
    (line,) = [line for line in log_lines if line.startswith(f"Task 'scaled': {said}")]
    assert 'use match="code", or remove the file' in line
    log_lines.clear()
    run_here(scaled_by(1, tmp_path, match=match))
    assert not [line for line in log_lines if "changed since" in line]


def test_the_process_sets_the_default(run_here, tmp_path, in_child_process):
    with set_temporary_config({"prefect_ds.match": "inputs"}):
        assert parquet(tmp_path, "a").match == "inputs"
        assert parquet(tmp_path, "a", match="path").match == "path"
    assert parquet(tmp_path, "a").match == "code"
    with (
        set_temporary_config({"prefect_ds.match": "both"}),
        pytest.raises(ValueError, match=r"prefect_ds\.match.*'both': give one of"),
    ):
        parquet(tmp_path, "a")
    code = (
        "from prefect_ds import PandasResultHandler\n"
        "print(PandasResultHandler('a.csv', 'csv').match)"
    )
    ran = in_child_process(code, PREFECT__PREFECT_DS__MATCH="path")
    assert ran.stdout.strip().endswith("path"), ran.stderr


class Settings:
    """Data, and a lock beside them."""

    def __init__(self, rate):
        self.rate = rate
        self.lock = threading.Lock()


@pytest.fixture
def connection():
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    yield connection
    connection.close()


def reader(tmp_path, **options):
    @task(name="read", result=parquet(tmp_path, "read", **options))
    def read(conn, x):
        return frame_of(x)

    return read


def test_an_input_without_a_digest_is_said_once_a_task(
    run_here, tmp_path, log_lines, connection
):
    said = "input 'conn' (a Connection) was not compared"
    read = reader(tmp_path)
    for _ in range(2):
        log_lines.clear()
        flow = flow_of(read, conn=Constant(connection), x=1)
        state = run_here(flow)
        assert said in state_of(state, flow, "read").message
        assert f"read: {said}" in str(RunReport.of(state.result))
        lines = [line for line in log_lines if line.startswith(f"Task 'read': {said}")]
        assert len(lines) == 1
        assert "ignore" in lines[0]
    assert "Loaded" in state_of(state, flow, "read").message


def test_an_ignored_input_is_not_said_and_does_not_count(
    run_here, tmp_path, log_lines, connection
):
    run_here(flow_of(reader(tmp_path), conn=Constant(connection), x=1))
    log_lines.clear()
    read = reader(tmp_path, ignore=["conn"])
    for conn in (connection, "another", None):
        flow = flow_of(read, conn=Constant(conn), x=1)
        state = run_here(flow)
        message = state_of(state, flow, "read").message
        assert message.startswith("Loaded")
        assert "not compared" not in message
    assert not [line for line in log_lines if "not compared" in line]


def test_ignored_inputs_may_share_a_path(run_here, tmp_path, connection):
    read = reader(tmp_path, ignore=["conn"])
    flow = flow_of(read, conn=Constant(connection), x=1)
    with flow:
        read(conn="another", x=1)
    assert run_here(flow).is_successful()


def test_two_inputs_without_a_digest_on_one_path_collide(run_here, tmp_path):
    read = reader(tmp_path)
    with Flow("flow") as flow:
        for _ in range(2):
            read(conn=Constant(number for number in range(3)), x=1)
    assert run_here(flow).is_failed()


def test_unknown_names_in_ignore_are_refused_before_anything_runs(
    run_here, tmp_path, notes, caplog
):
    @task
    def first():
        notes("ran")
        return 1

    read = reader(tmp_path, ignore=["con"])
    with Flow("flow") as flow:
        read(conn=None, x=first())
    state = run_here(flow)
    assert isinstance(state.result, TypeError)
    assert "ignore 'con', which is not an input, setting or global" in str(state.result)
    assert "of the task; it has conn, " in str(state.result)
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert line.exc_info is None
    assert "Unexpected" not in state.message
    assert notes.lines == []
    with pytest.raises(TypeError, match=r"give a list of names, \['conn'\]"):
        parquet(tmp_path, "a", ignore="conn")


def test_settings_that_hold_a_lock_are_told_apart_by_the_rest(run_here, tmp_path):
    @task(name="fit", result=parquet(tmp_path, "fit"))
    def fit(settings):
        return frame_of(settings.rate)

    for rate in (1, 5):
        flow = flow_of(fit, settings=Constant(Settings(rate)))
        state = run_here(flow)
        assert result_of(state, flow, "fit")["id"][0] == rate
        said = "input 'settings' (a lock at .lock) was not compared"
        assert said in state_of(state, flow, "fit").message


def test_under_prefects_own_flow_runner_it_is_said_once_too(
    tmp_path, log_lines, connection
):
    read = reader(tmp_path).copy()
    read.result = parquet(tmp_path, "read_{x}")
    with Flow("flow") as flow:
        read.map(conn=Constant([connection, connection]), x=[1, 2])
    runner = FlowRunner(flow, task_runner_cls=DSTaskRunner)
    assert runner.run(executor=LocalExecutor()).is_successful()
    said = [line for line in log_lines if "'conn' (a Connection) was not" in line]
    assert len([line for line in said if line.startswith("Task 'read': input")]) == 1


PROJECT = {
    "helpers.py": """
        LIMIT = 0.5
        SETTINGS = {"rate": 1, "names": ["a", "b"]}
        def clean(x):
            return x * LIMIT * SETTINGS["rate"]
    """,
    "flow.py": """
        import sys
        import pandas as pd
        from prefect import Flow, task
        from prefect.executors import DaskExecutor, LocalExecutor
        from prefect_ds import DSTaskRunner, PandasResultHandler
        import helpers

        @task(result=PandasResultHandler("data/part_{n}.parquet", "parquet"))
        def part(n):
            return pd.DataFrame({"v": [helpers.clean(n)]})

        with Flow("project") as flow:
            parts = part.map([1, 2])

        if __name__ == "__main__":
            where = sys.argv[1]
            if where == "local":
                executor = LocalExecutor()
            else:
                executor = DaskExecutor(
                    cluster_kwargs={"n_workers": 1, "dashboard_address": ":0"},
                    watch_worker_status=False,
                )
            state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)
            for child in state.result[parts].map_states:
                print(">>", child.message)
    """,
}


EDITS = (
    ("def clean(x):", "# A comment.\n\ndef clean(x):\n    'What it does.'", ""),
    ("LIMIT = 0.5", "LIMIT = 0.6", "global 'LIMIT' in helpers 0.5 -> 0.6"),
    ("return x * LIMIT", "return x + LIMIT", "code changed: clean() in helpers"),
    ('"b"]', '"c"]', "global 'SETTINGS' in helpers changed"),
)
RUN_FLOW = (
    "import runpy, sys; sys.argv = ['flow.py', {where!r}]; sys.path.insert(0, '')\n"
    "if __name__ == '__main__': runpy.run_path('flow.py', run_name='__main__')"
)


@pytest.mark.parametrize(
    ("where", "edits"),
    [("local", EDITS), pytest.param("cluster", EDITS[:2], marks=pytest.mark.slow)],
)
def test_an_edit_between_two_processes_counts_and_is_named(
    tmp_path, in_child_process, where, edits
):
    for name, source in PROJECT.items():
        (tmp_path / name).write_text(textwrap.dedent(source))

    def messages():
        code = RUN_FLOW.format(where=where)
        ran = in_child_process(code, PYTHONDONTWRITEBYTECODE="1")
        assert ran.returncode == 0, ran.stderr
        said = [line for line in ran.stdout.splitlines() if line.startswith(">>")]
        assert len(said) == 2
        return said

    assert all("nothing yet" in message for message in messages())
    for old, new, reason in edits:
        source = (tmp_path / "helpers.py").read_text()
        assert old in source
        (tmp_path / "helpers.py").write_text(source.replace(old, new))
        said = f"stale: {reason};" if reason else ">> Loaded"
        assert all(said in message for message in messages())


def test_a_handler_of_the_flow_ignores_what_only_some_tasks_take(run_here, tmp_path):
    @task(name="one")
    def one(x):
        return frame_of(x)

    with Flow("flow") as flow:
        one(1)
    flow.result = PandasResultHandler(
        f"{tmp_path}/{{task_name}}.csv", "csv", ignore=["conn"]
    )
    assert run_here(flow).is_successful()
    assert "Loaded" in state_of(run_here(flow), flow, "one").message
