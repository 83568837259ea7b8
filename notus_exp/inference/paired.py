"""Two models on the same prompts: how far apart, how sure, equivalent or not, and how many prompts would tell.

Everything is in the unit of the values that come in: percentage points where they are 0 to 100, points of a rating
where they are ratings. A prompt that lacks a value on either side is left out and counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from notus_exp.inference.estimates import CONFIDENCE, Values, standard_error

POWER = 0.8
"""Chance of seeing an effect that is there, for which the prompts are counted."""


class Interval(NamedTuple):
    """The two ends of a 95 % interval; NaN where the data cannot tell them."""

    low: float
    high: float


class PairedComparison(NamedTuple):
    """The mean of a - b over prompts and what it is worth.

    Attributes:
        n: Prompts (or judgments) with a value on both sides.
        left_out: Those that lack a value on one side or both.
        units: Independent units behind them: clusters, or prompts where each is its own.
        difference: Mean of a - b.
        standard_error: Of the difference; NaN where all differences are alike.
        interval_z: 95 % interval with the normal quantile, as AlpacaEval's readers know it.
        interval_t: 95 % interval with the t quantile at units - 1 degrees of freedom.
        z: difference / standard_error.
        p_z: Two-sided p of no difference, normal.
        p_t: The same by the t test.
        correlation: Pearson's, of a and b; NaN where one side is constant.
        standard_error_unpaired: What the error would be if a and b had answered different prompts.
    """

    n: int
    left_out: int
    units: int
    difference: float
    standard_error: float
    interval_z: Interval
    interval_t: Interval
    z: float
    p_z: float
    p_t: float
    correlation: float
    standard_error_unpaired: float


class McNemar(NamedTuple):
    """Prompts that one side wins and the other loses, and the exact two-sided p of them being as likely either way."""

    a_only: int
    b_only: int
    p: float


class Equivalence(NamedTuple):
    """Whether two models differ by less than `margin`: `p` of the two one-sided tests, `equivalent` where p < 0.05."""

    margin: float
    p: float
    equivalent: bool


class PromptsNeeded(NamedTuple):
    """Prompts for 80 % power at `effect`, by the normal formula and by the noncentral t."""

    effect: float
    normal: int
    t: int


def paired_comparison(a: Values, b: Values, *, clusters: Sequence[Any] | None = None) -> PairedComparison:
    """Compare two models prompt by prompt.

    Args:
        a: Shape (N,), one value a prompt; None and NaN are missing.
        b: Shape (N,), the values of the same prompts in the same order.
        clusters: Shape (N,), the unit that each value belongs to (MT-Bench: the question of a turn); None where every
            value is independent of the others. `standard_error` says what the error is in either case.

    Returns:
        The comparison; all NaN but the counts where nothing is paired.
    """
    x, y, groups = _complete(a, b, clusters)
    n, units = int(x.size), int(np.unique(groups).size)
    left_out = len(a) - n
    if n == 0:
        nowhere = Interval(math.nan, math.nan)
        return PairedComparison(0, left_out, 0, *(math.nan,) * 2, nowhere, nowhere, *(math.nan,) * 5)
    grouped = None if clusters is None else groups.tolist()
    difference, error = float((x - y).mean()), standard_error(x - y, clusters=grouped)
    unpaired = math.hypot(standard_error(x, clusters=grouped), standard_error(y, clusters=grouped))
    z = difference / error
    return PairedComparison(
        n=n,
        left_out=left_out,
        units=units,
        difference=difference,
        standard_error=error,
        interval_z=_interval(difference, error, float(stats.norm.ppf((1 + CONFIDENCE) / 2))),
        interval_t=_interval(difference, error, float(stats.t.ppf((1 + CONFIDENCE) / 2, units - 1))),
        z=z,
        p_z=float(2 * stats.norm.sf(abs(z))),
        p_t=float(2 * stats.t.sf(abs(z), units - 1)),
        correlation=_correlation(x, y),
        standard_error_unpaired=unpaired,
    )


def mcnemar(a: Values, b: Values, *, draw: float) -> McNemar:
    """Test whether a and b win equally often, on the prompts that one wins and the other loses.

    A draw of either side is neither a win nor a loss, so its prompt is not discordant. The exact test is the binomial
    test of the discordant prompts at one half (McNemar 1947, Psychometrika 12(2)).

    Args:
        a: Shape (N,), one value a prompt; None and NaN are missing.
        b: Shape (N,), the same prompts in the same order.
        draw: Value of a draw: above it a win, below it a loss.
    """
    x, y, _ = _complete(a, b, None)
    a_only = int(((x > draw) & (y < draw)).sum())
    b_only = int(((x < draw) & (y > draw)).sum())
    discordant = a_only + b_only
    p = float(stats.binomtest(a_only, discordant, 0.5).pvalue) if discordant else 1.0
    return McNemar(a_only, b_only, p)


def equivalence(difference: float, standard_error: float, degrees: float, margin: float) -> Equivalence:
    """Test whether the true difference lies within (-margin, margin): two one-sided t tests (Schuirmann 1987).

    Args:
        difference: As measured, of prompts alone or of prompts and seeds.
        standard_error: Of the difference; NaN where it is not known.
        degrees: Degrees of freedom of its t.
        margin: The largest difference that would not matter, above 0, in the unit of the values.

    Returns:
        The larger p of the two tests; NaN, and not equivalent, where there is no standard error.
    """
    below = float(stats.t.sf((margin - difference) / standard_error, degrees))
    above = float(stats.t.sf((margin + difference) / standard_error, degrees))
    p = math.nan if math.isnan(standard_error) else max(below, above)
    return Equivalence(margin, p, p < 1 - CONFIDENCE)


def prompts_needed(comparison: PairedComparison, effect: float) -> PromptsNeeded | None:
    """Return how many prompts (clusters where there are such) show `effect` with 80 % power at a two-sided 5 %.

    The spread of one unit is that of the comparison: sd = standard_error sqrt(units). Normal:
    n = ((z_0.975 + z_0.8) sd / effect)^2; t: statsmodels' noncentral t. Both rounded up.

    Args:
        comparison: From `compare`.
        effect: Difference to be seen, above 0, in the unit of the values.

    Returns:
        The counts; None where there is no standard error.
    """
    from statsmodels.stats.power import TTestPower  # half a second of pandas, which few commands need

    if math.isnan(comparison.standard_error):
        return None
    deviation = comparison.standard_error * math.sqrt(comparison.units)
    quantiles = float(stats.norm.ppf((1 + CONFIDENCE) / 2) + stats.norm.ppf(POWER))
    test, size, level = TTestPower(), effect / deviation, 1 - CONFIDENCE
    # two prompts are the fewest that a t test takes, and statsmodels' solver looks for fewer in vain
    enough = test.power(size, nobs=2, alpha=level) >= POWER
    t = 2 if enough else math.ceil(test.solve_power(size, power=POWER, alpha=level))
    return PromptsNeeded(effect, math.ceil((quantiles / size) ** 2), t)


def in_words(comparison: PairedComparison, tests: Sequence[Equivalence], unit: str) -> str:
    """Say what the comparison shows: distinguishable or not, by how much, and within which margins equivalent.

    Args:
        comparison: From `compare`.
        tests: From `equivalence`, for the margins of interest.
        unit: Name of the unit in the plural, such as "points".
    """
    low, high = comparison.interval_t
    if math.isnan(low):
        known = "nothing to compare" if comparison.n == 0 else f"{comparison.difference:+.2f} {unit} everywhere"
        return f"cannot tell: {known}, so there is no interval"
    verdict = "distinguishable" if comparison.p_t < 1 - CONFIDENCE else "not distinguishable"
    measured = f"{verdict} ({comparison.difference:+.2f} {unit}, 95 % {low:.2f} to {high:.2f})"
    within = " or ".join(f"{test.margin:g}" for test in tests if test.equivalent)
    beyond = " or ".join(f"{test.margin:g}" for test in tests if not test.equivalent)
    if not within:
        return f"{measured}, not shown equivalent within {beyond}" if beyond else measured
    return f"{measured}, equivalent within {within} {unit}" + (f", not within {beyond}" if beyond else "")


def _complete(
    a: Values, b: Values, clusters: Sequence[Any] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[Any]]:
    """Return both sides and the clusters where neither side is missing."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    groups = np.arange(x.size) if clusters is None else np.asarray(clusters)
    present = ~(np.isnan(x) | np.isnan(y))
    return x[present], y[present], groups[present]


def _interval(middle: float, error: float, quantile: float) -> Interval:
    return Interval(middle - quantile * error, middle + quantile * error)


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    if x.std() == 0 or y.std() == 0:  # not the range: it is above 0 for numbers whose squares are not
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])
