"""The page that a run leaves behind where Prefect's config names a path for it.

``PREFECT__PREFECT_DS__REPORT=reports/{flow_name}_{today}.html``. Used on the client,
after the run.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import prefect
from prefect.core import Flow
from prefect.engine.state import State

from prefect_ds.engine.context import current
from prefect_ds.path_template import PathTemplate
from prefect_ds.report import RunReport


def write_run_page(
    flow: Flow, state: State, context: Mapping[str, Any], logger: logging.Logger
) -> None:
    """Write the page of a finished run, if one is wanted.

    A page that cannot be written is a warning: the run is as good without it.

    Parameters
    ----------
    flow
        The flow.
    state
        Its final state.
    context
        Prefect's context of the run, for the fields of the path; empty if the run ended
        before it had one.
    logger
        Where the warning goes.
    """
    config: Any = prefect.config
    template = (config.get("prefect_ds") or {}).get("report")
    # A flow that a task runs would replace the page of the one around it.
    if not template or not state.is_finished() or "task_run_id" in current():
        return
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    names = {"today": today, "flow_name": flow.name, **context}
    try:
        path = PathTemplate(str(template)).render(names)
        _report(flow, state).to_html(path)
    except Exception as error:  # noqa: BLE001 - whatever it is, the run has ended well
        logger.warning(
            "The report of flow %r was not written to %s: %s: %s",
            flow.name,
            template,
            type(error).__name__,
            error,
        )
        return
    logger.info("Report of flow %r: %s", flow.name, path)


def _report(flow: Flow, state: State) -> RunReport:
    message = str(state.message or state.result)
    if not isinstance(state.result, Mapping):
        return RunReport((), flow.name, error=message)
    report = RunReport.of(state.result, flow=flow)
    if state.is_failed() and not any(task.n_failed for task in report.tasks):
        report = replace(report, error=message)
    return report
