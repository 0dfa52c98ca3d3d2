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
        """Return the median and quartiles; of fewer than four values their whole range."""
        found = sorted(values)
        if len(found) < 4:
            return cls(statistics.median(found), found[0], found[-1], len(found))
        low, median, high = statistics.quantiles(found, n=4, method="inclusive")
        return cls(median, low, high, len(found))

    @property
    def width(self) -> float:
        """The distance of the quartiles, as a share of the median."""
        return (self.high - self.low) / self.median if self.median else 0.0


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
        gc.collect()
        started = time.perf_counter()
        run(*self.params)
        took_s = time.perf_counter() - started
        teardown = getattr(self._instance, "teardown", None)
        if teardown is not None:
            teardown(*self.params)
        return took_s


@dataclass(slots=True)
class Machine:
    """What else the machine did meanwhile, by how evenly it runs a loop that is always the same."""

    pulses: list[float] = field(default_factory=list)
    load_at_start: float = field(
        default_factory=lambda: os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    )

    def pulse(self) -> None:
        """Run the loop once, some 20 ms."""
        started = time.perf_counter()
        total = 0
        for number in range(300_000):
            total += number
        self.pulses.append(time.perf_counter() - started)

    @property
    def width(self) -> float:
        """How far the loop's times are from even: by how much the slow quarter exceeds the fastest."""
        if len(self.pulses) < 4:
            return 0.0
        return statistics.quantiles(self.pulses, n=4)[2] / min(self.pulses) - 1

    @property
    def is_noisy(self) -> bool:
        """Whether the figures are better not believed."""
        return self.width > 0.25

    def __str__(self) -> str:
        text = (
            f"Load at the start {self.load_at_start:.1f}; a loop that is always the same took up to "
            f"{self.width:.0%} longer in a quarter of {len(self.pulses)} runs."
        )
        return text + (
            " The machine was busy: read the ratios, not the seconds."
            if self.is_noisy
            else ""
        )


def interleaved(
    cases: Mapping[str, Case],
    machine: Machine,
    *,
    budget_s: float,
    least: int = 3,
    most: int = 9,
) -> dict[str, list[float]]:
    """Return the seconds of each case, one measurement of each a round, so that what else happens meets all alike.

    Parameters
    ----------
    cases
        Name to case. Those that do not exist here are left out of the answer.
    machine
        Told of each round.
    budget_s
        No new round after so many seconds.
    least, most
        Rounds, whatever the budget.
    """
    started = time.perf_counter()
    found: dict[str, list[float]] = {}
    rounds = 0
    while rounds < least or (
        rounds < most and time.perf_counter() - started < budget_s
    ):
        if rounds == 1 and time.perf_counter() - started < budget_s / 4:
            # The first round imports, compiles and fills the disk's cache: forgotten
            # where there is time for it.
            found = {name: [] for name in found}
            most += 1
            least += 1
        names = list(cases) if rounds == 0 else list(found)
        for name in names if rounds % 2 == 0 else reversed(names):
            machine.pulse()
            try:
                found.setdefault(name, []).append(cases[name].sample())
            except NotImplementedError:
                found.pop(name, None)
        rounds += 1
    return found


def ratio(ours: list[float], others: list[float]) -> Spread:
    """Return what ours takes of another's time, round by round."""
    return Spread.of(mine / theirs for mine, theirs in zip(ours, others, strict=True))


def verdict(found: Spread, at_most: float | None) -> Verdict:
    """Return whether a bound holds; or that the measurements do not say. Fewer than three say nothing at all."""
    if found.n < 3:
        return ""
    if at_most is None:
        return "" if found.width < 0.5 else "too noisy to tell"
    if found.high <= at_most:
        return "met"
    return "not met" if found.low > at_most else "too noisy to tell"
