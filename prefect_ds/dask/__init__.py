"""Checkpoints of Dask frames: plain folders of parquet files.

The whole cluster writes and reads them.
"""

from prefect_ds.dask.result_handler import DaskDataFrameResultHandler
from prefect_ds.dask.unlocked import unlock

__all__ = ["DaskDataFrameResultHandler"]

unlock()
