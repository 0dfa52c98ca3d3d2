"""The decorator: Prefect's, with the older spelling."""

import pytest
from prefect import Flow
from prefect.tasks.core.function import FunctionTask

from prefect_ds import PandasResultHandler, task
from tests.support.flows import frame_of, result_of

HANDLER = PandasResultHandler("x.csv", "csv")


def test_it_makes_prefects_task_with_and_without_arguments():
    @task
    def plain(a):
        """Says what it does."""
        return a

    @task(name="named", max_retries=0, tags=["t"], nout=2)
    def named():
        return 1, 2

    assert type(plain) is FunctionTask
    assert (plain.name, plain.__doc__) == ("plain", "Says what it does.")
    assert (named.name, named.tags, named.nout) == ("named", {"t"}, 2)
    assert plain.run(3) == 3


@pytest.mark.parametrize("spelling", ["result", "result_handler"])
def test_both_spellings_give_the_result(spelling):
    @task(**{spelling: HANDLER})
    def make():
        return 1

    assert make.result is HANDLER


def test_both_at_once_are_refused():
    with pytest.raises(TypeError, match="both result= and result_handler="):
        task(result=HANDLER, result_handler=HANDLER)


def test_what_prefect_refuses_is_refused():
    with pytest.raises(TypeError, match="no_such"):
        task(no_such=1)(lambda: 1)


def test_a_lambda_is_a_task_too(run_here, tmp_path):
    make = task(
        name="make", result_handler=PandasResultHandler(tmp_path / "x.csv", "csv")
    )(lambda: frame_of(2))
    with Flow("lambda") as flow:
        make()
    assert result_of(run_here(flow), flow, "make")["id"][0] == 2
