"""Seeds alone, as a second opinion: bootstrap and permutation over the means of the seeds, where there are enough.

Both look at one number a seed, so they count prompts only as far as the seeds' means scatter. With few seeds neither
can work: a percentile bootstrap over 3 seeds has 15 % false positives or more, and a sign-flip permutation of K seeds
has no p below 2^(1 - K): 0.25 with 3, and below 0.05 only from 6.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from notus_exp.inference.estimates import CONFIDENCE
from notus_exp.inference.paired import Interval

MIN_BOOTSTRAP = 10
"""Seeds below which there is no bootstrap interval."""

MIN_PERMUTATION = 6
"""Seeds below which there is no permutation p."""

_RESAMPLES = 9_999


def bootstrap_over_seeds(values: NDArray[np.float64]) -> Interval | None:
    """Return the 95 % BCa interval of the mean over resampled seeds (Efron 1987, JASA 82(397)).

    Args:
        values: Shape (K, n), seeds by prompts, NaN where missing; prompts that lack a seed are left out.

    Returns:
        The interval, the same each time; None with fewer than 10 seeds; NaN ends where the seeds' means are all alike
        or no prompt is complete.
    """
    means = _seed_means(values)
    if means.size < MIN_BOOTSTRAP:
        return None
    if np.isnan(means).any() or np.ptp(means) == 0:
        return Interval(math.nan, math.nan)
    found = stats.bootstrap(
        (means,),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=np.random.default_rng(0),
    )
    return Interval(float(found.confidence_interval.low), float(found.confidence_interval.high))


def permutation_over_seeds(values: NDArray[np.float64]) -> float | None:
    """Return the two-sided p of a mean of 0 by flipping the signs of the seeds' means (Fisher 1935).

    All 2^K flips are made where they are fewer than 10,000, else as many random ones, the same each time.

    Args:
        values: As in `bootstrap_over_seeds`; of a contrast, so that 0 means no difference.

    Returns:
        The p; None with fewer than 6 seeds; NaN where no prompt is complete.
    """
    means = _seed_means(values)
    if means.size < MIN_PERMUTATION:
        return None
    if np.isnan(means).any():
        return math.nan
    found = stats.permutation_test(
        (means,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=_RESAMPLES,
        alternative="two-sided",
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def _seed_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    complete = values[:, ~np.isnan(values).any(axis=0)]
    return complete.mean(axis=1) if complete.shape[1] else np.full(values.shape[0], math.nan)
