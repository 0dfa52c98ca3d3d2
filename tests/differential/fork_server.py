"""Runs scripts in processes of their own without the seconds that an import takes.

The server has imported what the scripts need, and forks a process for each; two
servers with different hash seeds stand for a run and its resume.
"""

from __future__ import annotations
import __future__

import contextlib
import functools
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

from prefect_ds.checkpoints.bytecode import listing
from tests.differential.scripts import PROGRAM_STARTS


class ForkServer:
    """A process that runs scripts, each in a fork of its own.

    Parameters
    ----------
    hash_seed
        Python's, on which the order of sets depends.
    """

    def __init__(self, hash_seed: int) -> None:
        folders = [os.environ.get("PYTHONPATH", ""), str(Path(__file__).parents[2])]
        environment = {
            **os.environ,
            "PYTHONHASHSEED": str(hash_seed),
            "PYTHONPATH": os.pathsep.join(filter(None, folders)),
            "PREFECT__LOGGING__LEVEL": "CRITICAL",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.differential.fork_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def run(self, script: str, *arguments: str, log: str, seconds: float = 280) -> int:
        """Run a script and return how it ended, as a shell says it."""
        job = {"argv": [script, *arguments], "log": log, "seconds": seconds}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End the server."""
        self._process.communicate(timeout=120)


def serve() -> None:
    """Fork a process for each job on stdin, and say on stdout how it ended."""
    import prefect.executors  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    import prefect_ds.dask  # noqa: F401

    for line in sys.stdin:
        job = json.loads(line)
        program = compiled(job["argv"][0])
        gc.freeze()  # What the forks share stays shared: no collection touches it.
        pid = os.fork()
        if pid == 0:
            run_forked(job, program)
        print(wait(pid, job["seconds"]), flush=True)


def compiled(script: str) -> list[types.CodeType]:
    """Return a script's code: that which all scripts share, and its own."""
    text = Path(script).read_text()
    shared, _, own = text.partition(PROGRAM_STARTS)
    # Lines keep their numbers.
    own = "\n" * shared.count("\n") + PROGRAM_STARTS + own
    return [compile_shared(shared), compile_own(own, script)]


@functools.cache
def compile_shared(text: str) -> types.CodeType:
    """Return the code that the forks have in common, listed for the digests of code."""
    code = compile(text, "shared.py", "exec", dont_inherit=True)
    waiting = [code]
    while waiting:
        inner = waiting.pop()
        listing(inner)  # It remembers; a fork has no need to do it again.
        waiting += [one for one in inner.co_consts if isinstance(one, types.CodeType)]
    return code


@functools.lru_cache(maxsize=1)
def compile_own(text: str, script: str) -> types.CodeType:
    """Return the code of a program, once for its runs."""
    flags = __future__.annotations.compiler_flag
    return compile(text, script, "exec", flags=flags, dont_inherit=True)


def run_forked(job: dict[str, Any], program: list[types.CodeType]) -> None:
    """Run the job's script as a program of its own, and end the process."""
    os.setsid()
    # What loops for ever ends by itself; no run needs a tenth of this.
    resource.setrlimit(resource.RLIMIT_CPU, (20, 25))
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    sys.argv = job["argv"]
    main = types.ModuleType("__main__")
    main.__file__ = sys.argv[0]
    sys.modules["__main__"] = main
    status = 1
    try:
        for code in program:
            exec(code, main.__dict__)
        status = 0
    except BaseException as error:  # noqa: BLE001 - the log has it
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(pid: int, seconds: float) -> int:
    """Return how a process ended; one that does not end is killed, with its children."""

    def kill(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    _, status = os.waitpid(pid, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    serve()
