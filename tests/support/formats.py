"""The formats of all file types, and how a frame goes through one."""

import io

import pandas as pd

from prefect_ds.file_types.frame_format import FILE_TYPES, frame_format

PATHS = {
    **{name: f"x.{name}" for name in FILE_TYPES},
    "excel": "x.xlsx",
    "ods": "x.ods",
}

DATES = pd.DataFrame(
    {
        "day": pd.to_datetime(["2024-01-01", "2024-01-02"]),
        "x": [0.123, 7.0],
        "s": ["007", None],
    }
)


def format_of(name, **kwargs):
    return frame_format("excel" if name == "ods" else name, PATHS[name], **kwargs)


def encode(frame, frame_format):
    file = io.BytesIO()
    return frame_format.encode(frame, file), file.getvalue()
