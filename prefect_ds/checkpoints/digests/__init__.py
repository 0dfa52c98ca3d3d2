"""A digest of any value: equal for equal values in every process, unequal otherwise.

=================  ==================================================================
``walk``           how a value is walked: nesting, cycles, the way to what has none
``plain``          numbers, text, dates and the containers of Python
``code``           classes and functions: by name, those of the user's by their code
``objects``        everything else of Python: by class and whole state
``arrays``         numpy
``frames``         pandas
``arrow``          pyarrow and polars
``graphs``         Dask collections, by what they compute
=================  ==================================================================
"""

from prefect_ds.checkpoints.digests.registry import digest
from prefect_ds.checkpoints.digests.walk import SCHEME, UndigestibleError

__all__ = ["SCHEME", "UndigestibleError", "digest"]
