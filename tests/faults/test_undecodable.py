"""Whole bytes that cannot be decoded here: set aside with words, computed again."""

import importlib
import re
import shlex
import subprocess
import sys

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from prefect import Flow

from prefect_ds import DSTaskRunner, PandasResultHandler, explain, task
from prefect_ds.errors import UndecodableCheckpointError
from prefect_ds.storage import retries
from tests.support.processes import executor_at

pytestmark = pytest.mark.usefixtures("no_cache")

MODULE = """
class {name}:
    def __eq__(self, other):
        return type(self) is type(other)

    def __hash__(self):
        return 0
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Give a function that writes a module with a class of some name, and loads it."""
    monkeypatch.syspath_prepend(str(tmp_path / "library"))
    (tmp_path / "library").mkdir()
    written = tmp_path / "library" / "things_of_a_test.py"

    def write(name):
        written.write_text(MODULE.format(name=name))
        sys.modules.pop("things_of_a_test", None)
        importlib.invalidate_caches()
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        module = importlib.import_module("things_of_a_test")
        sys.dont_write_bytecode = before
        return getattr(module, name)

    yield write
    sys.modules.pop("things_of_a_test", None)


def flow_of(tmp_path, kind):
    """Give a flow with a task that keeps objects of a class, and one that reads them."""

    @task(name="fit", result=PandasResultHandler(f"{tmp_path}/data/fit.pkl", "pickle"))
    def fit():
        return pd.DataFrame({"model": [kind()]})

    @task(name="use")
    def use(frame):
        return len(frame)

    with Flow("fitting") as flow:
        use(fit())
    return flow


def test_a_renamed_class_costs_one_run_and_no_more(
    tmp_path, library, run_here, log_lines
):
    assert run_here(flow_of(tmp_path, library("Model"))).is_successful()
    before = (tmp_path / "data/fit.pkl").read_bytes()

    flow = flow_of(tmp_path, library("Renamed"))
    state = run_here(flow)
    assert state.is_failed()
    message = state.result[flow.get_tasks("use")[0]].message
    [aside] = (tmp_path / "data/.prefect_ds/set-aside").iterdir()
    for words in (
        str(tmp_path / "data/fit.pkl"),
        "its bytes are whole, but cannot be decoded as pickle",
        "Model",
        f"set aside as '{aside}'",
        "the next run computes it again",
        f"mv {shlex.quote(str(aside))}",
    ):
        assert words in message
    assert aside.read_bytes() == before
    kept = str(tmp_path / "data/fit.pkl")
    assert len([line for line in log_lines if line.startswith(f"{kept}: ")]) == 1
    # The table's line is cut; nothing else in the log says it again.
    assert len([line for line in log_lines if f"mv {aside}" in line]) == 1

    # The next run names the reason, the file and the way back; the one after that hits.
    [reason] = [step.reason for step in explain(flow).steps if step.task == "fit"]
    after = run_here(flow)
    assert after.is_successful()
    message = after.result[flow.get_tasks("fit")[0]].message
    for words in (
        f"its data had been set aside as '{aside}'",
        "cannot be decoded as pickle",
        f"to use it once the cause is mended: mv {shlex.quote(str(aside))}",
    ):
        assert words in reason
        assert words in message
    assert not (
        tmp_path / "data/.prefect_ds/manifests/_fit._pkl_/set-aside.record"
    ).exists()
    assert run_here(flow).is_successful()
    assert aside.read_bytes() == before


def test_the_way_back_that_is_named_leads_back(tmp_path, library):
    Model = library("Model")
    handler = PandasResultHandler(f"{tmp_path}/fit.pkl", "pickle")
    handler.write(pd.DataFrame({"model": [Model()]}))
    library("Renamed")
    with pytest.raises(UndecodableCheckpointError, match="cannot be decoded") as error:
        handler.load(handler.location)
    command = re.search(r"mv \S+ \S+", str(error.value))[0]
    subprocess.run(shlex.split(command), check=True)
    Model = library("Model")
    expected = pd.DataFrame({"model": [Model()]})
    assert_frame_equal(handler.load(handler.location), expected)
    assert not handler.manifest(handler.location).adopted


