"""The mean of a table of seeds by prompts, with an interval that counts both as samples.

The model is

    y_ki = mu + prompt_i + seed_k + e_ki,

all three random, prompts and seeds crossed: every seed answers every prompt. The mean squares of the two-way table
without replication have the expectations (Scheffe 1959, The Analysis of Variance, section 7.4)

    E[MS_prompt]   = K sigma_prompt^2 + sigma_e^2      n - 1 degrees of freedom
    E[MS_seed]     = n sigma_seed^2 + sigma_e^2        K - 1
    E[MS_residual] = sigma_e^2                         (n - 1)(K - 1)

so that (MS_prompt + MS_seed - MS_residual) / (nK) estimates the variance of the mean without bias. With 3 seeds it may
fall to 0 and below (Gaylor and Hopper 1969, Technometrics 11(4)); used here is the nearest form that is a sum of two
parts that cannot be negative,

    A = max(MS_prompt - MS_residual, 0)      the prompts' share
    Var(mean) = (A + MS_seed) / (nK)
    share = MS_seed / (A + MS_seed)          the seeds' part of it

`MS_seed` is not cut to at least `MS_residual`, though its expectation is: with the cut pure noise is hardly ever called
different. The prompts' part keeps n - 1 degrees of freedom, the seeds' K - 1, and `mixed_t` makes one quantile of both.
docs/results/calibration.md shows how often it errs; where it cannot be trusted, `cautions` says so, as far as data can
show it: prompts unlike all that were drawn (a rare large loss) are beyond any interval that is made of those drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from notus_exp.inference.estimates import CONFIDENCE, mean_estimate
from notus_exp.inference.mixed_t import one_sided_p, quantile, two_sided_p
from notus_exp.inference.paired import Equivalence, Interval

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
    """Standard error, seeds' share of its square and both ends of the interval: arrays of the shape that came in."""

    standard_error: Array
    seed_share: Array
    low: Array
    high: Array


class CrossedEstimate(NamedTuple):
    """The mean over prompts and seeds and how sure it is.

    Attributes:
        value: The mean; NaN where nothing was measured.
        low: Lower end of the 95 % interval; NaN where the data cannot tell it.
        high: Upper end of the 95 % interval; NaN where the data cannot tell it.
        standard_error: Of the mean; NaN where the data cannot tell it.
        seed_share: Share of the seeds in the square of that error; 0 with one seed, NaN where there is no error.
        p: Two-sided p of a true mean of 0; NaN where there is no error.
        prompts: Prompts (columns) with a value for every seed.
        seeds: Seeds (rows); with one, seed variance is not covered.
        left_out: Prompts that lack a value for a seed.
        components: The variances behind it.
        skewness: Of the mean, as far as it is the prompts': 0 where many prompts scatter evenly; NaN where there is no
            error.
        furthest: The largest distance from 0 of a prompt's mean over seeds; NaN where nothing was measured.
    """

    value: float
    low: float
    high: float
    standard_error: float
    seed_share: float
    p: float
    prompts: int
    seeds: int
    left_out: int
    components: Components
    skewness: float
    furthest: float


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
    total, share = np.asarray(squares.prompt, dtype=np.float64), np.float64(0)
    if seeds > 1:
        seed = np.where(squares.seed > _NOTHING * squares.residual, squares.seed, squares.residual)
        total = np.maximum(squares.prompt - squares.residual, 0.0) + seed
        share = seed / total
    error = np.sqrt(total / (prompts * seeds))
    reach = quantile(1 - confidence, share, prompts=prompts, seeds=seeds) * error
    return CrossedInterval(error, np.asarray(share), mean - reach, mean + reach)


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
    by_prompt = complete.mean(axis=0)
    furthest = float(np.abs(by_prompt).max(initial=0.0)) if prompts else math.nan
    unknown = math.nan if seeds == 1 else 0.0
    if prompts < 2 or np.ptp(complete) == 0:
        flat = mean_estimate(by_prompt, span=span)
        components = Components(0.0, unknown, unknown) if prompts > 1 else Components(*(math.nan,) * 3)
        return CrossedEstimate(*flat[:3], *(math.nan,) * 3, prompts, seeds, left_out, components, math.nan, furthest)
    if (spread := float(np.ptp(complete))) < SQUARES_VANISH:
        return _scaled(crossed_mean(values / spread), spread)
    mean, squares = float(complete.mean()), mean_squares(complete)
    error, share, low, high = map(float, crossed_interval(mean, squares, prompts=prompts, seeds=seeds))
    return CrossedEstimate(
        mean,
        *_cut(Interval(low, high), span),
        error,
        share,
        two_sided_p(mean / error, share, prompts=prompts, seeds=seeds),
        prompts,
        seeds,
        left_out,
        components_of(squares, prompts, seeds),
        float(skewness_of_mean(by_prompt, error)),
        furthest,
    )


