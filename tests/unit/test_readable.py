"""Which values a reason shows."""

import datetime
import decimal
import enum
import fractions

import numpy as np
import pandas as pd
import pytest

from prefect_ds.checkpoints.identity import identify_run, identify_task
from prefect_ds.checkpoints.readable import readable


class Kind(enum.Enum):
    FINE = "a secret text"


class Level(enum.IntEnum):
    LOW = 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.1, "0.1"),
        (3, "3"),
        (True, "True"),
        (None, "None"),
        (1 + 2j, "(1+2j)"),
        (np.float64(0.5), "0.5"),
        (np.datetime64("2024-01-01"), "2024-01-01"),
        (decimal.Decimal("1.50"), "1.50"),
        (fractions.Fraction(1, 3), "1/3"),
        (datetime.date(2024, 2, 29), "2024-02-29"),
        (datetime.timedelta(hours=1), "1:00:00"),
        (pd.Timestamp("2024-01-01"), "2024-01-01 00:00:00"),
        (Kind.FINE, "Kind.FINE"),
        (Level.LOW, "Level.LOW"),
    ],
)
def test_numbers_dates_and_enums_are_shown(value, shown):
    assert readable(value) == shown


@pytest.mark.parametrize(
    "value", ["text", b"bytes", [1], (1,), {"a": 1}, 10**60, object(), Kind]
)
def test_nothing_else_is(value):
    assert readable(value) == ""


def test_a_number_that_python_does_not_write_is_not_shown():
    assert readable(10**5000) == ""


def test_text_is_shown_on_request():
    assert readable("Rome", text=True) == "'Rome'"
    assert readable("x" * 100, text=True) == "", "a long one tells nothing"


def difference(before, now, **options):
    task = identify_task("t", **options)
    earlier = identify_run(task, before).identity
    return identify_run(task, now).identity.difference(earlier)


def test_a_reason_shows_how_a_value_changed():
    assert difference({"lr": 0.1, "n": 3}, {"lr": 0.2, "n": 3}) == "lr 0.1 -> 0.2"
    assert difference({"x": 1}, {"x": True}) == "x 1 -> True"
    assert difference({"x": 1}, {"x": "a"}) == "input 'x' changed"
    assert difference({"x": 1, "y": "a"}, {"x": 2, "y": "b"}) == (
        "x 1 -> 2, input 'y' changed"
    )


def test_two_values_that_read_alike_have_changed():
    assert difference({"x": 1}, {"x": np.int64(1)}) == "input 'x' changed"


def test_text_is_in_a_reason_and_a_manifest_on_request_alone():
    before, now = {"city": "Rome"}, {"city": "Oslo"}
    assert difference(before, now) == "input 'city' changed"
    assert difference(before, now, show=["city"]) == "city 'Rome' -> 'Oslo'"
    identity = identify_run(identify_task("t"), now).identity
    assert "Oslo" not in repr(identity)


def test_settings_and_defaults_are_shown():
    earlier = identify_task("t", settings={"lr": 1}, defaults={"n": 3})
    later = identify_task("t", settings={"lr": 2}, defaults={"n": 4})
    assert identify_run(later, {}).identity.difference(
        identify_run(earlier, {}).identity
    ) == ("n 3 -> 4, setting 'lr' 1 -> 2")


def test_what_is_shown_does_not_count():
    plain = identify_run(identify_task("t"), {"city": "Rome"}).identity
    shown = identify_run(identify_task("t", show=["city"]), {"city": "Rome"}).identity
    assert plain == shown
    assert plain.digest == shown.digest


def test_an_ignored_input_is_not_kept():
    task = identify_task("t", ignore=["token"], show=["token"])
    assert identify_run(task, {"token": "secret"}).identity.values == {}
