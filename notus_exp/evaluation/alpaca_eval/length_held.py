"""The win rate at equal length with theta and psi held at AlpacaEval's published weights; the intercept is fitted.

It needs no gamed rows, which pinned those two weights, but a file of weights that knows the model. It is near
AlpacaEval's length-controlled win rate and not it, see `length_control.py`.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from scipy.optimize import brentq
from scipy.special import expit

from notus_exp.evaluation.alpaca_eval.length_control import (
    HELD,
    RESAMPLES,
    Floats,
    LengthControlled,
    Weights,
    control_rows,
    length_feature,
    nothing,
    percentiles,
    predict_length_controlled,
    spread,
)
from notus_exp.inference.estimates import Estimate


def length_by_held_weights(
    table: pl.DataFrame, difficulty: pl.DataFrame, weights: Weights, *, resamples: int = RESAMPLES, seed: int = 0
) -> LengthControlled:
    """Fit the intercept alone, with a bootstrap over prompts of that fit.

    As in AlpacaEval the lengths are measured by the standard deviation of all rows, and the prediction is over all
    prompts, with those that have no verdict.

    Args:
        table: One row a prompt: `prompt_id, preference` and the texts `reference, model`.
        difficulty: `prompt_id, difficulty`.
        weights: Whose theta and psi are held.
        resamples: Bootstrap resamples.
        seed: Of the resampling.
    """
    rows = control_rows(table, difficulty)
    judged = ~np.isnan(rows.points)
    once = np.ones_like(rows.points)
    b = _intercept(rows.points, _offset(weights, rows.dlen, rows.difficulty, once), judged, once)
    if b is None:
        return nothing(HELD, int(judged.sum()), rows.left_out, separated=bool(judged.any()))
    rng, rates = np.random.default_rng(seed), []
    for _ in range(resamples):
        counts = np.bincount(rng.integers(once.size, size=once.size), minlength=once.size).astype(np.float64)
        drawn = _intercept(rows.points, _offset(weights, rows.dlen, rows.difficulty, counts), judged, counts)
        if drawn is not None:
            chances = expit(weights.psi * rows.difficulty + drawn)
            rates.append(float(100 * counts @ chances / counts.sum()))
    fitted = weights._replace(b=b)
    low, high, error = percentiles(np.array(rates), resamples)
    estimate = Estimate(predict_length_controlled(fitted, rows.difficulty), low, high, int(judged.sum()))
    return LengthControlled(
        HELD, estimate, error, fitted, False, None, *rows.left_out, resamples, resamples - len(rates)
    )


def _offset(weights: Weights, dlen: Floats, difficulty: Floats, counts: Floats) -> Floats:
    return weights.theta * length_feature(dlen, spread(dlen, counts)) + weights.psi * difficulty


def _intercept(points: Floats, offset: Floats, judged: np.ndarray, counts: Floats) -> float | None:
    """Return the intercept at which the predicted points of the judged rows add up to theirs; None where none does."""
    y, known, times = points[judged], offset[judged], counts[judged]
    share = times @ y / times.sum() if times.sum() else 0.0
    if not 0 < share < 1:
        return None
    middle = math.log(share / (1 - share))  # without offsets; with them it moves by no more than the largest of them
    reach = float(np.abs(known).max()) + 1
    return float(brentq(lambda b: times @ (expit(known + b) - y), middle - reach, middle + reach, xtol=1e-12))
