"""AlpacaEval: how often a judge prefers the model's answer to the reference's.

A preference is a number: 1 the reference wins, 2 the model wins, 1.5 a draw (also written 0), values between from a
judge's log-probs. Null, NaN and anything else is no verdict: it leaves numerator and denominator, and is counted. The
win rate is the mean of preference - 1 in percent, as AlpacaEval publishes it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import polars as pl

from notus_exp.errors import UserError
from notus_exp.evaluation.alpaca_eval.spec import SPEC
from notus_exp.inference.estimates import Estimate, mean_estimate, paired_difference, standard_error

REFERENCE, DRAW, MODEL = 1.0, 1.5, 2.0
"""What a preference says: who wins."""

DRAW_POINTS = 50.0
"""A draw in points of the win rate."""

_METRICS = {metric.name: metric for metric in SPEC.metrics}


class Score(NamedTuple):
    """AlpacaEval's figures for one model, named as in its leaderboard files.

    Attributes:
        win_rate: Mean of preference - 1 over the verdicts, in percent.
        standard_error: sd(ddof=1) / sqrt(n) of the same, in percentage points.
        n_wins: Verdicts above 1.5.
        n_wins_base: Verdicts below 1.5: the reference wins.
        n_draws: Verdicts of 1.5 or 0.
        n_total: Verdicts.
        discrete_win_rate: Wins and half the draws among the verdicts, in percent.
        avg_length: Mean characters of the model's answers over all rows, cut to an integer; None without answers.
        n_missing: Rows without a preference (null or NaN).
        n_invalid: Rows whose preference is neither 0 nor within [1, 2].
    """

    win_rate: float
    standard_error: float
    n_wins: int
    n_wins_base: int
    n_draws: int
    n_total: int
    discrete_win_rate: float
    avg_length: int | None
    n_missing: int
    n_invalid: int


class Combined(NamedTuple):
    """Verdicts of both orders made one preference a prompt.

    Attributes:
        preferences: `prompt_id, preference`, sorted; null where a verdict of the prompt failed or is missing.
        inconsistent: Prompts whose two orders disagree on the outcome (win, draw or loss).
        draws: Prompts whose preference is 1.5.
        failed: Prompts without a preference.
    """

    preferences: pl.DataFrame
    inconsistent: int
    draws: int
    failed: int


def points(preferences: pl.Series) -> pl.Series:
    """Return 100 (preference - 1) with 0 read as a draw; null for what is no verdict."""
    return pl.select(_points(preferences.cast(pl.Float64))).to_series()


def measure(table: pl.DataFrame) -> Score:
    """Score one model.

    Args:
        table: One row a prompt: `preference`, and `model` (the answer's text) where the length is wanted.

    Returns:
        The figures; rates are NaN where there is no verdict, the error also for one verdict or verdicts all alike.
    """
    preference = table["preference"].cast(pl.Float64)
    missing = int((preference.is_null() | preference.is_nan().fill_null(True)).sum())
    scored = points(preference).drop_nulls()
    wins, losses = int((scored > DRAW_POINTS).sum()), int((scored < DRAW_POINTS).sum())
    draws = scored.len() - wins - losses
    return Score(
        win_rate=_mean(float(scored.sum()), scored.len()),
        standard_error=standard_error(scored.to_numpy()),
        n_wins=wins,
        n_wins_base=losses,
        n_draws=draws,
        n_total=scored.len(),
        discrete_win_rate=_mean(100 * wins + DRAW_POINTS * draws, scored.len()),
        avg_length=_average_length(table),
        n_missing=missing,
        n_invalid=table.height - missing - scored.len(),
    )


def estimates(policy: pl.DataFrame, base: pl.DataFrame | None = None) -> dict[str, Estimate]:
    """Return the win rates and lengths with t intervals.

    Args:
        policy: `prompt_id, preference`, and `model` (the answer's text) where the length is wanted.
        base: The same of the base model, or None.

    Returns:
        `alpaca_eval/win_rate` and `.../discrete_win_rate` in percent, `.../characters` of the answers; with a base the
        same after `base/`, and after `difference/` policy minus base over the prompts with a verdict on both sides.

    Raises:
        UserError: A prompt occurs twice.
    """
    sides = {"": _per_prompt(policy, "policy")}
    if base is not None:
        sides["base/"] = _per_prompt(base, "base")
    found = {
        f"{prefix}alpaca_eval/{name}": mean_estimate(side[name].to_numpy(), span=_METRICS[name].span)
        for prefix, side in sides.items()
        for name in side.columns[1:]
    }
    if base is not None:
        both = sides[""].join(sides["base/"], on="prompt_id", suffix="/base")
        for name in sides[""].columns[1:]:
            if f"{name}/base" in both.columns:
                span = _METRICS[name].difference_span()
                difference = paired_difference(both[name].to_numpy(), both[f"{name}/base"].to_numpy(), span=span)
                found[f"difference/alpaca_eval/{name}"] = difference
    return found


def combine_orders(verdicts: pl.DataFrame) -> Combined:
    """Make the verdicts of both orders one preference a prompt: their mean, null if either failed.

    Where the whole table knows only one order, its verdict is the preference.

    Args:
        verdicts: `prompt_id, order, value`; the value is 2 where the model wins, whatever the order, null if failed.

    Raises:
        UserError: A prompt was judged twice in the same order.
    """
    twice = verdicts.filter(pl.struct("prompt_id", "order").is_duplicated())
    if twice.height:
        prompt, order = twice.row(0, named=True)["prompt_id"], twice["order"][0]
        raise UserError(
            f"prompt {prompt} has several verdicts of the order '{order}' ({twice.height} such rows)",
            "give the verdicts of one model and one judge, each once",
        )
    orders = verdicts["order"].n_unique()
    value = _points(pl.col("value").cast(pl.Float64))
    outcome = (pl.col("points") - DRAW_POINTS).sign()
    prompts = (
        verdicts.with_columns(points=value)
        .group_by("prompt_id")
        .agg(
            judged=pl.col("points").count() == orders,
            preference=1 + pl.col("points").mean() / 100,
            inconsistent=outcome.n_unique() > 1,
        )
        .sort("prompt_id")
        .with_columns(preference=pl.when("judged").then("preference"))
    )
    judged = prompts.filter("judged")
    return Combined(
        preferences=prompts.select("prompt_id", "preference"),
        inconsistent=int(judged["inconsistent"].sum()),
        draws=int((judged["preference"] == DRAW).sum()),
        failed=prompts.height - judged.height,
    )


def _points(preference: pl.Expr | pl.Series) -> pl.Expr:
    value = preference if isinstance(preference, pl.Expr) else pl.lit(preference)
    drawn = pl.when(value == 0).then(DRAW).otherwise(value)
    return pl.when(drawn.is_between(REFERENCE, MODEL)).then(100 * (drawn - 1))


def _per_prompt(table: pl.DataFrame, side: str) -> pl.DataFrame:
    """Return `prompt_id` and the measures of each prompt, as Float64 with NaN for none."""
    twice = table.filter(pl.col("prompt_id").is_duplicated())
    if twice.height:
        raise UserError(
            f"prompt {twice['prompt_id'][0]} occurs several times among the {side}'s preferences ({twice.height} rows)",
            "keep one preference a prompt",
        )
    scored = _points(pl.col("preference").cast(pl.Float64))
    measures = {"win_rate": scored, "discrete_win_rate": DRAW_POINTS + 50 * (scored - DRAW_POINTS).sign()}
    if "model" in table.columns:
        measures["characters"] = pl.col("model").str.len_chars().cast(pl.Float64)
    return table.select("prompt_id", **{name: value.fill_null(math.nan) for name, value in measures.items()})


def _mean(total: float, n: int) -> float:
    return total / n if n else math.nan


def _average_length(table: pl.DataFrame) -> int | None:
    if "model" not in table.columns or table["model"].null_count() == table.height:
        return None
    return int(table["model"].str.len_chars().sum() / table.height)
