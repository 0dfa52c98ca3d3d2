"""pickle: frames as they are, for Python only."""

from typing import Final

from prefect_ds.file_types.base import FileType, complete_compression

PICKLE: Final = FileType(
    name="pickle",
    endings=(".pkl", ".pickle"),
    complete=complete_compression,
    is_compressible=True,
)
