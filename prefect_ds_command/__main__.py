"""``python -m prefect_ds_command``: the same as ``prefect-ds``."""

from prefect_ds_command.main import main

main()
