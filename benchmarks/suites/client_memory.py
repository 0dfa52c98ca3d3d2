"""The memory of a cluster's client, with frames that go through it and without."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from benchmarks.suites.mapped_flows import check
from benchmarks.support import common
from benchmarks.support.rivals import MappedWork

RIVALS = ["prefect_ds", "tasks of None", "prefect target=parquet"]
BYTES_A_ROW = 56


def work_of(rival: str, folder: str, n_frames: int, frame_mb: int) -> MappedWork:
    """Return one mapped stage of frames of some size; of nothing, for the base."""
    if rival == "tasks of None":
        return MappedWork(
            "prefect_ds", folder, n_children=n_frames, n_rows=0, n_stages=1
        )
    return MappedWork(
        rival,
        folder,
        n_children=n_frames,
        n_rows=frame_mb * 1_000_000 // BYTES_A_ROW,
        n_stages=1,
    )


class ClientMemory(common.Folder):
    """Run mapped tasks that return 48 frames on a cluster of two processes.

    The client is this process.
    """

    params = (RIVALS, ["fresh", "resume"], [1, 48])
    param_names = ("rival", "situation", "frame_mb")
    timeout = 900
    n_frames = 48

    def setup(self, rival: str, situation: str, frame_mb: int) -> None:
        """For a resume, let another process run the flow first."""
        check(rival, "DaskExecutor", situation)
        self.new_folder()
        if situation == "resume":
            in_a_process_of_its_own(rival, self.folder, self.n_frames, frame_mb)

    def peakmem_client(self, rival: str, situation: str, frame_mb: int) -> None:
        """Run."""
        work_of(rival, self.folder, self.n_frames, frame_mb).run(
            common.executor("DaskExecutor")
        )


def in_a_process_of_its_own(
    rival: str, folder: str, n_frames: int, frame_mb: int
) -> dict[str, int]:
    """Run the flow once with a new process as the client; return its peak."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.suites.client_memory"]
    command += [rival, folder, str(n_frames), str(frame_mb)]
    output = subprocess.run(
        command, cwd=common.ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    # The last line: a flow of the user's may print as well.
    peak: dict[str, int] = json.loads(output.splitlines()[-1])
    return peak


def peaks(rival: str, n_frames: int, frame_mb: int) -> tuple[int, int]:
    """Return the bytes of the client's peak on a fresh run, and on a resume."""
    case = ClientMemory()
    folder = case.new_folder()
    fresh, resume = (
        in_a_process_of_its_own(rival, folder, n_frames, frame_mb)["client_peak_bytes"]
        for _ in range(2)
    )
    case.teardown()
    return fresh, resume


def main() -> None:
    """Run the flow that the command line names, and print the peak of this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rival", choices=RIVALS)
    parser.add_argument("folder")
    parser.add_argument("n_frames", type=int)
    parser.add_argument("frame_mb", type=int)
    given = parser.parse_args()
    executor = common.executor("DaskExecutor")
    work_of(given.rival, given.folder, given.n_frames, given.frame_mb).run(executor)
    # Read by the process that started this one.
    print(json.dumps({"client_peak_bytes": common.peak_bytes()}))  # noqa: T201


if __name__ == "__main__":
    main()