def interval_at(estimate: CrossedEstimate, confidence: float, *, span: tuple[float, float] | None = None) -> Interval:
    """Return the interval of an estimate at another level; NaN ends where there is no error.

    Args:
        estimate: From `crossed_mean`.
        confidence: Two-sided, such as 1 - 0.05 / 3.
        span: As in `crossed_mean`.
    """
    share, seeds = estimate.seed_share, estimate.seeds
    if math.isnan(share):
        return Interval(math.nan, math.nan)
    reach = estimate.standard_error * float(quantile(1 - confidence, share, prompts=estimate.prompts, seeds=seeds))
    return _cut(Interval(estimate.value - reach, estimate.value + reach), span)


def within_margin(estimate: CrossedEstimate, margin: float) -> Equivalence:
    """Test whether the true mean lies within (-margin, margin), by two one-sided tests (Schuirmann 1987).

    Args:
        estimate: From `crossed_mean`.
        margin: The largest difference that would not matter, above 0, in the unit of the values.

    Returns:
        The larger p of the two tests; NaN, and not equivalent, where there is no error.
    """
    if math.isnan(estimate.seed_share):
        return Equivalence(margin, math.nan, False)
    p = max(
        one_sided_p(room / estimate.standard_error, estimate.seed_share, prompts=estimate.prompts, seeds=estimate.seeds)
        for room in (margin - estimate.value, margin + estimate.value)
    )
    return Equivalence(margin, p, p < 1 - CONFIDENCE)


def _cut(interval: Interval, span: tuple[float, float] | None) -> Interval:
    return interval if span is None else Interval(max(interval.low, span[0]), min(interval.high, span[1]))


def skewness_of_mean(by_prompt: Array, error: Any) -> Array:
    """Return the skewness that prompts give to their mean: the third moment of a prompt over n^2 error^3.

    An error below that of the prompts alone, which few seeds give by chance, is not used: it would call normal values
    skewed.

    Args:
        by_prompt: The prompts' means over seeds, shape (..., n).
        error: Standard error of their mean, above 0, shape (...).
    """
    n = by_prompt.shape[-1]
    unit = np.maximum(error, by_prompt.std(axis=-1, ddof=1) / math.sqrt(n))[..., None]
    return np.asarray(np.mean(((by_prompt - by_prompt.mean(axis=-1, keepdims=True)) / unit) ** 3, axis=-1) / n**2)


def _scaled(estimate: CrossedEstimate, unit: float) -> CrossedEstimate:
    """Return an estimate of values that were measured in multiples of a unit; a span plays no part at this size."""
    value, low, high, error = (unit * number for number in estimate[:4])
    furthest = unit * estimate.furthest
    prompt, seed, residual = (unit * unit * variance for variance in estimate.components)
    components = Components(prompt, seed, residual)
    return estimate._replace(
        value=value, low=low, high=high, standard_error=error, components=components, furthest=furthest
    )


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
