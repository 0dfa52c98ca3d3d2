"""The command ``prefect-ds``.

It is a package of its own because ``import prefect_ds`` imports Prefect, pandas and
Dask, which takes seconds. A command imports prefect_ds when it runs, so that
``prefect-ds --help`` and the completion of a shell answer at once.
"""
