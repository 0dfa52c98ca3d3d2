"""Fixtures that unit tests share."""

import pytest

from prefect_ds.storage import retries


@pytest.fixture
def no_waiting(monkeypatch):
    """Further tries come at once."""
    monkeypatch.setattr(retries, "RETRY_DELAYS_S", (0.0, 0.0, 0.0))
