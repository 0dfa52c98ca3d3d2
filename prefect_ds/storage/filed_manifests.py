"""The manifests filed for one path, each under the stamp of its data."""

from __future__ import annotations

from collections.abc import Iterator

from prefect_ds.errors import ManifestError, NewerFormatError
from prefect_ds.storage.filesystem import FileSystem
from prefect_ds.storage.layout import manifest_file, manifest_folder
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
        for name in sorted(self.names()):
            file = f"{self.folder}/{name}"
            if file == but:
                continue
            try:
                yield file, self.read(file)
            except NewerFormatError:
                raise
            except (FileNotFoundError, ManifestError):
                # Cleared by its writer since the listing; or torn by a kill, and so
                # never in force.
                continue

    def is_readable(self, file: str) -> bool:
        """Whether a file holds a manifest, of this format or a newer one."""
        try:
            self.read(file)
        except NewerFormatError:
            return True
        except (FileNotFoundError, ManifestError):
            return False
        return True

    def refile(self, manifest: Manifest) -> None:
        """File a manifest in the place of a torn or outdated one."""
        self.files.put(self.file_of(manifest.stamp), manifest.to_json().encode())
