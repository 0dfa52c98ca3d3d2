"""One write of a Dask frame: it takes over finished partitions and writes the rest."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dask.delayed import delayed
from distributed import Client

from prefect_ds.dask._internals import Assign, Expr, FromPandas, Len, Literal
from prefect_ds.dask.determinism import why_not_separable
from prefect_ds.dask.expressions import ReadCheckpoint, write_parts
from prefect_ds.dask.lowering import Lowered
from prefect_ds.dask.part_reader import check_part
from prefect_ds.dask.part_writer import PartWriter
from prefect_ds.dask.parts import StagedPart
from prefect_ds.dask.regroup import agree, regroup
from prefect_ds.dask.staging import Staging
from prefect_ds.dask.write_progress import computing_s, watched
from prefect_ds.errors import RoundTripError

logger = logging.getLogger("prefect.prefect_ds.dask")

_N_TRIES = 3
"""How often a frame is computed at most, if workers are lost meanwhile."""


@dataclass(frozen=True, slots=True)
class Written:
    """The parts of a frame, all of them staged."""

    parts: Sequence[StagedPart]
    divisions: Sequence[Any]
    n_resumed: int
    """Partitions that a stopped write had finished."""
    compute_s: float
    """Seconds that went into computing the others."""


@dataclass(frozen=True, slots=True)
class FrameWrite:
    """Writes a frame into a staging folder."""

    path: str
    """Of the checkpoint, for the log and errors."""
    lowered: Lowered
    writer: PartWriter
    staging: Staging
    n_rows: int | None
    """Rows of the frame; ``None`` where Dask cannot tell before it computes."""

    def run(self) -> Written:
        """Write the partitions that no stopped write finished; return the parts of all.

        Raises
        ------
        RoundTripError
            A partition cannot be kept, or the parts do not hold the frame's rows.
        """
        frame = self.lowered.frame
        finished = self._finished()
        missing = [n for n in range(frame.npartitions) if n not in finished]
        staged = [part for parts in finished.values() for part in parts]
        compute_s = 0.0
        if missing:
            written, compute_s = self._timed(missing, len(finished))
            staged += written
        self._check(staged)
        if not staged:
            # All partitions are empty, and there is no value to name a folder for. One
            # empty file keeps its dtypes.
            staged = replace(self.writer, partition_on=()).write(self.writer.meta, 0)
        # Workers finish in any order.
        staged.sort(key=lambda part: (part.partition, part.number))
        divisions: Sequence[Any] = frame.divisions
        # Joined first: fewer parts have to agree afterwards.
        if self.writer.partition_bytes is not None:
            staged, divisions = regroup(staged, divisions, self.writer, self.lowered)
        staged = agree(staged, self.writer, self.lowered)
        # Once more, as parts were read and written again.
        self._check_rows(staged)
        return Written(staged, divisions, len(finished), compute_s)

    def _timed(
        self, missing: Sequence[int], n_finished: int
    ) -> tuple[list[StagedPart], float]:
        """Write partitions; return their parts, and the seconds of computing them."""
        started = time.perf_counter()
        files, folder = self.staging.files, self.writer.folder
        n_all = self.lowered.frame.npartitions
        self.staging.announce(folder, n_all, n_finished)
        with watched(self.path, files, folder, n_all, n_finished):
            written = self._written(missing)
        return written, computing_s(written, time.perf_counter() - started)

    def _written(self, missing: Sequence[int]) -> list[StagedPart]:
        """Write partitions.

        Begin again where a lost worker leaves rows of two computations.
        """
        lowered = self.lowered
        client = lowered.client
        spread = ""
        # Threads of this process are not lost one by one.
        if client is not None:
            spread = why_not_separable(lowered.frame.expr, trusts_functions=True)
        if client is None or not spread:
            return write_parts(lowered.frame, self.writer, missing, lowered.scheduler)
        for _ in range(_N_TRIES):
            # By the scheduler's clock, which its events have too.
            before = _time_of_last_event(client)
            staged = write_parts(lowered.frame, self.writer, missing, None)
            lost = _workers_lost_since(client, before)
            # Dask computes lost partitions again by itself. Here that may have mixed
            # the rows of two computations.
            if not lost:
                return staged
            logger.warning(
                "%s: worker %s was lost while its frame was computed, and %s: "
                "some partitions may hold rows of two computations, so all of "
                "them are computed again",
                self.path,
                ", ".join(lost),
                spread,
            )
        raise RoundTripError(
            f"a worker was lost all {_N_TRIES} times that the frame was computed, "
            f"and {spread}: partitions of two computations cannot be joined. Keep the "
            "frame before that step as a result of its own, or shuffle by 'tasks'"
        )

    def _finished(self) -> dict[int, list[StagedPart]]:
        """Return the parts that stopped writes of the same computation finished.

        From then on they lie in our folder, too.
        """
        records = self._records()
        # On the workers: every byte of the parts is read to check it.
        check = delayed(check_part)
        storage_options = self.writer.storage_options
        checks = [
            [check(part, source, self.writer.folder, storage_options) for part in parts]
            for source, parts in records.values()
        ]
        if not checks:
            return {}
        [checked] = self.lowered.compute(checks)
        return {
            partition: [self.writer.named(part, partition) for part in parts]
            for partition, parts in zip(records, checked, strict=True)
            if None not in parts
        }

    def _records(self) -> dict[int, tuple[str, list[StagedPart]]]:
        """Return folder and parts that a stopped write recorded, by partition."""
        files = self.staging.files
        records = {}
        for source in self.staging.same():
            for file in files.names(source):
                if not file.endswith(".json"):
                    continue
                # Cut short by a kill, or removed meanwhile: as if it were not there.
                unreadable = (ValueError, TypeError, KeyError, FileNotFoundError)
                with contextlib.suppress(*unreadable):
                    record = json.loads(files.read_bytes(f"{source}/{file}"))
                    parts = [StagedPart.from_json(part) for part in record["parts"]]
                    records[record["partition"]] = (source, parts)
        return records

    def _check(self, staged: Sequence[StagedPart]) -> None:
        """Raise an error where a partition was written twice, or not at all."""
        counts = Counter((part.partition, part.number) for part in staged)
        twice = sorted({partition for (partition, _), n in counts.items() if n > 1})
        if twice:
            raise RoundTripError(
                f"partitions {twice[:5]} of the frame for {self.path!r} came twice"
            )
        there = {part.partition for part in staged}
        gone = [n for n in range(self.lowered.frame.npartitions) if n not in there]
        # With `partition_on`, an empty partition has no part.
        if gone and not self.writer.partition_on:
            raise RoundTripError(
                f"partitions {gone[:5]} of the frame for {self.path!r} did not come"
            )
        self._check_rows(staged)

    def _check_rows(self, staged: Sequence[StagedPart]) -> None:
        n_rows = sum(part.part.n_rows for part in staged)
        if self.n_rows is not None and n_rows != self.n_rows:
            raise RoundTripError(
                f"the frame for {self.path!r} has {self.n_rows:,} rows, and its parts "
                f"hold {n_rows:,}: nothing was kept; run the task again"
            )


def known_rows(expr: Expr) -> int | None:
    """Return how many rows a frame has; ``None`` where Dask would have to compute."""
    for node in expr.walk():
        n_inputs = len({dependency._name for dependency in node.dependencies()})
        if n_inputs == 0 and not isinstance(node, FromPandas | ReadCheckpoint):
            return None
        # Two frames side by side may align to more rows than either has.
        if n_inputs > 1 and not isinstance(node, Assign):
            return None
    try:
        # Dask answers with a literal where every step below keeps the rows.
        counted = Len(expr).simplify()
    except Exception as error:  # noqa: BLE001 - a step of which Dask does not know the length
        logger.debug("the number of rows is not known: %r", error)
        return None
    if isinstance(counted, Literal):
        return int(counted.value)
    return None


def _time_of_last_event(client: Client) -> float:
    """Return the scheduler's time of its last event."""
    # The clock of this machine may differ from the scheduler's.
    return max((float(at) for at, _ in client.get_events("all")), default=0.0)


def _workers_lost_since(client: Client, before: float) -> list[str]:
    """Return the addresses of workers that left the cluster after that."""
    return [
        str(event.get("worker"))
        for at, event in client.get_events("all")
        if at > before and event.get("action") == "remove-worker"
    ]
