"""Win rates at equal length: what the three estimators share, and what each may be called.

    logit P(the model wins) = theta tanh(dlen / sd) + psi difficulty + b

(Dubois et al. 2024, arXiv:2404.04475), dlen the characters of the model's answer less the reference's, sd their
standard deviation (ddof=1), difficulty a number per prompt that AlpacaEval publishes. The win rate is the mean of P
over the prompts at dlen = 0. AlpacaEval counts dlen the other way round, so its theta has the other sign. The
estimators differ in where theta and psi are from:

    PUBLISHED   fitted beside the gamed baseline's rows, as AlpacaEval does (`length_published.py`)
    HELD        AlpacaEval's published weights of this model; b alone is fitted (`length_held.py`)
    ADJUSTED    fitted on the model's rows alone (`length_adjusted.py`)

Only the first is `length_controlled_winrate`. Over 58 models of the leaderboard the second was 0.09 points off it in
the mean and 0.8 at most, the third 1.5 and 13: a model's own rows hardly tell length from quality.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from notus_exp.evaluation.alpaca_eval.spec import NOT_LENGTH_CONTROLLED
from notus_exp.evaluation.alpaca_eval.win_rates import points
from notus_exp.inference.estimates import CONFIDENCE, Estimate

RESAMPLES = 1000

PUBLISHED, HELD, ADJUSTED = "length_controlled", "length_held_weights", "length_adjusted"
LABELS = {
    PUBLISHED: "length-controlled, %",
    HELD: "length by held weights, %",
    ADJUSTED: "length-adjusted, %",
}
"""Estimator -> what tables call its win rate."""
CAUTIONS = {
    HELD: "theta and psi are AlpacaEval's published weights and the intercept alone is fitted: not AlpacaEval's"
    " length-controlled win rate, from which it was 0.09 points off in the mean and 0.8 at most over 58 models",
    ADJUSTED: NOT_LENGTH_CONTROLLED,
}
"""Estimator -> the sentence that stands beside its win rate; `PUBLISHED` needs none."""

FEW_PROMPTS = 100
"""Fewer make an interval of `PUBLISHED` too narrow: see `length_published.py`."""

_USABLE = 0.95
"""Share of the resamples that must have an estimate for the interval to be told."""

Floats = NDArray[np.float64]


class Weights(NamedTuple):
    """The model's three coefficients: of length, of difficulty, and the intercept."""

    theta: float
    psi: float
    b: float


class LengthControlled(NamedTuple):
    """A win rate at equal length and what is behind it.

    Attributes:
        estimator: `PUBLISHED`, `HELD` or `ADJUSTED`.
        win_rate: In percent, with the 95 % percentile interval of the bootstrap over prompts; NaN where there is none.
        standard_error: Standard deviation over the resamples, in points; it counts the coefficients' uncertainty.
        weights: The coefficients; None where there is no estimate.
        separated: The likelihood has no maximum (as where the model always wins): there is no estimate.
        unidentified: In words why equal length cannot be told from these data, whatever the verdicts, or None.
        n_without_verdict: Rows left out of the fit for want of a verdict.
        n_without_difficulty: Rows left out for want of a difficulty.
        n_without_lengths: Rows left out for want of one of the answers.
        resamples: Resamples drawn.
        separated_resamples: Those of them without an estimate, separated or unidentified, left out.
    """

    estimator: str
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


class ControlRows(NamedTuple):
    """A model's rows for length control.

    Attributes:
        prompts: Shape (N,), ids.
        points: Shape (N,), the share of a win in [0, 1]; NaN where there is no verdict.
        dlen: Shape (N,), characters of the model's answer less the reference's.
        difficulty: Shape (N,).
        left_out: Rows without a verdict (kept here, with NaN), without a difficulty, and without lengths.
    """

    prompts: list[str]
    points: Floats
    dlen: Floats
    difficulty: Floats
    left_out: tuple[int, int, int]


