"""Whole jobs on real data, to run and to copy from.

``pip install "prefect_ds[examples]"`` installs what they need.
"""
