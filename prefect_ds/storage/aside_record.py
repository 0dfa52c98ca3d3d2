"""The record of data that were set aside, for the next run: the reason, the way back.

The record lies beside the manifests of its path, so that a look at an empty path costs
no further listing. The commit of a new result removes it.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Literal

from prefect_ds.storage.filesystem import FileSystem
from prefect_ds.storage.layout import manifest_folder, name, side_folder

RECORD = "set-aside.record"
"""Name of the record among the manifests of a path."""

Advice = Literal["adopt", "mend", "restore", "none"]
"""What may be done with data that were set aside.

``"adopt"``: they may be a person's edit. ``"mend"``: a person put them there, and they
cannot be read. ``"restore"``: they are whole, and count again where they were.
``"none"``: nobody wants them back.
"""


@dataclass(frozen=True, slots=True)
class AsideRecord:
    """Where the data of a path went, and why."""

    path: str
    """Where the data lay."""
    aside: str
    """Where they lie now."""
    why: str
    """In words."""
    advice: Advice

    @property
    def way_back(self) -> str:
        """The command that brings the data back, in words; empty for none."""
        # To be pasted into a shell: a path may have blanks.
        move = f"mv {shlex.quote(self.aside)} {shlex.quote(self.path)}"
        adopt = f"handler.adopt({self.path!r})"
        match self.advice:
            case "adopt":
                return f"; was it an edit of yours? {move}, then {adopt}"
            case "mend":
                return f"; to use it all the same, mend it, {move}, then {adopt}"
            case "restore":
                return f"; to use it once the cause is mended: {move}"
            case _:
                return ""

    @property
    def reason(self) -> str:
        """Why the task has to run, in words."""
        return (
            f"its data had been set aside as {self.aside!r}: {self.why}{self.way_back}"
        )

    def file(self, files: FileSystem) -> None:
        """Write the record, over that of data that were set aside earlier."""
        content = {"name": name(self.aside), "why": self.why, "advice": self.advice}
        files.put(record_file(self.path), json.dumps(content).encode())


def record_file(path: str) -> str:
    """Return where the record of a path lies."""
    return f"{manifest_folder(path)}/{RECORD}"


def read_record(files: FileSystem, path: str) -> AsideRecord | None:
    """Return the record of a path.

    ``None`` where there is none, or where the data no longer lie where it says.
    """
    try:
        content = json.loads(files.read_bytes(record_file(path)))
        # By name: the folder may have moved since, together with its side folder.
        aside = f"{side_folder(path)}/set-aside/{content['name']}"
        record = AsideRecord(path, aside, content["why"], content["advice"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        # It only informs: one that is torn is as good as none.
        return None
    # A person may have moved the data back, or deleted them.
    if files.status(aside) is None:
        return None
    return record