def control_rows(table: pl.DataFrame, difficulty: pl.DataFrame) -> ControlRows:
    """Return a model's rows with a difficulty and both lengths; a missing verdict stays, as NaN.

    Args:
        table: One row a prompt: `prompt_id, preference` and the texts `reference, model`.
        difficulty: `prompt_id, difficulty`, joined by the prompt and never by the row's position.
    """
    rows = table.select(
        "prompt_id",
        points=points(table["preference"]) / 100,
        dlen=pl.col("model").str.len_chars().cast(pl.Float64) - pl.col("reference").str.len_chars(),
    ).join(
        difficulty.select("prompt_id", "difficulty"),
        on="prompt_id",
        how="left",
        validate="m:1",
        maintain_order="left",
    )
    judged = pl.col("points").is_not_null()
    known = rows.filter(pl.col("difficulty").is_finite())
    used = known.drop_nulls("dlen")
    left_out = (
        rows.filter(~judged).height,
        rows.filter(judged).height - known.filter(judged).height,
        known.filter(judged).height - used.filter(judged).height,
    )
    columns = used.select(pl.col("points", "dlen", "difficulty").cast(pl.Float64).fill_null(math.nan))
    y, dlen, hardness = (columns[name].to_numpy() for name in columns.columns)
    return ControlRows(used["prompt_id"].to_list(), y, dlen, hardness, left_out)


def nothing(
    estimator: str, n: int, left_out: tuple[int, int, int], *, separated: bool, why: str | None = None
) -> LengthControlled:
    """Return what there is where there is no estimate."""
    none = Estimate(math.nan, math.nan, math.nan, n)
    return LengthControlled(estimator, none, math.nan, None, separated, why, *left_out, 0, 0)


def why_none(found: LengthControlled) -> str | None:
    """Return the sentence that says why there is no win rate at equal length, None where the data allow one."""
    reason = found.unidentified
    if found.separated:
        reason = "length and difficulty separate wins from losses without error, so the likelihood has no maximum"
    return f"no length-controlled win rate: {reason}" if reason else None


def shrunken(found: LengthControlled) -> str | None:
    """Return the sentence on what the penalty of `PUBLISHED` does to a win rate of few prompts, None where little."""
    if found.estimator != PUBLISHED or found.weights is None:
        return None
    if not any(found.weights):
        return (
            "cross-validation chose the strongest penalty, which leaves no coefficient: the length-controlled win rate"
            " is 50 % whatever the verdicts say; its interval is that of the weakest penalty"
        )
    if found.win_rate.n < FEW_PROMPTS:
        return (
            f"on {found.win_rate.n} prompts, fewer than {FEW_PROMPTS}, the penalty may draw the length-controlled win"
            " rate towards 50 %, and its interval may be too narrow"
        )
    return None


def predict_length_controlled(weights: Weights, difficulty: Floats | pl.Series) -> float:
    """Return the mean chance to win at equal length, in percent.

    Args:
        weights: Fitted here or published by AlpacaEval (theta plays no part at equal length).
        difficulty: Shape (N,), of the prompts.
    """
    hardness = np.asarray(difficulty, dtype=np.float64)
    return float(100 * expit(weights.psi * hardness + weights.b).mean())


def percentiles(rates: Floats, resamples: int) -> tuple[float, float, float]:
    """Return low, high and the standard deviation of a bootstrap; NaN where too few resamples have an estimate."""
    if rates.size < max(2, _USABLE * resamples):
        return math.nan, math.nan, math.nan
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(rates, [tail, 100 - tail])
    return float(low), float(high), float(rates.std(ddof=1))


def spread(dlen: Floats, counts: Floats | None = None) -> float:
    """Return the standard deviation (ddof=1) of lengths, each counted so often; 0 for fewer than two."""
    times = np.ones_like(dlen) if counts is None else counts
    total = times.sum()
    if total < 2:
        return 0.0
    mean = times @ dlen / total
    return float(np.sqrt(times @ (dlen - mean) ** 2 / (total - 1)))


def length_feature(dlen: Floats, sd: float) -> Floats:
    """Return tanh(dlen / sd); where all answers differ equally from their references, length is only a sign."""
    return np.tanh(dlen / sd) if sd > 0 else np.sign(dlen)
