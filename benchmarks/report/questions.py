"""The ratios that a user asks about, and the bounds that are promised for some."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks.suites import (
    bare_writes,
    client_memory,
    dask_frames,
    digests,
    file_types,
    limit,
    mapped_flows,
    object_files,
)
from benchmarks.support.measure import (
    Case,
    Machine,
    Spread,
    Verdict,
    interleaved,
    ratio,
    verdict,
)
from benchmarks.support.rivals import RIVALS

Level = Literal["quick", "normal", "full"]
"""``quick`` shows that everything runs; ``normal`` takes less than three minutes;
``full`` has the sizes of the docs page."""


@dataclass(frozen=True, slots=True)
class Rival:
    """Another way to the same result, with which ours is compared."""

    params: tuple[object, ...]
    at_most: float | None = None
    """The share of its time that ours may take; ``None``: nothing is promised."""
    method: str | None = None
    """Of the benchmark; ``None``: the one that measures ours."""


@dataclass(frozen=True, slots=True)
class Question:
    """One benchmark, measured for us and for rivals."""

    text: str
    benchmark: type
    method: str
    ours: tuple[object, ...]
    rivals: Mapping[str, Rival]
    weight: float = 1.0
    """Its share of the time, beside those of the other questions."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A row of the table."""

    question: str
    against: str
    ours_s: float
    ratio: Spread
    at_most: float | None
    verdict: Verdict


def questions(level: Level) -> list[Question]:
    """Return the questions at the sizes of a level."""
    rows, csv_rows, n_children, n_trivial = {
        "quick": (1_000, 1_000, 4, 4),
        "normal": (1_000_000, 100_000, 12, 128),
        "full": (1_000_000, 100_000, 64, 512),
    }[level]
    return [
        Question(
            f"write {rows:,} rows to parquet",
            bare_writes.WriteParquet,
            "time_write",
            ("prefect_ds", rows),
            {name: Rival((name, rows)) for name in bare_writes.WRITERS[1:]},
        ),
        Question(
            f"read {rows:,} rows from parquet",
            limit.FullRead,
            "time_read",
            ("prefect_ds", "pandas", rows),
            {name: Rival((name, "pandas", rows)) for name in limit.READERS[1:]},
        ),
        Question(
            f"write {csv_rows:,} rows to csv",
            bare_writes.WriteCsv,
            "time_write",
            ("prefect_ds", csv_rows),
            {"pandas": Rival(("pandas", csv_rows))},
        ),
        Question(
            f"read {csv_rows:,} rows from csv",
            bare_writes.Read,
            "time_read",
            ("prefect_ds", "csv", csv_rows),
            {"pandas": Rival(("pandas", "csv", csv_rows))},
        ),
        Question(
            f"find a checkpoint of {rows:,} rows",
            file_types.Checkpoint,
            "time_hit",
            ("parquet", rows),
            {"reading it": Rival(("parquet", rows), method="time_read")},
            weight=0.3,
        ),
        *_objects(level),
        *_digests(rows),
        *_dask_frames(rows, level),
        *_flows(n_children, n_trivial),
        *_five_stages(level),
    ]


def _objects(level: Level) -> Iterator[Question]:
    n_bytes = {"quick": 10_000, "normal": 10_000_000, "full": 100_000_000}[level]
    # A small file is nearly all commit.
    at_most = {"bare": 1.2} if level == "full" else {}
    for file_type in object_files.FILE_TYPES:
        for what in ("write", "read"):
            yield Question(
                f"{what} an object of {n_bytes:,} bytes as {file_type}",
                object_files.ObjectFile,
                f"time_{what}",
                ("prefect_ds", file_type, n_bytes),
                {
                    name: Rival((name, file_type, n_bytes), at_most.get(name))
                    for name in object_files.WRITERS[1:]
                },
                weight=0.5,
            )


def _digests(rows: int) -> Iterator[Question]:
    for of, at_most in {"numbers": 1.3, "text": 1.0, "text and None": 1.0}.items():
        yield Question(
            f"digest an input of {rows:,} rows: {of}",
            digests.Digest,
            "time_digest",
            ("prefect_ds", of, rows),
            {"dask.tokenize": Rival(("dask.tokenize", of, rows), at_most)},
            weight=0.3,
        )


def _dask_frames(rows: int, level: Level) -> Iterator[Question]:
    if level != "quick":
        yield Question(
            "write a Dask frame of 4,000,000 rows, threads",
            dask_frames.WriteFrame,
            "time_write",
            ("prefect_ds",),
            {
                "dask": Rival(("dask",)),
                "dask, same options": Rival(
                    ("dask with the same options",), at_most=1.10
                ),
            },
        )
    if level == "full":
        yield Question(
            "read a Dask frame of 4,000,000 rows, threads",
            dask_frames.ReadFrame,
            "time_read",
            ("prefect_ds", "all columns"),
            {"dask": Rival(("dask", "all columns"), at_most=1.05)},
        )
        yield Question(
            "open a Dask frame of 1,000 parts",
            dask_frames.OpenFrame,
            "time_open",
            ("prefect_ds", 1_000),
            {"dask": Rival(("dask", 1_000))},
        )
    yield Question(
        f"read a Dask frame of {rows:,} rows, threads",
        limit.FullRead,
        "time_read",
        ("prefect_ds", "dask", rows),
        {
            "dask": Rival(("pandas", "dask", rows), at_most=1.05),
            "pyarrow.dataset": Rival(("pyarrow.dataset", "dask", rows)),
        },
    )


