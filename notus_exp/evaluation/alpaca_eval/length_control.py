"""The win rate that a model would have if its answers were as long as the reference's.

    logit P(the model wins) = theta tanh(dlen / sd) + psi difficulty + b

(Dubois et al. 2024, arXiv:2404.04475), dlen the characters of the model's answer less the reference's, sd their
standard deviation (ddof=1), difficulty a number per prompt that AlpacaEval publishes. The length-controlled win rate is
the mean of P over the prompts at dlen = 0. AlpacaEval counts dlen the other way round, so its theta has the other sign;
the prediction is the same. It also fits with a penalty, here it is plain maximum likelihood, which has no number where
the data cannot tell: where wins are separated from losses, or where dlen = 0 lies outside what was seen.
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.special import expit

from notus_exp.evaluation.alpaca_eval.win_rates import points
from notus_exp.inference.estimates import CONFIDENCE, Estimate

RESAMPLES = 1000

_SUSPECT = 15.0
"""|logit| from which a resample is checked for separation: an estimate that runs off to infinity stops beyond it."""
_USABLE = 0.95
"""Share of the resamples that must have an estimate for the interval to be told."""

_COLLINEAR = 1e-6
"""Share of the length column's norm that difficulty and intercept must leave unexplained."""

_Floats = NDArray[np.float64]


class Weights(NamedTuple):
    """The model's three coefficients: of length, of difficulty, and the intercept."""

    theta: float
    psi: float
    b: float


class LengthControlled(NamedTuple):
    """A length-controlled win rate and what is behind it.

    Attributes:
        win_rate: In percent, with the 95 % percentile interval of the bootstrap over prompts; NaN where there is none.
        standard_error: Standard deviation over the resamples, in points; it counts the coefficients' uncertainty.
        weights: The coefficients; None where there is no estimate.
        separated: Length and difficulty tell wins from losses without error (as where the model always wins), so that
            the likelihood has no maximum: there is no estimate.
        unidentified: In words why equal length cannot be told from these data, whatever the verdicts, or None.
        n_without_verdict: Rows left out for want of a verdict.
        n_without_difficulty: Rows left out for want of a difficulty.
        n_without_lengths: Rows left out for want of one of the answers.
        resamples: Resamples drawn.
        separated_resamples: Those of them without an estimate, separated or unidentified, left out.
    """

    win_rate: Estimate
    standard_error: float
    weights: Weights | None
    separated: bool
    unidentified: str | None
    n_without_verdict: int
    n_without_difficulty: int
    n_without_lengths: int
    resamples: int
    separated_resamples: int


def length_controlled(
    table: pl.DataFrame, difficulty: pl.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0
) -> LengthControlled:
    """Fit the length-controlled win rate, with a bootstrap over prompts of the whole fit.

    Args:
        table: One row a prompt: `prompt_id, preference` and the texts `reference, model`.
        difficulty: `prompt_id, difficulty`, joined by the prompt and never by the row's position.
        resamples: Bootstrap resamples.
        seed: Of the resampling.
    """
    rows = table.select(
        "prompt_id",
        points=points(table["preference"]) / 100,
        dlen=pl.col("model").str.len_chars().cast(pl.Float64) - pl.col("reference").str.len_chars(),
    ).join(difficulty.select("prompt_id", "difficulty"), on="prompt_id", how="left", validate="m:1")
    judged = rows.drop_nulls("points")
    known = judged.filter(pl.col("difficulty").is_finite())
    used = known.drop_nulls("dlen")
    left_out = (rows.height - judged.height, judged.height - known.height, known.height - used.height)
    y, dlen, hardness = (used[name].to_numpy() for name in ("points", "dlen", "difficulty"))
    design = _design(dlen, hardness)
    unidentified = _unidentified(design) if used.height else None
    separated = used.height > 0 and _separated(design, y)
    if separated or unidentified or not used.height:
        nothing = Estimate(math.nan, math.nan, math.nan, used.height)
        return LengthControlled(nothing, math.nan, None, separated, unidentified, *left_out, 0, 0)
    weights = _fit(design, y, None)
    rates = _bootstrap(y, dlen, hardness, weights, resamples, np.random.default_rng(seed))
    low, high, error = _percentiles(rates, resamples)
    value = predict_length_controlled(weights, hardness)
    estimate = Estimate(value, low, high, used.height)
    return LengthControlled(estimate, error, weights, False, None, *left_out, resamples, resamples - rates.size)


def why_none(found: LengthControlled) -> str | None:
    """Return the sentence that says why there is no length-controlled win rate, None where the data allow one."""
    reason = found.unidentified
    if found.separated:
        reason = "length and difficulty separate wins from losses without error, so the likelihood has no maximum"
    return f"no length-controlled win rate: {reason}" if reason else None


def predict_length_controlled(weights: Weights, difficulty: _Floats | pl.Series) -> float:
    """Return the mean chance to win at equal length, in percent.

    Args:
        weights: Fitted here or published by AlpacaEval (theta plays no part at equal length).
        difficulty: Shape (N,), of the prompts.
    """
    hardness = np.asarray(difficulty, dtype=np.float64)
    return float(100 * expit(weights.psi * hardness + weights.b).mean())


def _design(dlen: _Floats, difficulty: _Floats) -> _Floats:
    """Return the three columns; where all answers differ equally from their references, length is only a sign."""
    spread = float(dlen.std(ddof=1)) if dlen.size > 1 else 0.0
    length = np.tanh(dlen / spread) if spread > 0 else np.sign(dlen)
    return np.column_stack([length, difficulty, np.ones_like(dlen)])


def _unidentified(design: _Floats) -> str | None:
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


def _fit(design: _Floats, y: _Floats, start: Weights | None) -> Weights:
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
    y: _Floats, dlen: _Floats, difficulty: _Floats, start: Weights, resamples: int, rng: np.random.Generator
) -> _Floats:
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


def _percentiles(rates: _Floats, resamples: int) -> tuple[float, float, float]:
    """Return low, high and the standard deviation; NaN where too few resamples have an estimate."""
    if rates.size < max(2, _USABLE * resamples):
        return math.nan, math.nan, math.nan
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(rates, [tail, 100 - tail])
    return float(low), float(high), float(rates.std(ddof=1))


def _separated(design: _Floats, y: _Floats) -> bool:
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
