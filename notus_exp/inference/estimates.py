"""Estimates with a 95 % interval: means and shares over independent prompts, paired differences; standard errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit  # not scipy.stats: a second of imports, of which a run would use a quantile

CONFIDENCE = 0.95
"""Level of every interval of the project."""

Values = Sequence[float | None] | NDArray[np.float64]
"""Numbers, one a prompt; None and NaN are missing."""


class Estimate(NamedTuple):
    """A number with its interval.

    Attributes:
        value: The mean or share; NaN where nothing was measured.
        low: Lower end of the 95 % interval; NaN where the data cannot tell it.
        high: Upper end of the 95 % interval; NaN where the data cannot tell it.
        n: Number of independent prompts behind the value.
    """

    value: float
    low: float
    high: float
    n: int


def mean_estimate(
    values: Values, *, clusters: Sequence[Any] | None = None, span: tuple[float, float] | None = None
) -> Estimate:
    """Return the mean with a t interval.

    With `clusters`, values of the same cluster may depend on each other. The standard error is then

        sqrt(G / (G - 1) * sum_c (sum_{i in c} (x_i - mean))^2) / N

    (Liang and Zeger 1986, Biometrika 73(1), for a mean, with the small-sample factor), N values in G clusters, and the
    t has G - 1 degrees of freedom. Where every value is a cluster of its own this is the textbook sd / sqrt(N).

    An interval of no width would claim certainty, so:
        - one prompt alone has NaN ends;
        - values that are all alike have NaN ends, unless both ends of `span` are known. Then, with 95 % confidence, at
          most 1 - 0.05^(1/n) of the prompts differ from what was seen (the exact form of the "rule of three"), each by
          no more than the distance to the ends of the span, which bounds the mean.

    Args:
        values: Shape (N,); None and NaN are left out.
        clusters: Shape (N,), the prompt that each value belongs to; None where every value has its own.
        span: The least and the largest value possible, where there are such; the interval is cut to it.

    Returns:
        The estimate; `n` counts the clusters that have a value.
    """
    numbers = np.asarray(values, dtype=np.float64)
    present = ~np.isnan(numbers)
    numbers = numbers[present]
    if not numbers.size:
        return Estimate(math.nan, math.nan, math.nan, 0)
    groups = np.arange(numbers.size)
    if clusters is not None:
        groups = np.unique(np.asarray(clusters)[present], return_inverse=True)[1]
    low, high, n = _mean_interval(numbers, groups, span)
    return Estimate(float(numbers.mean()), low, high, n)


def share_estimate(successes: int, n: int) -> Estimate:
    """Return a share of independent prompts with its Wilson score interval.

    Unlike a t interval it stays within [0, 1] and keeps a width at 0 of n and n of n (Wilson 1927, JASA 22(158)).

    Args:
        successes: Prompts that have the property, 0 to n.
        n: Prompts looked at; 0 gives NaN.
    """
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    share, z = successes / n, float(ndtri((1 + CONFIDENCE) / 2))
    wide = 2 * (n + z**2)
    centre, reach = (2 * n * share + z**2) / wide, z / wide * math.sqrt(4 * n * share * (1 - share) + z**2)
    return Estimate(share, 0.0 if successes == 0 else centre - reach, 1.0 if successes == n else centre + reach, n)


def paired_difference(
    a: Values,
    b: Values,
    *,
    clusters: Sequence[Any] | None = None,
    span: tuple[float, float] | None = None,
) -> Estimate:
    """Return the mean of a - b over prompts with a t interval on the differences.

    A prompt that lacks a value on either side is left out, so `n` may be below both sides' own n.

    Args:
        a: Shape (N,), one value a prompt; None and NaN are missing.
        b: Shape (N,), the values of the same prompts in the same order.
        clusters: As in `mean_estimate`.
        span: The least and the largest difference possible, as in `mean_estimate`.
    """
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return mean_estimate(difference, clusters=clusters, span=span)


def difference_of_means(a: Values, b: Values, *, a_clusters: Sequence[Any], b_clusters: Sequence[Any]) -> Estimate:
    """Return mean(a) - mean(b) with a t interval, where the two share some prompts, or all, or none.

    The standard error is that of Liang and Zeger (1986) for two means, with the small-sample factor of `mean_estimate`:

        sqrt(G / (G - 1) * sum_c (sum_{i in c} (a_i - mean(a)) / N_a - sum_{j in c} (b_j - mean(b)) / N_b)^2)

    over the G prompts of either, and the t has G - 1 degrees of freedom. With the same prompts on both sides, one value
    each, it is that of `paired_difference`; without any prompt in common that of independent means.

    Args:
        a: Shape (N_a,); None and NaN are left out.
        b: Shape (N_b,), likewise.
        a_clusters: Shape (N_a,), the prompt of each value.
        b_clusters: Shape (N_b,), likewise.

    Returns:
        The estimate; NaN where a side has no value, its ends NaN for one prompt and where nothing varies.
    """
    values = np.concatenate([np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)])
    of_a = np.arange(values.size) < len(a)
    present = ~np.isnan(values)
    values, of_a = values[present], of_a[present]
    if not of_a.any() or of_a.all():
        return Estimate(math.nan, math.nan, math.nan, 0)
    prompts = np.concatenate([np.asarray(a_clusters, dtype=object), np.asarray(b_clusters, dtype=object)])[present]
    groups = np.unique(prompts.astype(str), return_inverse=True)[1]
    n, means = int(groups.max()) + 1, {side: float(values[of_a == side].mean()) for side in (True, False)}
    value = means[True] - means[False]
    signed = np.where(of_a, (values - means[True]) / of_a.sum(), -(values - means[False]) / (~of_a).sum())
    sums = np.bincount(groups, weights=signed)
    if n == 1 or np.abs(sums).max() <= 1e-12 * max(np.abs(values).max(), 1.0):  # rounding leaves 1e-18 of nothing
        return Estimate(value, math.nan, math.nan, n)
    reach = _quantile(n - 1) * math.sqrt(n / (n - 1) * float(sums @ sums))
    return Estimate(value, value - reach, value + reach, n)


def standard_error(values: Values, *, clusters: Sequence[Any] | None = None) -> float:
    """Return the standard error of the mean as benchmarks publish it.

    Without clusters sd(ddof=1) / sqrt(N), else

        sqrt(sum_c (sum_{i in c} (x_i - mean))^2) / N

    (Liang and Zeger 1986), which has no small-sample factor, unlike the interval of `mean_estimate`: with the 80
    questions of MT-Bench it is 0.6 % smaller.

    Args:
        values: Shape (N,); None and NaN are left out.
        clusters: Shape (N,), as in `mean_estimate`.

    Returns:
        The error; NaN for fewer than two clusters and for values that are all alike, which would claim certainty.
    """
    numbers = np.asarray(values, dtype=np.float64)
    present = ~np.isnan(numbers)
    numbers = numbers[present]
    if numbers.size < 2 or np.ptp(numbers) == 0:
        return math.nan
    if clusters is None:
        return float(numbers.std(ddof=1) / math.sqrt(numbers.size))
    groups = np.unique(np.asarray(clusters)[present], return_inverse=True)[1]
    sums = np.bincount(groups, weights=numbers - numbers.mean())
    return math.sqrt(float(sums @ sums)) / numbers.size if sums.size > 1 else math.nan


def _quantile(degrees: int) -> float:
    """Return Student's t that a value stays below in magnitude with a probability of `CONFIDENCE`."""
    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))


