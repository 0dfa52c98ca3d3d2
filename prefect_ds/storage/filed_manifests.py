"""The manifests filed for one path, under the stamps of their data."""

from __future__ import annotations

from collections.abc import Iterator

from prefect_ds.errors import ManifestError, NewerFormatError
from prefect_ds.storage.filesystem import FileSystem
from prefect_ds.storage.layout import (
    SIDE_FOLDER,
    data_name,
    manifest_file,
    manifest_folder,
    name,
    old_manifest_folder,
)
from prefect_ds.storage.manifest import Manifest


class FiledManifests:
    """The manifests filed for one path.

    Parameters
    ----------
    files
        The file system of the path.
    path
        Of a checkpoint.
    """

    def __init__(self, files: FileSystem, path: str) -> None:
        self.files = files
        self.path = path
        self.folder = manifest_folder(path)

    def file_of(self, stamp: str | None) -> str:
        """Return where the manifest of the data with this stamp is filed."""
        return manifest_file(self.path, stamp)

    def names(self) -> list[str]:
        """Return the names of all files in the folder, also of unfinished ones."""
        return self.files.names(self.folder)

    def read(self, file: str) -> Manifest:
        """Return the manifest in a file."""
        return Manifest.from_json(self.files.read_bytes(file))

    def readable(self, *, but: str = "") -> Iterator[tuple[str, Manifest]]:
        """Yield every readable manifest with its file; all ``but`` one."""
        yield from self._readable_in(self.folder, but)

    def freed(self) -> Manifest | None:
        """Return the manifest that says that its data were freed; ``None``: none does.

        Where a later manifest is filed, the data were written or put back since, and
        then deleted by hand: that means that they are to be computed again. An earlier
        one is of data that were deleted by hand before.

        Raises
        ------
        NewerFormatError
            A later prefect_ds wrote one of the manifests.
        """
        manifests = [manifest for _, manifest in self.readable()]
        freed = [manifest for manifest in manifests if manifest.freed_at is not None]
        if not freed:
            return None
        last = max(freed, key=lambda manifest: manifest.written_at)
        is_last = all(
            manifest.freed_at is not None or manifest.written_at < last.written_at
            for manifest in manifests
        )
        return last if is_last else None

    def of_old_layout(self) -> list[Manifest]:
        """Return the manifests that a development version filed elsewhere."""
        folder = old_manifest_folder(self.path)
        return [manifest for _, manifest in self._readable_in(folder)]

    def _readable_in(
        self, folder: str, but: str = ""
    ) -> Iterator[tuple[str, Manifest]]:
        for file_name in sorted(self.files.names(folder)):
            file = f"{folder}/{file_name}"
            if file == but:
                continue
            manifest = read_manifest(self.files, file)
            if manifest is not None:
                yield file, manifest

    def is_readable(self, file: str) -> bool:
        """Whether a file holds a manifest, of this format or a newer one."""
        try:
            return read_manifest(self.files, file) is not None
        except NewerFormatError:
            return True

    def refile(self, manifest: Manifest) -> None:
        """File a manifest in the place of a torn or outdated one."""
        self.files.put(self.file_of(manifest.stamp), manifest.to_json().encode())


def filed_in(files: FileSystem, folder: str, hidden: str) -> FiledManifests | None:
    """Return the manifests in a folder of manifests; ``None``: it is none of ours.

    Parameters
    ----------
    files
        The file system.
    folder
        The folder in which the checkpoint lies.
    hidden
        The name of its folder of manifests.

    Raises
    ------
    NewerFormatError
        A later prefect_ds wrote one of the manifests.
    """
    checkpoint = data_name(hidden)
    if checkpoint is not None:
        return FiledManifests(files, f"{folder}/{checkpoint}")
    # A long name is cut, and the manifests in the folder know it.
    here = f"{folder}/{SIDE_FOLDER}/manifests/{hidden}"
    for file in files.names(here):
        manifest = read_manifest(files, f"{here}/{file}")
        if manifest is not None:
            filed = FiledManifests(files, f"{folder}/{name(manifest.path)}")
            return filed if filed.folder == here else None
    return None


def read_manifest(files: FileSystem, file: str) -> Manifest | None:
    """Return the manifest in a file; ``None`` where there is none that can be read.

    Its writer may have cleared it since the listing, or a kill has torn it: then it
    never was in force.

    Raises
    ------
    NewerFormatError
        A later prefect_ds wrote it.
    """
    try:
        return Manifest.from_json(files.read_bytes(file))
    except NewerFormatError:
        raise
    except (FileNotFoundError, ManifestError):
        return None
