"""How much of a long sweep a slow test does: a seeded sample, ten times of it with PREFECT_DS_TEST_SCALE=10."""

import os

SCALE = int(os.environ.get("PREFECT_DS_TEST_SCALE", "1"))
