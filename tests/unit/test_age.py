"""How old a checkpoint may be."""

import datetime

import pytest

from prefect_ds import PandasResultHandler
from prefect_ds.checkpoints.age import as_duration, in_words
from prefect_ds.dask import DaskDataFrameResultHandler

HOURS = datetime.timedelta(hours=1)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("1d", 24 * HOURS),
        ("1d 12h", 36 * HOURS),
        ("1D12H", 36 * HOURS),
        ("1.5 h ", 1.5 * HOURS),
        ("90min", 1.5 * HOURS),
        ("2w", 14 * 24 * HOURS),
        ("0s", 0 * HOURS),
        (3 * HOURS, 3 * HOURS),
        (None, None),
    ],
)
def test_an_age_is_a_duration_or_text(given, meant):
    assert as_duration(given) == meant


@pytest.mark.parametrize(
    "text", ["", "1", "d", "1 day", "-1d", "1d!", "1m", "1e5d", "99999999999999d"]
)
def test_other_text_is_refused_with_the_units(text):
    with pytest.raises(ValueError, match=r"max_age='.*': give numbers with units.*min"):
        PandasResultHandler("a.csv", max_age=text)


def test_a_number_without_a_unit_is_refused():
    with pytest.raises(TypeError, match=r"max_age=60: give a datetime\.timedelta"):
        DaskDataFrameResultHandler("a", max_age=60)


def test_a_negative_age_is_refused():
    with pytest.raises(ValueError, match="negative"):
        PandasResultHandler("a.csv", max_age=-HOURS)


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (0, "0 seconds"),
        (1, "1 hour"),
        (25.5, "1 day 1 hour"),
        (1 / 60, "1 minute"),
        (48.01, "2 days"),
    ],
)
def test_an_age_is_said_in_its_largest_unit_and_the_next(hours, words):
    assert in_words(hours * HOURS) == words
