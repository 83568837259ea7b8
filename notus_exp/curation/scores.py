"""Selection strategies: each is an expression that gives every completion a score; the highest is chosen.

That the data has the ratings which a strategy scores by is checked with the config (`curation_checks`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from notus_exp.config.curation_settings import Selection
from notus_exp.curation.columns import OVERALL, check_aspects, mean_rating, rating
from notus_exp.errors import UserError, did_you_mean

CRITIQUE = "critique"
AVERAGE = "average"
WEIGHTED = "weighted"
CONTROLS = ("random", "reversed")
"""Selections whose labels are wrong on purpose; their pairs are the average's, or the critique's without ratings."""
DECIMALS = 9
"""Weighted means are rounded to this, so that sums in another order do not break an exact tie."""


def labellings(aspects: Sequence[str]) -> list[str]:
    """Return the names of the scorings that data with these aspects can be labelled by."""
    return [CRITIQUE, AVERAGE, *aspects]


def labelling_expr(name: str, aspects: Sequence[str]) -> pl.Expr:
    """Return the score (Float64, null where missing) of a completion under a labelling.

    Args:
        name: `critique` (the overall score as the table has it), `average` (mean of the non-null ratings of
            `aspects`) or one of the aspects.
        aspects: The aspects with a rating column.
    """
    if name == CRITIQUE:
        score = pl.col(OVERALL)
    elif name == AVERAGE:
        score = mean_rating(aspects)
    else:
        score = pl.col(rating(name))
    return score.cast(pl.Float64).fill_nan(None)


def score_expr(selection: Selection, aspects: Sequence[str]) -> pl.Expr:
    """Return the score (Float64, null where missing) by which a selection strategy orders the completions.

    Args:
        selection: `critique`: the overall score. `average`: the mean of the non-null ratings. `per_aspect`: the rating
            of `selection.aspect`. `weighted`: sum(w r) / sum(w) over the non-null ratings r with
            weights `selection.weights`, null where those weights sum to 0. `random` and `reversed`: the average, or the
            overall score where there are no ratings; `labels.relabel` exchanges sides afterwards.
        aspects: The aspects with a rating column.

    Raises:
        UserError: For an unknown strategy.
    """
    strategies: dict[str, Callable[[Selection, Sequence[str]], pl.Expr]] = {
        "critique": lambda selection, aspects: labelling_expr(CRITIQUE, aspects),
        "average": lambda selection, aspects: labelling_expr(AVERAGE, aspects),
        "per_aspect": lambda selection, aspects: labelling_expr(selection.aspect or "", aspects),
        WEIGHTED: _weighted,
        **dict.fromkeys(CONTROLS, lambda selection, aspects: labelling_expr(AVERAGE if aspects else CRITIQUE, aspects)),
    }
    if selection.name not in strategies:
        raise UserError(f"selection.name is '{selection.name}'", did_you_mean(selection.name, strategies))
    return strategies[selection.name](selection, aspects)


def labelling_scores(completions: pl.DataFrame, aspects: Sequence[str]) -> pl.DataFrame:
    """Return every completion's score under every labelling.

    Args:
        completions: The completions table, one row a completion.
        aspects: The aspects with a rating column.

    Returns:
        One row a completion in the table's order: `prompt_id, row, completion` and a Float64 column per labelling.

    Raises:
        UserError: If an aspect has no rating column.
    """
    check_aspects(completions.columns, aspects)
    columns = [labelling_expr(name, aspects).alias(name) for name in labellings(aspects)]
    return completions.select("prompt_id", "row", "completion", *columns)


def _weighted(selection: Selection, aspects: Sequence[str]) -> pl.Expr:
    used = {aspect: weight for aspect, weight in selection.weights.items() if weight > 0}
    ratings = {aspect: labelling_expr(aspect, aspects) for aspect in used}
    total = pl.sum_horizontal([ratings[aspect] * weight for aspect, weight in used.items()])
    weights = pl.sum_horizontal([ratings[aspect].is_not_null() * pl.lit(weight) for aspect, weight in used.items()])
    return pl.when(weights > 0).then((total / weights).round(DECIMALS))
