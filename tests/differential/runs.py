"""One run of a generated flow: its steps, and what is observed of it."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import prefect.utilities.context
from prefect import Flow
from prefect.engine.flow_runner import FlowRunner
from prefect.engine.state import State
from prefect.executors import DaskExecutor, Executor, LocalDaskExecutor, LocalExecutor
from prefect.utilities.configuration import set_temporary_config

from tests.differential.chain_kit import observed_frame
from tests.differential.kit import canonical


@dataclass(frozen=True)
class Step:
    """How a flow is run once."""

    name: str
    executor: str = "local"
    """``local``, ``threads``, ``processes``, ``own`` or the address of a cluster."""
    is_stock: bool = False
    """Run by Prefect alone, without handlers."""
    is_changed: bool = False
    """Run with the changed parameters."""
    cache_bytes: int = 2**27
    keep: tuple[str, ...] | None = None
    """Names of tasks for ``keep_results``."""
    gone: int | None = None
    """Seed for the choice of files that are deleted before."""
    kill_after: int | None = None
    """How many bodies may start before the run is killed."""
    by_prefects_runner: bool = False


def make_executor(name: str) -> Executor:
    """Return the executor of a step."""
    if name == "local":
        return LocalExecutor()
    if name == "threads":
        return LocalDaskExecutor("threads", num_workers=4)
    if name == "processes":
        return LocalDaskExecutor("processes", num_workers=2)
    if name == "own":
        cluster = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
        return DaskExecutor(cluster_kwargs=cluster, watch_worker_status=False)
    return DaskExecutor(address=name, watch_worker_status=False)


def handlers(folder: str) -> Callable[..., dict[str, Any]]:
    """Return what gives a task its handler: without a file type, that for Dask."""
    from prefect_ds import ObjectResultHandler, PandasResultHandler
    from prefect_ds.dask import DaskDataFrameResultHandler

    def kept(
        template: str,
        *file_type: str,
        by_target: bool = False,
        is_object: bool = False,
        **options: Any,
    ) -> dict[str, Any]:
        kind: Any = PandasResultHandler if file_type else DaskDataFrameResultHandler
        path = f"{folder}/data/{template}"
        if file_type == ("outputs",):
            return {"result": outputs(path, options)}
        if is_object:
            kind = ObjectResultHandler
        if by_target:
            return {"target": path, "result": kind(None, *file_type, **options)}
        return {"result": kind(path, *file_type, **options)}

    return kept


def outputs(path: str, options: dict[str, Any]) -> Any:
    """Return a handler of a frame, a JSON object and a pickle, the JSON at the path."""
    from prefect_ds import ObjectResultHandler, Outputs, PandasResultHandler

    start = path.removesuffix(".json")
    return Outputs(
        x=PandasResultHandler(f"{start}.parquet", **options),
        y=ObjectResultHandler(path, **options),
        z=ObjectResultHandler(f"{start}.pkl", **options),
    )


def delete_some(folder: str, seed: int) -> None:
    """Delete some of the checkpoints' files."""
    chance = random.Random(seed)
    for name in sorted(os.listdir(f"{folder}/data")):
        path = Path(folder, "data", name)
        if name.startswith(".") or chance.random() < 0.6:
            continue
        if path.is_dir():
            # The whole checkpoint, or one of its parts.
            path = chance.choice([path, *sorted(path.rglob("*.parquet"))])
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def spare_copies_of_the_config() -> None:
    """Make stock runs fast: Prefect copies its whole config three times for each task.

    Most of the time of a small flow goes into the copies. A config that is merged into
    an equal one stays as it is.
    """
    context: Any = prefect.utilities.context
    merge = context.merge_dicts
    context.merge_dicts = lambda old, new: old if old == new else merge(old, new)


def run_step(
    build: Callable[..., Flow], folder: str, step: Step, parameters: dict[str, Any]
) -> dict[str, Any]:
    """Run a flow as the step says, and return what is observed of it."""
    os.makedirs(f"{folder}/data", exist_ok=True)
    Path(folder, "bodies.jsonl").unlink(missing_ok=True)
    Path(folder, "kill").unlink(missing_ok=True)
    if step.gone is not None:
        delete_some(folder, step.gone)
    if step.kill_after is not None:
        Path(folder, "kill").write_text(f"{os.getpgid(0)} {step.kill_after}")
    options: dict[str, Any] = {"executor": make_executor(step.executor)}
    config: dict[str, Any] = {"prefect_ds.cache_bytes": step.cache_bytes}
    files = sorted(os.listdir(f"{folder}/data"))
    if step.is_stock:
        spare_copies_of_the_config()
        flow = build(folder, lambda *args, **kwargs: {})
        options["runner_cls"] = FlowRunner
    else:
        from prefect_ds import DSTaskRunner

        flow = build(folder, handlers(folder))
        if step.by_prefects_runner:
            options["runner_cls"] = FlowRunner
            config["engine.task_runner.default_class"] = "prefect_ds.DSTaskRunner"
        else:
            options["task_runner_cls"] = DSTaskRunner
        if step.keep is not None:
            options["keep_results"] = [flow.get_tasks(name)[0] for name in step.keep]
    with set_temporary_config(config):
        final = flow.run(parameters=parameters, **options)
        return {**observed(flow, final, folder), "files": files}


def observed(flow: Flow, final: State, folder: str) -> dict[str, Any]:
    """Return the flow's and the tasks' states with their values, and the bodies."""
    tasks = {}
    if isinstance(final.result, dict):
        tasks = {
            flow.slugs[of]: observed_state(state) for of, state in final.result.items()
        }
    notes = Path(folder, "bodies.jsonl")
    lines = notes.read_text().splitlines() if notes.exists() else []
    return {
        "flow": [type(final).__name__, final.message],
        "error": "" if tasks else repr(final.result),
        "tasks": tasks,
        "bodies": [json.loads(line) for line in lines],
        "terminal": sorted(flow.slugs[of] for of in flow.terminal_tasks()),
    }


def observed_state(state: State) -> dict[str, Any]:
    """Return a state's type, message and value, and those of its children."""
    seen: dict[str, Any] = {"type": type(state).__name__, "message": state.message}
    try:
        value = state.result
        if isinstance(value, dd.DataFrame):
            value = observed_frame(value)
            return {**seen, "value": json.loads(json.dumps(value, default=repr))}
        if state.is_mapped() and not isinstance(value, list):
            value = list(value) if value is not None else None
        seen["value"] = json.loads(json.dumps(canonical(value), default=repr))
    except Exception as error:  # noqa: BLE001 - a value that cannot be had is a difference
        seen["value"] = f"raised {error!r}"
    if state.is_mapped():
        seen["children"] = [observed_state(child) for child in state.map_states]
    return seen
