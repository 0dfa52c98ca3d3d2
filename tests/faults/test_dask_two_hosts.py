"""Two hosts with temporary folders of their own: every kind of shuffle gives the rows that pandas gives."""

from __future__ import annotations

import contextlib
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

N_ROWS, N_PARTITIONS = 1000, 6
# With several partitions, the row before the first of a partition is another one.
KINDS = sorted(set(IN_DASK) - {"map_overlap"})


class TwoHosts:
    """A cluster whose scheduler and two workers have a network address and a temporary folder each."""

    # What a client asks of a cluster.
    status = Status.running

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.temporary = self.folder / "tmp"
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.temporary.mkdir(parents=True)
        net = self._stack.enter_context(network(3))
        hosts = [
            replace(host, inside=[*host.inside, *own_disk(self.temporary)])
            for host in net.hosts
        ]
        there = self._stack.enter_context(
            cluster(
                self.folder,
                hosts[1:],
                scheduler=hosts[0],
                local_directory=self.temporary,
                TMPDIR=str(self.temporary),
            )
        )
        self.scheduler_address = there.address
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


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


@pytest.mark.parametrize("access", ["cluster_class", "address"])
def test_every_kind_of_shuffle_between_two_hosts(tmp_path, access):
    """Seen before, with cluster_class: 1,006 of 2,000 rows, without any death."""
    there = tmp_path / "cluster"
    flow = every_kind(tmp_path)
    with contextlib.ExitStack() as stack:
        if access == "cluster_class":
            executor = DaskExecutor(
                cluster_class=TwoHosts,
                cluster_kwargs={"folder": str(there)},
                watch_worker_status=False,
            )
        else:
            hosts = stack.enter_context(TwoHosts(str(there)))
            executor = DaskExecutor(
                address=hosts.scheduler_address, watch_worker_status=False
            )
        state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)

    assert state.is_successful(), state.result
    for kind in KINDS:
        kept = result_of(state, flow, kind).compute()
        assert rows(kept) == expected_rows(kind, N_ROWS), kind
    of_checkpoints = result_of(state, flow, "of checkpoints").compute()
    assert rows(of_checkpoints) == expected_rows("merge", N_ROWS)
    assert not any((there / "tmp").iterdir()), "no host wrote to the other's disk"
