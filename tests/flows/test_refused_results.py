"""What a user sees of a result that its handler does not keep."""

import logging
from typing import Optional

import cloudpickle
import dask.dataframe as dd
import pandas as pd
import pytest
from prefect import Flow, Parameter, task

from prefect_ds import DSTaskRunner, PandasResultHandler
from prefect_ds.dask import DaskDataFrameResultHandler
from prefect_ds.errors import FileTypeError, ResultTypeError, RoundTripError

FRAME = pd.DataFrame({"x": [1, 2]})


class Model:
    """Hours of training went into one."""

    weights = (1, 2)


def run(*tasks):
    with Flow("refused") as flow:
        for each in tasks:
            each()
    return flow.run(task_runner_cls=DSTaskRunner)


def trained(folder, make, **options):
    @task(name="fit", result=PandasResultHandler(f"{folder}/fit.csv"), **options)
    def fit():
        return make()

    return fit


class TestARefusedValue:
    def test_is_set_aside_and_said_in_one_line(self, tmp_path, caplog):
        fit = trained(tmp_path, Model)
        final = run(fit)
        (state,) = final.result.values()
        (aside,) = (tmp_path / ".prefect_ds" / "set-aside").iterdir()
        assert cloudpickle.loads(aside.read_bytes()).weights == (1, 2)
        assert isinstance(state.result, ResultTypeError)
        for part in ("Model", f"{tmp_path}/fit.csv", f"pickle, {aside}"):
            assert part in state.message
        assert "Unexpected" not in caplog.text
        (line,) = [
            record for record in caplog.records if record.levelno == logging.ERROR
        ]
        assert line.exc_info is None
        assert line.getMessage() == f"Task 'fit': {state.message}"

    def test_that_would_not_come_back_is_set_aside_too(self, tmp_path):
        frame = FRAME.assign(when=[object(), 1])
        fit = trained(tmp_path, lambda: frame)
        (state,) = run(fit).result.values()
        (aside,) = (tmp_path / ".prefect_ds" / "set-aside").iterdir()
        back = cloudpickle.loads(aside.read_bytes())
        assert list(back.columns) == ["x", "when"]
        assert isinstance(state.result, RoundTripError)
        assert "column 'when'" in state.message

    def test_that_cannot_be_pickled_either_is_refused_all_the_same(self, tmp_path):
        (state,) = run(trained(tmp_path, lambda: (i for i in [1]))).result.values()
        assert isinstance(state.result, ResultTypeError)
        assert "set aside" not in state.message
        assert not (tmp_path / ".prefect_ds" / "set-aside").exists()

    def test_is_retried_as_an_error_of_the_task_is(self, tmp_path):
        values = [Model(), FRAME]
        fit = trained(
            tmp_path,
            lambda: values.pop(0),
            max_retries=1,
            retry_delay=pd.Timedelta(0).to_pytimedelta(),
        )
        assert run(fit).is_successful()
        assert values == []


class TestAnnotations:
    """They are looked at before anything runs."""

    @pytest.mark.parametrize(
        ("annotation", "named"),
        [(Model, "Model"), (dict[str, int], "dict"), (list | int, "list or int")],
    )
    @pytest.mark.parametrize("kind", [PandasResultHandler, DaskDataFrameResultHandler])
    def test_of_what_is_not_kept_end_the_run(
        self, annotation, named, kind, tmp_path, caplog
    ):
        ran = []

        def fit():
            ran.append(1)

        fit.__annotations__["return"] = annotation
        path = tmp_path / ("x.csv" if kind is PandasResultHandler else "x")
        final = run(task(fit, result=kind(path)))
        assert final.is_failed()
        assert isinstance(final.result, ResultTypeError)
        assert f"task 'fit' returns {named} by its annotation" in final.message
        ending = "pkl" if annotation is Model else "json"
        advice = f"give the task ObjectResultHandler('x.{ending}')"
        assert final.message.endswith(advice)
        assert ran == []
        said = [line for line in caplog.messages if "by its annotation" in line]
        assert len(said) == 1
        assert "Unexpected" not in said[0]

    @pytest.mark.parametrize(
        "annotation",
        [pd.DataFrame, Optional[pd.DataFrame], object, "NotDefined", "pd.DataFrame"],  # noqa: UP045
    )
    def test_of_what_may_be_kept_let_it_run(self, annotation, tmp_path):
        def fit():
            return FRAME

        fit.__annotations__["return"] = annotation
        fit = task(fit, result=PandasResultHandler(tmp_path / "x.csv"))
        assert run(fit).is_successful()


