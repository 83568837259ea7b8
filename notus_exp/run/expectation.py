"""How long something of a known amount may take, from what others of other amounts took: pure functions.

seconds = fixed + rate x amount, both at least 0, fitted to what was recorded by least squares of the logarithms.
The interval is the fit times and divided by a factor. Its logarithm is twice the root mean square of the fit's
logarithmic errors, each record left out of the fit that it is compared with, beside `PRIOR_RECORDS` imagined records
with an error of `PRIOR_ERROR`, so that few records which happen to agree claim nothing; it grows with the distance to
the amounts that were recorded. How often such intervals held is in docs/results/forecast.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, median
from typing import NamedTuple

PRIOR_ERROR, PRIOR_RECORDS = 0.35, 3
"""Logarithmic error between equal stages on a machine that others use too, and for how many records it counts."""
APART = 1.2
"""Ratio of amounts from which on a fixed part can be told from a part that grows."""
SHARES = tuple(2.0**power for power in range(-5, 6))
"""Fixed part beside the part that grows, at the median amount: the fit chooses among these, none, and it alone."""


class Taken(NamedTuple):
    """What something took: its amount of work, in any unit above 0, and the seconds."""

    amount: float
    seconds: float


class Expected(NamedTuple):
    """Seconds that something may take, and between which two it should."""

    seconds: float
    low: float
    high: float

    def scaled(self, times: float) -> Expected:
        """Return what so many times the same takes."""
        return Expected(self.seconds * times, self.low * times, self.high * times)

    def widened(self, factor: float) -> Expected:
        """Return it with an interval that is wider by a factor to both sides."""
        return Expected(self.seconds, self.low / factor, self.high * factor)


NOTHING = Expected(0.0, 0.0, 0.0)


def expect(taken: Sequence[Taken], amount: float) -> Expected | None:
    """Return what an amount of work may take; None where nothing was recorded.

    Where all that was recorded is of about one amount, a fixed part cannot be told from one that grows: the value is in
    proportion, and the interval reaches from there to what was recorded.

    Args:
        taken: What was recorded, seconds above 0.
        amount: Above 0, in the same unit.
    """
    if not taken:
        return None
    fixed, rate = _fit(taken)
    value = fixed + rate * amount
    least, most = min(one.amount for one in taken), max(one.amount for one in taken)
    beyond = max(1.0, amount / most, least / amount)
    half = 2 * _spread(taken) * math.sqrt(1 + 1 / len(taken)) + 0.3 * math.log(beyond)
    ends = [value]
    if most < APART * least:
        ends.append(median(one.seconds for one in taken))
    return Expected(value, min(ends) * math.exp(-half), max(ends) * math.exp(half))


def together(expected: Iterable[Expected]) -> Expected:
    """Return what all of them take one after the other, as if all were fast, or slow, for the same reason."""
    columns = list(zip(NOTHING, *expected, strict=True))
    return Expected(*map(sum, columns))


def _fit(taken: Sequence[Taken]) -> tuple[float, float]:
    """Return fixed seconds and seconds a unit, by the least squares of the logarithmic errors."""
    amounts = [one.amount for one in taken]
    if max(amounts) < APART * min(amounts):
        return _scaled(taken, 0.0, 1.0)[1]
    middle = median(amounts)
    shapes = [(middle * share, 1.0) for share in SHARES]
    return min(_scaled(taken, *shape) for shape in [(0.0, 1.0), *shapes, (1.0, 0.0)])[1]


def _scaled(taken: Sequence[Taken], fixed: float, rate: float) -> tuple[float, tuple[float, float]]:
    """Return fixed + rate x amount times what fits best, after the sum of its squared logarithmic errors."""
    errors = [math.log(one.seconds / (fixed + rate * one.amount)) for one in taken]
    scale = math.exp(fmean(errors))
    return sum((error - fmean(errors)) ** 2 for error in errors), (scale * fixed, scale * rate)


def _spread(taken: Sequence[Taken]) -> float:
    """Return the root mean square of the logarithmic errors, those of the imagined records among them."""
    squares = [PRIOR_ERROR**2] * PRIOR_RECORDS
    for index, one in enumerate(taken):
        others = [*taken[:index], *taken[index + 1 :]]
        if others:
            fixed, rate = _fit(others)
            squares.append(math.log(one.seconds / (fixed + rate * one.amount)) ** 2)
    return math.sqrt(sum(squares) / len(squares))
