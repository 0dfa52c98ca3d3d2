"""The errors that a caller may want to tell apart.

Their arguments are those of the builtin behind them, mostly a message, so that they
survive pickling between Dask workers. Every message makes sense alone: an error that a
task raises reaches the flow's result as ``repr(error)`` in a failed state.
"""


class PrefectDSError(Exception):
    """Base of every error that prefect_ds raises on purpose."""


class TemplateError(PrefectDSError, ValueError):
    """A path template is malformed, or a value cannot fill one of its fields."""


class FileTypeError(PrefectDSError, ValueError):
    """The file type is not one that pandas can both write to and read from a path."""


class ResultTypeError(PrefectDSError, TypeError):
    """A task returned something that its result handler does not keep."""


class RoundTripError(PrefectDSError, TypeError):
    """A frame would not come back from its file as it was written."""


class CheckpointNotFoundError(PrefectDSError, FileNotFoundError):
    """Nothing is committed at the path."""


class DamagedCheckpointError(PrefectDSError, OSError):
    """What lies at the path is not what its manifest describes."""


class UndecodableCheckpointError(DamagedCheckpointError):
    """The bytes at the path are whole, and cannot be decoded in this process.

    For example, the class of a pickle was renamed, or another version of a library
    wrote the file.
    """


class CheckpointAccessError(PrefectDSError, OSError):
    """The file system refuses a checkpoint; the message has a remedy.

    It takes the number and the message of an OSError.
    """


class CheckpointPermissionError(CheckpointAccessError, PermissionError):
    """The file system lets another user read or write a checkpoint, not this one."""


class OptionError(PrefectDSError, TypeError):
    """An option of a handler does not fit its task."""


class CollisionError(PrefectDSError, RuntimeError):
    """Two tasks of one run render the same path for different inputs."""


class PreflightError(PrefectDSError, RuntimeError):
    """A flow cannot work on the cluster that it is to run on."""


class ManifestError(PrefectDSError, ValueError):
    """A manifest cannot be read: torn, altered, or of a newer format."""


class NewerFormatError(ManifestError):
    """A newer prefect_ds wrote the manifest; this one cannot read it."""
