"""What surrounds a frame counts as in plain Dask: annotations, settings, clients."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd
import pytest
from distributed import Client, LocalCluster, get_client
from distributed.diagnostics.plugin import SchedulerPlugin
from prefect import Flow, resource_manager
from prefect.executors import DaskExecutor, LocalExecutor

from prefect_ds import DSTaskRunner, task
from prefect_ds.dask.determinism import why_not_separable
from tests.support.dask_flows import expected, frame, handler, partition, worker_of
from tests.support.flows import Notes, result_of, state_of
from tests.support.shuffles import events, expected_rows, lazy, ranked, rows

ANNOTATIONS = {
    "priority": 5,
    "retries": 2,
    "workers": ["one"],
    "resources": {"GPU": 1},
}


class Graphs(SchedulerPlugin):
    """Notes the keys of each graph that comes, and its annotations."""

    name = "graphs"

    def __init__(self) -> None:
        self.keys: list[set[str]] = []
        self.annotations: list[dict[str, Any]] = []

    def update_graph(
        self, scheduler: Any, *, tasks: Any, annotations: Any, **more: Any
    ) -> None:
        """Note them; for annotations the values and whether all tasks have them."""
        self.keys.append({key if isinstance(key, str) else key[0] for key in tasks})
        self.annotations.append(
            {
                kind: next(iter(of_keys.values()))
                for kind, of_keys in annotations.items()
                if len(of_keys) == len(tasks)
            }
        )


@pytest.fixture(scope="module")
def in_threads() -> Iterator[tuple[Client, Graphs]]:
    """A cluster in this process, whose scheduler can be looked at."""
    with (
        LocalCluster(
            n_workers=0, processes=False, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        cluster.worker_spec["one"] = {
            **cluster.new_spec,
            "options": {**cluster.new_spec["options"], "resources": {"GPU": 1}},
        }
        cluster.sync(cluster._correct_state)
        client.wait_for_workers(1)
        graphs = Graphs()
        cluster.scheduler.add_plugin(graphs)
        yield client, graphs


def here(flow: Flow):
    state = flow.run(executor=LocalExecutor(), task_runner_cls=DSTaskRunner)
    assert state.is_successful(), state.result
    return state


def flow_of(folder: object, make: Any) -> Flow:
    @task(result=handler(folder, "kept"))
    def kept():
        return make()

    with Flow("surroundings") as flow:
        kept()
    return flow


def test_annotations_around_the_run_are_those_of_the_write(tmp_path, in_threads):
    client, graphs = in_threads
    flow = flow_of(tmp_path, lambda: lazy(60, 3)[0])
    with client.as_current(), dask.annotate(**ANNOTATIONS):
        with warnings.catch_warnings():
            # Dask says of each frame made here that it keeps no annotations itself.
            warnings.simplefilter("ignore", UserWarning)
            here(flow)
            written = graphs.annotations[-1]
            lazy(60, 3)[0].compute()
        assert written == graphs.annotations[-1] == ANNOTATIONS
    kept = pd.read_parquet(tmp_path / "kept")
    assert rows(kept) == rows(events(60))


def test_a_frame_keeps_no_annotations_and_data_persisted_with_them_are_written(
    tmp_path, in_threads
):
    client, graphs = in_threads

    def annotated():
        with warnings.catch_warnings(), dask.annotate(**ANNOTATIONS):
            warnings.simplefilter("ignore", UserWarning)
            return lazy(60, 3)[0]

    def persisted():
        made = annotated()
        with dask.annotate(**ANNOTATIONS):
            return made.persist()

    with client.as_current():
        annotated().compute()
        assert graphs.annotations[-1] == {}, "plain Dask drops them"
        here(flow_of(tmp_path / "1", annotated))
        assert graphs.annotations[-1] == {}
        here(flow_of(tmp_path / "2", persisted))
        assert graphs.annotations[-2:] == [ANNOTATIONS, {}]
    kept = pd.read_parquet(tmp_path / "2" / "kept")
    assert rows(kept) == rows(events(60))


@pytest.mark.parametrize("method", ["tasks", "p2p"])
def test_how_to_shuffle_may_be_set_for_the_process_or_in_the_task(
    tmp_path, in_threads, method
):
    client, graphs = in_threads

    def sets():
        dask.config.set({"dataframe.shuffle.method": method})
        return lazy(60, 3)[0].shuffle("k")

    with client.as_current():
        with dask.config.set({"dataframe.shuffle.method": method}):
            here(flow_of(tmp_path / "process", lambda: lazy(60, 3)[0].shuffle("k")))
        in_process = graphs.keys[-1]
        with dask.config.set({"dataframe.shuffle.method": None}):
            here(flow_of(tmp_path / "task", sets))
        in_task = graphs.keys[-1]
    for keys in (in_process, in_task):
        is_p2p = any(key.startswith("shuffle-transfer") for key in keys)
        assert is_p2p == (method == "p2p")
    for place in ("process", "task"):
        kept = pd.read_parquet(tmp_path / place / "kept")
        assert rows(kept) == expected_rows("shuffle", 60)


@pytest.mark.parametrize("converts", [True, False])
def test_whether_text_becomes_arrows_is_decided_where_the_frame_is_made(
    tmp_path, converts
):
    table = pd.DataFrame({"text": pd.Series(["a", None, "b"], dtype=object)})

    def text():
        with dask.config.set({"dataframe.convert-string": converts}):
            return dd.from_pandas(table, npartitions=2)

    flow = flow_of(tmp_path, text)
    with dask.config.set({"dataframe.convert-string": not converts}):
        kept = result_of(here(flow), flow, "kept")
        loaded = result_of(here(flow), flow, "kept")
        plain = text()
        for of_ours in (kept, loaded):
            assert of_ours.dtypes.equals(plain.dtypes)
            pd.testing.assert_frame_equal(of_ours.compute(), plain.compute())
    is_object = pd.api.types.is_object_dtype(plain.dtypes["text"])
    assert is_object != converts


@pytest.mark.parametrize("method", ["tasks", "p2p"])
@pytest.mark.parametrize("is_known", [True, False])
def test_categories_of_text_are_those_of_plain_dask(
    tmp_path, in_threads, method, is_known
):
    """Dask's shuffle between workers, by Arrow, gives categories pandas' own text."""
    client, _ = in_threads
    text = pd.array(["a", "b", None, "a"] * 2, dtype=pd.StringDtype("pyarrow"))
    table = pd.DataFrame({"k": range(8), "w": text})

    def shuffled():
        made = dd.from_pandas(table, npartitions=2)
        words = made["w"].astype("category")
        words = words.cat.as_known() if is_known else words
        return made.assign(w=words).shuffle("k")

    flow = flow_of(tmp_path, shuffled)
    with client.as_current(), dask.config.set({"dataframe.shuffle.method": method}):
        plain = shuffled().compute()
        for _ in range(2):
            kept = result_of(here(flow), flow, "kept").compute()
            ours, theirs = (frame["w"].cat.categories.dtype for frame in (kept, plain))
            assert ours == theirs
            assert repr(ours) == repr(theirs)
            assert rows(kept.fillna({"k": 0})) == rows(plain.fillna({"k": 0}))


def test_persisted_data_and_futures_are_not_computed_again(
    tmp_path, notes, cluster_address
):
    def persisted(path: str) -> dd.DataFrame:
        return frame(2, Notes(path)).persist()

    def of_futures(path: str) -> dd.DataFrame:
        futures = get_client().map(partition, [0, 1], notes=Notes(path), pure=False)
        return dd.from_delayed(futures, meta=partition(0).iloc[:0], verify_meta=False)

    path = str(notes.path)

    @task(result=handler(tmp_path, "persisted"))
    def one():
        return persisted(path)

    @task(result=handler(tmp_path, "of_futures"))
    def other():
        return of_futures(path)

    with Flow("futures") as flow:
        one()
        other()
    executor = DaskExecutor(address=cluster_address, watch_worker_status=False)
    for n_runs in (1, 0):
        state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)
        assert state.is_successful(), state.result
        assert notes.take() == sorted(["partition 0", "partition 1"] * 2) * n_runs
        for name in ("one", "other"):
            kept = result_of(state, flow, name).compute()
            pd.testing.assert_frame_equal(kept, expected(2))


def test_what_is_persisted_may_be_other_rows_once_a_worker_is_lost(in_threads):
    client, _ = in_threads
    with client.as_current(), dask.config.set({"dataframe.shuffle.method": "p2p"}):
        persisted = lazy(60, 3)[0].shuffle("k").persist()
        apart = persisted.map_partitions(ranked)
        spread = persisted.repartition(npartitions=7)
        futures = client.map(partition, range(3))
        of_futures = dd.from_delayed(futures, meta=partition(0).iloc[:0]).shuffle("id")
        why_not = [
            why_not_separable(made.optimize(fuse=False).expr, trusts_functions=True)
            for made in (apart, spread, of_futures)
        ]
    assert why_not[0] == "", "each partition for itself"
    assert "persisted" in why_not[1]
    assert "persisted" in why_not[2]


@resource_manager
class Connected:
    """A client of a cluster, for as long as some tasks need it."""

    def __init__(self, address: str) -> None:
        self.address = address

    def setup(self) -> Client:
        return Client(self.address)

    def cleanup(self, client: Client) -> None:
        client.close()


def test_a_client_of_a_resource_manager_computes_the_frames(
    tmp_path, cluster_address, log_lines
):
    @task(result=handler(tmp_path, "shuffled"))
    def shuffled():
        left, _ = lazy(600, 4)
        meta = left._meta.assign(worker=pd.Series([], dtype="str"))
        return left.map_partitions(worker_of, meta=meta).shuffle("k")

    @task(result=handler(tmp_path, "with_client"))
    def with_client(client, shuffled):
        assert client.status == "running"
        return shuffled.merge(lazy(600, 4)[1], on="k")

    with Flow("resource") as flow, Connected(cluster_address) as client:
        with_client(client, shuffled(upstream_tasks=[client]))
    for is_first in (True, False):
        state = here(flow)
        merged = result_of(state, flow, "with_client").compute()
        assert all(merged["worker"].str.startswith("tcp://"))
        assert rows(merged.drop(columns="worker")) == expected_rows("merge", 600)
        said = state_of(state, flow, "with_client").message
        assert said.startswith("Task run succeeded" if is_first else "Loaded")