def _mean_interval(
    numbers: NDArray[np.float64], groups: NDArray[np.intp], span: tuple[float, float] | None
) -> tuple[float, float, int]:
    """Return low, high and the number of clusters; `groups` numbers the clusters from 0 without gaps."""
    mean = float(numbers.mean())
    sums = np.bincount(groups, weights=numbers)
    sizes = np.bincount(groups)
    n = int(sizes.size)
    if n == 1:
        return math.nan, math.nan, n
    if np.ptp(sums / sizes) == 0:  # not "standard error == 0": rounding leaves 1e-18 of it
        return (*_alike_interval(mean, n, span), n)
    residuals = sums - sizes * mean
    error = math.sqrt(n / (n - 1) * float(residuals @ residuals)) / numbers.size
    reach = _quantile(n - 1) * error
    if span is None:
        return mean - reach, mean + reach, n
    return max(mean - reach, span[0]), min(mean + reach, span[1]), n


def _alike_interval(value: float, n: int, span: tuple[float, float] | None) -> tuple[float, float]:
    if span is None or not all(map(math.isfinite, span)):
        return math.nan, math.nan
    unseen = 1 - (1 - CONFIDENCE) ** (1 / n)
    return value - unseen * (value - span[0]), value + unseen * (span[1] - value)
