"""Results that a task's state handlers do not accept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
import pytest
from prefect import Flow, task
from prefect.engine import signals
from prefect.engine.state import Failed, Pending, Retrying, State

from prefect_ds import ObjectResultHandler, Outputs


@pytest.mark.parametrize("how", ["return", "raise", "from the runner"])
@pytest.mark.parametrize("rejection", [Failed, Retrying, Pending])
def test_a_result_that_a_state_handler_rejects_is_no_checkpoint(
    run_here: Callable[..., State],
    tmp_path: Path,
    log_lines: list[str],
    how: str,
    rejection: type[State],
) -> None:
    ran = []

    def judge(_: Any, old: State, new: State) -> State:
        if not (new.is_successful() and new.result == {"n": 1}):
            return new
        if how == "raise":
            raise signals.RETRY("bad") if rejection is Retrying else signals.FAIL("bad")
        if rejection is Failed:
            return Failed("bad")
        if rejection is Pending:
            return Pending("not yet")
        return Retrying("bad", start_time=pendulum.now("utc"))

    handlers = [] if how == "from the runner" else [judge]

    @task(
        max_retries=2,
        retry_delay=timedelta(0),
        state_handlers=handlers,
        result=ObjectResultHandler(tmp_path / "n.json", match="inputs"),
    )
    def count() -> dict[str, int]:
        ran.append(1)
        return {"n": len(ran)}

    with Flow("judged") as flow:
        counted = count()
    options = {}
    if how == "from the runner":
        options = {"task_runner_state_handlers": [judge]}
    states = [run_here(flow, **options).result[counted] for _ in range(3)]
    # Prefect retries a failure, too.
    assert [state.result for state in states] == [{"n": 2}] * 3
    assert len(ran) == 2
    assert [
        line for line in log_lines if "a state handler of the task rejected" in line
    ]


def test_a_checkpoint_that_a_state_handler_rejects_is_computed_again(
    run_here: Callable[..., State], tmp_path: Path
) -> None:
    ran, bad = [], []

    def judge(_: Any, old: State, new: State) -> State:
        return Failed("bad") if new.is_successful() and new.result in bad else new

    @task(
        state_handlers=[judge],
        result=ObjectResultHandler(tmp_path / "n.json", match="inputs"),
    )
    def count() -> int:
        ran.append(1)
        return len(ran)

    with Flow("judged") as flow:
        counted = count()
    assert run_here(flow).result[counted].result == 1
    bad.append(1)
    assert run_here(flow).result[counted].is_failed()
    assert [run_here(flow).result[counted].result for _ in range(2)] == [2, 2]
    # As for what the task returns, its own retries are there for it.
    bad.append(2)
    counted.max_retries, counted.retry_delay = 1, timedelta(0)
    assert [run_here(flow).result[counted].result for _ in range(2)] == [3, 3]


def test_several_outputs_that_a_state_handler_rejects_count_no_more(
    run_here: Callable[..., State], tmp_path: Path
) -> None:
    ran = []

    def judge(_: Any, old: State, new: State) -> State:
        is_bad = new.is_successful() and new.result == {"b": 1, "a": 1}
        return Failed("bad") if is_bad else new

    handlers = {
        name: ObjectResultHandler(tmp_path / f"{name}.json", match="inputs")
        for name in "ab"
    }

    @task(
        max_retries=1,
        retry_delay=timedelta(0),
        state_handlers=[judge],
        result=Outputs(**handlers),
    )
    def count() -> dict[str, int]:
        ran.append(1)
        return {"b": len(ran), "a": len(ran)}

    with Flow("judged outputs") as flow:
        counted = count()
    for _ in range(2):
        assert run_here(flow).result[counted].result == {"b": 2, "a": 2}


def test_a_state_handler_that_breaks_costs_no_checkpoint(
    run_here: Callable[..., State], tmp_path: Path
) -> None:
    broken = [True]

    def notify(_: Any, old: State, new: State) -> State:
        if new.is_successful() and broken:
            raise ConnectionError("no answer")
        return new

    @task(
        state_handlers=[notify],
        result=ObjectResultHandler(tmp_path / "n.json", match="inputs"),
    )
    def once() -> int:
        return 1

    with Flow("notified") as flow:
        made = once()
    assert run_here(flow).result[made].is_failed()
    broken.clear()
    assert run_here(flow).result[made].message.startswith("Loaded from the checkpoint")
