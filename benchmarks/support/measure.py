"""Measures rivals in turn, round by round, and says how far the rounds agree."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["met", "not met", "too noisy to tell", ""]


@dataclass(frozen=True, slots=True)
class Spread:
    """Some measurements of one thing."""

    median: float
    low: float
    """A quarter of them is lower."""
    high: float
    """A quarter of them is higher."""
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Return the median and the quartiles; of fewer than four values, all."""
        ordered = sorted(values)
        n = len(ordered)
        if n < 4:
            return cls(statistics.median(ordered), ordered[0], ordered[-1], n)
        low, median, high = statistics.quantiles(ordered, n=4, method="inclusive")
        return cls(median, low, high, n)

    @property
    def width(self) -> float:
        """The distance of the quartiles, as a share of the median."""
        if self.median == 0:
            return 0.0
        return (self.high - self.low) / self.median


@dataclass(slots=True)
class Case:
    """One benchmark with one choice of its parameters."""

    benchmark: type
    method: str
    params: tuple[object, ...]
    _instance: Any = None

    def sample(self) -> float:
        """Set up, and return the seconds of one call.

        Raises
        ------
        NotImplementedError
            The combination does not exist, or a package is missing.
        """
        if self._instance is None:
            self._instance = self.benchmark()
        setup = getattr(self._instance, "setup", None)
        if setup is not None:
            setup(*self.params)
        run = getattr(self._instance, self.method)
        # The garbage of the case before is none of this one's time.
        gc.collect()
        started = time.perf_counter()
        run(*self.params)
        took_s = time.perf_counter() - started
        teardown = getattr(self._instance, "teardown", None)
        if teardown is not None:
            teardown(*self.params)
        return took_s


def _load() -> float:
    # Windows has none.
    if not hasattr(os, "getloadavg"):
        return 0.0
    return os.getloadavg()[0]


@dataclass(slots=True)
class Machine:
    """How busy the machine is with other work, by the times of a loop.

    The loop is always the same, so that its times would be even on a quiet machine.
    """

    pulses: list[float] = field(default_factory=list)
    load_at_start: float = field(default_factory=_load)

    def pulse(self) -> None:
        """Run the loop once, some 20 ms."""
        started = time.perf_counter()
        total = 0
        for number in range(300_000):
            total += number
        self.pulses.append(time.perf_counter() - started)

    @property
    def width(self) -> float:
        """How far the loop's times are from even: the slow quarter beside the fastest.

        0.1: a quarter of the times is at least 10 % above the fastest one.
        """
        if len(self.pulses) < 4:
            return 0.0
        return statistics.quantiles(self.pulses, n=4)[2] / min(self.pulses) - 1

    @property
    def is_noisy(self) -> bool:
        """Whether the seconds say little."""
        return self.width > 0.25

    def __str__(self) -> str:
        text = (
            f"Load at the start {self.load_at_start:.1f}; a loop that is always the "
            f"same took at least {self.width:.0%} longer in a quarter of "
            f"{len(self.pulses)} runs."
        )
        if self.is_noisy:
            text += " The machine was busy: read the ratios, not the seconds."
        return text


def interleaved(
    cases: Mapping[str, Case],
    machine: Machine,
    *,
    budget_s: float,
    least: int = 3,
    most: int = 9,
) -> dict[str, list[float]]:
    """Return the seconds of some cases, measured in turn.

    A round measures every case once, so that other work on the machine meets all of
    them alike.

    Parameters
    ----------
    cases
        Name to case. Those that do not exist here are left out of the answer.
    machine
        Runs its loop before every measurement.
    budget_s
        No new round after so many seconds.
    least, most
        Rounds, whatever the budget.
    """
    started = time.perf_counter()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    rounds = 0
    while rounds < most:
        spent_s = time.perf_counter() - started
        if rounds >= least and spent_s >= budget_s:
            break
        if rounds == 1 and spent_s < budget_s / 4:
            # The first round imports, compiles and fills the disk's cache. Where there
            # is time for it, it does not count.
            seconds = {name: [] for name in seconds}
            most += 1
            least += 1
        names = list(seconds)
        # Back and forth: no case always follows the same one.
        if rounds % 2 == 1:
            names.reverse()
        for name in names:
            machine.pulse()
            try:
                seconds[name].append(cases[name].sample())
            except NotImplementedError:
                del seconds[name]
        rounds += 1
    return seconds


def ratio(ours: list[float], others: list[float]) -> Spread:
    """Return our time as a share of another's, round by round."""
    return Spread.of(mine / theirs for mine, theirs in zip(ours, others, strict=True))


def verdict(measured: Spread, at_most: float | None) -> Verdict:
    """Return whether a bound holds, or that the measurements cannot tell.

    Fewer than three of them say nothing at all.
    """
    if measured.n < 3:
        return ""
    # Nothing is promised.
    if at_most is None:
        return "" if measured.width < 0.5 else "too noisy to tell"
    if measured.high <= at_most:
        return "met"
    if measured.low > at_most:
        return "not met"
    return "too noisy to tell"
