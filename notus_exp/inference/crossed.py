"""The mean of a table of seeds by prompts, with an interval that counts both as samples.

The model is

    y_ki = mu + prompt_i + seed_k + e_ki,

all three random, prompts and seeds crossed: every seed answers every prompt. The mean squares of the two-way table
without replication have the expectations (Scheffe 1959, The Analysis of Variance, section 7.4)

    E[MS_prompt]   = K sigma_prompt^2 + sigma_e^2      n - 1 degrees of freedom
    E[MS_seed]     = n sigma_seed^2 + sigma_e^2        K - 1
    E[MS_residual] = sigma_e^2                         (n - 1)(K - 1)

so that (MS_prompt + MS_seed - MS_residual) / (nK) estimates the variance of the mean without bias. With 3 seeds it may
fall to 0 and below, and Satterthwaite's degrees of a difference are not to be trusted (Gaylor and Hopper 1969,
Technometrics 11(4)). Used here is the nearest form that is a sum of two parts that cannot be negative,

    A = max(MS_prompt - MS_residual, 0)      the prompts' share
    Var(mean) = (A + MS_seed) / (nK)
    degrees = (A + MS_seed)^2 / (A^2 / (n - 1) + MS_seed^2 / (K - 1)), rounded down

(Satterthwaite 1946, Biometrics Bulletin 2(6)). `MS_seed` is not cut to at least `MS_residual`, though its expectation
is: with the cut pure noise has 3 % false positives. Left whole, the form is exact where one part dominates, and has 4
to 8 % everywhere on the grid of `benchmarks/calibration.py` (3 and 5 seeds, 50 to 800 prompts, normal and yes/no;
docs/results/calibration.md). The prompts' share keeps n - 1 degrees, not the fewer of a difference: with those the test
is too careful (3 %) where prompts are few and hardly differ.

Where it cannot be met:
    - 2 seeds, one degree of freedom: up to 12 % false positives;
    - differences of yes and no where an arm is right in a tenth of 50 prompts or fewer, always the same ones: 2 % and
      less, as too few prompts differ for any t;
    - seed effects far from normal, such as a collapse in some seeds: 2 % were seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from notus_exp.inference.estimates import CONFIDENCE, mean_estimate

Array = NDArray[np.float64]

_NOTHING = 1e-12
"""Share of MS_residual below which MS_seed is the rounding error of a zero; chance alone gets there once in 10^12."""


class MeanSquares(NamedTuple):
    """Mean squares of one table or, as arrays of one shape, of many; seed and residual are NaN with one seed."""

    prompt: Any
    seed: Any
    residual: Any


class Components(NamedTuple):
    """Variances of the parts of a value, at least 0; NaN where they are not known.

    With one seed `seed` and `residual` are NaN, and `prompt` holds prompt and residual together.
    """

    prompt: float
    seed: float
    residual: float


class CrossedInterval(NamedTuple):
    """Standard error, degrees of freedom and both ends of the interval: arrays of the shape that came in."""

    standard_error: Array
    degrees: Array
    low: Array
    high: Array


class CrossedEstimate(NamedTuple):
    """The mean over prompts and seeds and how sure it is.

    Attributes:
        value: The mean; NaN where nothing was measured.
        low: Lower end of the 95 % interval; NaN where the data cannot tell it.
        high: Upper end of the 95 % interval; NaN where the data cannot tell it.
        standard_error: Of the mean; NaN where the data cannot tell it.
        degrees: Degrees of freedom of its t; NaN where there is no error.
        p: Two-sided p of a true mean of 0; NaN where there is no error.
        prompts: Prompts (columns) with a value for every seed.
        seeds: Seeds (rows); with one, seed variance is not covered.
        left_out: Prompts that lack a value for a seed.
        components: The variances behind it.
    """

    value: float
    low: float
    high: float
    standard_error: float
    degrees: float
    p: float
    prompts: int
    seeds: int
    left_out: int
    components: Components


def mean_squares(values: Array) -> MeanSquares:
    """Return the mean squares of the two-way table without replication.

    Args:
        values: Shape (..., K, n), no value missing, n at least 2.

    Returns:
        Arrays of shape (...).
    """
    seeds, prompts = values.shape[-2:]
    by_prompt = values.mean(axis=-2)
    prompt = seeds * by_prompt.var(axis=-1, ddof=1)
    if seeds == 1:
        return MeanSquares(prompt, np.full_like(prompt, math.nan), np.full_like(prompt, math.nan))
    by_seed = values.mean(axis=-1)
    grand = by_seed.mean(axis=-1)[..., None, None]
    residuals = values - by_prompt[..., None, :] - by_seed[..., :, None] + grand
    residual = np.square(residuals).sum(axis=(-2, -1)) / ((prompts - 1) * (seeds - 1))
    return MeanSquares(prompt, prompts * by_seed.var(axis=-1, ddof=1), residual)


def crossed_interval(
    mean: Any, squares: MeanSquares, *, prompts: int, seeds: int, confidence: float = CONFIDENCE
) -> CrossedInterval:
    """Return the interval of the module's formula for one table or many at once.

    With one seed it is the t interval over prompts. Seeds whose means agree to the last digit, which values of few
    levels can do, say nothing on their spread: MS_residual, the least that MS_seed can be expected to be, stands in.

    Args:
        mean: The means, shape (...).
        squares: From `mean_squares`, the same shape; not all zero.
        prompts: n, at least 2.
        seeds: K.
        confidence: Level of the two-sided interval.
    """
    share, seed = np.asarray(squares.prompt, dtype=np.float64), np.float64(0)
    spread_of_seed = 0.0
    if seeds > 1:
        share = np.maximum(squares.prompt - squares.residual, 0.0)
        seed = np.where(squares.seed > _NOTHING * squares.residual, squares.seed, squares.residual)
        spread_of_seed = (seed / (share + seed)) ** 2 / (seeds - 1)
    total = share + seed
    ratio = 1 / ((share / total) ** 2 / (prompts - 1) + spread_of_seed)
    degrees = np.floor(ratio * (1 + 1e-9))  # n - 1 may come out as a little less
    error = np.sqrt(total / (prompts * seeds))
    reach = special.stdtrit(degrees, (1 + confidence) / 2) * error
    return CrossedInterval(error, degrees, mean - reach, mean + reach)


SQUARES_VANISH = 1e-100
"""Values that differ by less have squares too small for a float: they are measured in units of their spread."""


def crossed_mean(values: Array, *, span: tuple[float, float] | None = None) -> CrossedEstimate:
    """Return the mean of a table with an interval for new prompts and new seeds.

    With one seed it equals `estimates.mean_estimate` over prompts, and seed variance is not covered: say so beside it.
    Values that are all alike and one prompt alone have the interval of `mean_estimate`: NaN ends, unless `span` tells
    more.

    Args:
        values: Shape (K, n), K seeds by n prompts, NaN where missing. A prompt that lacks a value is left out of all
            seeds and counted, so that the table stays complete.
        span: The least and the largest value possible, where there are such; the interval is cut to it.
    """
    complete = values[:, ~np.isnan(values).any(axis=0)]
    seeds, prompts = complete.shape
    left_out = values.shape[1] - prompts
    unknown = math.nan if seeds == 1 else 0.0
    if prompts < 2 or np.ptp(complete) == 0:
        flat = mean_estimate(complete.mean(axis=0), span=span)
        components = Components(0.0, unknown, unknown) if prompts > 1 else Components(*(math.nan,) * 3)
        return CrossedEstimate(*flat[:3], *(math.nan,) * 3, prompts, seeds, left_out, components)
    if (spread := float(np.ptp(complete))) < SQUARES_VANISH:
        return _scaled(crossed_mean(values / spread), spread)
    mean, squares = float(complete.mean()), mean_squares(complete)
    error, degrees, low, high = map(float, crossed_interval(mean, squares, prompts=prompts, seeds=seeds))
    if span is not None:
        low, high = max(low, span[0]), min(high, span[1])
    p = 2 * float(special.stdtr(degrees, -abs(mean) / error))
    return CrossedEstimate(
        mean, low, high, error, degrees, p, prompts, seeds, left_out, components_of(squares, prompts, seeds)
    )


def _scaled(estimate: CrossedEstimate, unit: float) -> CrossedEstimate:
    """Return an estimate of values that were measured in multiples of a unit; a span plays no part at this size."""
    value, low, high, error = (unit * number for number in estimate[:4])
    prompt, seed, residual = (unit * unit * variance for variance in estimate.components)
    components = Components(prompt, seed, residual)
    return estimate._replace(value=value, low=low, high=high, standard_error=error, components=components)


def contrast(
    tables: Sequence[Array], weights: Sequence[float], *, span: tuple[float, float] | None = None
) -> CrossedEstimate:
    """Return sum_a w_a * mean of table a: the crossed mean of the weighted sum, paired by prompt and seed.

    Args:
        tables: Shape (K, n) each, the same seeds in the same rows and the same prompts in the same columns.
        weights: One a table; 1 and -1 for a difference of two arms.
        span: The least and the largest value of the weighted sum, as in `crossed_mean`.
    """
    shapes = {table.shape for table in tables}
    if len(shapes) != 1:
        raise ValueError(f"tables of a contrast have different shapes: {sorted(shapes)}")
    summed = sum(weight * table for weight, table in zip(weights, tables, strict=True))
    return crossed_mean(np.asarray(summed), span=span)


def components_of(squares: MeanSquares, prompts: int, seeds: int) -> Components:
    """Return the variances that the mean squares of one table tell: ANOVA estimates, those below 0 as 0."""
    if seeds == 1:
        return Components(float(squares.prompt), math.nan, math.nan)
    prompt = max(float(squares.prompt - squares.residual) / seeds, 0.0)
    seed = max(float(squares.seed - squares.residual) / prompts, 0.0)
    return Components(prompt, seed, float(squares.residual))
