"""Pages for people: HTML files, tables for notebooks, and drawings of flows.

Knows neither Prefect nor Dask; reports and explanations hand it plain values.
"""
