"""`explain` knows what conditions, triggers and names say, or that it does not."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect import Flow, Parameter, apply_map, case, task, triggers
from prefect.core.parameter import DateTimeParameter
from prefect.tasks.control_flow import merge

from prefect_ds import PandasResultHandler, explain
from prefect_ds.report import outcome_of
from tests.support.flows import frame_of


def decisions(flow: Flow, parameters: dict[str, Any] | None = None) -> dict[str, str]:
    """Return the decision about every task by its name."""
    return {step.task: step.decision for step in explain(flow, parameters).steps}


@pytest.fixture
def kept(tmp_path: Path):
    """Make a task that returns a frame, with a checkpoint of its name."""

    def kept(name: str, path: str = "", **options: Any):
        def run(value: Any = None, other: Any = None) -> pd.DataFrame:
            return frame_of(len(name))

        handler = PandasResultHandler(tmp_path / f"{path or name}.parquet")
        return task(run, name=name, result=handler, **options)

    return kept


def test_a_date_among_the_parameters_is_the_one_that_the_run_takes(run_here, kept):
    with Flow("days") as flow:
        kept("day", "day_{value:%Y-%m-%d}")(DateTimeParameter("day"))
    run_here(flow, parameters={"day": "2024-02-29"})
    assert decisions(flow, {"day": "2024-02-29"}) == {"day": "load"}
    assert decisions(flow, {"day": "2024-03-01"}) == {"day": "run"}


class Secret(Parameter):
    """A parameter of the user's own."""

    def run(self) -> str:
        raise AssertionError("only a run calls it")


def test_a_parameter_of_the_users_own_is_not_called(kept):
    with Flow("own") as flow:
        kept("one", "one_{value}")(Secret("secret", default="x"))
    assert decisions(flow) == {"one": "unknown"}


@pytest.mark.parametrize(
    "field",
    ["task_run_name", "task_full_name", "task_id", "task_run_count", "flow_id"],
)
def test_names_that_a_run_puts_into_the_context_are_known(run_here, kept, field):
    with Flow("names") as flow:
        kept("one", f"of_{{{field}}}", task_run_name="of {value}")(5)
    run_here(flow)
    assert decisions(flow) == {"one": "load"}


@pytest.mark.parametrize("field", ["flow_run_id", "flow_run_name", "task_run_id"])
def test_names_that_every_run_makes_for_itself_are_unknown(kept, field):
    with Flow("names") as flow:
        kept("one", f"of_{{{field}}}")(5)
    (step,) = explain(flow).steps
    assert step.decision == "unknown"
    assert step.reason == f"its path contains {{{field}}}, which is not known yet"


def test_what_follows_a_merge_of_skipped_branches_is_skipped(run_here, kept):
    with Flow("merged") as flow:
        way = Parameter("way", default="neither")
        with case(way, "left"):
            left = kept("left")()
        with case(way, "right"):
            right = kept("right")()
        after = kept("after")(merge(left, right))
    assert decisions(flow) == {
        "left": "not needed",
        "right": "not needed",
        "after": "not needed",
    }
    assert outcome_of(run_here(flow).result[after]) == "not needed"
    run_here(flow, parameters={"way": "left"})
    assert decisions(flow, {"way": "left"}) == {
        "left": "load",
        "right": "not needed",
        "after": "load",
    }


def test_a_skipped_child_is_nothing_to_a_task_that_runs_all_the_same(run_here, kept):
    even = kept("even", "even_{value}")
    both = kept("both", skip_on_upstream_skip=False)

    def of_one(number: Any) -> Any:
        with case(number, 2):
            return even(number)

    with Flow("some") as flow:
        both(apply_map(of_one, Parameter("numbers", default=[2, 3])))
    assert [step.decision for step in explain(flow).steps] == [
        "run",
        "not needed",
        "run",
    ]
    run_here(flow)
    assert explain(flow).counts == {"load": 2, "not needed": 1}


@task
def is_wanted() -> bool:
    return False


@task
def numbers() -> list[int]:
    return [1, 2]


def test_what_follows_an_open_condition_may_be_skipped(run_here, kept):
    of_list, mapped, of_all = kept("list"), kept("mapped", "of_{value}"), kept("all")
    with Flow("open") as flow:
        with case(is_wanted(), True):
            one = kept("one")()
            several = numbers()
        in_list = of_list([one, kept("other")()])
        total = of_all(mapped.map(several))
    assert decisions(flow) == {
        "is_wanted": "run",
        "one": "maybe",
        "numbers": "maybe",
        "other": "run",
        "list": "maybe",
        "mapped": "unknown",
        "all": "maybe",
    }
    state = run_here(flow)
    assert outcome_of(state.result[in_list]) == "not needed"
    assert outcome_of(state.result[total]) == "not needed"


def a_trigger(states: Any) -> bool:
    raise AssertionError("only a run calls it")


@pytest.mark.parametrize(
    ("trigger", "decision"),
    [
        (triggers.all_successful, "run"),
        (triggers.any_successful, "run"),
        (triggers.always_run, "run"),
        (triggers.not_all_skipped, "run"),
        (triggers.all_failed, "maybe"),
        (triggers.any_failed, "maybe"),
        (triggers.some_failed(at_least=1), "maybe"),
        (triggers.manual_only, "maybe"),
        (a_trigger, "maybe"),
    ],
)
def test_a_trigger_may_decide(kept, trigger, decision):
    with Flow("triggers") as flow:
        kept("after", trigger=trigger)(kept("before")())
    assert decisions(flow) == {"before": "run", "after": decision}
    reason = explain(flow).steps[1].reason
    assert ("its trigger " in reason) == (decision == "maybe")


@task
def connection() -> Any:
    return threading.Lock()


def test_what_cannot_be_compared_does_not_go_away(run_here, kept):
    with Flow("lock") as flow:
        uses = kept("uses")(connection())
    run_here(flow)
    assert decisions(flow) == {"connection": "run", "uses": "maybe"}
    assert outcome_of(run_here(flow).result[uses]) == "loaded"


@pytest.mark.parametrize("parameters", ["way", [("way", 1)], 7])
def test_parameters_that_are_no_dict_are_refused_in_one_line(kept, parameters):
    with Flow("bad") as flow:
        kept("one")(Parameter("way", default=1))
    with pytest.raises(TypeError, match=r"parameters is .*: give a dict"):
        explain(flow, parameters)
