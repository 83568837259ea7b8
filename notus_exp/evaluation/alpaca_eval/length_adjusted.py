"""The length-adjusted win rate: the model of length control, fitted on a model's own rows by maximum likelihood.

It is not AlpacaEval's length-controlled win rate (see `length_control.py`) and never goes by that name. It has no
number where the data cannot tell: where wins are separated from losses, or equal length lies outside what was seen.
"""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl
from scipy.optimize import linprog

from notus_exp.evaluation.alpaca_eval.length_control import (
    ADJUSTED,
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

_SUSPECT = 15.0
"""|logit| from which a resample is checked for separation: an estimate that runs off to infinity stops beyond it."""

_COLLINEAR = 1e-6
"""Share of the length column's norm that difficulty and intercept must leave unexplained."""


def length_adjusted(
    table: pl.DataFrame, difficulty: pl.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0
) -> LengthControlled:
    """Fit the length-adjusted win rate, with a bootstrap over prompts of the whole fit.

    Args:
        table: One row a prompt: `prompt_id, preference` and the texts `reference, model`.
        difficulty: `prompt_id, difficulty`, joined by the prompt and never by the row's position.
        resamples: Bootstrap resamples.
        seed: Of the resampling.
    """
    rows = control_rows(table, difficulty)
    judged = ~np.isnan(rows.points)
    y, dlen, hardness = (column[judged] for column in (rows.points, rows.dlen, rows.difficulty))
    design = _design(dlen, hardness)
    unidentified = _unidentified(design) if y.size else None
    separated = y.size > 0 and _separated(design, y)
    if separated or unidentified or not y.size:
        return nothing(ADJUSTED, y.size, rows.left_out, separated=separated, why=unidentified)
    weights = _fit(design, y, None)
    rates = _bootstrap(y, dlen, hardness, weights, resamples, np.random.default_rng(seed))
    low, high, error = percentiles(rates, resamples)
    estimate = Estimate(predict_length_controlled(weights, hardness), low, high, y.size)
    return LengthControlled(
        ADJUSTED, estimate, error, weights, False, None, *rows.left_out, resamples, resamples - rates.size
    )


def _design(dlen: Floats, difficulty: Floats) -> Floats:
    return np.column_stack([length_feature(dlen, spread(dlen)), difficulty, np.ones_like(dlen)])


def _unidentified(design: Floats) -> str | None:
    """Tell why the prediction at equal length is none of the data's, None where it is.

    It needs answers on both sides of equal length: else it extrapolates, and where all lengths lie far off, tanh is one
    constant that no fit tells from the intercept. With both sides seen it still needs lengths that do not follow from
    difficulty. Answers all as long as their references are at equal length already.
    """
    length, others = design[:, 0], design[:, 1:]
    if length.min() > 0 or length.max() < 0:
        side = "longer" if length.min() > 0 else "shorter"
        return f"every answer is {side} than its reference, so equal length lies outside the data"
    unexplained = length - others @ np.linalg.lstsq(others, length, rcond=None)[0]
    if length.any() and np.linalg.norm(unexplained) < _COLLINEAR * np.linalg.norm(length):
        return "the lengths follow from the difficulties, so their shares cannot be told apart"
    return None


def _fit(design: Floats, y: Floats, start: Weights | None) -> Weights:
    """Maximise the Bernoulli likelihood of a response in [0, 1] (Papke and Wooldridge 1996)."""
    import statsmodels.api as sm  # a second of pandas, which only this fit needs
    from statsmodels.tools.sm_exceptions import PerfectSeparationWarning, SingularMatrixWarning

    # a separated resample's fit runs off to infinity before `_separated` sees it
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        warnings.simplefilter("ignore", PerfectSeparationWarning)  # `_separated` decides, also where it is not perfect
        warnings.simplefilter("ignore", SingularMatrixWarning)  # lengths or difficulties all alike: the same prediction
        fitted = sm.GLM(y, design, family=sm.families.Binomial()).fit(start_params=start)
    return Weights(*(float(weight) for weight in fitted.params))


def _bootstrap(
    y: Floats, dlen: Floats, difficulty: Floats, start: Weights, resamples: int, rng: np.random.Generator
) -> Floats:
    """Return the win rates of the resamples that have one; each starts from the estimate of the data."""
    rates = []
    for _ in range(resamples):
        drawn = rng.integers(y.size, size=y.size)
        design = _design(dlen[drawn], difficulty[drawn])
        if _unidentified(design):
            continue
        weights = _fit(design, y[drawn], start)
        runs_off = bool(np.abs(design @ np.array(weights)).max() > _SUSPECT)
        if not (runs_off and _separated(design, y[drawn])):
            rates.append(predict_length_controlled(weights, difficulty[drawn]))
    return np.array(rates)


def _separated(design: Floats, y: Floats) -> bool:
    """Tell whether the likelihood has no maximum (Albert and Anderson 1984, Biometrika 71(1)).

    That is so where some direction of the coefficients raises the likelihood of one row and lowers none's, which a
    linear programme finds. It fixes rows that are neither won nor lost: any move lowers their likelihood.
    """
    decided = (y == 0) | (y == 1)
    gains = np.where(y == 1, 1.0, -1.0)[decided, None] * design[decided]
    if not gains.size:
        return False
    drawn = design[~decided]
    found = linprog(
        -gains.sum(axis=0),
        A_ub=-gains,
        b_ub=np.zeros(len(gains)),
        A_eq=drawn if drawn.size else None,
        b_eq=np.zeros(len(drawn)) if drawn.size else None,
        bounds=(-1, 1),
    )
    return bool(-found.fun > 1e-7)
