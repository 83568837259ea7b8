"""What `crossed_mean` will be able to see, before the money is spent.

The answers are for that very test: its mean squares are drawn from their sampling distributions

    mean        ~ Normal(effect, (K sigma_prompt^2 + n sigma_seed^2 + sigma_e^2) / (nK))
    MS_prompt   ~ (K sigma_prompt^2 + sigma_e^2) chi2(n - 1) / (n - 1)
    MS_seed     ~ (n sigma_seed^2 + sigma_e^2) chi2(K - 1) / (K - 1)
    MS_residual ~ sigma_e^2 chi2((n - 1)(K - 1)) / ((n - 1)(K - 1))

all independent (Scheffe 1959, section 7.4), and `crossed_interval` is asked of each draw. As the mean is independent of
the mean squares, each draw counts with the exact probability that its interval leaves out 0, which is less noisy than
drawing the mean too. The draws are the same each time.

With one seed the interval does not cover seed variance, so its "power" is that of a test with more false positives than
it says; `false_positives` tells how many.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from notus_exp.inference.crossed import Components, MeanSquares, crossed_interval
from notus_exp.inference.estimates import CONFIDENCE
from notus_exp.inference.paired import POWER

DRAWS = 20_000
MOST_PROMPTS = 1_000_000
"""Prompts beyond which none are looked for: what they leave is the seeds' part."""

LEAST_SEEDS = 3
MOST_SEEDS = 1_000
"""Seeds between which `seeds_needed` looks: with fewer, a family of contrasts errs more often than it says."""


class Power(NamedTuple):
    """The chance of a significant difference, and the Monte Carlo error (one standard deviation) of that number."""

    value: float
    error: float


class Design(NamedTuple):
    """How much is measured, and how sure one wants to be.

    Attributes:
        prompts: n, at least 2.
        seeds: K.
        confidence: Level of the interval; 1 - 0.05 / N for a family of N contrasts (Bonferroni).
    """

    prompts: int
    seeds: int
    confidence: float = CONFIDENCE


def power(variances: Components, effect: float, design: Design) -> Power:
    """Return the chance that the interval of a contrast leaves out 0, on whichever side.

    Args:
        variances: Of the contrast, all known.
        effect: Its true mean, in the unit of the values.
        design: Prompts, seeds and level.
    """
    chances = _chances(*_reaches(variances, design), effect)
    return Power(float(chances.mean()), float(chances.std(ddof=1)) / math.sqrt(chances.size))


def false_positives(variances: Components, design: Design) -> Power:
    """Return the chance of a significant difference where there is none."""
    return power(variances, 0.0, design)


def detectable_effect(variances: Components, design: Design, wanted: float = POWER) -> float:
    """Return the true mean that is seen with the wanted power; 0 where chance alone is seen as often."""
    reaches, error = _reaches(variances, design)

    def missing(effect: float) -> float:
        return float(_chances(reaches, error, effect).mean()) - wanted

    if missing(0.0) >= 0:
        return 0.0
    most = float(reaches.max()) + 10 * error
    return float(optimize.brentq(missing, 0.0, most, xtol=1e-9 * most, rtol=1e-9))


def prompts_needed(
    variances: Components, effect: float, seeds: int, *, wanted: float = POWER, confidence: float = CONFIDENCE
) -> int | None:
    """Return the prompts that reach the wanted power with these seeds.

    Returns:
        The least number, up to the Monte Carlo error; None where a million do not suffice, as seed variance stays.
    """
    return _least(
        lambda prompts: power(variances, effect, Design(prompts, seeds, confidence)).value >= wanted, 2, MOST_PROMPTS
    )


def seeds_needed(
    variances: Components, effect: float, prompts: int, *, wanted: float = POWER, confidence: float = CONFIDENCE
) -> int | None:
    """Return the seeds, from 3, that reach the wanted power with these prompts.

    Returns:
        The least number, up to the Monte Carlo error; None where a thousand do not suffice, as prompt variance stays.
    """
    return _least(
        lambda seeds: power(variances, effect, Design(prompts, seeds, confidence)).value >= wanted,
        LEAST_SEEDS,
        MOST_SEEDS,
    )


def _reaches(variances: Components, design: Design) -> tuple[NDArray[np.float64], float]:
    """Return half the width of the interval in each draw, and the true standard error of the mean."""
    n, k = design.prompts, design.seeds
    rng = np.random.default_rng(0)

    def draw(expected: float, degrees: int) -> NDArray[np.float64]:
        return expected * rng.chisquare(degrees, DRAWS) / degrees

    prompt, seed = k * variances.prompt + variances.residual, n * variances.seed + variances.residual
    by_prompt = draw(prompt, n - 1)
    if k == 1:
        unknown = np.full(DRAWS, math.nan)
        squares = MeanSquares(by_prompt, unknown, unknown)
    else:
        squares = MeanSquares(by_prompt, draw(seed, k - 1), draw(variances.residual, (n - 1) * (k - 1)))
    interval = crossed_interval(0.0, squares, prompts=n, seeds=k, confidence=design.confidence)
    return interval.high, math.sqrt((prompt + seed - variances.residual) / (n * k))


def _chances(reaches: NDArray[np.float64], error: float, effect: float) -> NDArray[np.float64]:
    above, below = special.ndtr((effect - reaches) / error), special.ndtr((-effect - reaches) / error)
    return np.asarray(above + below)


def _least(suffices: Callable[[int], bool], low: int, most: int) -> int | None:
    """Return the least number from `low` to `most` that suffices, taking it that more are never worse."""
    high = low
    while not suffices(high):
        if high == most:
            return None
        low, high = high + 1, min(2 * high, most)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle + 1, high)
    return high