class TestTheFileType:
    def test_is_that_of_a_targets_ending(self, tmp_path):
        fit = task(
            lambda: FRAME,
            name="fit",
            result=PandasResultHandler(None),
            target=f"{tmp_path}/x_{{flow_name}}.parquet",
        )
        assert run(fit).is_successful()
        assert pd.read_parquet(tmp_path / "x_refused.parquet").equals(FRAME)

    @pytest.mark.parametrize(
        ("file_type", "name", "message"),
        [
            ("csv", "x.parquet", "ends as a file of type 'parquet' does"),
            (None, "x.dat", "no file type has the ending of the path"),
            (None, "x.parqet", "did you mean '.parquet'"),
        ],
    )
    def test_that_a_target_contradicts_ends_the_run(
        self, file_type, name, message, tmp_path
    ):
        fit = task(
            lambda: FRAME,
            name="fit",
            result=PandasResultHandler(None, file_type),
            target=f"{tmp_path}/{name}",
        )
        final = run(fit)
        assert isinstance(final.result, FileTypeError)
        assert message in final.message
        assert "task 'fit'" in final.message


def test_a_default_of_the_task_fills_a_field_that_nothing_else_fills(tmp_path):
    @task(result=PandasResultHandler(f"{tmp_path}/{{unit}}_{{task_name}}_{{rate}}.csv"))
    def load(unit="mm", task_name="default", rate=1):
        return FRAME

    def written(*arguments):
        with Flow("defaults", tasks=[Parameter("rate", default=2)]) as flow:
            load(*arguments)
        assert flow.run(task_runner_cls=DSTaskRunner).is_successful()
        return {path.name for path in tmp_path.glob("*.csv")}

    # Prefect's context and the flow's parameters win over a default.
    assert written() == {"mm_load_2.csv"}
    assert written("inch") == {"mm_load_2.csv", "inch_load_2.csv"}


def test_a_default_of_none_is_named_with_the_remedy(tmp_path):
    @task(result=PandasResultHandler(f"{tmp_path}/{{unit}}.csv"))
    def load(unit=None):
        return FRAME

    with Flow("defaults") as flow:
        loaded = load()
    message = flow.run(task_runner_cls=DSTaskRunner).result[loaded].message
    assert "a NoneType can't name a file" in message
    assert "Give the argument or parameter a value" in message


def test_a_dask_frame_that_a_pandas_handler_refuses_names_the_handler_for_it(tmp_path):
    @task(result=PandasResultHandler(f"{tmp_path}/a.parquet"))
    def load():
        return dd.from_pandas(FRAME, npartitions=1)

    with Flow("refused") as flow:
        loaded = load()
    message = flow.run(task_runner_cls=DSTaskRunner).result[loaded].message
    assert "keep it with prefect_ds.dask.DaskDataFrameResultHandler" in message


def test_a_field_that_cannot_be_filled_fails_its_task_in_one_line(tmp_path, caplog):
    @task(result=PandasResultHandler(f"{tmp_path}/{{day}}.csv"))
    def load(day):
        return FRAME

    with Flow("refused") as flow:
        load(Parameter("day", required=False))
    final = flow.run(task_runner_cls=DSTaskRunner)
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    message = line.getMessage()
    assert line.exc_info is None
    assert "Task 'load': TemplateError: path template" in message
    assert "a NoneType can't name a file" in message
    assert "Give the argument or parameter a value" in message
    assert "Unexpected" not in caplog.text
    assert final.is_failed()
