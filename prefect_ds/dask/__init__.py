"""Checkpoints of Dask frames: plain folders of parquet files.

The whole cluster writes and reads them.
"""

from prefect_ds.dask.result_handler import DaskDataFrameResultHandler

__all__ = ["DaskDataFrameResultHandler"]