def _flows(n_children: int, n_trivial: int) -> Iterator[Question]:
    wanted = {("prefect target=parquet", "fresh"): 1.1}
    for executor in ("LocalExecutor", "DaskExecutor"):
        for situation in mapped_flows.SITUATIONS:
            rivals = {
                name: Rival(
                    (name, executor, situation, n_children),
                    wanted.get((name, situation)),
                )
                for name in RIVALS[1:]
            }
            yield Question(
                f"2 stages x {n_children} children, {executor}, {situation}",
                mapped_flows.MappedFlow,
                "time_run",
                ("prefect_ds", executor, situation, n_children),
                rivals,
                weight=2,
            )
    yield Question(
        f"{n_trivial} tasks of one row, {mapped_flows.SITUATIONS[0]}",
        mapped_flows.TrivialTasks,
        "time_run",
        ("prefect_ds", "fresh", n_trivial),
        {
            "tasks of None": Rival(("tasks of None", "fresh", n_trivial)),
            "prefect, nothing kept": Rival(
                ("prefect, nothing kept", "fresh", n_trivial), 0.7
            ),
        },
        weight=4,
    )


def _five_stages(level: Level) -> Iterator[Question]:
    n_children, rows = {
        "quick": (2, 1_000),
        "normal": (20, 1_000),
        "full": (200, 1_000),
    }[level]

    def params(
        rival: str, situation: str, rows: int, n_children: int
    ) -> tuple[object, ...]:
        return (rival, "LocalExecutor", situation, rows, n_children)

    # The first takes no longer than ours: by itself it has many rounds, beside the
    # others the least.
    for rivals in (
        {"tasks of None": Rival(params("tasks of None", "resume", 0, n_children), 1.2)},
        {
            "tasks of None, Prefect's engine": Rival(
                params("tasks of None, Prefect's engine", "fresh", 0, n_children)
            ),
            "prefect target=parquet": Rival(
                params("prefect target=parquet", "resume", rows, n_children)
            ),
        },
    ):
        yield Question(
            f"5 stages x {n_children} children, resume",
            mapped_flows.FiveStages,
            "time_run",
            params("prefect_ds", "resume", rows, n_children),
            rivals,
            weight=2,
        )
    n_children, rows = {
        "quick": (2, 1_000),
        "normal": (2, 100_000),
        "full": (8, 1_000_000),
    }[level]
    for situation, at_most in (("fresh", 1.1), ("resume", 1 / 3)):
        name = "prefect target=parquet"
        yield Question(
            f"5 stages x {n_children} children of {rows:,} rows, {situation}",
            mapped_flows.FiveStages,
            "time_run",
            params("prefect_ds", situation, rows, n_children),
            {name: Rival(params(name, situation, rows, n_children), at_most)},
            weight=2,
        )


def answers(level: Level, machine: Machine, *, budget_s: float) -> Iterator[Answer]:
    """Measure, and yield the rows of the table as they are known.

    Parameters
    ----------
    level
        The sizes.
    machine
        Its load is noted in every round.
    budget_s
        Seconds for all questions; a question that takes longer for its least rounds
        takes them all the same.
    """
    asked = questions(level)
    share_s = budget_s / sum(question.weight for question in asked)
    # Fewer than three measurements say nothing about their spread.
    least = 1 if level == "quick" else 3
    for question in asked:
        cases = {"prefect_ds": Case(question.benchmark, question.method, question.ours)}
        for name, rival in question.rivals.items():
            cases[name] = Case(
                question.benchmark, rival.method or question.method, rival.params
            )
        seconds = interleaved(
            cases, machine, budget_s=question.weight * share_s, least=least
        )
        ours = seconds.pop("prefect_ds")
        for name, others in seconds.items():
            at_most = question.rivals[name].at_most
            compared = ratio(ours, others)
            yield Answer(
                question.text,
                name,
                Spread.of(ours).median,
                compared,
                at_most,
                verdict(compared, at_most),
            )


def missing() -> str:
    """Return in words which rival is not installed; empty where all are."""
    if importlib.util.find_spec("joblib"):
        return ""
    return "joblib is not installed, and was left out: pip install joblib"


@dataclass(frozen=True, slots=True)
class Memory:
    """The client's peak above that of a flow of tasks that return None."""

    rival: str
    situation: str
    n_frames: int
    frame_mb: int
    above_base_bytes: int


def memory(level: Level) -> Iterator[Memory]:
    """Measure the client's memory, every run in a process of its own."""
    n_frames, frame_mb = {"quick": (2, 1), "normal": (8, 24), "full": (48, 48)}[level]
    base, _ = client_memory.peaks("tasks of None", n_frames, frame_mb)
    for rival in ("prefect_ds", "prefect target=parquet"):
        for situation, peak in zip(
            ("fresh", "resume"),
            client_memory.peaks(rival, n_frames, frame_mb),
            strict=True,
        ):
            yield Memory(rival, situation, n_frames, frame_mb, peak - base)
