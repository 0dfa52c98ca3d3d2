"""The pairs of values as inputs of tasks: what differs runs, what is equal is loaded, on every executor."""

import json

import pandas as pd
import pytest
from prefect import Flow
from prefect.tasks.core.constants import Constant

from prefect_ds import DSTaskRunner, PandasResultHandler
from prefect_ds.checkpoints.identity import digests_of
from tests.support.digest_pairs import EQUAL, UNEQUAL, VALUES, is_sent
from tests.support.flows import TakesAll
from tests.support.processes import executor_at

RUN = """
import json, sys, warnings
warnings.simplefilter("ignore")
import pandas as pd
from prefect import Flow, task
from prefect.executors import LocalExecutor
from prefect.tasks.core.constants import Constant
from prefect_ds import DSTaskRunner, PandasResultHandler
from tests.support import digest_pairs

number, names = json.loads(VALUES)

# Not the code: the number of the run is a global that it reads.
@task(result=PandasResultHandler("data/{name}.csv", "csv", match="inputs"))
def keep(name, value):
    return pd.DataFrame({"run": [number]})

values = {}
for name in names:
    kind, _, pair = name.partition(": ")
    values[name] = getattr(digest_pairs, kind.upper())[pair][number]()
with Flow("f") as flow:
    kept = {name: keep(name, Constant(value, name=name)) for name, value in values.items()}
state = flow.run(executor=LocalExecutor(), task_runner_cls=DSTaskRunner)
assert state.is_successful(), state
found = {name: int(state.result[kept[name]].result["run"].item()) for name in names}
print("found", json.dumps(found))
"""


def sample(pairs, step):
    return [name for i, name in enumerate(pairs) if i % step == 0]


CASES = [  # text that was sliced, arrays that were transposed, columns, objects
    "transposed",
    "slices of text",
    "inserted and appended",
    "object text",
    "str and string",
    "unit of a Timestamp",
    "dict in a NamedTuple",
    "order of a defaultdict",
    "dataclass subclass",
    "__post_init__",
    "flags without a name",
    "masked value",
]


def test_in_two_processes_what_differs_runs_and_what_is_equal_is_loaded(
    in_child_process,
):
    unequal = dict.fromkeys([*CASES, *sample(UNEQUAL, 12)])
    equal = dict.fromkeys(["joined and pickled", *sample(EQUAL, 4)])
    names = [f"unequal: {name}" for name in unequal]
    names += [f"equal: {name}" for name in equal]
    ran = []
    for number in (0, 1):
        values = json.dumps([number, names])
        code = f"VALUES = {values!r}\n{RUN}"
        child = in_child_process(code, PYTHONHASHSEED=str(number))
        assert child.returncode == 0, child.stderr
        said = [line for line in child.stdout.splitlines() if line[:6] == "found "]
        ran.append(json.loads(said[0][6:]))
    assert set(ran[0].values()) == {0}
    assert {name for name in names if ran[1][name] != name.startswith("unequal")} == (
        set()
    )


@pytest.mark.slow
def test_all_values_have_the_same_digest_on_a_worker(tmp_path, cluster_address):
    # Prefect names a constant by its repr, which Python refuses for huge numbers.
    names = [name for name in VALUES if is_sent(name) and "huge int" not in name]
    values = {f"x{i}": VALUES[name]() for i, name in enumerate(names)}
    handler = PandasResultHandler(f"{tmp_path}/n.csv", "csv")
    take = TakesAll(result=handler)
    with Flow("f") as flow:
        take.bind(
            **{name: Constant(value, name=name) for name, value in values.items()}
        )
    executor = executor_at(cluster_address)
    state = flow.run(executor=executor, task_runner_cls=DSTaskRunner)
    assert state.is_successful(), state
    inputs = handler.look_up(f"{tmp_path}/n.csv").manifest.identity.inputs
    there = {name: inputs[f"x{i}"] for i, name in enumerate(names)}
    here, _ = digests_of(dict(zip(names, values.values(), strict=True)), ignore=())
    assert {name for name in names if here[name] != there[name]} == set()
    assert len(there) > 2 * 440


DASK = """
import warnings
warnings.simplefilter("ignore")
import json, sys
import dask, dask.array as da, dask.bag as db, dask.dataframe as dd
import numpy as np, pandas as pd
from prefect_ds.checkpoints.digests import digest

text = pd.DataFrame({"t": ["ann", "bob", "cy", "dee", "eve", "fay"]})
grid = np.array([[0.0, 1.0], [2.0, 3.0]])
second = NUMBER
frame = dd.read_parquet("frame.parquet")
made = dd.from_pandas(text.iloc[3 * second:3 * second + 3].reset_index(drop=True), npartitions=2)
values = {
    "files": frame,
    "csv": dd.read_csv("frame.csv"),
    "text": db.read_text("frame.csv"),
    "condition": frame[frame.a > second],
    "sum": frame.a.sum() + second,
    "slices": made,
    "merged": made.assign(a=1 + second).merge(frame, on="a"),
    "partitions": frame.map_partitions(lambda part: part + second, meta=frame._meta),
    "delayed": dask.delayed(lambda x: x + second)(np.arange(3)),
    "from delayed": dd.from_delayed([dask.delayed(pd.DataFrame)({"a": [second]})]),
    "array": da.from_array(grid.T if second else grid, chunks=1) + 1,
    "chunks": da.ones((4, 4), chunks=2 + second).sum(axis=0),
    "bag": db.from_sequence([1, 2], npartitions=2).map(lambda x: x * second),
}
print(json.dumps({name: digest(value) for name, value in values.items()}))
"""


def test_dask_collections_count_by_what_they_compute(in_child_process, tmp_path):
    frame = pd.DataFrame({"a": [1, 2, 3]})
    frame.to_parquet(tmp_path / "frame.parquet")
    frame.to_csv(tmp_path / "frame.csv", index=False)

    def said(number, seed):
        code = DASK.replace("NUMBER", str(number))
        child = in_child_process(code, PYTHONHASHSEED=str(seed))
        assert child.returncode == 0, child.stderr
        return json.loads(child.stdout)

    first, again, second = said(0, 1), said(0, 2), said(1, 1)
    assert first == again
    same = {name for name in first if first[name] == second[name]}
    assert same == {"files", "csv", "text"}
    frame.assign(a=7).to_parquet(tmp_path / "frame.parquet")
    frame.assign(a=77).to_csv(tmp_path / "frame.csv", index=False)
    edited = said(0, 1)
    assert {"files", "csv", "text"} <= {n for n in first if first[n] != edited[n]}
