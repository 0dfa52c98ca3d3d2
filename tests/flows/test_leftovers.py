"""What a stopped write left is said at the next run, and removed by ``clean``."""

import os
import re

import pandas as pd
import pytest
from prefect import Flow

from prefect_ds import PandasResultHandler, task


def stopped_write(handler, path, n_bytes):
    """Leave what a killed write leaves."""
    unclosed = handler.store.staging(path)
    file = unclosed.__enter__()
    file.write(b"x" * n_bytes)
    file.flush()
    return unclosed


def flow_of(handler, **options):
    @task(name="make", result=handler, **options)
    def make(n):
        return pd.DataFrame({"n": [n]})

    with Flow("leftovers") as flow:
        make.map([1, 2])
    return flow


@pytest.mark.parametrize("by_target", [False, True])
def test_the_next_run_says_what_lies_there_and_how_to_remove_it(
    tmp_path, run_here, log_lines, by_target
):
    template = f"{tmp_path}/data/{{n}}.csv"
    handler = PandasResultHandler(template, "csv")
    flow = flow_of(handler)
    if by_target:
        flow = flow_of(PandasResultHandler(None, "csv"), target=template)
    run_here(flow)
    assert not [line for line in log_lines if "unfinished write" in line]

    writes = [stopped_write(handler, f"{tmp_path}/data/{n}.csv", 512) for n in (3, 4)]
    log_lines.clear()
    run_here(flow)
    [line] = [line for line in log_lines if "unfinished write" in line]
    assert line.startswith(
        f"{tmp_path}/data/.prefect_ds/staging holds 2 unfinished writes, 1.0 KiB: "
    )
    assert "handler.clean() removes those older than a day" in line

    assert handler.clean() == []
    would_go = handler.clean(older_than_s=-60, dry_run=True)
    assert len(would_go) == 2
    assert sorted(handler.clean(older_than_s=-60)) == sorted(would_go)
    assert os.listdir(tmp_path / "data/.prefect_ds/staging") == []
    log_lines.clear()
    run_here(flow)
    assert not [line for line in log_lines if "unfinished write" in line]
    for write in writes:
        write.__exit__(None, None, None)


def test_a_folder_with_fields_has_to_be_named(tmp_path):
    handler = PandasResultHandler(f"{tmp_path}/{{day}}/{{n}}.csv", "csv")
    write = stopped_write(handler, f"{tmp_path}/monday/1.csv", 1)
    with pytest.raises(ValueError, match=re.escape("name one, as in handler.clean(")):
        handler.clean()
    assert len(handler.clean(tmp_path / "monday", older_than_s=-60)) == 1
    write.__exit__(None, None, None)
