"""Checkpoints of Dask frames: plain folders of parquet files, written and read by the whole cluster."""

from prefect_ds.dask.result_handler import DaskDataFrameResultHandler

__all__ = ["DaskDataFrameResultHandler"]
