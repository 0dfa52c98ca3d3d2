"""What the next run of a flow would load and run, as a value and a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from typing import Any

import pandas as pd
from prefect import Flow
from prefect.core import Task
from tabulate import tabulate

from prefect_ds.checkpoints.reference import count, size
from prefect_ds.engine.flow_plan import plan_flow
from prefect_ds.engine.step_edges import step_edges
from prefect_ds.engine.task_decision import Decision, TaskDecision
from prefect_ds.pages.page import Page, Row, Step
from prefect_ds.pages.paged import Paged


def explain(
    flow: Flow,
    parameters: Mapping[str, Any] | None = None,
    *,
    refresh: Iterable[Task | str] = (),
    context: Mapping[str, Any] | None = None,
) -> Explanation:
    """Return what the next run of a flow would load and run, and why.

    Runs no code of yours, writes nothing and starts no cluster: it looks at the
    manifests of the checkpoints, as the run will.

    Parameters
    ----------
    flow
        The flow.
    parameters
        As for ``flow.run(parameters=...)``.
    refresh
        As for ``flow.run(refresh=...)``.
    context
        As for ``flow.run(context=...)``, where a template names ``{today}``, say.

    Raises
    ------
    TypeError
        ``flow`` is not a flow, or ``parameters`` is not a mapping.
    ValueError
        A parameter is unknown, or one without a default is missing, or ``refresh`` has
        a task that is not in the flow.
    TemplateError
        A path template could never tell the children of a mapped task apart.

    Examples
    --------
    >>> import tempfile, pandas as pd
    >>> from prefect import Flow, task
    >>> from prefect_ds import PandasResultHandler, explain
    >>> folder = tempfile.mkdtemp()
    >>> @task(result=PandasResultHandler(f"{folder}/{{n}}.parquet", "parquet"))
    ... def numbers(n):
    ...     return pd.DataFrame({"n": range(n)})
    >>> with Flow("example") as flow:
    ...     tables = numbers.map([1, 2])
    >>> explain(flow).counts["run"]
    2
    """
    if not isinstance(flow, Flow):
        raise TypeError(f"explain needs a Flow, not a {type(flow).__name__}")
    decisions = plan_flow(flow, parameters or {}, refresh, context=context)
    # Prefect sorts tasks by what they depend on, and otherwise at random.
    place = {slug: number for number, slug in enumerate(flow.slugs.values())}
    decisions.sort(key=lambda decision: place[decision.slug])
    slugs = {decision.slug for decision in decisions if decision.is_step}
    steps = [task for task in flow.tasks if flow.slugs[task] in slugs]
    return Explanation(flow.name, tuple(decisions), step_edges(flow, steps))


@dataclass(frozen=True, slots=True, repr=False)
class Explanation(Paged):
    """What the next run of a flow would do; printed, it is a table.

    Parameters
    ----------
    flow
        The flow's name.
    decisions
        One for every task and every child of a mapped task, in the order in which the
        tasks were made.
    edges
        Pairs of slugs: which of the user's tasks takes the result of which, or waits
        for it.
    """

    flow: str
    decisions: tuple[TaskDecision, ...]
    edges: tuple[tuple[str, str], ...] = ()

    @property
    def steps(self) -> tuple[TaskDecision, ...]:
        """The decisions about the user's own tasks."""
        return tuple(decision for decision in self.decisions if decision.is_step)

    @property
    def counts(self) -> Counter[Decision]:
        """How many tasks and children the run would load, run and so on."""
        return Counter(step.decision for step in self.steps)

    @property
    def n_runs(self) -> tuple[int, int]:
        """The fewest and the most tasks and children that the run would run."""
        counts = self.counts
        # "maybe" and "unknown" run or load; only the run tells.
        least = counts["run"]
        return least, least + counts["maybe"] + counts["unknown"]

    @property
    def seconds(self) -> tuple[float, float]:
        """The fewest and the most seconds of work, as far as earlier runs tell."""
        # What is unknown has no seconds: no checkpoint of an earlier run is known for
        # it.
        least = sum(
            step.seconds or 0.0 for step in self.steps if step.decision == "run"
        )
        more = sum(
            step.seconds or 0.0 for step in self.steps if step.decision == "maybe"
        )
        return least, least + more

    def to_frame(self) -> pd.DataFrame:
        """Return a row for every task and child.

        Returns
        -------
        pandas.DataFrame
            Columns ``task``, ``map_index``, ``decision``, ``reason``, ``path``,
            ``size_bytes`` and ``seconds``.
        """
        names = [field.name for field in fields(TaskDecision)]
        frame = pd.DataFrame([astuple(step) for step in self.steps], columns=names)
        # A column in which all is missing would be one of objects.
        frame["map_index"] = frame["map_index"].astype("Int64")
        frame["size_bytes"] = frame["size_bytes"].astype("Int64")
        frame["seconds"] = frame["seconds"].astype("float64")
        return frame.drop(columns=["is_step", "slug"])

    def _page(self) -> Page:
        """Return the explanation as values for a page."""
        groups: dict[str, list[TaskDecision]] = {}
        for step in self.steps:
            # By slug: two tasks may have one name.
            groups.setdefault(step.slug or step.task, []).append(step)
        sizes = sum(step.size_bytes or 0 for step in self.steps)
        facts = (
            ("tasks", f"{len(groups):,}"),
            ("task runs", f"{len(self.steps):,}"),
            ("checkpoints there", size(sizes)),
        )
        _, most = self.n_runs
        return Page(
            title=self.flow,
            kind="What the next run does",
            status=self._in_short(),
            tone="ran" if most else "loaded",
            seconds=("took",),
            steps=tuple(_step(key, group) for key, group in groups.items()),
            edges=self.edges,
            facts=facts,
            lines=(self._summary(),),
        )

    def _in_short(self) -> str:
        least, most = self.n_runs
        if most == 0:
            return "Runs nothing"
        return f"Runs {_tasks(least, most)}"

    def __str__(self) -> str:
        if not self.steps:
            return f"Flow {self.flow!r} has no tasks: it runs no task."
        rows = [_row(group) for group in self._groups()]
        headers = ("task", "decision", "tasks", "checkpoints", "seconds", "reason")
        alignment = ("left", "left", "right", "right", "right", "left")
        table = tabulate(rows, headers, disable_numparse=True, colalign=alignment)
        return f"{table}\n{self._summary()}"

    # A notebook keeps both forms of an output in its file: this one is short, too.
    __repr__ = __str__

    def _groups(self) -> list[list[TaskDecision]]:
        """Return the steps with equal task, decision and reason together."""
        groups: dict[tuple[str, str, str], list[TaskDecision]] = {}
        for step in self.steps:
            key = (step.task, step.decision, step.reason)
            groups.setdefault(key, []).append(step)
        return list(groups.values())

    def _summary(self) -> str:
        least, most = self.n_runs
        if most == 0:
            return f"Flow {self.flow!r} runs no task."
        least_s, most_s = self.seconds
        seconds = f"{least_s:.1f} s"
        if least_s != most_s:
            seconds = f"{least_s:.1f} to {most_s:.1f} s"
        tasks = _tasks(least, most)
        return f"Flow {self.flow!r} runs {tasks}; they took {seconds} before."


def _tasks(least: int, most: int) -> str:
    """Return a number of tasks in words: ``1 task``, ``2 to 5 tasks``."""
    if least == most:
        return count(least, "task")
    return f"{least:,} to {most:,} tasks"


def _step(key: str, decisions: list[TaskDecision]) -> Step:
    """Return the decisions about one task as values for a page."""
    rows = [
        Row(
            child=decision.map_index,
            how=decision.decision,
            reason=decision.reason,
            path=decision.path,
            size_bytes=decision.size_bytes,
            seconds=(decision.seconds,),
        )
        for decision in decisions
    ]
    return Step(key, decisions[0].task, rows)


def _row(group: list[TaskDecision]) -> tuple[str, ...]:
    first = group[0]
    sizes = [step.size_bytes for step in group if step.size_bytes is not None]
    seconds = [step.seconds for step in group if step.seconds is not None]
    # A cell stays empty where nothing is known: a zero would be an answer.
    size_there, seconds_before = "", ""
    if sizes:
        size_there = size(sum(sizes))
    if seconds:
        seconds_before = f"{sum(seconds):.2f}"
    return (
        first.task,
        first.decision,
        f"{len(group):,}",
        size_there,
        seconds_before,
        first.reason,
    )
