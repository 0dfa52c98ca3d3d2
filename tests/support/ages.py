"""Checkpoints that look older than they are."""

import dataclasses
import datetime
from pathlib import Path

from prefect_ds.result_handler import ResultHandler
from prefect_ds.storage.filed_manifests import FiledManifests


def make_older(
    handler: ResultHandler, path: str | Path, by: datetime.timedelta
) -> None:
    """Let the manifest of a checkpoint say that it was written earlier."""
    manifest = handler.manifest(str(path))
    written_at = datetime.datetime.fromisoformat(manifest.written_at) - by
    text = written_at.isoformat(sep=" ", timespec="seconds")
    filed = FiledManifests(handler.store.files, str(path))
    filed.refile(dataclasses.replace(manifest, written_at=text))
