"""What tells a process that lives from an earlier one with its number."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Mapping
from typing import Any


def is_over(owner: Mapping[str, Any]) -> bool:
    """Return whether a process has ended, as far as is known on this machine.

    Parameters
    ----------
    owner
        What `this_process` returned in it.
    """
    # Of another machine nobody can tell here whether its process lives.
    if owner.get("machine") != this_process()["machine"]:
        return False
    return bool(owner.get("process") != _process(int(owner.get("pid", 0))))


def this_process() -> dict[str, Any]:
    """Return what tells this process from all others."""
    pid = os.getpid()
    return {"machine": _machine(), "pid": pid, "process": _process(pid)}


def _machine() -> list[str]:
    """Return what tells where a process number means the same process as here."""
    facts = [platform.node()]
    with contextlib.suppress(OSError):
        with open("/proc/sys/kernel/random/boot_id") as file:
            facts.append(file.read().strip())
        facts.append(os.readlink("/proc/self/ns/pid"))
    return facts


def _process(pid: int) -> str:
    """Return what tells a living process from an earlier one with its number.

    Empty where there is no such process.
    """
    try:
        with open(f"/proc/{pid}/stat") as file:
            # The name of the program, which may hold anything, ends with a bracket.
            fields = file.read().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else f"{pid} since {fields[19]}"
    except OSError:
        pass
    if os.path.exists("/proc/self/stat"):
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        pass
    return f"{pid}"
