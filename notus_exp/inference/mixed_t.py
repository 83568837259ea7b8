"""The t of a mean whose variance has two parts with different degrees of freedom: prompts (n - 1) and seeds (K - 1).

The mean over its standard error is compared with a quantile between those of both parts,

    t'^2 = (1 - w) t_(n-1)^2 + w t_(K-1)^2,    w = s^2 (2 - s^2),    s the seeds' part of the variance,

all at the same level, and p is the level at which t' equals that ratio: one form for p, verdict and interval, whatever
the level. With w = s it is Banerjee's (1960, Sankhya 22), whose error is at most its level at all shares, since the
chance of a normal beyond the root of a sum is convex in the sum. In between it is far below its level (a quarter of
1.7 % with 3 seeds): where the seeds' mean square is small by chance it counts too much of the seeds' t. Satterthwaite's
single t (1946, Biometrics Bulletin 2(6)) errs on the other side: a mean square that is small by chance makes a small
error and many degrees, so that at a level of 1.7 % there are two to three times as many errors, and Holm's correction
fails. The weight is calibrated: from a level of 5 % down to 0.7 %, with 3 to 10 seeds, errors are 0.5 to 1.4 times the
level, and exactly the level where one part dominates. docs/results/calibration.md shows what else was tried.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import optimize, special

_TINY = 1e-280
"""p below which no digits are sought."""


def quantile(level: Any, seed_share: Any, *, prompts: int, seeds: int) -> Any:
    """Return t': how many standard errors from its mean a value is at a two-sided level.

    Args:
        level: Above 0 and at most 1, shape (...).
        seed_share: 0 to 1, the same shape.
        prompts: n, at least 2.
        seeds: K; with 1 it is the t of the prompts.
    """
    of_prompts = special.stdtrit(prompts - 1, np.asarray(level) / 2)
    if seeds == 1:
        return np.abs(of_prompts)
    of_seeds = special.stdtrit(seeds - 1, np.asarray(level) / 2)
    weight = np.square(seed_share) * (2 - np.square(seed_share))
    with np.errstate(over="ignore", invalid="ignore"):  # the square of t with few degrees, far in the tail
        found = np.sqrt((1 - weight) * np.square(of_prompts) + weight * np.square(of_seeds))
    robust = np.hypot(np.sqrt(1 - weight) * of_prompts, np.sqrt(weight) * of_seeds)
    return np.where(np.isfinite(found), found, robust)[()]  # a number of numbers


def two_sided_p(ratio: float, seed_share: float, *, prompts: int, seeds: int) -> float:
    """Return the level whose quantile is the ratio; it lies between the p of both t distributions.

    Args:
        ratio: A mean over its standard error, of whichever sign.
        seed_share: As in `quantile`.
        prompts: n, at least 2.
        seeds: K.
    """
    degrees = {prompts - 1, seeds - 1} if seeds > 1 else {prompts - 1}
    ps = [2 * float(special.stdtr(one, -abs(ratio))) for one in degrees]
    low, high = max(min(ps), _TINY), max(ps)

    def beyond(logarithm: float) -> float:
        return float(quantile(math.exp(logarithm), seed_share, prompts=prompts, seeds=seeds)) - abs(ratio)

    if low >= high or beyond(math.log(low)) <= 0:
        return min(ps)
    if beyond(math.log(high)) >= 0:
        return high
    return math.exp(float(optimize.brentq(beyond, math.log(low), math.log(high), xtol=1e-14)))


def one_sided_p(ratio: float, seed_share: float, *, prompts: int, seeds: int) -> float:
    """Return the chance of a ratio as high or higher, as in `two_sided_p`."""
    half = two_sided_p(ratio, seed_share, prompts=prompts, seeds=seeds) / 2
    return half if ratio > 0 else 1 - half