def test_a_downstream_task_on_a_cluster_meets_it_once(
    tmp_path, library, cluster_address
):
    """The workers cannot import the module; the upstream task hits without a read."""
    Model = library("Model")
    handler = PandasResultHandler(f"{tmp_path}/fit.pkl", "pickle")
    handler.write(pd.DataFrame({"model": [Model()]}))

    @task(name="fit", result=handler)
    def fit():
        return pd.DataFrame({"n": [1]})

    @task(name="use")
    def use(frame):
        return list(frame.columns)

    with Flow("fitting") as flow:
        used = use(fit())

    def run():
        executor = executor_at(cluster_address)
        return flow.run(executor=executor, task_runner_cls=DSTaskRunner)

    first = run()
    assert "cannot be decoded as pickle" in first.result[used].message
    assert run().result[used].result == ["n"]


def test_other_usecols_with_match_path_are_said_and_computed_again(tmp_path, run_here):
    def flow_with(columns):
        handler = PandasResultHandler(
            f"{tmp_path}/a.csv", "csv", {"usecols": columns}, match="path"
        )

        @task(name="make", result=handler)
        def make():
            return pd.DataFrame({name: [1] for name in columns})

        @task(name="use")
        def use(frame):
            return list(frame.columns)

        with Flow("columns") as flow:
            use(make())
        return flow

    assert run_here(flow_with(["a"])).is_successful()
    flow = flow_with(["b"])
    [use] = flow.get_tasks("use")
    assert "cannot be decoded as csv" in run_here(flow).result[use].message
    assert run_here(flow).result[use].result == ["b"]


def test_a_schema_that_does_not_fit_names_both_versions(tmp_path, monkeypatch):
    handler = PandasResultHandler(f"{tmp_path}/a.feather", "feather")
    handler.write(pd.DataFrame({"a": [1]}))
    store = handler.store
    manifest = handler.manifest(handler.location)
    body = {**vars(manifest), "schema": {**manifest.schema, "columns": []}}
    body |= {"versions": {**manifest.versions, "pandas": "2.0"}}
    body.pop("content", None)
    status = store.files.status(handler.location)
    store.files.remove(f"{tmp_path}/.prefect_ds")
    store.adopt(handler.location, type(manifest)(**body), status)
    with pytest.raises(
        UndecodableCheckpointError, match=rf"pandas 2\.0 \(here {pd.__version__}\)"
    ):
        handler.load(handler.location)
    assert handler.look_up(handler.location).kind == "missing"


@pytest.mark.parametrize(
    "error",
    [MemoryError(), OSError(5, "disk"), ImportError("Missing dependency 'tables'")],
    ids=["memory", "disk", "package"],
)
def test_an_error_that_is_no_fault_of_the_data_leaves_them_in_place(
    tmp_path, monkeypatch, error
):
    monkeypatch.setattr(retries, "RETRY_DELAYS_S", ())
    handler = PandasResultHandler(f"{tmp_path}/a.csv", "csv")
    frame = pd.DataFrame({"a": [1]})
    handler.write(frame)
    with monkeypatch.context() as patch:

        def fails(*args, **kwargs):
            raise error

        patch.setattr("prefect_ds.file_types.csv.pd.read_csv", fails)
        with pytest.raises(Exception, match=r"disk|tables|^$") as raised:
            handler.load(handler.location)
    assert "damaged" not in str(raised.value)
    assert_frame_equal(handler.load(handler.location), frame)


@pytest.mark.filterwarnings("ignore:The 'future.infer_string' option")
@pytest.mark.parametrize("file_type", ["hdf", "csv", "feather", "json"])
def test_an_option_of_pandas_in_the_reading_process_changes_nothing(
    tmp_path, file_type
):
    handler = PandasResultHandler(f"{tmp_path}/a", file_type)
    frame = pd.DataFrame({"s": ["a", "nan", None], "n": [1, 2, 3]})
    handler.write(frame)
    with pd.option_context("future.infer_string", False):
        read = handler.load(handler.location)
    assert_frame_equal(read, frame)
