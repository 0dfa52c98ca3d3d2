"""How far the write of a Dask frame is: in the bar, and for other processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from prefect_ds import checkpoints, explain
from prefect_ds.checkpoints.write_steps import WriteStep, listening
from prefect_ds.errors import CheckpointNotFoundError
from prefect_ds.storage.opening import open_files
from prefect_ds.storage.running_writes import running_write
from prefect_ds_command.main import commands
from tests.support.executors import on_every_executor
from tests.support.long_write import N_PARTITIONS, flow_of, write
from tests.support.processes import ROOT

run = on_every_executor


@pytest.fixture
def writer(tmp_path):
    """A process that has written three of six partitions and waits."""
    code = f"from tests.support.long_write import write\nwrite({str(tmp_path)!r})\n"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    path = f"{tmp_path}/data/events"
    try:
        deadline = time.monotonic() + 300
        while True:
            there = running_write(open_files(path), path)
            if there is not None and there.n_written == 3:
                break
            assert process.poll() is None
            assert time.monotonic() < deadline, there
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def test_another_process_sees_how_far_a_write_is(writer, tmp_path):
    flow = flow_of(str(tmp_path))
    path = f"{tmp_path}/data/events"
    goes_on = "a write goes on: 3 of 6 partitions are written, 3 are left"
    # Wherever one looks: the next run, the listing of a flow, a folder, a path.
    assert explain(flow).steps[0].reason == f"there was nothing yet; {goes_on}"
    for where in (flow, tmp_path, path):
        [row] = checkpoints(where)
        assert (row.path, row.state) == (path, "missing")
        assert row.reason.endswith(goes_on)
    answer = CliRunner().invoke(commands, ["ls", str(tmp_path)], standalone_mode=False)
    assert goes_on in answer.output

    writer.send_signal(signal.SIGKILL)
    writer.wait()
    stopped = "a write was stopped: 3 of 6 partitions are written"
    assert explain(flow).steps[0].reason.endswith(stopped)
    [row] = checkpoints(tmp_path)
    assert row.reason == stopped

    # The next run says what it takes over, and nothing is left of it.
    Path(tmp_path, "go").touch()
    steps: list[WriteStep] = []
    with listening(steps.append):
        write(str(tmp_path))
    assert steps[0] == WriteStep("events-1", path, 0, 3, N_PARTITIONS)
    assert steps[-1].is_over
    [row] = checkpoints(tmp_path)
    assert (row.state, row.reason) == ("valid", "")
    assert explain(flow).counts == {"load": 1}


def test_the_bar_of_a_task_counts_its_partitions(run, tmp_path, capsys):
    Path(tmp_path, "go").touch()
    assert run(flow_of(str(tmp_path)), progress=True).is_successful()
    said = capsys.readouterr().err
    assert f"[partitions 0/{N_PARTITIONS}]" in said
    assert said.rindex("1/1 ran=1") > said.rindex("[partitions")


def test_a_path_where_nothing_is_written_is_an_error(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match="there is nothing"):
        checkpoints(tmp_path / "events")
