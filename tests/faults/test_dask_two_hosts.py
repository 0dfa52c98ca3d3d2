"""Two hosts that share no temporary folder: every shuffle gives pandas' rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
from distributed.core import Status
from prefect import Flow
from prefect.executors import DaskExecutor

from prefect_ds import DSTaskRunner, task
from tests.support.clusters import (
    cluster,
    network,
    own_disk,
    why_no_network,
    why_no_own_disk,
)
from tests.support.dask_flows import handler
from tests.support.flows import result_of
from tests.support.shuffles import IN_DASK, expected_rows, lazy, rows

pytestmark = pytest.mark.slow

N_ROWS, N_PARTITIONS = 1000, 4
KINDS = sorted(IN_DASK)


@contextlib.contextmanager
def two_hosts(folder: Path, temporary: Path) -> Iterator[str]:
    """Give the address of a scheduler; it and its workers share no disk."""
    temporary.mkdir(parents=True)
    with network(3) as net:
        scheduler, *workers = [
            replace(host, inside=[*host.inside, *own_disk(temporary)])
            for host in net.hosts
        ]
        with cluster(
            folder,
            workers,
            scheduler=scheduler,
            local_directory=temporary,
            TMPDIR=str(temporary),
        ) as there:
            yield there.address


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    for why_not in (why_no_network(), why_no_own_disk()):
        if why_not:
            pytest.skip(f"two hosts cannot be made here: {why_not}")


def every_kind(folder: Path) -> Flow:
    """One task for each kind of shuffle, and a merge of two checkpoints."""

    def shuffling(kind: str):
        @task(name=kind, result=handler(folder, kind))
        def shuffled():
            return IN_DASK[kind](*lazy(N_ROWS, N_PARTITIONS))

        return shuffled

    @task(result=handler(folder, "names"))
    def names():
        return lazy(N_ROWS, N_PARTITIONS)[1]

    @task(name="of checkpoints", result=handler(folder, "of checkpoints"))
    def merged(left, right):
        return left.merge(right, on="k")

    with Flow("shuffles") as flow:
        made = {kind: shuffling(kind)() for kind in KINDS}
        merged(made["shuffle"], names())
    return flow


class Running:
    """What an executor makes by ``cluster_class=``: hosts that are there already."""

    # What a client asks of a cluster.
    status = Status.running

    def __init__(self, address: str) -> None:
        self.scheduler_address = address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def test_every_kind_of_shuffle_between_two_hosts(tmp_path):
    """Seen before, with cluster_class: 1,006 of 2,000 rows, without any death."""
    temporary = tmp_path / "cluster" / "tmp"
    with two_hosts(tmp_path / "cluster", temporary) as address:
        of_a_class = DaskExecutor(
            cluster_class=Running,
            cluster_kwargs={"address": address},
            watch_worker_status=False,
        )
        by_address = DaskExecutor(address=address, watch_worker_status=False)
        # The class first: with it, the fault needed workers that had no client yet.
        for number, executor in enumerate([of_a_class, by_address]):
            flow = every_kind(tmp_path / f"{number}")
            state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)

            assert state.is_successful(), state.result
            for kind in KINDS:
                kept = result_of(state, flow, kind).compute()
                assert rows(kept) == expected_rows(kind, N_ROWS), kind
            of_checkpoints = result_of(state, flow, "of checkpoints").compute()
            assert rows(of_checkpoints) == expected_rows("merge", N_ROWS)
    assert not any(temporary.iterdir()), "no host wrote to the other's disk"
