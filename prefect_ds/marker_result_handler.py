"""A task that returns nothing, kept as a small file that says that it was done."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from types import NoneType
from typing import Any

from prefect_ds.checkpoints.draft import Draft
from prefect_ds.errors import ResultTypeError
from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.describe import describe_file, describe_staged
from prefect_ds.storage.history import now
from prefect_ds.storage.manifest import DESCRIPTION, Manifest, Origin

_DESCRIPTION = "marker"
_OF = "identity"
"""The key of a schema that says what was done: the digest of an identity."""


class MarkerResultHandler(ResultHandler):
    """Records that a task was done: for tasks that return nothing.

    A task that sends a mail, loads a table or deletes old rows is to run once for its
    inputs. When it has succeeded, a text file at the templated path says what was done
    and when; a later run finds the file and does not run the task. Remove the file, and
    the task runs again.

    Parameters
    ----------
    path
        Template of the file's path, such as ``"done/load_{day}"``. See
        :class:`prefect_ds.PandasResultHandler`.
    storage_options, match, ignore, show, durability, check, max_age
        See :class:`prefect_ds.result_handler.ResultHandler`.

    Notes
    -----
    A run that is killed between the end of the task and the writing of the file runs
    the task again.

    A file that a person put at the path counts: the task was done by hand.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> handler = MarkerResultHandler(folder / "done/{day}")
    >>> written = handler.write(None, day="2024-01-01", task_name="load")
    >>> print((folder / "done/2024-01-01").read_text().splitlines()[0])
    load was done
    """

    kind = "file"
    file_type = "marker"
    keeps_none = True

    def kept_classes(self) -> tuple[type, ...]:
        """Return the class of ``None``."""
        return (NoneType,)

    @contextlib.contextmanager
    def _stage(self, value: Any, path: str, origin: Origin) -> Iterator[Draft]:
        if value is not None:
            raise ResultTypeError(
                f"the task returned a {type(value).__name__}, and MarkerResultHandler "
                "keeps no more than that it was done: return None, or give the task "
                "a handler for its result"
            )
        store = self.store
        with store.staging(path) as file:
            file.write(_text(origin).encode())
            part = describe_staged(path, file, 0)
            # Only a finished file has the stamp under which its manifest is filed.
            staged = store.files.finish(file)
            schema = {DESCRIPTION: _DESCRIPTION}
            # Prefect's own `write` knows no identity. The text of the file then says
            # what was done, see `content_of`.
            if origin.identity is not None:
                schema[_OF] = origin.identity.digest
            yield Draft((part,), 0, schema, None, staged=staged)

    def _load(self, path: str, manifest: Manifest) -> None:
        # Read for its checksum alone.
        self.store.read_data(path, manifest.parts[0])

    def _describe_foreign(self, path: str) -> Draft:
        data = self.store.files.read_bytes(path)
        part = describe_file(path, data, 0)
        return Draft((part,), 0, {DESCRIPTION: _DESCRIPTION}, None)

    def content_of(self, manifest: Manifest) -> str:
        """Return a digest of what was done.

        The text of the file has the time as well: a task that is done again for the
        same inputs leaves what follows it valid.
        """
        done = (manifest.schema or {}).get(_OF)
        if done is None:
            return super().content_of(manifest)
        return hashlib.sha256(f"marker {done}".encode()).hexdigest()


def _text(origin: Origin) -> str:
    """Return the text of the file, for people."""
    owner = origin.owner
    lines = [f"{owner} was done"]
    lines.append(f"at: {now()}")
    if owner.flow:
        lines.append(f"flow: {owner.flow}")
    if owner.run_id:
        lines.append(f"run: {owner.run_id}")
    lines += [f"{name}: {text}" for name, text in origin.fields.items()]
    return "\n".join(lines) + "\n"
